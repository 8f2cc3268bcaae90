"""How much noise a volume holds by tissue: simple estimates, for the method ``slices`` and for the report.

What differs between a slice and the mean of its two neighbours is noise and anatomy, and anatomy can only add to it; so
a low quantile over small regions tells the noise.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from ...quality import NOISY, tissues

__all__ = ["matrix_noise_sd", "noise_sd", "noise_sd_by_tissue"]

# Side of the square regions, in pixels, and the share of a region that must be usable.
_REGION = 16
_USABLE = 0.6
# Of all regions, the quietest third has the least anatomy; the median would take vessels for noise.
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
        None where no region is filled with that tissue.
    """
    noise = _differences(hu)
    return {name: _quiet(noise, _inner(mask, noise.shape[0]), _QUANTILE) for name, mask in masks.items()}


def noise_sd(hu: NDArray[np.float32], padding: NDArray[np.bool_] | None = None) -> float:
    """Return the noise SD in the soft tissue of a volume, in HU; in the body, if there is none.

    Parameters
    ----------
    hu : ndarray of shape (z, y, x), float32, HU
    padding : ndarray of shape (z, y, x), bool, optional
        Voxels to leave out.
    """
    masks = {name: mask if padding is None else mask & ~padding for name, mask in tissues(hu, smoothing=NOISY).items()}
    found = noise_sd_by_tissue(hu, {name: masks[name] for name in ("soft", "body")})
    return found["soft"] or found["body"] or 0.0


def matrix_noise_sd(hu: NDArray[np.float32], padding: NDArray[np.bool_] | None = None) -> float:
    """Return the root mean square noise of an entry of the ``slices`` matrix, in HU, over body and air alike.

    The noise of a CT slice is correlated within the slice but hardly with its neighbours. Columns of that matrix are
    slices, so their noise is independent, and its singular values lie near sd * sqrt(m); the correlation along the rows
    spreads them more than white noise would. Optimal shrinkage is told their level, not their spread.

    Parameters
    ----------
    hu : ndarray of shape (z, y, x), float32, HU
    padding : ndarray of shape (z, y, x), bool, optional
        Voxels to leave out.
    """
    noise = _differences(hu)
    usable = np.ones(hu.shape, np.bool_) if padding is None else ~padding
    inner = _inner(usable, noise.shape[0])
    # Vessels in the lung differ from slice to slice by far more than noise does, and there is little noise in air: so
    # nothing is taken to be noisier than soft tissue.
    soft = _quiet(noise, _inner(tissues(hu, smoothing=NOISY)["soft"] & usable, noise.shape[0]), _QUANTILE)
    most = np.inf if soft is None else soft**2
    total, weight = 0.0, 0.0
    for image, inside in zip(noise, inner, strict=True):
        variance, share = _variances(image, inside)
        total += float(np.sum(np.minimum(_quieter(variance, share > 0), most) * share))
        weight += float(np.sum(share))
    return float(np.sqrt(total / weight)) if weight else 0.0


def _differences(hu: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return noise of the volume's SD with little anatomy left, of shape (z - 2, y, x).

    With independent noise in slices, x[z-1] - 2 x[z] + x[z+1] has 6 times the variance of one slice. Two slices give
    their difference, with twice the variance; a single one its second difference along rows, as if noise were white.
    """
    x = hu.astype(np.float32)
    if len(x) >= 3:
        second: NDArray[np.float32] = (x[:-2] - 2 * x[1:-1] + x[2:]) / np.float32(np.sqrt(6))
        return second
    if len(x) == 2:
        first: NDArray[np.float32] = (x[1:] - x[:1]) / np.float32(np.sqrt(2))
        return first
    along = np.zeros_like(x)
    along[:, :, 1:-1] = (x[:, :, :-2] - 2 * x[:, :, 1:-1] + x[:, :, 2:]) / np.float32(np.sqrt(6))
    return along


def _inner(mask: NDArray[np.bool_], count: int) -> NDArray[np.bool_]:
    """Return where all slices that went into a difference are inside the mask."""
    if len(mask) - count == 2:
        return mask[:-2] & mask[1:-1] & mask[2:]
    return mask[1:] & mask[:-1] if len(mask) - count == 1 else mask


def _block_sums(image: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the sums over square regions; a rest at the lower and right border is left out."""
    side = min(_REGION, *image.shape)
    rows, columns = (n // side * side for n in image.shape)
    cut = image[:rows, :columns].reshape(rows // side, side, columns // side, side)
    sums: NDArray[np.float64] = cut.sum(axis=(1, 3))
    return sums


def _variances(image: NDArray[np.float32], mask: NDArray[np.bool_]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the mean square and the share of usable pixels of each region."""
    inside = mask.astype(np.float64)
    count = _block_sums(inside)
    square = _block_sums((image * inside) ** 2)
    return square / np.maximum(count, 1), count / min(_REGION, *image.shape) ** 2


def _quiet(noise: NDArray[np.float32], mask: NDArray[np.bool_], quantile: float) -> float | None:
    """Return a low quantile of the noise over all regions of a mask."""
    found = []
    for image, inside in zip(noise, mask, strict=True):
        variance, share = _variances(image, inside)
        found.append(variance[share >= _USABLE])
    all_found = np.concatenate(found) if found else np.empty(0)
    return float(np.sqrt(np.quantile(all_found, quantile))) if all_found.size else None


def _quieter(variance: NDArray[np.float64], usable: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Return the variance of each region, taken to be that of the quieter ones around it; 0 where none is usable."""
    if not usable.any():
        return np.zeros_like(variance)
    filled = np.where(usable, variance, variance[usable].max())
    quieter: NDArray[np.float64] = ndimage.percentile_filter(filled, 30, size=3, mode="nearest")
    return quieter
