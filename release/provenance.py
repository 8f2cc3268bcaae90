"""Writes where a release comes from: `provenance.py RELEASE COMMIT REF IMAGE_OPTIONS CONTAINER`.

An in-toto Statement v1 with SLSA's provenance predicate v1: what was built, each with its SHA-256; from which commit
and what else; with which tools. Without times of the clock, so that a second build writes the same.
https://slsa.dev/spec/v1.0/provenance
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent


def _search(pattern: str, file: str) -> str:
    match = re.search(pattern, (ROOT / file).read_text(encoding="utf-8"), re.MULTILINE)
    if match is None:
        raise ValueError(f"{file} has no {pattern}")
    return match[1]


def _first_line(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return (done.stdout or done.stderr).splitlines()[0]


def subjects(release: Path) -> list[dict[str, Any]]:
    """Return every file of a release but checksums, with its SHA-256."""
    return [
        {
            "name": file.relative_to(release).as_posix(),
            "digest": {"sha256": hashlib.sha256(file.read_bytes()).hexdigest()},
        }
        for file in sorted(release.rglob("*"))
        if file.is_file() and file.suffix not in (".md5", ".sha1")
    ]


def statement(release: Path, commit: str, ref: str, image_options: str, container: str) -> dict[str, Any]:
    """Return the statement about a release."""
    source = _search(r'^source = "(.+)"', "pyproject.toml")
    arguments = dict(word.split("=", 1) for word in re.findall(r"--build-arg[ =](\w+=\S*)", image_options))
    image = arguments.get("BASE_IMAGE") or _search(r"^ARG BASE_IMAGE=(.+)", "docker/Dockerfile")
    digest = _first_line(container, "image", "inspect", "--format", "{{.Digest}}", image).removeprefix("sha256:")
    mahout = _search(r'val mahoutVersion = "(.+)"', "build.sbt")
    launcher = _search(r"^version=(.+)", "sbt")
    return {
        "_type": "https://in-toto.io/Statement/v1",
        "subject": subjects(release),
        "predicateType": "https://slsa.dev/provenance/v1",
        "predicate": {
            "buildDefinition": {
                "buildType": f"{source}/blob/{commit}/release/build.sh",
                "externalParameters": {"ref": ref, "image": arguments},
                "internalParameters": {name: os.environ[name] for name in ("SOURCE_DATE_EPOCH", "UV_EXCLUDE_NEWER")},
                "resolvedDependencies": [
                    {"uri": f"git+{source}", "digest": {"gitCommit": commit}},
                    {"uri": f"docker:{image}", "digest": {"sha256": digest}},
                    {
                        "uri": f"pkg:maven/org.apache.mahout/mahout-core@{mahout}?classifier=sources",
                        "digest": {"sha256": _search(r'val pinned = "(.+)"', "build.sbt")},
                    },
                    {
                        "uri": f"pkg:maven/org.scala-sbt/sbt-launch@{launcher}",
                        "digest": {"sha256": _search(r"^sha256=(.+)", "sbt")},
                    },
                ],
            },
            "runDetails": {
                "builder": {
                    "id": f"{source}/blob/{commit}/release/build.sh",
                    "version": {
                        "java": _first_line("java", "-version"),
                        "uv": _first_line(".venv-build/bin/uv", "--version"),
                        "container": _first_line(container, "--version"),
                    },
                }
            },
        },
    }


if __name__ == "__main__":
    folder, *words = sys.argv[1:]
    release = Path(folder)
    (wheel,) = (release / "python").glob("*.whl")
    content = json.dumps(statement(release, *words), indent=1) + "\n"
    (release / f"ctmahout-{wheel.name.split('-')[1]}.intoto.json").write_text(content, encoding="utf-8")
