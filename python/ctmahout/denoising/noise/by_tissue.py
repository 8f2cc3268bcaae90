"""Noise SD of a tissue, in HU: one number for a volume, for the method ``slices`` and for its shrinkage.

The second difference along z holds noise and anatomy (difference-based variance estimation: Gasser, Sroka and
Jennen-Steinmetz 1986, Biometrika 73, 625). Anatomy can only add to its variance, so a low quantile over small regions
estimates the noise.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from ...quality import NOISY_SMOOTHING_PX, tissues

__all__ = ["matrix_noise_sd", "noise_sd", "noise_sd_by_tissue"]

_REGION_PX = 16  # side of the square regions
_MIN_FILLED = 0.6  # fraction of a region that must lie in the mask
# The quietest third of the regions has the least anatomy; the median would count vessels as noise.
_QUANTILE = 0.3


def noise_sd_by_tissue(hu: NDArray[np.float32], masks: Mapping[str, NDArray[np.bool_]]) -> dict[str, float | None]:
    """Return the noise SD in each tissue.

    Parameters
    ----------
    hu : ndarray of shape (z, y, x), float32, HU
    masks : mapping of str to ndarray of shape (z, y, x), bool

    Returns
    -------
    dict of str to float or None, HU
        None if no region is filled with that tissue.
    """
    noise = _second_difference(hu)
    return {name: _quantile_sd(noise, _difference_mask(mask, noise.shape[0])) for name, mask in masks.items()}


def noise_sd(hu: NDArray[np.float32], padding: NDArray[np.bool_] | None = None) -> float:
    """Return the noise SD in HU in the soft tissue of a volume, or in the body if there is no soft tissue.

    Parameters
    ----------
    hu : ndarray of shape (z, y, x), float32, HU
    padding : ndarray of shape (z, y, x), bool, optional
        Voxels to exclude.

    Returns
    -------
    float, HU
        0 if the volume has neither.
    """
    masks = tissues(hu, smoothing=NOISY_SMOOTHING_PX)
    if padding is not None:
        masks = {name: mask & ~padding for name, mask in masks.items()}
    sd = noise_sd_by_tissue(hu, {name: masks[name] for name in ("soft", "body")})
    return next((value for value in sd.values() if value is not None), 0.0)


def matrix_noise_sd(hu: NDArray[np.float32], padding: NDArray[np.bool_] | None = None) -> float:
    """Return the root mean square noise of an entry of the ``slices`` matrix, over body and air alike.

    The columns of that matrix are slices, and noise is nearly independent from slice to slice. So the singular values
    of m x n noise lie near sd * sqrt(m), as for the white noise of optimal shrinkage (Gavish and Donoho 2017);
    correlation within slices spreads them more widely, which this number does not describe.

    Parameters
    ----------
    hu : ndarray of shape (z, y, x), float32, HU
    padding : ndarray of shape (z, y, x), bool, optional
        Voxels to exclude.

    Returns
    -------
    float, HU
        0 if there is no usable voxel.
    """
    noise = _second_difference(hu)
    usable = np.ones(hu.shape, np.bool_) if padding is None else ~padding
    masks = _difference_mask(usable, noise.shape[0])
    # Vessels in the lung differ from slice to slice by far more than the noise, and air has little noise: so no region
    # counts as noisier than soft tissue.
    soft = _difference_mask(tissues(hu, smoothing=NOISY_SMOOTHING_PX)["soft"] & usable, noise.shape[0])
    soft_sd = _quantile_sd(noise, soft)
    largest = np.inf if soft_sd is None else soft_sd**2
    total, weight = 0.0, 0.0
    for image, mask in zip(noise, masks, strict=True):
        variance, filled = _region_variances(image, mask)
        total += float(np.sum(np.minimum(_local_percentile(variance, filled > 0), largest) * filled))
        weight += float(np.sum(filled))
    return float(np.sqrt(total / weight)) if weight else 0.0


def _second_difference(hu: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the second difference along z, scaled to the noise SD of one slice, of shape (z - 2, y, x).

    With independent noise in slices, x[z-1] - 2 x[z] + x[z+1] has 6 times the variance of one slice. Two slices give
    their difference, with twice the variance; a single slice its second difference along rows, as if noise were white.
    """
    x = hu.astype(np.float32)
    if len(x) >= 3:
        second: NDArray[np.float32] = (x[:-2] - 2 * x[1:-1] + x[2:]) / np.float32(np.sqrt(6))
        return second
    if len(x) == 2:
        first: NDArray[np.float32] = (x[1:] - x[:1]) / np.float32(np.sqrt(2))
        return first
    along_rows = np.zeros_like(x)
    along_rows[:, :, 1:-1] = (x[:, :, :-2] - 2 * x[:, :, 1:-1] + x[:, :, 2:]) / np.float32(np.sqrt(6))
    return along_rows


def _difference_mask(mask: NDArray[np.bool_], count: int) -> NDArray[np.bool_]:
    """Return the mask of `count` differences: all slices that enter a difference lie in the mask."""
    if len(mask) - count == 2:
        return mask[:-2] & mask[1:-1] & mask[2:]
    return mask[1:] & mask[:-1] if len(mask) - count == 1 else mask


def _block_sums(image: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the sums over square regions; incomplete ones at the lower and right border are dropped."""
    side = min(_REGION_PX, *image.shape)
    rows, columns = (n // side * side for n in image.shape)
    blocks = image[:rows, :columns].reshape(rows // side, side, columns // side, side)
    sums: NDArray[np.float64] = blocks.sum(axis=(1, 3))
    return sums


def _region_variances(
    image: NDArray[np.float32], mask: NDArray[np.bool_]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the mean square over the mask, and the fraction of pixels in the mask, of each region."""
    inside = mask.astype(np.float64)
    count = _block_sums(inside)
    square = _block_sums((image * inside) ** 2)
    return square / np.maximum(count, 1), count / min(_REGION_PX, *image.shape) ** 2


def _quantile_sd(noise: NDArray[np.float32], masks: NDArray[np.bool_]) -> float | None:
    """Return the root of a low quantile of the variance over all regions of a mask; None without regions."""
    variances = []
    for image, mask in zip(noise, masks, strict=True):
        variance, filled = _region_variances(image, mask)
        variances.append(variance[filled >= _MIN_FILLED])
    pooled = np.concatenate(variances) if variances else np.empty(0)
    return float(np.sqrt(np.quantile(pooled, _QUANTILE))) if pooled.size else None


def _local_percentile(variance: NDArray[np.float64], usable: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Return a low percentile of the variances of the 3 x 3 regions around each; 0 if no region is usable."""
    if not usable.any():
        return np.zeros_like(variance)
    filled = np.where(usable, variance, variance[usable].max())
    percentile: NDArray[np.float64] = ndimage.percentile_filter(filled, 30, size=3, mode="nearest")
    return percentile
