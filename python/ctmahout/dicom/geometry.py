"""Order slices in space and check that they form a volume."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError
from ..volume import Geometry
from .header import SliceHeader, file_sha256
from .issues import Issue

__all__ = ["SAME_POSITION_MM", "geometry_of", "order_slices", "same_grid", "spacing_issues", "split_by_step"]

# Fraction of the median step by which steps may differ: scanners round positions to 0.1 mm or worse.
_STEP_TOLERANCE = 0.01
# Slices closer than this share a position. The finest CT has steps of some 0.1 mm.
SAME_POSITION_MM = 1e-3
# From this number on, larger steps are a change of step rather than missing slices.
_MANY_STEPS = 4
# Direction cosines differ by rounding; a tenth of a degree is another orientation.
_DIRECTION_TOLERANCE = 2e-3


def order_slices(headers: Sequence[SliceHeader]) -> tuple[list[SliceHeader], list[Issue]]:
    """Return the slices in ascending order along their normal, and the issues of the series as a whole.

    Only ImagePositionPatient and ImageOrientationPatient are used (PS3.3 C.7.6.2.1.1). File names, InstanceNumber,
    SliceLocation and SliceThickness are not: in real series they contradict the positions.

    Raises
    ------
    InputError
        CTM_SERIES_MIXED, CTM_SLICE_DUPLICATE: not a volume, even for lenient reading.
    """
    _check_same_grid(headers)
    order = sorted(headers, key=lambda h: (h.slice_position_mm, str(h.path)))
    order, copies = _drop_copies(order)
    issues: list[Issue] = []
    if copies:
        issues.append(f"{copies} files repeat another byte for byte and were left out.")
    issues += spacing_issues(order)
    issues += _stacking_issues(order)
    issues += _consistency_issues(order)
    return order, issues


Values = tuple[float, ...]
# Attributes that the slices of a volume share: name, value, and equality within rounding.
_SHARED: tuple[tuple[str, Callable[[SliceHeader], Values], Callable[[Values, Values], bool]], ...] = (
    (
        "ImageOrientationPatient",
        lambda h: h.orientation,
        lambda a, b: max(abs(p - q) for p, q in zip(a, b, strict=True)) <= _DIRECTION_TOLERANCE,
    ),
    ("Rows and Columns", lambda h: (h.pixels.rows, h.pixels.columns), lambda a, b: a == b),
    (
        "PixelSpacing",
        lambda h: h.pixel_spacing_mm,
        lambda a, b: all(abs(p - q) <= 1e-3 * q for p, q in zip(a, b, strict=True)),
    ),
)


def same_grid(a: SliceHeader, b: SliceHeader) -> bool:
    """Return whether two slices have the same orientation, size and spacing, as in one volume."""
    return all(equal(value_of(a), value_of(b)) for _, value_of, equal in _SHARED)


def _check_same_grid(headers: Sequence[SliceHeader]) -> None:
    """Refuse the first slice that differs from the majority."""
    for attribute, value_of, equal in _SHARED:
        values = [value_of(h) for h in headers]
        majority = max(dict.fromkeys(values), key=values.count)
        for header, value in zip(headers, values, strict=True):
            if not equal(value, majority):
                raise InputError(
                    "CTM_SERIES_MIXED",
                    file=header.path,
                    attribute=attribute,
                    given=_format(value),
                    expected=_format(majority),
                )


def _format(values: Sequence[float]) -> str:
    return "\\".join(f"{v:g}" for v in values)


def _drop_copies(order: Sequence[SliceHeader]) -> tuple[list[SliceHeader], int]:
    """Return the slices without byte-for-byte copies, and the number of copies.

    Different slices of one UID or one position are refused.
    """
    unique: list[SliceHeader] = []
    by_uid: dict[str, SliceHeader] = {}
    for h in order:
        other, attribute = by_uid.get(h.sop_uid), "SOPInstanceUID"
        if other is None and unique and h.slice_position_mm - unique[-1].slice_position_mm < SAME_POSITION_MM:
            other, attribute = unique[-1], "ImagePositionPatient"
        if other is None:
            by_uid[h.sop_uid] = h
            unique.append(h)
        elif not _same_bytes(h, other):
            raise InputError("CTM_SLICE_DUPLICATE", file=h.path, attribute=attribute, other=other.path)
    return unique, len(order) - len(unique)


def _same_bytes(a: SliceHeader, b: SliceHeader) -> bool:
    if a.size != b.size or a.frame != b.frame:
        return False
    return file_sha256(a.path) == file_sha256(b.path)


def spacing_issues(order: Sequence[SliceHeader]) -> list[Issue]:
    """Return the issue of missing or unevenly spaced slices, if any. Slices missing at an end cannot be detected."""
    if len(order) < 3:
        return []
    positions = np.array([h.slice_position_mm for h in order])
    steps = np.diff(positions)
    step = float(np.median(steps))
    uneven = np.flatnonzero(np.abs(steps - step) > _STEP_TOLERANCE * step + SAME_POSITION_MM)
    if not uneven.size:
        return []
    texts = [f"{steps[i]:.3f} mm between {positions[i]:.2f} and {positions[i + 1]:.2f}" for i in uneven[:5]]
    if uneven.size > len(texts):
        texts.append(f"and {uneven.size - len(texts)} more")
    thicknesses = {h.thickness_mm for h in order}
    missing = _are_gaps(steps[uneven], step) and len(thicknesses) == 1
    code = "CTM_SLICE_MISSING" if missing else "CTM_SLICE_UNEVEN"
    return [InputError(code, step=f"{step:.3f}", gaps="; ".join(texts))]


def _are_gaps(steps: NDArray[np.float64], step: float) -> bool:
    """Return whether uneven steps are gaps of missing slices: few, and multiples of the median step."""
    ratios = steps / step
    multiples = (np.abs(ratios - np.rint(ratios)) < 0.05 * ratios).all()
    return bool(multiples and ratios.min() > 1.5 and len(steps) < _MANY_STEPS)


def split_by_step(order: Sequence[SliceHeader]) -> list[list[SliceHeader]]:
    """Split unevenly spaced slices into runs of equal step; a single run if some step occurs only once.

    A slice between two runs belongs to the first.
    """
    positions = np.array([h.slice_position_mm for h in order])
    steps = np.diff(positions)
    starts = [0]
    for i in range(1, len(steps)):
        if abs(steps[i] - steps[starts[-1]]) > _STEP_TOLERANCE * steps[starts[-1]] + SAME_POSITION_MM:
            starts.append(i)
    ends = [*starts[1:], len(steps)]
    if any(end - start < 2 for start, end in zip(starts, ends, strict=True)):
        return [list(order)]
    cuts = [0, *(start + 1 for start in starts[1:]), len(order)]
    return [list(order[a:b]) for a, b in pairwise(cuts)]


def _stacking_issues(order: Sequence[SliceHeader]) -> list[Issue]:
    """Return warnings of slices that are not stacked along their normal, uniformly (tilted gantry) or irregularly."""
    if len(order) < 2:
        return []
    positions = np.array([h.position_mm for h in order])
    along = np.array([h.slice_position_mm for h in order])
    extent = positions[-1] - positions[0]
    issues: list[Issue] = []
    cosine = min(1.0, abs(float(extent @ order[0].normal)) / float(np.linalg.norm(extent)))
    if cosine < np.cos(np.radians(0.5)):
        angle = np.degrees(np.arccos(cosine))
        issues.append(f"Slices are stacked at {angle:.1f} degrees to their normal (tilted gantry); geometry is kept.")
    line = positions[0] + np.outer((along - along[0]) / (along[-1] - along[0]), extent)
    shift = float(np.linalg.norm(positions - line, axis=1).max())
    if shift > min(order[0].pixel_spacing_mm):
        issues.append(f"Slices are shifted sideways against each other by up to {shift:.1f} mm; geometry is kept.")
    return issues


def _consistency_issues(order: Sequence[SliceHeader]) -> list[Issue]:
    """Return issues of attributes that all slices of a series should share."""
    issues: list[Issue] = []
    for name, values in (
        ("StudyInstanceUID", [h.study_uid for h in order]),
        ("the patient", [h.patient for h in order]),
    ):
        majority = max(dict.fromkeys(values), key=values.count)
        other = next((h for h, value in zip(order, values, strict=True) if value != majority), None)
        if other is not None:
            issues.append(
                InputError("CTM_SERIES_MIXED", file=other.path, attribute=name, given="another", expected="the same")
            )
    frames = {h.frame_of_reference_uid for h in order}
    if "" in frames:
        issues.append("FrameOfReferenceUID is absent; one is made for what is written.")
    if len(frames - {""}) > 1:
        issues.append("FrameOfReferenceUID differs between slices; each keeps its own.")
    if len({h.thickness_mm for h in order}) > 1:
        issues.append("SliceThickness differs between slices, and noise with it.")
    if len({h.kernel for h in order}) > 1:
        issues.append("ConvolutionKernel differs between slices, and noise with it.")
    if len({(h.pixels.bits_stored, h.pixels.signed) for h in order}) > 1:
        issues.append("BitsStored or PixelRepresentation differs between slices; each is kept in its own.")
    return issues


def geometry_of(order: Sequence[SliceHeader]) -> Geometry:
    """Return the geometry of slices in order; the smallest thickness if slices differ in it."""
    orientation: NDArray[np.float64] = np.array(order[0].orientation)
    return Geometry(
        positions_mm=np.array([h.position_mm for h in order], dtype=np.float64),
        row_direction=orientation[:3],
        column_direction=orientation[3:],
        pixel_spacing_mm=order[0].pixel_spacing_mm,
        thickness_mm=min((h.thickness_mm for h in order if h.thickness_mm), default=None),
    )
