#!/usr/bin/env bash
# `run.sh PYTHON [OPTIONS OF PYTEST]` builds Kubernetes and runs the tests of this folder on one node of it. As root: a node
# makes control groups, mounts and networks.
#
# Node and tests have a network, processes and mounts to themselves: Linux removes all of it with the last process, however
# that ends. Control groups are left, empty, and removed here.
set -euo pipefail
here=$(realpath "$(dirname "$0")")
build=$(realpath -m "$here/../../build/k8s")
podman=$here/../cluster/podman.sh
image=${CTMAHOUT_TEST_IMAGE:-localhost/ctmahout:test}

stop() { echo "make k8s: $*" >&2; exit 1; }

[[ $EUID == 0 ]] || stop "a node needs root. Run it as root, on a machine that may be lost."
for tool in containerd ctr dnsmasq ip iptables openssl podman runc /usr/lib/cni/bridge; do
    command -v "$tool" >/dev/null || stop "$tool is not installed: xargs apt-get install -y < tests/k8s/debian-packages.txt"
done
command -v go >/dev/null || stop "Go is not installed; $(sed -n 's/^go //p' "$here/tools/go.mod") or newer builds Kubernetes."
exec {lock}> /run/lock/ctmahout-k8s
flock --nonblock "$lock" || stop "another run is at work on this machine."
"$podman" image exists "$image" || stop "there is no image $image: tests/cluster/image.sh"

tidy() {
    rm -rf "$build/node" "$build/images.tar"
    find /sys/fs/cgroup -depth -type d -path '*/ctmahout-k8s*' -exec rmdir {} +
}
trap tidy EXIT
tidy
rm -rf "$build/logs"
mkdir -p "$build/bin" "$build/logs" "$build/node"
cd "$here/tools"
version=$(go list -m -f '{{.Version}}' k8s.io/kubernetes)
CGO_ENABLED=0 go build -ldflags "-s -w -X k8s.io/component-base/version.gitVersion=$version" -o "$build/bin/" tool ./pause
cd "$here/spark-operator"
CGO_ENABLED=0 go build -ldflags "-s -w" -o "$build/bin/" tool
operator=$(go list -m -f '{{.Dir}}' github.com/kubeflow/spark-operator/v2)
rm -rf "$build/chart"
cp -r --no-preserve=mode "$operator/charts/spark-operator-chart" "$build/chart"
cd "$here"

tar --create --directory "$build/bin" pause |
    "$podman" import --quiet --change 'ENTRYPOINT ["/pause"]' - localhost/pause:ctmahout >/dev/null
"$podman" save --quiet --multi-image-archive --output "$build/images.tar" localhost/pause:ctmahout "$image"

export K8S_BUILD=$build K8S_IMAGE=$image PATH=$build/bin:$PATH
unset CTMAHOUT_TEST_IMAGE # which the command would take for an option
unshare --fork --kill-child --pid --mount --mount-proc --net "$here/inside.sh" "$@"
