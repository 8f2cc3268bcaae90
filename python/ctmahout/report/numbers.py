"""The numbers of the report: what changed, by tissue."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..noise import noise_sd_by_tissue
from ..quality import NOISY, tissues
from ..volume import Volume

__all__ = ["report_numbers"]

_TISSUES = ("lung", "soft", "bone")


def report_numbers(before: Volume, after: Mapping[str, Volume]) -> dict[str, Any]:
    """Measure what was taken away from a series.

    Parameters
    ----------
    before : Volume
    after : mapping of str to Volume
        One for each strength.

    Returns
    -------
    dict
        ``before``: noise SD and mean in HU by tissue. For each strength the same after, the shift of the mean, the
        share of the noise that is gone, the SD of the residual in the body, and ``anatomy_in_residual``: the
        correlation, from -1 to 1, of the residual's size with the strength of edges in the source; near 0, only noise
        was taken out. None stands where a tissue is absent.
    """
    masks = tissues(before.hu, smoothing=NOISY)
    if before.padding is not None:
        masks = {name: mask & ~before.padding for name, mask in masks.items()}
    of_tissue = {name: masks[name] for name in _TISSUES}
    source = _levels(before.hu, of_tissue)
    edges = _edges(before.hu)[masks["body"]]
    result: dict[str, Any] = {"before": source, "after": {}}
    for strength, volume in after.items():
        levels = _levels(volume.hu, of_tissue)
        residual = (before.hu - volume.hu)[masks["body"]]
        result["after"][strength] = {
            **levels,
            "mean_shift_hu": _each(lambda a, b: a - b, levels["mean_hu"], source["mean_hu"]),
            "noise_taken": _each(lambda a, b: 1 - a / b if b else 0.0, levels["noise_sd_hu"], source["noise_sd_hu"]),
            "residual_sd_hu": _number(residual.std(dtype=np.float64)) if residual.size else None,
            "anatomy_in_residual": _correlation(np.abs(residual), edges),
        }
    return result


def _levels(hu: NDArray[np.float32], masks: Mapping[str, NDArray[np.bool_]]) -> dict[str, dict[str, float | None]]:
    means = {name: _number(hu[mask].mean(dtype=np.float64)) if mask.any() else None for name, mask in masks.items()}
    noise = {name: None if sd is None else _number(sd) for name, sd in noise_sd_by_tissue(hu, masks).items()}
    return {"noise_sd_hu": noise, "mean_hu": means}


def _each(f: Any, a: Mapping[str, float | None], b: Mapping[str, float | None]) -> dict[str, float | None]:
    return {name: None if a[name] is None or b[name] is None else _number(f(a[name], b[name])) for name in a}


def _edges(hu: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the size of the gradient in slices."""
    dy, dx = np.gradient(hu, axis=(1, 2)) if min(hu.shape[1:]) > 1 else (np.zeros_like(hu), np.zeros_like(hu))
    size: NDArray[np.float32] = np.hypot(dy, dx)
    return size


def _correlation(a: NDArray[np.float32], b: NDArray[np.float32]) -> float | None:
    if a.size < 2:
        return None
    x, y = a - a.mean(dtype=np.float64), b - b.mean(dtype=np.float64)
    scale = float(np.sqrt((x * x).sum(dtype=np.float64) * (y * y).sum(dtype=np.float64)))
    return _number((x * y).sum(dtype=np.float64) / scale) if scale > 0 else 0.0


def _number(value: float) -> float:
    """Round to what a reader can use; JSON then is the same on every machine."""
    return round(float(value), 4)
