"""Score one series against another: ``ctmahout compare``."""

from __future__ import annotations

from typing import Any

from .config import Config
from .errors import InputError
from .locations import Location, fetched
from .quality import compare
from .reading import read_volume

__all__ = ["compare_series"]


def compare_series(a: Location, b: Location, config: Config) -> dict[str, Any]:
    """Return the scores of the series in folder `a` against the reference in folder `b`.

    Raises
    ------
    InputError
        CTM_SERIES_MIXED: the two differ in shape.
    """
    with fetched(a) as first, fetched(b) as second:
        one, reference = (read_volume(path, config) for path in (first, second))
    if one.shape != reference.shape:
        raise InputError(
            "CTM_SERIES_MIXED",
            file=a,
            attribute="the number of slices, rows and columns",
            given=one.shape,
            expected=reference.shape,
        )
    return compare(one, reference).as_dict()
