"""Runs what the compiled pipeline does for each series by Kubeflow's own local runner; prints its steps.

Usage: kfp_local.py PIPELINE ROOT DATA PARAMETERS, in an environment that has kfp and docker, with DOCKER_HOST set. The
runner takes no image from a parameter and cannot loop over what a container found: it gets the loop's body and image.
"""

import json
import sys
from pathlib import Path

import docker
import yaml
from docker.models.containers import ContainerCollection
from kfp import components, local

file, root, data, parameters = sys.argv[1:]
given = json.loads(parameters)
text = (
    Path(file)
    .read_text(encoding="utf-8")
    .replace("{{$.inputs.parameters[''pipelinechannel--image'']}}", given["image"])
)
spec = next(yaml.safe_load_all(text))
asked = spec["root"]["inputDefinitions"]["parameters"]
spec["root"] = spec["components"].pop("comp-for-loop-1")
for name, about in spec["root"]["inputDefinitions"]["parameters"].items():
    about |= asked.get(name.removeprefix("pipelinechannel--"), {})

run_container = ContainerCollection.run


def run_and_keep(self, *args, auto_remove, **options):
    """The runner takes the exit code of a container that has removed itself for 0."""
    return run_container(self, *args, labels=["ctmahout-kfp"], **options)


ContainerCollection.run = run_and_keep
mount = docker.types.Mount("/data", data, type="bind")
# The runner makes folders that only the user who runs it may write to.
local.init(local.DockerRunner(mounts=[mount], user="0"), pipeline_root=root)
components.load_component_from_text(yaml.safe_dump(spec))(**{f"pipelinechannel--{k}": v for k, v in given.items()})
