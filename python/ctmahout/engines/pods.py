"""Driver pods in, their end and log or a coded error out."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from ..errors import CtmahoutError, EngineError
from .kubernetes_api import KubernetesApi, one_line
from .pod_failures import driver_failure, phase, startup_failure, wait_reason

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

__all__ = ["Pods", "deleting"]

_POLL_S = 1.0
# Time for a deleted pod to disappear: Kubernetes gives a driver 30 s to remove its partial output.
_GRACE_S = 60.0
# More of them than this tell nothing new.
_MAX_EXECUTORS = 50

_log = logging.getLogger(__name__)
_log.addHandler(logging.NullHandler())


class Pods:
    """The pods of a namespace."""

    engine = "submit"

    def __init__(self, api: KubernetesApi) -> None:
        self.namespace = api.namespace
        self._api = api
        self._path = f"/api/v1/namespaces/{api.namespace}/pods"
        self._reason: str | None = None

    def get(self, name: str, *, long_outage: bool = False) -> dict[str, Any] | None:
        """Return a pod, None if there is none of that name. Fails without the right to get pods."""
        return self._api.get(f"{self._path}/{name}", long_outage=long_outage)

    def wait(self, name: str, *, timeout_s: float) -> CtmahoutError | None:
        """Wait for the end of a driver pod; return None if it succeeded, else the error.

        What it waits for before it starts is logged (logger ``ctmahout.engines.pods``, level INFO), and so is the log
        of a driver that fails.

        Parameters
        ----------
        name : str
        timeout_s : float
            Limit for the start of the pod, in seconds.
        """
        deadline = time.monotonic() + timeout_s
        while True:
            pod = self.get(name, long_outage=True)
            if pod is None:
                return EngineError("CTM_KUBERNETES_LOST", detail=f"somebody deleted {name}")
            if phase(pod) == "Succeeded":
                return None
            if phase(pod) == "Failed":
                log = self.log(name)
                _log.info("%s", log.rstrip("\n"))
                prefix = name.removesuffix("-driver")
                return self.failure(pod, log, (f"{prefix}-exec-{n}" for n in range(1, _MAX_EXECUTORS)))
            if phase(pod) != "Running":
                error = self.not_started(pod, timeout_s, expired=time.monotonic() > deadline)
                if error is not None:
                    return error
            time.sleep(_POLL_S)

    def not_started(self, pod: Mapping[str, Any], timeout_s: float, *, expired: bool) -> EngineError | None:
        """Return `startup_failure` of a pod; while there is none, log what it waits for."""
        error = startup_failure(pod, timeout_s, expired=expired)
        if error is None:
            self.report_wait(pod["metadata"]["name"], wait_reason(pod))
        return error

    def report_wait(self, name: str, reason: str | None) -> None:
        """Log what a driver waits for, if that is new."""
        if reason is not None and reason != self._reason:
            _log.info("%s waits: %s", name, one_line(reason))
        self._reason = reason or self._reason

    def log(self, name: str) -> str:
        """Return stdout and stderr of the driver; empty if the log is not available."""
        try:
            answer = self._api.request("GET", f"{self._path}/{name}/log")
        except CtmahoutError:
            return ""
        return "" if answer is None else answer.decode("utf-8", "replace")

    def delete(self, name: str) -> None:
        """Delete a pod with the objects that it owns, and wait until it has disappeared.

        Raises
        ------
        EngineError
            CTM_KUBERNETES_LEFT: it has not within a minute. And as of `KubernetesApi.request`.
        """
        self._api.request("DELETE", f"{self._path}/{name}")
        self.wait_until_gone(name)

    def wait_until_gone(self, name: str) -> None:
        """Wait until a pod that is being deleted has disappeared; see `delete`."""
        deadline = time.monotonic() + _GRACE_S
        while self.get(name) is not None:
            if time.monotonic() > deadline:
                raise EngineError("CTM_KUBERNETES_LEFT", kind="pod", name=name, namespace=self.namespace)
            time.sleep(_POLL_S / 4)

    def failure(self, pod: Mapping[str, Any], log: str, executors: Iterable[str]) -> CtmahoutError:
        """Return the error of a driver pod that has failed; `executors` are the names that its executors may have."""
        there = []
        for name in executors:
            try:
                executor = self.get(name)
            except CtmahoutError:
                break
            if executor is None:
                break
            there.append(executor)
        return driver_failure(pod, log, executors=there, engine=self.engine, namespace=self.namespace)


@contextmanager
def deleting(delete: Callable[[], None], *, kind: str, name: str, namespace: str) -> Iterator[None]:
    """Call `delete` at the end of the block, also after an error.

    If it fails, what remains is named with the command that removes it: in the hint of the block's error or, where
    there is none of ours, in the log at level WARNING.
    """
    remains = f"The {kind} {name} may be left; remove it with `kubectl delete {kind} {name} -n {namespace}`."
    try:
        yield
    except BaseException as e:
        # The first error is the one to report.
        try:
            delete()
        except BaseException as failure:
            if isinstance(e, CtmahoutError):
                e.append_hint(remains)
            else:
                _log.warning("%s", remains)
            if not isinstance(failure, CtmahoutError):
                raise
        raise
    try:
        delete()
    except CtmahoutError as failure:
        # The answer is there and right.
        _log.warning("%s %s", failure.message, remains)
