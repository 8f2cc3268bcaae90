"""Where in a volume the body is, and its tissues."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

__all__ = ["NOISY", "TISSUES", "sample_slices", "tissues"]

# Smoothing in pixels with which `tissues` finds its way in a noisy volume.
NOISY = 2.0

# HU from and to.
TISSUES = {"lung": (-960.0, -600.0), "soft": (-20.0, 200.0), "bone": (250.0, np.inf)}


# What need not look at every slice looks at so many.
_SAMPLE = 40


def sample_slices(count: int) -> NDArray[np.intp]:
    """Return the indices of at most 40 of `count` slices, evenly spaced, ascending."""
    return np.unique(np.linspace(0, count - 1, min(_SAMPLE, count)).round().astype(np.intp))


def tissues(
    hu: NDArray[np.float32], *, smoothing: float = 0.0, outline: NDArray[np.float32] | None = None
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

    Returns
    -------
    dict of str to ndarray of shape (z, y, x), bool
        body: in each slice the largest region above -400 HU, holes filled; everything if there is none. lung, soft,
        bone: voxels of the body by HU.
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
    return {"body": body} | {name: body & (hu > low) & (hu < high) for name, (low, high) in TISSUES.items()}
