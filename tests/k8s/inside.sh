#!/usr/bin/env bash
# What run.sh runs in the namespaces of the node: programs find their usual places empty, and then the tests.
set -euo pipefail
python=$1
shift

mount --make-rshared /
mount --bind "$K8S_BUILD/node" /var/lib
mount --bind "$K8S_BUILD/logs" /var/log
mount -t tmpfs tmpfs /run
cp -r "$(dirname "$0")/node" /run/node
ip link set lo up

# Kubelet writes these, which belong to the whole kernel: let it write files.
mkdir /run/sysctl
for name in vm/overcommit_memory vm/panic_on_oom kernel/panic kernel/panic_on_oops kernel/keys/root_maxkeys kernel/keys/root_maxbytes; do
    file=/run/sysctl/${name//\//.}
    cp "/proc/sys/$name" "$file"
    mount --bind "$file" "/proc/sys/$name"
done

# Not exec: this shell is the first process here, and buries those that lose their parents.
"$python" -m pytest "$@"
