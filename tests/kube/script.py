"""A node without containers: pods live as a test says. For properties of the API's answers, at no cost."""

import threading

from .node import Node, place


class Script(Node):
    """Pods run until `end` or a deletion; `life`, called with each new pod, may do otherwise."""

    def __init__(self, store):
        super().__init__(store)
        self.life = self.run
        self.logs = {}
        self.ends = True  # whether a pod that is stopped ends

    def start(self, pod):
        if pod["spec"].get("schedulingGates"):
            gated = "Scheduling is blocked due to non-empty scheduling gates"
            return self.unscheduled(pod, "SchedulingGated", gated)
        threading.Thread(target=self.life, args=(pod,), daemon=True).start()
        return None

    def admit(self, pod):
        """Remove the gates of a pod, as a queue does that admits it."""
        self.start(self.store.change("pods", *place(pod), lambda o: o["spec"].pop("schedulingGates")))

    def run(self, pod):
        self.report(pod, "Running", {"running": {}}, podIP="10.0.0.9")

    def end(self, pod, code, log="", reason=None):
        self.logs[place(pod)] = log
        self.report_end(pod, code, reason)

    def wait(self, pod, reason, message=""):
        """Report that the container of a pod cannot be started yet."""
        self.report(pod, "Pending", {"waiting": {"reason": reason, "message": message}})

    def unscheduled(self, pod, reason, message):
        """Report that no node has been chosen for a pod."""
        condition = {"type": "PodScheduled", "status": "False", "reason": reason, "message": message}
        self.report(pod, "Pending", conditions=[condition])

    def stop(self, pod):
        found = self.store.get("pods", *place(pod))
        if found and found["status"]["phase"] == "Running" and self.ends:
            self.report_end(pod, 143)  # the JVM's exit code after SIGTERM

    def remove(self, pod):
        self.logs.pop(place(pod), None)

    def log(self, pod):
        """The log of a pod; None if its node does not answer."""
        log = self.logs.get(place(pod), "")
        return None if log is None else log.encode()
