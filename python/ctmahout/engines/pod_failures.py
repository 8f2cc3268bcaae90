"""A pod and its log in, the coded error that says why it does not start or has failed out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from ..errors import CtmahoutError, EngineError
from .jvm_calls import log_tail, translate_error
from .kubernetes_api import one_line, refusal

__all__ = ["driver_failure", "phase", "start_error", "startup_failure", "wait_reason"]

# A pod, or a part of one, as the API has it.
Pod = Mapping[str, Any]

_NO_IMAGE = ("ErrImagePull", "ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull", "ImageInspectError")
# Spark's exit code if more executors fail than spark.executor.maxNumFailures.
_EXECUTORS_FAILED = 11
# Of a process that SIGKILL or SIGTERM has ended.
_KILLED = (137, 143)


def phase(pod: Pod) -> str:
    """Return the phase of a pod: Pending, Running, Succeeded, Failed or Unknown."""
    return str(_status(pod).get("phase", "Pending"))


def wait_reason(pod: Pod) -> str | None:
    """Return what a pod that has not started waits for, in the words of Kubernetes; None if that is not known."""
    reasons = [
        f"{condition.get('reason') or condition['type']}: {condition['message']}"
        for condition in _conditions(pod)
        if condition["status"] == "False" and condition.get("message")
    ]
    reasons += [_reason_of(state) for _, state in _containers(pod, "waiting")]
    return one_line("; ".join(reasons)) or None


def startup_failure(pod: Pod, timeout_s: float, *, expired: bool) -> EngineError | None:
    """Return the error of a pod that cannot start, or has not within the limit; None while it may still start."""
    for container, state in _containers(pod, "waiting"):
        if state.get("reason") in _NO_IMAGE:
            return EngineError("CTM_KUBERNETES_IMAGE", image=container["image"], detail=_reason_of(state).rstrip("."))
    if not expired:
        return None
    # A queue such as Kueue's removes the gate when it admits the pod.
    gated = any(condition.get("reason") == "SchedulingGated" for condition in _conditions(pod))
    return start_error(wait_reason(pod) or f"its phase is {phase(pod)}", timeout_s, queued=gated)


def start_error(reason: str, timeout_s: float, *, queued: bool) -> EngineError:
    """Return the error of a driver that has not started within the limit, or that a queue has not admitted."""
    code = "CTM_KUBERNETES_QUEUED" if queued else "CTM_KUBERNETES_PENDING"
    return EngineError(code, seconds=f"{timeout_s:.0f}", detail=one_line(reason))


def driver_failure(pod: Pod, log: str, *, executors: Sequence[Pod], engine: str, namespace: str) -> CtmahoutError:
    """Return the error of a driver pod that has failed.

    Parameters
    ----------
    pod : mapping
        As the API has it.
    log : str
        Its log; empty if it is not available.
    executors : sequence of mapping
        Pods of its executors, as far as they are still there.
    engine, namespace : str
    """
    state = _terminated(pod)
    if state is not None and state.get("reason") == "OOMKilled":
        return EngineError("CTM_KUBERNETES_MEMORY", limit=_memory_limit(pod) or "that of its node")
    code = state["exitCode"] if state is not None else None
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


def _disruption(pod: Pod, code: int | None) -> str | None:
    """Return what stopped a pod from outside; None if it ended by itself."""
    # Evicted, Preempting, NodeLost, Shutdown and so on.
    if _status(pod).get("reason"):
        return _reason_of(_status(pod))
    if code is not None and code not in _KILLED:
        return None
    for condition in _conditions(pod):
        if condition["type"] == "DisruptionTarget" and condition["status"] == "True":
            return _reason_of(condition)
    # A deleted pod can be seen for a moment after its end.
    if "deletionTimestamp" in pod["metadata"]:
        return f"somebody deleted {pod['metadata']['name']}"
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


def _end(pod: Pod) -> str | None:
    """Return exit code and reason of a pod that has failed; None of another."""
    state = _terminated(pod)
    if state is None or not state["exitCode"]:
        return None
    reason = state.get("reason")
    limit = f", limit {_memory_limit(pod)}" if reason == "OOMKilled" and _memory_limit(pod) else ""
    return f"exit code {state['exitCode']} ({reason}{limit})"


def _memory_limit(pod: Pod) -> str | None:
    limits = (pod["spec"]["containers"][0].get("resources") or {}).get("limits") or {}
    return limits.get("memory")


def _terminated(pod: Pod) -> Pod | None:
    return next((state for _, state in _containers(pod, "terminated")), None)


def _containers(pod: Pod, state: str) -> list[tuple[Pod, Pod]]:
    """Return the containers that are in a state, each with that state."""
    containers = _status(pod).get("containerStatuses") or ()
    return [(one, one["state"][state]) for one in containers if state in (one.get("state") or {})]


def _conditions(pod: Pod) -> Sequence[Pod]:
    return _status(pod).get("conditions") or ()


def _status(pod: Pod) -> Pod:
    return pod.get("status") or {}


def _reason_of(state: Pod) -> str:
    """Return reason and message of a container's state, of a condition, or of a pod's status."""
    return f"{state.get('reason')}: {state.get('message') or 'no more is known'}"
