"""Values by key, each computed once: for tables that threads share and other processes compute themselves."""

from __future__ import annotations

import threading
from collections.abc import Callable, Hashable
from concurrent.futures import Future
from typing import Any, Generic, TypeVar

__all__ = ["Once"]

Key = TypeVar("Key", bound=Hashable)
Value = TypeVar("Value")


class Once(Generic[Key, Value]):
    """Values computed when first needed, by one thread each while others wait. A pickled copy is empty."""

    def __init__(self) -> None:
        self._futures: dict[Key, Future[Value]] = {}
        self._lock = threading.Lock()

    def get(self, key: Key, compute: Callable[[], Value]) -> Value:
        """Return the value of a key; `compute` is called without it."""
        with self._lock:
            first = key not in self._futures
            future = self._futures.setdefault(key, Future())
        if first:
            try:
                future.set_result(compute())
            except BaseException as e:
                del self._futures[key]
                future.set_exception(e)
        return future.result()

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), ()
