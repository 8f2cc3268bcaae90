"""Slices in their order in space, and whether they make a volume."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError
from ..volume import Geometry
from .header import SliceHeader, digest
from .issues import Issue

__all__ = ["SAME_PLACE_MM", "alike", "gaps", "geometry_of", "ordered", "stretches"]

# Steps between slices may differ by this share of the median step: scanners round positions to 0.1 mm and worse.
_STEP_TOLERANCE = 0.01
# Slices nearer than this lie at one place. The finest CT has steps of some 0.1 mm.
SAME_PLACE_MM = 1e-3
# So many larger steps are no accident: a scan of two steps.
_FEW = 4
# Direction cosines differ by rounding; a tenth of a degree is another orientation.
_SAME_DIRECTION = 2e-3


def ordered(headers: Sequence[SliceHeader]) -> tuple[list[SliceHeader], list[Issue]]:
    """Return the slices in ascending order along their normal, and what is doubtful about them as a whole.

    Only ImagePositionPatient and ImageOrientationPatient count (PS3.3 C.7.6.2.1.1): neither file names nor
    InstanceNumber, SliceLocation or SliceThickness, which real series contradict.

    Raises
    ------
    InputError
        CTM_SERIES_MIXED, CTM_SLICE_DUPLICATE: no volume, however lenient.
    """
    _check_alike(headers)
    order = sorted(headers, key=lambda h: (h.along_mm, str(h.path)))
    order, copies = _without_copies(order)
    doubts: list[Issue] = []
    if copies:
        doubts.append(f"{copies} files repeat another byte for byte and were left out.")
    doubts += gaps(order)
    doubts += _sideways(order)
    doubts += _identities(order)
    return order, doubts


Values = tuple[float, ...]
# What slices of one volume share: how it is called, where it is found, and when two are the same.
_SHARED: tuple[tuple[str, Callable[[SliceHeader], Values], Callable[[Values, Values], bool]], ...] = (
    (
        "ImageOrientationPatient",
        lambda h: h.orientation,
        lambda a, b: max(abs(p - q) for p, q in zip(a, b, strict=True)) <= _SAME_DIRECTION,
    ),
    ("Rows and Columns", lambda h: (h.pixels.rows, h.pixels.columns), lambda a, b: a == b),
    (
        "PixelSpacing",
        lambda h: h.pixel_spacing_mm,
        lambda a, b: all(abs(p - q) <= 1e-3 * q for p, q in zip(a, b, strict=True)),
    ),
)


def alike(a: SliceHeader, b: SliceHeader) -> bool:
    """Tell whether two slices can lie in one volume: orientation, size and spacing are the same."""
    return all(same(value(a), value(b)) for _, value, same in _SHARED)


def _check_alike(headers: Sequence[SliceHeader]) -> None:
    """Refuse the first slice that differs from what most slices have."""
    for attribute, value, same in _SHARED:
        values = [value(h) for h in headers]
        usual = max(dict.fromkeys(values), key=values.count)
        for header, given in zip(headers, values, strict=True):
            if not same(given, usual):
                raise InputError(
                    "CTM_SERIES_MIXED",
                    file=header.path,
                    attribute=attribute,
                    given=_joined(given),
                    expected=_joined(usual),
                )


def _joined(values: Sequence[float]) -> str:
    return "\\".join(f"{v:g}" for v in values)


def _without_copies(order: Sequence[SliceHeader]) -> tuple[list[SliceHeader], int]:
    """Drop files that repeat another byte for byte; refuse two different slices of one identity or one place."""
    kept: list[SliceHeader] = []
    by_uid: dict[str, SliceHeader] = {}
    for h in order:
        other, attribute = by_uid.get(h.sop_uid), "SOPInstanceUID"
        if other is None and kept and h.along_mm - kept[-1].along_mm < SAME_PLACE_MM:
            other, attribute = kept[-1], "ImagePositionPatient"
        if other is None:
            by_uid[h.sop_uid] = h
            kept.append(h)
        elif not _same_bytes(h, other):
            raise InputError("CTM_SLICE_DUPLICATE", file=h.path, attribute=attribute, other=other.path)
    return kept, len(order) - len(kept)


def _same_bytes(a: SliceHeader, b: SliceHeader) -> bool:
    if a.size != b.size or a.frame != b.frame:
        return False
    return digest(a.path) == digest(b.path)


def gaps(order: Sequence[SliceHeader]) -> list[Issue]:
    """Return the doubt that slices are missing, or unevenly spaced. Where a scan begins and ends no slice tells."""
    if len(order) < 3:
        return []
    positions = np.array([h.along_mm for h in order])
    steps = np.diff(positions)
    step = float(np.median(steps))
    wrong = np.flatnonzero(np.abs(steps - step) > _STEP_TOLERANCE * step + SAME_PLACE_MM)
    if not wrong.size:
        return []
    shown = [f"{steps[i]:.3f} mm between {positions[i]:.2f} and {positions[i + 1]:.2f}" for i in wrong[:5]]
    if wrong.size > len(shown):
        shown.append(f"and {wrong.size - len(shown)} more")
    thicknesses = {h.thickness_mm for h in order}
    code = "CTM_SLICE_MISSING" if _are_holes(steps[wrong], step) and len(thicknesses) == 1 else "CTM_SLICE_UNEVEN"
    return [InputError(code, step=f"{step:.3f}", gaps="; ".join(shown))]


def _are_holes(wrong: NDArray[np.float64], step: float) -> bool:
    """Tell whether slices are missing where steps differ: then these are multiples of the usual one, and few."""
    times = wrong / step
    return bool((np.abs(times - np.rint(times)) < 0.05 * times).all() and times.min() > 1.5 and len(wrong) < _FEW)


def stretches(order: Sequence[SliceHeader]) -> list[list[SliceHeader]]:
    """Return the stretches of one step that unevenly spaced slices consist of; one stretch if there are none.

    A slice between two stretches belongs to the one before. Steps that occur once make no stretch.
    """
    positions = np.array([h.along_mm for h in order])
    steps = np.diff(positions)
    starts = [0]
    for i in range(1, len(steps)):
        if abs(steps[i] - steps[starts[-1]]) > _STEP_TOLERANCE * steps[starts[-1]] + SAME_PLACE_MM:
            starts.append(i)
    ends = [*starts[1:], len(steps)]
    if any(end - start < 2 for start, end in zip(starts, ends, strict=True)):
        return [list(order)]
    cuts = [0, *(start + 1 for start in starts[1:]), len(order)]
    return [list(order[a:b]) for a, b in pairwise(cuts)]


def _sideways(order: Sequence[SliceHeader]) -> list[Issue]:
    """Tell when slices are not stacked along their normal: all alike, as with a tilted gantry, or each its own way."""
    if len(order) < 2:
        return []
    positions = np.array([h.position_mm for h in order])
    along = np.array([h.along_mm for h in order])
    way = positions[-1] - positions[0]
    doubts: list[Issue] = []
    cosine = min(1.0, abs(float(way @ order[0].normal)) / float(np.linalg.norm(way)))
    if cosine < np.cos(np.radians(0.5)):
        angle = np.degrees(np.arccos(cosine))
        doubts.append(f"Slices are stacked at {angle:.1f} degrees to their normal (tilted gantry); geometry is kept.")
    straight = positions[0] + np.outer((along - along[0]) / (along[-1] - along[0]), way)
    off = float(np.linalg.norm(positions - straight, axis=1).max())
    if off > min(order[0].pixel_spacing_mm):
        doubts.append(f"Slices are shifted sideways against each other by up to {off:.1f} mm; geometry is kept.")
    return doubts


def _identities(order: Sequence[SliceHeader]) -> list[Issue]:
    """Return doubts about what all slices of a series should share."""
    doubts: list[Issue] = []
    for name, values in (
        ("StudyInstanceUID", [h.study_uid for h in order]),
        ("the patient", [h.patient for h in order]),
    ):
        usual = max(dict.fromkeys(values), key=values.count)
        other = next((h for h, value in zip(order, values, strict=True) if value != usual), None)
        if other is not None:
            given, expected = "another", "the same"
            doubts.append(
                InputError("CTM_SERIES_MIXED", file=other.path, attribute=name, given=given, expected=expected)
            )
    frames = {h.frame_of_reference_uid for h in order}
    if "" in frames:
        doubts.append("FrameOfReferenceUID is absent; one is made for what is written.")
    if len(frames - {""}) > 1:
        doubts.append("FrameOfReferenceUID differs between slices; each keeps its own.")
    if len({h.thickness_mm for h in order}) > 1:
        doubts.append("SliceThickness differs between slices, and noise with it.")
    if len({h.kernel for h in order}) > 1:
        doubts.append("ConvolutionKernel differs between slices, and noise with it.")
    if len({(h.pixels.bits_stored, h.pixels.signed) for h in order}) > 1:
        doubts.append("BitsStored or PixelRepresentation differs between slices; each is kept in its own.")
    return doubts


def geometry_of(order: Sequence[SliceHeader]) -> Geometry:
    """Return where ordered slices lie."""
    orientation: NDArray[np.float64] = np.array(order[0].orientation)
    return Geometry(
        positions_mm=np.array([h.position_mm for h in order], dtype=np.float64),
        row_direction=orientation[:3],
        column_direction=orientation[3:],
        pixel_spacing_mm=order[0].pixel_spacing_mm,
        thickness_mm=min((h.thickness_mm for h in order if h.thickness_mm), default=None),
    )
