"""Slices in their order in space, and whether they make a volume."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np

from ..errors import InputError
from ..volume import Geometry
from .headers import SliceHeader

__all__ = ["geometry_of", "ordered"]

# Steps between slices may differ by this share of the median step: scanners round positions to 0.1 mm and worse.
_STEP_TOLERANCE = 0.01


def ordered(headers: Sequence[SliceHeader], *, lenient: bool) -> tuple[list[SliceHeader], list[str]]:
    """Return the slices in ascending order along their normal, and what was let pass.

    Only ImagePositionPatient and ImageOrientationPatient count (PS3.3 C.7.6.2.1.1): neither file names nor
    InstanceNumber, SliceLocation or SliceThickness, which real series contradict.

    Raises
    ------
    InputError
        CTM_SERIES_MIXED, CTM_SLICE_DUPLICATE, CTM_SLICE_MISSING.
    """
    first = headers[0]
    _check_alike(headers)
    normal = np.cross(first.row_direction, first.column_direction)
    along = {h.path: float(np.array(h.position_mm) @ normal) for h in headers}
    order = sorted(headers, key=lambda h: (along[h.path], str(h.path)))
    order, warnings = _without_copies(order, along)
    warnings += _gaps(order, np.array([along[h.path] for h in order]), lenient=lenient)
    warnings += _tilt(order, normal)
    if len({h.bits_stored for h in order}) > 1:
        warnings.append("BitsStored differs between slices; each is read and written in its own.")
    return order, warnings


def _check_alike(headers: Sequence[SliceHeader]) -> None:
    # What most slices have is right; what differs is named.
    for attribute, value in (
        ("ImageOrientationPatient", lambda h: tuple(round(v, 3) + 0.0 for v in h.orientation)),
        ("Rows and Columns", lambda h: (h.rows, h.columns)),
        ("PixelSpacing", lambda h: tuple(round(v, 4) for v in h.pixel_spacing_mm)),
    ):
        values = [value(h) for h in headers]
        usual = max(set(values), key=values.count)
        for h, given in zip(headers, values, strict=True):
            if np.max(np.abs(np.array(given) - np.array(usual))) > (2e-3 if attribute.startswith("Image") else 0):
                raise InputError("CTM_SERIES_MIXED", file=h.path, attribute=attribute, given=given, expected=usual)


def _without_copies(order: list[SliceHeader], along: dict[object, float]) -> tuple[list[SliceHeader], list[str]]:
    """Drop files that repeat another byte for byte; refuse two different slices of one identity or one place."""
    kept: list[SliceHeader] = []
    by_uid: dict[str, SliceHeader] = {}
    dropped = 0
    for h in order:
        other = by_uid.get(h.sop_uid) if h.sop_uid else None
        attribute = "SOPInstanceUID"
        if other is None and kept and abs(along[h.path] - along[kept[-1].path]) < 1e-3:
            other, attribute = kept[-1], "ImagePositionPatient"
        if other is not None:
            if not _same_bytes(h, other):
                raise InputError("CTM_SLICE_DUPLICATE", file=h.path, attribute=attribute, other=other.path)
            dropped += 1
            continue
        by_uid[h.sop_uid] = h
        kept.append(h)
    return kept, [f"{dropped} copies of other files were left out."] if dropped else []


def _same_bytes(a: SliceHeader, b: SliceHeader) -> bool:
    return (
        a.size == b.size
        and hashlib.sha256(a.path.read_bytes()).digest() == hashlib.sha256(b.path.read_bytes()).digest()
    )


def _gaps(order: Sequence[SliceHeader], positions: np.ndarray, *, lenient: bool) -> list[str]:
    if len(order) < 3:
        return []
    steps = np.diff(positions)
    step = float(np.median(steps))
    wrong = np.flatnonzero(np.abs(steps - step) > _STEP_TOLERANCE * step + 1e-3)
    if not wrong.size:
        return []
    shown = [f"{steps[i]:.3f} mm between {positions[i]:.2f} and {positions[i + 1]:.2f}" for i in wrong[:5]]
    gaps = "; ".join(shown) + (f"; and {wrong.size - 5} more" if wrong.size > 5 else "")
    error = InputError("CTM_SLICE_MISSING", step=f"{step:.3f}", gaps=gaps)
    if not lenient:
        raise error
    return [error.message]


def _tilt(order: Sequence[SliceHeader], normal: np.ndarray) -> list[str]:
    """Tell when slices are not stacked along their normal, as with a tilted gantry."""
    if len(order) < 2:
        return []
    way = np.array(order[-1].position_mm) - np.array(order[0].position_mm)
    length = float(np.linalg.norm(way))
    cosine = abs(float(way @ normal)) / length if length else 1.0
    if cosine > np.cos(np.radians(0.5)):
        return []
    return [f"Slices are tilted by {np.degrees(np.arccos(min(1.0, cosine))):.1f} degrees; their geometry is kept."]


def geometry_of(order: Sequence[SliceHeader]) -> Geometry:
    """Return where ordered slices lie."""
    first = order[0]
    return Geometry(
        positions_mm=np.array([h.position_mm for h in order], dtype=np.float64),
        row_direction=first.row_direction,
        column_direction=first.column_direction,
        pixel_spacing_mm=first.pixel_spacing_mm,
    )
