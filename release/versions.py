"""The version: pyproject.toml says it, and all that mentions it follows.

python release/versions.py                  check that they agree
python release/versions.py cut 0.2.0        write another one everywhere, and close its section of CHANGELOG.md
python release/versions.py notes                print the section of this version in CHANGELOG.md
python release/versions.py compatible       print the last release that this version promises to be compatible with
"""

from __future__ import annotations

import argparse
import datetime
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
NUMBER = r"\d+\.\d+\.\d+(?:(?:a|b|rc)\d+)?"

# How files mention the version, with the number in the middle.
MENTIONS = [
    re.compile(rf"({before})({NUMBER})({after})", re.MULTILINE)
    for before, after in [
        (r'^version = "', '"$'),  # pyproject.toml
        (r"^version: ", "$"),  # CITATION.cff
        (r"ctmahout:", r"\b"),  # the image
        (r"ctmahout-", "-py3-none-any"),  # the wheel
        (r"newTag: ", "$"),  # kustomize
        (r"org\.ctmahout:[\w.-]+:", r"\b"),  # Maven, in one word
        (r'"org\.ctmahout" %% "[\w.-]+" % "', '"'),  # and in sbt's
    ]
]
# Where they do. Elsewhere a number is a record of what once wrote a file, or means something else.
PLACES = ("pyproject.toml", "CITATION.cff", "README.md", "docker", "deploy", "docs")
RECORDS = ("docs/adr/", "docs/numbers.")

_RELEASE = re.compile(rf"^## \[({NUMBER})\]", re.MULTILINE)
_UNRELEASED = "## [Unreleased]\n"


def read_version(root: Path = ROOT) -> str:
    """Return the version that pyproject.toml says."""
    match = MENTIONS[0].search((root / "pyproject.toml").read_text(encoding="utf-8"))
    if match is None:
        raise ValueError(f"{root / 'pyproject.toml'}: no version such as 1.2.3")
    return match[2]


def files(root: Path = ROOT) -> list[Path]:
    """Return the files that may mention the version."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--", *PLACES], cwd=root, capture_output=True, text=True, check=True
    ).stdout.split("\0")
    suffixes = (".md", ".toml", ".cff", ".yaml", ".py", "Dockerfile")
    return [root / name for name in listed if name.endswith(suffixes) and not name.startswith(RECORDS)]


def disagreements(root: Path = ROOT) -> list[str]:
    """Return each mention of another version, as ``FILE: MENTION``."""
    version = read_version(root)
    return [
        f"{file.relative_to(root)}: {match[0]}"
        for file in files(root)
        for mention in MENTIONS
        for match in mention.finditer(file.read_text(encoding="utf-8"))
        if match[2] != version
    ]


def releases(root: Path = ROOT) -> list[str]:
    """Return the versions that CHANGELOG.md has a section of, the last one first."""
    return _RELEASE.findall((root / "CHANGELOG.md").read_text(encoding="utf-8"))


def notes(version: str, root: Path = ROOT) -> str:
    """Return the section of a version in CHANGELOG.md, or what is unreleased if it has none."""
    text = (root / "CHANGELOG.md").read_text(encoding="utf-8")
    _, found, rest = text.partition(f"## [{version}]")
    if not found:
        _, found, rest = text.partition("## [Unreleased]")
    return f"{found}{re.split(r'^## ', rest, maxsplit=1, flags=re.MULTILINE)[0]}".strip() + "\n"


def compatible(version: str, others: list[str]) -> str | None:
    """Return the last release of others if a version promises to be compatible with it, else None.

    It does if the first numbers are equal and, up to 1.0, the second ones (early-semver).
    """
    last = next((other for other in others if other != version), None)
    if last is None:
        return None
    line = [number.split(".")[: 2 if number.startswith("0.") else 1] for number in (version, last)]
    return last if line[0] == line[1] else None


def cut(version: str, date: str, root: Path = ROOT) -> list[Path]:
    """Write a version wherever one is mentioned, and close its section of the changelog.

    Returns the files that changed. Raises ValueError, and writes nothing, if the version is no number, has a section
    already, or there is nothing to put into one.
    """
    if not re.fullmatch(NUMBER, version):
        raise ValueError(f"{version} is no version such as 1.2.3 or 1.2.3rc1")
    if version in releases(root):
        raise ValueError(f"CHANGELOG.md has a section of {version} already")
    changelog = root / "CHANGELOG.md"
    text = changelog.read_text(encoding="utf-8")
    if _UNRELEASED not in text:
        raise ValueError("CHANGELOG.md has no section ## [Unreleased]")
    if len(notes("Unreleased", root).splitlines()) == 1:
        raise ValueError("CHANGELOG.md has nothing under ## [Unreleased]")
    rewritten = {changelog: text.replace(_UNRELEASED, f"{_UNRELEASED}\n## [{version}] - {date}\n", 1)}
    for file in files(root):
        new = old = file.read_text(encoding="utf-8")
        for mention in MENTIONS:
            new = mention.sub(rf"\g<1>{version}\g<3>", new)
        if file.name == "CITATION.cff":
            new = re.sub(r"^date-released: .*\n", "", new, flags=re.MULTILINE)
            new = re.sub(r"^(version: .*\n)", rf"\g<1>date-released: {date}\n", new, flags=re.MULTILINE)
        if new != old:
            rewritten[file] = new
    for file, new in rewritten.items():
        file.write_text(new, encoding="utf-8")
    return list(rewritten)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    verbs = parser.add_subparsers(dest="verb")
    cutting = verbs.add_parser("cut")
    cutting.add_argument("version")
    cutting.add_argument("--date", default=datetime.datetime.now(datetime.timezone.utc).date().isoformat())
    verbs.add_parser("notes")
    verbs.add_parser("compatible")
    options = parser.parse_args()
    if options.verb == "cut":
        try:
            changed = cut(options.version, options.date)
        except ValueError as error:
            sys.exit(f"Nothing was cut: {error}.")
        print("\n".join(str(file.relative_to(ROOT)) for file in changed))
        print(f"Next: git commit --all --message 'Release {options.version}' && git tag --annotate v{options.version}")
    elif options.verb == "notes":
        print(notes(read_version()), end="")
    elif options.verb == "compatible":
        print(compatible(read_version(), releases()) or "")
    elif wrong := disagreements():
        sys.exit("pyproject.toml says " + read_version() + ", and\n  " + "\n  ".join(wrong))


if __name__ == "__main__":
    main()
