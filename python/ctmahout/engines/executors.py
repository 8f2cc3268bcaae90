"""Work on Spark's executors: Python workers that call the same functions as threads here do."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any, ClassVar, TypeVar

from .._version import __version__
from ..errors import CtmahoutError, EngineError
from .jvm_calls import shaped, text_of
from .session import is_local

__all__ = ["Executors"]

# What Python's pickle says where the module, or a class of this version in it, is not installed.
_LACKING = r"No module named 'ctmahout[^']*'|Can't get attribute '\w+'(?= on <module 'ctmahout)"

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
    elsewhere: ClassVar[bool] = True

    def map(self, function: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[Result]:
        """Yield function(item) for each item, in order: one task for each, the function sent once to each executor.

        A few tasks for each core at a time, so that no more of what they give is held here.
        """
        context = self.session.sparkContext
        remaining, step = iter(items), 4 * context.defaultParallelism
        sent, python = context.broadcast(function), context.pythonExec
        try:
            while given := list(islice(remaining, step)):
                if is_local(context.master) and "PYSPARK_PYTHON" not in os.environ:
                    # Spark would take python3 on the path, which need not be the one that ctmahout is installed in.
                    context.pythonExec = sys.executable
                try:
                    found = context.parallelize(given, len(given)).map(lambda item: sent.value(item)).collect()
                except Exception as e:
                    raise _shaped(e) from None
                context.pythonExec = python
                yield from found
        finally:
            context.pythonExec = python
            sent.destroy()


def _shaped(error: Exception) -> CtmahoutError:
    """Return what a task threw as an error of ours."""
    if lacking := re.search(_LACKING, text_of(error)):
        return EngineError("CTM_EXECUTORS_LACK", version=__version__, detail=lacking[0])
    return shaped(error, engine="py4j")
