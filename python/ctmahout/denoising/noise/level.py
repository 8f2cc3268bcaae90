"""Local noise SD from differences between slices: a volume goes in, the SD in HU of boxes comes out.

Anatomy can only add to the difference of neighbouring slices, and adds much to few pixels of a box. So a low quantile
of its absolute value is close to that of the noise, and the ratio of a high quantile to it shows whether a box holds
noise alone.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numba
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from .tissue import Tissue, sampled_slices

__all__ = ["LocalSigma", "measure_local_sigma", "z_difference"]

# Two quantiles of |x|, and their values for a standard normal x.
_LOW, _LOW_OF_NORMAL = 0.3, 0.38532
_HIGH, _HIGH_OF_NORMAL = 0.7, 1.03643
_TAIL = 0.15  # excess of the logarithm of their ratio over that of Gaussian noise; at it a box has the weight 1 / e
_MEAN_PX = 5  # side of the moving mean that is subtracted, twice over: what remains is noise rather than anatomy
_MIN_PIXELS = 48  # of tissue in a box


@dataclass(frozen=True)
class LocalSigma:
    """Noise SD in boxes of slices.

    Attributes
    ----------
    points : ndarray of shape (n, 3), float64
        Centres of the boxes (z, y, x), in voxels.
    log_sigma : ndarray of shape (n,), float64
        Logarithm of the SD in HU of the fine part of the z-difference.
    weight : ndarray of shape (n,), float64
        1 for boxes of noise alone, falling to 0 with anatomy.
    """

    points: NDArray[np.float64]
    log_sigma: NDArray[np.float64]
    weight: NDArray[np.float64]


def z_difference(hu: NDArray[np.float32], z: int) -> NDArray[np.float32]:
    """Return slice z minus its neighbours, with the SD of one slice if noise is independent from slice to slice.

    Parameters
    ----------
    hu : ndarray of shape (z, y, x), float32, HU
        Two slices or more.

    Returns
    -------
    ndarray of shape (y, x), float32, HU
    """
    if 0 < z < len(hu) - 1:
        second: NDArray[np.float32] = (2 * hu[z] - hu[z - 1] - hu[z + 1]) / np.float32(math.sqrt(6))
        return second
    first: NDArray[np.float32] = (hu[z] - hu[1 if z == 0 else len(hu) - 2]) / np.float32(math.sqrt(2))
    return first


def measure_local_sigma(hu: NDArray[np.float32], tissue: Tissue, constant: NDArray[np.bool_], cell: int) -> LocalSigma:
    """Measure the noise SD in boxes of 3 x 3 cells that hold enough tissue.

    Parameters
    ----------
    hu : ndarray of shape (z, y, x), float32, HU
    tissue : Tissue
    constant : ndarray of shape (z, y, x), bool
        Voxels to exclude.
    cell : int
        Side of a cell, pixels.
    """
    side, step = 3 * cell, max(1, cell // 4)
    rows, columns = (-(-n // side) for n in hu.shape[1:])
    points, log_sigmas, weights = [np.empty((0, 3))], [np.empty(0)], [np.empty(0)]
    for z in sampled_slices(len(hu)):
        usable = tissue.pixel_mask(z, hu.shape)
        if not usable.any():
            continue
        usable = usable & ~constant[max(0, z - 1) : z + 2].any(axis=0)
        difference = z_difference(hu, z)
        smooth = ndimage.uniform_filter(ndimage.uniform_filter(difference, _MEAN_PX), _MEAN_PX)
        quantiles = np.zeros((rows, columns, 2), np.float32)
        min_pixels = min(_MIN_PIXELS, side * side // 2)
        _box_quantiles(difference - smooth, usable, side, step, _LOW, _HIGH, min_pixels, quantiles)
        y, x = np.nonzero(quantiles[..., 0] > 0)
        low, high = quantiles[y, x, 0] / _LOW_OF_NORMAL, quantiles[y, x, 1] / _HIGH_OF_NORMAL
        tail = np.maximum(np.log(high / low, dtype=np.float64), 0)
        # In a box of noise alone both quantiles estimate the SD; with anatomy only the low one does.
        log_sigma = np.where(tail < _TAIL, 0.5 * np.log(low * high, dtype=np.float64), np.log(low) + _TAIL / 2)
        points.append(np.stack([np.full(y.size, z), (y + 0.5) * side - 0.5, (x + 0.5) * side - 0.5], axis=1))
        log_sigmas.append(log_sigma)
        weights.append(np.exp(-((tail / _TAIL) ** 2)) + 1e-6)
    return LocalSigma(np.concatenate(points), np.concatenate(log_sigmas), np.concatenate(weights))


@numba.njit(cache=True, nogil=True)
def _box_quantiles(image, usable, side, step, low, high, min_pixels, out):  # type: ignore[no-untyped-def]
    """image, usable [y, x] -> out [box row, box column, 2]: two quantiles of |image|, 0 where too few are usable."""
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
            if count >= min_pixels:
                k = int(high * count)
                part = np.partition(buffer[:count], k)
                out[j, i, 1] = part[k]
                k = int(low * count)
                out[j, i, 0] = np.partition(part[: int(high * count) + 1], k)[k]
