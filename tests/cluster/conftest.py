"""What the tests with containers share: podman, and the image under test."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

IMAGE = os.environ.get("CTMAHOUT_TEST_IMAGE", "localhost/ctmahout:test")


def absent(what):
    if os.environ.get("CI") == "true":
        pytest.fail(what)
    pytest.skip(what)


@pytest.fixture(scope="session")
def podman(tmp_path_factory):
    """Runs podman, and returns the CompletedProcess."""
    os.environ.setdefault("CONTAINERS_CONF", str(Path(__file__).with_name("containers.conf")))
    if not shutil.which("podman"):
        absent("not installed: podman")

    # Its monitor leaves a file where it runs, if a container is killed for want of memory.
    folder = tmp_path_factory.mktemp("podman")

    def run(*args):
        return subprocess.run(["podman", *args], capture_output=True, text=True, check=False, cwd=folder)

    return run


@pytest.fixture(scope="session")
def image(podman):
    """The name of the image."""
    if podman("image", "exists", IMAGE).returncode != 0:
        absent(f"no image {IMAGE}: `make image`")
    return IMAGE


@pytest.fixture(scope="session")
def caches(tmp_path_factory):
    """Options of podman that keep what a first run compiles: Numba's functions, and Python's modules.

    The image holds modules as text: without this each start of `ctmahout` takes seven seconds of a processor more.
    pytest's workers share it.
    """
    base = tmp_path_factory.getbasetemp()
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "compiled"
    options = ["--env", "PYTHONPYCACHEPREFIX=/tmp/pycache", "--env", "PYTHONDONTWRITEBYTECODE="]
    for name in ("numba", "pycache"):
        (folder / name).mkdir(parents=True, exist_ok=True)
        (folder / name).chmod(0o777)
        options += ["--volume", f"{folder / name}:/tmp/{name}"]
    return options


@pytest.fixture(scope="session")
def kfp_python(root):
    """The Python of an environment that has Kubeflow's kfp, which ours need not have."""
    python = root / ".venv-kfp" / "bin" / "python"
    if not python.exists():
        absent("no kfp: `make .venv-kfp/ready`")
    return python
