"""Driver pods in, their end and log or a coded error out, by the `kubernetes` client."""

from __future__ import annotations

import time
from collections.abc import Mapping
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

from ..errors import ConfigError, CtmahoutError, EngineError
from .jvm_calls import log_tail, translate_error

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ["Pods", "deleting", "forbidden", "one_line", "startup_failure"]

_SUBMISSION = "spark.kubernetes.authenticate.submission."
_POLL_S = 1.0
# Time for a deleted pod to disappear: Kubernetes gives a driver 30 s to remove its partial output.
_GRACE_S = 60.0
_NO_IMAGE = ("ErrImagePull", "ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull", "ImageInspectError")
# Spark's exit code if more executors fail than spark.executor.maxNumFailures.
_EXECUTORS_FAILED = 11


class Pods:
    """The pods of a namespace.

    Parameters
    ----------
    master : str, optional
        Spark's master, ``k8s://https://HOST:PORT``; by default the cluster of the kubeconfig or of this pod.
    conf : mapping
        Spark's settings; namespace, context and credentials are read from the same ones as by spark-submit.

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
            # Without a kubeconfig and a service account the settings below must suffice.
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
        settings.retries = _retry_policy()
        self._api = kubernetes.client.CoreV1Api(kubernetes.client.ApiClient(settings))
        self._api_exception: type[Exception] = kubernetes.client.ApiException

    def check(self, name: str) -> None:
        """Look for a pod before it is created, which fails without the right to watch it."""
        with self._api_errors():
            self._find(name)

    def wait(self, name: str, *, timeout_s: float) -> CtmahoutError | None:
        """Wait for the end of a driver pod; return None if it succeeded, else the error.

        Parameters
        ----------
        name : str
        timeout_s : float
            Limit for the start of the pod, in seconds.
        """
        deadline = time.monotonic() + timeout_s
        while True:
            with self._api_errors():
                pod = self._find(name)
            if pod is None:
                return EngineError("CTM_KUBERNETES_LOST", detail=f"somebody deleted {name}")
            if pod.status.phase == "Succeeded":
                return None
            if pod.status.phase == "Failed":
                return self._failure(pod)
            if pod.status.phase != "Running":
                error = startup_failure(pod, timeout_s, expired=time.monotonic() > deadline)
                if error is not None:
                    return error
            time.sleep(_POLL_S)

    def log(self, name: str) -> str:
        """Return stdout and stderr of the driver; empty if the log is not available."""
        try:
            # As bytes: the client would turn a log that happens to be JSON into the repr of a Python object.
            answer = self._api.read_namespaced_pod_log(name, self.namespace, _preload_content=False)
            return str(answer.data.decode("utf-8", "replace"))
        except self._api_exception:
            return ""

    def delete(self, name: str) -> None:
        """Delete a pod with the objects that it owns, and wait until it has disappeared."""
        with self._api_errors():
            try:
                self._api.delete_namespaced_pod(name, self.namespace)
            except self._api_exception as e:
                if getattr(e, "status", None) != 404:
                    raise
            deadline = time.monotonic() + _GRACE_S
            while self._find(name) is not None and time.monotonic() < deadline:
                time.sleep(_POLL_S / 4)

    def _find(self, name: str) -> Any:
        try:
            return self._api.read_namespaced_pod(name, self.namespace)
        except self._api_exception as e:
            if getattr(e, "status", None) == 404:
                return None
            raise

    def _failure(self, pod: Any) -> CtmahoutError:
        name = pod.metadata.name
        state = _terminated(pod)
        if state is not None and state.reason == "OOMKilled":
            limits = pod.spec.containers[0].resources.limits or {}
            return EngineError("CTM_KUBERNETES_MEMORY", limit=limits.get("memory", "that of its node"))
        # Evicted, Preempting, NodeLost, Shutdown and so on: the pod was stopped from outside.
        if pod.status.reason:
            detail = f"{pod.status.reason}: {pod.status.message or 'no more is known'}"
            return EngineError("CTM_KUBERNETES_LOST", detail=detail.rstrip("."))
        log = self.log(name)
        if "is forbidden: User" in log:
            return forbidden(log, self.namespace)
        code = state.exit_code if state is not None else "unknown"
        # Takes precedence over the bridge's error, which only knows that the session was stopped.
        if code == _EXECUTORS_FAILED:
            of_executors = "\n".join(line for line in log.splitlines() if "xecutor" in line)
            detail = log_tail(of_executors or log) or "its log is empty"
            return EngineError("CTM_KUBERNETES_EXECUTORS", detail=detail.rstrip("."))
        for line in reversed(log.splitlines()):
            if line.startswith("[CTM_"):
                return translate_error(line, engine=self.engine, log=log)
        return translate_error(f"the driver pod ended with exit code {code}", engine=self.engine, log=log)

    @contextmanager
    def _api_errors(self) -> Iterator[None]:
        """Translate errors of the API."""
        from urllib3.exceptions import HTTPError

        try:
            yield
        except self._api_exception as e:
            if getattr(e, "status", None) in (401, 403):
                raise forbidden(str(e), self.namespace) from e
            raise EngineError("CTM_KUBERNETES_UNREACHABLE", master=self._master, detail=one_line(str(e))) from e
        except HTTPError as e:
            raise EngineError("CTM_KUBERNETES_UNREACHABLE", master=self._master, detail=one_line(str(e))) from e


@contextmanager
def deleting(delete: Callable[[], None]) -> Iterator[None]:
    """Call `delete` at the end of the block, also after an error."""
    try:
        yield
    except BaseException:
        # The first error is the one to report.
        with suppress(CtmahoutError):
            delete()
        raise
    delete()


def forbidden(text: str, namespace: str) -> EngineError:
    """Return CTM_KUBERNETES_FORBIDDEN with the line of the text that says what is forbidden."""
    lines = [line.strip() for line in text.splitlines() if "orbidden" in line or "nauthorized" in line]
    return EngineError("CTM_KUBERNETES_FORBIDDEN", namespace=namespace, detail=(lines or [text])[-1][:600].rstrip("."))


def _retry_policy() -> Any:
    """Return a policy that tolerates an API that is unavailable for half a minute."""
    from urllib3 import Retry

    return Retry(total=6, backoff_factor=0.5, status_forcelist=(429, 500, 502, 503, 504))


def startup_failure(pod: Any, timeout_s: float, *, expired: bool) -> EngineError | None:
    """Return the error of a pod that cannot start, or has not within the limit; None while it may still start."""
    for container in pod.status.container_statuses or ():
        waiting = container.state.waiting if container.state else None
        if waiting is not None and waiting.reason in _NO_IMAGE:
            detail = f"{waiting.reason}: {waiting.message or 'no more is known'}"
            return EngineError("CTM_KUBERNETES_IMAGE", image=container.image, detail=detail.rstrip("."))
    if not expired:
        return None
    reasons = [c.message for c in pod.status.conditions or () if c.status == "False" and c.message]
    reasons += [
        f"{container.state.waiting.reason}: {container.state.waiting.message}"
        for container in pod.status.container_statuses or ()
        if container.state and container.state.waiting
    ]
    detail = "; ".join(reasons) or f"its phase is {pod.status.phase}"
    return EngineError("CTM_KUBERNETES_PENDING", seconds=f"{timeout_s:.0f}", detail=detail.rstrip("."))


def _terminated(pod: Any) -> Any:
    states = [container.state.terminated for container in pod.status.container_statuses or () if container.state]
    return next((state for state in states if state is not None), None)


def one_line(text: str) -> str:
    """Return a text as one line of at most 600 characters, without a full stop at its end."""
    return " ".join(text.split())[:600].rstrip(".")
