"""Limits of what senders may do: connections, their rate, and the memory of images that are being received."""

from __future__ import annotations

import threading
import time
from collections import deque

from .config import NodeConfig
from .metrics import Counters

__all__ = ["Budget", "Guard"]


class Guard:
    """Decides which connections are taken at all, and how much memory they may use together."""

    def __init__(self, config: NodeConfig, counters: Counters) -> None:
        self._config = config
        self._counters = counters
        self._recent: dict[str, deque[float]] = {}
        self._lock = threading.Lock()
        self._budgets: list[tuple[threading.Thread, Budget]] = []

    def accepts(self, address: str, connections: int) -> bool:
        """Return whether a connection from this address may go on."""
        limits = self._config.limits
        reason = ""
        if not any(peer.has_address(address) for peer in self._config.peers):
            reason = "unknown address"
        elif connections >= 2 * limits.associations:  # up to that they are rejected in words
            reason = "too many connections"
        elif not self._is_slow_enough(address, limits.connections_per_minute):
            reason = "too often"
        if reason:
            self._counters.count("closed connections", reason)
        return not reason

    def _is_slow_enough(self, address: str, limit: int) -> bool:
        now = time.monotonic()
        times = self._recent.setdefault(address, deque())  # of peers only: see above
        while times and now - times[0] > 60.0:
            times.popleft()
        times.append(now)
        return len(times) <= limit

    def note_error(self) -> None:
        """Count a connection that failed."""
        self._counters.count("closed connections", "error")

    def budget(self, association: threading.Thread) -> Budget:
        """Return the budget of a new association; it ends with the association's thread, however that ends."""
        budget = Budget(self, self._config.limits.image_mib << 20)
        with self._lock:
            self._budgets = [(thread, held) for thread, held in self._budgets if not _has_ended(thread)]
            self._budgets.append((association, budget))
        return budget

    @property
    def in_use(self) -> int:
        """Bytes of images that are being received."""
        with self._lock:
            return sum(budget.held for thread, budget in self._budgets if not _has_ended(thread))

    def fits(self, size: int) -> bool:
        """Return whether so many bytes more may be held."""
        return self.in_use + size <= self._config.limits.memory_mib << 20


def _has_ended(thread: threading.Thread) -> bool:
    return thread.ident is not None and not thread.is_alive()


class Budget:
    """The bytes that a connection holds: those of the image that it is sending.

    Attributes
    ----------
    held : int, bytes
    """

    def __init__(self, guard: Guard, limit: int) -> None:
        self._guard, self._limit, self.held = guard, limit, 0

    def take(self, size: int) -> None:
        """Count bytes before they are read.

        Raises
        ------
        OSError
            They are too many.
        """
        if self.held + size > self._limit or not self._guard.fits(size):
            raise OSError("the limit of memory is reached")
        self.held += size

    def release(self) -> None:
        """The bytes are held no more."""
        self.held = 0
