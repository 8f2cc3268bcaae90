"""The list of what the packages hold and need, as CycloneDX: `sbom.py RELEASE` reads its wheel and its Maven folder.

The image has its own (docker/sbom.py). What a wheel or a jar needs is written as its metadata says it: a range, where
it is one.
"""

from __future__ import annotations

import hashlib
import os
import re
import sys
import uuid
import xml.etree.ElementTree as ET
import zipfile
from datetime import datetime, timezone
from email.parser import Parser
from pathlib import Path

from cyclonedx.model import HashAlgorithm, HashType, Property
from cyclonedx.model.bom import Bom
from cyclonedx.model.component import Component, ComponentType
from cyclonedx.model.license import LicenseExpression
from cyclonedx.output.json import JsonV1Dot6
from packageurl import PackageURL

_POM = "{http://maven.apache.org/POM/4.0.0}"
APACHE = LicenseExpression("Apache-2.0")


def library(purl: PackageURL, file: Path | None = None, **more: str) -> Component:
    """Return a package, with the checksum of its file if it is one of ours."""
    hashes = (
        [HashType(alg=HashAlgorithm.SHA_256, content=hashlib.sha256(file.read_bytes()).hexdigest())] if file else []
    )
    return Component(
        bom_ref=purl.to_string(),
        type=ComponentType.LIBRARY,
        group=purl.namespace,
        name=purl.name,
        version=purl.version,
        purl=purl,
        hashes=hashes,
        licenses=[APACHE] if file else [],
        properties=[Property(name=f"ctmahout:{name}", value=value) for name, value in more.items()],
    )


def maven(pom: Path) -> tuple[Component, list[Component]]:
    """Return a module with what it needs, but for its tests."""
    root = ET.parse(pom).getroot()

    def purl(element: ET.Element) -> PackageURL:
        group, name, version = (element.findtext(f"{_POM}{tag}") for tag in ("groupId", "artifactId", "version"))
        return PackageURL("maven", group, name, version)

    needed = [
        library(purl(dependency), scope=dependency.findtext(f"{_POM}scope") or "compile")
        for dependency in root.iter(f"{_POM}dependency")
        if dependency.findtext(f"{_POM}scope") != "test"
    ]
    return library(purl(root), pom.with_suffix(".jar")), needed


def python(wheel: Path) -> tuple[Component, list[Component]]:
    """Return the wheel with what it needs."""
    with zipfile.ZipFile(wheel) as archive:
        (name,) = (name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
        metadata = Parser().parsestr(archive.read(name).decode())
    needed = []
    for requirement in metadata.get_all("Requires-Dist", []):
        package, constraint, marker = re.fullmatch(r"([\w.-]+(?:\[[^\]]*\])?)([^;]*)(?:;(.*))?", requirement).groups()  # type: ignore[union-attr]
        more = {"range": constraint.strip(), "condition": (marker or "").strip()}
        needed.append(
            library(PackageURL("pypi", None, package), None, **{key: value for key, value in more.items() if value})
        )
    ours = library(PackageURL("pypi", None, "ctmahout", metadata["Version"]), wheel)
    return ours, needed


def mahout_version() -> str:
    """Return the version of Mahout that build.sbt compiles."""
    match = re.search(
        r'val mahoutVersion = "(.+)"', (Path(__file__).parents[1] / "build.sbt").read_text(encoding="utf-8")
    )
    assert match is not None
    return match[1]


def main(release: Path) -> str:
    epoch = datetime.fromtimestamp(int(os.environ["SOURCE_DATE_EPOCH"]), timezone.utc)
    (wheel,) = (release / "python").glob("*.whl")
    poms = sorted((release / "maven").rglob("*.pom"))
    all_of_it = [python(wheel), *(maven(pom) for pom in poms)]
    bom = Bom(serial_number=uuid.uuid5(uuid.NAMESPACE_URL, f"{wheel.name} {epoch.isoformat()}"))
    bom.metadata.timestamp = epoch
    bom.metadata.component = Component(
        bom_ref="release",
        type=ComponentType.APPLICATION,
        name="ctmahout",
        version=all_of_it[0][0].version,
        licenses=[APACHE],
    )
    # What was repackaged, and which modules the jars in the wheel are made of.
    mahout = library(PackageURL("maven", "org.apache.mahout", "mahout-core", mahout_version()), scope="repackaged")
    for ours, needed in all_of_it:
        if ours.name.startswith("mahout-core-repackaged"):
            needed.append(mahout)
        elif ours.name.startswith("ctmahout-bridge"):
            all_of_it[0][1].append(ours)
    known = {str(ours.purl): ours for ours, _ in all_of_it}
    for ours, needed in all_of_it:
        parts = [known.setdefault(str(component.purl), component) for component in needed]
        bom.register_dependency(ours, parts)
    bom.register_dependency(bom.metadata.component, [ours for ours, _ in all_of_it])
    for component in known.values():
        bom.components.add(component)
    return str(JsonV1Dot6(bom).output_as_string(indent=1))


if __name__ == "__main__":
    sys.stdout.write(main(Path(sys.argv[1])) + "\n")
