"""The level of the noise: what differs between neighbouring slices, in quiet places, fitted to a shape from physics.

Anatomy can only add to that difference, so a low quantile over a small window is taken, and the fit gives little weight
to places that lie above it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numba
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from .grid import block_mean

__all__ = ["Tissue", "fit_level", "level_at_points", "sampled_slices", "z_difference"]

Shape = tuple[int, int, int]

# The quantile of |x| that is taken for the level, and its value for a unit normal x.
_QUANTILE, _QUANTILE_OF_NORMAL = 0.3, 0.38532
_BAND = 0.7  # pixels: what a Gaussian of this SD leaves is anatomy's more than the noise's
_SLICES = 96  # at most so many slices are looked at
_POINTS, _LEAST_POINTS = 40_000, 200  # in all, and in a slice
_SOFT_HU, _BODY_HU = (-60.0, 200.0), -400.0


@dataclass(frozen=True)
class Tissue:
    """Where noise can be measured: a mask on a grid of `side` x `side` pixels.

    Attributes
    ----------
    mask : ndarray of shape (z, ceil(y / side), ceil(x / side)), bool
    side : int
    name : str
        "soft tissue"; where a volume has none, "body"; and where it has none of that, "image".
    """

    mask: NDArray[np.bool_]
    side: int
    name: str

    @classmethod
    def of(cls, hu: NDArray[np.float32], side: int) -> Tissue:
        """Find soft tissue, less its border of one cell; see `name` for what stands in for it."""
        means = block_mean(hu, side)
        inner = np.ones((1, 3, 3))
        low, high = _SOFT_HU
        for name, mask in (("soft tissue", (means > low) & (means < high)), ("body", means > _BODY_HU)):
            eroded = ndimage.binary_erosion(mask, inner)
            if eroded.mean() > 1e-3:
                return cls(eroded, side, name)
        return cls(np.ones(means.shape, np.bool_), side, "image")

    def pixels(self, shape: Shape) -> NDArray[np.bool_]:
        """Return the mask of a volume of this shape."""
        fine = self.mask.repeat(self.side, axis=1).repeat(self.side, axis=2)
        return fine[:, : shape[1], : shape[2]]


def sampled_slices(count: int) -> NDArray[np.int64]:
    """Return the slices to measure in: inner ones, for they have two neighbours."""
    ends = min(1, max(count - 2, 0)), max(count - 2, min(1, count - 1))
    return np.unique(np.linspace(*ends, min(count, _SLICES)).round().astype(np.int64))


def z_difference(hu: NDArray[np.float32], z: int) -> NDArray[np.float32]:
    """Return slice z less its neighbours, of the SD of one slice if noise is independent from slice to slice."""
    if 0 < z < len(hu) - 1:
        second: NDArray[np.float32] = (2 * hu[z] - hu[z - 1] - hu[z + 1]) / np.float32(math.sqrt(6))
        return second
    first: NDArray[np.float32] = (hu[z] - hu[1 if z == 0 else len(hu) - 2]) / np.float32(math.sqrt(2))
    return first


def band(image: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the fine part of an image, where noise is strongest beside anatomy."""
    fine: NDArray[np.float32] = image - ndimage.gaussian_filter(image, _BAND)
    return fine


def level_at_points(
    hu: NDArray[np.float32], tissue: Tissue, cell: int, rng: np.random.Generator
) -> tuple[NDArray[np.float64], NDArray[np.float32]]:
    """Measure the level of the band-passed z-difference around points of a tissue.

    Returns
    -------
    points : ndarray of shape (n, 3), float64
        z, y, x in voxels.
    level : ndarray of shape (n,), float32, HU
        0 where a window is constant.
    """
    ny, nx = hu.shape[1:]
    slices = sampled_slices(len(hu))
    points, levels = [np.empty((0, 3))], [np.empty(0, np.float32)]
    for z in slices:
        rows, columns = np.nonzero(tissue.mask[z])
        if rows.size == 0:
            continue
        fine = band(z_difference(hu, z))
        chosen = rng.choice(rows.size, min(rows.size, max(_LEAST_POINTS, _POINTS // slices.size)), replace=False)
        y, x = (
            np.minimum(at[chosen] * tissue.side + tissue.side // 2, last - 1)
            for at, last in ((rows, ny), (columns, nx))
        )
        level = np.empty(y.size, np.float32)
        _window_quantile(fine, y, x, 3 * cell, max(1, cell // 4), _QUANTILE, level)
        levels.append(level / np.float32(_QUANTILE_OF_NORMAL))
        points.append(np.stack([np.full(y.size, z), y, x], axis=1))
    return np.concatenate(points), np.concatenate(levels)


def fit_level(
    log_shape: NDArray[np.float64], cell: int, shape: Shape, points: NDArray[np.float64], level: NDArray[np.float32]
) -> NDArray[np.float64]:
    """Return log_shape plus the smooth polynomial that brings it to the measured level.

    Parameters
    ----------
    log_shape : ndarray of shape (z, gy, gx)
        Logarithm of the SD, but for a factor, on a grid of `cell` x `cell` pixels.
    cell : int
    shape : tuple of int
        Of the volume.
    points, level
        As from `level_at_points`; levels above 0.
    """
    at = [points[:, 0], (points[:, 1] + 0.5) / cell - 0.5, (points[:, 2] + 0.5) / cell - 0.5]
    residual = np.log(level) - ndimage.map_coordinates(log_shape, at, order=1, mode="nearest")
    A = _polynomial(points, shape)
    weight = np.ones(residual.size)
    ridge = 1e-3 * residual.size * np.diag([0.0] + [1.0] * (A.shape[1] - 1))
    for _ in range(30):  # iteratively reweighted: a quantile's fit below, a robust one above
        coefficients = np.linalg.solve(A.T @ (A * weight[:, None]) + ridge, A.T @ (weight * residual))
        above = residual - A @ coefficients
        weight = np.where(above > 0, 0.35 * np.exp(-(above**2) / (2 * 0.15**2)), 0.65)
    axes = [np.arange(log_shape.shape[0], dtype=float)]
    axes += [(np.arange(n) + 0.5) * cell - 0.5 for n in log_shape.shape[1:]]
    grid = np.stack([g.ravel() for g in np.meshgrid(*axes, indexing="ij")], axis=1)
    # Outside the range of the points a polynomial says nothing: there it keeps its value at the border.
    grid = np.clip(grid, points.min(axis=0), points.max(axis=0))
    fitted: NDArray[np.float64] = log_shape + (_polynomial(grid, shape) @ coefficients).reshape(log_shape.shape)
    return fitted


def _polynomial(points: NDArray[np.float64], shape: Shape) -> NDArray[np.float64]:
    z, y, x = (2 * points[:, i] / max(shape[i] - 1, 1) - 1 for i in range(3))
    terms = [np.ones_like(x), x, y, z, x**2, y**2, z**2, x**4, y**4, x**2 * y**2, z**3, z**4]
    return np.stack(terms, axis=-1)


@numba.njit(cache=True, nogil=True)
def _window_quantile(image, rows, columns, reach, step, share, out):  # type: ignore[no-untyped-def]
    for n in range(rows.size):
        y, x = rows[n], columns[n]
        window = np.abs(image[max(0, y - reach) : y + reach + 1 : step, max(0, x - reach) : x + reach + 1 : step])
        k = int(share * window.size)
        out[n] = np.partition(window.ravel(), k)[k]
