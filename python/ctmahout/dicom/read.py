"""Read a CT series as a volume in HU."""

from __future__ import annotations

import threading
import warnings as python_warnings
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydicom import dcmread
from pydicom.dataset import FileDataset

from ..errors import CtmahoutError, InputError
from ..volume import Volume
from .decoders import check_decoder
from .find import Listing, list_folder
from .geometry import geometry_of, ordered
from .headers import SliceHeader

__all__ = ["SourceSeries", "load", "read_series", "stored_values"]

Progress = Callable[[str, int, int], None]

# No tissue is below this; what a whole corner region holds below it was never measured.
_LOWEST_HU = -1500.0


@dataclass(frozen=True)
class SourceSeries:
    """The series that a volume was read from: what writing a derived series needs.

    Attributes
    ----------
    slices : tuple of SliceHeader
        In the order of the volume.
    """

    slices: tuple[SliceHeader, ...]


def read_series(
    path: str | Path,
    *,
    series: str | int | None = None,
    lenient: bool = False,
    workers: int | None = None,
    progress: Progress | None = None,
) -> Volume:
    """Read one CT series from a folder and its sub-folders.

    Parameters
    ----------
    path : path
        Files that are no CT slices are left out and counted in the volume's warnings.
    series : str or int, optional
        The series to take if there are several: its SeriesInstanceUID, its SeriesNumber, or its number in the list.
    lenient : bool
        Go on with a warning where slices are missing or unevenly spaced, identifiers are absent, a file is damaged.
    workers : int, optional
        Threads.
    progress : callable, optional
        Called with ("read", slices done, slices).

    Returns
    -------
    Volume
        hu of shape (slices, rows, columns), float32, HU: each slice by its own RescaleSlope and RescaleIntercept
        (PS3.3 C.11.1.1.2), ascending along the normal.

    Raises
    ------
    InputError
        With the code of what is wrong.
    """
    path = Path(path)
    listing = list_folder(path, lenient=lenient, workers=workers)
    headers, warnings = _chosen(path, listing, series, lenient=lenient)
    order, doubts = ordered(headers, lenient=lenient)
    for h in {h.transfer_syntax: h for h in order}.values():
        check_decoder(h.transfer_syntax, h.path)
    hu, padding, found = _pixels(order, workers, progress)
    notes = dict.fromkeys(note for h in order for note in h.notes)
    return Volume(
        hu=hu,
        geometry=geometry_of(order),
        padding=padding if padding.any() else None,
        source=SourceSeries(tuple(order)),
        warnings=(*warnings, *doubts, *notes, *found),
    )


def _chosen(
    path: Path, listing: Listing, series: str | int | None, *, lenient: bool
) -> tuple[list[SliceHeader], list[str]]:
    """Return the slices of the series asked for, or of the only one."""
    uids = [*listing.series, *dict.fromkeys(uid for uid, _ in listing.problems if uid not in listing.series)]
    if not uids:
        raise InputError("CTM_INPUT_NO_CT", path=path, found=listing.skipped_text() or "no file")
    # Damaged headers belong to no series; alone they still explain why nothing can be read.
    named = [uid for uid in uids if uid or not listing.series] or uids

    def label(number: int, uid: str) -> str:
        slices = listing.series.get(uid, [])
        first = slices[0] if slices else None
        size = f"{first.rows} x {first.columns}" if first else "not readable"
        return f"[{number}] SeriesNumber {first.series_number or '-' if first else '-'}, {len(slices)} slices, {size}"

    shown = "; ".join(label(i, uid) for i, uid in enumerate(named, 1))
    if series is None:
        if len(named) > 1:
            raise InputError("CTM_SERIES_AMBIGUOUS", path=path, count=len(named), series=shown)
        uid = named[0]
    else:
        uid = _match(named, listing, str(series))
        if not uid and uid not in named:
            raise InputError("CTM_SERIES_UNKNOWN", given=series, path=path, series=shown)
    problems = [e for problem, e in listing.problems if problem in (uid, "")]
    warnings = _let_pass(problems, listing, lenient=lenient)
    if uid not in listing.series:
        raise problems[0]
    return listing.series[uid], warnings


def _match(uids: Sequence[str], listing: Listing, given: str) -> str:
    """Return the UID that `given` stands for: a UID, a SeriesNumber if only one series has it, else a list number."""
    if given in uids:
        return given
    numbered = [uid for uid in uids if any(h.series_number == given for h in listing.series.get(uid, [])[:1])]
    if len(numbered) == 1:
        return numbered[0]
    if given.isdigit() and 1 <= int(given) <= len(uids):
        return uids[int(given) - 1]
    return ""


def _let_pass(problems: Sequence[CtmahoutError], listing: Listing, *, lenient: bool) -> list[str]:
    warnings = []
    if listing.skipped:
        warnings.append(f"Left out, for they are no CT slices: {listing.skipped_text()}.")
    if problems and not lenient:
        raise problems[0]
    warnings += [f"Left out: {e.message}" for e in problems]
    return warnings


def load(header: SliceHeader, *, pixels: bool) -> FileDataset:
    """Read a file again.

    Raises
    ------
    InputError
        CTM_SOURCE_CHANGED: it is not the file that was listed.
    """
    try:
        stat = header.path.stat()
        if (stat.st_size, stat.st_mtime_ns) != (header.size, header.mtime_ns):
            raise InputError("CTM_SOURCE_CHANGED", file=header.path)
        return dcmread(header.path, stop_before_pixels=not pixels)
    except OSError as e:
        raise InputError("CTM_SOURCE_CHANGED", file=header.path) from e


def stored_values(ds: FileDataset, header: SliceHeader) -> NDArray[np.int32]:
    """Return the stored pixel values, ndarray of shape (rows, columns), int32.

    Raises
    ------
    InputError
        CTM_PIXELS_UNREADABLE.
    """
    try:
        with python_warnings.catch_warnings():
            # What pydicom only warns about here is checked below, or is harmless.
            python_warnings.simplefilter("ignore")
            values = ds.pixel_array
    except Exception as e:  # decoders raise what they like
        problem = (str(e).splitlines() or [type(e).__name__])[0].rstrip(".")
        raise InputError("CTM_PIXELS_UNREADABLE", file=header.path, problem=problem) from e
    if values.shape != (header.rows, header.columns):
        expected = f"{header.rows} x {header.columns}"
        raise InputError(
            "CTM_PIXELS_UNREADABLE", file=header.path, problem=f"shape {values.shape} instead of {expected}"
        )
    return np.asarray(values, dtype=np.int32)


def _pixels(
    order: Sequence[SliceHeader], workers: int | None, progress: Progress | None
) -> tuple[NDArray[np.float32], NDArray[np.bool_], list[str]]:
    shape = (len(order), order[0].rows, order[0].columns)
    hu = np.empty(shape, np.float32)
    padding = np.zeros(shape, np.bool_)
    undeclared = []
    lock = threading.Lock()
    done = 0

    def read(z: int) -> None:
        nonlocal done
        header = order[z]
        values = stored_values(load(header, pixels=True), header)
        hu[z] = values * header.slope + header.intercept
        padding[z] = _padding(values, header)
        with lock:
            if padding[z].any() and not _declared(values, header).any():
                undeclared.append(z)
            done += 1
            if progress:
                progress("read", done, len(order))

    with ThreadPoolExecutor(workers) as pool:
        try:
            for _ in pool.map(read, range(len(order))):
                pass
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
    warnings = []
    if undeclared:
        warnings.append(
            f"{len(undeclared)} slices have a border that was never measured, which PixelPaddingValue does not tell."
        )
    return hu, padding, warnings


def _declared(values: NDArray[np.int32], header: SliceHeader) -> NDArray[np.bool_]:
    if header.padding is None:
        return np.zeros(values.shape, np.bool_)
    return (values >= header.padding[0]) & (values <= header.padding[1])


def _padding(values: NDArray[np.int32], header: SliceHeader) -> NDArray[np.bool_]:
    """Return where a slice has no measurement: by PixelPaddingValue, or by a corner value that no tissue has."""
    mask = _declared(values, header)
    corners = {int(v) for v in (values[0, 0], values[0, -1], values[-1, 0], values[-1, -1])}
    if len(corners) == 1:
        corner = corners.pop()
        if corner * header.slope + header.intercept < _LOWEST_HU:
            mask |= values == corner
    return mask
