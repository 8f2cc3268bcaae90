"""Coarse grids over slices: block means of a volume, and linear interpolation between the centres of cells."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

__all__ = ["block_mean", "interpolate", "upsample"]


def block_mean(hu: NDArray[np.float32], side: int) -> NDArray[np.float32]:
    """Return the means over cells of `side` x `side` pixels.

    Parameters
    ----------
    hu : ndarray of shape (z, y, x)
        Repeated at its lower and right border to whole cells.
    side : int
        Pixels.

    Returns
    -------
    ndarray of shape (z, ceil(y / side), ceil(x / side)), float32
    """
    z, y, x = hu.shape
    if y % side or x % side:
        hu = np.pad(hu, ((0, 0), (0, -y % side), (0, -x % side)), mode="edge")
    blocks = hu.reshape(z, hu.shape[1] // side, side, hu.shape[2] // side, side)
    means: NDArray[np.float32] = blocks.mean(axis=(2, 4), dtype=np.float32)
    return means


def upsample(grid: NDArray[np.floating], side: int, rows: int, columns: int) -> NDArray[np.float32]:
    """Return a grid of shape (z, gy, gx) at all pixels: shape (z, rows, columns), float32.

    Bilinear between the centres of cells of `side` x `side` pixels, constant beyond the outermost centres.
    """
    down, across = _weights(rows, grid.shape[1], side), _weights(columns, grid.shape[2], side)
    fine: NDArray[np.float32] = down @ grid.astype(np.float32) @ across.T
    return fine


def interpolate(grid: NDArray[np.floating], points: NDArray[np.float64], side: int) -> NDArray[np.float64]:
    """Return a grid of shape (z, gy, gx) at points of shape (n, 3), in voxels (z, y, x): shape (n,), float64.

    Trilinear between the centres of cells of `side` x `side` pixels.
    """
    coordinates = [points[:, 0], *((points[:, axis] + 0.5) / side - 0.5 for axis in (1, 2))]
    values: NDArray[np.float64] = ndimage.map_coordinates(grid, coordinates, order=1, mode="nearest", output=np.float64)
    return values


def _weights(pixels: int, cells: int, side: int) -> NDArray[np.float32]:
    """Return the interpolation matrix from cells to pixels, of shape (pixels, cells)."""
    position = np.clip((np.arange(pixels) + 0.5) / side - 0.5, 0, cells - 1)
    cell = np.minimum(position.astype(int), max(cells - 2, 0))
    weights = np.zeros((pixels, cells), np.float32)
    weights[np.arange(pixels), cell] = 1 - (position - cell)
    weights[np.arange(pixels), np.minimum(cell + 1, cells - 1)] += position - cell
    return weights
