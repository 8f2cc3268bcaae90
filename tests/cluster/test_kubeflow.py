"""The compiled pipeline, step by step from its YAML in containers of the image: a laptop's bytes, caching, failures."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from compiled import Pipeline

pytestmark = pytest.mark.cluster

CTMAHOUT = Path(sys.executable).with_name("ctmahout")
# OpenBLAS rounds by what it takes the processor for, which a variable on this machine may decide.
KERNELS = "OPENBLAS_CORETYPE=Haswell"
WHEN = "2026-01-31T12:00:00+00:00"


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    """A folder that pods, which are users of their own, may write to."""
    folder = tmp_path_factory.mktemp("kubeflow")
    for parent in folder.parents[:2]:
        parent.chmod(0o755)
    folder.chmod(0o777)
    return folder


@pytest.fixture(scope="module")
def pod(podman, image, shared):
    """Runs a step as a pod would, with the claim at /data, and returns the CompletedProcess."""
    (shared / "data").mkdir(mode=0o777)
    (shared / "data").chmod(0o777)

    def run(words, image):
        locked = ("--rm", "--read-only", "--tmpfs", "/tmp", "--network", "none", "--cap-drop", "all", "--env", KERNELS)
        volumes = ("--volume", f"{shared}:{shared}", "--volume", f"{shared / 'data'}:/data")
        return podman("run", *locked, *volumes, image, *words)

    return run


@pytest.fixture(scope="module")
def scans(shared):
    """Two series: noise is found in one of them, and none in the other."""
    for name, *more in (("noisy", "--dose", "0.02"), ("calm", "--seed", "1")):
        made = shared / "phantoms" / name
        subprocess.run([CTMAHOUT, "phantom", made, "--size", "64", "--slices", "8", *more], check=True)
        shutil.copytree(made / "noisy", shared / "data" / "scans" / name)
    return shared / "data" / "scans"


@pytest.fixture(scope="module")
def runs(root, shared, pod, scans, image):
    """The pipeline that mounts a claim, and the steps of two runs of it."""
    pipeline = Pipeline(root / "deploy" / "kubeflow" / "volume.yaml", shared, pod)
    given = {"image": image, "timestamp": WHEN, "conf": ["spark.ui.enabled=false"]}
    return [pipeline(**given), pipeline(**given)]


def slices(folder):
    return {f.name: f.read_bytes() for f in sorted(Path(folder).glob("*.dcm"))}


def test_every_series_has_a_laptops_bytes(runs, scans, shared):
    names = [name for name, _ in runs[0]]
    assert names[:2] == ["fetch", "find"]
    assert sorted(n.rpartition("-")[0] if n[-1].isdigit() else n for n in names[2:]) == sorted(
        ["prepare", "dssvd", "refine", "dssvd", "reconstruct", "prepare", "dssvd", "reconstruct"]
    )
    subprocess.run(
        ["env", KERNELS, CTMAHOUT, "denoise", scans, shared / "laptop", "--all-series", "--timestamp", WHEN], check=True
    )
    folders = sorted(path.name for path in (shared / "laptop").glob("series-*"))
    assert len(folders) == 2
    for folder in folders:
        here = slices(shared / "laptop" / folder / "auto")
        assert len(here) == 8
        assert slices(shared / "data" / "denoised" / folder / "auto") == here


def test_report_and_metrics_are_artifacts(runs, shared):
    for _, folder in (step for step in runs[0] if step[0].startswith("reconstruct")):
        assert "<html" in (folder / "report").read_text(encoding="utf-8")
        told = json.loads((folder / "executor_output.json").read_text(encoding="utf-8"))
        (metrics,) = told["artifacts"]["metrics"]["artifacts"]
        assert metrics["type"]["schemaTitle"] == "system.Metrics"
        assert "auto_anatomy_in_residual" in metrics["metadata"]
        assert all(isinstance(value, float) for value in metrics["metadata"].values())


def test_what_follows_from_the_same_matrix_is_not_done_again(runs):
    assert [name for name, _ in runs[1]] == ["fetch", "find", "prepare", "prepare"]
