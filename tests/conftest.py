"""What all tests share: where real CT files are, and which tools must be there."""

import importlib.util
import json
import os
import shutil
import sys
import uuid
from pathlib import Path

import pytest
from object_store import Bucket, server

ROOT = Path(__file__).resolve().parent.parent


def missing(what: str) -> None:
    """Fail in CI, where everything must be there; elsewhere skip and say why."""
    if os.environ.get("CI") == "true":
        pytest.fail(what)
    pytest.skip(what)


# Where `make test` looks for tests of a kind: in the first folder all are of it.
KINDS = {"spark": ("bridge", "e2e"), "cluster": ("cluster",)}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Refuse a test that `make test` would not run, for its mark or its folder is missing."""
    for item in items:
        folder = item.path.relative_to(ROOT / "tests").parts[0]
        for kind, folders in KINDS.items():
            marked = item.get_closest_marker(kind) is not None
            if (marked and folder not in folders) or (folder == folders[0] and not marked):
                raise pytest.UsageError(f"{item.nodeid}: tests in {folders[0]} are marked {kind}, and others not")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Add what was skipped to the file that `make test` makes its last line from."""
    if file := os.environ.get("SKIPPED_TESTS"):
        reasons = [str(r.longrepr[2]).removeprefix("Skipped: ") for r in terminalreporter.stats.get("skipped", ())]
        Path(file).parent.mkdir(parents=True, exist_ok=True)
        with Path(file).open("a", encoding="utf-8") as lines:
            lines.writelines(json.dumps(reason) + "\n" for reason in reasons)


@pytest.fixture(scope="session")
def root() -> Path:
    return ROOT


@pytest.fixture(scope="session")
def ct_folder() -> Path:
    """Where real CT files are, if there are any (see CONTRIBUTING.md)."""
    return Path(os.environ.get("CTMAHOUT_TEST_DATA", ROOT.parent / "shared" / "data" / "ct"))


@pytest.fixture(scope="session")
def ct_data(ct_folder: Path) -> Path:
    """The folder of real CT files."""
    if not ct_folder.is_dir():
        missing(f"no real CT files at {ct_folder}")
    return ct_folder


@pytest.fixture(scope="session")
def dicom_tools() -> None:
    """dicom3tools, dcmtk and gdcm, the external judges of what we write."""
    absent = [tool for tool in ("dciodvfy", "dcentvfy", "dcmdump", "gdcmconv") if not shutil.which(tool)]
    if absent:
        missing(f"not installed: {', '.join(absent)}")


@pytest.fixture(scope="session")
def chromium() -> None:
    """A browser to look at reports with."""
    if not shutil.which("chromium"):
        missing("not installed: chromium")


@pytest.fixture(scope="session")
def extras() -> None:
    """The packages of our extras."""
    absent = [name for name in ("nibabel", "pynetdicom") if importlib.util.find_spec(name) is None]
    if absent:
        missing(f"not installed: {', '.join(absent)}")


@pytest.fixture(scope="session")
def s3_server():
    """The URL of an S3 store."""
    python = ROOT / ".venv-moto" / "bin" / "python"
    if not python.exists():
        missing("no S3 store: make .venv-moto/ready")
    with server(python) as url:
        yield url


@pytest.fixture
def bucket(s3_server, monkeypatch):
    """A new bucket; the environment of this process is that of somebody who may use it."""
    made = Bucket(f"ct-{uuid.uuid4().hex}", s3_server)
    made.create()
    for name, value in made.environment.items():
        monkeypatch.setenv(name, value)
    return made


@pytest.fixture(scope="session")
def s3a_jars():
    """The folder of Hadoop's connector for S3, in the version of this Spark's Hadoop."""
    folder = Path(sys.prefix) / "s3a"
    if not (folder / "ready").exists():
        missing("no connector for S3: make .venv-spark4/s3a/ready")
    return folder
