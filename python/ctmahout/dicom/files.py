"""Open DICOM files, and work on several at a time."""

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

__all__ = ["Progress", "first_line", "open_dataset", "parallel_map", "silence_pydicom", "tick_of"]

Progress = Callable[[str, int, int], None]
"""Called in the caller's thread with the name of a phase, the items done and their total."""

T = TypeVar("T")
R = TypeVar("R")

_lock = threading.Lock()
_silence_depth = 0
_saved_warnings: Any = None
_saved_disabled = False
_LOG = logging.getLogger("pydicom")


def open_dataset(file: Path | BinaryIO, *, pixels: bool, without_preamble: bool = False) -> FileDataset:
    """Read a file; one without preamble (PS3.10 7.1) only if `without_preamble`.

    Without meta information the transfer syntax is inferred: implicit or explicit VR little endian.
    """
    if isinstance(file, Path):
        with open_file(file) as stream:
            return open_dataset(stream, pixels=pixels, without_preamble=without_preamble)
    ds = dcmread(file, stop_before_pixels=not pixels, force=without_preamble)
    if without_preamble and "TransferSyntaxUID" not in ds.file_meta:
        implicit = ds.original_encoding[0] is not False
        ds.file_meta = FileMetaDataset()
        ds.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian if implicit else ExplicitVRLittleEndian
    return ds


def parallel_map(
    function: Callable[[T], R],
    items: Sequence[T],
    *,
    workers: int | None = None,
    tick: Callable[[int, int], None] | None = None,
) -> list[R]:
    """Return ``[function(item) for item in items]``, computed by threads: decoders release the GIL.

    The exception of the first item that fails, by position, is raised, and items not yet started are cancelled.

    Parameters
    ----------
    function : callable
    items : sequence
    workers : int, optional
        Threads; by default one more than cores, at most 8.
    tick : callable, optional
        Called with items done and their number.
    """
    # One thread more than cores hides slow disks; each holds one slice.
    threads = workers or min(8, (os.cpu_count() or 1) + 1)
    results = []
    with silence_pydicom(), ThreadPoolExecutor(threads, thread_name_prefix="ctmahout-dicom") as pool:
        futures = [pool.submit(function, item) for item in items]
        try:
            for count, future in enumerate(futures, 1):
                results.append(future.result())
                if tick:
                    tick(count, len(futures))
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
    return results


def tick_of(progress: Progress | None, phase: str) -> Callable[[int, int], None] | None:
    """Return `progress` with its phase filled in."""
    if progress is None:
        return None
    return lambda done, total: progress(phase, done, total)


@contextmanager
def silence_pydicom() -> Iterator[None]:
    """Silence pydicom's warnings and its log: both quote values of patients.

    `warnings.catch_warnings` is not safe where threads overlap: the last to leave would restore the filters that
    another one had set. So the first to enter saves them, and the last to leave restores them.
    """
    global _silence_depth, _saved_warnings, _saved_disabled
    with _lock:
        if _silence_depth == 0:
            _saved_warnings = warnings.catch_warnings()
            _saved_warnings.__enter__()
            warnings.simplefilter("ignore")
            _saved_disabled, _LOG.disabled = _LOG.disabled, True
        _silence_depth += 1
    try:
        yield
    finally:
        with _lock:
            _silence_depth -= 1
            if _silence_depth == 0 and _saved_warnings is not None:
                _saved_warnings.__exit__(None, None, None)
                _saved_warnings = None
                _LOG.disabled = _saved_disabled


def first_line(e: BaseException) -> str:
    """Return the message of a decoder's error as one line, without a final full stop."""
    lines = [line.strip() for line in str(e).splitlines() if line.strip()]
    return (lines[-1] if len(lines) > 1 and lines[0].endswith(":") else lines[0] if lines else type(e).__name__).rstrip(
        "."
    )
