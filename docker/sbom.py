"""Adds the jars of the image to the list of its Python packages: `sbom.py PYTHON.json FOLDER`, CycloneDX on stdout.

Maven leaves in META-INF/maven what a jar was built from: itself, and with shaded jars others too. Where none of it has
the file's name, that name is all there is. The same contents give the same list; SOURCE_DATE_EPOCH, if
set, is its time.
"""

import hashlib
import json
import os
import re
import sys
import uuid
import zipfile
from datetime import datetime, timezone
from pathlib import Path

from cyclonedx.model import HashAlgorithm, HashType
from cyclonedx.model.bom import Bom
from cyclonedx.model.component import Component, ComponentType
from cyclonedx.output.json import JsonV1Dot6
from packageurl import PackageURL


def coordinates(jar: Path) -> tuple[str | None, str, str | None]:
    """Return group, artifact and version."""
    with zipfile.ZipFile(jar) as archive:
        for name in archive.namelist():
            if re.fullmatch(r"META-INF/maven/.+/pom\.properties", name):
                lines = archive.read(name).decode("latin-1").splitlines()
                made = {key.strip(): value.strip() for key, _, value in (line.partition("=") for line in lines)}
                if f"{made['artifactId']}-{made['version']}" == jar.stem:
                    return made["groupId"], made["artifactId"], made["version"]
    named = re.fullmatch(r"(.+?)(?:-(\d.*))?", jar.stem)
    assert named is not None
    return None, named[1], named[2]


def component(jar: Path, folder: Path) -> Component:
    """Return a jar as CycloneDX has it."""
    group, name, version = coordinates(jar)
    return Component(
        bom_ref=str(jar.relative_to(folder)),
        type=ComponentType.LIBRARY,
        group=group,
        name=name,
        version=version,
        purl=PackageURL("maven", group, name, version) if group else None,
        hashes=[HashType(alg=HashAlgorithm.SHA_256, content=hashlib.sha256(jar.read_bytes()).hexdigest())],
    )


bom = Bom.from_json(json.loads(Path(sys.argv[1]).read_text()))
root = Path(sys.argv[2]).resolve()
for path in sorted(root.glob("lib/**/*.jar")):
    bom.components.add(component(path, root))
contents = "\n".join(sorted(f"{part.bom_ref} {part.version}" for part in bom.components))
bom.serial_number = uuid.uuid5(uuid.NAMESPACE_URL, contents)
if epoch := os.environ.get("SOURCE_DATE_EPOCH"):
    bom.metadata.timestamp = datetime.fromtimestamp(int(epoch), timezone.utc)
sys.stdout.write(JsonV1Dot6(bom).output_as_string(indent=1))
