"""Flat windows: from a volume and a rough noise map, the positions of square windows with the least anatomy.

How flat a window is, is judged in other slices than its own, whose noise is independent of the noise to be measured.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numba
import numpy as np
from numpy.typing import NDArray

from .grid import interpolate
from .tissue import Tissue, sampled_slices

__all__ = ["SMALLEST_PX", "FlatWindows", "flat_windows"]

_MAX_SLICES = 32  # searched
_SIDE_MM, _SIDES_PX = 16.0, (12, 16)  # side of a window; pixels, smallest and largest, multiples of 4
SMALLEST_PX = 8  # side if there are not enough larger windows
_ENOUGH, _MIN_WINDOWS = 60, 8  # larger windows, and windows to search among
_BLOCKS = 4  # unevenness is the variance of means over so many blocks along a side
_FLATTEST_FRACTION, _MIN_SELECTED, _MAX_SELECTED = 0.1, 24, 1000
_MAX_DISTANCE = 3  # slices from a window to those in which it is judged
# Windows up to this factor less flat than the last one selected are selected as well: their unevenness is noise.
_TOLERANCE = 1.5


@dataclass(frozen=True)
class FlatWindows:
    """Square windows in slices, the flattest first.

    Attributes
    ----------
    corners : ndarray of shape (n, 3), int
        Slice, first row, first column.
    side : int
        Pixels.
    sigma : ndarray of shape (n,), float64
        Noise SD of the map at the centre, in units of the map.
    """

    corners: NDArray[np.intp]
    side: int
    sigma: NDArray[np.float64]

    @property
    def centres(self) -> NDArray[np.float64]:
        """Centres (z, y, x) of shape (n, 3), in voxels."""
        half = (self.side - 1) / 2
        centres: NDArray[np.float64] = self.corners + np.array([0.0, half, half])
        return centres


def flat_windows(
    hu: NDArray[np.float32],
    tissue: Tissue,
    constant: NDArray[np.bool_],
    log_sigma: NDArray[np.float64],
    cell: int,
    pixel_mm: tuple[float, float],
    overlap: float = 0.0,
    *,
    prefer: Literal["flat", "wide", "small"] = "flat",
) -> FlatWindows | None:
    """Return the windows that are flattest, relative to the noise there, in the slices before and after their own.

    Overlapping slices share noise, so windows are then judged in the nearest slices that do not overlap theirs.

    Parameters
    ----------
    hu : ndarray of shape (z, y, x), float32, HU
    tissue : Tissue
    constant : ndarray of shape (z, y, x), bool
        Voxels to exclude.
    log_sigma : ndarray of shape (z, gy, gx), float64
        Logarithm of the noise SD up to a constant, on a grid of `cell` x `cell` pixels.
    cell : int
        Pixels.
    pixel_mm : tuple of float, mm
        Row and column spacing.
    overlap : float
        Fraction of a slice that its neighbour covers.
    prefer : {"flat", "wide", "small"}
        Windows of about 16 mm, where anatomy is flat; the widest, which hold long correlations; the smallest, which
        hold the least anatomy.

    Returns
    -------
    FlatWindows or None
        None if there are fewer than 8 windows of 8 x 8 pixels.
    """
    distance = max(1, min(math.ceil(1 / max(1 - overlap, 0.1) - 1e-6), _MAX_DISTANCE, (len(hu) - 1) // 2))
    preferred = int(np.clip(_BLOCKS * round(_SIDE_MM / max(pixel_mm) / _BLOCKS), *_SIDES_PX))
    wide = prefer == "wide"
    for side in {"flat": (preferred, SMALLEST_PX), "wide": _SIDES_PX[::-1], "small": (SMALLEST_PX,)}[prefer]:
        if side > min(hu.shape[1:]):
            continue
        corners, unevenness = _search(hu, tissue, constant, side, distance)
        if len(corners) < _MIN_WINDOWS:
            continue
        centres = corners + np.array([0.0, (side - 1) / 2, (side - 1) / 2])
        sigma = np.exp(interpolate(log_sigma, centres, cell))
        unevenness /= sigma**2
        order = np.argsort(unevenness, kind="stable")
        selected = order[: max(_MIN_SELECTED, round(_FLATTEST_FRACTION * len(corners)))]
        limit = _TOLERANCE * unevenness[selected[-1]]
        selected = order[: np.searchsorted(unevenness[order], limit, side="right")]
        if side > SMALLEST_PX and len(selected) < (_MIN_SELECTED if wide else _ENOUGH):
            continue
        selected = selected[:: -(-len(selected) // _MAX_SELECTED)]
        return FlatWindows(corners[selected], side, sigma[selected])
    return None


def _search(
    hu: NDArray[np.float32], tissue: Tissue, constant: NDArray[np.bool_], side: int, distance: int
) -> tuple[NDArray[np.intp], NDArray[np.float64]]:
    """Return the corners of all windows in the tissue, half overlapping, and their unevenness, HU^2.

    Unevenness is the variance of block means less their plane, in the mean of the slices `distance` before and after.
    """
    ny, nx = hu.shape[1:]
    block = side // _BLOCKS
    corners, unevenness = [np.empty((0, 3), np.intp)], [np.empty(0)]
    slices = sampled_slices(len(hu))
    for z in slices[:: -(-len(slices) // _MAX_SLICES)]:
        neighbours = [k for k in (z - distance, z + distance) if 0 <= k < len(hu)]
        usable = tissue.pixel_mask(z, hu.shape) & ~constant[max(0, z - 3) : z + 4].any(axis=0)
        if not usable.any():
            continue
        y, x = np.meshgrid(*(np.arange(0, n - side + 1, side // 2) for n in (ny, nx)), indexing="ij")
        sums = np.pad(np.cumsum(np.cumsum(usable, axis=0, dtype=np.int64), axis=1), ((1, 0), (1, 0)))
        inside = sums[y + side, x + side] - sums[y, x + side] - sums[y + side, x] + sums[y, x] == side * side
        y, x = y[inside], x[inside]
        mean = hu[neighbours].mean(axis=0, dtype=np.float32)
        mean = mean[: ny // block * block, : nx // block * block]
        mean = mean.reshape(ny // block, block, nx // block, block).mean(axis=(1, 3))
        variance = np.empty(y.size)
        _plane_variance(mean, y // block, x // block, _BLOCKS, variance)
        corners.append(np.stack([np.full(y.size, z, np.intp), y, x], axis=1))
        unevenness.append(variance)
    return np.concatenate(corners), np.concatenate(unevenness)


@numba.njit(cache=True, nogil=True)
def _plane_variance(image, rows, columns, side, out):  # type: ignore[no-untyped-def]
    """Variance of windows of `image` [y, x] less their least-squares planes, which take three degrees of freedom."""
    ramp = np.arange(side) - (side - 1) / 2
    square = side * (ramp * ramp).sum()
    for q in range(rows.size):
        origin = float(image[rows[q], columns[q]])
        total, squares, down, across = 0.0, 0.0, 0.0, 0.0
        for j in range(side):
            for i in range(side):
                value = image[rows[q] + j, columns[q] + i] - origin
                total += value
                squares += value * value
                down += value * ramp[j]
                across += value * ramp[i]
        residual = squares - total * total / (side * side) - (down * down + across * across) / square
        out[q] = max(0.0, residual / (side * side - 3))
