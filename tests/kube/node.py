"""What every node of the small Kubernetes does: keep a pod's status as a kubelet reports it."""

from abc import ABC, abstractmethod


class Node(ABC):
    """Starts, stops and watches the pods of a store."""

    def __init__(self, store):
        self.store = store

    @abstractmethod
    def start(self, pod):
        """Start a pod; return at once."""

    @abstractmethod
    def stop(self, pod):
        """Stop a pod as a deletion does, and report its end; return when it has ended."""

    @abstractmethod
    def remove(self, pod):
        """Forget a pod that has ended."""

    @abstractmethod
    def log(self, pod):
        """The log of a pod, as bytes; None if it cannot be had."""

    def report(self, pod, phase, state=None, **more):
        """Set phase and container state of a pod, unless it is gone."""
        spec = pod["spec"]["containers"][0]

        def change(found):
            status = found.setdefault("status", {})
            status |= {"phase": phase, "startTime": "2026-01-01T00:00:00Z", **more}
            if state:
                one = {"name": spec["name"], "image": spec["image"], "imageID": "", "restartCount": 0}
                status["containerStatuses"] = [one | {"ready": "running" in state, "state": state}]
                # Spark's driver waits for this before it asks for executors.
                ready = {"type": "Ready", "status": str("running" in state)}
                others = [c for c in status.get("conditions", ()) if c["type"] != "Ready"]
                status["conditions"] = [*others, ready]

        self.store.change("pods", *place(pod), change)

    def report_end(self, pod, code, reason=None):
        """Report that the container of a pod has ended."""
        reason = reason or ("Error" if code else "Completed")
        self.report(pod, "Failed" if code else "Succeeded", {"terminated": {"exitCode": code, "reason": reason}})


def place(pod):
    return pod["metadata"]["namespace"], pod["metadata"]["name"]
