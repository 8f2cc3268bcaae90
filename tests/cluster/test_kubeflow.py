"""The compiled pipeline, step by step from its YAML in containers of the image: a laptop's bytes, caching, failures."""

import json
import os
import shutil
import subprocess
import sys
import threading
import time
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pydicom
import pytest
import yaml
from kube.admission import restricted
from kube.compiled import Pipeline, StepError
from kube.fixtures import site
from kube.step_pod import step_pod

from ctmahout.exchange import read_factors, read_manifest

pytestmark = pytest.mark.cluster

CTMAHOUT = Path(sys.executable).with_name("ctmahout")
# OpenBLAS rounds by what it takes the processor for, which a variable on this machine may decide.
KERNELS = "OPENBLAS_CORETYPE=Haswell"
WHEN = "2026-01-31T12:00:00+00:00"
QUICK = {"method": "slices", "engine": "numpy", "timestamp": WHEN}


@pytest.fixture(scope="module")
def compiled(root):
    return root / "deploy" / "kubeflow"


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    """A folder that pods, which are users of their own, may write to."""
    folder = tmp_path_factory.mktemp("kubeflow")
    for parent in folder.parents[:2]:
        parent.chmod(0o755)
    return open_folder(folder)


@pytest.fixture(scope="module")
def pod(podman, shared, caches):
    """Runs a step as its pod would in a restricted namespace, and returns the CompletedProcess."""

    def run(words, image, settings, *options):
        user = ("--user", settings["securityContext"]["runAsUser"], "--security-opt", "no-new-privileges")
        locked = ("--rm", "--read-only", "--tmpfs", "/tmp", "--cap-drop", "all", *user, "--env", KERNELS)
        volumes = ("--volume", f"{shared}:{shared}", *caches)
        return podman("run", *locked, *volumes, *options, image, *words)

    return run


@pytest.fixture(scope="module")
def pipeline(compiled, pod, image, shared):
    """Returns a compiled pipeline, with a folder for what is mounted and options for podman."""

    def make(data, file=compiled / "volume.yaml", options=("--network", "none")):
        def run(words, image, settings):
            return pod(words, image, settings, "--volume", f"{data}:/data", *options)

        pipeline = Pipeline(file, open_folder(data / "steps"), run)
        return lambda **given: [(step.rstrip("-0123456789"), at) for step, at in pipeline(image=image, **given)]

    return make


@pytest.fixture(scope="module")
def phantoms(tmp_path_factory):
    """Two series: noise is measured in "noisy"; "calm" has too little tissue for that."""
    made = tmp_path_factory.mktemp("phantoms")
    for name, *more in (("noisy", "--size", 96, "--dose", 0.02), ("calm", "--size", 64, "--seed", 1)):
        here("phantom", made / name, "--slices", 8, *more)
    return {path.name: path / "noisy" for path in made.iterdir()}


@pytest.fixture(scope="module")
def cohort(shared, pipeline, phantoms):
    """A claim with both series, and the steps that the pipeline took."""
    data = open_folder(shared / "cohort")
    for name, folder in phantoms.items():
        shutil.copytree(folder, data / "scans" / name)
    return data, pipeline(data)(timestamp=WHEN, conf=["spark.ui.enabled=false"])


@pytest.fixture
def calm(shared, tmp_path, phantoms):
    """A claim with one series."""
    data = open_folder(shared / tmp_path.name)
    shutil.copytree(phantoms["calm"], data / "scans")
    return data


def open_folder(folder):
    folder.mkdir(exist_ok=True)
    folder.chmod(0o777)
    return folder


def here(*words):
    subprocess.run(["env", KERNELS, CTMAHOUT, *map(str, words)], check=True, capture_output=True)


def slices(folder):
    return {f.name: f.read_bytes() for f in sorted(Path(folder).glob("*.dcm"))}


def only(names):
    (name,) = names
    return name


def test_every_series_has_a_laptops_bytes(cohort):
    data, steps = cohort
    names = [name for name, _ in steps]
    assert names[:2] == ["fetch", "find"]
    once = ["prepare", "dssvd", "reconstruct"]
    assert sorted(names[2:]) == sorted([*once, *once, "refine", "dssvd"])
    here("denoise", data / "scans", data / "laptop", "--all-series", "--timestamp", WHEN)
    folders = sorted(path.name for path in (data / "laptop").glob("series-*"))
    runs = [json.loads((data / "laptop" / folder / "run.json").read_text()) for folder in folders]
    assert sorted(run["series"][0]["noise_removed"] > 0.1 for run in runs) == [False, True]
    for folder in folders:
        wanted = slices(data / "laptop" / folder / "auto")
        assert len(wanted) == 8
        assert slices(data / "denoised" / folder / "auto") == wanted


@pytest.fixture
def address(phantoms, tmp_path):
    """Where a series is to be had."""
    shutil.make_archive(tmp_path / "scan", "zip", phantoms["calm"])
    handler = partial(SimpleHTTPRequestHandler, directory=tmp_path)
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever).start()
        yield f"http://127.0.0.1:{server.server_port}/scan.zip"
        server.shutdown()


def test_from_an_address_to_a_bucket(address, bucket, compiled, phantoms, pipeline, shared, tmp_path):
    options = ["--network", "host", *(part for name in bucket.environment for part in ("--env", name))]
    places = {name: bucket.uri(name) for name in ("scans", "work", "denoised")}
    run = pipeline(open_folder(shared / tmp_path.name), compiled / "s3.yaml", options)
    steps = run(source=address, **places, **QUICK)
    assert "<html" in (steps[-1][1] / "report").read_text(encoding="utf-8")
    here(
        "denoise", phantoms["calm"], tmp_path / "laptop", "--method", "slices", "--engine", "numpy", "--timestamp", WHEN
    )
    wanted = slices(tmp_path / "laptop" / "auto")
    made = [key for key in bucket.keys("denoised/") if key.endswith(".dcm")]
    assert {key.rpartition("/")[2]: bucket.get(key) for key in made} == wanted
    for _, folder in steps:
        told = " ".join(file.read_text(encoding="utf-8") for file in folder.iterdir())
        assert not [value for name, value in bucket.environment.items() if "KEY" in name and value in told]


@pytest.mark.release
def test_spark_in_pods_of_its_own(phantoms, pipeline, podman, image, shared):
    with site(podman, image, open_folder(shared / "kube")) as kube:
        shutil.copytree(phantoms["calm"], kube.data / "scans")
        conf = kube.settings() | {"spark.driver.memory": "700m"}
        where = {"engine": "submit", "deploy_mode": "cluster", "master": f"k8s://{kube.inside}"}
        options = ("--network", kube.network, "--volume", f"{kube.data}:{kube.data}")
        places = {name: str(kube.data / name) for name in ("scans", "work", "denoised")}
        run = pipeline(kube.data, options=options)
        run(**QUICK | where | places, conf=[f"{key}={value}" for key, value in conf.items()])
        factors = read_manifest(only(kube.data.glob("work/*/*-submit/factors")), "factors")
        assert "mahout" in factors.writer
        assert ("ctmahout", "create", "pods") in kube.cluster.used  # a driver made executors
        assert kube.cluster.store.names() == []
        assert len(slices(only(kube.data.glob("denoised/*")) / "auto")) == 8


def test_report_and_metrics_are_artifacts(cohort):
    for _, folder in (step for step in cohort[1] if step[0] == "reconstruct"):
        assert "<html" in (folder / "report").read_text(encoding="utf-8")
        told = json.loads((folder / "executor_output.json").read_text(encoding="utf-8"))
        (metrics,) = told["artifacts"]["metrics"]["artifacts"]
        assert metrics["type"]["schemaTitle"] == "system.Metrics"
        assert "auto_anatomy_in_residual" in metrics["metadata"]
        assert all(isinstance(value, float) for value in metrics["metadata"].values())


def test_only_what_follows_from_another_matrix_is_done_again(calm, pipeline):
    run = pipeline(calm)
    assert [name for name, _ in run(**QUICK)] == ["fetch", "find", "prepare", "dssvd", "reconstruct"]
    before = slices(only((calm / "denoised").iterdir()) / "auto")
    file = min((calm / "scans").iterdir())
    original = file.read_bytes()
    image = pydicom.dcmread(file)
    image.PixelData = bytes([image.PixelData[0] ^ 1]) + image.PixelData[1:]
    image.save_as(file)
    assert [name for name, _ in run(**QUICK)] == ["fetch", "find", "prepare", "dssvd", "reconstruct"]
    changed = slices(only((calm / "denoised").iterdir()) / "auto")
    assert before.keys() == changed.keys()
    assert before != changed
    # And back: what the cache says was written must still be there.
    file.write_bytes(original)
    assert [name for name, _ in run(**QUICK)] == ["fetch", "find", "prepare", "reconstruct"]
    assert slices(only((calm / "denoised").iterdir()) / "auto") == before


def test_a_step_that_fails_says_why_and_ends_the_run(calm, pipeline):
    run = pipeline(calm)
    for file in (calm / "scans").iterdir():
        file.write_text("no CT")
    with pytest.raises(StepError, match="No CT series to denoise") as nothing:
        run(**QUICK)
    shutil.rmtree(calm / "scans")
    with pytest.raises(StepError, match="CTM_INPUT_NOT_FOUND") as absent:
        run(**QUICK)
    assert nothing.value.args[:2] == ("find", 1)
    assert absent.value.args[:2] == ("find", 3)
    assert not (calm / "denoised").exists()


@pytest.mark.parametrize("name", ["volume", "s3"])
def test_a_restricted_namespace_admits_every_step(compiled, name, tmp_path):
    settings = Pipeline(compiled / f"{name}.yaml", tmp_path, None).settings
    assert {"exec-fetch", "exec-reconstruct"} <= settings.keys()
    for step in settings.values():
        assert restricted("pods", step_pod("step", step, "ctmahout", ["true"])) is None
        # Kubeflow leaves to a step who it runs as.
        unset = {key: value for key, value in step.items() if key != "securityContext"}
        refused = restricted("pods", step_pod("step", unset, "ctmahout", ["true"]))
        assert 'runAsNonRoot != true (pod or container "main"' in refused


def test_the_yaml_is_what_the_program_compiles_to(compiled, kfp_python, tmp_path):
    subprocess.run([kfp_python, compiled / "pipeline.py", tmp_path], check=True)
    names = [str(file.relative_to(tmp_path)) for file in tmp_path.rglob("*.yaml")]
    assert len(names) == 8
    for name in names:
        made, kept = (list(yaml.safe_load_all((folder / name).read_text())) for folder in (tmp_path, compiled))
        # The version that pip has chosen.
        assert made[0].pop("sdkVersion").startswith("kfp-2.")
        assert kept[0].pop("sdkVersion").startswith("kfp-2.")
        assert made == kept, f"run {compiled / 'pipeline.py'}"


def test_steps_by_themselves_and_manifests_for_kubectl(compiled, kfp_python, tmp_path):
    load = "import sys; from kfp import components\nfor file in sys.argv[1:]: components.load_component_from_file(file)"
    subprocess.run([kfp_python, "-c", load, *(compiled / "components").iterdir()], check=True)
    more = ["--namespace", "imaging", "--memory", "16G", "--side-by-side", "8"]
    subprocess.run([kfp_python, compiled / "pipeline.py", tmp_path, *more], check=True)
    made = list(yaml.safe_load_all((tmp_path / "volume.yaml").read_text()))
    assert [document["kind"] for document in made] == ["Pipeline", "PipelineVersion"]
    assert {document["metadata"]["namespace"] for document in made} == {"imaging"}
    spec = made[1]["spec"]["pipelineSpec"]
    executors = spec["deploymentSpec"]["executors"].values()
    assert {e["container"]["resources"]["resourceMemoryLimit"] for e in executors} == {"16G"}
    loops = [t["iteratorPolicy"] for t in spec["root"]["dag"]["tasks"].values() if "iteratorPolicy" in t]
    assert loops == [{"parallelismLimit": 8}]


def test_kubeflows_own_runner_gives_the_same_bytes(calm, compiled, kfp_python, podman, image, tmp_path):
    socket = tmp_path / "podman.sock"
    given = QUICK | {"image": image, "find-series": [], "find-series-loop-item": "[1]"}
    script = Path(__file__).with_name("kfp_local.py")
    with subprocess.Popen(["podman", "system", "service", "--time", "0", f"unix://{socket}"]) as service:
        try:
            while not socket.exists():
                assert service.poll() is None
                time.sleep(0.1)
            words = [kfp_python, script, compiled / "volume.yaml", tmp_path / "root", calm, json.dumps(given)]
            environment = {**os.environ, "DOCKER_HOST": f"unix://{socket}"}
            done = subprocess.run(words, env=environment, capture_output=True, text=True, check=False)
        finally:
            service.terminate()
            left = podman("ps", "-aq", "--filter", "label=ctmahout-kfp").stdout.split()
            podman("rm", "--force", *left)
    assert done.returncode == 0, done.stdout + done.stderr
    assert len(left) == 3
    here("denoise", calm / "scans", calm / "laptop", "--method", "slices", "--engine", "numpy", "--timestamp", WHEN)
    assert slices(calm / "denoised" / "[1]" / "auto") == slices(calm / "laptop" / "auto")


def test_the_page_own_step(calm, compiled, kfp_python, pipeline, root, tmp_path):
    file = tmp_path / "own.yaml"
    example = root / "examples" / "own_step_kubeflow.py"
    subprocess.run([kfp_python, example, file], env={**os.environ, "PYTHONPATH": str(compiled)}, check=True)
    places = {name: f"/data/{name}" for name in ("scans", "work", "denoised")}
    steps = pipeline(calm, file)(**places, engine="numpy")
    assert [name for name, _ in steps] == ["prepare", "dssvd", "own-step", "reconstruct"]
    found, chosen = (read_factors(calm / "work" / name) for name in ("factors", "chosen"))
    assert 0 < chosen.rank < found.rank
    assert len(slices(calm / "denoised" / "auto")) == 8
