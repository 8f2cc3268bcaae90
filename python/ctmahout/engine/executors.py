"""Work on Spark's executors: Python workers that call the same functions as threads here do."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, TypeVar

__all__ = ["Executors"]

Item = TypeVar("Item")
Result = TypeVar("Result")


@dataclass(frozen=True)
class Executors:
    """The executors of a Spark session; ctmahout is installed where they run, and paths mean the same there.

    Attributes
    ----------
    session : SparkSession
    """

    session: Any

    def map(self, function: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[Result]:
        """Yield function(item) for each item, in order: one task for each, the function sent once to each executor."""
        given = list(items)
        if not given:
            return
        context = self.session.sparkContext
        sent = context.broadcast(function)
        try:
            yield from context.parallelize(given, len(given)).map(lambda item: sent.value(item)).collect()
        finally:
            sent.destroy()
