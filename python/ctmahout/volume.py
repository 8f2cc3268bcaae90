"""A CT volume in Hounsfield units, with where it lies in the patient."""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .errors import ConfigError

__all__ = ["HU_LIMIT", "Geometry", "Volume"]

HU_LIMIT = 1e5
"""No CT value is this far from 0: metal at the end of an extended scale has some 30,000 HU."""


@dataclass(frozen=True, eq=False)
class Geometry:
    """Where the slices lie, in the patient coordinate system (DICOM PS3.3 C.7.6.2). Compared by identity.

    Attributes
    ----------
    positions_mm : ndarray of shape (z, 3), float64, mm
        ImagePositionPatient of each slice: the centre of its first pixel. Slices ascend along `normal`.
    row_direction, column_direction : ndarray of shape (3,), float64
        Unit vectors along which the column index and the row index grow (ImageOrientationPatient).
    pixel_spacing_mm : tuple of float, mm
        Distance between rows and between columns, in this order (PixelSpacing).
    thickness_mm : float or None, mm
        SliceThickness, if it is known: slices may be thicker than they are apart.
    """

    positions_mm: NDArray[np.float64]
    row_direction: NDArray[np.float64]
    column_direction: NDArray[np.float64]
    pixel_spacing_mm: tuple[float, float]
    thickness_mm: float | None = None

    @property
    def normal(self) -> NDArray[np.float64]:
        """Unit normal of the slices, ndarray of shape (3,)."""
        return np.cross(self.row_direction, self.column_direction)

    @property
    def slice_positions_mm(self) -> NDArray[np.float64]:
        """Positions along the normal, ndarray of shape (z,), ascending, mm."""
        return self.positions_mm @ self.normal

    @property
    def spacing_mm(self) -> float:
        """Median step between neighbouring slices along the normal, mm; 0 for a single slice."""
        steps = np.diff(self.slice_positions_mm)
        return float(np.median(steps)) if steps.size else 0.0

    @property
    def voxel_mm(self) -> tuple[float, float, float]:
        """Distance of slices, rows and columns, mm."""
        return self.spacing_mm, *self.pixel_spacing_mm

    def distance_mm(self, other: Geometry) -> float:
        """Return the largest distance between slices of the same number, mm; ValueError if there are more of one."""
        return float(np.linalg.norm(self.positions_mm - other.positions_mm, axis=1).max())

    @property
    def overlap(self) -> float:
        """Share of a slice that its neighbour covers, too: 0 if they only touch or if their thickness is not known."""
        return max(0.0, 1 - self.spacing_mm / self.thickness_mm) if self.thickness_mm else 0.0


@dataclass(frozen=True, eq=False)
class Volume:
    """A CT volume. Compared by identity; `fingerprint` tells whether two hold the same values.

    Attributes
    ----------
    hu : ndarray of shape (z, y, x), float32, HU
        Slices ascend along ``geometry.normal``; y is the row index of a slice, x its column index. Contiguous in C's
        order: an array that is not is copied.
    geometry : Geometry
    padding : ndarray of shape (z, y, x), bool, or None
        True where the source has no measurement (DICOM PS3.3 C.7.5.1.1.2, PixelPaddingValue). None: nowhere.
    source : object or None
        What `ctmahout.dicom` needs to write a series derived from this one; opaque to everything else.
    warnings : tuple of str
        What was let pass while reading. No patient data.
    """

    hu: NDArray[np.float32]
    geometry: Geometry
    padding: NDArray[np.bool_] | None = None
    source: Any = None
    warnings: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not isinstance(self.hu, np.ndarray) or self.hu.ndim != 3 or self.hu.dtype != np.float32:
            raise TypeError(f"hu must be a float32 array of shape (z, y, x), not {_shown(self.hu)}")
        if self.padding is not None and (self.padding.shape != self.hu.shape or self.padding.dtype != np.bool_):
            raise TypeError("padding must be a bool array of the shape of hu")
        if len(self.geometry.positions_mm) != len(self.hu):
            raise ValueError(f"{len(self.hu)} slices but {len(self.geometry.positions_mm)} positions")
        # Views are written into through reshaped views of them; of anything else `reshape` would be a copy.
        object.__setattr__(self, "hu", np.ascontiguousarray(self.hu))
        if self.padding is not None:
            object.__setattr__(self, "padding", np.ascontiguousarray(self.padding))

    @classmethod
    def of_array(cls, values: NDArray[Any], spacing_mm: tuple[float, float, float]) -> Volume:
        """Return a volume of an array that knows nothing of a patient.

        Parameters
        ----------
        values : ndarray of shape (z, y, x), HU
            Any real dtype; copied to float32 where it is another.
        spacing_mm : tuple of float, mm
            Distances between slices, rows and columns. Slices are taken to be as thick as they are apart.

        Raises
        ------
        TypeError
            It has not three dimensions, or holds no real numbers.
        ConfigError
            CTM_CONFIG_VALUE: values that are not finite or beyond `HU_LIMIT`; a spacing that is not above 0.
        """
        values = np.asarray(values)
        if values.ndim != 3 or values.dtype.kind not in "iuf":
            raise TypeError(f"values must be a real array of shape (z, y, x), not {_shown(values)}")
        if not (len(spacing_mm) == 3 and all(math.isfinite(s) and s > 0 for s in spacing_mm)):
            raise _refused("spacing_mm", spacing_mm, "three distances above 0")
        if values.size and not np.abs(values).max() <= HU_LIMIT:  # NaN compares false, too
            raise _refused("values", "not finite or too large", f"HU, at most {HU_LIMIT:g}")
        step, rows, columns = map(float, spacing_mm)
        positions = np.zeros((len(values), 3))
        positions[:, 2] = step * np.arange(len(values))
        geometry = Geometry(positions, np.array([1.0, 0, 0]), np.array([0, 1.0, 0]), (rows, columns), step)
        return cls(np.ascontiguousarray(values, np.float32), geometry)

    def __repr__(self) -> str:
        z, y, x = self.shape
        rows, columns = self.geometry.pixel_spacing_mm
        size = f"{z} x {y} x {x} voxels of {self.geometry.spacing_mm:.3g} x {rows:.3g} x {columns:.3g} mm"
        return f"<Volume: {size}{', with padding' if self.padding is not None else ''}>"

    @property
    def shape(self) -> tuple[int, int, int]:
        """Number of slices, rows and columns."""
        z, y, x = self.hu.shape
        return z, y, x

    def with_hu(self, hu: NDArray[np.float32]) -> Volume:
        """Return this volume with other values; padding, geometry and source stay."""
        return replace(self, hu=np.ascontiguousarray(hu, dtype=np.float32))

    def fingerprint(self) -> str:
        """Return the SHA-256 of values, padding and geometry: what tells whether two volumes are the same one."""
        digest = hashlib.sha256(repr(self.hu.shape).encode())
        digest.update(np.ascontiguousarray(self.hu).data)
        if self.padding is not None:
            digest.update(np.packbits(self.padding).data)
        for part in (self.geometry.positions_mm, self.geometry.row_direction, self.geometry.column_direction):
            digest.update(np.ascontiguousarray(part, dtype=np.float64).data)
        digest.update(repr(self.geometry.pixel_spacing_mm).encode())
        return digest.hexdigest()


def _refused(key: str, value: object, expected: str) -> ConfigError:
    return ConfigError("CTM_CONFIG_VALUE", source="the array", key=key, value=value, expected=expected)


def _shown(value: object) -> str:
    return f"{value.dtype} {value.shape}" if isinstance(value, np.ndarray) else type(value).__name__
