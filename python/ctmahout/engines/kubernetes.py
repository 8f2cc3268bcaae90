"""Engine ``submit`` on Kubernetes.

In cluster mode spark-submit creates a driver pod, whose end is watched here: it exits with 0 also when the driver has
failed; see docs/adr/0015. In client mode the driver runs in the place of this process, and executors are pods.
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
from .driver_pod import driver_pod_settings
from .kubernetes_api import KubernetesApi, refusal
from .pod_template import pod_template
from .pods import Pods, deleting
from .request import Request
from .session import spark_settings
from .submit import MAIN, SparkSubmit, SubmitEngine, parse_answer, partials_removed

__all__ = ["KubernetesClientEngine", "KubernetesEngine", "client_settings", "jar_uri", "kubernetes_settings"]

# The jar in the image; to Spark "local" means inside the container.
_JAR = "local:///opt/ctmahout/ctmahout.jar"
_SERVICE_ACCOUNT = "spark.kubernetes.authenticate.driver.serviceAccountName"


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


def client_settings(master: str, image: str | None, conf: Mapping[str, str]) -> dict[str, str]:
    """Return the settings of a driver in the place of this process, without those that `conf` sets.

    Raises
    ------
    ConfigError
        CTM_CONFIG_VALUE: no image.
    """
    settings = kubernetes_settings(image, conf) | driver_pod_settings(master, conf)
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
    pod_template : str, optional
        A file with a Pod, see `ctmahout.engines.pod_template`.
    start_timeout : int
        Limit for the start of the driver, in seconds.
    """

    def __init__(
        self,
        *,
        master: str,
        start_timeout: int,
        image: str | None = None,
        pod_template: str | None = None,
        jar: str | None = None,
        conf: Mapping[str, str] | None = None,
        driver_memory: str | None = None,
        spark_home: str | None = None,
    ) -> None:
        super().__init__(spark_home)
        conf = dict(conf or {})
        self._jar_uri = jar_uri(jar)
        self._template = _template(pod_template)
        self._start_timeout = start_timeout
        self._settings = {
            "spark.submit.deployMode": "cluster",
            "spark.kubernetes.submission.waitAppCompletion": "false",
            # They tell why they failed until the driver pod, their owner, is deleted.
            "spark.kubernetes.executor.deleteOnTermination": "false",
            _SERVICE_ACCOUNT: "ctmahout",
            **kubernetes_settings(image, conf),
            **spark_settings(self._spark, None, master=master, driver_memory=driver_memory, conf=conf),
        }
        self._pods = Pods(KubernetesApi(master, self._settings))

    def run(self, request: Request) -> dict[str, Any]:
        """See `ctmahout.engines.Engine.run`."""
        # A DNS-1035 label, short enough for the suffixes that Spark appends.
        application = f"ctmahout-{secrets.token_hex(8)}"
        pod, namespace = f"{application}-driver", self._pods.namespace
        # Fails without the right to watch the pod, before it is created.
        self._pods.get(pod)
        with (
            tempfile.TemporaryDirectory(prefix="ctmahout-submit-") as folder,
            partials_removed(request),
            deleting(partial(self._pods.delete, pod), kind="pod", name=pod, namespace=namespace),
        ):
            template, log = Path(folder, "pod.json"), Path(folder, "submit.log")
            template.write_text(self._template, encoding="utf-8")
            code, _ = self._process(self._arguments(application, pod, template, request), log, request)
            if code != 0:
                raise self._submission_error(code, log.read_text("utf-8", "replace"))
            failure = self._pods.wait(pod, timeout_s=self._start_timeout)
            if failure is not None:
                raise failure
            driver_log = self._pods.log(pod)
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
        return refusal(log, self._pods.namespace) or self._error(code, log)


class KubernetesClientEngine(SubmitEngine):
    """Runs the driver in the place of this process, and executors in pods.

    Parameters
    ----------
    image, pod_template
        As of `KubernetesEngine`, for executors.
    master, jar, conf, driver_memory, spark_home
        As of `ctmahout.engines.connect`.
    """

    def __init__(
        self,
        *,
        master: str,
        image: str | None = None,
        pod_template: str | None = None,
        conf: Mapping[str, str] | None = None,
        **options: Any,
    ) -> None:
        conf = dict(conf or {})
        self._template = _template(pod_template)
        super().__init__(master=master, conf=conf, defaults=client_settings(master, image, conf), **options)

    def _settings_of_run(self, folder: Path) -> Mapping[str, str]:
        template = folder / "pod.json"
        template.write_text(self._template, encoding="utf-8")
        return {"spark.kubernetes.executor.podTemplateFile": str(template), **self._settings}


def _template(file: str | None) -> str:
    return json.dumps(pod_template(file))
