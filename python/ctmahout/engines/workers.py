"""Parallel map over parts of a volume or of a sample: a function and items in, results in order out."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import wraps
from itertools import islice
from typing import Any, ClassVar, ParamSpec, Protocol, TypeVar

from threadpoolctl import ThreadpoolController

__all__ = ["Threads", "Workers", "single_threaded_blas"]

Item = TypeVar("Item")
Result = TypeVar("Result")
P = ParamSpec("P")


class Workers(Protocol):
    """Call a function on each item; results have the order of the items.

    Attributes
    ----------
    is_remote : bool
        Whether they run in other processes, to which function and items are sent.
    """

    @property
    def is_remote(self) -> bool: ...

    def map(self, function: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[Result]:
        """Yield function(item) for each item; function and items can be pickled."""


def single_threaded_blas(function: Callable[P, Result]) -> Callable[P, Result]:
    """Limit BLAS to one thread during calls of a function.

    Nested thread pools spin while they wait, and the order of sums would depend on the number of cores. The limit holds
    for the whole process: the first of several overlapping calls sets it, and the last one to return removes it.
    """

    @wraps(function)
    def limited(*args: P.args, **kwargs: P.kwargs) -> Result:
        with _blas_limit():
            return function(*args, **kwargs)

    return limited


_blas_lock = threading.Lock()
_blas_calls = 0
_blas_threads: list[tuple[Any, int]] = []


@contextmanager
def _blas_limit() -> Iterator[None]:
    global _blas_calls, _blas_threads
    with _blas_lock:
        if _blas_calls == 0:
            libraries = ThreadpoolController().select(user_api="blas").lib_controllers
            _blas_threads = [(library, library.num_threads) for library in libraries]
            for library in libraries:
                _set_threads(library, 1)
        _blas_calls += 1
    try:
        yield
    finally:
        with _blas_lock:
            _blas_calls -= 1
            if _blas_calls == 0:
                for library, count in _blas_threads:
                    _set_threads(library, count)
                _blas_threads = []


def _set_threads(library: Any, count: int) -> None:
    # Newer versions of threadpoolctl silently ignore limits that another thread than the first one sets. Here the limit
    # may be set by one thread and removed by another.
    release = getattr(library, "clear_controlling_thread", lambda force: None)
    release(force=True)
    library.set_num_threads(count)
    release(force=True)


def _cores() -> int:
    """Return the cores that this process may use; not every system limits them."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@dataclass(frozen=True)
class Threads:
    """Threads of this process.

    Attributes
    ----------
    count : int
        As many as the process may use cores, if not given.
    """

    count: int = field(default_factory=_cores)
    is_remote: ClassVar[bool] = False

    @classmethod
    def of(cls, count: int | None) -> Threads:
        """Return this many threads, or as many as cores if not given."""
        return cls() if count is None else cls(count)

    @classmethod
    def local(cls, workers: Workers) -> Threads:
        """Return `workers` if they are threads, or else threads of this process: for work not worth sending."""
        return workers if isinstance(workers, Threads) else cls()

    def map(self, function: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[Result]:
        """Yield function(item) for each item, in order; at most `count` + 1 results are pending."""
        remaining = iter(items)
        with ThreadPoolExecutor(self.count) as pool:
            pending: list[Any] = [pool.submit(function, item) for item in islice(remaining, self.count + 1)]
            try:
                while pending:
                    result = pending.pop(0).result()
                    pending += [pool.submit(function, item) for item in islice(remaining, 1)]
                    yield result
            finally:
                for future in pending:
                    future.cancel()
