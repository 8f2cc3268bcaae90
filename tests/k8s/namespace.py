"""The namespace of a test, with roles and claim as `deploy/k8s` has them, and `ctmahout dssvd` in it."""

import json
import sys
from pathlib import Path

import yaml
from helpers import wait
from kube.fixtures import DEPLOY, Site
from node import AUTHORITY, MASTER

from ctmahout.engines.pod_template import SECURITY

# Some seconds of work, in twenty jobs of nine tasks each; small as the matrix is, not in a single task.
LONG = ("-k", "20", "-p", "5", "-q", "20", "--partitions", "9", "--conf", "spark.ctmahout.groupInTask=0")
# What every namespace has of itself.
_OF_ITSELF = {"configmap/kube-root-ca.crt"}
_LEFTOVERS = "pods,services,configmaps,networkpolicies"


def documents(file):
    """The objects of a manifest."""
    return [document for document in yaml.safe_load_all(Path(file).read_text()) if document]


class Namespace(Site):
    """A namespace, and `ctmahout dssvd` in it as a user runs it: with the account that we ship, and no volume here."""

    def __init__(self, node, name, image, data, *roles, labels=None):
        self.node, self.name, self.image, self.data = node, name, image, data
        self.master = f"k8s://{MASTER}"
        enforced = {"pod-security.kubernetes.io/enforce": "restricted"} if labels is None else labels
        self._create({"metadata": {"name": name, "labels": enforced}, "kind": "Namespace", "apiVersion": "v1"})
        for folder in ("base", *roles):
            self.apply(*documents(DEPLOY / folder / "roles.yaml"))
        self.claim()

    def claim(self):
        """Make the claim as we ship it, and a volume that many pods may mount: the folder of the tests."""
        (claim,) = documents(DEPLOY / "volume" / "claim.yaml")
        volume = {
            "capacity": claim["spec"]["resources"]["requests"],
            "accessModes": claim["spec"]["accessModes"],
            "claimRef": {"namespace": self.name, "name": claim["metadata"]["name"]},
            "hostPath": {"path": str(self.data)},
        }
        self._create({"apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": self.name}, "spec": volume})
        self.apply(claim)

    def _create(self, document):
        self.node.kubectl("apply", "-f", "-", input=json.dumps(document))

    def apply(self, *documents):
        return self.node.apply(*documents, namespace=self.name)

    def kubectl(self, *args, **options):
        return self.node.kubectl("-n", self.name, *args, **options)

    def get(self, *args):
        return self.node.get("-n", self.name, *args)

    def token(self, account):
        """A token of a service account, as whoever may use it gets one."""
        return self.kubectl("create", "token", account, "--duration=1h").strip()

    def settings(self, account="ctmahout-launcher"):
        """Spark's settings: a small executor, and the claim in every pod."""
        authentication = "spark.kubernetes.authenticate.submission"
        settings = {
            "spark.kubernetes.namespace": self.name,
            f"{authentication}.oauthToken": self.token(account),
            f"{authentication}.caCertFile": str(AUTHORITY),
            "spark.executor.instances": "1",
            "spark.executor.memory": "512m",
            "spark.kubernetes.driver.request.cores": "500m",
            "spark.kubernetes.executor.request.cores": "500m",
            "spark.kubernetes.allocation.batch.delay": "1s",
        }
        for role in ("driver", "executor"):
            volume = f"spark.kubernetes.{role}.volumes.persistentVolumeClaim.data"
            settings |= {f"{volume}.options.claimName": "ct", f"{volume}.mount.path": "/data"}
        return settings

    def command(self, matrix, factors, *options, engine="submit", **conf):
        if engine == "submit":
            return super().command(matrix, factors, *options, **conf)
        settings = self.settings("ctmahout-applications")
        chosen = [part for item in (settings | conf).items() for part in ("--conf", "=".join(item))]
        options = [
            "--engine",
            engine,
            "--master",
            self.master,
            "--image",
            self.image,
            "--driver-memory",
            "700m",
            *options,
        ]
        program = "from ctmahout.cli import main; main()"
        return [sys.executable, "-c", program, "dssvd", str(matrix), str(factors), *options, *chosen, "--json"]

    def pods(self, role):
        return self.get("pods", "-l", f"spark-role={role}")

    def driver(self):
        """The driver pod, as soon as there is one."""
        (pod,) = wait(lambda: self.pods("driver"), 120)
        return pod

    def log(self, pod):
        try:
            return self.kubectl("logs", pod["metadata"]["name"])
        except RuntimeError:  # its container is being made
            return ""

    def mid_job(self, process, executors=1):
        """Wait until so many executors are at work, and return their pods."""

        def working():
            assert process.poll() is None, process.communicate()
            return [pod for pod in self.pods("executor") if "Finished task" in self.log(pod)]

        assert wait(lambda: len(working()) == executors, 240, pause=0.5)
        return self.pods("executor")

    def pod(self, name, account, *args):
        """Start a restricted pod of the image with the claim, as a notebook or the step of a pipeline."""
        container = {"name": "main", "image": self.image, "args": [str(arg) for arg in args]}
        container["imagePullPolicy"] = "Never"
        container["volumeMounts"] = [{"name": "data", "mountPath": "/data"}]
        container["securityContext"] = SECURITY
        volumes = [{"name": "data", "persistentVolumeClaim": {"claimName": "ct"}}]
        spec = {"containers": [container], "volumes": volumes, "serviceAccountName": account, "restartPolicy": "Never"}
        self.apply({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": spec})

    def ended(self, name, seconds=300):
        """Wait for the end of a pod and return its phase."""

        def phase():
            state = self.get("pod", name)["status"]["phase"]
            return state if state in ("Succeeded", "Failed") else None

        return wait(phase, seconds, pause=1)

    def left(self):
        """What a run has left: objects, and folders beside its output."""
        names = set(self.kubectl("get", _LEFTOVERS, "--output", "name").split()) - _OF_ITSELF
        return names | {str(folder) for folder in self.data.glob("*.partial-*")}

    def remove(self):
        self.node.kubectl("delete", "namespace", self.name, "--wait=false")
        self.node.kubectl("delete", "persistentvolume", self.name, "--wait=false")
        # The next test gets the whole node.
        wait(lambda: not self.get("pods"))
