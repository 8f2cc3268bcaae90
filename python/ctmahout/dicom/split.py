"""The volumes in one series, where a scanner put several under one SeriesInstanceUID."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from .geometry import SAME_PLACE_MM, alike, gaps, stretches
from .header import PHASES, SliceHeader

__all__ = ["split"]

Parts = list[tuple[str, list[SliceHeader]]]


def split(headers: Sequence[SliceHeader]) -> Parts:
    """Return the parts of a series that can be volumes, each with what tells it from the others.

    Slices of one patient, study, orientation, size and spacing are a part. Where places repeat, as in gated and in
    contrast scans, it is split further by the first of `PHASES` that all its slices have and that gives parts with the
    same places, each once. If none does, the part is left whole; reading it tells which slices collide. Slices that are
    unevenly spaced are split further by thickness and by step, if that gives parts that are even.
    """
    stacks: list[list[SliceHeader]] = []
    for header in headers:
        stack = next((s for s in stacks if _together(header, s[0])), None)
        if stack is None:
            stacks.append([header])
        else:
            stack.append(header)
    parts: Parts = []
    for number, stack in enumerate(stacks, 1):
        of_stack = f"stack {number} of {len(stacks)}" if len(stacks) > 1 else ""
        for of_phase, phase in _phases(stack):
            for of_step, even in _even(phase):
                parts.append((", ".join(filter(None, (of_stack, of_phase, of_step))), even))
    return parts


def _together(a: SliceHeader, b: SliceHeader) -> bool:
    return (a.patient, a.study_uid) == (b.patient, b.study_uid) and alike(a, b)


def _phases(stack: list[SliceHeader]) -> Parts:
    if _once(_places(stack)):
        return [("", stack)]
    for at, keyword in enumerate(PHASES):
        values = list(dict.fromkeys(h.phases[at] for h in stack))
        if len(values) < 2 or "" in values:
            continue
        parts = [[h for h in stack if h.phases[at] == value] for value in sorted(values, key=_in_order)]
        places = [_places(part) for part in parts]
        if all(_once(p) and len(p) == len(places[0]) and np.allclose(p, places[0], atol=SAME_PLACE_MM) for p in places):
            # The value itself may be a time of the patient's.
            return [(f"{keyword} {n} of {len(parts)}", part) for n, part in enumerate(parts, 1)]
    return [("", stack)]


def _even(stack: list[SliceHeader]) -> Parts:
    """Split slices that are unevenly spaced, by thickness or else by step, if all parts are evenly spaced then."""
    order = sorted(stack, key=lambda h: h.along_mm)
    if not gaps(order) or not _once(_places(order)):
        return [("", stack)]
    of_thickness = [[h for h in order if h.thickness_mm == mm] for mm in dict.fromkeys(h.thickness_mm for h in order)]
    for name, parts in (("thickness", of_thickness), ("step", stretches(order))):
        if len(parts) > 1 and all(len(part) > 1 and not gaps(part) for part in parts):
            return [(f"{name} {n} of {len(parts)}", part) for n, part in enumerate(parts, 1)]
    return [("", stack)]


def _in_order(value: str) -> tuple[float, str]:
    try:
        return float(value), value
    except ValueError:
        return float("inf"), value


def _places(part: Iterable[SliceHeader]) -> list[float]:
    """Return the places along the normal, ascending; a file that is there twice counts once."""
    return sorted({h.sop_uid: h.along_mm for h in part}.values())


def _once(places: Sequence[float]) -> bool:
    return bool((np.diff(places) >= SAME_PLACE_MM).all())
