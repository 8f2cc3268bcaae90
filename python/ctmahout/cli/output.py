"""Output of the command line: results to stdout, progress, logs and errors to stderr."""

from __future__ import annotations

import json
import logging
import signal
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import click
from rich.console import Console
from rich.filesize import decimal
from rich.progress import BarColumn, Progress, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table

from ..errors import CtmahoutError

__all__ = [
    "driver_log",
    "print_json",
    "print_line",
    "print_table",
    "printable",
    "progress_bar",
    "report_error",
    "terminable",
]


def print_json(value: object) -> None:
    """Print one JSON document."""
    click.echo(json.dumps(value, indent=1, allow_nan=False, default=str))


def print_table(title: str, columns: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Print a table to stdout; without a terminal 160 columns wide, so that nothing is cut off."""
    table = Table(*columns, title=title, title_justify="left")
    for row in rows:
        table.add_row(*("" if cell is None else printable(str(cell)) for cell in row))
    Console(width=None if sys.stdout.isatty() else 160, highlight=False, markup=False).print(table)


def printable(text: str) -> str:
    r"""Return a text without control characters: in names of files they could control the terminal.

    Examples
    --------
    >>> printable("slice\x1b]0;mine\x07\n.dcm")
    'slice\\x1b]0;mine\\x07\\n.dcm'
    """
    return "".join(c if c.isprintable() else _escape(c) for c in text)


def _escape(character: str) -> str:
    code = ord(character)
    if 0xDC80 <= code <= 0xDCFF:  # a byte that is not UTF-8, as Python has it in names
        return f"\\x{code - 0xDC00:02x}"
    return character.encode("unicode_escape").decode("ascii")


def print_line(text: object, *, err: bool = False) -> None:
    """Print a line, without control characters."""
    click.echo(printable(str(text)), err=err)


def report_error(error: CtmahoutError, *, as_json: bool) -> None:
    """Print message and hint of an error, and with `as_json` the error as JSON to stdout."""
    if as_json:
        print_json({"error": error.as_dict()})
    print_line(f"ctmahout: [{error.code}] {error.message}", err=True)
    for line in error.hint.splitlines():
        print_line(f"  {line}", err=True)


_PHASES: Mapping[str, str] = {
    "fetch": "Fetching",
    "find": "Looking at the files",
    "read": "Reading the series",
    "prepare": "Writing the matrix",
    "dssvd": "Decomposing",
    "refine": "First pass",
    "sample": "Sampling patches",
    "learn": "Finding groups",
    "reconstruct": "Rebuilding the volume",
    "write": "Writing the series",
    "report": "Writing the report",
    "send": "Sending the images",
    "phantom": "Simulating the scan",
    "series": "Denoising the series",
}
_IN_BYTES = frozenset({"fetch"})


@contextmanager
def progress_bar() -> Iterator[Any]:
    """Yield a progress callback that draws one line for each phase; None if stderr is not a terminal."""
    console = Console(stderr=True)
    if not console.is_terminal:
        yield None
        return
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.fields[amount]}"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console) as bars:
        tasks: dict[str, TaskID] = {}

        def update(phase: str, done: int, total: int) -> None:
            if phase not in tasks:
                tasks[phase] = bars.add_task(_PHASES.get(phase, phase), total=None, amount="")
            amount = decimal(done) if phase in _IN_BYTES else ""
            bars.update(tasks[phase], completed=done, total=total or None, amount=amount)

        yield update


@contextmanager
def driver_log() -> Iterator[None]:
    """Print the log of a driver in a cluster, which engines log at level INFO, to stderr."""
    logger, handler = logging.getLogger("ctmahout.engines"), logging.StreamHandler()
    level = logger.level
    logger.setLevel(logging.INFO)
    logger.addHandler(handler)
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)


@contextmanager
def terminable() -> Iterator[None]:
    """Handle SIGTERM, which stops containers, and SIGHUP, after a lost connection, like Ctrl-C."""

    def stop(signum: int, frame: object) -> None:
        raise KeyboardInterrupt

    handlers = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGHUP)}
    # Ignored signals stay ignored, as under nohup. A handler that is None was not set by Python.
    previous = {number: handler for number, handler in handlers.items() if handler not in (signal.SIG_IGN, None)}
    for number in previous:
        signal.signal(number, stop)
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
