"""The command line ``ctmahout``: arguments in, output and an exit code out."""

from __future__ import annotations

import logging
import os
import sys
import tempfile
import traceback
from pathlib import Path

import click

from .._version import __version__
from ..errors import CtmahoutError, Interrupted
from .output import driver_log, report_error, terminable
from .verbs import ctmahout

__all__ = ["main"]


def main(arguments: list[str] | None = None) -> None:
    """Run the command line and exit with 0, or with the code of the error."""
    arguments = sys.argv[1:] if arguments is None else arguments
    # Errors are reported once, with a code: without a handler py4j would print tracebacks from the root logger.
    logging.getLogger().addHandler(logging.NullHandler())
    try:
        with terminable(), driver_log():
            code = ctmahout.main(arguments, prog_name="ctmahout", standalone_mode=False)
        sys.exit(code if isinstance(code, int) else 0)
    except click.ClickException as e:
        e.show()
        sys.exit(2)
    except (KeyboardInterrupt, click.Abort):
        error: CtmahoutError = Interrupted("CTM_INTERRUPTED")
    except CtmahoutError as e:
        error = e
    except BrokenPipeError:  # the reader has closed the pipe, as in `ctmahout inspect | head`
        sys.stderr.close()
        sys.exit(0)
    except MemoryError as e:
        error = CtmahoutError("CTM_MEMORY", problem=str(e) or "the system gives no more")
    except Exception as e:
        # Python wraps Ctrl-C in a RuntimeError if it arrives while a class is created.
        interrupted = isinstance(e, RuntimeError) and isinstance(e.__cause__, KeyboardInterrupt)
        error = Interrupted("CTM_INTERRUPTED") if interrupted else _internal_error(e)
    report_error(error, as_json="--json" in arguments)
    sys.exit(error.exit_code)


def _internal_error(e: Exception) -> CtmahoutError:
    """Return the error of a defect, with its traceback in a private file: it may contain names of patients."""
    problem = f"{type(e).__name__} in {_location(e)}"
    try:
        handle, log = tempfile.mkstemp(prefix="ctmahout-", suffix=".log")
        with os.fdopen(handle, "w", encoding="utf-8", errors="backslashreplace") as file:
            file.write(f"ctmahout {__version__}, Python {sys.version}\n\n")
            traceback.print_exception(e, file=file)
    except OSError as failure:
        log = f"that could not be written ({failure.strerror})"
    return CtmahoutError("CTM_INTERNAL", problem=problem, log=log)


def _location(e: Exception) -> str:
    """Return file and line of the last frame in ctmahout."""
    frames = [f for f in traceback.extract_tb(e.__traceback__) if f"{os.sep}ctmahout{os.sep}" in f.filename]
    return f"{Path(frames[-1].filename).name}, line {frames[-1].lineno}" if frames else "a library"
