#!/usr/bin/env bash
# Builds the image under test, on a base of Debian's packages: no registry of images need be in reach.
set -euo pipefail
cd "$(dirname "$0")/../.."

podman=tests/cluster/podman.sh
base=localhost/ctmahout-base:bookworm
if ! "$podman" image exists "$base"; then
    mmdebstrap --quiet --variant=minbase --include=ca-certificates,openjdk-17-jre-headless,python3,python3-venv bookworm - |
        "$podman" import --quiet - "$base"
fi

# Whatever pip needs here to reach its index.
options=(--quiet --network host --format docker --build-arg "BASE_IMAGE=$base")
for file in /etc/ssl/certs/ca-certificates.crt /etc/pip.conf; do
    [[ ! -f "$file" ]] || options+=(--volume "$file:$file:ro")
done
make image CONTAINER="$podman" IMAGE=localhost/ctmahout:test IMAGE_OPTIONS="${options[*]}"
