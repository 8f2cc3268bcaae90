"""A call into a JVM that Ctrl-C can stop, and what becomes of the errors: shared by the engines that have one."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Any, TypeVar

from ..errors import CtmahoutError, EngineError, from_text

__all__ = ["call", "last_words", "shaped", "text_of"]

T = TypeVar("T")
# How long a cancelled run gets to remove what it wrote, in seconds.
_GRACE_S = 60.0


def call(run: Callable[[], T], cancel: Callable[[], None], *, thread: Callable[..., Any] = threading.Thread) -> T:
    """Return ``run()``, done in a thread of its own; on Ctrl-C cancel it, let it end, then raise.

    In the main thread Ctrl-C would break into the middle of an answer, and the rest of it would be taken for the
    answer to the next call. So this thread only waits.

    Parameters
    ----------
    run, cancel : callable
        `cancel` makes `run` raise soon; it is called from another thread.
    thread : callable
        Makes the thread, from ``target`` and ``daemon``.
    """
    result: list[T] = []
    errors: list[BaseException] = []
    done = threading.Event()

    def work() -> None:
        try:
            result.append(run())
        except BaseException as e:
            errors.append(e)
        finally:
            done.set()

    worker = thread(target=work, daemon=True)
    worker.start()
    try:
        done.wait()
    except BaseException:
        with suppress(Exception):  # the JVM may be gone already
            cancel()
        done.wait(_GRACE_S)
        raise
    worker.join()
    if errors:
        raise errors[0]
    return result[0]


def shaped(error: BaseException | str, *, engine: str, log: str = "") -> CtmahoutError:
    """Return what came out of a JVM as an error of ours: the one function that every engine uses.

    Parameters
    ----------
    error : exception or str
        An exception of py4j, PySpark or JPype, or the text of another process.
    engine : str
        Name of the engine.
    log : str
        What the JVM wrote to stderr, if that is known.
    """
    if isinstance(error, CtmahoutError):
        return error
    text = error if isinstance(error, str) else text_of(error)
    found = from_text(text) or from_text(log)
    # Spark ends a JVM that is out of memory, and on its way out that takes its runs for interrupted.
    if found is not None and not (found.code == "CTM_INTERRUPTED" and "OutOfMemoryError" in text + log):
        return found
    if "OutOfMemoryError" in text or "OutOfMemoryError" in log:
        line = next(line for line in f"{text}\n{log}".splitlines() if "OutOfMemoryError" in line)
        return EngineError("CTM_ENGINE_MEMORY", detail=line.strip().rstrip("."))
    said = [line.strip() for line in text.splitlines() if line.strip()]
    detail = said[0] if said else type(error).__name__
    if last := last_words(log):
        detail += f"; its log ends: {last}"
    return EngineError("CTM_ENGINE_FAILED", engine=engine, detail=detail[:1000].rstrip("."))


def text_of(error: BaseException) -> str:
    """Return all that an exception of py4j, PySpark or JPype says, its trace in the JVM included."""
    parts = []
    with suppress(Exception):  # py4j asks the JVM for the text of an exception, and the JVM may be gone
        parts.append(str(error))
    trace = getattr(error, "stacktrace", None) or getattr(error, "_stackTrace", None)
    if callable(trace):
        with suppress(Exception):
            trace = trace()
    if isinstance(trace, str):
        parts.append(trace)
    return "\n".join([*parts, type(error).__name__])


def last_words(log: str) -> str:
    """Return the lines of a log that say most: errors and exceptions if there are any, else the last ones."""
    lines = [line.strip() for line in log.splitlines() if line.strip() and not line.lstrip().startswith("at ")]
    telling = [line for line in lines if re.search(r"error|exception|denied|refused|cannot", line, re.IGNORECASE)]
    return " | ".join((telling or lines)[-3:])
