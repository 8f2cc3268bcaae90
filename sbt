#!/usr/bin/env bash
# Starts sbt, which is fetched once from Maven Central, at a pinned version and checksum. Needs Python and a JDK 17+.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

version=1.11.7
sha256=f92a2095ac75008764fe3b2b793ffe624c4fbef5bfd9b0022e4bc2daf668c651
cache="${XDG_CACHE_HOME:-$HOME/.cache}/ctmahout"
jar="$cache/sbt-launch-$version.jar"

# A mirror may be given; else Maven Central, whose name is that of Maven's own group (org.apache.maven) read backwards.
central="${MAVEN_CENTRAL:-}"

"${PYTHON:-python3}" - "$jar" "$sha256" "$central" "org/scala-sbt/sbt-launch/$version/sbt-launch-$version.jar" <<'PYTHON'
import hashlib, os, pathlib, sys, urllib.request

jar, expected, central, artifact = pathlib.Path(sys.argv[1]), *sys.argv[2:]
if jar.exists() and hashlib.sha256(jar.read_bytes()).hexdigest() == expected:
    sys.exit(0)
if not central:
    central = "https://repo." + ".".join(reversed("org.apache.maven".split("."))) + "/maven2"
print(f"sbt: fetching {artifact}", file=sys.stderr)
try:
    with urllib.request.urlopen(f"{central}/{artifact}", timeout=120) as response:
        content = response.read()
except OSError as e:
    sys.exit(f"sbt: cannot fetch {artifact} from Maven Central: {e}. Behind a mirror, set MAVEN_CENTRAL to its URL.")
if hashlib.sha256(content).hexdigest() != expected:
    sys.exit(f"sbt: {artifact} has another checksum than the one pinned in this script; it is not used.")
jar.parent.mkdir(parents=True, exist_ok=True)
partial = jar.with_suffix(f".{os.getpid()}")
partial.write_bytes(content)
partial.replace(jar)
PYTHON

java="${JAVA_HOME:+$JAVA_HOME/bin/}java"
# The vector module is named here too, because javac inside sbt compiles against it.
exec "$java" --add-modules jdk.incubator.vector -Xmx3g -Xss8m \
    -Dsbt.override.build.repos=true -Dsbt.repository.config=project/repositories -Dsbt.server.autostart=false \
    -jar "$jar" "$@"
