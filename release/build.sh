#!/usr/bin/env bash
# Builds a release, all but the upload, into build/release: `release/build.sh REF`, with the tag of a release, or any commit for a
# rehearsal. All of it is built in a fresh clone at that commit, so that nothing of this working tree gets in; times, names
# and versions of what is downloaded are those of the commit. The image's base and its other options: IMAGE_OPTIONS.
set -euo pipefail

refuse() {
    echo "make release: $*" >&2
    exit 1
}

# A function is read as a whole before it runs: a checkout of another commit meanwhile changes nothing.
main() {
    cd "$(dirname "$0")/.."
    ref=$1
    out=$PWD/build/release source=$PWD/build/release-source
    container=${CONTAINER:-podman}

    commit=$(git rev-parse --verify --quiet "$ref^{commit}") ||
        refuse "there is no tag $ref. docs/release.md says how a release is cut; make rehearsal builds one of the last commit."
    java=$("${JAVA_HOME:+$JAVA_HOME/bin/}java" -version 2>&1 | sed -n 's/^[^"]*version "\([0-9]*\).*/\1/p')
    [[ $java == 17 ]] || refuse "Java is ${java:-missing}, and a release is compiled by 17, for others write other bytes. Set JAVA_HOME."
    for tool in git "$container"; do
        command -v "$tool" >/dev/null || refuse "$tool is not installed."
    done

    rm -rf "$source" "$out.partial"
    mkdir -p "$out.partial/python"
    git clone --quiet . "$source"
    git -C "$source" checkout --quiet --detach "$commit"
    cd "$source"
    version=$(sed -n 's/^version = "\(.*\)"/\1/p' pyproject.toml)
    SOURCE_DATE_EPOCH=$(git log -1 --format=%ct)
    UV_EXCLUDE_NEWER=$(date --utc --date "@$SOURCE_DATE_EPOCH" +%Y-%m-%dT%H:%M:%SZ)
    # Of the make that started this nothing goes into those that it starts.
    unset MAKEFLAGS MFLAGS MAKELEVEL
    export SOURCE_DATE_EPOCH UV_EXCLUDE_NEWER TZ=UTC LC_ALL=C.UTF-8
    umask 022

    python3 release/versions.py
    if [[ $ref == "v$version" ]]; then
        grep --quiet "^## \[$version\]" CHANGELOG.md || refuse "CHANGELOG.md has no section of $version."
    elif [[ $ref == v[0-9]* ]]; then
        refuse "the tag $ref is on a commit of version $version."
    fi
    uv=.venv-build/bin/uv tools=.venv-release/bin
    make --no-print-directory .venv-build/ready .venv-release/ready
    make --no-print-directory compatibility

    # Python: a wheel, an sdist, and the same wheel from that.
    make --no-print-directory wheel SBT_OPTIONS=
    $uv build --quiet --sdist --out-dir "$out.partial/python"
    $uv build --quiet --wheel --out-dir build/from-sdist "$out.partial/python/ctmahout-$version.tar.gz"
    cp dist/ctmahout-*.whl "$out.partial/python/"
    cmp build/from-sdist/*.whl dist/*.whl || refuse "the wheel made of the sdist is another one."
    rm -f "$out.partial/python/.gitignore"
    $tools/twine check --strict "$out.partial"/python/*

    # Maven: a folder to resolve from, and the same as the bundle that is uploaded.
    cp -r target/sona-staging "$out.partial/maven"
    python3 release/bundle.py "$out.partial/maven" "$out.partial/ctmahout-$version-maven.zip"
    $tools/python release/sbom.py "$out.partial" > "$out.partial/ctmahout-$version.cdx.json"

    # The image, as an OCI layout in a tar. It is built in Docker's format, for that of OCI has no SHELL, and so no pipefail.
    image=localhost/ctmahout:$version
    make --no-print-directory image CONTAINER="$container" IMAGE="$image" IMAGE_OPTIONS="${IMAGE_OPTIONS:-} --quiet --no-cache \
        --format docker --timestamp $SOURCE_DATE_EPOCH --build-arg SOURCE_DATE_EPOCH=$SOURCE_DATE_EPOCH \
        --build-arg UV_EXCLUDE_NEWER=$UV_EXCLUDE_NEWER"
    $container push --quiet --format oci "$image" "oci:build/oci:$version"
    tar --create --file "$out.partial/ctmahout-$version-image.oci.tar" --directory build/oci --sort=name --format=ustar \
        --mtime "@$SOURCE_DATE_EPOCH" --owner 0 --group 0 --numeric-owner --mode=u=rwX,go=rX .
    $container run --rm --network none --entrypoint cat "$image" /opt/ctmahout/sbom.cdx.json \
        > "$out.partial/ctmahout-$version-image.cdx.json"

    cp CITATION.cff "$out.partial/"
    python3 release/versions.py notes > "$out.partial/NOTES.md"
    python3 release/provenance.py "$out.partial" "$commit" "$ref" "${IMAGE_OPTIONS:-}" "$container"
    (cd "$out.partial" && find . -type f ! -name SHA256SUMS -printf '%P\0' | sort --zero-terminated | xargs -0 sha256sum > SHA256SUMS)
    rm -rf "$out"
    mv "$out.partial" "$out"

    echo "build/release holds version $version, built from $commit."
    if grep --quiet '^source = "https://example\.org/' pyproject.toml; then
        echo "Before an upload: pyproject.toml has no address of the repository yet (docs/release.md)."
    fi
    if [[ $ref != "v$version" ]]; then echo "A rehearsal: $ref is not the tag v$version."; fi
}

main "$@"
