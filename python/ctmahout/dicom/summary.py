"""Summarise a folder for ``ctmahout inspect``: its CT series, and the problems that reading one would report."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from ..errors import CtmahoutError
from ..storage import Uri, local_copy, parse_location
from .decoders import check_decoders
from .files import Progress, silence_pydicom, tick_of
from .geometry import geometry_of, order_slices
from .issues import Issue, warning_texts
from .scan import SeriesFiles, scan

__all__ = ["SeriesInfo", "SeriesList", "summarise"]

_MAX_PROBLEMS = 5


@dataclass(frozen=True)
class SeriesInfo:
    """One CT series of a folder, without patient names or dates.

    Attributes
    ----------
    number : int
        Position in the list, from 1; accepted by ``--series``.
    series_uid, series_number : str
        As in the files; empty if absent.
    part : str
        Label of the part, if the series was split.
    slices, rows, columns : int
    spacing_mm : tuple of float, mm
        Median step between slices along their normal, distance between rows, distance between columns.
    thickness_mm : float or None, mm
        SliceThickness.
    kernel : str
        ConvolutionKernel.
    transfer_syntaxes : tuple of str
        UIDs.
    denoised : bool
        Written by ctmahout.
    unusable : int
        Number of its files that cannot be used.
    folder : str
        Name of its folder in the output of a study; accepted by ``--series``.
    doubts : tuple of str
        Its issues: errors that make reading fail, with their codes in brackets, and warnings.
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
        Number of files that are not CT slices, by kind.
    unreadable : tuple of str
        Errors of files too damaged to assign to a series.
    """

    def __init__(self, series: Iterable[SeriesInfo], skipped: dict[str, int], unreadable: tuple[str, ...]) -> None:
        super().__init__(series)
        self.skipped = skipped
        self.unreadable = unreadable


@silence_pydicom()
def summarise(
    path: str | Path | Uri,
    *,
    split: bool = False,
    lenient: bool = False,
    unpack_gib: int = 1,
    workers: int | None = None,
    progress: Progress | None = None,
) -> SeriesList:
    """List the CT series of a folder and its sub-folders. Only headers are read.

    Parameters
    ----------
    path : path or URI
    split : bool
        As for `read_series`.
    lenient : bool
        Errors that lenient reading tolerates are listed as warnings, without a code.
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
        contents = scan(folder, parts=split, unpack_gib=unpack_gib, workers=workers, tick=tick_of(progress, "find"))
    return SeriesList(
        (_info(number, series, lenient=lenient) for number, series in enumerate(contents.series, 1)),
        dict(sorted(contents.skipped.items())),
        tuple(_with_code(e) for e in contents.unreadable),
    )


def _info(number: int, series: SeriesFiles, *, lenient: bool) -> SeriesInfo:
    texts = [_with_code(e) for e in series.problems[:_MAX_PROBLEMS]]
    if len(series.problems) > _MAX_PROBLEMS:
        texts.append(f"{len(series.problems) - _MAX_PROBLEMS} more files cannot be used.")
    step = 0.0
    order = series.headers
    if order:
        series_issues: list[Issue] = []
        try:
            order, series_issues = order_slices(order)
            step = geometry_of(order).spacing_mm
        except CtmahoutError as e:
            texts.append(_with_code(e))
        try:
            check_decoders({(h.transfer_syntax, h.pixels.bits_stored): h.path for h in order})
        except CtmahoutError as e:
            texts.append(_with_code(e))
        texts += warning_texts([series_issues], with_code=not lenient)
        texts += warning_texts([h.issues for h in order], with_code=not lenient)
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
        doubts=tuple(texts),
    )


def _with_code(e: CtmahoutError) -> str:
    return f"[{e.code}] {e.message}"
