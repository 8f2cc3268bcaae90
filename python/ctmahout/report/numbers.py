"""Measurements of the report: a series before and after denoising goes in, numbers for JSON and warnings come out."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from ..quality import (
    NOISY_SMOOTHING_PX,
    OCTAVES,
    TISSUES_AND_FAT,
    Apply,
    Edges,
    FlatRegions,
    NoisePower,
    NoiseRemoved,
    detail_recovery,
    interior,
    neighbour_distance,
    sample_slices,
    structure_in_residual,
    tissues,
    tissues_from_neighbours,
)
from ..volume import Volume

__all__ = [
    "LIMITS",
    "STRUCTURE_TISSUES",
    "exceeds",
    "limit_of",
    "limit_warnings",
    "noise_removed_by_region",
    "noise_within_limits",
    "report_numbers",
    "with_range",
]

Masks = Mapping[str, NDArray[np.bool_]]
ByTissue = dict[str, float | None]

# Limits that the report marks when they are exceeded (docs/adr/0023).
LIMITS = {
    "mean_shift_hu": 0.5,  # of a tissue, away from its borders
    "border_shift_hu": 1.0,  # near its borders
    "bone_border_shift_hu": 2.0,  # most of bone is near a border, and noisier
    "anatomy_in_residual": 0.03,  # correlation of the residual with edges
    "structure_in_residual": 0.1,  # correlation with structure within a tissue
    "noise_taken": 0.1,  # fraction removed, at least
    "noise_taken_spread": 0.35,  # between the regions with the lowest and the highest fraction removed
    "noise_untouched": 0.03,  # fraction of the regions with less than half of the usual fraction removed
    "contrast_kept": 0.7,  # of faint details, at least
}

# Tissues whose structure is measured; bone is too small and too heterogeneous.
STRUCTURE_TISSUES = ("lung", "fat", "soft")
_LOCAL_PX = 8.0  # SD of the neighbourhood that the size of the residual is compared with
# Means near other tissue, within 6 mm or 4 to 8 pixels, are measured apart, without pixels in which the two mix.
_BORDER_MM, _BORDER_PX, _MIXED_PX = 6.0, (4, 8), 2
_MIN_VOXELS = 2000  # of a mean
_OTHER_TISSUE_HU = 100.0  # from the range of a tissue; smoothed noise hardly ever is as large, so it selects no voxels
_MIN_NOISE_HU = 1.0  # with less noise in the source there is nothing to remove
_AIR_HU = -1000.0  # in place of padding, as in the input of methods


def report_numbers(
    before: Volume,
    after: Mapping[str, Volume],
    *,
    reference: Volume | None = None,
    apply: Mapping[str, Apply] | None = None,
    by_region: Mapping[str, NoiseRemoved] | None = None,
) -> dict[str, Any]:
    """Measure what a denoiser removed from a series.

    Parameters
    ----------
    before : Volume
        The source.
    after : mapping of str to Volume
        The result for each strength.
    reference : Volume, optional
        The source without noise, if it is known.
    apply : mapping of str to Apply, optional
        The denoiser for each strength; without it faint details are not measured.
    by_region : mapping of str to NoiseRemoved, optional
        Results of `noise_removed_by_region` for each strength, to avoid measuring them again.

    Returns
    -------
    dict
        ``before``, one for each strength in ``after``, and ``reference`` if there is one, each with

        * ``noise_sd_hu``: by tissue, the SD in flat regions of slices, see `FlatRegions`. Fine anatomy counts as noise;
          in lung and bone there may be more of it than of noise.
        * ``mean_hu``: by tissue, at least 6 mm, or 4 to 8 pixels, away from other tissue; and ``border_mean_hu``, near
          it. Tissues are segmented in the reference, or else in slices on both sides, so neither by the result nor
          by the noise that is measured; where the slice itself is far from the range of the tissue, it holds another
          one. None with fewer than 2000 voxels.
        * ``nps``: the noise power spectrum in flat soft tissue, with ``frequency_per_mm``, ``power_hu2_mm2`` and
          ``mean_frequency_per_mm``.

        For each strength also

        * ``mean_shift_hu`` and ``border_shift_hu``, by tissue, with their standard errors ``mean_shift_error_hu`` and
          ``border_shift_error_hu``.
        * ``noise_taken``: the fraction of the noise SD in soft tissue that was removed; and ``noise_taken_by``, the
          same by region, see `NoiseRemoved`: ``low``, ``high``, ``untouched``, ``rings``, ``thirds``, ``tissues`` and
          ``cells``.
        * ``residual_sd_hu``: SD of source minus result, in the same flat regions; and ``residual_nps``.
        * ``anatomy_in_residual``: correlation, -1 to 1, of the size of the residual, relative to its neighbourhood,
          with the gradient of the result: near 0, only noise was removed; below 0, less noise was removed at edges.
        * ``structure_in_residual``: by tissue and band of frequencies, see `structure_in_residual`: near 0, only noise
          was removed from the inside of a tissue.
        * ``details``: recovery of faint details added to the source, by kind: ``contrast_hu``, ``slices``, ``count``,
          ``kept`` and ``detectability``, see `DetailRecovery`. None if they were not measured.
        * ``edge_width_mm``: 10-90 % width of the mean edge ``before`` and ``after``, and of the ``reference`` if there
          is one; ``strong`` and ``weak``, see `Edges`. Edges are located in the reference, or else the strong ones in
          the result. ``edge_sharpness``: width of the reference, or else of the source, divided by that of the result.

        ``limits``: the limits of these numbers. None stands for a tissue that is absent, or has no flat region or too
        few edges.
    """
    masks = _masks(before, reference)
    source = before if reference is None else reference
    flat = {name: FlatRegions.of(source.hu, masks[name]) for name in TISSUES_AND_FAT}
    mean_masks = _mean_masks(before, masks, reference)
    numbers_before = _volume_numbers(before, mean_masks, flat)
    result: dict[str, Any] = {"limits": dict(LIMITS), "before": numbers_before, "after": {}}
    if reference is not None:
        result["reference"] = _volume_numbers(reference, mean_masks, flat)
    for strength, volume in after.items():
        numbers = _volume_numbers(volume, mean_masks, flat)
        residual = before.with_hu(before.hu - volume.hu)
        noise_removed = (by_region or {}).get(strength)
        if noise_removed is None:
            noise_removed = NoiseRemoved.of(before.hu, volume.hu, _select(masks, ("soft", "fat")))
        sd_before, sd_after = numbers_before["noise_sd_hu"]["soft"], numbers["noise_sd_hu"]["soft"]
        result["after"][strength] = {
            **numbers,
            **_shifts(residual.hu, mean_masks),
            "noise_taken": _fraction_removed(sd_before, sd_after),
            "noise_taken_by": _by_region(noise_removed),
            "residual_sd_hu": _noise_sd(residual, flat),
            "residual_nps": _nps(residual, flat["soft"]),
            "anatomy_in_residual": _edge_correlation(residual.hu, volume.hu, masks["body"]),
            "structure_in_residual": _structure(residual.hu, volume.hu, masks),
            "details": _details(before, (apply or {}).get(strength), masks["soft"], sd_before),
            **_edges(before, volume, reference, masks["body"]),
        }
    return result


def noise_removed_by_region(before: Volume, after: Volume) -> NoiseRemoved:
    """Return the fraction of the noise removed by region, as `report_numbers` measures it."""
    return NoiseRemoved.of(before.hu, after.hu, _select(_masks(before, None), ("soft", "fat")))


def limit_warnings(numbers: Mapping[str, Any]) -> list[str]:
    """Return a sentence for users for each of `LIMITS` that a strength exceeds; `numbers` as of `report_numbers`."""
    return [
        f"{strength}: {sentence}"
        for strength, measured in numbers["after"].items()
        for sentence in _limit_warnings(measured)
    ]


def _limit_warnings(measured: Mapping[str, Any]) -> list[str]:
    sentences = []
    for key, subject in (("mean_shift", "the mean of {}"), ("border_shift", "the mean of {} near its borders")):
        for tissue, shift in measured[f"{key}_hu"].items():
            limit = limit_of(key, tissue)
            if exceeds(shift, measured[f"{key}_error_hu"][tissue], limit):
                sentences.append(f"{subject.format(tissue)} shifted by {shift:+.1f} HU, by more than {limit} HU.")
    correlation, limit = measured["anatomy_in_residual"], LIMITS["anatomy_in_residual"]
    if correlation is not None and correlation >= limit:
        sentences.append(
            f"the residual correlates with edges, {correlation:.2f} where at most {limit} is expected: check the "
            "residual in the report."
        )
    limit = LIMITS["structure_in_residual"]
    for tissue, bands in measured["structure_in_residual"].items():
        largest = max((share for share in bands.values() if share is not None), default=0.0)
        if largest >= limit:
            sentences.append(
                f"the residual in {tissue} correlates with anatomy, {largest:.2f} where at most {limit} is expected: "
                "check the residual in the report."
            )
    return sentences + _noise_warnings(measured) + _detail_warnings(measured)


def noise_within_limits(measured: Mapping[str, Any]) -> bool | None:
    """Return whether enough noise was removed, and about as much in all regions; None if it was not measured.

    `measured` is ``after`` of `report_numbers` for one strength.
    """
    return None if measured["noise_taken"] is None else not _noise_warnings(measured)


def with_range(text: str, removed: float | None, low: float | None, high: float | None) -> str:
    """Append the lowest and the highest fraction of the noise removed to a text, if they are known."""
    if removed is None or low is None or high is None:
        return text
    return f"{text} ({100 * min(low, removed):.0f} % to {100 * max(high, removed):.0f} % by region)"


def _noise_warnings(measured: Mapping[str, Any]) -> list[str]:
    sentences, removed, by_region = [], measured["noise_taken"], measured["noise_taken_by"]
    low, high, untouched = (by_region[key] for key in ("low", "high", "untouched"))
    if removed is not None and removed < LIMITS["noise_taken"] and measured["noise_sd_hu"]["soft"] >= _MIN_NOISE_HU:
        sentences.append(f"only {100 * removed:.0f} % of the noise was removed.")
    if low is not None and high - low > LIMITS["noise_taken_spread"]:
        sentences.append(
            f"between {100 * low:.0f} % and {100 * high:.0f} % of the noise was removed, depending on the region."
        )
    elif untouched is not None and untouched > LIMITS["noise_untouched"]:
        sentences.append(
            f"in {100 * untouched:.0f} % of the regions less than half as much noise was removed as elsewhere."
        )
    return sentences


def _detail_warnings(measured: Mapping[str, Any]) -> list[str]:
    limit = LIMITS["contrast_kept"]
    return [
        f"a {kind} of {abs(detail['contrast_hu']):.0f} HU keeps {100 * detail['kept']:.0f} % of its contrast, less "
        f"than {100 * limit:.0f} %."
        for kind, detail in (measured["details"] or {}).items()
        if detail["kept"] < limit
    ]


def limit_of(key: str, tissue: str) -> float:
    """Return the limit of the shift of a tissue's mean, HU; `key` is mean_shift or border_shift."""
    return LIMITS["bone_border_shift_hu" if (key, tissue) == ("border_shift", "bone") else f"{key}_hu"]


def exceeds(shift: float | None, error: float | None, limit: float) -> bool:
    """Return whether the size of a shift exceeds a limit by more than two standard errors; all in HU."""
    return shift is not None and abs(shift) - 2 * (error or 0.0) > limit


def _masks(before: Volume, reference: Volume | None) -> dict[str, NDArray[np.bool_]]:
    """Return masks of the sampled slices, segmented independently of the result."""
    slices = sample_slices(len(before.hu))
    if reference is None:
        return tissues_from_neighbours(before.hu, before.padding, slices, ranges=TISSUES_AND_FAT)
    masks = {}
    for name, mask in tissues(reference.hu[slices], ranges=TISSUES_AND_FAT).items():
        masks[name] = np.zeros(before.shape, np.bool_)
        masks[name][slices] = mask if before.padding is None else mask & ~before.padding[slices]
    return masks


def _mean_masks(before: Volume, masks: Masks, reference: Volume | None) -> dict[str, dict[str, NDArray[np.bool_]]]:
    """Return the masks in which means are measured, by tissue: ``mean`` away from borders, ``border`` near them.

    They are masks of the sampled slices only.
    """
    slices = sample_slices(len(before.hu))
    distance = neighbour_distance(before.geometry.spacing_mm)
    if reference is None and distance > 1:
        masks = tissues_from_neighbours(before.hu, before.padding, slices, ranges=TISSUES_AND_FAT, distance=distance)
    if reference is None:
        masks = _without_other_tissue(before.hu, masks, slices)
    border = int(np.clip(np.rint(_BORDER_MM / max(before.geometry.pixel_spacing_mm)), *_BORDER_PX))
    mean_masks: dict[str, dict[str, NDArray[np.bool_]]] = {"mean": {}, "border": {}}
    for name in TISSUES_AND_FAT:
        inner, pure = (interior(masks[name][slices], pixels) for pixels in (border, _MIXED_PX))
        mean_masks["mean"][name], mean_masks["border"][name] = inner, pure & ~inner
    return mean_masks


def _without_other_tissue(hu: NDArray[np.float32], masks: Masks, slices: NDArray[np.intp]) -> Masks:
    """Return masks without the voxels that hold another tissue than the slices on both sides do, as far ones may."""
    smooth = ndimage.gaussian_filter(hu[slices], (0, NOISY_SMOOTHING_PX, NOISY_SMOOTHING_PX))
    result = {}
    for name, (low, high) in TISSUES_AND_FAT.items():
        result[name] = masks[name].copy()
        result[name][slices] &= (smooth > low - _OTHER_TISSUE_HU) & (smooth < high + _OTHER_TISSUE_HU)
    return result


def _select(masks: Masks, names: Sequence[str]) -> dict[str, NDArray[np.bool_]]:
    return {name: masks[name] for name in names}


def _volume_numbers(
    volume: Volume, mean_masks: Mapping[str, Masks], flat: Mapping[str, FlatRegions | None]
) -> dict[str, Any]:
    """Return the numbers of one volume: noise, means and noise power spectrum."""
    hu = volume.hu[sample_slices(len(volume.hu))]
    means = {
        key: {
            name: _number(hu[mask].mean(dtype=np.float64)) if np.count_nonzero(mask) >= _MIN_VOXELS else None
            for name, mask in masks.items()
        }
        for key, masks in mean_masks.items()
    }
    return {
        "noise_sd_hu": _noise_sd(volume, flat),
        "mean_hu": means["mean"],
        "border_mean_hu": means["border"],
        "nps": _nps(volume, flat["soft"]),
    }


def _noise_sd(volume: Volume, flat: Mapping[str, FlatRegions | None]) -> ByTissue:
    return {name: None if regions is None else _number(regions.sd(volume.hu)) for name, regions in flat.items()}


def _shifts(residual: NDArray[np.float32], mean_masks: Mapping[str, Masks]) -> dict[str, ByTissue]:
    """Return the shifts of means, and their standard errors from the variation between slices, in HU.

    The mean is a ratio of sums over slices, and the error that of a ratio estimator (Cochran 1977, section 2.11).
    """
    residual = residual[sample_slices(len(residual))]
    result: dict[str, ByTissue] = {}
    for key, masks in mean_masks.items():
        shifts, errors = result.setdefault(f"{key}_shift_hu", {}), result.setdefault(f"{key}_shift_error_hu", {})
        for name, mask in masks.items():
            count = np.count_nonzero(mask, axis=(1, 2)).astype(np.float64)
            if count.sum() < _MIN_VOXELS:
                shifts[name] = errors[name] = None
                continue
            total = -np.where(mask, residual, np.float32(0)).sum(axis=(1, 2), dtype=np.float64)
            shift = total.sum() / count.sum()
            slices = np.count_nonzero(count)
            variance = np.sum((total - shift * count) ** 2) * slices / max(slices - 1, 1)
            shifts[name], errors[name] = _number(shift), _number(np.sqrt(variance) / count.sum())
    return result


def _by_region(removed: NoiseRemoved) -> dict[str, Any]:
    return {
        "low": _optional(removed.low),
        "high": _optional(removed.high),
        "untouched": _optional(removed.untouched),
        "rings": [_optional(value) for value in removed.rings],
        "thirds": [_optional(value) for value in removed.thirds],
        "tissues": {name: _optional(value) for name, value in removed.tissues.items()},
        "cells": [
            [[_number(v) if np.isfinite(v) else None for v in row] for row in third] for third in removed.cells.tolist()
        ],
    }


def _structure(residual: NDArray[np.float32], after: NDArray[np.float32], masks: Masks) -> dict[str, ByTissue]:
    by_tissue = structure_in_residual(residual, after, _select(masks, STRUCTURE_TISSUES))
    return {name: {band: _optional(bands[band]) for band in OCTAVES} for name, bands in by_tissue.items()}


def _details(
    before: Volume, apply: Apply | None, soft: NDArray[np.bool_], noise_sd_hu: float | None
) -> dict[str, Any] | None:
    if apply is None or not noise_sd_hu:
        return None
    hu = before.hu if before.padding is None else np.where(before.padding, np.float32(_AIR_HU), before.hu)
    rows_mm, columns_mm = before.geometry.pixel_spacing_mm
    recovery = detail_recovery(
        hu,
        soft,
        noise_sd_hu,
        apply,
        pixel_mm=float(np.sqrt(rows_mm * columns_mm)),
        spacing_mm=before.geometry.spacing_mm,
    )
    if recovery is None:
        return None
    return {
        name: {
            "contrast_hu": _number(detail.contrast_hu),
            "slices": detail.slices,
            "count": detail.count,
            "kept": _number(detail.kept),
            "detectability": _optional(detail.detectability),
        }
        for name, detail in recovery.items()
    }


def _fraction_removed(before: float | None, after: float | None) -> float | None:
    if before is None or after is None:
        return None
    return _number(1 - after / before) if before > 0 else 0.0


def _nps(volume: Volume, flat: FlatRegions | None) -> dict[str, Any] | None:
    if flat is None:
        return None
    power: NoisePower = flat.power(volume.hu, volume.geometry.pixel_spacing_mm)
    return {
        "frequency_per_mm": [_number(f) for f in power.frequency_per_mm],
        "power_hu2_mm2": [float(f"{p:.5g}") for p in power.power_hu2_mm2],
        "mean_frequency_per_mm": _optional(power.mean_frequency),
    }


def _edges(before: Volume, after: Volume, reference: Volume | None, mask: NDArray[np.bool_]) -> dict[str, Any]:
    edges = Edges.of((after if reference is None else reference).hu, mask, before.geometry.pixel_spacing_mm)
    volumes = {"before": before, "after": after} | ({} if reference is None else {"reference": reference})
    widths = {name: edges.widths_mm(volume.hu) for name, volume in volumes.items()}
    if reference is None:
        # Without a reference, noise would count as weak edges.
        widths = {name: {"strong": width["strong"], "weak": None} for name, width in widths.items()}
    rounded = {name: {kind: _optional(value) for kind, value in width.items()} for name, width in widths.items()}
    original = rounded["before" if reference is None else "reference"]
    return {
        "edge_width_mm": rounded,
        "edge_sharpness": _by_key(lambda a, b: a / b if b else 0.0, original, rounded["after"]),
    }


def _edge_correlation(
    residual: NDArray[np.float32], after: NDArray[np.float32], mask: NDArray[np.bool_]
) -> float | None:
    """Return the correlation of the residual's size, relative to its neighbourhood, with the gradient of the result.

    Noise is stronger in some regions than in others, and so are edges; only a residual larger than in its neighbourhood
    is evidence of an edge.
    """
    slices = sample_slices(len(after))
    residual, after, mask = residual[slices], after[slices], mask[slices]
    if not mask.any() or min(after.shape[1:]) < 2:
        return None
    neighbourhood = np.sqrt(ndimage.gaussian_filter(residual**2, (0, _LOCAL_PX, _LOCAL_PX)))
    relative: NDArray[np.float32] = np.abs(residual) / np.where(neighbourhood > 0, neighbourhood, np.float32(1))
    gradient: NDArray[np.float32] = np.hypot(*np.gradient(after, axis=(1, 2)))
    # A residual that is constant but for rounding is uncorrelated with anything.
    return _correlation(relative[mask], gradient[mask]) if relative[mask].std() > 1e-3 else 0.0


def _correlation(a: NDArray[np.float32], b: NDArray[np.float32]) -> float | None:
    if a.size < 2:
        return None
    x, y = a - a.mean(dtype=np.float64), b - b.mean(dtype=np.float64)
    scale = float(np.sqrt((x * x).sum(dtype=np.float64) * (y * y).sum(dtype=np.float64)))
    return _number((x * y).sum(dtype=np.float64) / scale) if scale > 0 else 0.0


def _by_key(
    f: Callable[[float, float], float], a: Mapping[str, float | None], b: Mapping[str, float | None]
) -> ByTissue:
    pairs = {name: (a[name], b[name]) for name in a}
    return {name: None if x is None or y is None else _number(f(x, y)) for name, (x, y) in pairs.items()}


def _optional(value: float | None) -> float | None:
    return None if value is None else _number(value)


def _number(value: float) -> float:
    """Round to a useful precision, so that JSON is the same on every machine."""
    return round(float(value), 4)
