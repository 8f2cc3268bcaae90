"""The Maven bundle: a folder of artifacts as Maven Central takes it, or the reasons why it would not.

    python release/bundle.py FOLDER BUNDLE.zip [--signed]

What is checked is what Central asks of each component: the files, their checksums, what a POM must say, and, with
--signed, a signature beside each file. https://central.sonatype.org/publish/requirements/
"""

from __future__ import annotations

import argparse
import hashlib
import os
import sys
import xml.etree.ElementTree as ET
import zipfile
from datetime import datetime, timezone
from pathlib import Path

CHECKSUMS = ("md5", "sha1")
CLASSIFIERS = ("", "-sources", "-javadoc")
# What a POM must say, as paths of elements.
ELEMENTS = (
    "name", "description", "url", "licenses/license/name", "licenses/license/url", "developers/developer/name",
    "scm/url", "scm/connection",
)  # fmt: skip
_POM = "{http://maven.apache.org/POM/4.0.0}"


def components(folder: Path) -> list[Path]:
    """Return the folders of a Maven repository that hold a POM."""
    return sorted({pom.parent for pom in folder.rglob("*.pom")})


def problems(folder: Path, signed: bool = False, javadoc: bool = True) -> list[str]:
    """Return what Maven Central would refuse of a folder in the layout of a Maven repository, a sentence each."""
    if not components(folder):
        return [f"{folder} has no POM"]
    return [
        problem for component in components(folder) for problem in _of_component(component, folder, signed, javadoc)
    ]


def _of_component(component: Path, folder: Path, signed: bool, javadoc: bool) -> list[str]:
    version, artifact = component.name, component.parent.name
    stem = f"{artifact}-{version}"
    expected = [f"{stem}{classifier}.jar" for classifier in CLASSIFIERS if javadoc or classifier != "-javadoc"]
    reasons = []
    for name in [f"{stem}.pom", *expected]:
        file = component / name
        if not file.exists():
            reasons.append(f"{artifact} has no {name}")
            continue
        content = file.read_bytes()
        for kind in CHECKSUMS:
            beside = component / f"{name}.{kind}"
            if not beside.exists():
                reasons.append(f"{name} has no checksum {beside.name}")
            elif beside.read_text().split()[0] != hashlib.new(kind, content).hexdigest():
                reasons.append(f"{beside.name} is not the checksum of {name}")
        if signed and not (component / f"{name}.asc").exists():
            reasons.append(f"{name} has no signature")
        if name.endswith(".jar") and "-javadoc" not in name:
            with zipfile.ZipFile(file) as archive:
                lacking = {"META-INF/LICENSE", "META-INF/NOTICE"} - set(archive.namelist())
            reasons += [f"{name} lacks {entry}" for entry in sorted(lacking)]
    if (component / f"{stem}.pom").exists():
        reasons += _of_pom(component / f"{stem}.pom", component.relative_to(folder))
    return reasons


def _of_pom(file: Path, place: Path) -> list[str]:
    pom = ET.parse(file).getroot()

    def text(path: str) -> str:
        return (pom.findtext("/".join(_POM + part for part in path.split("/"))) or "").strip()

    reasons = [f"{file.name} says no {path}" for path in ELEMENTS if not text(path)]
    coordinates = Path(*text("groupId").split("."), text("artifactId"), text("version"))
    if coordinates != place:
        reasons.append(f"{file.name} has the coordinates of {coordinates}, and lies in {place}")
    if text("version").endswith("-SNAPSHOT"):
        reasons.append(f"{file.name} is of a snapshot")
    for dependency in pom.iter(f"{_POM}dependency"):
        name = dependency.findtext(f"{_POM}artifactId")
        if not dependency.findtext(f"{_POM}version"):
            reasons.append(f"{file.name} names no version of {name}")
    return reasons


def write_zip(folder: Path, bundle: Path, epoch: int) -> None:
    """Write all files of a folder into a zip, sorted, of one time and mode: the same bytes from the same files."""
    moment = datetime.fromtimestamp(epoch, timezone.utc).timetuple()[:6]
    with zipfile.ZipFile(bundle, "w", zipfile.ZIP_DEFLATED) as archive:
        for file in sorted(path for path in folder.rglob("*") if path.is_file()):
            entry = zipfile.ZipInfo(file.relative_to(folder).as_posix(), moment)
            entry.compress_type = zipfile.ZIP_DEFLATED
            entry.external_attr = 0o100644 << 16
            archive.writestr(entry, file.read_bytes())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--signed", action="store_true")
    options = parser.parse_args()
    if reasons := problems(options.folder, options.signed):
        sys.exit("Maven Central would refuse this:\n  " + "\n  ".join(reasons))
    write_zip(options.folder, options.bundle, int(os.environ["SOURCE_DATE_EPOCH"]))


if __name__ == "__main__":
    main()
