"""SparkApplications of the Kubeflow Spark Operator (v1beta2), and the driver pods that it makes of them."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from typing import Any

from ..errors import CtmahoutError, EngineError
from .pods import Pods, first_line, stuck

__all__ = ["API_VERSION", "Applications"]

_GROUP, _VERSION, _PLURAL = "sparkoperator.k8s.io", "v1beta2", "sparkapplications"
API_VERSION = f"{_GROUP}/{_VERSION}"
_POLL_S = 1.0
# A log is read again as a whole: every second would be much for a long one.
_LOG_S = 5.0


class Applications(Pods):
    """The applications of a namespace; parameters and errors are those of `Pods`."""

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
            CTM_KUBERNETES_OPERATOR: the cluster does not know the kind. CTM_KUBERNETES_FORBIDDEN,
            CTM_KUBERNETES_UNREACHABLE.
        """
        with self._asking():
            try:
                self._applications.create_namespaced_custom_object(
                    _GROUP, _VERSION, self.namespace, _PLURAL, dict(application)
                )
            except self._refused as e:
                if getattr(e, "status", None) == 404:
                    raise EngineError("CTM_KUBERNETES_OPERATOR", kind=API_VERSION) from e
                raise

    def finish(self, name: str, *, patience: float) -> tuple[CtmahoutError | None, str]:
        """Wait for the end of an application, its driver's log on stderr; return what became of it and the log.

        Of its states only COMPLETED and FAILED are final: the operator may try again after any other.

        Parameters
        ----------
        name : str
        patience : float
            How long the driver may take to start, in seconds.
        """
        deadline, log, read_at = time.monotonic() + patience, "", 0.0
        while True:
            with self._asking():
                found = self._application(name)
            if found is None:
                return EngineError("CTM_KUBERNETES_LOST", detail=f"somebody deleted the application {name}"), log
            status = found.get("status") or {}
            told = status.get("applicationState") or {}
            state, pod = told.get("state") or "NEW", (status.get("driverInfo") or {}).get("podName")
            final = state in ("COMPLETED", "FAILED")
            if pod and (final or time.monotonic() - read_at > _LOG_S):
                said, read_at = self.log(pod), time.monotonic()
                # A driver that is tried again begins a log of its own.
                sys.stderr.write(said[len(log) :] if said.startswith(log) else said)
                log = said or log
            if state == "COMPLETED":
                return None, log
            with self._asking():
                driver = self._find(pod) if pod else None
            if state == "FAILED":
                if driver is not None and driver.status.phase == "Failed":
                    return self._failure(driver), log
                detail = first_line(told.get("errorMessage") or "the operator says no more")
                return EngineError("CTM_ENGINE_FAILED", engine=self.engine, detail=detail), log
            late = time.monotonic() > deadline
            if driver is None and late:
                detail = first_line(told.get("errorMessage") or f"the application's state is {state}")
                return EngineError("CTM_KUBERNETES_PENDING", seconds=f"{patience:.0f}", detail=detail), log
            if driver is not None and driver.status.phase == "Pending" and (why := stuck(driver, late, patience)):
                return why, log
            time.sleep(_POLL_S)

    def remove(self, name: str) -> None:
        """Delete an application; the operator and Kubernetes take along what belongs to it."""
        with self._asking():
            try:
                self._applications.delete_namespaced_custom_object(_GROUP, _VERSION, self.namespace, _PLURAL, name)
            except self._refused as e:
                if getattr(e, "status", None) != 404:
                    raise

    def _application(self, name: str) -> Any:
        try:
            return self._applications.get_namespaced_custom_object(_GROUP, _VERSION, self.namespace, _PLURAL, name)
        except self._refused as e:
            if getattr(e, "status", None) == 404:
                return None
            raise
