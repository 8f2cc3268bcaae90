"""Scores of one series against another: ``ctmahout compare``."""

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

_SIZE_TOLERANCE = 0.01  # relative
_POSITION_TOLERANCE = 0.5  # of the smallest edge of a voxel


def compare_series(a: str | Path | Uri, b: str | Path | Uri, config: Config | None = None) -> dict[str, Any]:
    """Return the scores of series `a` against reference `b`.

    Parameters
    ----------
    a, b : path, str or Uri
        Whatever `read_volume` reads, or a URI of it.
    config : Config, optional
        Options of reading.

    Returns
    -------
    dict
        See `Scores`: JSON values.

    Raises
    ------
    InputError
        CTM_SERIES_MIXED: the two differ in shape, in voxel size or, unless lenient, in position. Else as `read_volume`.
    """
    a, b, config = parse_location(a), parse_location(b), config or Config()
    with local_copy(a) as path, local_copy(b) as reference_path:
        volume, reference = read_volume(path, config), read_volume(reference_path, config)
    if volume.shape != reference.shape:
        raise InputError(
            "CTM_SERIES_MIXED",
            file=a,
            attribute="the number of slices, rows and columns",
            given=volume.shape,
            expected=reference.shape,
        )
    _check_geometry(a, volume.geometry, reference.geometry, lenient=config.lenient)
    return compare(volume, reference).as_dict()


def _check_geometry(a: Location, geometry: Geometry, reference: Geometry, *, lenient: bool) -> None:
    """Raise CTM_SERIES_MIXED if voxels differ from the reference in size or, unless lenient, in position."""
    sizes = [np.array([g.spacing_mm, *g.pixel_spacing_mm]) for g in (geometry, reference)]
    same_size = bool(np.allclose(sizes[0], sizes[1], rtol=_SIZE_TOLERANCE))
    distance = float(np.linalg.norm(geometry.positions_mm - reference.positions_mm, axis=1).max())
    if same_size and (lenient or distance <= _POSITION_TOLERANCE * sizes[1].min()):
        return
    actual, expected = (" x ".join(f"{mm:.4g}" for mm in size) + " mm" for size in sizes)
    attribute = "the size of a voxel"
    if same_size:
        attribute, actual, expected = "where it lies", f"{distance:.1f} mm off", "the place of the reference"
    raise InputError("CTM_SERIES_MIXED", file=a, attribute=attribute, given=actual, expected=expected)
