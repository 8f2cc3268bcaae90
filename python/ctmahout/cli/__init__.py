"""The command line: ``ctmahout``."""

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
    """Run the command line and exit: 0 ok, or as the README lists."""
    arguments = sys.argv[1:] if arguments is None else arguments
    # What libraries log of an error is told as an error of ours; py4j logs tracebacks through the root logger.
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
    except BrokenPipeError:  # the reader of our output went away, as in `ctmahout inspect | head`
        sys.stderr.close()
        sys.exit(0)
    except MemoryError as e:
        error = CtmahoutError("CTM_MEMORY", problem=str(e) or "the system gives no more")
    except Exception as e:
        # Python wraps Ctrl-C in a RuntimeError if it comes while a module that is being imported makes a class.
        interrupted = isinstance(e, RuntimeError) and isinstance(e.__cause__, KeyboardInterrupt)
        error = Interrupted("CTM_INTERRUPTED") if interrupted else _unknown(e)
    report_error(error, as_json="--json" in arguments)
    sys.exit(error.exit_code)


def _unknown(e: Exception) -> CtmahoutError:
    """Return the error of a defect, its traceback in a file: it may hold what no terminal and no log should."""
    problem = f"{type(e).__name__} in {_where(e)}"
    try:
        # Only its owner may read it.
        handle, log = tempfile.mkstemp(prefix="ctmahout-", suffix=".log")
        with os.fdopen(handle, "w", encoding="utf-8", errors="backslashreplace") as file:
            file.write(f"ctmahout {__version__}, Python {sys.version}\n\n")
            traceback.print_exception(e, file=file)
    except OSError as full:
        log = f"that could not be written ({full.strerror})"
    return CtmahoutError("CTM_INTERNAL", problem=problem, log=log)


def _where(e: Exception) -> str:
    """Return the last place of ours in a traceback."""
    ours = [f for f in traceback.extract_tb(e.__traceback__) if f"{os.sep}ctmahout{os.sep}" in f.filename]
    return f"{Path(ours[-1].filename).name}, line {ours[-1].lineno}" if ours else "a library"
