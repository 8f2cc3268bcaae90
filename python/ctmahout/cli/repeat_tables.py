"""The tables that ``ctmahout repeat`` prints."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

__all__ = ["tables"]

_MOST_ROWS = 8  # frequencies


Table = tuple[str, tuple[str, ...], list[tuple[str, ...]]]


def tables(measured: Mapping[str, Any]) -> list[Table]:
    """Return what `repeat` measured as tables for a terminal: title, columns and rows of each."""
    columns = (
        "tissue",
        "noise SD",
        "error",
        "systematic",
        "repeat SD",
        "noise kept",
        "mean shift",
        "largest deviation",
    )
    rows = [(name, *_row(error)) for name, error in measured["tissues"].items()]
    count = "mean of two results" if measured["results"] == 2 else "one result"
    result: list[Table] = [(f"Error against the mean scan, HU, {count}", columns, rows)]
    bands = {name: transfer for name, transfer in measured["transfer"].items() if transfer}
    if bands:
        longest = max((t["frequency_per_mm"] for t in bands.values()), key=len)
        picked = range(0, len(longest), -(-len(longest) // _MOST_ROWS))
        lines = [(f"{longest[k]:.3f}", *(_at(transfer["transfer"], k) for transfer in bands.values())) for k in picked]
        result.append(("Transfer by frequency, cycles/mm", ("frequency", *bands), lines))
    checks = [(name, "" if value is None else f"{value:.3f}") for name, value in _checks(measured)]
    result.append(("Edges, and agreement of the scans", ("", "value"), [*checks]))
    return result


def _row(error: Mapping[str, Any] | None) -> tuple[str, ...]:
    if error is None:
        return ("",) * 7
    deviation = error["deviation"]
    place = deviation and ", ".join(map(str, deviation["place"]))
    return (
        f"{error['noise_sd_hu']:.2f}",
        _ranged(error["rmse_hu"], error["rmse_range_hu"]),
        _ranged(error["systematic_hu"], error["systematic_range_hu"]),
        _figure(error["repeat_sd_hu"]),
        f"{error['noise_kept']:.1%}",
        f"{error['mean_shift_hu']:+.2f} +- {2 * error['mean_shift_error_hu']:.2f}",
        f"{deviation['hu']:+.1f} ({abs(deviation['sds']):.1f} SD) at {place}" if deviation else "",
    )


def _ranged(value: float | None, ends: tuple[float, float] | None) -> str:
    return "" if ends is None else f"{_figure(value)} ({ends[0]:.2f} to {ends[1]:.2f})"


def _figure(value: float | None) -> str:
    return "" if value is None else f"{value:.2f}"


def _at(values: Sequence[float], index: int) -> str:
    return f"{values[index]:.3f}" if index < len(values) else ""


def _checks(measured: Mapping[str, Any]) -> list[tuple[str, float | None]]:
    motion, noise = measured["motion"], measured["noise"] or {}
    checks = [(f"sharpness of {kind} edges", value) for kind, value in measured["edge_sharpness"].items()]
    checks.append(("shift between the scans, pixels", motion["shift_px"]))
    checks.append(("correlation of their noise", noise.get("correlation")))
    checks.append(("imbalance of their noise", noise.get("imbalance")))
    if measured["kernel_matched_to_per_mm"] is not None:
        checks.append(("kernel matched up to, cycles/mm", measured["kernel_matched_to_per_mm"]))
    return checks
