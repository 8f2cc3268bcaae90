"""The node: its threads, and what becomes of a series from state to state."""

from __future__ import annotations

import logging
import shutil
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from datetime import datetime
from types import TracebackType

from ..errors import CtmahoutError, InputError
from .config import NodeConfig
from .forward import Forwarder, settle
from .metrics import Counters
from .poll import Poller
from .queue import Entry, Queue, Record
from .receive import Receiver
from .rules import match, traits_of
from .run import Child

__all__ = ["Node", "Progress"]

_log = logging.getLogger("ctmahout.node")

_POLL_S = 0.1
_PRUNE_S = 600.0
_LONGEST_WAIT_S = 3600.0
# Reasons that may pass: defects (1) and engines (5), whose error may be the machine's, and outputs (6).
_MAY_PASS = frozenset({1, 5, 6})


class Progress:
    """How far a series is.

    Attributes
    ----------
    phase : str
        As of `denoise`.
    done, total : int
    since : float
        When the series was begun, seconds since 1970.
    """

    def __init__(self) -> None:
        self.phase, self.done, self.total, self.since = "start", 0, 0, time.time()

    def __call__(self, phase: str, done: int, total: int) -> None:
        self.phase, self.done, self.total = phase, done, total


class Node:
    """A DICOM node that denoises what it receives; a context manager that runs it.

    Parameters
    ----------
    config : NodeConfig

    Raises
    ------
    ConfigError, OutputError
        As of `ctmahout.node.serve`.
    """

    def __init__(self, config: NodeConfig) -> None:
        self.config = config
        self.counters = Counters()
        self.progress: dict[str, Progress] = {}
        self._rules = {rule.name: rule for rule in config.rules}
        self._stop = threading.Event()
        self._threads: list[threading.Thread] = []
        self._children: list[Child] = []
        self._pruned = float("-inf")
        self._stack = ExitStack()

    def __enter__(self) -> Node:
        with ExitStack() as stack:
            config = self.config
            self.queue = Queue(config.queue, config.limits)
            stack.callback(self.queue.close)
            forwarders = [Forwarder(d, config.title, self.queue, self.counters) for d in config.destinations]
            pollers = [
                Poller(query, config.silence_s, self.queue, self.counters, self._stop) for query in config.queries
            ]
            self.receiver = Receiver(config, self.queue, self.counters)
            stack.callback(self._end)
            self._children = [Child(self.queue.root, config.limits.run_minutes * 60) for _ in range(config.concurrency)]
            self._loop("completion", self._step)
            for number, child in enumerate(self._children):
                self._loop(f"run-{number}", lambda child=child: self._run(child))  # type: ignore[misc]
            for forwarder in forwarders:
                self._loop("forward", forwarder.step)
            for poller in pollers:
                self._loop("poll", poller.step)
            self.receiver.start()
            stack.callback(self.receiver.stop)
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    @property
    def is_ready(self) -> bool:
        """Whether it accepts images."""
        return not self._stop.is_set() and all(t.is_alive() for t in self._threads) and not self.queue.refusal()

    def _end(self) -> None:
        self._stop.set()
        for child in self._children:
            child.stop()
        for thread in self._threads:
            thread.join()
        for child in self._children:
            child.close()

    def _loop(self, name: str, step: Callable[[], bool]) -> None:
        """Repeat a step in a thread, at once while it finds something to do."""

        def run() -> None:
            while not self._stop.is_set():
                try:
                    busy = step()
                except Exception as e:  # a full disk, for example; the text may quote patient data
                    _log.error("%s: %s%s", name, type(e).__name__, f" ({e.strerror})" if isinstance(e, OSError) else "")
                    busy = False
                    self._stop.wait(1.0)
                if not busy:
                    self._stop.wait(_POLL_S)

        thread = threading.Thread(target=run, name=name, daemon=True)
        thread.start()
        self._threads.append(thread)

    # ------------------------------------------------------------------------------------- what becomes of a series

    def _step(self) -> bool:
        """Admit series that are complete, and settle what a kill left between two states."""
        for entry in self.queue.silent(self.config.silence_s):
            self._admit(entry)
        for entry in self.queue.entries("sending"):
            if not entry.record().deliveries:
                settle(self.queue, entry)
        if time.monotonic() - self._pruned > _PRUNE_S:
            self._pruned = time.monotonic()
            self.queue.prune(self.config.keep_days * 86400)
        return False

    def _admit(self, entry: Entry) -> None:
        """Decide what becomes of a series that is complete."""
        record = entry.record()
        record.completed = time.time()
        try:
            traits = traits_of(entry.images, record.sender)
            if missing := self.queue.missing_names(entry):
                raise InputError("CTM_NODE_LATE", count=len(list(entry.images.iterdir())), missing=missing)
            # What a router sends back would go round for ever.
            if traits.denoised:
                self.queue.archive(entry, record, "skipped")
                return
            rule = match(self.config.rules, traits)
            if rule is None and self.config.unmatched == "skip":
                self.queue.archive(entry, record, "skipped")
                return
            if rule is None:
                raise InputError("CTM_NODE_NO_RULE", sender=record.sender)
        except CtmahoutError as e:
            _log.warning("%s quarantined: [%s]", entry.key, e.code)
            self.queue.quarantine(entry, record, e)
            return
        record.rule = rule.name
        record.timestamp = datetime.now().astimezone().replace(microsecond=0).isoformat()
        if self.queue.admit(entry, record, self.config.silence_s):
            _log.info("%s is complete: %d images, rule %s", entry.key, record.images, rule.name)

    def _run(self, child: Child) -> bool:
        """Denoise one series that is due; returns False if there is none."""
        taken = self.queue.take()
        if taken is None:
            return False
        entry, record = taken
        progress = self.progress[entry.key] = Progress()
        try:
            self._denoise(child, entry, record, progress)
            self.counters.count("runs", "done")
        except CtmahoutError as e:
            if self._stop.is_set():  # the node ends, which is no fault of the series
                record.tries -= 1
                self.queue.put_back(entry, record)
                return False
            self.counters.count("runs", e.code)
            self._fail(entry, record, e)
        finally:
            del self.progress[entry.key]
            self.queue.release(entry)
        return True

    def _denoise(self, child: Child, entry: Entry, record: Record, progress: Progress) -> None:
        rule = self._rules.get(record.rule)
        if rule is None:  # it was renamed or removed; a retry chooses anew
            record.rule = ""
            raise InputError("CTM_NODE_NO_RULE", sender=record.sender)
        if record.tries > self.config.tries:
            # Every try ended with the node itself: perhaps the series took it along.
            raise InputError("CTM_NODE_TRIES", count=record.tries - 1)
        start = time.monotonic()
        child.denoise(entry.images, entry.run, rule.denoise_config(timestamp=record.timestamp), progress)
        record.seconds = round(time.monotonic() - start, 2)
        self.counters.count("seconds", amount=record.seconds)
        record.fail(None)
        record.deliveries = {name: _delivery() for name in rule.send_to}
        self.queue.finish(entry, record)
        _log.info("%s denoised in %.1f s", entry.key, record.seconds)

    def _fail(self, entry: Entry, record: Record, error: CtmahoutError) -> None:
        _log.warning("%s, try %d: [%s]", entry.key, record.tries, error.code)
        shutil.rmtree(entry.run, ignore_errors=True)
        may_pass = error.exit_code in _MAY_PASS or error.code in ("CTM_MEMORY", "CTM_STORAGE_READ")
        if not may_pass or record.tries >= self.config.tries:
            self.queue.quarantine(entry, record, error)
            return
        record.fail(error)
        record.due = time.time() + min(self.config.wait_s * 2 ** min(record.tries - 1, 30), _LONGEST_WAIT_S)
        self.queue.put_back(entry, record)


def _delivery() -> dict[str, float | int | bool | str]:
    return {"sent": 0.0, "failed": False, "tries": 0, "due": 0.0, "code": "", "message": "", "hint": ""}
