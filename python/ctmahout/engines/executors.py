"""Workers on Spark's executors: a function and items in, results in order out, the same as those of threads."""

from __future__ import annotations

import os
import re
import sys
import uuid
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed, wait
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from typing import Any, ClassVar, TypeVar

from .._version import __version__
from ..errors import CtmahoutError, EngineError
from .jvm_calls import exception_text, translate_error
from .session import is_connect, is_local

__all__ = ["Executors"]

# Python's pickle, where ctmahout or a class of this version of it is not installed.
_MISSING = r"No module named 'ctmahout[^']*'|Can't get attribute '\w+'(?= on <module 'ctmahout)"
_TASKS_PER_CORE = 4
_MIN_JOBS = 64  # at once, see `Executors.each`

Item = TypeVar("Item")
Result = TypeVar("Result")


@dataclass(frozen=True)
class Executors:
    """The executors of a Spark session. They need ctmahout installed and must see the same paths as the driver.

    Attributes
    ----------
    session : SparkSession
        It is neither reconfigured nor stopped.

    Raises
    ------
    EngineError
        CTM_SPARK_CONNECT: the session is one of Spark Connect, which sends no functions to executors.
    """

    session: Any
    is_remote: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if is_connect(self.session):
            raise EngineError("CTM_SPARK_CONNECT", what="To spread work over executors")

    def map(self, function: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[Result]:
        """Yield function(item) for each item, in order.

        There is one task for each item; the function is sent once to each executor. Jobs have a few tasks for each
        core, which limits the results that the driver holds.

        Raises
        ------
        EngineError
            CTM_EXECUTORS_LACK: ctmahout, in this version, is not installed on an executor. CTM_ENGINE_FAILED.
        """
        context = self.session.sparkContext
        remaining, size = iter(items), _TASKS_PER_CORE * context.defaultParallelism
        broadcast = context.broadcast(function)
        try:
            while batch := list(islice(remaining, size)):
                try:
                    results = _run_job(context, broadcast, batch)
                except Exception as e:
                    raise _job_error(e) from None
                yield from results
        finally:
            broadcast.destroy()

    def each(
        self, function: Callable[[Item], Result], items: Sequence[Item], describe: Callable[[Item], str]
    ) -> Generator[tuple[Item, Result | CtmahoutError], None, None]:
        """Yield each item with function(item) as soon as it is done; one item that fails does not stop the others.

        There is one job for each item, of one task. When the iteration is closed or interrupted, all jobs are
        cancelled.

        Parameters
        ----------
        function : callable
            Sent once to each executor; as for `map`.
        items : sequence
        describe : callable
            Returns the description of an item's job, in Spark's UI and event log.

        Yields
        ------
        tuple
            The item, and the result or the error of its last attempt.
        """
        context, group = self.session.sparkContext, f"ctmahout-{uuid.uuid4().hex}"
        broadcast = context.broadcast(function)

        def run(item: Item) -> Result | CtmahoutError:
            context.setJobGroup(group, describe(item), interruptOnCancel=True)
            try:
                result: Result = _run_job(context, broadcast, [item])[0]
            except Exception as e:
                return _job_error(e)
            return result

        # More jobs than there are cores, so that dynamic allocation sees what is waiting.
        with ThreadPoolExecutor(max(_MIN_JOBS, 2 * context.defaultParallelism)) as pool:
            futures = {pool.submit(run, item): item for item in items}
            try:
                for future in as_completed(futures):
                    yield futures[future], future.result()
            finally:
                for future in futures:
                    future.cancel()
                with suppress(Exception):  # the JVM may have ended, and its jobs with it
                    # Once is not enough: a thread may be about to start its job.
                    while wait(futures, timeout=0.1).not_done:
                        context.cancelJobGroup(group)
                    broadcast.destroy()


def _run_job(context: Any, broadcast: Any, items: Sequence[Any]) -> list[Any]:
    """Call a function on items, in one job with a task for each."""
    rdd = context.parallelize(items, len(items)).map(lambda item: broadcast.value(item))
    if is_local(context.master) and "PYSPARK_PYTHON" not in os.environ:
        # By default Spark runs the python3 on PATH, where ctmahout need not be installed.
        rdd.ctx = _WithPython(context, sys.executable)
    results: list[Any] = rdd.collect()
    return results


class _WithPython:
    """A Spark context whose tasks run another Python: the context itself may be the user's and is not changed."""

    def __init__(self, context: Any, python: str) -> None:
        self._context, self.pythonExec = context, python

    def __getattr__(self, name: str) -> Any:
        return getattr(self._context, name)


def _job_error(error: Exception) -> CtmahoutError:
    """Translate the exception of a job."""
    if missing := re.search(_MISSING, exception_text(error)):
        return EngineError("CTM_EXECUTORS_LACK", version=__version__, detail=missing[0])
    return translate_error(error, engine="py4j")
