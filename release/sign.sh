#!/usr/bin/env bash
# Signs what make release has built, with a key of GnuPG's: `release/sign.sh KEY [BUILT]`. The signatures, and the Maven bundle
# with them, go to BUILT-signed: nothing changes in BUILT, which is build/release, for no two signatures have the same bytes.
set -euo pipefail
cd "$(dirname "$0")/.."
key=${1:-}
built=${2:-$PWD/build/release}
signed=$built-signed
[[ -n $key ]] || { echo "make sign: name the key, as in make sign KEY=FINGERPRINT." >&2; exit 1; }
[[ -f $built/SHA256SUMS ]] || { echo "make sign: $built has no SHA256SUMS. Run make release first." >&2; exit 1; }
(cd "$built" && sha256sum --quiet --check SHA256SUMS) ||
    { echo "make sign: $built is not as it was built. Run make release anew." >&2; exit 1; }
gpg --batch --list-secret-keys "$key" >/dev/null || { echo "make sign: GnuPG has no secret key $key." >&2; exit 1; }

rm -rf "$signed" "$signed.partial"
mkdir -p "$signed.partial"
cp -r "$built/maven" "$signed.partial/maven"
cp "$built"/SHA256SUMS "$built"/*.intoto.json "$signed.partial/"
find "$signed.partial" -type f \( -name '*.jar' -o -name '*.pom' -o -name SHA256SUMS -o -name '*.intoto.json' \) -print0 |
    xargs -0 --max-args=1 gpg --batch --yes --local-user "$key" --armor --detach-sign
bundle=$(basename "$built"/ctmahout-*-maven.zip)
SOURCE_DATE_EPOCH=$(git log -1 --format=%ct) python3 release/bundle.py --signed "$signed.partial/maven" "$signed.partial/$bundle"
rm -r "$signed.partial/maven"
mv "$signed.partial" "$signed"
echo "$signed holds $bundle with a signature for each file, and signatures of SHA256SUMS and the provenance."
