"""The driver pod as Kubernetes sees it, by the `kubernetes` client."""

from __future__ import annotations

import time
from collections.abc import Mapping
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

from ..errors import ConfigError, CtmahoutError, EngineError
from .jvm_calls import last_words, shaped

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ["Pods", "first_line", "forbidden", "gone_afterwards", "stuck"]

_SUBMISSION = "spark.kubernetes.authenticate.submission."
_POLL_S = 1.0
# How long a deleted pod may take to go: a driver removes what it wrote in the 30 s that Kubernetes gives it.
_GRACE_S = 60.0
_NO_IMAGE = ("ErrImagePull", "ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull", "ImageInspectError")
# Spark's exit code when more executors failed than spark.executor.maxNumFailures.
_EXECUTORS_FAILED = 11


class Pods:
    """The pods of a namespace.

    Parameters
    ----------
    master : str, optional
        Spark's master, ``k8s://https://HOST:PORT``; if not given, the cluster of kubeconfig, or that of this pod.
    conf : mapping
        Spark's settings: namespace, context and credentials are those that spark-submit takes.

    Raises
    ------
    ConfigError
        CTM_EXTRA_MISSING: the kubernetes client is not installed.
    """

    engine = "submit"

    def __init__(self, master: str | None, conf: Mapping[str, str]) -> None:
        try:
            import kubernetes
        except ImportError as e:
            raise ConfigError(
                "CTM_EXTRA_MISSING", what="Cluster mode on Kubernetes", package="kubernetes", extra="kubernetes"
            ) from e
        self.namespace = conf.get("spark.kubernetes.namespace", "default")
        settings = kubernetes.client.Configuration()
        context = conf.get("spark.kubernetes.context")
        try:
            kubernetes.config.load_kube_config(context=context, client_configuration=settings)
        except kubernetes.config.ConfigException:
            # Neither a kubeconfig nor a service account's folder: then the settings below must do.
            with suppress(kubernetes.config.ConfigException):
                kubernetes.config.load_incluster_config(client_configuration=settings)
        if master is not None:
            url = master.removeprefix("k8s://")
            settings.host = url if "://" in url else f"https://{url}"
        self._master = master or settings.host
        if authority := conf.get(f"{_SUBMISSION}caCertFile"):
            settings.ssl_ca_cert = authority
        if token := conf.get(f"{_SUBMISSION}oauthToken"):
            settings.api_key = {"authorization": f"Bearer {token}"}
        settings.retries = _patient()
        self._api = kubernetes.client.CoreV1Api(kubernetes.client.ApiClient(settings))
        self._refused: type[Exception] = kubernetes.client.ApiException

    def check(self, name: str) -> None:
        """Ask for a pod that is not there yet: without the right to, nobody could say how it ends."""
        with self._asking():
            self._find(name)

    def ending(self, name: str, *, patience: float) -> CtmahoutError | None:
        """Wait for the end of a driver pod; return None if it succeeded, else what became of it.

        Parameters
        ----------
        name : str
        patience : float
            How long the pod may take to start, in seconds.
        """
        deadline = time.monotonic() + patience
        while True:
            with self._asking():
                pod = self._find(name)
            if pod is None:
                return EngineError("CTM_KUBERNETES_LOST", detail=f"somebody deleted {name}")
            if pod.status.phase == "Succeeded":
                return None
            if pod.status.phase == "Failed":
                return self._failure(pod)
            if pod.status.phase != "Running" and (why := stuck(pod, time.monotonic() > deadline, patience)):
                return why
            time.sleep(_POLL_S)

    def log(self, name: str) -> str:
        """Return what the driver wrote, stdout and stderr; nothing if that is not to be had."""
        try:
            # Bytes: the client would make a Python object's text of a log that happens to be JSON.
            answer = self._api.read_namespaced_pod_log(name, self.namespace, _preload_content=False)
            return str(answer.data.decode("utf-8", "replace"))
        except self._refused:
            return ""

    def delete(self, name: str) -> None:
        """Delete a pod, with all that belongs to it, and wait until it is gone."""
        with self._asking():
            try:
                self._api.delete_namespaced_pod(name, self.namespace)
            except self._refused as e:
                if getattr(e, "status", None) != 404:
                    raise
            deadline = time.monotonic() + _GRACE_S
            while self._find(name) is not None and time.monotonic() < deadline:
                time.sleep(_POLL_S / 4)

    def _find(self, name: str) -> Any:
        try:
            return self._api.read_namespaced_pod(name, self.namespace)
        except self._refused as e:
            if getattr(e, "status", None) == 404:
                return None
            raise

    def _failure(self, pod: Any) -> CtmahoutError:
        name = pod.metadata.name
        ended = _terminated(pod)
        if ended is not None and ended.reason == "OOMKilled":
            limits = pod.spec.containers[0].resources.limits or {}
            return EngineError("CTM_KUBERNETES_MEMORY", limit=limits.get("memory", "that of its node"))
        # Evicted, Preempting, NodeLost, Shutdown ...: what happened to the pod, and not in it.
        if pod.status.reason:
            detail = f"{pod.status.reason}: {pod.status.message or 'no more is known'}"
            return EngineError("CTM_KUBERNETES_LOST", detail=detail.rstrip("."))
        log = self.log(name)
        if "is forbidden: User" in log:
            return forbidden(log, self.namespace)
        code = ended.exit_code if ended is not None else "unknown"
        # Before what the bridge says: to it the session was stopped, and it does not know why.
        if code == _EXECUTORS_FAILED:
            of_executors = "\n".join(line for line in log.splitlines() if "xecutor" in line)
            detail = last_words(of_executors or log) or "its log is empty"
            return EngineError("CTM_KUBERNETES_EXECUTORS", detail=detail.rstrip("."))
        for line in reversed(log.splitlines()):
            if line.startswith("[CTM_"):
                return shaped(line, engine=self.engine, log=log)
        return shaped(f"the driver pod ended with exit code {code}", engine=self.engine, log=log)

    @contextmanager
    def _asking(self) -> Iterator[None]:
        """Turn what the API says no with into an error of ours."""
        from urllib3.exceptions import HTTPError

        try:
            yield
        except self._refused as e:
            if getattr(e, "status", None) in (401, 403):
                raise forbidden(str(e), self.namespace) from e
            raise EngineError("CTM_KUBERNETES_UNREACHABLE", master=self._master, detail=first_line(str(e))) from e
        except HTTPError as e:
            raise EngineError("CTM_KUBERNETES_UNREACHABLE", master=self._master, detail=first_line(str(e))) from e


@contextmanager
def gone_afterwards(delete: Callable[[], None]) -> Iterator[None]:
    """Delete what the block has made, however it ends."""
    try:
        yield
    except BaseException:
        # Whatever stopped us is what the user must hear.
        with suppress(CtmahoutError):
            delete()
        raise
    delete()


def forbidden(text: str, namespace: str) -> EngineError:
    """Return the error for a text in which Kubernetes says Forbidden."""
    lines = [line.strip() for line in text.splitlines() if "orbidden" in line or "nauthorized" in line]
    return EngineError("CTM_KUBERNETES_FORBIDDEN", namespace=namespace, detail=(lines or [text])[-1][:600].rstrip("."))


def _patient() -> Any:
    """Return the rule that lets an API be away for half a minute."""
    from urllib3 import Retry

    return Retry(total=6, backoff_factor=0.5, status_forcelist=(429, 500, 502, 503, 504))


def stuck(pod: Any, late: bool, patience: float) -> EngineError | None:
    """Return why a pod that has not started never will."""
    for container in pod.status.container_statuses or ():
        waiting = container.state.waiting if container.state else None
        if waiting is not None and waiting.reason in _NO_IMAGE:
            detail = f"{waiting.reason}: {waiting.message or 'no more is known'}"
            return EngineError("CTM_KUBERNETES_IMAGE", image=container.image, detail=detail.rstrip("."))
    if not late:
        return None
    said = [c.message for c in pod.status.conditions or () if c.status == "False" and c.message]
    said += [
        f"{container.state.waiting.reason}: {container.state.waiting.message}"
        for container in pod.status.container_statuses or ()
        if container.state and container.state.waiting
    ]
    detail = "; ".join(said) or f"its phase is {pod.status.phase}"
    return EngineError("CTM_KUBERNETES_PENDING", seconds=f"{patience:.0f}", detail=detail.rstrip("."))


def _terminated(pod: Any) -> Any:
    states = [container.state.terminated for container in pod.status.container_statuses or () if container.state]
    return next((state for state in states if state is not None), None)


def first_line(text: str) -> str:
    return " ".join(text.split())[:600].rstrip(".")
