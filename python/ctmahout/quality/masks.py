"""Where in a volume the body is, and its tissues."""

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
    "tissues_of_noisy",
]

# Smoothing in pixels with which tissues are found in a noisy volume.
NOISY_SMOOTHING_PX = 2.0

# HU from and to.
TISSUES = {"lung": (-960.0, -600.0), "soft": (-20.0, 200.0), "bone": (250.0, np.inf)}
# What the report measures; method patches restores the means of `TISSUES`, so another range there is another result.
TISSUES_AND_FAT = {"lung": TISSUES["lung"], "fat": (-150.0, -40.0), "soft": TISSUES["soft"], "bone": TISSUES["bone"]}


# What need not look at every slice looks at so many.
_SAMPLE = 40


def sample_slices(count: int) -> NDArray[np.intp]:
    """Return the indices of at most 40 of `count` slices, evenly spaced, ascending."""
    return np.unique(np.linspace(0, count - 1, min(_SAMPLE, count)).round().astype(np.intp))


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
        As free of noise as there is.
    smoothing : float
        SD in pixels of a Gaussian over slices, for a noisy volume: masks drawn by noisy values would choose voxels by
        their noise, whose mean then is not that of the tissue.
    outline : ndarray of shape (z, y, x), float32, HU, optional
        What the body is found in, if not `hu`: of a phantom, the drawing.
    ranges : mapping of str to (float, float), HU
        The tissues, from and to.

    Returns
    -------
    dict of str to ndarray of shape (z, y, x), bool
        body: in each slice the largest region above -400 HU, holes filled; everything if there is none. And of each of
        `ranges` the voxels of the body.
    """
    if smoothing:
        hu = ndimage.gaussian_filter(hu, (0, smoothing, smoothing))
    body = np.zeros(hu.shape, np.bool_)
    for z, image in enumerate(hu if outline is None else outline):
        labels, count = ndimage.label(ndimage.binary_opening(image > -400, iterations=2))
        if count:
            sizes = np.bincount(labels.ravel())[1:]
            body[z] = ndimage.binary_fill_holes(labels == 1 + int(np.argmax(sizes)))
    if not body.any():
        body[:] = True
    return {"body": body} | {name: body & (hu > low) & (hu < high) for name, (low, high) in ranges.items()}


def tissues_of_noisy(
    hu: NDArray[np.float32],
    padding: NDArray[np.bool_] | None = None,
    levels: NDArray[np.intp] | None = None,
    *,
    ranges: Mapping[str, tuple[float, float]] = TISSUES,
    apart: int = 1,
) -> dict[str, NDArray[np.bool_]]:
    """Return masks as `tissues` does, each slice's told by the mean of the one before and the one after, smoothed.

    Where tissues are found in a slice itself its noise chooses the voxels, whose mean then is not that of the tissue:
    at a twentieth of the dose bone would seem to lose 5 HU where it loses 3.

    Parameters
    ----------
    hu : ndarray of shape (z, y, x), float32, HU
    padding : ndarray of shape (z, y, x), bool, optional
        What was not measured: no tissue.
    levels : ndarray of int, optional
        Slices to look at: all, if not given. In the others there is no tissue.
    ranges : mapping of str to (float, float), HU
        As of `tissues`.
    apart : int
        How many slices away the two are: what was done to a slice depends on the noise of those next to it, too.

    Notes
    -----
    Constant regions are no tissue, see `quality.constant`: they hold no noise.
    """
    from .constant import constant_regions  # compiled: other masks do not wait for the compiler to load

    last = len(hu) - 1
    levels = np.arange(len(hu)) if levels is None else levels
    near = np.empty((len(levels), *hu.shape[1:]), np.float32)
    for mean, z in zip(near, levels, strict=True):
        # At the ends both are the one there is.
        below, above = (k if 0 <= k <= last else min(max(0, 2 * z - k), last) for k in (z - apart, z + apart))
        np.add(hu[below], hu[above], out=mean)
        mean *= np.float32(0.5)
    measured = ~constant_regions(hu[levels])
    if padding is not None:
        measured &= ~padding[levels]
    masks = {}
    for name, found in tissues(near, smoothing=NOISY_SMOOTHING_PX, ranges=ranges).items():
        masks[name] = np.zeros(hu.shape, np.bool_)
        masks[name][levels] = found & measured
    return masks


def interior(mask: NDArray[np.bool_], pixels: int) -> NDArray[np.bool_]:
    """Return where all within so many rows and columns is in a mask of shape (z, y, x), too."""
    found: NDArray[np.bool_] = ndimage.minimum_filter(mask, (1, 2 * pixels + 1, 2 * pixels + 1), mode="constant")
    return found
