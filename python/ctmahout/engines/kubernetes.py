"""The submit engine on Kubernetes, cluster mode: spark-submit makes the driver pod, and we say how it ends.

spark-submit itself returns 0 when the driver has failed. So it does not wait for it: we do, through the Kubernetes API.
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
from .jars import find_spark
from .java import find_java
from .pods import Pods, forbidden, gone_afterwards
from .request import Request
from .session import spark_settings
from .submit import MAIN, SubmitEngine, answer

__all__ = ["PATIENCE_S", "SECURITY", "KubernetesEngine", "jar_of", "kubernetes_settings"]

# Where the image has it; Spark's "local" means: in the container.
_JAR = "local:///opt/ctmahout/ctmahout.jar"
_SERVICE_ACCOUNT = "spark.kubernetes.authenticate.driver.serviceAccountName"
# A new node for an autoscaled cluster takes minutes.
PATIENCE_S = 900.0
# Pod security standard "restricted"; 185 is the user of Spark's images and of ours.
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
    """Return the settings that both modes need on Kubernetes; those of `conf` are left out.

    Raises
    ------
    ConfigError
        CTM_CONFIG_VALUE: no image.
    """
    if image is None and "spark.kubernetes.container.image" not in conf:
        raise option_error("image", None, "an image")
    settings = {"spark.kubernetes.container.image": image} if image else {}
    for role in ("driver", "executor"):
        # Behind a mesh's proxy executors do not find their driver; old Istio reads the annotation, new the label.
        for kind in ("label", "annotation"):
            settings[f"spark.kubernetes.{role}.{kind}.sidecar.istio.io/inject"] = "false"
    return {key: value for key, value in settings.items() if key not in conf}


def jar_of(jar: str | None) -> str:
    """Return the URI of the jar of a driver: a URI, a path in the image, or that of our image if not given."""
    return _JAR if jar is None else jar if ":" in jar else f"local://{jar}"


class KubernetesEngine(SubmitEngine):
    """Decomposes in a driver pod of its own for each request, and leaves nothing in the namespace.

    Parameters
    ----------
    master : str
        ``k8s://https://HOST:PORT``.
    image : str, optional
        Of drivers and executors; or spark.kubernetes.container.image in `conf`.
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
        conf = dict(conf or {})
        self._spark = find_spark(spark_home)
        self._java = find_java(self._spark.version)
        self._uri = jar_of(jar)
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
        # DNS-1035, and short enough for what Spark appends.
        application = f"ctmahout-{secrets.token_hex(8)}"
        pod = f"{application}-driver"
        self._pods.check(pod)
        gone = gone_afterwards(partial(self._pods.delete, pod))
        with tempfile.TemporaryDirectory(prefix="ctmahout-submit-") as folder, gone:
            template, log = Path(folder, "pod.json"), Path(folder, "submit.log")
            template.write_text(json.dumps(_TEMPLATE), encoding="utf-8")
            code, _ = self._process(self._command(application, pod, template, request), log, request)
            if code != 0:
                raise self._refusal(code, log.read_text("utf-8", "replace"))
            failure = self._pods.ending(pod, patience=PATIENCE_S)
            said = self._pods.log(pod)
        if failure is not None:
            raise failure
        return answer(said, request)

    def _command(self, application: str, pod: str, template: Path, request: Request) -> list[str]:
        settings = {
            "spark.kubernetes.driver.podTemplateFile": str(template),
            "spark.kubernetes.executor.podTemplateFile": str(template),
            **self._settings,
            "spark.kubernetes.driver.pod.name": pod,
            "spark.kubernetes.executor.podNamePrefix": application,
        }
        return [*self._submit(settings), "--class", MAIN, self._uri, "--request", request.to_json()]

    def _refusal(self, code: int, log: str) -> CtmahoutError:
        """Return why spark-submit made no driver."""
        if "orbidden" in log or "nauthorized" in log:
            return forbidden(log, self._pods.namespace)
        return self._error(code, log)
