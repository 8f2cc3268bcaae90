"""CT volumes: values in HU, and the geometry of the slices in the patient."""

from __future__ import annotations

import base64
import hashlib
import html
import io
import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .errors import ConfigError

__all__ = ["HU_LIMIT", "Geometry", "Volume"]

HU_LIMIT = 1e5
"""Bound of plausible CT values, HU: metal at the end of an extended scale has some 30,000 HU."""


@dataclass(frozen=True, eq=False)
class Geometry:
    """Positions and orientation of the slices in the patient coordinate system (DICOM PS3.3 C.7.6.2).

    Compared by identity.

    Attributes
    ----------
    positions_mm : ndarray of shape (z, 3), float64, mm
        ImagePositionPatient of each slice: the centre of its first pixel. Slices ascend along `normal`.
    row_direction, column_direction : ndarray of shape (3,), float64
        Unit vectors of increasing column index and increasing row index (ImageOrientationPatient).
    pixel_spacing_mm : tuple of float, mm
        Distance between rows and between columns, in this order (PixelSpacing).
    thickness_mm : float or None, mm
        SliceThickness, None if unknown. Slices thicker than their spacing overlap.
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
        """Positions along the normal, ndarray of shape (z,), float64, ascending, mm."""
        return self.positions_mm @ self.normal

    @property
    def spacing_mm(self) -> float:
        """Median distance of neighbouring slices along the normal, mm; 0 for a single slice."""
        steps = np.diff(self.slice_positions_mm)
        return float(np.median(steps)) if steps.size else 0.0

    @property
    def overlap(self) -> float:
        """Fraction of a slice covered by its neighbour; 0 if slices do not overlap or thickness is unknown."""
        return max(0.0, 1 - self.spacing_mm / self.thickness_mm) if self.thickness_mm else 0.0


@dataclass(frozen=True, eq=False)
class Volume:
    """A CT volume. Compared by identity; use `fingerprint` to compare content.

    Attributes
    ----------
    hu : ndarray of shape (z, y, x), float32, HU
        Slices ascend along ``geometry.normal``; y is the row index, x the column index. C-contiguous: other arrays are
        copied.
    geometry : Geometry
    padding : ndarray of shape (z, y, x), bool, or None
        True where nothing was measured (DICOM PS3.3 C.7.5.1.1.2, PixelPaddingValue). None: nowhere.
    source : object or None
        What the volume was read from, for writing a derived one; its content is private to `ctmahout.dicom` and
        `ctmahout.files`.
    warnings : tuple of str
        Problems tolerated while reading. No patient data.

    Raises
    ------
    TypeError
        `hu` or `padding` has another dtype or shape.
    ValueError
        The number of positions differs from that of slices.
    """

    hu: NDArray[np.float32]
    geometry: Geometry
    padding: NDArray[np.bool_] | None = None
    source: Any = None
    warnings: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not isinstance(self.hu, np.ndarray) or self.hu.ndim != 3 or self.hu.dtype != np.float32:
            raise TypeError(f"hu must be a float32 array of shape (z, y, x), not {_describe(self.hu)}")
        if self.padding is not None and (self.padding.shape != self.hu.shape or self.padding.dtype != np.bool_):
            raise TypeError("padding must be a bool array of the shape of hu")
        if len(self.geometry.positions_mm) != len(self.hu):
            raise ValueError(f"{len(self.hu)} slices but {len(self.geometry.positions_mm)} positions")
        # Contiguous, so that `reshape` returns a view and writing to it changes the volume.
        object.__setattr__(self, "hu", np.ascontiguousarray(self.hu))
        if self.padding is not None:
            object.__setattr__(self, "padding", np.ascontiguousarray(self.padding))

    @classmethod
    def of_array(cls, values: NDArray[Any], spacing_mm: tuple[float, float, float]) -> Volume:
        """Return a volume from an array without a position in a patient: its first voxel is at (0, 0, 0).

        Parameters
        ----------
        values : ndarray of shape (z, y, x), HU
            Any real dtype; copied unless it is C-contiguous float32.
        spacing_mm : tuple of float, mm
            Distances between slices, rows and columns. The slice thickness is the distance between slices.

        Raises
        ------
        TypeError
            Not three dimensions, or not real numbers.
        ConfigError
            CTM_CONFIG_VALUE: values not finite or beyond `HU_LIMIT`; a spacing not above 0.

        Examples
        --------
        >>> import numpy as np
        >>> Volume.of_array(np.zeros((3, 4, 5)), (2.5, 0.7, 0.7))
        <Volume: 3 x 4 x 5 voxels of 2.5 x 0.7 x 0.7 mm>
        """
        values = np.asarray(values)
        if values.ndim != 3 or values.dtype.kind not in "iuf":
            raise TypeError(f"values must be a real array of shape (z, y, x), not {_describe(values)}")
        if not (len(spacing_mm) == 3 and all(math.isfinite(s) and s > 0 for s in spacing_mm)):
            raise _invalid("spacing_mm", spacing_mm, "three distances above 0")
        if values.size and not np.abs(values).max() <= HU_LIMIT:  # also true for NaN
            raise _invalid("values", "not finite or too large", f"HU, at most {HU_LIMIT:g}")
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

    def _repr_html_(self) -> str:
        """Return the middle slice in a window of soft tissue, with `repr`: what a notebook shows."""
        from matplotlib.image import imsave

        buffer = io.BytesIO()
        imsave(buffer, self.hu[len(self.hu) // 2], vmin=-160, vmax=240, cmap="gray", format="png")
        picture = base64.b64encode(buffer.getvalue()).decode()
        caption = html.escape(repr(self))
        return f'<figure><img src="data:image/png;base64,{picture}" alt=""><figcaption>{caption}</figcaption></figure>'

    @property
    def shape(self) -> tuple[int, int, int]:
        """Number of slices, rows and columns."""
        z, y, x = self.hu.shape
        return z, y, x

    def with_hu(self, hu: NDArray[np.float32]) -> Volume:
        """Return this volume with other values (any numeric dtype, shape (z, y, x), HU); all else is kept."""
        return replace(self, hu=np.ascontiguousarray(hu, dtype=np.float32))

    def fingerprint(self) -> str:
        """Return the SHA-256 of values, padding and geometry as hexadecimal digits."""
        digest = hashlib.sha256(repr(self.hu.shape).encode())
        digest.update(np.ascontiguousarray(self.hu).data)
        if self.padding is not None:
            digest.update(np.packbits(self.padding).data)
        for array in (self.geometry.positions_mm, self.geometry.row_direction, self.geometry.column_direction):
            digest.update(np.ascontiguousarray(array, dtype=np.float64).data)
        digest.update(repr(self.geometry.pixel_spacing_mm).encode())
        return digest.hexdigest()


def _invalid(key: str, value: object, expected: str) -> ConfigError:
    return ConfigError("CTM_CONFIG_VALUE", source="the array", key=key, value=value, expected=expected)


def _describe(value: object) -> str:
    return f"{value.dtype} {value.shape}" if isinstance(value, np.ndarray) else type(value).__name__
