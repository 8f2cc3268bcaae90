"""The report: numbers, volumes and the run manifest go in, one HTML file or PDF comes out.

The file works offline and names no patient.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
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
    LIMITS,
    STRUCTURE_TISSUES,
    exceeds,
    limit_of,
    limit_warnings,
    noise_removed_by_region,
    noise_within_limits,
    report_numbers,
    with_range,
)
from .pdf import measurements, write_pdf
from .pictures import WINDOWS, Picture, report_slices, slider_slices

__all__ = [
    "Report",
    "limit_warnings",
    "measurements",
    "noise_removed_by_region",
    "report_numbers",
    "with_range",
    "write_report",
]

# Bytes of HTML for all pictures of slices: with the plots, the file stays within 6 MB, small enough for a mail.
_SLICES_LIMIT, _SLIDERS_LIMIT = 3_200_000, 2_000_000
_TISSUES = {"lung": "lung", "fat": "fat", "soft": "soft tissue", "bone": "bone"}


@dataclass(frozen=True)
class Report:
    """What the report of a run shows: written as an HTML page, or as a PDF.

    Attributes
    ----------
    context : dict
        The values of the page's template.
    """

    context: dict[str, Any]

    @classmethod
    def of(
        cls,
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
    ) -> Report:
        """Return the report of a run; see `write_report`."""
        y, x = before.shape[1:]
        rows_mm, columns_mm = before.geometry.pixel_spacing_mm
        proportion = x * columns_mm / (y * rows_mm)
        strengths = [
            {
                "name": strength,
                "numbers": numbers["after"][strength],
                "slices": report_slices(before, volume, _SLICES_LIMIT // len(after)),
                "slider": slider_slices(before, volume, _SLIDERS_LIMIT // len(after)),
            }
            for strength, volume in after.items()
        ]
        return cls(
            {
                "before": numbers["before"],
                "reference": numbers.get("reference"),
                "strengths": strengths,
                "tissues": _TISSUES,
                "limits": LIMITS,
                "windows": WINDOWS,
                "proportion": proportion,
                "power": _noise_power(numbers),
                "removed": _removed_maps(numbers, proportion),
                "structure_tissues": STRUCTURE_TISSUES,
                "details": next((n["details"] for n in numbers["after"].values() if n["details"]), None),
                "exceeds": exceeds,
                "limit_of": limit_of,
                "noise_within_limits": noise_within_limits,
                "singular_values": None if s is None else _singular_values(s, weights or {}, noise_sd_hu, before),
                "groups": _groups(groups) if groups else None,
                "run": run,
                "manifest": json.dumps(run, indent=1),
                "warnings": warnings,
            }
        )

    def html(self) -> str:
        """Return it as an HTML page."""
        return _template().render(**self.context)

    def pdf(self) -> bytes:
        """Return it as a PDF, of the main numbers and the pictures; needs the extra ``dicom-report``."""
        context, run = self.context, self.context["run"]
        z, y, x = run["source"]["shape"]
        decomposition = context["singular_values"] or context["groups"]
        plots = [context["removed"], context["power"], decomposition and decomposition["plot"]]
        return write_pdf(
            summary=f"{z} slices of {y} x {x} pixels, method {run['config']['method']}, ctmahout {run['ctmahout']}.",
            warnings=context["warnings"],
            before=measurements(context["before"]),
            after={one["name"]: measurements(one["numbers"]) for one in context["strengths"]},
            slices={one["name"]: one["slices"] for one in context["strengths"]},
            proportion=context["proportion"],
            plots=[plot for plot in plots if plot],
        )


def write_report(path: str | Path, *, before: Volume, after: Mapping[str, Volume], **contents: Any) -> Path:
    """Write the report of a run.

    It is the same for all methods but for one section: singular values for ``slices``, groups of patches for
    ``patches``.

    Parameters
    ----------
    path : path
        The HTML file.
    before : Volume
    after : mapping of str to Volume
        The result for each strength. The sources of the volumes are not used.
    run : mapping
        The run manifest.
    numbers : mapping
        Result of `report_numbers`.
    s : ndarray of shape (k,), float64, HU, optional
        Singular values of ``slices``, descending.
    weights : mapping of str to ndarray of shape (k,), optional
        For each strength, the fraction of each component that is kept.
    noise_sd_hu : float
        Noise SD of an entry of the ``slices`` matrix, as in the optimal shrinkage of ``auto``.
    groups : sequence of GroupSpectrum
        Groups of ``patches``, with equally many components each.
    warnings : sequence of str

    Returns
    -------
    Path
        The file.
    """
    path = Path(path)
    path.write_text(Report.of(before=before, after=after, **contents).html(), encoding="utf-8")
    return path


def _template() -> jinja2.Template:
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )

    def number(form: str) -> Callable[[float | None], str]:
        return lambda value: "none" if value is None else format(value, form)

    environment.filters["hu"] = number(".1f")
    environment.filters["shift"] = number("+.2f")
    environment.filters["share"] = environment.filters["width"] = number(".2f")
    environment.filters["correlation"] = number(".3f")
    environment.filters["range"] = with_range
    environment.filters["times"] = lambda value: "none" if value is None else f"x {value:.1f}"
    environment.filters["largest"] = lambda values: max((v for v in values if v is not None), default=None)
    environment.filters["percent"] = lambda value: "none" if value is None else f"{100 * value:.0f} %"
    return environment.from_string((files(__package__) / "template.html").read_text(encoding="utf-8"))


def _noise_power(numbers: Mapping[str, Any]) -> Picture | None:
    """Plot the noise power spectra; None without flat soft tissue."""
    if numbers["before"]["nps"] is None:
        return None
    spectra = {name: (n["nps"], n["residual_nps"]) for name, n in numbers["after"].items()}
    return plots.noise_power(numbers["before"]["nps"], spectra)


def _removed_maps(numbers: Mapping[str, Any], proportion: float) -> Picture | None:
    """Plot the fraction of the noise removed by region; None if there are too few flat regions."""
    cells = {name: n["noise_taken_by"]["cells"] for name, n in numbers["after"].items()}
    known = any(value is not None for thirds in cells.values() for third in thirds for row in third for value in row)
    return plots.removed_maps(cells, proportion) if known else None


def _singular_values(
    s: NDArray[np.float64], weights: Mapping[str, NDArray[np.float64]], noise_sd_hu: float, before: Volume
) -> dict[str, Any]:
    # The largest singular value of m x n white noise.
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
        "plot": plots.group_spectra(groups),
        "count": len(groups),
        "rows": int(rows.sum()),
        "smallest": int(rows.min()),
        "largest": int(rows.max()),
        "components": groups[0].eigenvalues.size,
        "kept": [int(q) for q in np.quantile(kept, (0.0, 0.5, 1.0), method="nearest")],
        "gain": float(np.average([g.gain for g in groups], weights=np.maximum(rows, 1))),
    }
