"""Where work on parts of a volume or of a sample is done: on threads here, or by Spark's executors."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, Protocol, TypeVar

from threadpoolctl import threadpool_limits

__all__ = ["Threads", "Workers"]

Item = TypeVar("Item")
Result = TypeVar("Result")


class Workers(Protocol):
    """Calls a function on each item. What comes back is in the order of the items, whoever was done first."""

    def map(self, function: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[Result]:
        """Yield function(item) for each item; function and items can be pickled."""


@dataclass(frozen=True)
class Threads:
    """Threads of this process.

    Attributes
    ----------
    count : int
        All cores that the process may use, if not given.
    """

    count: int = field(default_factory=lambda: len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 1)

    @classmethod
    def of(cls, count: int | None) -> Threads:
        """Return so many threads; as many as there are cores, if not given."""
        return cls() if count is None else cls(count)

    def map(self, function: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[Result]:
        """Yield results in order; only a few are held at a time."""
        remaining = iter(items)
        # One core each: products of matrices would else start threads of their own, and sum in another order.
        with threadpool_limits(1), ThreadPoolExecutor(self.count) as pool:
            waiting: list[Any] = [pool.submit(function, item) for item in islice(remaining, self.count + 1)]
            try:
                while waiting:
                    done = waiting.pop(0).result()
                    waiting += [pool.submit(function, item) for item in islice(remaining, 1)]
                    yield done
            finally:
                for future in waiting:
                    future.cancel()
