"""A cluster for tests: the small API, a network of its own, a folder that every pod sees, and rights."""

import json
import os
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import yaml

from ctmahout.engines.pod_template import SECURITY

from .api import Cluster
from .kubelet import Kubelet

DEPLOY = Path(__file__).parents[2] / "deploy" / "k8s"


def roles(*folders):
    """The rules of the Roles that we ship, by account."""
    files = [DEPLOY / folder / "roles.yaml" for folder in folders]
    found = [
        document for file in files for document in yaml.safe_load_all(file.read_text()) if document["kind"] == "Role"
    ]
    return {role["metadata"]["name"]: role["rules"] for role in found}


class Site:
    """A cluster, and `ctmahout dssvd` on it as a user runs it."""

    def __init__(self, cluster, image, address, data, network):
        self.cluster, self.image, self.data, self.network = cluster, image, data, network
        self.master = f"k8s://http://127.0.0.1:{cluster.port}"
        self.inside = f"http://{address}:{cluster.port}"

    def settings(self):
        """Spark's settings: a small executor, and the folder in every pod."""
        # Where the folder is mounted is where it is here, so that one path means one place.
        settings = {
            "spark.kubernetes.authenticate.submission.oauthToken": "ctmahout-launcher",
            "spark.kubernetes.driver.master": self.inside,
            "spark.executor.instances": "1",
            "spark.executor.memory": "512m",
            "spark.kubernetes.executor.request.cores": "500m",
            "spark.kubernetes.allocation.batch.delay": "1s",
        }
        for role in ("driver", "executor"):
            volume = f"spark.kubernetes.{role}.volumes.hostPath.data"
            settings |= {f"{volume}.mount.path": str(self.data), f"{volume}.options.path": str(self.data)}
        return settings

    def command(self, matrix, factors, *options, **conf):
        options = ["--deploy-mode", "cluster", "--image", self.image, "--driver-memory", "700m", *options]
        chosen = [part for item in (self.settings() | conf).items() for part in ("--conf", "=".join(item))]
        program = "from ctmahout.cli import main; main()"
        engine = ["--engine", "submit", "--master", self.master]
        return [sys.executable, "-c", program, "dssvd", str(matrix), str(factors), *engine, *options, *chosen, "--json"]

    def start(self, *args, **conf):
        return subprocess.Popen(
            self.command(*args, **conf), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment()
        )

    def run(self, *args, **conf):
        """Run to the end: exit code and the JSON on stdout."""
        process = self.start(*args, **conf)
        out, err = process.communicate(timeout=300)
        assert out, err[-4000:]
        return process.returncode, json.loads(out)

    def pod(self, name, account, *args):
        """Start a restricted pod of the image, which sees the folder, as a notebook or the step of a pipeline."""
        host, _, port = self.inside.removeprefix("http://").partition(":")
        container = {"name": "main", "image": self.image, "args": [str(arg) for arg in args]}
        container["env"] = [
            {"name": "KUBERNETES_SERVICE_HOST", "value": host},
            {"name": "KUBERNETES_SERVICE_PORT", "value": port},
        ]
        container["volumeMounts"] = [{"name": "data", "mountPath": str(self.data)}]
        container["securityContext"] = SECURITY
        volumes = [{"name": "data", "hostPath": {"path": str(self.data)}}]
        spec = {"containers": [container], "volumes": volumes, "serviceAccountName": account}
        spec["securityContext"] = {"runAsUser": 185}
        return self.cluster.add("pods", "default", {"metadata": {"name": name}, "spec": spec})

    def granted(self):
        """Every right of every account, as the cluster notes those that are used."""
        return {
            (account, verb, resource)
            for account, rules in self.cluster.roles.items()
            for rule in rules
            for verb in rule["verbs"]
            for resource in rule["resources"]
        }

    def pods(self, role):
        return [
            pod
            for pod in self.cluster.store.list("pods", "default")
            if (pod["metadata"].get("labels") or {}).get("spark-role") == role
        ]


def environment():
    return {**os.environ, "KUBECONFIG": "/nonexistent"}


@contextmanager
def site(podman, image, folder, *more_roles):
    """Set up a network and a cluster on it, and take both down."""
    data = Path(folder) / "data"
    data.mkdir()
    data.chmod(0o777)
    number = os.getpid() % 200 + 20
    network, subnet = f"ctmahout-kube-{os.getpid()}", f"10.97.{number}"
    assert podman("network", "create", "--subnet", f"{subnet}.0/24", network).returncode == 0

    def node(store):
        return Kubelet(store, podman, network, subnet, Path(folder) / "pods", {"ct": data})

    cluster = Cluster(node, roles("base", *more_roles))
    try:
        yield Site(cluster, image, f"{subnet}.1", data, network)
    finally:
        cluster.close()
        podman("network", "rm", "-f", network)
