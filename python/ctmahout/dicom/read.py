"""Read a CT series as a volume in HU."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

from ..errors import InputError
from ..volume import Volume
from .decoders import check_decoders
from .doubts import messages, settle
from .files import Progress, quiet, tick_of
from .find import Listing, SeriesFiles, labels, list_folder
from .geometry import gaps, geometry_of, ordered
from .headers import SourceSeries
from .pixels import read_hu

__all__ = ["read_series"]

_log = logging.getLogger(__name__)
_log.addHandler(logging.NullHandler())

# What lenient reading leaves out instead of refusing the series; anything else makes other slices doubtful, too.
_DAMAGED = ("CTM_INPUT_UNREADABLE", "CTM_PIXELS_UNREADABLE")


@quiet()
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
        The series to take if there are several: its SeriesInstanceUID, its SeriesNumber, or its number in the list that
        `find_series` gives. "[2]" is always the latter.
    lenient : bool
        Go on with a warning where slices are missing or unevenly spaced, identifiers are absent, a file is damaged or
        has no preamble, RescaleType is US. What would make HU values or positions guesswork is refused even so.
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
    path = Path(path)
    listing = list_folder(path, workers=workers, tick=tick_of(progress, "find"))
    chosen = _chosen(path, listing, series)
    problems = [*listing.unreadable, *chosen.problems]
    settle(problems if not lenient else [e for e in problems if e.code not in _DAMAGED], lenient=False)
    if not chosen.headers:
        raise problems[0]
    order, doubts = ordered(chosen.headers)
    by_file = [h.doubts for h in order]
    settle([doubt for found in by_file for doubt in found], lenient=lenient)
    settle(doubts, lenient=lenient)
    check_decoders({(h.transfer_syntax, h.pixels.bits_stored): h.path for h in order})
    read, hu, padding, found, broken = read_hu(order, lenient=lenient, workers=workers, tick=tick_of(progress, "read"))
    if len(read) < len(order):
        doubts = [*(d for d in doubts if getattr(d, "code", "") != "CTM_SLICE_MISSING"), *gaps(read)]
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


def _chosen(path: Path, listing: Listing, given: str | int | None) -> SeriesFiles:
    """Return the series asked for, or the only one."""
    found = listing.series
    if not found:
        if listing.unreadable:
            raise listing.unreadable[0]
        raise InputError("CTM_INPUT_NO_CT", path=path, found=listing.skipped_text())
    if given is None:
        if len(found) > 1:
            raise InputError("CTM_SERIES_AMBIGUOUS", path=path, count=len(found), series=labels(found))
        return found[0]
    matches = _matches(found, str(given))
    if len(matches) > 1:
        # A SeriesNumber that two series have, or that is another one's number in the list.
        text = f"{given} means any of {labels(found)}"
        raise InputError("CTM_SERIES_AMBIGUOUS", path=path, count=len(matches), series=text)
    if not matches:
        raise InputError("CTM_SERIES_UNKNOWN", given=given, path=path, series=labels(found))
    return matches[0]


def _matches(found: Sequence[SeriesFiles], given: str) -> list[SeriesFiles]:
    """Return the series that a UID, a SeriesNumber or a number of the list stands for."""
    given = given.strip()
    if exact := [s for s in found if s.uid and s.uid == given]:
        return exact
    bare = given.removeprefix("[").removesuffix("]")
    in_list = [found[int(bare) - 1]] if bare.isdecimal() and 1 <= int(bare) <= len(found) else []
    if bare != given:
        return in_list
    numbered = [s for s in found if any(h.series_number == given for h in s.headers[:1])]
    return [s for s in found if s in numbered or s in in_list]
