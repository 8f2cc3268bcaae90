"""SparkApplications of the Kubeflow Spark Operator (v1beta2) in, the end of their drivers out."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from typing import Any

from ..errors import CtmahoutError, EngineError
from .pods import Pods, one_line, startup_failure

__all__ = ["API_VERSION", "Applications"]

_GROUP, _VERSION, _PLURAL = "sparkoperator.k8s.io", "v1beta2", "sparkapplications"
API_VERSION = f"{_GROUP}/{_VERSION}"
_POLL_S = 1.0
# A log is read as a whole each time, so less often than the state.
_LOG_S = 5.0

_log = logging.getLogger(__name__)
_log.addHandler(logging.NullHandler())


class Applications(Pods):
    """The applications of a namespace; parameters and errors as of `Pods`."""

    engine = "operator"

    def __init__(self, master: str | None, conf: Mapping[str, str]) -> None:
        super().__init__(master, conf)
        import kubernetes

        self._applications = kubernetes.client.CustomObjectsApi(self._api.api_client)

    def create(self, application: Mapping[str, Any]) -> None:
        """Create an application.

        Raises
        ------
        EngineError
            CTM_KUBERNETES_OPERATOR: the operator is not installed. CTM_KUBERNETES_FORBIDDEN,
            CTM_KUBERNETES_UNREACHABLE.
        """
        with self._api_errors():
            try:
                self._applications.create_namespaced_custom_object(
                    _GROUP, _VERSION, self.namespace, _PLURAL, dict(application)
                )
            except self._api_exception as e:
                if getattr(e, "status", None) == 404:
                    raise EngineError("CTM_KUBERNETES_OPERATOR", kind=API_VERSION) from e
                raise

    def wait_for(self, name: str, *, timeout_s: float) -> tuple[CtmahoutError | None, str]:
        """Wait for the end of an application; return its error, None if it succeeded, and its driver's log.

        The driver's log is logged as it grows (logger ``ctmahout.engines.spark_applications``, level INFO). Of the
        states only COMPLETED and FAILED are final: the operator may retry after any other.

        Parameters
        ----------
        name : str
        timeout_s : float
            Limit for the start of the driver, in seconds.
        """
        deadline, log, read_at = time.monotonic() + timeout_s, "", 0.0
        while True:
            with self._api_errors():
                application = self._application(name)
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
            with self._api_errors():
                driver = self._find(pod) if pod else None
            if state == "FAILED":
                if driver is not None and driver.status.phase == "Failed":
                    return self._failure(driver), log
                detail = one_line(reported.get("errorMessage") or "the operator says no more")
                return EngineError("CTM_ENGINE_FAILED", engine=self.engine, detail=detail), log
            expired = time.monotonic() > deadline
            if driver is None and expired:
                detail = one_line(reported.get("errorMessage") or f"the application's state is {state}")
                return EngineError("CTM_KUBERNETES_PENDING", seconds=f"{timeout_s:.0f}", detail=detail), log
            if driver is not None and driver.status.phase == "Pending":
                error = startup_failure(driver, timeout_s, expired=expired)
                if error is not None:
                    return error, log
            time.sleep(_POLL_S)

    def remove(self, name: str) -> None:
        """Delete an application; the operator and Kubernetes delete its pods."""
        with self._api_errors():
            try:
                self._applications.delete_namespaced_custom_object(_GROUP, _VERSION, self.namespace, _PLURAL, name)
            except self._api_exception as e:
                if getattr(e, "status", None) != 404:
                    raise

    def _application(self, name: str) -> Any:
        try:
            return self._applications.get_namespaced_custom_object(_GROUP, _VERSION, self.namespace, _PLURAL, name)
        except self._api_exception as e:
            if getattr(e, "status", None) == 404:
                return None
            raise
