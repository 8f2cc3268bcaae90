"""The manifests as we ship them: a real API server takes each field, and the Job denoises a series."""

import os
import subprocess
import sys

import numpy as np
import pydicom
import pytest
import yaml
from helpers import wait
from kube.fixtures import DEPLOY

pytestmark = pytest.mark.k8s

RESTRICTED = {f"pod-security.kubernetes.io/{mode}": "restricted" for mode in ("enforce", "warn")}
FILES = ("node/node.yaml", "spark-operator/roles.yaml", "../kubeflow/roles.yaml")


def ctmahout(*args):
    program = "from ctmahout.cli import main; main()"
    subprocess.run([sys.executable, "-c", program, *map(str, args)], check=True, capture_output=True)


def overlay(folder, base, namespace, image):
    """Write an overlay as a user does: a namespace, and where the image is."""
    name, _, tag = image.rpartition(":")
    images = [{"name": "REGISTRY/ctmahout", "newName": name, "newTag": tag}]
    resources = [os.path.relpath(DEPLOY / base, folder)]
    text = yaml.safe_dump({"resources": resources, "namespace": namespace, "images": images})
    (folder / "kustomization.yaml").write_text(text)
    return folder


def pixels(folder):
    files = [pydicom.dcmread(file) for file in folder.rglob("*.dcm")]
    return np.stack([file.pixel_array for file in sorted(files, key=lambda file: int(file.InstanceNumber))])


@pytest.mark.parametrize("base", ["base", "volume", "s3"])
def test_a_restricted_namespace_takes_the_overlay(new_namespace, image, tmp_path, base):
    namespace = new_namespace(labels=RESTRICTED)
    folder = overlay(tmp_path, base, namespace.name, image)
    printed = namespace.kubectl(
        "apply", "-k", folder, "--dry-run=server", "--validate=strict", warnings_are_errors=True
    )
    assert "job.batch/ctmahout-denoise created" in printed


@pytest.mark.parametrize("file", FILES)
def test_a_restricted_namespace_takes_the_file(new_namespace, file):
    namespace = new_namespace(labels=RESTRICTED)
    options = ("--dry-run=server", "--validate=strict")
    assert namespace.kubectl("apply", "-f", DEPLOY / file, *options, warnings_are_errors=True)


def test_the_job_denoises_a_series(namespace, image, data, tmp_path, row):
    ctmahout("phantom", tmp_path / "phantom", "--size", "128", "--slices", "12")
    ctmahout("denoise", tmp_path / "phantom" / "noisy", tmp_path / "local")
    (tmp_path / "phantom" / "noisy").rename(data / "in")
    namespace.kubectl("apply", "-k", overlay(tmp_path, "volume", namespace.name, image))

    def finished():
        status = namespace.get("job", "ctmahout-denoise")["status"]
        return [c["type"] for c in status.get("conditions", ()) if c["type"] in ("Complete", "Failed")]

    assert wait(finished, 300, pause=1) == ["Complete"], namespace.kubectl("logs", "job/ctmahout-denoise")
    there, here = pixels(data / "out"), pixels(tmp_path / "local")
    np.testing.assert_array_equal(there, here)
    row(f"{len(here)} slices, the pixels of this machine")
    namespace.kubectl("delete", "job", "ctmahout-denoise", "--cascade=foreground")
