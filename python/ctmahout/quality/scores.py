"""Scores of a volume against a reference: two volumes in HU go in; PSNR, SSIM and errors by tissue come out."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from ..volume import Volume
from .edges import Edges
from .flat import FlatRegions
from .masks import TISSUES, tissues

__all__ = ["Scores", "compare"]

# PSNR and SSIM need a data range in HU; these two are common in CT denoising.
_RANGE_HU = 2000.0
_SOFT_WINDOW_HU = (-160.0, 240.0)


@dataclass(frozen=True)
class Scores:
    """Difference of a volume from a reference.

    Attributes
    ----------
    psnr_db : float or None
        Peak signal-to-noise ratio over the body, for a range of 2000 HU; None if the two are equal.
    ssim : float
        Structural similarity (Wang et al. 2004, eq. 13, Gaussian window of SD 1.5) of slices, mean over the body, for a
        range of 2000 HU.
    ssim_soft : float
        The same, of both clipped to the soft-tissue window of -160 to 240 HU.
    rmse_hu, mean_difference_hu : dict of str to float or None
        By tissue of the reference: lung, soft, bone. None if the tissue is absent.
    largest_difference_hu : float
        In the body.
    edge_sharpness : dict of str to float or None
        Width of the reference's mean edge divided by that of the volume, see `Edges`: below 1 if the volume is softer.
        strong: edges of 300 HU and more. weak: of 60 to 300 HU. None if the reference has too few.
    nps_distance : float or None
        Fraction of the noise, 0 to 1, at other frequencies than in the reference, in its flat soft tissue, see
        `NoisePower.distance`. Fine texture of the anatomy counts as noise. None if either has no noise, or if there is
        no flat soft tissue.
    """

    psnr_db: float | None
    ssim: float
    ssim_soft: float
    rmse_hu: dict[str, float | None]
    mean_difference_hu: dict[str, float | None]
    largest_difference_hu: float
    edge_sharpness: dict[str, float | None]
    nps_distance: float | None

    def as_dict(self) -> dict[str, Any]:
        """Return the scores as JSON values."""
        return dataclasses.asdict(self)


def compare(a: Volume, reference: Volume, *, outline: NDArray[np.float32] | None = None) -> Scores:
    """Score `a` against `reference`.

    Parameters
    ----------
    a, reference : Volume
        Of the same shape. The padding of both is excluded.
    outline : ndarray of shape (z, y, x), float32, HU, optional
        Volume in which the body is segmented, the reference by default; for a phantom, the drawing.

    Raises
    ------
    ValueError
        The shapes differ.
    """
    if a.shape != reference.shape:
        raise ValueError(f"shapes differ: {a.shape} and {reference.shape}")
    masks = tissues(reference.hu, outline=outline)
    for volume in (a, reference):
        if volume.padding is not None:
            masks = {name: mask & ~volume.padding for name, mask in masks.items()}
    difference = a.hu.astype(np.float64) - reference.hu
    body = difference[masks["body"]]
    rmse = float(np.sqrt(np.mean(body**2))) if body.size else 0.0

    def by_tissue(measure: Callable[[NDArray[np.float64]], Any]) -> dict[str, float | None]:
        values = {name: difference[masks[name]] for name in TISSUES}
        return {name: float(measure(v)) if v.size else None for name, v in values.items()}

    low, high = _SOFT_WINDOW_HU
    return Scores(
        psnr_db=float(20 * np.log10(_RANGE_HU / rmse)) if rmse > 0 else None,
        ssim=_ssim(a.hu, reference.hu, masks["body"], _RANGE_HU),
        ssim_soft=_ssim(np.clip(a.hu, low, high), np.clip(reference.hu, low, high), masks["body"], high - low),
        rmse_hu=by_tissue(lambda d: np.sqrt(np.mean(d**2))),
        mean_difference_hu=by_tissue(np.mean),
        largest_difference_hu=float(np.max(np.abs(body))) if body.size else 0.0,
        edge_sharpness=_edge_sharpness(a, reference, masks["body"]),
        nps_distance=_nps_distance(a, reference, masks["soft"]),
    )


def _edge_sharpness(a: Volume, reference: Volume, mask: NDArray[np.bool_]) -> dict[str, float | None]:
    edges = Edges.of(reference.hu, mask, reference.geometry.pixel_spacing_mm)
    widths, reference_widths = edges.widths_mm(a.hu), edges.widths_mm(reference.hu)
    return {kind: _ratio(reference_widths[kind], widths[kind]) for kind in widths}


def _ratio(a: float | None, b: float | None) -> float | None:
    return a / b if a is not None and b else None


def _nps_distance(a: Volume, reference: Volume, mask: NDArray[np.bool_]) -> float | None:
    regions = FlatRegions.of(reference.hu, mask)
    if regions is None:
        return None
    spacing = reference.geometry.pixel_spacing_mm
    return regions.power(a.hu, spacing).distance(regions.power(reference.hu, spacing))


def _ssim(a: NDArray[np.float32], b: NDArray[np.float32], mask: NDArray[np.bool_], data_range: float) -> float:
    """Return the mean structural similarity of slices over a mask of shape (z, y, x); 1 for an empty mask.

    Wang, Bovik, Sheikh and Simoncelli 2004, IEEE Trans. Image Process. 13, 600, eq. 13, with K1 = 0.01 and K2 = 0.03.
    """
    c1, c2 = (0.01 * data_range) ** 2, (0.03 * data_range) ** 2
    total, count = 0.0, 0
    for x32, y32, inside in zip(a, b, mask, strict=True):
        x, y = x32.astype(np.float64), y32.astype(np.float64)
        mx, my = _gaussian(x), _gaussian(y)
        vx, vy, cov = _gaussian(x * x) - mx * mx, _gaussian(y * y) - my * my, _gaussian(x * y) - mx * my
        similarity = (2 * mx * my + c1) * (2 * cov + c2) / ((mx * mx + my * my + c1) * (vx + vy + c2))
        total += float(similarity[inside].sum())
        count += int(np.count_nonzero(inside))
    return total / count if count else 1.0


def _gaussian(image: NDArray[np.float64]) -> NDArray[np.float64]:
    smoothed: NDArray[np.float64] = ndimage.gaussian_filter(image, 1.5, truncate=3.5)
    return smoothed
