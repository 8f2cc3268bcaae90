"""Segmentation: a volume in HU goes in, boolean masks of the body and of its tissues come out."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

__all__ = [
    "NOISY_SMOOTHING_PX",
    "TISSUES",
    "TISSUES_AND_FAT",
    "interior",
    "sample_slices",
    "tissues",
    "tissues_from_neighbours",
]

NOISY_SMOOTHING_PX = 2.0  # SD of the Gaussian with which a noisy volume is smoothed before segmentation

# HU, from and to.
TISSUES = {"lung": (-960.0, -600.0), "soft": (-20.0, 200.0), "bone": (250.0, np.inf)}
# The tissues of the report. The method ``patches`` restores the means of `TISSUES`, so other ranges there would change
# its results.
TISSUES_AND_FAT = {"lung": TISSUES["lung"], "fat": (-150.0, -40.0), "soft": TISSUES["soft"], "bone": TISSUES["bone"]}

_BODY_HU = -400.0
_MAX_SLICES = 40  # of a sample


def sample_slices(count: int) -> NDArray[np.intp]:
    """Return the indices of at most 40 of `count` slices, evenly spaced, ascending."""
    return np.unique(np.linspace(0, count - 1, min(_MAX_SLICES, count)).round().astype(np.intp))


def tissues(
    hu: NDArray[np.float32],
    *,
    smoothing: float = 0.0,
    outline: NDArray[np.float32] | None = None,
    ranges: Mapping[str, tuple[float, float]] = TISSUES,
) -> dict[str, NDArray[np.bool_]]:
    """Return masks of the body and of tissues in it.

    Parameters
    ----------
    hu : ndarray of shape (z, y, x), float32, HU
        With as little noise as possible.
    smoothing : float
        SD in pixels of a Gaussian over slices, for a noisy volume. Without it voxels would be selected by their noise,
        and their mean would not be that of the tissue.
    outline : ndarray of shape (z, y, x), float32, HU, optional
        Volume in which the body is segmented, `hu` by default; for a phantom, the drawing.
    ranges : mapping of str to (float, float), HU
        The tissues, from and to.

    Returns
    -------
    dict of str to ndarray of shape (z, y, x), bool
        body: in each slice the largest region above -400 HU, with holes filled; all voxels if there is none. And the
        voxels of the body in each of `ranges`.
    """
    if smoothing:
        hu = ndimage.gaussian_filter(hu, (0, smoothing, smoothing))
    body = np.zeros(hu.shape, np.bool_)
    for z, image in enumerate(hu if outline is None else outline):
        labels, count = ndimage.label(ndimage.binary_opening(image > _BODY_HU, iterations=2))
        if count:
            sizes = np.bincount(labels.ravel())[1:]
            body[z] = ndimage.binary_fill_holes(labels == 1 + int(np.argmax(sizes)))
    if not body.any():
        body[:] = True
    return {"body": body} | {name: body & (hu > low) & (hu < high) for name, (low, high) in ranges.items()}


def tissues_from_neighbours(
    hu: NDArray[np.float32],
    padding: NDArray[np.bool_] | None = None,
    slices: NDArray[np.intp] | None = None,
    *,
    ranges: Mapping[str, tuple[float, float]] = TISSUES,
    distance: int = 1,
) -> dict[str, NDArray[np.bool_]]:
    """Return masks as `tissues` does, each slice segmented in the smoothed mean of the slices before and after it.

    Segmented in a slice itself, voxels would be selected by their noise, and their mean would not be that of the
    tissue: at a twentieth of the dose bone would seem to lose 5 HU where it loses 3.

    Parameters
    ----------
    hu : ndarray of shape (z, y, x), float32, HU
    padding : ndarray of shape (z, y, x), bool, optional
        Excluded from all masks.
    slices : ndarray of int, optional
        Indices of the slices to segment, all by default; masks are False in the others.
    ranges : mapping of str to (float, float), HU
        As in `tissues`.
    distance : int
        Slices from each slice to the two: the denoised slice depends on the noise of its direct neighbours as well.

    Returns
    -------
    dict of str to ndarray of shape (z, y, x), bool
        Without constant regions (`quality.constant`), which hold no noise.
    """
    from .constant import constant_regions  # imports the numba compiler, which other masks need not wait for

    last = len(hu) - 1
    slices = np.arange(len(hu)) if slices is None else slices
    means = np.empty((len(slices), *hu.shape[1:]), np.float32)
    for mean, z in zip(means, slices, strict=True):
        # At either end, both are the one slice that exists.
        below, above = (k if 0 <= k <= last else min(max(0, 2 * z - k), last) for k in (z - distance, z + distance))
        np.add(hu[below], hu[above], out=mean)
        mean *= np.float32(0.5)
    measured = ~constant_regions(hu[slices])
    if padding is not None:
        measured &= ~padding[slices]
    masks = {}
    for name, mask in tissues(means, smoothing=NOISY_SMOOTHING_PX, ranges=ranges).items():
        masks[name] = np.zeros(hu.shape, np.bool_)
        masks[name][slices] = mask & measured
    return masks


def interior(mask: NDArray[np.bool_], pixels: int) -> NDArray[np.bool_]:
    """Return the voxels of a mask (z, y, x) whose neighbours within `pixels` rows and columns all lie in it."""
    inner: NDArray[np.bool_] = ndimage.minimum_filter(mask, (1, 2 * pixels + 1, 2 * pixels + 1), mode="constant")
    return inner
