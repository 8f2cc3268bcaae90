"""Interruptible calls into a JVM, and the translation of its errors into coded ones."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Any, TypeVar

from ..errors import CtmahoutError, EngineError, from_text

__all__ = ["exception_text", "interruptible", "log_tail", "translate_error"]

T = TypeVar("T")
# Time for a cancelled run to remove its partial output, in seconds.
_GRACE_S = 60.0


def interruptible(
    run: Callable[[], T], cancel: Callable[[], None], *, thread: Callable[..., Any] = threading.Thread
) -> T:
    """Return ``run()``, computed in another thread; after Ctrl-C cancel it, wait for its end and raise.

    In the main thread Ctrl-C would interrupt the reading of an answer, whose rest would be read as the answer to the
    next call. So the main thread only waits.

    Parameters
    ----------
    run, cancel : callable
        `cancel` makes `run` raise soon; it is called from another thread.
    thread : callable
        Thread class; called with ``target`` and ``daemon``.

    Raises
    ------
    KeyboardInterrupt
        After at most 60 s for the end of the run.
    """
    results: list[T] = []
    errors: list[BaseException] = []
    done = threading.Event()

    def work() -> None:
        try:
            results.append(run())
        except BaseException as e:
            errors.append(e)
        finally:
            done.set()

    worker = thread(target=work, daemon=True)
    worker.start()
    try:
        done.wait()
    except BaseException:
        with suppress(Exception):  # the JVM may have ended
            cancel()
        done.wait(_GRACE_S)
        raise
    worker.join()
    if errors:
        raise errors[0]
    return results[0]


def translate_error(error: BaseException | str, *, engine: str, log: str = "") -> CtmahoutError:
    """Return the coded error for an exception from a JVM.

    Parameters
    ----------
    error : exception or str
        An exception of py4j, PySpark or JPype, or the text of another process.
    engine : str
        Name of the engine.
    log : str
        stderr of the JVM, if known.
    """
    if isinstance(error, CtmahoutError):
        return error
    text = error if isinstance(error, str) else exception_text(error)
    coded = from_text(text) or from_text(log)
    # A JVM that Spark ends because it is out of memory reports its runs as interrupted.
    if coded is not None and not (coded.code == "CTM_INTERRUPTED" and "OutOfMemoryError" in text + log):
        return coded
    if "OutOfMemoryError" in text or "OutOfMemoryError" in log:
        line = next(line for line in f"{text}\n{log}".splitlines() if "OutOfMemoryError" in line)
        return EngineError("CTM_ENGINE_MEMORY", detail=line.strip().rstrip("."))
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    detail = lines[0] if lines else type(error).__name__
    if tail := log_tail(log):
        detail += f"; its log ends: {tail}"
    return EngineError("CTM_ENGINE_FAILED", engine=engine, detail=detail[:1000].rstrip("."))


def exception_text(error: BaseException) -> str:
    """Return message, JVM stack trace and class of an exception of py4j, PySpark or JPype."""
    parts = []
    with suppress(Exception):  # py4j asks the JVM, which may have ended, for the text
        parts.append(str(error))
    trace = getattr(error, "stacktrace", None) or getattr(error, "_stackTrace", None)
    if callable(trace):
        with suppress(Exception):
            trace = trace()
    if isinstance(trace, str):
        parts.append(trace)
    return "\n".join([*parts, type(error).__name__])


def log_tail(log: str) -> str:
    """Return the last three lines of a log that name an error or, if none does, its last three lines."""
    lines = [line.strip() for line in log.splitlines() if line.strip() and not line.lstrip().startswith("at ")]
    errors = [line for line in lines if re.search(r"error|exception|denied|refused|cannot", line, re.IGNORECASE)]
    return " | ".join((errors or lines)[-3:])
