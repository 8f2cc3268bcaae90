"""The results of a study as one table, a row for each series: run manifests go in, Parquet comes out and is read."""

from __future__ import annotations

import html
import statistics
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import InputError
from ..exchange import read_table, write_table
from ..storage import Uri, local_copy, parse_location
from ..storage.atomic import atomic_file

__all__ = ["COLUMNS", "RESULTS", "Results", "read_results", "result_rows", "write_results"]

RESULTS = "results.parquet"
"""The table, beside ``study.json``."""

_TISSUES = ("lung", "fat", "soft", "bone")

# What is measured by tissue: column, section of the numbers, name there.
_BY_TISSUE = {
    "noise_before": ("before", "noise_sd_hu"),
    "noise_after": ("after", "noise_sd_hu"),
    "mean_before": ("before", "mean_hu"),
    "mean_after": ("after", "mean_hu"),
    "mean_shift": ("after", "mean_shift_hu"),
}
COLUMNS: Mapping[str, str] = {
    "number": "int",
    "folder": "text",
    "outcome": "text",
    "code": "text",
    "slices": "int",
    "seconds": "float",
    "strength": "text",
    "result": "text",
    "method": "text",
    "model": "text",
    "noise_removed": "float",
    **{f"{name}_{tissue}_hu": "float" for name in _BY_TISSUE for tissue in _TISSUES},
    "edge_before_mm": "float",
    "edge_after_mm": "float",
    "anatomy_in_residual": "float",
    "warnings": "texts",
}
"""The columns, and their types as of `write_table`."""


@dataclass(frozen=True)
class Results:
    """The table of a study.

    Attributes
    ----------
    rows : tuple of dict
        A row for each series; with several strengths, for each strength of a series. `COLUMNS` has the names of their
        entries; None where there is no value, as of a series that failed.

        * ``number``, ``folder``, ``outcome``, ``code``, ``slices``, ``seconds``: see `StudySeries`.
        * ``strength``; ``result``: the folder of the DICOM files, relative to the table.
        * ``method``; ``model``: SHA-256 of the model's manifest, if one was used.
        * ``noise_removed``: share of the noise's SD that is gone from soft tissue, 0 to 1.
        * ``noise_before_soft_hu`` and so on: SD in flat regions, HU, for lung, fat, soft tissue and bone;
          ``mean_before_soft_hu``, ``mean_shift_soft_hu``: means, and how far they moved, HU.
        * ``edge_before_mm``, ``edge_after_mm``: 10-90 % width of strong edges.
        * ``anatomy_in_residual``: see `report_numbers`.
        * ``warnings``: of the run.
    """

    rows: tuple[dict[str, Any], ...]

    def summary(self) -> str:
        """Return a sentence: how many series ended how, and how much noise is gone.

        Examples
        --------
        >>> row = {"folder": "series-1-0a1b2c3d", "outcome": "done", "noise_removed": 0.75}
        >>> Results((row, row | {"folder": "series-2-4e5f6a7b", "outcome": "failed", "noise_removed": None})).summary()
        '1 done, 1 failed; 75 % of the noise removed (median; 75 to 75 %).'
        """
        outcomes = {row["folder"]: row["outcome"] for row in self.rows}
        counts = {name: list(outcomes.values()).count(name) for name in sorted(set(outcomes.values()))}
        text = ", ".join(f"{count} {name}" for name, count in counts.items()) or "no series"
        if removed := [100 * row["noise_removed"] for row in self.rows if row["noise_removed"] is not None]:
            text += f"; {statistics.median(removed):.0f} % of the noise removed (median; {min(removed):.0f} to "
            text += f"{max(removed):.0f} %)"
        return f"{text}."

    def _repr_html_(self) -> str:
        """Return plots of noise, means and edges of all series, before and after: what a notebook shows."""
        from ..report.plots import study_results

        picture = study_results(self.rows)
        caption = html.escape(self.summary())
        return f'<figure><img src="{picture.uri}" alt="{picture.alt}"><figcaption>{caption}</figcaption></figure>'


def result_rows(run: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return what the table has from a run manifest: a dictionary for each strength."""
    numbers = run["numbers"]
    model = run.get("model")
    rows = []
    for series in run["series"]:
        by_section = {"before": numbers["before"], "after": numbers["after"][series["strength"]]}
        after = by_section["after"]
        rows.append(
            {
                "strength": series["strength"],
                "result": series["folder"],
                "method": run["config"]["method"],
                "model": model["sha256"] if model else None,
                "noise_removed": series.get("noise_removed", after["noise_taken"]),
                **{
                    f"{name}_{tissue}_hu": by_section[section][key].get(tissue)
                    for name, (section, key) in _BY_TISSUE.items()
                    for tissue in _TISSUES
                },
                "edge_before_mm": after["edge_width_mm"]["before"]["strong"],
                "edge_after_mm": after["edge_width_mm"]["after"]["strong"],
                "anatomy_in_residual": after["anatomy_in_residual"],
                "warnings": run["warnings"],
            }
        )
    return rows


def write_results(path: Path, rows: list[dict[str, Any]]) -> None:
    """Write the table, in place of an earlier one, whole or not at all."""
    with atomic_file(path, overwrite=True, is_replaceable=Path.is_file) as partial:
        write_table(partial, COLUMNS, rows)


def read_results(location: str | Path | Uri) -> Results:
    """Read the table of a study, ``results.parquet``.

    Parameters
    ----------
    location : path or URI
        The file.

    Returns
    -------
    Results
        In a notebook it shows itself as plots.

    Raises
    ------
    InputError
        CTM_INPUT_NOT_FOUND, CTM_STORAGE_READ.
    ExchangeError
        CTM_EXCHANGE_CORRUPT, CTM_EXCHANGE_KIND: it is no such table.

    Examples
    --------
    >>> from ctmahout import denoise_study
    >>> _ = denoise_study("phantom", "cohort", method="slices", engine="numpy", report=False)
    >>> [(row["number"], row["outcome"]) for row in read_results("cohort/results.parquet").rows]
    [(1, 'done'), (2, 'done')]
    """
    with local_copy(parse_location(location)) as path:
        if not path.is_file():
            raise InputError("CTM_INPUT_NOT_FOUND", path=location)
        return Results(tuple(read_table(path, COLUMNS, "the results of a study")))
