"""Engine ``operator``: each request is a SparkApplication, which the Kubeflow Spark Operator runs."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from functools import partial
from typing import Any

from .base import Engine
from .jars import find_spark
from .kubernetes import jar_uri, kubernetes_settings
from .kubernetes_api import KubernetesApi
from .pod_template import FS_GROUP, SECURITY, pod_template
from .pods import deleting
from .request import Request
from .session import spark_settings
from .spark_applications import API_VERSION, PLURAL, Applications
from .submit import MAIN, parse_answer, partials_removed

__all__ = ["OperatorEngine"]

_INJECT = {"sidecar.istio.io/inject": "false"}
# A queue of Kueue's holds the application and not its pods.
_QUEUE = "kueue.x-k8s.io/"
_IMAGE, _ACCOUNT = "container.image", "serviceAccountName"
# Settings that are fields of a SparkApplication: the operator's webhook refuses them among the settings.
_FIELDS = {
    "driver": {
        f"spark.kubernetes.driver.{_IMAGE}": "image",
        f"spark.kubernetes.authenticate.driver.{_ACCOUNT}": "serviceAccount",
        "spark.kubernetes.driver.master": "kubernetesMaster",
    },
    "executor": {
        f"spark.kubernetes.executor.{_IMAGE}": "image",
        f"spark.kubernetes.authenticate.executor.{_ACCOUNT}": "serviceAccount",
    },
}


class OperatorEngine(Engine):
    """Runs each request in an application of its own, which is deleted in the end.

    Parameters
    ----------
    master : str, optional
        ``k8s://https://HOST:PORT``; by default the cluster of the kubeconfig or of this pod.
    image : str, optional
        Image of driver and executors, unless `conf` sets spark.kubernetes.container.image.
    pod_template : str, optional
        A file with a Pod, see `ctmahout.engines.pod_template`.
    start_timeout : int
        Limit for the start of the driver, in seconds.
    jar : str, optional
        A URI, or a path in the image.
    conf : mapping, optional
        Spark settings: the application's ``sparkConf``.
    """

    name = "operator"

    def __init__(
        self,
        *,
        start_timeout: int,
        master: str | None = None,
        image: str | None = None,
        pod_template: str | None = None,
        jar: str | None = None,
        conf: Mapping[str, str] | None = None,
        driver_memory: str | None = None,
        spark_home: str | None = None,
    ) -> None:
        conf = dict(conf or {})
        self._spark = find_spark(spark_home)
        self._jar = jar_uri(jar)
        self._start_timeout = start_timeout
        settings = {
            **kubernetes_settings(image, conf),
            **spark_settings(self._spark, None, master="k8s://", driver_memory=driver_memory, conf=conf),
        }
        self._applications = Applications(KubernetesApi(master, settings))
        self._image = settings.pop(f"spark.kubernetes.{_IMAGE}")
        self._metadata, self._roles = _roles(pod_template)
        self._roles["driver"]["serviceAccount"] = "ctmahout"
        # Failed executors tell why until the application, which owns them, is deleted.
        self._roles["executor"]["deleteOnTermination"] = False
        for role, fields in _FIELDS.items():
            self._roles[role] |= {field: settings.pop(key) for key, field in fields.items() if key in settings}
        # Access to the API is this process's, and may be a credential.
        private = ("spark.master", "spark.kubernetes.authenticate.submission.", "spark.kubernetes.context")
        self._settings = {key: str(value) for key, value in settings.items() if not key.startswith(private)}

    def run(self, request: Request) -> dict[str, Any]:
        """See `ctmahout.engines.Engine.run`."""
        # A DNS-1035 label, short enough for the suffixes that the operator and Spark append.
        name = f"ctmahout-{secrets.token_hex(8)}"
        remove = partial(self._applications.remove, name)
        with (
            partials_removed(request),
            deleting(remove, kind=PLURAL, name=name, namespace=self._applications.namespace),
        ):
            self._applications.create(self._application(name, request))
            failure, driver_log = self._applications.wait_for(name, timeout_s=self._start_timeout)
            if failure is not None:
                raise failure
        return parse_answer(driver_log, request)

    def _application(self, name: str, request: Request) -> dict[str, Any]:
        return {
            "apiVersion": API_VERSION,
            "kind": "SparkApplication",
            "metadata": {"name": name, **self._metadata},
            "spec": {
                "type": "Scala",
                "mode": "cluster",
                "sparkVersion": self._spark.version,
                "image": self._image,
                "mainClass": MAIN,
                "mainApplicationFile": self._jar,
                "arguments": ["--request", request.to_json()],
                # Retries are the caller's: a pipeline step, or a user.
                "restartPolicy": {"type": "Never"},
                "timeToLiveSeconds": 86400,
                "sparkConf": self._settings,
                **self._roles,
            },
        }


def _roles(file: str | None) -> tuple[dict[str, Any], dict[str, dict[str, Any]]]:
    """Return the metadata of applications, and driver and executor: by fields or, with a file, as pod templates.

    The operator's webhook writes fields into the pods, but leaves pods of a template alone.
    """
    if file is None:
        role = {"labels": _INJECT, "annotations": _INJECT, "securityContext": SECURITY, "podSecurityContext": FS_GROUP}
        return {}, {"driver": dict(role), "executor": dict(role)}
    template = pod_template(file)
    labels = template["metadata"].pop("labels", None) or {}
    annotations = template["metadata"].pop("annotations", None) or {}
    queue = {key: value for key, value in labels.items() if key.startswith(_QUEUE)}
    role = {
        "labels": _INJECT | {key: value for key, value in labels.items() if key not in queue},
        "annotations": _INJECT | annotations,
        "template": template,
    }
    return {"labels": queue} if queue else {}, {"driver": dict(role), "executor": dict(role)}
