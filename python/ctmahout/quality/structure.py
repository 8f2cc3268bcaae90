"""Anatomy in what was taken away: a correlation within each tissue and octave of frequencies, free of the noise's part.

Structure of the result and residual are compared where the structure stands out. What noise is left in the result is
alike what was taken away of it, with no anatomy in either; by Stein's lemma that share of their covariance is

    E[r t(a)] = c E[t'(a)],    c = cov(r, a) where there is only noise,

for a residual r, a result a and any function t. So c is measured where the result is calm, and what E[r t(a)] has
beyond that is anatomy (docs/adr/0023).
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

__all__ = ["OCTAVES", "structure_in_residual"]

Float32 = NDArray[np.float32]

OCTAVES = ("0.7 px", "1.4 px", "2.8 px")
"""The bands, by the SD of the narrower of two Gaussians whose difference shows it; the other is twice as wide."""
_NARROW = 0.7
_STANDS_OUT = 3.0  # robust SDs of the result in its tissue and band
_BORDER = 2  # pixels next to another tissue, at each octave, that are no part of this one
_FEWEST = 2000  # pixels of an octave
_SLICES = 12


def structure_in_residual(
    residual: Float32, after: Float32, masks: Mapping[str, NDArray[np.bool_]]
) -> dict[str, dict[str, float | None]]:
    """Return by tissue and octave how much of the residual is structure of the result.

    Parameters
    ----------
    residual, after : ndarray of shape (z, y, x), float32, HU
        What was taken away, and the result.
    masks : mapping of str to ndarray of shape (z, y, x), bool
        Tissues, chosen without looking at either. About 12 of the slices in which there is any are looked at.

    Returns
    -------
    dict of str to dict of str to float or None
        Correlation of the residual with the structure that stands out, less what the noise left in the result explains:
        0 where the residual is noise; squared, the share of its energy that is anatomy. None where there is too little
        of a tissue.
    """
    return {name: _by_octave(residual, after, mask) for name, mask in masks.items()}


def _by_octave(residual: Float32, after: Float32, mask: NDArray[np.bool_]) -> dict[str, float | None]:
    bands: list[list[tuple[Float32, Float32]]] = [[] for _ in OCTAVES]
    filled = np.flatnonzero(mask.any(axis=(1, 2)))
    for z in filled[:: -(-len(filled) // _SLICES) or 1]:
        box = ndimage.find_objects(mask[z].astype(np.uint8))[0]
        weight = mask[z][box].astype(np.float32)
        images = [residual[z][box] * weight, after[z][box] * weight]
        for found in bands:
            inside = ndimage.binary_erosion(weight > 0.5, iterations=_BORDER)
            if inside.any():
                r, a = (_band(image, weight)[inside] for image in images)
                found.append((r, a))
            if min(weight.shape) < 8:
                break
            weight, *images = (_halved(image) for image in (weight, *images))
            whole = weight > 0.99  # what reaches out of the tissue is left out
            weight, images = weight * whole, [image * whole for image in images]
    return {name: _excess(found) for name, found in zip(OCTAVES, bands, strict=True)}


def _band(weighted: Float32, weight: Float32) -> Float32:
    """Return the difference of two Gaussian means over a mask, so that what lies outside of it has no say."""
    means = []
    for sd in (_NARROW, 2 * _NARROW):
        total, share = (
            ndimage.gaussian_filter(image, sd, mode="constant", truncate=3.0) for image in (weighted, weight)
        )
        means.append(total / np.maximum(share, np.float32(1e-3)))
    band: Float32 = means[0] - means[1]
    return band


def _halved(image: Float32) -> Float32:
    y, x = (n // 2 * 2 for n in image.shape)
    mean: Float32 = image[:y, :x].reshape(y // 2, 2, x // 2, 2).mean(axis=(1, 3), dtype=np.float32)
    return mean


def _excess(found: list[tuple[Float32, Float32]]) -> float | None:
    """Return the correlation of r with t(a) = a where abs(a) > tau, else 0, less c E[t'(a)]."""
    if sum(len(r) for r, _ in found) < _FEWEST:
        return None
    r, a = (np.concatenate(parts).astype(np.float64) for parts in zip(*found, strict=True))
    size = np.abs(a)
    sd = 1.4826 * float(np.median(size))
    sd_r = float(np.sqrt(np.mean(r * r)))
    if sd <= 0 or sd_r <= 1e-3 or not (stands_out := size > _STANDS_OUT * sd).any():
        return 0.0
    calm = size < sd
    c = sd**2 * float(np.sum(r[calm] * a[calm]) / max(np.sum(a[calm] ** 2), 1e-12))
    # E[t'(a)]: the share that stands out, and at the two steps of t their height times the density of a there.
    tau = _STANDS_OUT * sd
    density = float(np.mean(size > 0.8 * tau) - np.mean(size > 1.2 * tau)) / (0.4 * tau)
    slope = float(np.mean(stands_out)) + tau * density
    t = a * stands_out
    return float((np.mean(r * t) - c * slope) / (sd_r * np.sqrt(np.mean(t * t))))
