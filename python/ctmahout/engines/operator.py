"""Engine ``operator``: each request is a SparkApplication, which the Kubeflow Spark Operator runs."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from functools import partial
from typing import Any

from .base import Engine
from .jars import find_spark
from .kubernetes import SECURITY, START_TIMEOUT_S, jar_uri, kubernetes_settings
from .pods import deleting
from .request import Request
from .session import spark_settings
from .spark_applications import API_VERSION, Applications
from .submit import MAIN, parse_answer

__all__ = ["OperatorEngine"]

_INJECT = {"sidecar.istio.io/inject": "false"}


class OperatorEngine(Engine):
    """Runs each request in an application of its own, which is deleted in the end.

    Parameters
    ----------
    master : str, optional
        ``k8s://https://HOST:PORT``; by default the cluster of the kubeconfig or of this pod.
    image : str, optional
        Image of driver and executors, unless `conf` sets spark.kubernetes.container.image.
    jar : str, optional
        A URI, or a path in the image.
    conf : mapping, optional
        Spark settings: the application's ``sparkConf``.
    """

    name = "operator"

    def __init__(
        self,
        *,
        master: str | None = None,
        image: str | None = None,
        jar: str | None = None,
        conf: Mapping[str, str] | None = None,
        driver_memory: str | None = None,
        spark_home: str | None = None,
    ) -> None:
        conf = dict(conf or {})
        self._spark = find_spark(spark_home)
        self._jar = jar_uri(jar)
        settings = {
            **kubernetes_settings(image, conf),
            **spark_settings(self._spark, None, master="k8s://", driver_memory=driver_memory, conf=conf),
        }
        self._applications = Applications(master, settings)
        self._image = settings.pop("spark.kubernetes.container.image")
        # Access to the API is this process's, and may be a credential.
        private = ("spark.master", "spark.kubernetes.authenticate.submission.", "spark.kubernetes.context")
        self._settings = {key: str(value) for key, value in settings.items() if not key.startswith(private)}

    def run(self, request: Request) -> dict[str, Any]:
        """See `ctmahout.engines.Engine.run`."""
        # A DNS-1035 label, short enough for the suffixes that the operator and Spark append.
        name = f"ctmahout-{secrets.token_hex(8)}"
        with deleting(partial(self._applications.remove, name)):
            self._applications.create(self._application(name, request))
            failure, driver_log = self._applications.wait_for(name, timeout_s=START_TIMEOUT_S)
        if failure is not None:
            raise failure
        return parse_answer(driver_log, request)

    def _application(self, name: str, request: Request) -> dict[str, Any]:
        role = {"labels": _INJECT, "annotations": _INJECT, "securityContext": SECURITY}
        account = self._settings.get("spark.kubernetes.authenticate.driver.serviceAccountName", "ctmahout")
        return {
            "apiVersion": API_VERSION,
            "kind": "SparkApplication",
            "metadata": {"name": name},
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
                "driver": role | {"serviceAccount": account},
                "executor": role,
            },
        }
