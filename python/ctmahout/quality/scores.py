"""How well one volume matches another: PSNR, SSIM and errors by tissue."""

from __future__ import annotations

import dataclasses
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

# Ranges in HU; PSNR and SSIM need a data range, and these two are what CT denoising is usually scored with.
_RANGE = 2000.0
_SOFT_WINDOW = (-160.0, 240.0)


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
        In the body.
    edge_sharpness : dict of str to float or None
        Width of the reference's mean edge as a share of that in the volume, see `Edges`: below 1 where it is softer.
        strong: edges of 300 HU and more. weak: of 60 to 300 HU. None where the reference has too few.
    nps_distance : float or None
        Share of the noise, 0 to 1, that lies at other frequencies than the reference's, in its flat soft tissue, see
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
        """Return the scores as JSON has them."""
        return dataclasses.asdict(self)


def compare(a: Volume, reference: Volume, *, outline: NDArray[np.float32] | None = None) -> Scores:
    """Score `a` against `reference`.

    Parameters
    ----------
    a, reference : Volume
        Of the same shape. Padding of either is left out.
    outline : ndarray of shape (z, y, x), float32, HU, optional
        What the body is found in, if not the reference: of a phantom, the drawing.

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

    def of(name: str, measure: Any) -> float | None:
        values = difference[masks[name]]
        return float(measure(values)) if values.size else None

    low, high = _SOFT_WINDOW
    return Scores(
        psnr_db=float(20 * np.log10(_RANGE / rmse)) if rmse > 0 else None,
        ssim=_ssim(a.hu, reference.hu, masks["body"], _RANGE),
        ssim_soft=_ssim(np.clip(a.hu, low, high), np.clip(reference.hu, low, high), masks["body"], high - low),
        rmse_hu={name: of(name, lambda d: np.sqrt(np.mean(d**2))) for name in TISSUES},
        mean_difference_hu={name: of(name, np.mean) for name in TISSUES},
        largest_difference_hu=float(np.max(np.abs(body))) if body.size else 0.0,
        edge_sharpness=_sharpness(a, reference, masks["body"]),
        nps_distance=_nps_distance(a, reference, masks["soft"]),
    )


def _sharpness(a: Volume, reference: Volume, mask: NDArray[np.bool_]) -> dict[str, float | None]:
    edges = Edges.of(reference.hu, mask, reference.geometry.pixel_spacing_mm)
    widths, sharp = edges.widths_mm(a.hu), edges.widths_mm(reference.hu)
    return {kind: _ratio(sharp[kind], widths[kind]) for kind in widths}


def _ratio(a: float | None, b: float | None) -> float | None:
    return a / b if a is not None and b else None


def _nps_distance(a: Volume, reference: Volume, mask: NDArray[np.bool_]) -> float | None:
    flat = FlatRegions.of(reference.hu, mask)
    if flat is None:
        return None
    spacing = reference.geometry.pixel_spacing_mm
    return flat.power(a.hu, spacing).distance(flat.power(reference.hu, spacing))


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
