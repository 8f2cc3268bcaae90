"""Work on Spark's executors: Python workers that call the same functions as threads here do."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
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
        """Yield function(item) for each item, in order: one task for each, the function sent once to each executor.

        A few tasks for each core at a time, so that no more of what they give is held here.
        """
        context = self.session.sparkContext
        remaining, step = iter(items), 4 * context.defaultParallelism
        sent, python = context.broadcast(function), context.pythonExec
        try:
            if context.master.startswith("local") and "PYSPARK_PYTHON" not in os.environ:
                # Spark would take python3 on the path, which need not be the one that ctmahout is installed in.
                context.pythonExec = sys.executable
            while given := list(islice(remaining, step)):
                yield from context.parallelize(given, len(given)).map(lambda item: sent.value(item)).collect()
        finally:
            context.pythonExec = python
            sent.destroy()
