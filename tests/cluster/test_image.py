"""The image as its users run it: not root, nothing writable but /tmp and /work, no network, little memory."""

import json
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from ctmahout.exchange import read_factors, write_matrix

pytestmark = pytest.mark.cluster

CTMAHOUT = Path(sys.executable).with_name("ctmahout")
# OpenBLAS rounds by what it takes the processor for, which a variable on this machine may decide.
KERNELS = "OPENBLAS_CORETYPE=Haswell"
LOCKED = ("--read-only", "--tmpfs", "/tmp", "--network", "none", "--memory", "2g", "--cap-drop", "all")


@pytest.fixture
def work(tmp_path):
    """A folder that whoever the container runs as may write to."""
    tmp_path.chmod(0o777)
    return tmp_path


@pytest.fixture
def run(podman, image, work, caches):
    """Runs a command in the image, with a folder at /work, and returns what it printed."""

    def run(*command, options=(), code=0):
        places = ("--volume", f"{work}:/work", *caches)
        done = podman("run", "--rm", *LOCKED, *places, *options, image, *map(str, command))
        assert done.returncode == code, done.stdout + done.stderr
        return done.stdout

    return run


def test_the_demo_gives_the_laptops_numbers(run, work, tmp_path_factory):
    laptop = tmp_path_factory.mktemp("laptop")

    def here(*command):
        words = ["env", KERNELS, CTMAHOUT, *map(str, command)]
        return subprocess.run(words, cwd=laptop, capture_output=True, text=True, check=True).stdout

    def there(*command):
        return run("ctmahout", *command, options=("--env", KERNELS))

    for command in (
        ("phantom", "phantom", "--size", 96, "--slices", 8, "--dose", 0.02),
        ("denoise", "phantom/noisy", "out", "--timestamp", "2026-01-31T12:00:00+00:00", "--effort", "fast"),
    ):
        there(*command)
        here(*command)
    compare = ("compare", "out/auto", "phantom/clean", "--json")
    assert json.loads(there(*compare)) == json.loads(here(*compare))
    made = [{f.name: f.read_bytes() for f in sorted(folder.rglob("*.dcm"))} for folder in (work, laptop)]
    assert len(made[0]) == 8
    assert made[0] == made[1]
    assert {f.stat().st_uid for f in work.glob("out/**/*")} == {185}
    told = json.loads((work / "out" / "run.json").read_text())
    assert told["series"][0]["noise_removed"] > 0.1


@pytest.mark.parametrize("options", [(), ("--user", "123456:0", "--passwd=false", "--read-only=false")])
def test_spark_starts_for_any_user(run, work, options):
    values = np.random.default_rng(0).standard_normal((60, 5))
    write_matrix(work / "matrix", [values], dtype="float64", units="1", centring="none", layout={})
    run("ctmahout", "dssvd", "matrix", "factors", options=options)
    np.testing.assert_allclose(read_factors(work / "factors").s, np.linalg.svd(values)[1], rtol=1e-12)
    told = json.loads(run("ctmahout", "doctor", "--json", options=options))
    assert all(check["ok"] for check in told), told


@pytest.mark.release
def test_stopping_a_container_ends_the_run_and_leaves_nothing(podman, image, run, work):
    run("ctmahout", "phantom", "phantom", "--size", 256, "--slices", 24, "--dose", 0.05)
    name = f"ctmahout-stop-{work.name}"
    command = ("ctmahout", "denoise", "phantom/noisy", "out")
    podman("run", "--detach", "--name", name, *LOCKED, "--volume", f"{work}:/work", image, *command)
    try:
        deadline = time.monotonic() + 120
        while not list(work.glob("out.partial-*/work/matrix/_ctmahout.json")):
            assert time.monotonic() < deadline, podman("logs", name).stderr
            time.sleep(0.2)
        podman("stop", "--time", "60", name)
        assert podman("wait", name).stdout.strip() == "130"
    finally:
        podman("rm", "--force", name)
    assert [path.name for path in work.iterdir()] == ["phantom"]


def test_what_is_in_it_is_listed_and_nothing_that_builds(run, podman, image):
    listed = json.loads(run("cat", "/opt/ctmahout/sbom.cdx.json"))
    assert listed["bomFormat"] == "CycloneDX"
    names = {component["name"] for component in listed["components"]}
    assert {"ctmahout", "numpy", "pydicom", "pyspark"} <= names
    assert "Apache License" in run("cat", "/opt/ctmahout/LICENSE")
    assert "Mahout" in run("cat", "/opt/ctmahout/NOTICE")
    for tool in ("gcc", "javac", "sbt"):
        run("bash", "-c", f"command -v {tool}", code=1)
    variables = json.loads(podman("image", "inspect", image).stdout)[0]["Config"]["Env"]
    assert not [v for v in variables if any(word in v.upper() for word in ("KEY", "SECRET", "TOKEN", "BUCKET"))]
