"""Score one series against another: ``ctmahout compare``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from ..errors import InputError
from ..files.read_volume import read_volume
from ..options import Config
from ..quality import compare
from ..storage import Location, Uri, local_copy, parse_location
from ..volume import Geometry

__all__ = ["compare_series"]

_SAME_SIZE = 0.01
_SAME_PLACE = 0.5  # of the smallest edge of a voxel


def compare_series(a: str | Path | Uri, b: str | Path | Uri, config: Config | None = None) -> dict[str, Any]:
    """Return the scores of the series in folder `a` against the reference in folder `b`, paths or URIs.

    Raises
    ------
    InputError
        CTM_SERIES_MIXED: the two differ in shape, in the size of a voxel or, unless lenient, in where they lie.
    """
    a, b, config = parse_location(a), parse_location(b), config or Config()
    with local_copy(a) as first, local_copy(b) as second:
        one, reference = (read_volume(path, config) for path in (first, second))
    if one.shape != reference.shape:
        raise InputError(
            "CTM_SERIES_MIXED",
            file=a,
            attribute="the number of slices, rows and columns",
            given=one.shape,
            expected=reference.shape,
        )
    _check_places(a, one.geometry, reference.geometry, lenient=config.lenient)
    return compare(one, reference).as_dict()


def _check_places(a: Location, one: Geometry, reference: Geometry, *, lenient: bool) -> None:
    """Refuse a series whose voxels are of another size than the reference's, or lie elsewhere."""
    sizes = [np.array(g.voxel_mm) for g in (one, reference)]
    same_size = bool(np.allclose(sizes[0], sizes[1], rtol=_SAME_SIZE))
    off = one.distance_mm(reference)
    if same_size and (lenient or off <= _SAME_PLACE * sizes[1].min()):
        return
    given, expected = (" x ".join(f"{mm:.4g}" for mm in size) + " mm" for size in sizes)
    attribute = "the size of a voxel"
    if same_size:
        attribute, given, expected = "where it lies", f"{off:.1f} mm off", "the place of the reference"
    raise InputError("CTM_SERIES_MIXED", file=a, attribute=attribute, given=given, expected=expected)
