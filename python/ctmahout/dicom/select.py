"""Which of the series found is the one that was asked for."""

from __future__ import annotations

import fnmatch
from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path

from ..errors import InputError
from .scan import Listing, SeriesFiles, labels

__all__ = ["RULES", "chosen"]


def _slices(series: SeriesFiles) -> float:
    return len(series.headers)


def _thinness(series: SeriesFiles) -> float:
    along = sorted({round(h.along_mm, 3) for h in series.headers})
    steps = sorted(b - a for a, b in pairwise(along))
    return -steps[len(steps) // 2] if steps else -float("inf")


RULES: dict[str, Callable[[SeriesFiles], float]] = {"most-slices": _slices, "thinnest": _thinness}
"""What ``rule:`` can be followed by; the series with the highest value is taken."""


def chosen(path: Path, listing: Listing, given: str | int | None) -> SeriesFiles:
    """Return the series asked for, or the only one.

    Raises
    ------
    InputError
        CTM_INPUT_NO_CT, CTM_SERIES_AMBIGUOUS, CTM_SERIES_UNKNOWN; the first thing unreadable if there is nothing else.
    """
    found = listing.series
    if not found:
        if listing.unreadable:
            raise listing.unreadable[0]
        raise InputError("CTM_INPUT_NO_CT", path=path, found=listing.skipped_text())
    if given is None:
        if len(found) > 1:
            raise InputError("CTM_SERIES_AMBIGUOUS", path=path, count=len(found), series=labels(found))
        return found[0]
    matches = _matches(found, str(given).strip())
    if len(matches) > 1:
        # A SeriesNumber that two series have, or that is another one's number in the list; two that a rule likes best.
        raise InputError("CTM_SERIES_AMBIGUOUS", path=path, count=len(matches), series=_meant(given, found, matches))
    if not matches:
        raise InputError("CTM_SERIES_UNKNOWN", given=given, path=path, series=labels(found))
    return matches[0]


def _meant(given: str | int, found: Sequence[SeriesFiles], matches: Sequence[SeriesFiles]) -> str:
    numbers = ", ".join(f"[{number}]" for number, series in enumerate(found, 1) if series in matches)
    return f"{given} means any of {numbers} among {labels(found)}"


def _matches(found: Sequence[SeriesFiles], given: str) -> list[SeriesFiles]:
    """Return the series that a UID, folder, SeriesNumber, number of the list, description or rule stands for."""
    kind, colon, rest = given.partition(":")
    if colon and kind == "description":
        return [s for s in found if any(_like(h.description, rest) for h in s.headers[:1])]
    if colon and kind == "rule":
        usable = [s for s in found if s.headers]
        if rest not in RULES or not usable:
            return []
        best = max(map(RULES[rest], usable))
        return [s for s in usable if RULES[rest](s) == best]
    if exact := [s for s in found if s.uid and given in (s.uid, s.folder)]:
        return exact
    bare = given.removeprefix("[").removesuffix("]")
    in_list = [found[int(bare) - 1]] if bare.isdecimal() and 1 <= int(bare) <= len(found) else []
    if bare != given:
        return in_list
    numbered = [s for s in found if any(h.series_number == given for h in s.headers[:1])]
    return [s for s in found if s in numbered or s in in_list]


def _like(text: str, pattern: str) -> bool:
    return bool(text) and fnmatch.fnmatchcase(text.casefold(), pattern.casefold())
