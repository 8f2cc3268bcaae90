"""The operator engine: a SparkApplication for each request, which the Kubeflow Spark Operator runs and we wait for."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from functools import partial
from typing import Any

from .base import Engine
from .jars import find_spark
from .kubernetes import PATIENCE_S, SECURITY, jar_of, kubernetes_settings
from .pods import gone_afterwards
from .request import Request
from .session import spark_settings
from .spark_applications import API_VERSION, Applications
from .submit import MAIN, answer

__all__ = ["OperatorEngine"]

_INJECT = {"sidecar.istio.io/inject": "false"}


class OperatorEngine(Engine):
    """Decomposes in an application of its own for each request, and leaves nothing in the namespace.

    Parameters
    ----------
    master : str, optional
        ``k8s://https://HOST:PORT``; if not given, the cluster of kubeconfig, or that of this pod.
    image : str, optional
        Of driver and executors; or spark.kubernetes.container.image in `conf`.
    jar : str, optional
        A URI, or a path in the image.
    conf : mapping, optional
        Spark's settings: they become the application's ``sparkConf``.
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
        self._jar = jar_of(jar)
        settings = {
            **kubernetes_settings(image, conf),
            **spark_settings(self._spark, None, master="k8s://", driver_memory=driver_memory, conf=conf),
        }
        self._applications = Applications(master, settings)
        self._image = settings.pop("spark.kubernetes.container.image")
        # How we reach the API is no business of Spark's, and may be a credential.
        hidden = ("spark.master", "spark.kubernetes.authenticate.submission.", "spark.kubernetes.context")
        self._settings = {key: str(value) for key, value in settings.items() if not key.startswith(hidden)}

    def run(self, request: Request) -> dict[str, Any]:
        """See `ctmahout.engines.Engine.run`."""
        # DNS-1035, and short enough for what the operator and Spark append.
        name = f"ctmahout-{secrets.token_hex(8)}"
        with gone_afterwards(partial(self._applications.remove, name)):
            self._applications.create(self._application(name, request))
            failure, said = self._applications.finish(name, patience=PATIENCE_S)
        if failure is not None:
            raise failure
        return answer(said, request)

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
                # Whoever waits tries again: a pipeline's step, or a user.
                "restartPolicy": {"type": "Never"},
                "timeToLiveSeconds": 86400,
                "sparkConf": self._settings,
                "driver": role | {"serviceAccount": account},
                "executor": role,
            },
        }
