"""Coarse grids over slices: block means down, linear interpolation up."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

__all__ = ["at_places", "block_mean", "upsample"]


def block_mean(hu: NDArray[np.float32], side: int) -> NDArray[np.float32]:
    """Return means over `side` x `side` pixels, of shape (z, ceil(y / side), ceil(x / side)); borders are repeated."""
    z, y, x = hu.shape
    if y % side or x % side:
        hu = np.pad(hu, ((0, 0), (0, -y % side), (0, -x % side)), mode="edge")
    blocks = hu.reshape(z, hu.shape[1] // side, side, hu.shape[2] // side, side)
    means: NDArray[np.float32] = blocks.mean(axis=(2, 4), dtype=np.float32)
    return means


def upsample(coarse: NDArray[np.floating], side: int, rows: int, columns: int) -> NDArray[np.float32]:
    """Return a grid of shape (z, gy, gx) at all pixels, (z, rows, columns): linear between the cells' centres."""
    down, across = _weights(rows, coarse.shape[1], side), _weights(columns, coarse.shape[2], side)
    fine: NDArray[np.float32] = down @ coarse.astype(np.float32) @ across.T
    return fine


def _weights(pixels: int, cells: int, side: int) -> NDArray[np.float32]:
    place = np.clip((np.arange(pixels) + 0.5) / side - 0.5, 0, cells - 1)
    cell = np.minimum(place.astype(int), max(cells - 2, 0))
    weights = np.zeros((pixels, cells), np.float32)
    weights[np.arange(pixels), cell] = 1 - (place - cell)
    weights[np.arange(pixels), np.minimum(cell + 1, cells - 1)] += place - cell
    return weights


def at_places(coarse: NDArray[np.floating], places: NDArray[np.float64], side: int) -> NDArray[np.float64]:
    """Return a grid of shape (z, gy, gx) at places of shape (n, 3), z, y, x in voxels: linear between middles."""
    at = [places[:, 0], *((places[:, axis] + 0.5) / side - 0.5 for axis in (1, 2))]
    found: NDArray[np.float64] = ndimage.map_coordinates(coarse, at, order=1, mode="nearest", output=np.float64)
    return found
