"""Read a CT series as a volume in HU."""

from __future__ import annotations

import logging
import weakref
from contextlib import ExitStack
from pathlib import Path

from ..storage import Uri, local_copy, parse_location
from ..volume import Volume
from .decoders import check_decoders
from .files import Progress, silence_pydicom, tick_of
from .geometry import geometry_of, order_slices, spacing_issues
from .header import SourceSeries
from .issues import raise_errors, warning_texts
from .pixels import read_hu
from .scan import FolderContents, scan
from .select import select

__all__ = ["read_series"]

_log = logging.getLogger(__name__)
_log.addHandler(logging.NullHandler())

_SPACING_CODES = ("CTM_SLICE_MISSING", "CTM_SLICE_UNEVEN")
# Lenient reading leaves out files with these errors; with any other error the remaining slices are unreliable as well.
_DAMAGE_CODES = ("CTM_INPUT_UNREADABLE", "CTM_PIXELS_UNREADABLE")


@silence_pydicom()
def read_series(
    path: str | Path | Uri,
    *,
    series: str | int | None = None,
    split: bool = False,
    lenient: bool = False,
    unpack_gib: int = 1,
    workers: int | None = None,
    progress: Progress | None = None,
) -> Volume:
    """Read one CT series from a folder with its sub-folders and archives, or from a zip or tar archive.

    Parameters
    ----------
    path : path or URI
        Holds single-frame CT, Enhanced CT or Legacy Converted Enhanced CT; each frame is a slice. Files that are not
        CT slices are skipped, and counted in the volume's warnings.
    series : str or int, optional
        Which series to read if there are several: its SeriesInstanceUID, SeriesNumber, `folder`, or number in the list
        of `summarise`; "[2]" is always the last. "description:CHEST*" matches SeriesDescription, with * and ?, ignoring
        case. "rule:most-slices" and "rule:thinnest" select the series with the most or the thinnest slices.
    split : bool
        Treat slices that differ in patient, study, orientation, size, spacing or phase as separate series; where
        slices are unevenly spaced, also those that differ in thickness or step.
    lenient : bool
        Warn, instead of raising an error, if slices are missing or unevenly spaced, identifiers are absent, files are
        damaged or without preamble, or RescaleType is not HU. Errors that make HU or positions unreliable are raised
        even so.
    unpack_gib : int, GiB
        Largest unpacked size of an image in an archive or of a deflated image; 32 times that for a compressed tar
        archive.
    workers : int, optional
        Threads; by default one more than cores, at most 8.
    progress : callable, optional
        Called with ("find", files done, files) and ("read", slices done, slices).

    Returns
    -------
    Volume
        hu of shape (slices, rows, columns), float32, HU: each slice by its own RescaleSlope and RescaleIntercept
        (PS3.3 C.11.1.1.2), ascending along the normal of ImageOrientationPatient. source is a `SourceSeries`.

    Raises
    ------
    InputError
        CTM_INPUT_*, CTM_SERIES_*, CTM_SLICE_*, CTM_GEOMETRY_INVALID, CTM_ATTRIBUTE_INVALID, CTM_UID_MISSING,
        CTM_MULTIFRAME_UNSUPPORTED, CTM_DECODER_MISSING, CTM_SYNTAX_UNSUPPORTED, CTM_PIXELS_UNREADABLE,
        CTM_SOURCE_CHANGED, CTM_UNPACKED_TOO_LARGE, CTM_STORAGE_READ. No message holds the name, ID or dates of a
        patient.
    ConfigError
        CTM_LOCATION_INVALID.

    Examples
    --------
    >>> read_series("phantom/noisy").hu.shape
    (8, 96, 96)
    """
    with ExitStack() as stack:
        folder = stack.enter_context(local_copy(parse_location(path)))
        contents = scan(folder, parts=split, unpack_gib=unpack_gib, workers=workers, tick=tick_of(progress, "find"))
        volume = _read(folder, contents, series, lenient, workers, progress)
        # Writing a derived series reads the files again, so a temporary copy lives as long as the source object.
        weakref.finalize(volume.source, stack.pop_all().close)
    return volume


def _read(
    path: Path,
    contents: FolderContents,
    series: str | int | None,
    lenient: bool,
    workers: int | None,
    progress: Progress | None,
) -> Volume:
    files = select(path, contents, series)
    problems = [*contents.unreadable, *files.problems]
    raise_errors([e for e in problems if not lenient or e.code not in _DAMAGE_CODES])
    if not files.headers:
        raise problems[0]
    order, issues = order_slices(files.headers)
    raise_errors([issue for header in order for issue in header.issues], lenient=lenient)
    raise_errors(issues, lenient=lenient)
    check_decoders({(h.transfer_syntax, h.pixels.bits_stored): h.path for h in order})
    pixels = read_hu(order, lenient=lenient, workers=workers, tick=tick_of(progress, "read"))
    if pixels.unreadable:
        issues = [*(i for i in issues if getattr(i, "code", "") not in _SPACING_CODES), *spacing_issues(pixels.order)]
    left_out = [*problems, *pixels.unreadable]
    for error in left_out:
        _log.warning("left out: %s", error.message)
    warnings = [f"Left out: {text}" for text in warning_texts([[error] for error in left_out])]
    if contents.skipped:
        warnings.insert(0, f"Left out, for they are no CT slices: {contents.skipped_text()}.")
    warnings += warning_texts([[*issues, *pixels.warnings]])
    warnings += warning_texts([header.issues for header in pixels.order])
    return Volume(
        hu=pixels.hu,
        geometry=geometry_of(pixels.order),
        padding=pixels.padding,
        source=SourceSeries(path.absolute(), tuple(pixels.order)),
        warnings=tuple(warnings),
    )
