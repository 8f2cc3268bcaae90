"""What ``ctmahout inspect`` tells of a folder: its CT series, and why reading one may be refused."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from ..errors import CtmahoutError
from ..storage import Uri, local_copy, parse_location
from .decoders import check_decoders
from .files import Progress, quiet, tick_of
from .geometry import geometry_of, ordered
from .issues import Issue, messages
from .scan import SeriesFiles, list_folder

__all__ = ["SeriesInfo", "SeriesList", "find_series"]

_SHOWN = 5


@dataclass(frozen=True)
class SeriesInfo:
    """One CT series of a folder, without anything that names a patient or tells a date.

    Attributes
    ----------
    number : int
        Its place in the list, from 1: what ``--series`` takes.
    series_uid, series_number : str
        As found; empty if absent.
    part : str
        Which part of the series, if it was split.
    slices, rows, columns : int
    spacing_mm : tuple of float, mm
        Median step between slices along their normal, distance between rows, distance between columns.
    thickness_mm : float or None
        SliceThickness.
    kernel : str
        ConvolutionKernel.
    transfer_syntaxes : tuple of str
        UIDs.
    denoised : bool
        Written by ctmahout.
    unusable : int
        Files of it that cannot be used.
    folder : str
        Its folder in the output for a study, which ``--series`` takes, too: the same wherever its files lie.
    doubts : tuple of str
        Why reading it is refused, after a code in brackets; and what reading it warns about.
    """

    number: int
    series_uid: str
    series_number: str
    part: str
    slices: int
    rows: int
    columns: int
    spacing_mm: tuple[float, float, float]
    thickness_mm: float | None
    kernel: str
    transfer_syntaxes: tuple[str, ...]
    denoised: bool
    unusable: int
    folder: str
    doubts: tuple[str, ...]


class SeriesList(list[SeriesInfo]):
    """The CT series of a folder.

    Attributes
    ----------
    skipped : dict of str to int
        How many files are something else, by what they are.
    unreadable : tuple of str
        Files too damaged to tell what they belong to.
    """

    def __init__(self, series: Iterable[SeriesInfo], skipped: dict[str, int], unreadable: tuple[str, ...]) -> None:
        super().__init__(series)
        self.skipped = skipped
        self.unreadable = unreadable


@quiet()
def find_series(
    path: str | Path | Uri,
    *,
    split: bool = False,
    lenient: bool = False,
    unpack_gib: int = 1,
    workers: int | None = None,
    progress: Progress | None = None,
) -> SeriesList:
    """List the CT series of a folder and its sub-folders, from headers alone.

    Parameters
    ----------
    path : path or URI
    split : bool
        As for `read_series`.
    lenient : bool
        Doubts that lenient reading lets pass are given without a code.
    unpack_gib : int, GiB
        As for `read_series`.
    workers : int, optional
        Threads.
    progress : callable, optional
        Called with ("find", files done, files).

    Raises
    ------
    InputError
        CTM_INPUT_NOT_FOUND, CTM_INPUT_EMPTY.
    """
    with local_copy(parse_location(path)) as folder:
        listing = list_folder(
            folder, parts=split, unpack_gib=unpack_gib, workers=workers, tick=tick_of(progress, "find")
        )
    return SeriesList(
        (_info(number, series, lenient=lenient) for number, series in enumerate(listing.series, 1)),
        dict(sorted(listing.skipped.items())),
        tuple(_coded(e) for e in listing.unreadable),
    )


def _info(number: int, series: SeriesFiles, *, lenient: bool) -> SeriesInfo:
    told = [_coded(e) for e in series.problems[:_SHOWN]]
    if len(series.problems) > _SHOWN:
        told.append(f"{len(series.problems) - _SHOWN} more files cannot be used.")
    step = 0.0
    order = series.headers
    if order:
        whole: list[Issue] = []
        try:
            order, whole = ordered(order)
            step = geometry_of(order).spacing_mm
        except CtmahoutError as e:
            told.append(_coded(e))
        try:
            check_decoders({(h.transfer_syntax, h.pixels.bits_stored): h.path for h in order})
        except CtmahoutError as e:
            told.append(_coded(e))
        told += messages([whole], named=not lenient)
        told += messages([h.doubts for h in order], named=not lenient)
    first = order[0] if order else None
    return SeriesInfo(
        number=number,
        series_uid=series.uid,
        series_number=first.series_number if first else "",
        part=series.part,
        slices=len(order),
        rows=first.pixels.rows if first else 0,
        columns=first.pixels.columns if first else 0,
        spacing_mm=(step, *first.pixel_spacing_mm) if first else (0.0, 0.0, 0.0),
        thickness_mm=first.thickness_mm if first else None,
        kernel=first.kernel if first else "",
        transfer_syntaxes=tuple(sorted({h.transfer_syntax for h in order})),
        denoised=any(h.denoised for h in order),
        unusable=len(series.problems),
        folder=series.folder,
        doubts=tuple(told),
    )


def _coded(e: CtmahoutError) -> str:
    return f"[{e.code}] {e.message}"
