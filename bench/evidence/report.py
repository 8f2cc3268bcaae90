"""The page: docs/evidence.md, docs/evidence.json and plots, of whatever has been measured."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import page
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from page import Column, Section

from . import detectability, insertion, noise_and_transfer, repeats
from .denoisers import BLUR, METHODS, OURS, UNTOUCHED
from .store import Store

__all__ = ["measure", "written"]

KEEPS = 0.9  # of a lesion's contrast
LIMIT = f"{100 * KEEPS:g} %"
_DPI = 90
_TEXTS = Path(__file__).with_name("page.md")
_SHOWN = ("normal", BLUR)  # in the order of the map of lesions


def measure(store: Store, options: argparse.Namespace) -> None:
    """Write the page."""
    written(store, options.out)


def written(store: Store, out: Path) -> Path:
    """Write the page, its JSON and its plots into a folder, and return the page."""
    results: dict[str, Any] = {
        "detectability": detectability.summary(store),
        "insertion": insertion.summary(store),
        "noise_and_transfer": noise_and_transfer.summary(store),
        "repeats": repeats.summary(store),
    }
    pictures = out / "pictures"
    pictures.mkdir(parents=True, exist_ok=True)
    plots = {
        "detectability": _plot_d(results["detectability"]["rows"]),
        "lesions": _plot_lesions(results["insertion"]),
        "spectra": _plot_spectra(results["noise_and_transfer"]),
    }
    for name, figure in plots.items():
        FigureCanvasAgg(figure)
        figure.savefig(pictures / f"evidence-{name}.png", dpi=_DPI, metadata={"Software": None})
    (out / "evidence.json").write_text(json.dumps(results, indent=None, allow_nan=False) + "\n")
    tables = {
        "detectability": "\n".join(
            page.markdown(s.to_dict()) for s in _detectability(results["detectability"]["rows"])
        ),
        "equal": page.markdown(_equal(results["detectability"]["equal"]).to_dict()),
        "insertion": "\n".join(page.markdown(s.to_dict()) for s in _insertion(results["insertion"])),
        "spectra": page.markdown(_spectra(results["noise_and_transfer"]).to_dict()),
        "repeats": page.markdown(_repeats(results["repeats"]).to_dict()),
        "verdicts": "\n".join(f"- {line}" for line in verdicts(results)),
        "worse": "\n".join(f"- {line}" for line in worse(results)),
        "counts": _counts(results["detectability"]["rows"]),
    }
    text = _TEXTS.read_text()
    for name, table in tables.items():
        text = text.replace(f"{{{{{name}}}}}", table.strip())
    file = out / "evidence.md"
    file.write_text(text)
    return file


# --------------------------------------------------------------------------------------------------------------- tables


def _is_worse(row: dict[str, Any]) -> bool:
    return bool(row.get("gain", 0) < 0)


def _bold(text: str, is_worse: bool) -> str:
    return f"**{text}**" if is_worse else text


def _detectability(rows: Sequence[dict[str, Any]]) -> list[Section]:
    """Return a table of d' and one of AUC for each observer."""
    sections = []
    for observer in detectability.OBSERVERS:
        for key, title in (("d", "d'"), ("auc", "AUC")):
            at = {(r["task"], r["method"], r["dose"]): r for r in rows if r["observer"] == observer}
            lines = []
            for task in detectability.KINDS:
                for method in METHODS:
                    cells = {}
                    for dose in detectability.DOSES:
                        row = at.get((task, method, dose))
                        if row is not None:
                            low, high = row[f"{key}_interval"]
                            cells[str(dose)] = _bold(f"{row[key]:.2f} ({low:.2f} to {high:.2f})", _is_worse(row))
                    if cells:
                        lines.append({"task": task, "method": method, **cells})
            columns = [Column("task", "task"), Column("method", "method")]
            columns += [Column(str(dose), f"{dose} % dose") for dose in detectability.DOSES]
            text = "95 % intervals of the bootstrap. **Bold: d' is below that of the same scans untouched.**"
            sections.append(Section(f"{observer}-{key}", f"{title}, {observer}", text, columns, lines))
    return sections


def _equal(rows: Sequence[dict[str, Any]]) -> Section:
    lines = []
    for observer in detectability.OBSERVERS:
        for task in detectability.KINDS:
            cells = {
                row["method"]: _bold(_equal_cell(row), row["method"] != UNTOUCHED and row["dose"] >= row["highest"])
                for row in rows
                if (row["task"], row["observer"]) == (task, observer)
            }
            if cells:
                lines.append({"task": task, "observer": observer, **cells})
    columns = [Column("task", "task"), Column("observer", "observer"), *(Column(name, name) for name in METHODS)]
    text = (
        "Percent of the full dose, with the 95 % interval of the bootstrap. Between measured doses it is read off "
        "straight lines in logarithms; `below 10` and `above 100`: it lies beyond what was measured. "
        "**Bold: at the full dose, d' is not above that of the untouched scan.**"
    )
    return Section("equal", "Dose at which d' equals that of the full dose untouched", text, columns, lines)


def _equal_cell(row: dict[str, Any]) -> str:
    def percent(value: float) -> str:
        if value <= row["lowest"] * 1.001:
            return f"below {row['lowest']}"
        return f"above {row['highest']}" if value >= row["highest"] * 0.999 else f"{value:.0f}"

    if row["method"] == UNTOUCHED:
        return "100"
    low, high = row["dose_interval"]
    return f"{percent(row['dose'])} ({percent(low)} to {percent(high)})"


def _insertion(rows: Sequence[dict[str, Any]]) -> list[Section]:
    """Return a table for each body: what is kept of each kind of lesion, and what changes elsewhere."""
    sections = []
    columns = [Column("dose", "dose %", "d"), Column("method", "method")]
    for body in insertion.BODIES:
        kinds = {f"{one.kind} {one.hu:g} HU": None for one in insertion.lesions(body)}
        lines = []
        for row in rows:
            if row["body"] == body and row["method"] != UNTOUCHED:
                cells = {kind: _kept_cell([r for r in row["lesions"] if f"{r['kind']} {r['hu']:g} HU" == kind])
                         for kind in kinds}  # fmt: skip
                far = {"rms": f"{row['elsewhere_rms']:.2f}", "most": f"{row['elsewhere_most']:.1f}"}
                lines.append({"dose": row["dose"], "method": row["method"], "scans": row["scans"], **cells, **far})
        text = (
            "Share of the contrast that is kept, in percent, from the smallest lesion to the largest, and the smallest "
            f"diameter (of fissures: thickness) from which on {LIMIT} is kept. **Bold: less than {LIMIT}; the "
            "untouched scan keeps all.** Elsewhere: change away from all lesions, rms and largest, HU; 0 untouched."
        )
        shown = [*columns, Column("scans", "scans", "d"), *(Column(kind, kind) for kind in kinds)]
        shown += [Column("rms", "elsewhere, rms"), Column("most", "elsewhere, most")]
        sections.append(Section(f"insertion-{body}", f"Lesions put into the {body}", text, shown, lines))
    return sections


def _kept_cell(lesions: Sequence[dict[str, Any]]) -> str:
    kept = " ".join(_bold(f"{100 * one['kept']:.0f}", one["kept"] < KEEPS) for one in lesions)
    smallest = smallest_kept(lesions)
    return f"{kept}; {'none' if smallest is None else f'{smallest:g} mm'}"


def smallest_kept(lesions: Sequence[dict[str, Any]]) -> float | None:
    """Return the smallest size from which on all larger ones keep their contrast, too; None if the largest does not."""
    smallest = None
    for one in sorted(lesions, key=lambda one: -one["size"]):
        if one["kept"] < KEEPS:
            break
        smallest = one["size"]
    return smallest


def _spectra(rows: Sequence[dict[str, Any]]) -> Section:
    before = {row["dose"]: row for row in rows if row["method"] == UNTOUCHED}
    lines = []
    for row in rows:
        untouched = before.get(row["dose"])
        cells = {}
        for hu, edge in row["edges"].items():
            was = untouched["edges"][hu]["f50"] if untouched else None
            now = edge["f50"]
            cells[hu] = "" if now is None else _bold(f"{now:.2f}", was is not None and now < 0.98 * was)
        about = {"dose": row["dose"], "method": row["method"], "sd": row["sd"], "mean": row["mean_frequency"]}
        lines.append({**about, **cells})
    columns = [Column("dose", "dose %", "d"), Column("method", "method"), Column("sd", "noise SD, HU", ".2f")]
    columns += [Column("mean", "mean frequency of the noise", ".2f")]
    columns += [Column(f"{hu:g}", f"f50 of {hu:g} HU") for hu in noise_and_transfer.CONTRASTS]
    text = (
        "Noise: of the difference of the results of two scans, over √2. f50: frequency at which the transfer function "
        "of the edge of a rod has fallen to a half, cycles/mm. **Bold: over 2 % below that of the untouched scan.**"
    )
    checks = [row["pylinac"] | {"dose": row["dose"], "ours": row} for row in rows if "pylinac" in row]
    for check in checks:
        ours = check["ours"]
        text += (
            f" pylinac {check['version']} has of the untouched scan at {check['dose']} % a noise SD of "
            f"{check['sd']:.2f} HU (here {ours['sd']:.2f}), a mean frequency of {check['mean_frequency']:.3f} (here "
            f"{ours['mean_frequency']:.3f}) and an f50 of {check['f50']:.3f} at 1000 HU (here "
            f"{ours['edges']['1000']['f50']:.3f})."
        )
    return Section("spectra", "Noise power and transfer (TG-233)", text, columns, lines)


def _repeats(rows: Sequence[dict[str, Any]]) -> Section:
    before = {row["dose"]: row for row in rows if row["method"] == UNTOUCHED}
    lines = []
    for row in rows:
        soft = row["soft"]
        low, high = soft["rmse_range_hu"]
        untouched = before.get(row["dose"])
        is_worse = untouched is not None and soft["true_hu"] > untouched["soft"]["true_hu"]
        estimate = "none" if soft["rmse_hu"] is None else f"{soft['rmse_hu']:.2f}"
        true = _bold(f"{soft['true_hu']:.2f}", is_worse)
        figures = {"estimate": f"{estimate} ({low:.2f} to {high:.2f})", "true": true, "kept": 100 * soft["noise_kept"]}
        lines.append({"dose": row["dose"], "method": row["method"], **figures, "systematic": soft["systematic_hu"]})
    columns = [Column("dose", "dose %", "d"), Column("method", "method"), Column("estimate", "error by repeats, HU")]
    columns += [Column("true", "true error, HU"), Column("kept", "noise kept, %", ".0f")]
    columns += [Column("systematic", "systematic, HU", ".2f")]
    text = "`ctmahout repeat` on two scans of the liver, soft tissue, beside the error against the scan without noise."
    return Section("repeats", "The error from two scans", text, columns, lines)


# --------------------------------------------------------------------------------------------------------- sentences


def verdicts(results: dict[str, Any]) -> list[str]:
    """Return what the measurements say of `normal`, whichever way they fall."""
    rows = results["detectability"]["rows"]
    lines = []
    for observer in detectability.OBSERVERS:
        for dose in detectability.DOSES:
            wanted = (observer, dose, "normal")
            gains = [r for r in rows if (r["observer"], r["dose"], r["method"]) == wanted and "gain" in r]
            if gains:
                above, below = (sum(sense * r["gain"] > 0 for r in gains) for sense in (1, -1))
                surely = sum(r["gain_interval"][0] > 0 for r in gains)
                surely_below = sum(r["gain_interval"][1] < 0 for r in gains)
                lines.append(
                    f"{observer}, {dose} % dose: of {len(gains)} tasks, d' is above that of the untouched scans in "
                    f"{above} ({surely} surely: the interval of the difference is above 0) and below in {below} "
                    f"({surely_below} surely)."
                )
    for name, key, at, sources in (
        ("CHO d'", "d", ("task", "dose"), [r for r in rows if r["observer"] == "CHO"]),
        ("share of a lesion's contrast", "kept", ("body", "dose", "number"), _each_lesion(results["insertion"])),
    ):
        blurred, ours = (
            {tuple(r[k] for k in at): r[key] for r in sources if r["method"] == method} for method in (BLUR, "normal")
        )
        both = blurred.keys() & ours.keys()
        lines.append(
            f"The {name} of `normal` is higher than that of a Gaussian blur with its noise SD in "
            f"{sum(ours[k] > blurred[k] for k in both)} of {len(both)} cases."
        )
    return lines


def _each_lesion(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    return [row | one | {"number": n} for row in rows for n, one in enumerate(row["lesions"])]


def worse(results: dict[str, Any]) -> list[str]:
    """Return where our method is worse than the untouched scan, in bold."""
    lines = []
    unsure = 0
    for row in results["detectability"]["rows"]:
        if row["method"] in OURS and _is_worse(row):
            low, high = row["gain_interval"]
            if high < 0:
                lines.append(
                    f"**{row['task']}, {row['observer']}, {row['dose']} % dose, `{row['method']}`: d' is "
                    f"{-row['gain']:.2f} lower than untouched** ({-high:.2f} to {-low:.2f})."
                )
            else:
                unsure += 1
    if unsure:
        lines.append(
            f"d' is lower in {unsure} more cells of the tables, by less than their intervals allow to be sure of."
        )
    for row in results["insertion"]:
        lost = sorted(
            (one["kept"], one["kind"], one["size"], one["hu"]) for one in row["lesions"] if one["kept"] < KEEPS
        )
        if row["method"] == "normal" and lost:
            kept, kind, size, hu = lost[0]
            lines.append(
                f"**{row['body'].capitalize()}, {row['dose']} % dose, `normal`: {len(lost)} of {len(row['lesions'])} "
                f"lesions keep less than {LIMIT} of their contrast**; least of all a {kind} of {size:g} mm and "
                f"{hu:g} HU, {100 * kept:.0f} %."
            )
    return lines or ["Nothing that was measured."]


def _counts(rows: Sequence[dict[str, Any]]) -> str:
    """Return how many realisations there are, by method."""
    counts = []
    for method in METHODS:
        pairs = {r["dose"]: r["pairs"] for r in rows if r["method"] == method}
        if pairs:
            counts.append(f"{method}: " + ", ".join(f"{2 * n} at {dose} %" for dose, n in pairs.items()))
    return "; ".join(counts) + "."


# ------------------------------------------------------------------------------------------------------------- plots


def _plot_d(rows: Sequence[dict[str, Any]]) -> Figure:
    """Return d' of the Hotelling observer by dose, a panel for each task."""
    figure = Figure(figsize=(11, 2.6), layout="constrained")
    axes = figure.subplots(1, len(detectability.KINDS), sharey=True)
    for axis, task in zip(axes, detectability.KINDS, strict=True):
        for colour, method in enumerate(METHODS):
            line = sorted(
                (r["dose"], r["d"], *r["d_interval"])
                for r in rows
                if (r["task"], r["method"], r["observer"]) == (task, method, "CHO")
            )
            if line:
                dose, d, low, high = np.array(line).T
                axis.fill_between(dose, low, high, color=f"C{colour}", alpha=0.12, lw=0)
                axis.plot(dose, d, "o-", ms=3, lw=1, color=f"C{colour}", label=method)
        axis.set_title(task, fontsize=8)
        axis.set_xscale("log")
        axis.set_xticks(detectability.DOSES, [str(d) for d in detectability.DOSES], fontsize=6)
        axis.minorticks_off()
        axis.set_xlabel("dose, %", fontsize=7)
    axes[0].set_ylabel("d', CHO", fontsize=8)
    if rows:
        axes[0].legend(fontsize=6)
    return figure


def _plot_lesions(rows: Sequence[dict[str, Any]]) -> Figure:
    """Return maps of what is kept of faint lesions in the liver, by diameter and contrast."""
    shown = [
        row
        for method in _SHOWN
        for row in sorted(rows, key=lambda r: -r["dose"])
        if row["body"] == "liver" and row["method"] == method
    ]
    figure = Figure(figsize=(2.4 * max(len(shown), 1) + 0.8, 2.5), layout="constrained")
    axes = figure.subplots(1, max(len(shown), 1), squeeze=False)[0]
    for axis, row in zip(axes, shown, strict=False):
        faint = [one for one in row["lesions"] if one["kind"] == "lesion"]
        sizes, contrasts = (sorted({one[key] for one in faint}) for key in ("size", "hu"))
        kept = np.array([[next(o["kept"] for o in faint if (o["size"], o["hu"]) == (s, c)) for s in sizes]
                         for c in contrasts])  # fmt: skip
        drawn = axis.imshow(100 * kept, cmap="RdYlGn", vmin=0, vmax=110, origin="lower", aspect="auto")
        for (i, j), value in np.ndenumerate(kept):
            axis.text(j, i, f"{100 * value:.0f}", ha="center", va="center", fontsize=7)
        axis.set_xticks(range(len(sizes)), [f"{s:g}" for s in sizes], fontsize=7)
        axis.set_yticks(range(len(contrasts)), [f"{c:g}" for c in contrasts], fontsize=7)
        axis.set_title(f"{row['method']}, {row['dose']} % dose", fontsize=8)
        axis.set_xlabel("diameter, mm", fontsize=7)
    if shown:
        axes[0].set_ylabel("contrast, HU", fontsize=7)
        figure.colorbar(drawn, ax=axes, shrink=0.8).set_label("contrast kept, %", fontsize=7)
    return figure


def _plot_spectra(rows: Sequence[dict[str, Any]]) -> Figure:
    """Return noise power and the transfer of a low contrast, a column for each dose."""
    doses = [dose for dose in noise_and_transfer.DOSES if any(row["dose"] == dose for row in rows)]
    figure = Figure(figsize=(3 * max(len(doses), 1) + 0.5, 4.4), layout="constrained")
    axes = figure.subplots(2, max(len(doses), 1), squeeze=False)
    for n, dose in enumerate(doses):
        for row in (row for row in rows if row["dose"] == dose):
            colour = f"C{METHODS.index(row['method'])}"
            axes[0, n].plot(row["frequency"], row["power"], color=colour, lw=1, label=row["method"])
            for hu, style in (("1000", "-"), ("30", ":")):
                transfer = row["edges"][hu]["transfer"]
                axes[1, n].plot(0.02 * np.arange(len(transfer)), transfer, style, color=colour, lw=1)
        axes[0, n].set_title(f"{dose} % dose", fontsize=8)
        axes[0, n].set_ylabel("NPS, HU² mm²", fontsize=7)
        axes[1, n].set_ylabel("TTF: 1000 HU, 30 HU dotted", fontsize=7)
        axes[1, n].set_xlabel("cycles/mm", fontsize=7)
        axes[0, n].legend(fontsize=6)
    return figure


def options(parser: argparse.ArgumentParser) -> None:
    """Add the options of the page."""
    parser.add_argument("--out", type=Path, default=page.DOCS, help="where evidence.md, its JSON and plots go")
