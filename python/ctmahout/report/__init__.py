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

from ..volume import Volume
from .figures import LEVELS, RESIDUAL_HU, WINDOWS, slices_of, spectrum
from .numbers import report_numbers

__all__ = ["report_numbers", "write_report"]


def write_report(
    path: str | Path,
    *,
    before: Volume,
    after: Mapping[str, Volume],
    run: Mapping[str, Any],
    numbers: Mapping[str, Any],
    s: NDArray[np.float64],
    weights: Mapping[str, NDArray[np.float64]],
    noise_sd_hu: float,
    warnings: Sequence[str] = (),
) -> Path:
    """Write the report of a run.

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
    s : ndarray of shape (k,), float64
        Singular values, descending, HU.
    weights : mapping of str to ndarray of shape (k,)
        What each strength keeps of each component.
    noise_sd_hu : float
        Noise of a matrix entry, as ``auto`` was told.
    warnings : sequence of str
    """
    z = len(before.hu)
    m = before.hu[0].size
    edge = noise_sd_hu * (np.sqrt(m) + np.sqrt(z))
    levels = LEVELS if z > 2 else LEVELS[:: len(LEVELS) - 1][:z]
    strengths = [
        {
            "name": strength,
            "rank": int(np.count_nonzero(weights[strength])),
            "numbers": numbers["after"][strength],
            "pictures": [slices_of(before, volume, level, strength) for level in levels],
        }
        for strength, volume in after.items()
    ]
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters["hu"] = lambda value: "none" if value is None else f"{value:.1f}"
    environment.filters["percent"] = lambda value: "none" if value is None else f"{100 * value:.0f} %"
    template = environment.from_string((files(__package__) / "template.html").read_text(encoding="utf-8"))
    html = template.render(
        before=numbers["before"],
        strengths=strengths,
        spectrum=spectrum(s, weights, float(edge)),
        components=s.size,
        noise_sd_hu=noise_sd_hu,
        windows=WINDOWS,
        residual_hu=RESIDUAL_HU,
        run=run,
        manifest=json.dumps(run, indent=1),
        warnings=warnings,
    )
    path = Path(path)
    path.write_text(html, encoding="utf-8")
    return path
