"""How well one volume matches another: PSNR, SSIM and errors by tissue."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from .volume import Volume

__all__ = ["NOISY", "Scores", "compare", "tissues"]

# Smoothing in pixels with which `tissues` finds its way in a noisy volume.
NOISY = 2.0

# Ranges in HU; PSNR and SSIM need a data range, and these two are what CT denoising is usually scored with.
_RANGE = 2000.0
_SOFT_WINDOW = (-160.0, 240.0)
_TISSUES = {"lung": (-960.0, -600.0), "soft": (-20.0, 200.0), "bone": (250.0, np.inf)}


@dataclass(frozen=True)
class Scores:
    """How far a volume is from a reference.

    Attributes
    ----------
    psnr_db : float or None
        Peak signal-to-noise ratio over the body, for a range of 2000 HU; None if the two are equal.
    ssim : float
        Structural similarity (Wang et al. 2004, eq. 13, Gaussian window of SD 1.5), in slices, mean over the body,
        for a range of 2000 HU.
    ssim_soft : float
        The same, of both clipped to the soft-tissue window of -160 to 240 HU.
    rmse_hu, mean_difference_hu : dict of str to float or None
        By tissue of the reference: lung, soft, bone. None where there is none of it.
    largest_difference_hu : float
    """

    psnr_db: float | None
    ssim: float
    ssim_soft: float
    rmse_hu: dict[str, float | None]
    mean_difference_hu: dict[str, float | None]
    largest_difference_hu: float

    def as_dict(self) -> dict[str, Any]:
        """Return the scores as JSON has them."""
        return dataclasses.asdict(self)


def tissues(hu: NDArray[np.float32], *, smoothing: float = 0.0) -> dict[str, NDArray[np.bool_]]:
    """Return masks of the body and of tissues in it.

    Parameters
    ----------
    hu : ndarray of shape (z, y, x), float32, HU
        As free of noise as there is.
    smoothing : float
        SD in pixels of a Gaussian over slices, for a noisy volume: masks drawn by noisy values would choose voxels by
        their noise, whose mean then is not that of the tissue.

    Returns
    -------
    dict of str to ndarray of shape (z, y, x), bool
        body: in each slice the largest region above -400 HU, holes filled; everything if there is none. lung, soft,
        bone: voxels of the body by HU.
    """
    if smoothing:
        hu = ndimage.gaussian_filter(hu, (0, smoothing, smoothing))
    body = np.zeros(hu.shape, np.bool_)
    for z, image in enumerate(hu):
        labels, count = ndimage.label(ndimage.binary_opening(image > -400, iterations=2))
        if count:
            sizes = np.bincount(labels.ravel())[1:]
            body[z] = ndimage.binary_fill_holes(labels == 1 + int(np.argmax(sizes)))
    if not body.any():
        body[:] = True
    return {"body": body} | {name: body & (hu > low) & (hu < high) for name, (low, high) in _TISSUES.items()}


def compare(a: Volume, reference: Volume) -> Scores:
    """Score `a` against `reference`.

    Parameters
    ----------
    a, reference : Volume
        Of the same shape. Padding of either is left out.

    Raises
    ------
    ValueError
        The shapes differ.
    """
    if a.shape != reference.shape:
        raise ValueError(f"shapes differ: {a.shape} and {reference.shape}")
    masks = tissues(reference.hu)
    for volume in (a, reference):
        if volume.padding is not None:
            masks = {name: mask & ~volume.padding for name, mask in masks.items()}
    difference = a.hu.astype(np.float64) - reference.hu
    body = difference[masks["body"]]
    rmse = float(np.sqrt(np.mean(body**2))) if body.size else 0.0

    def of(name: str, measure: Any) -> float | None:
        values = difference[masks[name]]
        return float(measure(values)) if values.size else None

    low, high = _SOFT_WINDOW
    return Scores(
        psnr_db=float(20 * np.log10(_RANGE / rmse)) if rmse > 0 else None,
        ssim=_ssim(a.hu, reference.hu, masks["body"], _RANGE),
        ssim_soft=_ssim(np.clip(a.hu, low, high), np.clip(reference.hu, low, high), masks["body"], high - low),
        rmse_hu={name: of(name, lambda d: np.sqrt(np.mean(d**2))) for name in _TISSUES},
        mean_difference_hu={name: of(name, np.mean) for name in _TISSUES},
        largest_difference_hu=float(np.max(np.abs(body))) if body.size else 0.0,
    )


def _ssim(a: NDArray[np.float32], b: NDArray[np.float32], mask: NDArray[np.bool_], data_range: float) -> float:
    """Return the mean structural similarity of slices over a mask; 1 for an empty one."""
    c1, c2 = (0.01 * data_range) ** 2, (0.03 * data_range) ** 2
    total, count = 0.0, 0
    for x32, y32, inside in zip(a, b, mask, strict=True):
        x, y = x32.astype(np.float64), y32.astype(np.float64)
        mx, my = _smooth(x), _smooth(y)
        vx, vy, cov = _smooth(x * x) - mx * mx, _smooth(y * y) - my * my, _smooth(x * y) - mx * my
        similarity = (2 * mx * my + c1) * (2 * cov + c2) / ((mx * mx + my * my + c1) * (vx + vy + c2))
        total += float(similarity[inside].sum())
        count += int(np.count_nonzero(inside))
    return total / count if count else 1.0


def _smooth(image: NDArray[np.float64]) -> NDArray[np.float64]:
    smoothed: NDArray[np.float64] = ndimage.gaussian_filter(image, 1.5, truncate=3.5)
    return smoothed
