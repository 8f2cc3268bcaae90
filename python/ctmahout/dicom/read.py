"""Read a CT series as a volume in HU."""

from __future__ import annotations

import logging
import weakref
from contextlib import ExitStack
from pathlib import Path

from ..storage import Uri, local_copy, parse_location
from ..volume import Volume
from .decoders import check_decoders
from .files import Progress, quiet, tick_of
from .geometry import gaps, geometry_of, ordered
from .header import SourceSeries
from .issues import messages, raise_errors
from .pixels import read_hu
from .scan import Listing, list_folder
from .select import chosen

__all__ = ["read_series"]

_log = logging.getLogger(__name__)
_log.addHandler(logging.NullHandler())

_OF_STEPS = ("CTM_SLICE_MISSING", "CTM_SLICE_UNEVEN")
# What lenient reading leaves out instead of refusing the series; anything else makes other slices doubtful, too.
_DAMAGED = ("CTM_INPUT_UNREADABLE", "CTM_PIXELS_UNREADABLE")


@quiet()
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
    """Read one CT series from a folder and its sub-folders, zip and tar archives among them, or from such an archive.

    Parameters
    ----------
    path : path or URI
        Single-frame CT, Enhanced CT and Legacy Converted Enhanced CT; each frame is a slice. Files that are no CT
        slices are left out and counted in the volume's warnings.
    series : str or int, optional
        The series to take if there are several: its SeriesInstanceUID, its SeriesNumber, its `folder`, or its number in
        the list that `find_series` gives. "[2]" is always the latter. "description:CHEST*" goes by SeriesDescription,
        with * and ? and without regard to case; "rule:most-slices" and "rule:thinnest" take the series with most.
    split : bool
        Take what differs in patient, study, orientation, size, spacing, phase or, where slices are unevenly spaced,
        thickness or step within one series for series of their own.
    lenient : bool
        Go on with a warning where slices are missing or unevenly spaced, identifiers are absent, a file is damaged or
        has no preamble, RescaleType is US. What would make HU values or positions guesswork is refused even so.
    unpack_gib : int, GiB
        The most that an image of an archive, or a deflated one, may unpack to; a compressed tar archive 32 times that.
    workers : int, optional
        Threads.
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
        With the code of what is wrong; no message holds a name, an ID or a date of a patient.
    """
    with ExitStack() as stack:
        folder = stack.enter_context(local_copy(parse_location(path)))
        listing = list_folder(
            folder, parts=split, unpack_gib=unpack_gib, workers=workers, tick=tick_of(progress, "find")
        )
        volume = _read(folder, listing, series, lenient, workers, progress)
        # Whoever writes a derived series reads the files once more: copies stay as long as anybody knows of them.
        weakref.finalize(volume.source, stack.pop_all().close)
    return volume


def _read(
    path: Path,
    listing: Listing,
    series: str | int | None,
    lenient: bool,
    workers: int | None,
    progress: Progress | None,
) -> Volume:
    files = chosen(path, listing, series)
    problems = [*listing.unreadable, *files.problems]
    raise_errors(problems if not lenient else [e for e in problems if e.code not in _DAMAGED], lenient=False)
    if not files.headers:
        raise problems[0]
    order, doubts = ordered(files.headers)
    by_file = [h.doubts for h in order]
    raise_errors([doubt for found in by_file for doubt in found], lenient=lenient)
    raise_errors(doubts, lenient=lenient)
    check_decoders({(h.transfer_syntax, h.pixels.bits_stored): h.path for h in order})
    read, hu, padding, found, broken = read_hu(order, lenient=lenient, workers=workers, tick=tick_of(progress, "read"))
    if len(read) < len(order):
        doubts = [*(d for d in doubts if getattr(d, "code", "") not in _OF_STEPS), *gaps(read)]
    for e in (*problems, *broken):
        _log.warning("left out: %s", e.message)
    told = [f"Left out: {text}" for text in messages([[e] for e in (*problems, *broken)])]
    if listing.skipped:
        told.insert(0, f"Left out, for they are no CT slices: {listing.skipped_text()}.")
    return Volume(
        hu=hu,
        geometry=geometry_of(read),
        padding=padding,
        source=SourceSeries(path.absolute(), tuple(read)),
        warnings=(*told, *messages([[*doubts, *found]]), *messages([h.doubts for h in read])),
    )
