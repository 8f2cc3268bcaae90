"""SparkApplications of the Kubeflow Spark Operator (v1beta2) in, the end of their drivers out."""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Mapping
from typing import Any

from ..errors import CtmahoutError, EngineError
from .kubernetes_api import KubernetesApi, one_line, refusal
from .pod_failures import phase, start_error
from .pods import Pods

__all__ = ["API_VERSION", "PLURAL", "Applications"]

API_VERSION, PLURAL = "sparkoperator.k8s.io/v1beta2", "sparkapplications"
_POLL_S = 1.0
# A log is read as a whole each time, so less often than the state.
_LOG_S = 5.0
# How long a pod may look as if its container were at work after the operator has seen its end.
_PHASE_S = 30.0
# Held by a queue, such as Kueue's, or by an administrator.
_SUSPENDED = ("SUSPENDING", "SUSPENDED")
_REASON = re.compile(r"^.*(?:Caused by: |Exception in thread|\bERROR\b|\b[Ee]rror: ).*$", re.MULTILINE)

_log = logging.getLogger(__name__)
_log.addHandler(logging.NullHandler())


class Applications(Pods):
    """The applications of a namespace, and their pods."""

    engine = "operator"

    def __init__(self, api: KubernetesApi) -> None:
        super().__init__(api)
        self._applications = f"/apis/{API_VERSION}/namespaces/{self.namespace}/{PLURAL}"

    def create(self, application: Mapping[str, Any]) -> None:
        """Create an application.

        Raises
        ------
        EngineError
            CTM_KUBERNETES_OPERATOR: the operator is not installed, or too old for a pod template. And as of
            `KubernetesApi.request`.
        """
        created = self._api.create(self._applications, application)
        if created is None and self._application(application["metadata"]["name"]) is None:
            raise EngineError("CTM_KUBERNETES_OPERATOR", kind=API_VERSION)
        # What a resource definition does not know, the API server drops without a word.
        for role in ("driver", "executor"):
            if created is not None and "template" in application["spec"][role].keys() - created["spec"][role].keys():
                raise EngineError("CTM_KUBERNETES_OPERATOR", kind=f"{API_VERSION} with pod templates")

    def wait_for(self, name: str, *, timeout_s: float) -> tuple[CtmahoutError | None, str]:
        """Wait for the end of an application; return its error, None if it succeeded, and its driver's log.

        The driver's log is logged as it grows (logger ``ctmahout.engines.spark_applications``, level INFO), and so is
        what the driver waits for. Of the states only COMPLETED and FAILED are final: the operator may retry after any
        other.

        Parameters
        ----------
        name : str
        timeout_s : float
            Limit for the start of the driver, in seconds.
        """
        deadline, log, read_at, started = time.monotonic() + timeout_s, "", 0.0, False
        failed_at: float | None = None
        while True:
            application = self._application(name, long_outage=True)
            if application is None:
                return EngineError("CTM_KUBERNETES_LOST", detail=f"somebody deleted the application {name}"), log
            status = application.get("status") or {}
            reported = status.get("applicationState") or {}
            state, pod = reported.get("state") or "NEW", (status.get("driverInfo") or {}).get("podName")
            final = state in ("COMPLETED", "FAILED")
            if pod and (final or time.monotonic() - read_at > _LOG_S):
                text, read_at = self.log(pod), time.monotonic()
                # The log of a retried driver starts anew.
                if lines := text[len(log) :] if text.startswith(log) else text:
                    _log.info("%s", lines.rstrip("\n"))
                log = text or log
            if state == "COMPLETED":
                return None, log
            driver = self.get(pod, long_outage=True) if pod else None
            started = started or driver is not None
            if state == "FAILED":
                if driver is not None and phase(driver) == "Failed":
                    return self.failure(driver, log, status.get("executorState") or ()), log
                # The operator looks at the container, whose end the phase of the pod shows some moments later.
                failed_at = failed_at or time.monotonic()
                if driver is not None and phase(driver) == "Running" and time.monotonic() - failed_at < _PHASE_S:
                    time.sleep(_POLL_S)
                    continue
                message = reported.get("errorMessage") or ""
                # A driver may be gone before it was seen here; one that was never made is spark-submit's failure.
                if pod and driver is None and (started or "spark-submit" not in message):
                    return EngineError("CTM_KUBERNETES_LOST", detail=f"somebody deleted {pod}"), log
                return self._submission_error(message), log
            expired = time.monotonic() > deadline
            if driver is None:
                held = state in _SUSPENDED
                reason = f"the application is suspended ({state})" if held else reported.get("errorMessage")
                if expired:
                    return start_error(reason or f"the application's state is {state}", timeout_s, queued=held), log
                self.report_wait(name, reason)
            elif phase(driver) == "Pending":
                error = self.not_started(driver, timeout_s, expired=expired)
                if error is not None:
                    return error, log
            time.sleep(_POLL_S)

    def remove(self, name: str) -> None:
        """Delete an application; the operator and Kubernetes delete its pods. Waits for the driver to disappear.

        Raises
        ------
        EngineError
            As of `Pods.delete`.
        """
        application = self._application(name)
        if application is None:
            return
        self._api.request("DELETE", f"{self._applications}/{name}")
        status = application.get("status") or {}
        # The operator's own name for a driver that it has not reported yet.
        self.wait_until_gone((status.get("driverInfo") or {}).get("podName") or f"{name}-driver")

    def _submission_error(self, text: str) -> CtmahoutError:
        """Return the error of a submission that failed within the operator, from its log: the reason stands last."""
        refused = refusal(text, self.namespace)
        if refused is not None:
            return refused
        lines = _REASON.findall(text) or text.splitlines()[-1:]
        detail = one_line(lines[-1]) if lines else "the operator says no more"
        return EngineError("CTM_ENGINE_FAILED", engine=self.engine, detail=detail)

    def _application(self, name: str, *, long_outage: bool = False) -> Any:
        return self._api.get(f"{self._applications}/{name}", long_outage=long_outage)
