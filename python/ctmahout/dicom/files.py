"""Files and threads: how a DICOM file is opened here, and how many at a time."""

from __future__ import annotations

import logging
import os
import threading
import warnings
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

from pydicom import dcmread
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian

from .archive import open_file

__all__ = ["Progress", "each", "first_line", "open_dataset", "quiet", "tick_of"]

Progress = Callable[[str, int, int], None]
"""Called in the caller's thread with a phase, what is done and what there is."""

T = TypeVar("T")
R = TypeVar("R")

_lock = threading.Lock()
_quiet_depth = 0
_quiet_before: Any = None
_log_before = False
_LOG = logging.getLogger("pydicom")


def open_dataset(file: Path | BinaryIO, *, pixels: bool, headless: bool = False) -> FileDataset:
    """Read a file; one without preamble only if `headless`.

    A file without meta information is taken for what it looks like: implicit or explicit VR little endian.
    """
    if isinstance(file, Path):
        with open_file(file) as stream:
            return open_dataset(stream, pixels=pixels, headless=headless)
    ds = dcmread(file, stop_before_pixels=not pixels, force=headless)
    if headless and "TransferSyntaxUID" not in ds.file_meta:
        implicit = ds.original_encoding[0] is not False
        ds.file_meta = FileMetaDataset()
        ds.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian if implicit else ExplicitVRLittleEndian
    return ds


def each(
    function: Callable[[T], R],
    items: Sequence[T],
    *,
    workers: int | None = None,
    tick: Callable[[int, int], None] | None = None,
) -> list[R]:
    """Return ``[function(item) for item in items]``, computed by a few threads: decoders release the GIL.

    The first item that fails, in their order, gives the exception; what has not begun then never does.
    """
    # More threads than cores hide slow disks; each holds one slice.
    threads = workers or min(8, (os.cpu_count() or 1) + 1)
    results = []
    with quiet(), ThreadPoolExecutor(threads, thread_name_prefix="ctmahout-dicom") as pool:
        futures = [pool.submit(function, item) for item in items]
        try:
            for done, future in enumerate(futures, 1):
                results.append(future.result())
                if tick:
                    tick(done, len(futures))
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
    return results


def tick_of(progress: Progress | None, phase: str) -> Callable[[int, int], None] | None:
    """Return what tells a progress callback of one phase."""
    if progress is None:
        return None
    return lambda done, total: progress(phase, done, total)


@contextmanager
def quiet() -> Iterator[None]:
    """Silence pydicom's warnings, and what it logs: both quote values of patients.

    `warnings.catch_warnings` alone is no good where threads enter and leave it in any order: the last one out would
    restore what an earlier one had set. So the first in sets it and the last out restores it.
    """
    global _quiet_depth, _quiet_before, _log_before
    with _lock:
        if _quiet_depth == 0:
            _quiet_before = warnings.catch_warnings()
            _quiet_before.__enter__()
            warnings.simplefilter("ignore")
            _log_before, _LOG.disabled = _LOG.disabled, True
        _quiet_depth += 1
    try:
        yield
    finally:
        with _lock:
            _quiet_depth -= 1
            if _quiet_depth == 0 and _quiet_before is not None:
                _quiet_before.__exit__(None, None, None)
                _quiet_before = None
                _LOG.disabled = _log_before


def first_line(e: BaseException) -> str:
    """Return what a decoder says, on one line."""
    lines = [line.strip() for line in str(e).splitlines() if line.strip()]
    return (lines[-1] if len(lines) > 1 and lines[0].endswith(":") else lines[0] if lines else type(e).__name__).rstrip(
        "."
    )
