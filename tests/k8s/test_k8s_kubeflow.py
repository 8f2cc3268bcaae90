"""The pipeline for Kubeflow in a restricted namespace: each step in the pod that Kubeflow makes of it."""

import json
import subprocess
import sys

import pytest
from kube.compiled import Pipeline
from kube.fixtures import DEPLOY
from kube.step_pod import step_pod
from test_k8s_manifests import pixels

pytestmark = pytest.mark.k8s

KUBEFLOW = DEPLOY.parent / "kubeflow"


@pytest.mark.parametrize("name", ["volume", "s3"])
def test_a_restricted_namespace_admits_every_step(namespace, name, tmp_path, row):
    def admit(settings):
        pod = json.dumps(step_pod("step", settings, "ctmahout", ["true"], claim="ct"))
        return namespace.kubectl("apply", "-f", "-", "--dry-run=server", "--validate=strict", input=pod)

    settings = Pipeline(KUBEFLOW / f"{name}.yaml", tmp_path, None).settings
    for step in settings.values():
        assert "pod/step created" in admit(step)
    # Kubeflow leaves to a step who it runs as.
    with pytest.raises(RuntimeError, match='runAsNonRoot != true \\(pod or container "main"'):
        admit({key: value for key, value in step.items() if key != "securityContext"})
    row(f"{len(settings)} pods admitted")


def test_the_pipeline_step_by_step(namespace, data, image, tmp_path, row):
    program = "from ctmahout.cli import main; main()"
    phantom = ["phantom", data / "kubeflow", "--size", "96", "--slices", "8", "--dose", "0.02"]
    subprocess.run([sys.executable, "-c", program, *map(str, phantom)], check=True)
    steps = data / "kubeflow" / "steps"
    for folder in (steps, data / "kubeflow" / "work", data / "kubeflow" / "denoised"):
        folder.mkdir()
        folder.chmod(0o777)

    def run(words, image, settings):
        pod = step_pod("step", settings, image, words, claim="ct")
        # Outputs of steps, which Kubeflow's launcher hands on, lie where this machine sees them.
        main = pod["spec"]["containers"][-1]
        main["volumeMounts"].append({"name": "claim", "mountPath": str(data)})
        namespace.apply(pod)
        phase = namespace.ended("step")
        log = namespace.kubectl("logs", "step", "main")
        namespace.kubectl("delete", "pod", "step")
        return subprocess.CompletedProcess(words, int(phase != "Succeeded"), log, log)

    places = {"scans": "/data/kubeflow/noisy", "work": "/data/kubeflow/work", "denoised": "/data/kubeflow/denoised"}
    ran = Pipeline(KUBEFLOW / "volume.yaml", steps, run)(image=image, **places)
    names = [name.rstrip("-0123456789") for name, _ in ran]
    assert names == ["fetch", "find", "prepare", "dssvd", "refine", "dssvd", "reconstruct"]
    here = ["denoise", data / "kubeflow" / "noisy", tmp_path / "here"]
    subprocess.run([sys.executable, "-c", program, *map(str, here)], check=True)
    there = pixels(data / "kubeflow" / "denoised")
    assert (there == pixels(tmp_path / "here")).all()
    row(f"{len(ran)} steps, {len(there)} slices, the pixels of this machine")
