"""A pod and its log in, the coded error that says why it does not start or has failed out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from ..errors import CtmahoutError, EngineError
from .jvm_calls import log_tail, translate_error
from .kubernetes_api import one_line, refusal

__all__ = ["driver_failure", "start_error", "startup_failure", "wait_reason"]

_NO_IMAGE = ("ErrImagePull", "ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull", "ImageInspectError")
# Spark's exit code if more executors fail than spark.executor.maxNumFailures.
_EXECUTORS_FAILED = 11
# Of a process that SIGKILL or SIGTERM has ended.
_KILLED = (137, 143)


def wait_reason(pod: Any) -> str | None:
    """Return what a pod that has not started waits for, in the words of Kubernetes; None if that is not known."""
    reasons = [f"{c.reason or c.type}: {c.message}" for c in pod.status.conditions or () if _holds(c)]
    reasons += [_reason_of(container.state.waiting) for container in _waiting(pod)]
    return one_line("; ".join(reasons)) or None


def _waiting(pod: Any) -> list[Any]:
    return [c for c in pod.status.container_statuses or () if c.state and c.state.waiting]


def _reason_of(state: Any) -> str:
    """Return reason and message of a container's state, of a condition, or of a pod's status."""
    return f"{state.reason}: {state.message or 'no more is known'}"


def _holds(condition: Any) -> bool:
    return condition.status == "False" and bool(condition.message)


def startup_failure(pod: Any, timeout_s: float, *, expired: bool) -> EngineError | None:
    """Return the error of a pod that cannot start, or has not within the limit; None while it may still start."""
    for container in _waiting(pod):
        if container.state.waiting.reason in _NO_IMAGE:
            detail = _reason_of(container.state.waiting).rstrip(".")
            return EngineError("CTM_KUBERNETES_IMAGE", image=container.image, detail=detail)
    if not expired:
        return None
    # A queue such as Kueue's removes the gate when it admits the pod.
    gated = any(c.reason == "SchedulingGated" for c in pod.status.conditions or ())
    return start_error(wait_reason(pod) or f"its phase is {pod.status.phase}", timeout_s, queued=gated)


def start_error(reason: str, timeout_s: float, *, queued: bool) -> EngineError:
    """Return the error of a driver that has not started within the limit, or that a queue has not admitted."""
    code = "CTM_KUBERNETES_QUEUED" if queued else "CTM_KUBERNETES_PENDING"
    return EngineError(code, seconds=f"{timeout_s:.0f}", detail=one_line(reason))


def driver_failure(pod: Any, log: str, *, executors: Sequence[Any], engine: str, namespace: str) -> CtmahoutError:
    """Return the error of a driver pod that has failed.

    Parameters
    ----------
    pod : V1Pod
    log : str
        Its log; empty if it is not available.
    executors : sequence of V1Pod
        Pods of its executors, as far as they are still there.
    engine, namespace : str
    """
    state = _terminated(pod)
    if state is not None and state.reason == "OOMKilled":
        return EngineError("CTM_KUBERNETES_MEMORY", limit=_memory_limit(pod) or "that of its node")
    code = state.exit_code if state is not None else None
    if disruption := _disruption(pod, code):
        return EngineError("CTM_KUBERNETES_LOST", detail=disruption.rstrip("."))
    refused = refusal(log, namespace)
    ends = Counter(filter(None, map(_end, executors))) if code == _EXECUTORS_FAILED else Counter[str]()
    # What executors say counts before a right that was lacking to mark them as failed.
    if refused is not None and refused.code == "CTM_KUBERNETES_FORBIDDEN":
        if not ends:
            return refused
        refused = None
    # Takes precedence over the bridge's error, which only knows that the session was stopped.
    if code == _EXECUTORS_FAILED:
        return _executors_error(log, ends, refused)
    for line in reversed(log.splitlines()):
        if line.startswith("[CTM_"):
            return translate_error(line, engine=engine, log=log)
    ending = "unknown" if code is None else code
    return translate_error(f"the driver pod ended with exit code {ending}", engine=engine, log=log)


def _disruption(pod: Any, code: int | None) -> str | None:
    """Return what stopped a pod from outside; None if it ended by itself."""
    # Evicted, Preempting, NodeLost, Shutdown and so on.
    if pod.status.reason:
        return _reason_of(pod.status)
    if code is not None and code not in _KILLED:
        return None
    for condition in pod.status.conditions or ():
        if condition.type == "DisruptionTarget" and condition.status == "True":
            return _reason_of(condition)
    # A deleted pod can be seen for a moment after its end.
    if pod.metadata.deletion_timestamp is not None:
        return f"somebody deleted {pod.metadata.name}"
    if code is not None:
        return f"its process was killed from outside (exit code {code}), by Kubernetes' account not for want of memory"
    return None


def _executors_error(log: str, ends: Mapping[str, int], refused: EngineError | None) -> EngineError:
    """Return CTM_KUBERNETES_EXECUTORS with the reason: of the pods, of the API server, else of the log."""
    details = [f"{count} ended with {end}" for end, count in ends.items()]
    if refused is not None:
        details.append(str(refused.fields["detail"]))
    if not details:
        of_executors = "\n".join(line for line in log.splitlines() if "xecutor" in line)
        details = [log_tail(of_executors or log) or "its log is empty"]
    return EngineError("CTM_KUBERNETES_EXECUTORS", detail="; ".join(details).rstrip("."))


def _end(pod: Any) -> str | None:
    """Return exit code and reason of a pod that has failed; None of another."""
    state = _terminated(pod)
    if state is None or not state.exit_code:
        return None
    limit = f", limit {_memory_limit(pod)}" if state.reason == "OOMKilled" and _memory_limit(pod) else ""
    return f"exit code {state.exit_code} ({state.reason}{limit})"


def _memory_limit(pod: Any) -> str | None:
    resources = pod.spec.containers[0].resources
    limits = (resources.limits if resources is not None else None) or {}
    return limits.get("memory")


def _terminated(pod: Any) -> Any:
    states = [container.state.terminated for container in pod.status.container_statuses or () if container.state]
    return next((state for state in states if state is not None), None)
