"""The numbers of the report: what changed, by tissue, by frequency and at edges."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from ..quality import (
    OCTAVES,
    TISSUES_AND_FAT,
    Apply,
    Edges,
    FlatRegions,
    NoisePower,
    ShareTaken,
    details_kept,
    interior,
    sample_slices,
    slices_apart,
    structure_in_residual,
    tissues,
    tissues_of_noisy,
)
from ..volume import Volume

__all__ = [
    "EVEN",
    "LIMITS",
    "beyond",
    "doubts",
    "limit_of",
    "noise_is_fine",
    "report_numbers",
    "share_taken",
    "with_spread",
]

Masks = Mapping[str, NDArray[np.bool_]]

# What the report marks.
LIMITS = {
    "mean_shift_hu": 0.5,  # of a tissue, away from its borders
    "border_shift_hu": 1.0,  # and near them
    "bone_border_shift_hu": 2.0,  # bone has little but borders, and is noisier than they
    "anatomy_in_residual": 0.03,  # likeness of the residual to edges
    "structure_in_residual": 0.1,  # and to the structure within a tissue
    "noise_taken": 0.1,  # at least
    "noise_taken_spread": 0.35,  # between the regions where least and most was taken
    "noise_untouched": 0.03,  # share of the regions with less than half of what is usual
    "contrast_kept": 0.7,  # of faint details, at least
}

# SD in pixels of the neighbourhood that tells how large the residual is there.
_LOCAL = 8.0
# Tissues whose noise and structure are looked at; bone is too small and too uneven.
EVEN = ("lung", "fat", "soft")
# Means: what is so near to other tissue counts as its border, but for pixels in which the two mix.
_BORDER_MM, _BORDER_PX, _MIXED_PX = 6.0, (4, 8), 2
_FEWEST = 2000  # voxels that have a mean
_LEAST_NOISE_HU = 1.0  # SD: with less there is nothing to remove
_AIR_HU = -1000.0  # in the place of padding, as methods are given it


def report_numbers(
    before: Volume,
    after: Mapping[str, Volume],
    *,
    reference: Volume | None = None,
    apply: Mapping[str, Apply] | None = None,
    taken: Mapping[str, ShareTaken] | None = None,
) -> dict[str, Any]:
    """Measure what was taken away from a series.

    Parameters
    ----------
    before : Volume
    after : mapping of str to Volume
        One for each strength.
    reference : Volume, optional
        The same without noise, where it is known.
    apply : mapping of str to Apply, optional
        What was learnt, for each strength; without it faint details are not tried.
    taken : mapping of str to ShareTaken, optional
        What `share_taken` gave for each strength, if it was called before.

    Returns
    -------
    dict
        ``before``, one for each strength in ``after``, and ``reference`` if there is one, each with

        * ``noise_sd_hu``: by tissue, the SD in flat regions of slices, see `FlatRegions`; fine anatomy counts as noise,
          in lung and bone more than there is of noise.
        * ``mean_hu``: by tissue, away from others by 6 mm, but 4 to 8 pixels, and ``border_mean_hu``, nearer than that.
          Tissues are told by the reference, else by slices on both sides, so neither by the result nor by the
          noise that is measured. None with fewer than 2000 voxels.
        * ``nps``: the noise power spectrum in flat soft tissue, with ``frequency_per_mm``, ``power_hu2_mm2`` and
          ``mean_frequency_per_mm``.

        Of each strength besides

        * ``mean_shift_hu`` and ``border_shift_hu``, by tissue, with their standard errors ``mean_shift_error_hu`` and
          ``border_shift_error_hu``.
        * ``noise_taken``, the share of the noise SD in soft tissue that is gone; and ``noise_taken_by``, the same by
          place, see `ShareTaken`: ``low``, ``high``, ``untouched``, ``rings``, ``thirds``, ``tissues`` and ``cells``.
        * ``residual_sd_hu``: SD of what was taken away, in the same flat regions; and ``residual_nps``.
        * ``anatomy_in_residual``: correlation, from -1 to 1, of the size of the residual, as a share of its size
          around, with the steepness of the result: near 0, only noise was taken out; below, less of it at edges.
        * ``structure_in_residual``: by tissue and band of frequencies, see `structure_in_residual`: near 0, only noise
          was taken out of the inside of a tissue.
        * ``details``: what comes back of faint details that are added to the source, by kind: ``contrast_hu``,
          ``slices``, ``count``, ``kept`` and ``detectability``, see `DetailKept`. None where they could not be tried.
        * ``edge_width_mm``: 10-90 % width of the mean edge ``before`` and ``after``, and of the ``reference`` if there
          is one; ``strong`` and ``weak``, see `Edges`. Edges are found in the reference, else the strong ones in the
          result. ``edge_sharpness``: width of the reference, else of the source, as a share of the result's.

        ``limits``: what is wanted. None stands where a tissue is absent, or has no flat region or too few edges.
    """
    masks = _masks(before, reference)
    flat = {
        name: FlatRegions.of(before.hu if reference is None else reference.hu, masks[name]) for name in TISSUES_AND_FAT
    }
    places = _places(before, masks, reference)
    source = _levels(before, places, flat)
    result: dict[str, Any] = {"limits": dict(LIMITS), "before": source, "after": {}}
    if reference is not None:
        result["reference"] = _levels(reference, places, flat)
    for strength, volume in after.items():
        levels = _levels(volume, places, flat)
        residual = before.with_hu(before.hu - volume.hu)
        share = (taken or {}).get(strength) or ShareTaken.of(before.hu, volume.hu, _pick(masks, ("soft", "fat")))
        result["after"][strength] = {
            **levels,
            **_shifts(residual.hu, places),
            "noise_taken": _share_taken(source["noise_sd_hu"]["soft"], levels["noise_sd_hu"]["soft"]),
            "noise_taken_by": _by_place(share),
            "residual_sd_hu": _noise_sd(residual, flat),
            "residual_nps": _nps(residual, flat["soft"]),
            "anatomy_in_residual": _likeness(residual.hu, volume.hu, masks["body"]),
            "structure_in_residual": _structure(residual.hu, volume.hu, masks),
            "details": _details(before, (apply or {}).get(strength), masks["soft"], source["noise_sd_hu"]["soft"]),
            **_edges(before, volume, reference, masks["body"]),
        }
    return result


def share_taken(before: Volume, after: Volume) -> ShareTaken:
    """Return how much of the noise was taken by place, as `report_numbers` measures it."""
    return ShareTaken.of(before.hu, after.hu, _pick(_masks(before, None), ("soft", "fat")))


def doubts(numbers: Mapping[str, Any]) -> list[str]:
    """Return a sentence for each of `LIMITS` that a strength exceeds."""
    return [
        f"{strength}: {sentence}" for strength, measured in numbers["after"].items() for sentence in _doubts(measured)
    ]


def _doubts(measured: Mapping[str, Any]) -> list[str]:
    said = []
    for key, where in (("mean_shift", "the mean of {}"), ("border_shift", "the mean of {} near its borders")):
        for tissue, shift in measured[f"{key}_hu"].items():
            limit = limit_of(key, tissue)
            if beyond(shift, measured[f"{key}_error_hu"][tissue], limit):
                said.append(f"{where.format(tissue)} shifted by {shift:+.1f} HU, by more than {limit} HU.")
    likeness, limit = measured["anatomy_in_residual"], LIMITS["anatomy_in_residual"]
    if likeness is not None and likeness >= limit:
        said.append(
            f"the residual correlates with edges, {likeness:.2f} where at most {limit} is expected: check the "
            "residual in the report."
        )
    limit = LIMITS["structure_in_residual"]
    for tissue, bands in measured["structure_in_residual"].items():
        most = max((share for share in bands.values() if share is not None), default=0.0)
        if most >= limit:
            said.append(
                f"the residual in {tissue} correlates with anatomy, {most:.2f} where at most {limit} is expected: "
                "check the residual in the report."
            )
    return said + _noise_doubts(measured) + _detail_doubts(measured)


def noise_is_fine(measured: Mapping[str, Any]) -> bool | None:
    """Tell whether enough of the noise was taken, and about as much everywhere; None where it is not known."""
    return None if measured["noise_taken"] is None else not _noise_doubts(measured)


def with_spread(said: str, taken: float | None, low: float | None, high: float | None) -> str:
    """Add to a text how much of the noise was taken where least and where most was, if that is known."""
    if taken is None or low is None or high is None:
        return said
    return f"{said} ({100 * min(low, taken):.0f} % to {100 * max(high, taken):.0f} % by region)"


def _noise_doubts(measured: Mapping[str, Any]) -> list[str]:
    said, taken, by = [], measured["noise_taken"], measured["noise_taken_by"]
    if taken is not None and taken < LIMITS["noise_taken"] and measured["noise_sd_hu"]["soft"] >= _LEAST_NOISE_HU:
        said.append(f"only {100 * taken:.0f} % of the noise was removed.")
    if by["low"] is not None and by["high"] - by["low"] > LIMITS["noise_taken_spread"]:
        low, high = (f"{100 * by[end]:.0f} %" for end in ("low", "high"))
        said.append(f"between {low} and {high} of the noise was removed, depending on the region.")
    elif by["untouched"] is not None and by["untouched"] > LIMITS["noise_untouched"]:
        said.append(
            f"in {100 * by['untouched']:.0f} % of the regions less than half as much noise was removed as elsewhere."
        )
    return said


def _detail_doubts(measured: Mapping[str, Any]) -> list[str]:
    limit = LIMITS["contrast_kept"]
    return [
        f"a {kind} of {abs(found['contrast_hu']):.0f} HU keeps {100 * found['kept']:.0f} % of its contrast, less than "
        f"{100 * limit:.0f} %."
        for kind, found in (measured["details"] or {}).items()
        if found["kept"] < limit
    ]


def limit_of(key: str, tissue: str) -> float:
    """Return how far a mean may move, HU; `key` is mean_shift or border_shift."""
    return LIMITS["bone_border_shift_hu" if (key, tissue) == ("border_shift", "bone") else f"{key}_hu"]


def beyond(shift: float | None, error: float | None, limit: float) -> bool:
    """Tell whether a mean moved by more than a limit, beyond twice its standard error."""
    return shift is not None and abs(shift) - 2 * (error or 0.0) > limit


def _masks(before: Volume, reference: Volume | None) -> dict[str, NDArray[np.bool_]]:
    """Return masks of the slices that are looked at: chosen before anything was done to them."""
    levels = sample_slices(len(before.hu))
    if reference is None:
        return tissues_of_noisy(before.hu, before.padding, levels, ranges=TISSUES_AND_FAT)
    masks = {}
    for name, found in tissues(reference.hu[levels], ranges=TISSUES_AND_FAT).items():
        masks[name] = np.zeros(before.shape, np.bool_)
        masks[name][levels] = found if before.padding is None else found & ~before.padding[levels]
    return masks


def _places(before: Volume, masks: Masks, reference: Volume | None) -> dict[str, dict[str, NDArray[np.bool_]]]:
    """Return where means are measured, by tissue: away from borders, and near them."""
    levels = sample_slices(len(before.hu))
    apart = slices_apart(before.geometry.spacing_mm)
    if reference is None and apart > 1:
        masks = tissues_of_noisy(before.hu, before.padding, levels, ranges=TISSUES_AND_FAT, apart=apart)
    border = int(np.clip(np.rint(_BORDER_MM / max(before.geometry.pixel_spacing_mm)), *_BORDER_PX))
    found: dict[str, dict[str, NDArray[np.bool_]]] = {"mean": {}, "border": {}}
    for name in TISSUES_AND_FAT:
        inner, pure = (interior(masks[name][levels], pixels) for pixels in (border, _MIXED_PX))
        for key, mask in (("mean", inner), ("border", pure & ~inner)):
            found[key][name] = mask
    return found


def _pick(masks: Masks, names: Sequence[str]) -> dict[str, NDArray[np.bool_]]:
    return {name: masks[name] for name in names}


def _levels(volume: Volume, places: Mapping[str, Masks], flat: Mapping[str, FlatRegions | None]) -> dict[str, Any]:
    hu = volume.hu[sample_slices(len(volume.hu))]
    means = {
        key: {
            name: _number(hu[mask].mean(dtype=np.float64)) if np.count_nonzero(mask) >= _FEWEST else None
            for name, mask in masks.items()
        }
        for key, masks in places.items()
    }
    return {
        "noise_sd_hu": _noise_sd(volume, flat),
        "mean_hu": means["mean"],
        "border_mean_hu": means["border"],
        "nps": _nps(volume, flat["soft"]),
    }


def _noise_sd(volume: Volume, flat: Mapping[str, FlatRegions | None]) -> dict[str, float | None]:
    return {name: None if regions is None else _number(regions.sd(volume.hu)) for name, regions in flat.items()}


def _shifts(residual: NDArray[np.float32], places: Mapping[str, Masks]) -> dict[str, dict[str, float | None]]:
    """Return how far means moved, and the standard errors, from what the slices tell one by one."""
    residual = residual[sample_slices(len(residual))]
    found: dict[str, dict[str, float | None]] = {}
    for key, masks in places.items():
        shifts, errors = found.setdefault(f"{key}_shift_hu", {}), found.setdefault(f"{key}_shift_error_hu", {})
        for name, mask in masks.items():
            count = np.count_nonzero(mask, axis=(1, 2)).astype(np.float64)
            if count.sum() < _FEWEST:
                shifts[name] = errors[name] = None
                continue
            total = -np.where(mask, residual, np.float32(0)).sum(axis=(1, 2), dtype=np.float64)
            shift = total.sum() / count.sum()
            filled = np.count_nonzero(count)
            spread = np.sum((total - shift * count) ** 2) * filled / max(filled - 1, 1)
            shifts[name], errors[name] = _number(shift), _number(np.sqrt(spread) / count.sum())
    return found


def _by_place(share: ShareTaken) -> dict[str, Any]:
    return {
        "low": _maybe(share.low),
        "high": _maybe(share.high),
        "untouched": _maybe(share.untouched),
        "rings": [_maybe(value) for value in share.rings],
        "thirds": [_maybe(value) for value in share.thirds],
        "tissues": {name: _maybe(value) for name, value in share.tissues.items()},
        "cells": [
            [[_number(v) if np.isfinite(v) else None for v in row] for row in third] for third in share.cells.tolist()
        ],
    }


def _structure(
    residual: NDArray[np.float32], after: NDArray[np.float32], masks: Masks
) -> dict[str, dict[str, float | None]]:
    found = structure_in_residual(residual, after, _pick(masks, EVEN))
    return {name: {band: _maybe(bands[band]) for band in OCTAVES} for name, bands in found.items()}


def _details(
    before: Volume, apply: Apply | None, soft: NDArray[np.bool_], noise_sd_hu: float | None
) -> dict[str, Any] | None:
    if apply is None or not noise_sd_hu:
        return None
    hu = before.hu if before.padding is None else np.where(before.padding, np.float32(_AIR_HU), before.hu)
    rows_mm, columns_mm = before.geometry.pixel_spacing_mm
    found = details_kept(
        hu,
        soft,
        noise_sd_hu,
        apply,
        pixel_mm=float(np.sqrt(rows_mm * columns_mm)),
        spacing_mm=before.geometry.spacing_mm,
    )
    if found is None:
        return None
    return {
        name: {
            "contrast_hu": _number(kept.contrast_hu),
            "slices": kept.slices,
            "count": kept.count,
            "kept": _number(kept.kept),
            "detectability": _maybe(kept.detectability),
        }
        for name, kept in found.items()
    }


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
