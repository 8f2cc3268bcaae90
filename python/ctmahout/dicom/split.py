"""Split a series into its volumes, where a scanner stored several under one SeriesInstanceUID."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from .geometry import SAME_POSITION_MM, same_grid, spacing_issues, split_by_step
from .header import PHASES, SliceHeader

__all__ = ["split"]

Parts = list[tuple[str, list[SliceHeader]]]
"""Slices of each part, with a label that distinguishes it from the others."""


def split(headers: Sequence[SliceHeader]) -> Parts:
    """Return the parts of a series that can be volumes, each with a label.

    Slices of one patient, study, orientation, size and spacing form a stack. If positions repeat, as in gated or
    contrast-enhanced scans, the stack is split by the first attribute of `PHASES` that all its slices have and that
    yields parts with equal, distinct positions. If there is none, the stack is returned unsplit, and reading it reports
    which slices collide. Unevenly spaced slices are split by thickness or by step, if that yields even parts.
    """
    stacks: list[list[SliceHeader]] = []
    for header in headers:
        stack = next((s for s in stacks if _same_stack(header, s[0])), None)
        if stack is None:
            stacks.append([header])
        else:
            stack.append(header)
    parts: Parts = []
    for number, stack in enumerate(stacks, 1):
        stack_label = f"stack {number} of {len(stacks)}" if len(stacks) > 1 else ""
        for phase_label, phase in _split_phases(stack):
            for step_label, part in _split_uneven(phase):
                parts.append((", ".join(filter(None, (stack_label, phase_label, step_label))), part))
    return parts


def _same_stack(a: SliceHeader, b: SliceHeader) -> bool:
    return (a.patient, a.study_uid) == (b.patient, b.study_uid) and same_grid(a, b)


def _split_phases(stack: list[SliceHeader]) -> Parts:
    if _are_distinct(_positions(stack)):
        return [("", stack)]
    for index, keyword in enumerate(PHASES):
        values = list(dict.fromkeys(h.phases[index] for h in stack))
        if len(values) < 2 or "" in values:
            continue
        parts = [[h for h in stack if h.phases[index] == value] for value in sorted(values, key=_sort_key)]
        positions = [_positions(part) for part in parts]
        if all(
            _are_distinct(p) and len(p) == len(positions[0]) and np.allclose(p, positions[0], atol=SAME_POSITION_MM)
            for p in positions
        ):
            # Numbered, because the value may be the time of a patient's examination.
            return [(f"{keyword} {n} of {len(parts)}", part) for n, part in enumerate(parts, 1)]
    return [("", stack)]


def _split_uneven(stack: list[SliceHeader]) -> Parts:
    """Split unevenly spaced slices by thickness, or else by step, if every part is then evenly spaced."""
    order = sorted(stack, key=lambda h: h.slice_position_mm)
    if not spacing_issues(order) or not _are_distinct(_positions(order)):
        return [("", stack)]
    by_thickness = [[h for h in order if h.thickness_mm == mm] for mm in dict.fromkeys(h.thickness_mm for h in order)]
    for name, parts in (("thickness", by_thickness), ("step", split_by_step(order))):
        if len(parts) > 1 and all(len(part) > 1 and not spacing_issues(part) for part in parts):
            return [(f"{name} {n} of {len(parts)}", part) for n, part in enumerate(parts, 1)]
    return [("", stack)]


def _sort_key(value: str) -> tuple[float, str]:
    try:
        return float(value), value
    except ValueError:
        return float("inf"), value


def _positions(part: Iterable[SliceHeader]) -> list[float]:
    """Return the positions along the normal, ascending (mm); copies of a file count once."""
    return sorted({h.sop_uid: h.slice_position_mm for h in part}.values())


def _are_distinct(positions: Sequence[float]) -> bool:
    return bool((np.diff(positions) >= SAME_POSITION_MM).all())
