"""Where work on parts of a volume or of a sample is done: on threads here, or by Spark's executors."""

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
    """Calls a function on each item. What comes back is in the order of the items, whoever was done first.

    Attributes
    ----------
    elsewhere : bool
        Whether they have a memory of their own, so that what they work on is sent to them.
    """

    @property
    def elsewhere(self) -> bool: ...

    def map(self, function: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[Result]:
        """Yield function(item) for each item; function and items can be pickled."""


def single_threaded_blas(function: Callable[P, Result]) -> Callable[P, Result]:
    """Keep products of matrices from starting threads of their own: these would wait for each other, busily.

    And they would sum in another order for another number of cores. The limit is one of the whole process: the first
    call in sets it and the last one out takes it back, however calls of several threads overlap.
    """

    @wraps(function)
    def limited(*args: P.args, **kwargs: P.kwargs) -> Result:
        with _one_blas_thread():
            return function(*args, **kwargs)

    return limited


_blas_lock = threading.Lock()
_blas_calls = 0
_blas_before: list[tuple[Any, int]] = []


@contextmanager
def _one_blas_thread() -> Iterator[None]:
    global _blas_calls, _blas_before
    with _blas_lock:
        if _blas_calls == 0:
            libraries = ThreadpoolController().select(user_api="blas").lib_controllers
            _blas_before = [(library, library.num_threads) for library in libraries]
            for library in libraries:
                _set_threads(library, 1)
        _blas_calls += 1
    try:
        yield
    finally:
        with _blas_lock:
            _blas_calls -= 1
            if _blas_calls == 0:
                for library, count in _blas_before:
                    _set_threads(library, count)
                _blas_before = []


def _set_threads(library: Any, count: int) -> None:
    # Newer versions of threadpoolctl let one thread set limits and ignore all others, without a word: here the first
    # call in and the last one out may be of different threads.
    release = getattr(library, "clear_controlling_thread", lambda force: None)
    release(force=True)
    library.set_num_threads(count)
    release(force=True)


@dataclass(frozen=True)
class Threads:
    """Threads of this process.

    Attributes
    ----------
    count : int
        All cores that the process may use, if not given.
    """

    count: int = field(default_factory=lambda: len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 1)
    elsewhere: ClassVar[bool] = False

    @classmethod
    def of(cls, count: int | None) -> Threads:
        """Return so many threads; as many as there are cores, if not given."""
        return cls() if count is None else cls(count)

    def map(self, function: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[Result]:
        """Yield results in order; only a few are held at a time."""
        remaining = iter(items)
        with ThreadPoolExecutor(self.count) as pool:
            waiting: list[Any] = [pool.submit(function, item) for item in islice(remaining, self.count + 1)]
            try:
                while waiting:
                    done = waiting.pop(0).result()
                    waiting += [pool.submit(function, item) for item in islice(remaining, 1)]
                    yield done
            finally:
                for future in waiting:
                    future.cancel()
