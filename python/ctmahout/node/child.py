"""The child process of a node: denoises one series after the other, and keeps what is warm.

Requests are lines of JSON on stdin, answers lines of JSON on stdout. The process ends with its stdin, that is with the
node, and holds a lock of the queue until then: the next node waits for it.
"""

from __future__ import annotations

import json
import os
import queue
import sys
import threading
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

from ..errors import CtmahoutError
from ..options import Config

__all__ = ["main"]


def main() -> None:
    """Serve requests until stdin ends."""
    os.umask(0o077)
    # What engines and libraries print must not get between the answers.
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8", buffering=1)
    os.dup2(2, 1)
    lock = _hold(Path(sys.argv[1]))
    requests: queue.SimpleQueue[str] = queue.SimpleQueue()
    threading.Thread(target=_listen, args=(requests,), daemon=True).start()

    def answer(**values: Any) -> None:
        with suppress(BrokenPipeError):
            answers.write(json.dumps(values) + "\n")

    with ExitStack() as stack:
        session = _Session(stack)
        while True:
            answer(**_respond(json.loads(requests.get()), session, answer))
    os.close(lock)


def _hold(file: Path) -> int:
    """Hold a shared lock on a file until the process ends."""
    handle = os.open(file, os.O_CREAT | os.O_RDWR, 0o600)
    with suppress(ImportError, OSError):
        import fcntl

        fcntl.flock(handle, fcntl.LOCK_SH)
    return handle


def _listen(requests: queue.SimpleQueue[str]) -> None:
    """Pass requests on, and end the process when there can be no more, whatever it is doing."""
    for line in sys.stdin:
        requests.put(line)
    os._exit(0)


class _Session:
    """A Spark session that is started once, for the options of the first series that needs one."""

    def __init__(self, stack: ExitStack) -> None:
        self._stack = stack
        self._key: object = None
        self._session: object = None

    def of(self, config: Config) -> object:
        by_model = (config.models or (config.model and not config.refit)) and not config.spread
        if config.engine != "py4j" or by_model:  # of a store: a series that no model fits starts Spark for itself
            return None
        from ..workflows.dssvd import open_engine

        key = (config.master, config.conf, config.driver_memory, config.jar)
        if self._key != key:
            self._stack.close()
            self._session = self._stack.enter_context(open_engine(config, None)).session
            self._key = key
        return self._session


def _respond(request: dict[str, Any], session: _Session, answer: Any) -> dict[str, Any]:
    from ..workflows.denoise import denoise

    def progress(phase: str, done: int, total: int) -> None:
        answer(phase=phase, done=done, total=total)

    try:
        config = Config.of(request["options"])
        result = denoise(request["source"], request["output"], config, session=session.of(config), progress=progress)
        return {"warnings": result.run["warnings"]}
    except CtmahoutError as e:
        return {"code": e.code, "message": e.message, "hint": e.hint}
    except MemoryError as e:
        error = CtmahoutError("CTM_MEMORY", problem=str(e) or "the system gives no more")
        return {"code": error.code, "message": error.message, "hint": error.hint}
    except Exception as e:
        # The text of an unexpected error may quote patient data.
        return {"code": "CTM_NODE_RUN", "problem": f"failed with {type(e).__name__}, a defect"}


if __name__ == "__main__":
    main()
