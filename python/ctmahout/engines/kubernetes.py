"""Engine ``submit`` in cluster mode on Kubernetes: spark-submit creates a driver pod, whose end is watched here.

spark-submit exits with 0 also when the driver has failed, so it does not wait: the pod is watched by the API. See
docs/adr/0015.
"""

from __future__ import annotations

import json
import secrets
import tempfile
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from ..errors import CtmahoutError
from ..options import option_error
from .pods import Pods, deleting, forbidden
from .request import Request
from .session import spark_settings
from .submit import MAIN, SparkSubmit, parse_answer

__all__ = ["SECURITY", "START_TIMEOUT_S", "KubernetesEngine", "jar_uri", "kubernetes_settings"]

# The jar in the image; to Spark "local" means inside the container.
_JAR = "local:///opt/ctmahout/ctmahout.jar"
_SERVICE_ACCOUNT = "spark.kubernetes.authenticate.driver.serviceAccountName"
# An autoscaler takes minutes to add a node.
START_TIMEOUT_S = 900.0
# Pod security standard "restricted"; 185 is the user of Spark's images and of ctmahout's.
SECURITY = {
    "runAsNonRoot": True,
    "runAsUser": 185,
    "allowPrivilegeEscalation": False,
    "capabilities": {"drop": ["ALL"]},
    "seccompProfile": {"type": "RuntimeDefault"},
}
_TEMPLATE = {
    "apiVersion": "v1",
    "kind": "Pod",
    "spec": {
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": 185,
            "fsGroup": 185,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "containers": [
            {"name": "spark", "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}}
        ],
    },
}


def kubernetes_settings(image: str | None, conf: Mapping[str, str]) -> dict[str, str]:
    """Return the settings that client and cluster mode need on Kubernetes, without those that `conf` sets.

    Raises
    ------
    ConfigError
        CTM_CONFIG_VALUE: no image.
    """
    if image is None and "spark.kubernetes.container.image" not in conf:
        raise option_error("image", None, "an image")
    settings = {"spark.kubernetes.container.image": image} if image else {}
    for role in ("driver", "executor"):
        # Executors do not reach their driver through a service mesh; older Istio reads the annotation, newer the label.
        for kind in ("label", "annotation"):
            settings[f"spark.kubernetes.{role}.{kind}.sidecar.istio.io/inject"] = "false"
    return {key: value for key, value in settings.items() if key not in conf}


def jar_uri(jar: str | None) -> str:
    """Return the URI of the driver's jar, from a URI or a path in the image; by default that of ctmahout's image."""
    return _JAR if jar is None else jar if ":" in jar else f"local://{jar}"


class KubernetesEngine(SparkSubmit):
    """Runs each request in a driver pod of its own, which is deleted in the end.

    Parameters
    ----------
    master : str
        ``k8s://https://HOST:PORT``.
    image : str, optional
        Image of drivers and executors, unless `conf` sets spark.kubernetes.container.image.
    jar : str, optional
        A URI, or a path in the image.
    """

    def __init__(
        self,
        *,
        master: str,
        image: str | None = None,
        jar: str | None = None,
        conf: Mapping[str, str] | None = None,
        driver_memory: str | None = None,
        spark_home: str | None = None,
    ) -> None:
        super().__init__(spark_home)
        conf = dict(conf or {})
        self._jar_uri = jar_uri(jar)
        self._settings = {
            "spark.submit.deployMode": "cluster",
            "spark.kubernetes.submission.waitAppCompletion": "false",
            _SERVICE_ACCOUNT: "ctmahout",
            **kubernetes_settings(image, conf),
            **spark_settings(self._spark, None, master=master, driver_memory=driver_memory, conf=conf),
        }
        self._pods = Pods(master, self._settings)

    def run(self, request: Request) -> dict[str, Any]:
        """See `ctmahout.engines.Engine.run`."""
        # A DNS-1035 label, short enough for the suffixes that Spark appends.
        application = f"ctmahout-{secrets.token_hex(8)}"
        pod = f"{application}-driver"
        self._pods.check(pod)
        with (
            tempfile.TemporaryDirectory(prefix="ctmahout-submit-") as folder,
            deleting(partial(self._pods.delete, pod)),
        ):
            template, log = Path(folder, "pod.json"), Path(folder, "submit.log")
            template.write_text(json.dumps(_TEMPLATE), encoding="utf-8")
            code, _ = self._process(self._arguments(application, pod, template, request), log, request)
            if code != 0:
                raise self._submission_error(code, log.read_text("utf-8", "replace"))
            failure = self._pods.wait(pod, timeout_s=START_TIMEOUT_S)
            driver_log = self._pods.log(pod)
        if failure is not None:
            raise failure
        return parse_answer(driver_log, request)

    def _arguments(self, application: str, pod: str, template: Path, request: Request) -> list[str]:
        settings = {
            "spark.kubernetes.driver.podTemplateFile": str(template),
            "spark.kubernetes.executor.podTemplateFile": str(template),
            **self._settings,
            "spark.kubernetes.driver.pod.name": pod,
            "spark.kubernetes.executor.podNamePrefix": application,
        }
        return [*self._command(settings), "--class", MAIN, self._jar_uri, "--request", request.to_json()]

    def _submission_error(self, code: int, log: str) -> CtmahoutError:
        """Return the error of a spark-submit that created no driver."""
        if "orbidden" in log or "nauthorized" in log:
            return forbidden(log, self._pods.namespace)
        return self._error(code, log)
