"""Select one series of a folder, as the option ``--series`` describes it."""

from __future__ import annotations

import fnmatch
from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path

from ..errors import InputError
from .scan import FolderContents, SeriesFiles, series_text

__all__ = ["RULES", "select"]


def _slice_count(series: SeriesFiles) -> float:
    return len(series.headers)


def _thinness(series: SeriesFiles) -> float:
    positions = sorted({round(h.slice_position_mm, 3) for h in series.headers})
    steps = sorted(b - a for a, b in pairwise(positions))
    return -steps[len(steps) // 2] if steps else -float("inf")


RULES: dict[str, Callable[[SeriesFiles], float]] = {"most-slices": _slice_count, "thinnest": _thinness}
"""What can follow ``rule:``; the series with the highest value is selected."""


def select(path: Path, contents: FolderContents, selector: str | int | None) -> SeriesFiles:
    """Return the series that `selector` describes; without a selector, the only one.

    Raises
    ------
    InputError
        CTM_INPUT_NO_CT, CTM_SERIES_AMBIGUOUS, CTM_SERIES_UNKNOWN; the first unreadable file's if there is no series.
    """
    series = contents.series
    if not series:
        if contents.unreadable:
            raise contents.unreadable[0]
        raise InputError("CTM_INPUT_NO_CT", path=path, found=contents.skipped_text())
    if selector is None:
        if len(series) > 1:
            raise InputError("CTM_SERIES_AMBIGUOUS", path=path, count=len(series), series=series_text(series))
        return series[0]
    matches = _match(series, str(selector).strip())
    if len(matches) > 1:
        # A SeriesNumber may occur twice, or equal another series' number in the list; a rule may end in a tie.
        text = _ambiguity(selector, series, matches)
        raise InputError("CTM_SERIES_AMBIGUOUS", path=path, count=len(matches), series=text)
    if not matches:
        raise InputError("CTM_SERIES_UNKNOWN", given=selector, path=path, series=series_text(series))
    return matches[0]


def _ambiguity(selector: str | int, series: Sequence[SeriesFiles], matches: Sequence[SeriesFiles]) -> str:
    numbers = ", ".join(f"[{number}]" for number, one in enumerate(series, 1) if one in matches)
    return f"{selector} means any of {numbers} among {series_text(series)}"


def _match(series: Sequence[SeriesFiles], selector: str) -> list[SeriesFiles]:
    """Return the series with this UID, folder, SeriesNumber, number in the list, description or rule."""
    kind, colon, rest = selector.partition(":")
    if colon and kind == "description":
        return [s for s in series if any(_matches_pattern(h.description, rest) for h in s.headers[:1])]
    if colon and kind == "rule":
        usable = [s for s in series if s.headers]
        if rest not in RULES or not usable:
            return []
        best = max(map(RULES[rest], usable))
        return [s for s in usable if RULES[rest](s) == best]
    if exact := [s for s in series if s.uid and selector in (s.uid, s.folder)]:
        return exact
    number = selector.removeprefix("[").removesuffix("]")
    by_position = [series[int(number) - 1]] if number.isdecimal() and 1 <= int(number) <= len(series) else []
    if number != selector:
        return by_position
    by_number = [s for s in series if any(h.series_number == selector for h in s.headers[:1])]
    return [s for s in series if s in by_number or s in by_position]


def _matches_pattern(text: str, pattern: str) -> bool:
    return bool(text) and fnmatch.fnmatchcase(text.casefold(), pattern.casefold())
