"""The report: one HTML file that works offline and names no patient."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

import jinja2
import numpy as np
from numpy.typing import NDArray

from ..denoising.method import GroupSpectrum
from ..volume import Volume
from . import plots
from .numbers import (
    EVEN,
    LIMITS,
    beyond,
    doubts,
    limit_of,
    noise_is_fine,
    report_numbers,
    share_taken,
    with_spread,
)
from .pictures import WINDOWS, Picture, levels_of

__all__ = ["doubts", "report_numbers", "share_taken", "with_spread", "write_report"]

_TISSUES = {"lung": "lung", "fat": "fat", "soft": "soft tissue", "bone": "bone"}


def write_report(
    path: str | Path,
    *,
    before: Volume,
    after: Mapping[str, Volume],
    run: Mapping[str, Any],
    numbers: Mapping[str, Any],
    s: NDArray[np.float64] | None = None,
    weights: Mapping[str, NDArray[np.float64]] | None = None,
    noise_sd_hu: float = 0.0,
    groups: Sequence[GroupSpectrum] = (),
    warnings: Sequence[str] = (),
) -> Path:
    """Write the report of a run.

    The report is the same for all methods but for the section about what was kept: singular values for ``slices``,
    groups of patches for ``patches``.

    Parameters
    ----------
    path : path
        The HTML file.
    before : Volume
    after : mapping of str to Volume
        One for each strength. Nothing of either's source is looked at.
    run : mapping
        The run manifest.
    numbers : mapping
        What `report_numbers` gave.
    s : ndarray of shape (k,), float64, optional
        Of ``slices``: singular values, descending, HU.
    weights : mapping of str to ndarray of shape (k,), optional
        What each strength keeps of each of these components.
    noise_sd_hu : float
        Noise of an entry of the matrix of slices, as ``auto`` was told.
    groups : sequence of GroupSpectrum
        Of ``patches``: what each group of patches was found to hold, with equally many components.
    warnings : sequence of str
    """
    y, x = before.shape[1:]
    rows_mm, columns_mm = before.geometry.pixel_spacing_mm
    strengths = [
        {"name": strength, "numbers": numbers["after"][strength], "levels": levels_of(before, volume)}
        for strength, volume in after.items()
    ]
    html = _template().render(
        before=numbers["before"],
        reference=numbers.get("reference"),
        strengths=strengths,
        tissues=_TISSUES,
        limits=LIMITS,
        windows=WINDOWS,
        proportion=x * columns_mm / (y * rows_mm),
        power=_power(numbers),
        share=_share(numbers, x * columns_mm / (y * rows_mm)),
        even=EVEN,
        details=next((n["details"] for n in numbers["after"].values() if n["details"]), None),
        beyond=beyond,
        limit_of=limit_of,
        noise_is_fine=noise_is_fine,
        slices=None if s is None else _slices(s, weights or {}, noise_sd_hu, before),
        groups=_groups(groups) if groups else None,
        run=run,
        manifest=json.dumps(run, indent=1),
        warnings=warnings,
    )
    path = Path(path)
    path.write_text(html, encoding="utf-8")
    return path


def _template() -> jinja2.Template:
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )

    def written(form: str, scale: float = 1.0) -> Any:
        return lambda value: "none" if value is None else format(scale * value, form)

    environment.filters["hu"] = written(".1f")
    environment.filters["shift"] = written("+.2f")
    environment.filters["share"] = environment.filters["width"] = written(".2f")
    environment.filters["correlation"] = written(".3f")
    environment.filters["spread"] = with_spread
    environment.filters["times"] = lambda value: "none" if value is None else f"x {value:.1f}"
    environment.filters["most"] = lambda values: max((v for v in values if v is not None), default=None)
    environment.filters["percent"] = lambda value: "none" if value is None else f"{100 * value:.0f} %"
    return environment.from_string((files(__package__) / "template.html").read_text(encoding="utf-8"))


def _power(numbers: Mapping[str, Any]) -> Picture | None:
    """Plot the noise power spectra; None without flat soft tissue."""
    if numbers["before"]["nps"] is None:
        return None
    return plots.power(
        numbers["before"]["nps"], {name: (n["nps"], n["residual_nps"]) for name, n in numbers["after"].items()}
    )


def _share(numbers: Mapping[str, Any], proportion: float) -> Picture | None:
    """Plot the share of the noise that was taken by place; None if nowhere is enough that is flat."""
    cells = {name: n["noise_taken_by"]["cells"] for name, n in numbers["after"].items()}
    known = any(value is not None for map in cells.values() for third in map for row in third for value in row)
    return plots.shares(cells, proportion) if known else None


def _slices(
    s: NDArray[np.float64], weights: Mapping[str, NDArray[np.float64]], noise_sd_hu: float, before: Volume
) -> dict[str, Any]:
    edge = noise_sd_hu * (np.sqrt(before.hu[0].size) + np.sqrt(len(before.hu)))
    return {
        "plot": plots.singular_values(s, weights, float(edge)),
        "components": s.size,
        "ranks": {strength: int(np.count_nonzero(w)) for strength, w in weights.items()},
        "noise_sd_hu": noise_sd_hu,
    }


def _groups(groups: Sequence[GroupSpectrum]) -> dict[str, Any]:
    kept, rows = (np.array([getattr(g, name) for g in groups]) for name in ("kept", "rows"))
    return {
        "plot": plots.groups(groups),
        "count": len(groups),
        "rows": int(rows.sum()),
        "smallest": int(rows.min()),
        "largest": int(rows.max()),
        "components": groups[0].eigenvalues.size,
        "kept": [int(q) for q in np.quantile(kept, (0.0, 0.5, 1.0), method="nearest")],
        "gain": float(np.average([g.gain for g in groups], weights=np.maximum(rows, 1))),
    }
