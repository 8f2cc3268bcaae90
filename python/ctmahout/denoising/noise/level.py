"""The level of the noise box by box: two quantiles of what differs between neighbouring slices.

Anatomy can only add to that difference, and adds much to few pixels of a box: the low quantile is nearer the noise's,
and the ratio of the two shows whether a box holds noise alone.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numba
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from .tissue import Tissue, sampled_slices

__all__ = ["SigmaGrid", "measure_levels", "z_difference"]

# Quantiles of |x|, and their values for a unit normal x.
_LOW, _LOW_OF_NORMAL = 0.3, 0.38532
_HIGH, _HIGH_OF_NORMAL = 0.7, 1.03643
_TAIL = 0.15  # logarithm of their ratio over that of noise at which a box counts for 1 / e
_BOX = 5  # pixels: what two means over so many leave is noise's more than anatomy's
_FEWEST = 48  # pixels of tissue in a box


@dataclass(frozen=True)
class SigmaGrid:
    """What boxes of slices told.

    Attributes
    ----------
    places : ndarray of shape (n, 3), float64
        The middles of the boxes: z, y, x in voxels.
    log_sd : ndarray of shape (n,), float64
        Logarithm of the SD in HU of the fine part of the z-difference.
    weight : ndarray of shape (n,), float64
        1 for noise alone, towards 0 for anatomy.
    """

    places: NDArray[np.float64]
    log_sd: NDArray[np.float64]
    weight: NDArray[np.float64]


def z_difference(hu: NDArray[np.float32], z: int) -> NDArray[np.float32]:
    """Return slice z less its neighbours, of the SD of one slice if noise is independent from slice to slice."""
    if 0 < z < len(hu) - 1:
        second: NDArray[np.float32] = (2 * hu[z] - hu[z - 1] - hu[z + 1]) / np.float32(math.sqrt(6))
        return second
    first: NDArray[np.float32] = (hu[z] - hu[1 if z == 0 else len(hu) - 2]) / np.float32(math.sqrt(2))
    return first


def measure_levels(hu: NDArray[np.float32], tissue: Tissue, constant: NDArray[np.bool_], cell: int) -> SigmaGrid:
    """Measure the level in boxes of three cells, where they hold enough of the tissue.

    Parameters
    ----------
    hu : ndarray of shape (z, y, x), float32, HU
    tissue : Tissue
    constant : ndarray of shape (z, y, x), bool
        Where not to measure.
    cell : int
        Pixels.
    """
    side, step = 3 * cell, max(1, cell // 4)
    rows, columns = (-(-n // side) for n in hu.shape[1:])
    places, levels, weights = [np.empty((0, 3))], [np.empty(0)], [np.empty(0)]
    for z in sampled_slices(len(hu)):
        usable = tissue.pixels(z, hu.shape)
        if not usable.any():
            continue
        usable = usable & ~constant[max(0, z - 1) : z + 2].any(axis=0)
        difference = z_difference(hu, z)
        smooth = ndimage.uniform_filter(ndimage.uniform_filter(difference, _BOX), _BOX)
        found = np.zeros((rows, columns, 2), np.float32)
        _box_quantiles(difference - smooth, usable, side, step, _LOW, _HIGH, min(_FEWEST, side * side // 2), found)
        y, x = np.nonzero(found[..., 0] > 0)
        low, high = found[y, x, 0] / _LOW_OF_NORMAL, found[y, x, 1] / _HIGH_OF_NORMAL
        tail = np.maximum(np.log(high / low, dtype=np.float64), 0)
        # Of noise alone both tell the level.
        log_sd = np.where(tail < _TAIL, 0.5 * np.log(low * high, dtype=np.float64), np.log(low) + _TAIL / 2)
        places.append(np.stack([np.full(y.size, z), (y + 0.5) * side - 0.5, (x + 0.5) * side - 0.5], axis=1))
        levels.append(log_sd)
        weights.append(np.exp(-((tail / _TAIL) ** 2)) + 1e-6)
    return SigmaGrid(np.concatenate(places), np.concatenate(levels), np.concatenate(weights))


@numba.njit(cache=True, nogil=True)
def _box_quantiles(image, usable, side, step, low, high, fewest, out):  # type: ignore[no-untyped-def]
    rows, columns = image.shape
    buffer = np.empty(side * side, np.float32)
    for j in range(out.shape[0]):
        for i in range(out.shape[1]):
            count = 0
            for y in range(j * side, min(rows, (j + 1) * side)):
                for x in range(i * side + y % step, min(columns, (i + 1) * side), step):
                    if usable[y, x]:
                        buffer[count] = abs(image[y, x])
                        count += 1
            if count >= fewest:
                k = int(high * count)
                part = np.partition(buffer[:count], k)
                out[j, i, 1] = part[k]
                k = int(low * count)
                out[j, i, 0] = np.partition(part[: int(high * count) + 1], k)[k]
