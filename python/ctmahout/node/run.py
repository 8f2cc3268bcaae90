"""Denoise series in a child process that stays warm, so that its end does not take the receiver with it."""

from __future__ import annotations

import json
import os
import selectors
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from ..errors import CtmahoutError, EngineError
from ..options import Config

__all__ = ["Child"]

_STOP_S = 10.0


class Child:
    """A child process; it is started with the first series, and again after it has ended.

    Parameters
    ----------
    queue : Path
        The queue's folder.
    limit_s : float, s
        Longest time for a series.
    """

    def __init__(self, queue: Path, limit_s: float) -> None:
        self._queue = queue
        self._limit_s = limit_s
        self._process: subprocess.Popen[bytes] | None = None
        self._rest = b""
        self._lock = threading.Lock()
        self._stopped = False

    def denoise(
        self, source: Path, output: Path, config: Config, progress: Callable[[str, int, int], None]
    ) -> list[str]:
        """Denoise a series as `ctmahout.denoise`; returns its warnings.

        Raises
        ------
        CtmahoutError
            That of the child; CTM_NODE_RUN: it ended, or took too long.
        """
        process = self._start()
        request = {"source": str(source), "output": str(output), "options": config.to_dict()}
        end = time.monotonic() + self._limit_s
        try:
            assert process.stdin is not None
            process.stdin.write(json.dumps(request).encode() + b"\n")
            process.stdin.flush()
            while "phase" in (answer := self._answer(process, end)):
                progress(answer["phase"], answer["done"], answer["total"])
        except (OSError, EOFError) as e:
            raise EngineError("CTM_NODE_RUN", problem=self._end(process, e)) from None
        if "problem" in answer:
            raise EngineError("CTM_NODE_RUN", problem=answer["problem"])
        if "code" in answer:
            raise _error(answer)
        warnings: list[str] = answer["warnings"]
        return warnings

    def stop(self) -> None:
        """End the process, whatever it is doing."""
        with self._lock:
            self._stopped = True
            if self._process is not None:
                self._process.kill()
                self._process.wait()

    def close(self) -> None:
        """Close what a stopped process leaves."""
        with self._lock:
            self._close()

    def _start(self) -> subprocess.Popen[bytes]:
        """Return the process, a new one if there is none or it has ended."""
        with self._lock:
            if self._stopped:
                raise EngineError("CTM_NODE_RUN", problem="is stopped")
            if self._process is not None and self._process.poll() is None:
                return self._process
            self._close()
            self._rest = b""
            words = [sys.executable, "-m", "ctmahout.node.child", str(self._queue / ".children")]
            self._process = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
            return self._process

    def _close(self) -> None:
        """Close the pipes of a process that has ended."""
        if self._process is not None:
            for pipe in (self._process.stdin, self._process.stdout):
                with suppress(OSError):  # what was not written is lost with the process
                    pipe.close()  # type: ignore[union-attr]

    def _answer(self, process: subprocess.Popen[bytes], end: float) -> dict[str, Any]:
        """Return the next answer."""
        assert process.stdout is not None
        with selectors.DefaultSelector() as selector:
            selector.register(process.stdout, selectors.EVENT_READ)
            while b"\n" not in self._rest:
                if not selector.select(max(0.0, end - time.monotonic())):
                    raise TimeoutError
                part = os.read(process.stdout.fileno(), 1 << 16)
                if not part:
                    raise EOFError
                self._rest += part
        line, _, self._rest = self._rest.partition(b"\n")
        answer: dict[str, Any] = json.loads(line)
        return answer

    def _end(self, process: subprocess.Popen[bytes], e: Exception) -> str:
        """Make sure that the process has ended, and return how it ended."""
        if isinstance(e, TimeoutError):
            process.kill()
            process.wait()
            return f"took longer than {self._limit_s / 60:g} minutes"
        try:
            code = process.wait(_STOP_S)
        except subprocess.TimeoutExpired:
            process.kill()
            code = process.wait()
        return f"was ended by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"


def _error(answer: dict[str, Any]) -> CtmahoutError:
    """Return the child's error: its fields are not needed, for its texts are complete."""
    error = CtmahoutError(answer["code"])
    error.message, error.hint = answer["message"], answer["hint"]
    error.args = (f"[{error.code}] {error.message} {error.hint}",)
    return error
