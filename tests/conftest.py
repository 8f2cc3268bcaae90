"""What all tests share: where real CT files are, and which tools must be there."""

import importlib.util
import json
import os
import shutil
import sys
import uuid
from pathlib import Path

import orthanc
import pytest
from helpers import missing
from object_store import Bucket, server
from synthetic_ct import write_synthetic_ct

ROOT = Path(__file__).resolve().parent.parent


# Where `make test` looks for tests of a kind: in the first folder all are of it.
KINDS = {"spark": ("bridge", "e2e"), "cluster": ("cluster",), "k8s": ("k8s",)}

# By `make k8s` only, which names it.
collect_ignore = ["k8s"]


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
    is_worker = hasattr(terminalreporter.config, "workerinput")  # pytest-xdist's, whose tests the controller counts
    if (file := os.environ.get("SKIPPED_TESTS")) and not is_worker:
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
def real_ct(ct_folder: Path) -> Path:
    """The folder of real CT files."""
    if not ct_folder.is_dir():
        missing(f"no real CT files at {ct_folder}")
    return ct_folder


@pytest.fixture(scope="session")
def ct_data(ct_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of real CT files or, where there is none, one of series that were made up; CI has the real ones."""
    if ct_folder.is_dir():
        return ct_folder
    if os.environ.get("CI") == "true":
        missing(f"no real CT files at {ct_folder}")
    folder = tmp_path_factory.mktemp("ct")
    write_synthetic_ct(folder)
    return folder


@pytest.fixture(scope="session")
def dicom_tools() -> None:
    """dicom3tools, dcmtk and gdcm, the external judges of what we write."""
    absent = [tool for tool in ("dciodvfy", "dcentvfy", "dcmdump", "gdcmconv") if not shutil.which(tool)]
    if absent:
        missing(f"not installed: {', '.join(absent)}")


@pytest.fixture(scope="session")
def archives() -> None:
    """Orthanc and dcmtk, the other ends of a DICOM node."""
    path = f"{os.environ['PATH']}:/usr/sbin"
    absent = [tool for tool in ("Orthanc", "storescu", "movescu") if not shutil.which(tool, path=path)]
    if absent:
        missing(f"not installed: {', '.join(absent)}")


@pytest.fixture(scope="session")
def chromium() -> None:
    """A browser to look at reports with."""
    if not shutil.which("chromium"):
        missing("not installed: chromium")


@pytest.fixture(scope="session")
def orthanc_installed() -> None:
    """An archive that speaks DICOMweb."""
    if not orthanc.is_installed():
        missing("not installed: orthanc, orthanc-dicomweb")


@pytest.fixture(scope="session")
def gnupg() -> None:
    """GnuPG, which signs a release."""
    if not shutil.which("gpg"):
        missing("not installed: gpg")


@pytest.fixture(scope="session")
def uv() -> Path:
    """The installer of the Makefile, which also builds wheels."""
    tool = ROOT / ".venv-build" / "bin" / "uv"
    if not tool.exists():
        missing("no uv: make .venv-build/ready")
    return tool


@pytest.fixture(scope="session")
def built_wheel() -> Path:
    """The wheel of this version, as `make wheel` builds it."""
    wheels = [*(ROOT / "dist").glob("ctmahout-*.whl")]
    if not wheels:
        missing("no wheel: make wheel")
    return wheels[0]


@pytest.fixture(scope="session")
def built_modules() -> Path:
    """The Maven folder that sbt writes beside the jars of the wheel."""
    folder = ROOT / "target" / "sona-staging"
    if not any(folder.rglob("*.pom")):
        missing("no Maven folder: make jars")
    return folder


@pytest.fixture(scope="session")
def extras() -> None:
    """The packages of our extras."""
    names = ("dicomweb_client", "highdicom", "nibabel", "pynetdicom", "reportlab", "starlette")
    absent = [name for name in names if importlib.util.find_spec(name) is None]
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
