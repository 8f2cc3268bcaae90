#!/usr/bin/env bash
# Builds the image under test, on a base of Debian's packages: no registry of images need be in reach. `image.sh base` builds
# the base alone, which takes a minute and needs nothing of what is built here. `image.sh options` prints what a build on it takes.
set -euo pipefail
cd "$(dirname "$0")/../.."

podman=tests/cluster/podman.sh
for tool in mmdebstrap podman runc; do
    command -v "$tool" >/dev/null && continue
    echo "image.sh: $tool is not installed, and without it there is no image to test." >&2
    # Where tests may be skipped, those of the image will skip themselves.
    [[ "${CI:-}" != true ]]
    exit
done

# Another name for another list: a base that is there is taken.
base=localhost/ctmahout-base:bookworm-2
packages=ca-certificates,libnss-wrapper,openjdk-17-jre-headless,python3,python3-venv
if ! "$podman" image exists "$base"; then
    mmdebstrap --quiet --variant=minbase --include="$packages" bookworm - |
        "$podman" import --quiet - "$base"
fi
[[ "${1:-}" != base ]] || exit 0

options=(--network host --build-arg "BASE_IMAGE=$base")
# Whatever pip and uv need here to reach their index, and what uv has fetched for this machine already.
certificates=/etc/ssl/certs/ca-certificates.crt
for file in "$certificates" /etc/pip.conf; do
    [[ ! -f "$file" ]] || options+=(--volume "$file:$file:ro")
done
[[ ! -f "$certificates" ]] || options+=(--build-arg "SSL_CERT_FILE=$certificates")
cache="${UV_CACHE_DIR:-${XDG_CACHE_HOME:-$HOME/.cache}/uv}"
[[ ! -d "$cache" ]] || options+=(--volume "$cache:/root/.cache/uv")
if [[ "${1:-}" == options ]]; then echo "${options[*]}"; exit 0; fi
make image CONTAINER="$podman" IMAGE=localhost/ctmahout:test IMAGE_OPTIONS="--quiet --format docker ${options[*]}"
