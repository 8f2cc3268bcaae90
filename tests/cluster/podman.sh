#!/usr/bin/env bash
# Podman as it runs inside a virtual machine without a Docker engine: `tests/cluster/podman.sh run ...`.
set -euo pipefail
CONTAINERS_CONF=$(realpath "$(dirname "$0")/containers.conf")
export CONTAINERS_CONF
exec podman "$@"
