"""The numbers of the report: what changed, by tissue, by frequency and at edges."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from ..quality import TISSUES, Edges, FlatRegions, NoisePower, sample_slices, tissues, tissues_of_noisy
from ..volume import Volume

__all__ = ["LIMITS", "doubts", "report_numbers"]

# What the report marks: how far the mean of a tissue may move, and how much the residual may look like edges.
LIMITS = {"mean_shift_hu": 0.5, "anatomy_in_residual": 0.03}

# SD in pixels of the neighbourhood that tells how large the residual is there.
_LOCAL = 8.0


def report_numbers(before: Volume, after: Mapping[str, Volume], *, reference: Volume | None = None) -> dict[str, Any]:
    """Measure what was taken away from a series.

    Parameters
    ----------
    before : Volume
    after : mapping of str to Volume
        One for each strength.
    reference : Volume, optional
        The same without noise, where it is known.

    Returns
    -------
    dict
        ``before``, one for each strength in ``after``, and ``reference`` if there is one, each with

        * ``noise_sd_hu``: by tissue, the SD in flat regions of slices, see `FlatRegions`; fine anatomy counts as noise,
          in lung and bone more than there is of noise.
        * ``mean_hu``: by tissue, as told by the reference, else by the result from which most was taken.
        * ``nps``: the noise power spectrum in flat soft tissue, with ``frequency_per_mm``, ``power_hu2_mm2`` and
          ``mean_frequency_per_mm``.

        Of each strength besides

        * ``mean_shift_hu``, by tissue, and ``noise_taken``, the share of the noise SD in soft tissue that is gone.
        * ``residual_sd_hu``: SD of what was taken away, in the same flat regions; and ``residual_nps``.
        * ``anatomy_in_residual``: correlation, from -1 to 1, of the size of the residual, as a share of its size
          around, with the steepness of the result: near 0, only noise was taken out; below, less of it at edges.
        * ``edge_width_mm``: 10-90 % width of the mean edge ``before`` and ``after``, and of the ``reference`` if there
          is one; ``strong`` and ``weak``, see `Edges`. Edges are found in the reference, else the strong ones in the
          result. ``edge_sharpness``: width of the reference, else of the source, as a share of the result's.

        ``limits``: what is wanted. None stands where a tissue is absent, or has no flat region or too few edges.
    """
    drawn = tissues((_cleanest(before, after) if reference is None else reference).hu)
    if before.padding is not None:
        drawn = {name: mask & ~before.padding for name, mask in drawn.items()}
    # Flat regions are chosen before anything was done to them; means are those of the tissues that one sees.
    masks = tissues_of_noisy(before.hu, before.padding) if reference is None else drawn
    flat = {name: FlatRegions.of(before.hu if reference is None else reference.hu, masks[name]) for name in TISSUES}
    source = _levels(before, drawn, flat)
    result: dict[str, Any] = {"limits": dict(LIMITS), "before": source, "after": {}}
    if reference is not None:
        result["reference"] = _levels(reference, drawn, flat)
    for strength, volume in after.items():
        levels = _levels(volume, drawn, flat)
        residual = before.with_hu(before.hu - volume.hu)
        taken = _levels(residual, drawn, flat)
        result["after"][strength] = {
            **levels,
            "mean_shift_hu": _each(lambda a, b: a - b, levels["mean_hu"], source["mean_hu"]),
            "noise_taken": _share_taken(source["noise_sd_hu"]["soft"], levels["noise_sd_hu"]["soft"]),
            "residual_sd_hu": taken["noise_sd_hu"],
            "residual_nps": taken["nps"],
            "anatomy_in_residual": _likeness(residual.hu, volume.hu, masks["body"]),
            **_edges(before, volume, reference, masks["body"]),
        }
    return result


def _cleanest(before: Volume, after: Mapping[str, Volume]) -> Volume:
    """Return the volume from which most was taken; its tissues are the truest there are, see docs/adr/0011."""
    shown = sample_slices(len(before.hu))
    return max(after.values(), key=lambda volume: float(np.square(before.hu[shown] - volume.hu[shown]).sum()))


def doubts(numbers: Mapping[str, Any]) -> list[str]:
    """Return a sentence for each of `LIMITS` that a strength exceeds."""
    said = []
    for strength, measured in numbers["after"].items():
        for tissue, shift in measured["mean_shift_hu"].items():
            if shift is not None and abs(shift) > LIMITS["mean_shift_hu"]:
                limit = LIMITS["mean_shift_hu"]
                said.append(f"{strength}: the mean of {tissue} moved by {shift:+.1f} HU, more than {limit} HU.")
        likeness = measured["anatomy_in_residual"]
        if likeness is not None and likeness >= LIMITS["anatomy_in_residual"]:
            limit = LIMITS["anatomy_in_residual"]
            said.append(
                f"{strength}: what was taken out looks like anatomy, by {likeness:.2f}, more than {limit}: "
                "look at the residual in the report."
            )
    return said


def _levels(
    volume: Volume, masks: Mapping[str, NDArray[np.bool_]], flat: Mapping[str, FlatRegions | None]
) -> dict[str, Any]:
    means = {
        name: _number(volume.hu[masks[name]].mean(dtype=np.float64)) if masks[name].any() else None for name in flat
    }
    noise = {name: None if regions is None else _number(regions.sd(volume.hu)) for name, regions in flat.items()}
    return {"noise_sd_hu": noise, "mean_hu": means, "nps": _nps(volume, flat["soft"])}


def _share_taken(before: float | None, after: float | None) -> float | None:
    if before is None or after is None:
        return None
    return _number(1 - after / before) if before > 0 else 0.0


def _nps(volume: Volume, flat: FlatRegions | None) -> dict[str, Any] | None:
    if flat is None:
        return None
    power: NoisePower = flat.power(volume.hu, volume.geometry.pixel_spacing_mm)
    mean = power.mean_frequency
    return {
        "frequency_per_mm": [_number(f) for f in power.frequency_per_mm],
        "power_hu2_mm2": [float(f"{p:.5g}") for p in power.power_hu2_mm2],
        "mean_frequency_per_mm": None if mean is None else _number(mean),
    }


def _edges(before: Volume, after: Volume, reference: Volume | None, mask: NDArray[np.bool_]) -> dict[str, Any]:
    shown = after if reference is None else reference
    edges = Edges.of(shown.hu, mask, before.geometry.pixel_spacing_mm)
    volumes = {"before": before, "after": after} | ({} if reference is None else {"reference": reference})
    widths = {name: edges.widths_mm(volume.hu) for name, volume in volumes.items()}
    if reference is None:
        # Without a truth noise would be taken for weak edges.
        widths = {name: {"strong": width["strong"], "weak": None} for name, width in widths.items()}
    rounded = {name: {kind: _maybe(value) for kind, value in width.items()} for name, width in widths.items()}
    sharp = rounded["before" if reference is None else "reference"]
    return {
        "edge_width_mm": rounded,
        "edge_sharpness": _each(lambda a, b: a / b if b else 0.0, sharp, rounded["after"]),
    }


def _likeness(residual: NDArray[np.float32], after: NDArray[np.float32], mask: NDArray[np.bool_]) -> float | None:
    """Return the correlation of the residual's size, as a share of its size around, with the result's slope in slices.

    Noise is larger in some places than in others, as edges are; only what is larger than around it can be an edge.
    """
    levels = sample_slices(len(after))
    residual, after, mask = residual[levels], after[levels], mask[levels]
    if not mask.any() or min(after.shape[1:]) < 2:
        return None
    around = np.sqrt(ndimage.gaussian_filter(residual**2, (0, _LOCAL, _LOCAL)))
    share: NDArray[np.float32] = np.abs(residual) / np.where(around > 0, around, np.float32(1))
    slope: NDArray[np.float32] = np.hypot(*np.gradient(after, axis=(1, 2)))
    # A residual that is everywhere the same, but for rounding, looks like nothing.
    return _correlation(share[mask], slope[mask]) if share[mask].std() > 1e-3 else 0.0


def _correlation(a: NDArray[np.float32], b: NDArray[np.float32]) -> float | None:
    if a.size < 2:
        return None
    x, y = a - a.mean(dtype=np.float64), b - b.mean(dtype=np.float64)
    scale = float(np.sqrt((x * x).sum(dtype=np.float64) * (y * y).sum(dtype=np.float64)))
    return _number((x * y).sum(dtype=np.float64) / scale) if scale > 0 else 0.0


def _each(f: Any, a: Mapping[str, float | None], b: Mapping[str, float | None]) -> dict[str, float | None]:
    return {name: None if a[name] is None or b[name] is None else _number(f(a[name], b[name])) for name in a}


def _maybe(value: float | None) -> float | None:
    return None if value is None else _number(value)


def _number(value: float) -> float:
    """Round to what a reader can use; JSON then is the same on every machine."""
    return round(float(value), 4)
