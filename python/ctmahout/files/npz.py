"""NumPy's npz as a file format of volumes: float32 HU with padding and the position of each slice."""

from __future__ import annotations

import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError, too_large
from ..storage.atomic import atomic_file
from ..volume import Geometry, Volume
from .checks import ANGLE_TOLERANCE, check_hu, invalid_attribute
from .source import ArraySource

__all__ = ["read_npz", "write_npz"]

_REQUIRED = ("hu", "positions_mm", "row_direction", "column_direction", "pixel_spacing_mm")


def read_npz(path: Path, limit: int) -> Volume:
    """Read a volume of `write_npz`.

    Parameters
    ----------
    path : Path
    limit : int, bytes
        Largest unpacked size of compressed arrays.

    Raises
    ------
    InputError
        CTM_UNPACKED_TOO_LARGE, CTM_ARRAYS_MISSING, CTM_ATTRIBUTE_INVALID, CTM_GEOMETRY_INVALID.
    OSError, EOFError, ValueError, zipfile.BadZipFile, zlib.error
        Damage, or not an npz file.
    """
    with zipfile.ZipFile(path) as members:
        if sum(member.file_size for member in members.infolist() if member.compress_type) > limit:
            raise too_large(path, limit)
    with path.open("rb") as stream:
        arrays = np.load(stream, allow_pickle=False)
        if not isinstance(arrays, np.lib.npyio.NpzFile):
            raise ValueError("one array")
        missing = [name for name in _REQUIRED if name not in arrays]
        if missing:
            raise InputError("CTM_ARRAYS_MISSING", file=path, missing=", ".join(missing))
        hu = np.ascontiguousarray(arrays["hu"], dtype=np.float32)
        padding = np.asarray(arrays["padding"], np.bool_) if "padding" in arrays else None
        row = np.asarray(arrays["row_direction"], np.float64)
        column = np.asarray(arrays["column_direction"], np.float64)
        positions = np.asarray(arrays["positions_mm"], np.float64)
        spacing = np.asarray(arrays["pixel_spacing_mm"], np.float64)
        thickness = np.asarray(arrays["thickness_mm"], np.float64) if "thickness_mm" in arrays else None
    valid_shapes = hu.ndim == 3 and hu.size and (positions.shape, spacing.shape) == ((len(hu), 3), (2,))
    valid_shapes = valid_shapes and row.shape == column.shape == (3,)
    valid_shapes = valid_shapes and (padding is None or padding.shape == hu.shape)
    valid_shapes = valid_shapes and (thickness is None or thickness.shape == ())
    if not valid_shapes:
        raise invalid_attribute(path, "the shapes of the arrays", "something else", "those that ctmahout writes")
    if not all(np.isfinite(a).all() for a in (hu, positions, row, column, spacing)):
        raise invalid_attribute(path, "the arrays", "values that are not finite", "numbers")
    deviation = abs(np.linalg.norm(row) - 1) + abs(np.linalg.norm(column) - 1) + abs(row @ column)
    ascending = bool((np.diff(positions @ np.cross(row, column)) > 0).all())
    if deviation > 3 * ANGLE_TOLERANCE or spacing.min() <= 0 or not ascending:
        expected = "unit vectors at a right angle, spacing above 0, slices that ascend along their normal"
        raise InputError(
            "CTM_GEOMETRY_INVALID", file=path, attribute="the geometry", given="something else", expected=expected
        )
    if thickness is not None and not 0 < thickness < np.inf:
        raise invalid_attribute(path, "thickness_mm", float(thickness), "a number above 0")
    check_hu(hu, padding, path)
    between_rows, between_columns = map(float, spacing)
    thickness_mm = None if thickness is None else float(thickness)
    geometry = Geometry(positions, row, column, (between_rows, between_columns), thickness_mm)
    return Volume(hu, geometry, padding, source=ArraySource(path.absolute()))


def write_npz(volume: Volume, path: Path, *, overwrite: bool) -> None:
    """Write a volume; with `overwrite` an earlier one is replaced.

    Raises
    ------
    OutputError
        CTM_OUTPUT_EXISTS, CTM_OUTPUT_UNWRITABLE.
    """
    with (
        atomic_file(path, overwrite=overwrite, is_replaceable=_is_volume) as partial,
        partial.open("wb") as stream,
    ):
        np.savez(stream, allow_pickle=False, **_arrays(volume))


def _is_volume(path: Path) -> bool:
    """Return whether a file has the arrays of `write_npz`."""
    try:
        with np.load(path, allow_pickle=False) as arrays:
            return set(_REQUIRED) <= set(arrays)
    except (OSError, EOFError, ValueError, AttributeError, zipfile.BadZipFile, zlib.error):
        return False


def _arrays(volume: Volume) -> dict[str, NDArray[Any]]:
    geometry = volume.geometry
    arrays: dict[str, NDArray[Any]] = {
        "hu": volume.hu,
        "positions_mm": geometry.positions_mm,
        "row_direction": geometry.row_direction,
        "column_direction": geometry.column_direction,
        "pixel_spacing_mm": np.array(geometry.pixel_spacing_mm),
    }
    if geometry.thickness_mm is not None:
        arrays["thickness_mm"] = np.array(geometry.thickness_mm)
    return arrays if volume.padding is None else arrays | {"padding": volume.padding}
