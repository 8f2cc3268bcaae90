"""The whole of a release, twice from one commit: the same bytes."""

import hashlib
import os
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

pytestmark = [pytest.mark.cluster, pytest.mark.release]


def rehearse(checkout):
    """Build a release of the last commit in a checkout, and return the SHA-256 of each of its files."""
    options = subprocess.run([ROOT / "tests/cluster/image.sh", "options"], capture_output=True, text=True, check=True)
    environment = os.environ | {
        "CONTAINER": str(ROOT / "tests/cluster/podman.sh"),
        "IMAGE_OPTIONS": options.stdout.splitlines()[-1],
    }
    subprocess.run([checkout / "release/build.sh", "HEAD"], env=environment, check=True)
    release = checkout / "build" / "release"
    files = [file for file in release.rglob("*") if file.is_file()]
    return {str(file.relative_to(release)): hashlib.sha256(file.read_bytes()).hexdigest() for file in files}


@pytest.mark.timeout(5400)
def test_the_same_commit_gives_the_same_bytes_in_another_place(tmp_path):
    subprocess.run(["git", "clone", "--quiet", ROOT, tmp_path / "one"], check=True)
    subprocess.run(["git", "clone", "--quiet", ROOT, tmp_path / "a-longer-name"], check=True)
    first = rehearse(tmp_path / "one")
    second = rehearse(tmp_path / "a-longer-name")
    assert len(first) > 100
    assert [name for name in first.keys() | second.keys() if first.get(name) != second.get(name)] == []
