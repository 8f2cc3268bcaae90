"""Send derived series on: one thread for each destination, so that none waits for another."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

from ..dicom import send
from ..errors import CtmahoutError, OutputError
from .config import Destination
from .metrics import Counters
from .queue import Entry, Queue, Record
from .tls import client_context

__all__ = ["Forwarder", "settle"]

_log = logging.getLogger("ctmahout.node")

Progress = Callable[[str, int, int], None]


class Forwarder:
    """Sends to one destination, by C-STORE or STOW-RS.

    Parameters
    ----------
    destination : Destination
    calling : str
        AE title of the node.
    queue : Queue
    counters : Counters
    """

    def __init__(self, destination: Destination, calling: str, queue: Queue, counters: Counters) -> None:
        self._destination = destination
        self._calling = calling
        self._queue = queue
        self._counters = counters
        self._tls = client_context(destination.tls) if destination.tls else None

    def step(self) -> bool:
        """Try one series that is due; returns False if there is none."""
        name = self._destination.name
        for entry in self._queue.entries("sending"):
            delivery = entry.record().deliveries.get(name)
            if delivery and not delivery["sent"] and not delivery["failed"] and delivery["due"] <= time.time():
                self._deliver(entry)
                return True
        return False

    def _deliver(self, entry: Entry) -> None:
        destination = self._destination
        error: CtmahoutError | None = None
        try:
            sent = send(
                entry.run,
                destination.archive or destination.host,
                destination.port,
                called=destination.title or "ANY-SCP",
                calling=self._calling,
                tls=self._tls,
                timeout_s=destination.timeout_s,
            )
            self._counters.count("sent images", destination.name, sent.images)
        except CtmahoutError as e:
            error = e
        except Exception as e:  # a defect, whose text may quote patient data
            where = destination.archive or f"{destination.host}:{destination.port}"
            problem = f"sending fails with {type(e).__name__}"
            error = OutputError("CTM_SEND_FAILED", where=where, problem=problem, taken=0, count="the")
        self._counters.count("deliveries", "failed" if error else "sent")

        def note(record: Record) -> None:
            delivery = record.deliveries[destination.name]
            delivery["tries"] += 1
            if error is None:
                delivery.update(sent=time.time(), code="", message="")
                return
            wait = min(destination.wait_s * 2 ** min(delivery["tries"] - 1, 30), destination.longest_wait_s)
            failed = delivery["tries"] >= destination.tries
            delivery.update(
                code=error.code, message=error.message, hint=error.hint, due=time.time() + wait, failed=failed
            )

        self._queue.update(entry, note)
        if error is not None:
            _log.warning("%s to %s: [%s] %s", entry.key, destination.name, error.code, error.message)
        else:
            _log.info("%s sent to %s", entry.key, destination.name)
        settle(self._queue, entry)


def settle(queue: Queue, entry: Entry) -> None:
    """Move a series on when every destination has it, or to quarantine when the last one that has not is given up."""
    with queue.lock:
        if not entry.path.is_dir():  # another destination's thread was faster
            return
        record = entry.record()
        deliveries = record.deliveries.values()
        if any(not d["sent"] and not d["failed"] for d in deliveries):
            return
        failed = next((d for d in deliveries if d["failed"]), None)
        if failed is None:
            queue.archive(entry, record, "sent" if record.deliveries else "kept")
            return
        error = CtmahoutError(failed["code"])
        error.message, error.hint = failed["message"], failed["hint"]
        queue.quarantine(entry, record, error)
