"""The manifests that we ship: what Kubernetes takes, and what the image and the jar have."""

import json
import re
import subprocess
import sys
from pathlib import Path

import jsonpatch
import pytest
import yaml
from kube.admission import restricted
from kubeflow_spark_api.models import SparkV1alpha1SparkConnect, SparkV1beta2SparkApplication

from ctmahout.engines import Request, connect
from ctmahout.storage import Uri, parse_location

VALIDATE = Path(sys.executable).with_name("kubernetes-validate")


@pytest.fixture(scope="module")
def manifests(root):
    return root / "deploy" / "k8s"


def documents(file):
    return list(yaml.safe_load_all(file.read_text(encoding="utf-8")))


def test_kubernetes_knows_every_field(manifests):
    files = [*manifests.glob("base/[!k]*.yaml"), *manifests.glob("*/claim.yaml"), *manifests.glob("*/roles.yaml")]
    files += [manifests.parent / "kubeflow" / "roles.yaml", manifests / "node" / "node.yaml"]
    assert len(files) == 7
    done = subprocess.run([VALIDATE, "--strict", *files], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_runs_of_kubeflow_are_bound_to_roles_that_are_there(manifests):
    files = [manifests / folder / "roles.yaml" for folder in ("base", "spark-operator")]
    found = {(d["kind"], d["metadata"]["name"]) for file in files for d in documents(file)}
    for binding in documents(manifests.parent / "kubeflow" / "roles.yaml"):
        assert (binding["roleRef"]["kind"], binding["roleRef"]["name"]) in found
        assert (binding["kind"], binding["metadata"]["name"]) not in found


def test_compiled_pipelines_have_the_step_as_it_is(root):
    folder = root / "deploy" / "kubeflow"
    step = (folder / "step.py").read_text(encoding="utf-8")
    files = [folder / "volume.yaml", folder / "s3.yaml", *folder.glob("components/*.yaml")]
    assert len(files) == 8
    for file in files:
        executors = documents(file)[0]["deploymentSpec"]["executors"]
        for executor in executors.values():
            assert executor["container"]["command"] == ["python3", "-c", step], f"compile {file} anew"


def test_a_typing_error_is_found(manifests, tmp_path):
    text = (manifests / "base" / "job.yaml").read_text(encoding="utf-8")
    (tmp_path / "job.yaml").write_text(text.replace("readOnlyRootFilesystem", "readonlyRootFilesystem"))
    assert subprocess.run([VALIDATE, "--strict", tmp_path / "job.yaml"], capture_output=True, check=False).returncode


def test_kustomizations_name_files_that_are_there(manifests):
    for file in manifests.rglob("kustomization.yaml"):
        (told,) = documents(file)
        assert all((file.parent / name).exists() for name in told["resources"]), file


def test_the_job_of_the_s3_overlay_has_no_volume_and_no_key(manifests, tmp_path):
    (overlay,) = documents(manifests / "s3" / "kustomization.yaml")
    (patch,) = overlay["patches"]
    (job,) = documents(manifests / "base" / "job.yaml")
    assert patch["target"] == {"kind": job["kind"], "name": job["metadata"]["name"]}
    # It tests itself that it takes away what it means to.
    job = jsonpatch.apply_patch(job, yaml.safe_load(patch["patch"]))
    (tmp_path / "job.yaml").write_text(yaml.safe_dump(job), encoding="utf-8")
    done = subprocess.run([VALIDATE, "--strict", tmp_path / "job.yaml"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    pod = job["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    assert [volume["name"] for volume in pod["volumes"]] == ["tmp"]
    assert [mount["name"] for mount in container["volumeMounts"]] == ["tmp"]
    for place in container["args"][2:]:
        assert isinstance(parse_location(place), Uri)
    assert container["envFrom"] == [{"secretRef": {"name": "ctmahout", "optional": True}}]
    assert pod["serviceAccountName"] in {d["metadata"]["name"] for d in documents(manifests / "base" / "roles.yaml")}
    assert "env" not in container


def known_to_the_operator(application):
    """The operator's published model drops what it does not know, and refuses what is of another type."""
    return SparkV1beta2SparkApplication.from_dict(application).to_dict() == application


def test_the_operator_knows_every_field_of_its_applications(manifests, monkeypatch):
    monkeypatch.setenv("KUBECONFIG", "/nonexistent")
    (ours,) = documents(manifests / "spark-operator" / "dssvd.yaml")
    assert known_to_the_operator(ours)
    with connect("operator", master="k8s://http://127.0.0.1:9", image="i", driver_memory="4g") as engine:
        made = engine._application("ctmahout-1", Request("/m", "/f"))
    assert known_to_the_operator(made)
    made["spec"]["driver"]["serviceAcount"] = "ctmahout"
    assert not known_to_the_operator(made)


def test_the_operators_application_is_what_the_image_has(manifests, root):
    (application,) = documents(manifests / "spark-operator" / "dssvd.yaml")
    spec = application["spec"]
    text = (root / "docker" / "Dockerfile").read_text(encoding="utf-8")
    assert spec["mainApplicationFile"].removeprefix("local://") in text
    assert spec["mainClass"] == "org.ctmahout.bridge.Main"
    flag, request = spec["arguments"]
    assert flag == "--request"
    Request(**json.loads(request))
    accounts = {d["metadata"]["name"] for d in documents(manifests / "base" / "roles.yaml")}
    assert spec["driver"]["serviceAccount"] in accounts
    (work,) = re.findall(r"^WORKDIR (\S+)$", text.rpartition("FROM ")[2], re.MULTILINE)
    for role in ("driver", "executor"):
        assert spec[role]["securityContext"]["readOnlyRootFilesystem"] is True
        assert spec[role]["podSecurityContext"] == {"fsGroup": 185}
        # Spark writes to the folder that it runs in.
        assert {"/tmp", work} <= {mount["mountPath"] for mount in spec[role]["volumeMounts"]}
        assert {mount["name"] for mount in spec[role]["volumeMounts"]} <= {v["name"] for v in spec["volumes"]}


def test_spark_connect_is_what_the_operator_knows_and_the_image_has(manifests, root, tmp_path):
    (ours,) = documents(manifests / "spark-operator" / "connect.yaml")
    spec = ours["spec"]
    assert SparkV1alpha1SparkConnect.from_dict(ours).to_dict() == ours
    text = (root / "docker" / "Dockerfile").read_text(encoding="utf-8")
    assert spec["sparkConf"]["spark.jars"].removeprefix("local://") in text
    accounts = {d["metadata"]["name"] for d in documents(manifests / "base" / "roles.yaml")}
    assert spec["server"]["template"]["spec"]["serviceAccountName"] in accounts
    for role in ("server", "executor"):
        # The model takes anything for a template.
        template = spec[role]["template"]
        metadata = {"name": role} | template["metadata"]
        pod = {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": template["spec"]}
        (tmp_path / role).write_text(json.dumps(pod), encoding="utf-8")
        assert restricted("pods", pod) is None
    done = subprocess.run([VALIDATE, "--strict", *tmp_path.iterdir()], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
