"""Anatomy in the residual: residual, result and masks go in, a correlation by tissue and octave comes out.

The residual is correlated with the structure of the result that stands out. Noise left in the result is correlated with
the noise removed, without any anatomy in either; by Stein's lemma it contributes to the covariance

    E[r t(a)] = c E[t'(a)],    c = cov(r, a) where there is only noise,

for a residual r, a result a and any function t. So c is measured where the result has no structure, and what E[r t(a)]
has beyond that is anatomy (docs/adr/0023).
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

__all__ = ["OCTAVES", "structure_in_residual"]

Float32 = NDArray[np.float32]

OCTAVES = ("0.7 px", "1.4 px", "2.8 px")
"""The bands: differences of two Gaussians, named by the SD of the narrower one; the wider one has twice this SD."""
_NARROW_PX = 0.7
_THRESHOLD = 3.0  # tau, in robust SDs of the result in its tissue and band
_BORDER_PX = 2  # excluded beside other tissues, in each octave
_MIN_PIXELS = 2000  # of an octave
_MAX_SLICES = 12


def structure_in_residual(
    residual: Float32, after: Float32, masks: Mapping[str, NDArray[np.bool_]]
) -> dict[str, dict[str, float | None]]:
    """Return by tissue and octave how much of the residual is structure of the result.

    Parameters
    ----------
    residual, after : ndarray of shape (z, y, x), float32, HU
        Source minus result, and the result.
    masks : mapping of str to ndarray of shape (z, y, x), bool
        Tissues, segmented independently of both. About 12 of the slices with tissue are used.

    Returns
    -------
    dict of str to dict of str to float or None
        Correlation of the residual with the structure that stands out, without the part explained by remaining noise:
        0 if the residual is noise; its square is the fraction of the residual's energy that is anatomy. None if there
        is too little of a tissue.
    """
    return {name: _by_octave(residual, after, mask) for name, mask in masks.items()}


def _by_octave(residual: Float32, after: Float32, mask: NDArray[np.bool_]) -> dict[str, float | None]:
    bands: list[list[tuple[Float32, Float32]]] = [[] for _ in OCTAVES]
    filled = np.flatnonzero(mask.any(axis=(1, 2)))
    for z in filled[:: -(-len(filled) // _MAX_SLICES) or 1]:
        box = ndimage.find_objects(mask[z].astype(np.uint8))[0]
        weight = mask[z][box].astype(np.float32)
        images = [residual[z][box] * weight, after[z][box] * weight]
        for samples in bands:
            inside = ndimage.binary_erosion(weight > 0.5, iterations=_BORDER_PX)
            if inside.any():
                r, a = (_band(image, weight)[inside] for image in images)
                samples.append((r, a))
            if min(weight.shape) < 8:
                break
            weight, *images = (_halved(image) for image in (weight, *images))
            complete = weight > 0.99  # drop pixels that are partly outside the tissue
            weight, images = weight * complete, [image * complete for image in images]
    return {name: _excess_correlation(samples) for name, samples in zip(OCTAVES, bands, strict=True)}


def _band(weighted: Float32, weight: Float32) -> Float32:
    """Return the difference of two Gaussian means over a mask, to which pixels outside of it do not contribute."""
    means = []
    for sd in (_NARROW_PX, 2 * _NARROW_PX):
        numerator, denominator = (
            ndimage.gaussian_filter(image, sd, mode="constant", truncate=3.0) for image in (weighted, weight)
        )
        means.append(numerator / np.maximum(denominator, np.float32(1e-3)))
    band: Float32 = means[0] - means[1]
    return band


def _halved(image: Float32) -> Float32:
    """Return the means over 2 x 2 pixels."""
    y, x = (n // 2 * 2 for n in image.shape)
    mean: Float32 = image[:y, :x].reshape(y // 2, 2, x // 2, 2).mean(axis=(1, 3), dtype=np.float32)
    return mean


def _excess_correlation(samples: list[tuple[Float32, Float32]]) -> float | None:
    """Return the correlation of r with t(a), minus c E[t'(a)], for t(a) = a where abs(a) > tau and 0 elsewhere."""
    if sum(len(r) for r, _ in samples) < _MIN_PIXELS:
        return None
    r, a = (np.concatenate(parts).astype(np.float64) for parts in zip(*samples, strict=True))
    size = np.abs(a)
    sd = 1.4826 * float(np.median(size))
    sd_r = float(np.sqrt(np.mean(r * r)))
    if sd <= 0 or sd_r <= 1e-3 or not (structure := size > _THRESHOLD * sd).any():
        return 0.0
    noise = size < sd
    c = sd**2 * float(np.sum(r[noise] * a[noise]) / max(np.sum(a[noise] ** 2), 1e-12))
    # E[t'(a)] is the fraction beyond tau, plus, at the two steps of t, their height times the density of a.
    tau = _THRESHOLD * sd
    density = float(np.mean(size > 0.8 * tau) - np.mean(size > 1.2 * tau)) / (0.4 * tau)
    slope = float(np.mean(structure)) + tau * density
    t = a * structure
    return float((np.mean(r * t) - c * slope) / (sd_r * np.sqrt(np.mean(t * t))))
