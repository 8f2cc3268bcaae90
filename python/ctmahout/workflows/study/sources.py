"""The series to denoise: those of a folder or an archive, or of a list."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from ...dicom import HeaderCache, SeriesInfo, names_of_series, summarise
from ...errors import InputError
from ...options import Config
from ...storage import Location, Uri, local_copy, parse_location
from ..outcome import Progress
from .records import StudySeries

__all__ = ["PlannedSeries", "Source", "absolute", "listed_sources", "series_of_folder"]

Source: TypeAlias = str | Path | Uri


@dataclass(frozen=True)
class PlannedSeries:
    """A series to denoise, as the loop or a task gets it.

    Attributes
    ----------
    source : Path or Uri
        What it is read from.
    so_far : StudySeries
        Without an outcome, unless there is nothing to do.
    selector : str, optional
        For the option ``series``; None: `source` holds no other.
    names : frozenset of str, optional
        The objects to copy from a URI; None: all.
    source_name : str
        What messages call `source`.
    """

    source: Location
    so_far: StudySeries
    selector: str | None = None
    names: frozenset[str] | None = None
    source_name: str = ""

    @classmethod
    def of_list(cls, sources: Sequence[Location]) -> list[PlannedSeries]:
        """Return the series of a list, each named by a digest of its location, which may name a patient."""
        folders = [f"series-{hashlib.sha256(str(one).encode()).hexdigest()[:12]}" for one in sources]
        return [
            cls(source, StudySeries(number, folder, 0, ""), source_name=str(source))
            for number, (source, folder) in enumerate(zip(sources, folders, strict=True), 1)
        ]


def listed_sources(source: Source | Sequence[Source]) -> list[Location] | None:
    """Return the locations of a list, each once; None if `source` is no list."""
    if not isinstance(source, (str, os.PathLike, Uri)):
        for one in source:
            if not isinstance(one, (str, os.PathLike, Uri)):
                raise TypeError(f"a list of series has paths and URIs, not {type(one).__name__}")
        lines, base, name = [str(one) for one in source], Path(), "The list"
    else:
        location = parse_location(source)
        if not location.name.endswith(".txt") or (isinstance(location, Path) and location.is_dir()):
            return None
        with local_copy(location) as file:
            try:
                lines = file.read_text(encoding="utf-8-sig").splitlines()
            except FileNotFoundError:
                raise InputError("CTM_INPUT_NOT_FOUND", path=source) from None
            except (OSError, UnicodeDecodeError):
                raise InputError("CTM_INPUT_UNREADABLE", file=source, problem="it is not a list of series") from None
        base, name = location.parent if isinstance(location, Path) else Path(), str(source)
    sources = [parse_location(line.strip()) for line in lines if line.strip() and not line.startswith("#")]
    unique = list(dict.fromkeys(absolute(base / one if isinstance(one, Path) else one) for one in sources))
    if not unique:
        raise InputError("CTM_INPUT_EMPTY", path=name)
    return unique


def absolute(location: Location) -> Location:
    """Return a path as one that other processes understand."""
    return location.absolute() if isinstance(location, Path) else location


def series_of_folder(
    folder: Path, source: Location, config: Config, headers: HeaderCache, progress: Progress | None
) -> tuple[list[PlannedSeries], tuple[str, ...]]:
    """Return the series of a folder, and what is unreadable in it; `folder` is its local copy."""
    listing = summarise(
        folder,
        split=config.split,
        lenient=config.lenient,
        unpack_gib=config.unpack_gib,
        workers=config.workers,
        progress=progress,
    )
    unreadable = tuple(text.replace(str(folder), str(source)) for text in listing.unreadable)
    if not listing:
        if unreadable:
            raise InputError(
                "CTM_STUDY_UNREADABLE", count=len(unreadable), path=source, first=unreadable[0].rstrip(".")
            )
        others = ", ".join(f"{count} {what}" for what, count in listing.skipped.items())
        raise InputError("CTM_INPUT_NO_CT", path=source, found=others)
    # Executors do not see a temporary copy: each makes one of its series.
    copies = config.spread and isinstance(source, Uri)
    series = []
    for info in listing:
        reason = _nothing_to_do(info)
        so_far = StudySeries(info.number, info.folder, info.slices, "skipped" if reason else "", message=reason)
        # By its UID, which stays when others come or go; a part of a series has none of its own.
        alone = bool(info.series_uid) and sum(other.series_uid == info.series_uid for other in listing) == 1
        selector = info.series_uid if alone else info.folder if copies else f"[{info.number}]"
        names = names_of_series(headers, folder, info.series_uid) if copies else None
        series.append(PlannedSeries(source if copies else folder, so_far, selector, names, str(source)))
    return series, unreadable


def _nothing_to_do(info: SeriesInfo) -> str:
    if info.denoised:
        return "It was denoised by ctmahout before."
    if info.slices == 1 and not info.unusable:
        return "It is a single slice."
    return ""
