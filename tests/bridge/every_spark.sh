#!/usr/bin/env bash
# Before a release: the suites of the JVM, and the wheel's jar in doors and spark-shell, on the newest release of every minor
# version of Spark that ctmahout is for, on JDK 17, and the newest of them on JDK 25 as well. Takes an hour or two.
#     tests/bridge/every_spark.sh WHEEL
set -euo pipefail
cd "$(dirname "$0")/../.."
wheel=$(realpath "$1")
failed=()

# The folder of a JDK of this major version.
jdk() {
    local release
    for release in "${JAVA_HOME:-/none}"/release /usr/lib/jvm/*/release /opt/*/release; do
        if grep -qs "^JAVA_VERSION=\"$1[.\"]" "$release"; then dirname "$release"; return; fi
    done
    echo "no JDK $1 in JAVA_HOME, /usr/lib/jvm or /opt" >&2
    return 1
}

attempt() {
    echo "== $*"
    "$@" || failed+=("$*")
}

# The newest release on Maven Central, which may have one later than Python's index, of this minor version or else $2.
on_maven() {
    local patch version
    for ((patch = ${1##*.}; patch >= 0; patch--)); do
        version=${1%.*}.$patch
        if ./sbt "-Dctmahout.spark=$version" "++2.13; bridge/update" >/dev/null 2>&1; then echo "$version"; return; fi
    done
    echo "$2"
}

# On this Spark, Scala and JDK.
suites() {
    attempt ./sbt "-Dctmahout.spark=$1" "-Dctmahout.jdk=$3" "++$2; samsaraSpark/test; bridge/test; sparkbindings/test"
}

for spark in '==3.5.*' '==4.0.*' '==4.1.*' '==4.2.*' '>=4,<5'; do
    folder=".venv-sparks/${spark//[^0-9.]/}"
    test -x "$folder/bin/python" || "${PYTHON:-python3}" -m venv "$folder"
    "$folder/bin/pip" install --quiet "$wheel[test,spark]" "pyspark$spark"
    "$folder/bin/pip" install --quiet --force-reinstall --no-deps "$wheel"
    version=$("$folder/bin/python" -c 'import pyspark; print(pyspark.__version__)')
    published=$(on_maven "$version" "${published:-}")
    echo "== Spark $version; the suites on $published"
    jdks=(17)
    if [[ $spark == '>='* ]]; then jdks+=(25); fi
    for java in "${jdks[@]}"; do
        home=$(jdk "$java")
        suites "$published" 2.13 "$home"
        if [[ $spark == '==3.5.'* ]]; then suites "$published" 2.12 "$home"; fi
        attempt env "JAVA_HOME=$home" "$folder/bin/python" -m pytest -q -m spark -n 2 --dist loadgroup \
            tests/bridge/test_doors.py tests/bridge/test_jar.py
    done
done

if ((${#failed[@]})); then printf 'failed: %s\n' "${failed[@]}" >&2; exit 1; fi
