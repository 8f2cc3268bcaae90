"""Checks of denoised real series, by what can be measured in them: part of `quality.py`.

One acquisition was reconstructed with two kernels, a sharp and a smooth one: the sharp one denoised should be as free
of noise as the smooth one, and sharper. Two series were acquired at very low dose, and one is JPEG 2000.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from page import Column, Section, Target

from ctmahout import CtmahoutError, Volume, read_series
from ctmahout.quality import TISSUES, Edges, tissues
from ctmahout.report import report_numbers

__all__ = ["real_section"]

SHARP, SMOOTH = "chest_pair_sharp_B70f", "chest_pair_smooth_B40f"
SERIES = (SHARP, "lowdose_pet_ct_STS_002", "lowdose_pet_ct_STS_003", "j2k_series_no_sopclass")

_COLUMNS = [
    Column("series", "series"),
    Column("method", ""),
    Column("sd_before", "SD in flat soft tissue, HU, before", ".1f"),
    Column("sd", "after", ".1f"),
    Column("sd_twin", "smooth twin", ".1f"),
    Column("width_before", "edges, mm, before", ".2f"),
    Column("width", "after", ".2f"),
    Column("width_twin", "smooth twin", ".2f"),
    Column("shift_lung", "mean shift, HU, lung", "+.2f"),
    Column("shift_soft", "soft", "+.2f"),
    Column("shift_bone", "bone", "+.2f"),
    Column("likeness", "residual's likeness to edges", ".3f"),
    Column("grain", "mean frequency, cycles/mm", ".2f"),
    Column("wall_s", "s", ".0f"),
    Column("refused", ""),
]


def real_section(folder: Path, methods: Mapping[str, Callable[[Volume], Volume]]) -> Section:
    """Denoise the real series in a folder by each method and return the page's section about them."""
    rows = []
    for name in SERIES:
        before = read_series(folder / name, lenient=True)
        twin = read_series(folder / SMOOTH, lenient=True) if name == SHARP else None
        for method, denoise in methods.items():
            if method == "noisy":
                continue
            start = time.perf_counter()
            try:
                after = denoise(before)
                row = {"wall_s": time.perf_counter() - start} | _measured(before, after, twin)
            except CtmahoutError as e:
                row = {"refused": e.code}
            rows.append({"series": name, "method": method} | row)
            print(rows[-1], flush=True)
    text = (
        "Real series, denoised blind. SD in the flattest soft tissue; 10-90 % width of the mean strong edge, found in "
        "the result; shift of the mean of tissues; correlation of the residual with the slope of the result. The "
        "smooth twin is the same acquisition with a smooth kernel, measured at the same places. See "
        "`ctmahout.report.report_numbers`."
    )
    return Section("quality-real", "Real series", text, _COLUMNS, rows, _targets(rows))


def _measured(before: Volume, after: Volume, twin: Volume | None) -> dict[str, Any]:
    numbers = report_numbers(before, {"after": after})
    result = numbers["after"]["after"]
    row = {
        "sd_before": numbers["before"]["noise_sd_hu"]["soft"],
        "sd": result["noise_sd_hu"]["soft"],
        "width_before": result["edge_width_mm"]["before"]["strong"],
        "width": result["edge_width_mm"]["after"]["strong"],
        "likeness": result["anatomy_in_residual"],
        "grain": None if result["nps"] is None else result["nps"]["mean_frequency_per_mm"],
        **{f"shift_{tissue}": shift for tissue, shift in result["mean_shift_hu"].items()},
    }
    if twin is not None:
        edges = Edges.of(after.hu, tissues(after.hu)["body"], after.geometry.pixel_spacing_mm)
        row |= {
            "sd_twin": report_numbers(before, {"twin": twin})["after"]["twin"]["noise_sd_hu"]["soft"],
            "width_twin": edges.widths_mm(twin.hu)["strong"],
        }
    return row


def _targets(rows: list[dict[str, Any]]) -> list[Target]:
    found = []
    for row in rows:
        if row["method"] != "patches normal":
            continue
        at = row["series"]
        shifts = [row.get(f"shift_{tissue}") for tissue in TISSUES]
        largest = max((abs(shift) for shift in shifts if shift is not None), default=None)
        found += [
            Target(f"{at}: largest shift of a mean", largest, 0.5, "at most", " HU"),
            Target(f"{at}: residual's likeness to edges", row.get("likeness"), 0.03, "below"),
        ]
        if "sd_twin" in row:
            found += [
                Target(
                    f"{at}: SD, soft tissue, against the smooth twin's", row["sd"], row["sd_twin"], "at most", " HU"
                ),
                Target(f"{at}: edge width against the smooth twin's", row["width"], row["width_twin"], "below", " mm"),
            ]
    return found
