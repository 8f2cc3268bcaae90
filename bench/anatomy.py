"""Measure what a method does to real anatomy: part of ``make bench``.

A head, chests in other scanners and real series are denoised, blind: what is left of faint details, how the noise map
lies to the truth, where how much noise is taken, how means move, and whether anatomy is in the residual. Beside ours
stand a Gaussian blur that leaves as much noise, BM4D with ``--bm4d``, see `peers.py`, and with ``--before`` the method
of another checkout.

    python bench/anatomy.py --only details --quick --print     # the head alone, in a minute or two
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import page
from cases import DATA, PHANTOMS, REAL, Case, cases
from details import KINDS, Details, blurred_to, merged
from methods import before, ours
from numpy.typing import NDArray
from page import Column, Section, Target
from peers import bm4d
from regions import BANDS, MATTER, Regions, likeness, map_ratio, means, noise_map, rounded, taken
from scipy import ndimage

from ctmahout import CtmahoutError, Volume

Float32 = NDArray[np.float32]

SECTIONS = ("details", "map", "taken", "means", "likeness")
# Simulated scans at the doses that the map is to hold at, percent.
_DOSES = (100, 25, 10, 5)
_STRENGTHS = ("remove:50%", "remove:60%", "remove:70%", "remove:80%", "remove:90%", "auto")
_CURVES = ("head", "chest standard", "lowdose_pet_ct_STS_002")  # series that have one
_PLACES = {"flat": (10.0, 5.0), "edge": (10.0,), "lung": (10.0,)}

_WHERE = [Column("all", "all", ".2f"), *(Column(f"band {b}", f"ring {b + 1}", ".2f") for b in range(BANDS))]
_WHERE += [Column(f"third {t}", f"third {t + 1} of z", ".2f") for t in range(3)]
_TISSUES = ("lung", "fat", "soft", "bone")


@dataclass
class _Tables:
    """Rows by section, as they come."""

    rows: dict[str, list[dict[str, Any]]] = field(default_factory=lambda: {name: [] for name in SECTIONS})

    def add(self, section: str, row: dict[str, Any]) -> None:
        self.rows[section].append(rounded(row))
        if section != "details":  # which are printed as a table of their own
            print(section, self.rows[section][-1], flush=True)


def runs(volume: Volume, options: argparse.Namespace, *, curve: bool) -> Iterator[tuple[str, Float32]]:
    """Yield names of methods, and a series denoised by them."""
    strengths = _STRENGTHS if curve else ("auto",)
    # In memory all components are had at once; the stochastic way to them takes its time without Spark.
    how = {"method": "patches", "effort": options.effort, "engine": "numpy", "algorithm": "exact"}
    run = ours(strengths=strengths, **how)
    for strength, found in zip(strengths, run(volume), strict=True):
        yield f"{options.effort} {strength}", found.hu
    if options.bm4d:
        yield "BM4D, our noise", bm4d(options.bm4d, our_noise=True)(volume).hu
    if options.before:
        yield f"{options.effort} before", before(options.before, options.effort)(volume).hu


def measure_details(case: Case, results: dict[str, Float32], tables: _Tables, options: argparse.Namespace) -> None:
    """Add the rows of a case to the table of details; `results` are what methods make of it."""
    for place, sigmas in _PLACES.items():
        sets = [Details(case, place, sigmas, options.count, seed=n) for n in range(options.sets)]
        if place not in options.places or not sets[0].placed:
            continue
        scores: dict[str, list[dict[str, Any]]] = {}
        for details in sets:
            for name, hu in runs(
                case.volume.with_hu(details.volume), options, curve=any("remove" in name for name in results)
            ):
                scores.setdefault(name, []).append(details.score(results[name], hu))
        for name in [name for name in results if name.startswith(options.effort)]:
            sd = blurred_to(sets[0], sets[0].noise(results[name]))
            blurred = ndimage.gaussian_filter(case.volume.hu, (0, sd, sd))
            scores[f"Gaussian, noise as {name}"] = [
                details.score(blurred, ndimage.gaussian_filter(details.volume, (0, sd, sd))) for details in sets
            ]
        for name, each in scores.items():
            score = merged(each)
            about = {"case": case.name, "method": name, "noise": score["noise"], "elsewhere": score["elsewhere"]}
            for sigma in sigmas:
                of = [row for row in score["rows"] if row["sigma"] == sigma]
                if of:
                    kept = {row["kind"]: row["kept"] for row in of}
                    snr = min(row["snr"] for row in of)
                    tables.add("details", {**about, "place": place, "sigma": sigma, **kept, "snr": snr, "each": of})
            _show(about, score["rows"])


def _show(about: dict[str, Any], rows: list[dict[str, Any]]) -> None:
    """Print the details' table of one run."""
    first = rows[0]["place"]
    print(
        f"\n{about['case']} | {first} | {about['method']} | noise {about['noise']:.2f} HU | "
        f"elsewhere {about['elsewhere'] or 0:.3f} HU"
    )
    for row in rows:
        se = "" if row["se"] is None else f" +-{row['se']:.2f}"
        sides = " ".join("  - " if row[k] is None else f"{row[k]:.2f}" for k in ("kept_inner", "kept_outer"))
        print(
            f"  {row['kind']:24} {row['sigma']:4.0f} sigma {row['hu']:6.1f} HU n {row['n']:2}  kept {row['kept']:.2f}"
            f"{se:8}  inner outer {sides}  snr {row['snr']:.2f}",
            flush=True,
        )


def measure(case: Case, tables: _Tables, options: argparse.Namespace) -> None:
    """Add the rows of a case to the tables that are asked for."""
    print(f"\n## {case.name} {case.volume.shape}", flush=True)
    regions = Regions(case)
    if "map" in options.only:
        measure_map(case, regions, tables)
    if options.only == ["map"]:
        return
    curve = options.curve and "details" in options.only and case.name in _CURVES
    results = dict(runs(case.volume, options, curve=curve))
    if "details" in options.only:
        measure_details(case, results, tables, options)
    for method, hu in results.items():
        about = {"case": case.name, "method": method}
        if "remove" in method:
            continue
        if "taken" in options.only:
            for row in taken(case, regions, hu):
                tables.add("taken", about | row)
        if "means" in options.only:
            tables.add("means", about | means(case, regions, hu))
        if "likeness" in options.only:
            tables.add("likeness", about | likeness(case, regions, hu))


def measure_map(case: Case, regions: Regions, tables: _Tables) -> None:
    """Add the rows of a case to the table of noise maps."""
    found = noise_map(case)
    if found is None:
        tables.add("map", {"case": case.name, "refused": "no noise"})
        return
    for row in map_ratio(case, regions, found):
        tables.add("map", row)


def sections(tables: _Tables, only: list[str]) -> list[Section]:
    """Return the page's sections about what was measured."""
    found = {
        "details": Section(
            "anatomy-details",
            "Faint details",
            "Details of known contrast put into flat soft tissue, beside edges and into the lung: the share of their "
            "contrast that comes back. Sigma: their matched response in one patch over the noise's; signal-to-noise: "
            "that of the template, as a share of the unprocessed one; noise: SD in flat boxes; elsewhere: rms change "
            "of the picture away from the details. `numbers.json` has each kind's contrast and signal-to-noise.",
            [
                *(Column(key, title) for key, title in (("case", "series"), ("place", ""), ("method", ""))),
                Column("sigma", "sigma", "g"),
                *(Column(kind.name, kind.name, ".2f") for kind in KINDS),
                Column("snr", "least signal-to-noise", ".2f"),
                Column("noise", "noise HU", ".2f"),
                Column("elsewhere", "elsewhere HU", ".2f"),
            ],
            tables.rows["details"],
            _detail_targets(tables.rows["details"]),
        ),
        "map": Section(
            "anatomy-map",
            "The noise map beside the truth",
            "Median ratio of the measured SD to the true one, which is known of simulated scans; for real ones "
            "the SD in flat boxes stands for it. Rings are fifths of the distance from the body's centre.",
            [Column("case", "series"), Column("tissue", ""), *_WHERE, Column("refused", "")],
            tables.rows["map"],
            _map_targets(tables.rows["map"]),
        ),
        "taken": Section(
            "anatomy-taken",
            "Where how much noise is taken",
            "Share of the noise's SD that is gone from flat boxes. Spread: between rings; a tenth of the boxes loses "
            "less than the last column.",
            [
                Column("case", "series"),
                Column("method", ""),
                Column("tissue", ""),
                *_WHERE,
                Column("spread", "spread", ".2f"),
                Column("tenth", "tenth", ".2f"),
            ],
            tables.rows["taken"],
        ),
        "means": Section(
            "anatomy-means",
            "Means by tissue",
            "Mean change, HU: farther than 8 pixels from the tissue's border, and nearer. Tissues are those of "
            "the truth or, in real series, of the slices on both sides.",
            [
                Column("case", "series"),
                Column("method", ""),
                *(Column(f"{t} {w}", f"{t}, {w}", "+.2f") for t in _TISSUES for w in ("inside", "border")),
                *(Column(name, f"{name} matter", "+.2f") for name in MATTER),
            ],
            tables.rows["means"],
            _mean_targets(tables.rows["means"]),
        ),
        "likeness": Section(
            "anatomy-likeness",
            "Anatomy in the residual",
            "Correlation of the residual with fine anatomy, within each tissue, away from its borders.",
            [Column("case", "series"), Column("method", ""), *(Column(t, t, "+.3f") for t in _TISSUES)],
            tables.rows["likeness"],
        ),
    }
    return [found[name] for name in SECTIONS if name in only]


def _auto(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [row for row in rows if row["method"].split()[-1] == "auto" and not row["method"].startswith("Gaussian")]


def _detail_targets(rows: list[dict[str, Any]]) -> list[Target]:
    found = []
    small = [kind.name for kind in KINDS if kind.radius < 10]
    for row in _auto(rows):
        limit = {10.0: 0.85, 5.0: 0.7}[row["sigma"]]
        kept = [row[name] for name in small if name in row]
        if row["place"] == "flat" and kept:
            what = f"{row['case']}, details of {row['sigma']:g} sigma"
            found += [
                Target(f"{what}: least share kept", min(kept), limit, "at least"),
                Target(f"{what}: least signal-to-noise", row["snr"], 0.9, "at least"),
                Target(f"{what}: change elsewhere", row["elsewhere"], 0.3, "at most", " HU"),
            ]
    return found


def _map_targets(rows: list[dict[str, Any]]) -> list[Target]:
    found = []
    for row in rows:
        if "lowest" in row:
            low, high = (0.8, 1.25) if row["tissue"] == "lung" else (0.9, 1.1)
            what = f"{row['case']}, {row['tissue']}: map over truth"
            found += [
                Target(f"{what}, lowest", row["lowest"], low, "at least"),
                Target(f"{what}, highest", row["highest"], high, "at most"),
            ]
    return found


def _mean_targets(rows: list[dict[str, Any]]) -> list[Target]:
    found = []
    for row in rows:
        if row["method"].endswith("auto"):
            moved = [abs(v) for k, v in row.items() if k not in ("case", "method") and v is not None]
            found.append(Target(f"{row['case']}: largest shift of a mean", max(moved), 0.5, "at most", " HU"))
    return found


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=SECTIONS, default=list(SECTIONS), help="these sections")
    parser.add_argument("--cases", nargs="+", choices=[*PHANTOMS, *REAL], help="these series")
    parser.add_argument("--quick", action="store_true", help="small series, and of details the head alone")
    parser.add_argument("--effort", default="normal")
    parser.add_argument("--count", type=int, default=6, help="details of each kind")
    parser.add_argument("--sets", type=int, default=1, help="of details, each in a run of its own")
    parser.add_argument("--places", nargs="+", choices=_PLACES, default=["flat"], help="where details are put")
    parser.add_argument("--curve", action="store_true", help="several strengths, too, of a few of the series")
    parser.add_argument("--bm4d", type=Path, metavar="PYTHON", help="an interpreter that has bm4d")
    parser.add_argument("--before", type=Path, metavar="CHECKOUT", help="another checkout, to measure beside")
    parser.add_argument("--real", type=Path, default=DATA, metavar="FOLDER", help="where the real series are")
    parser.add_argument("--cache", type=Path, metavar="FOLDER", help="where simulated scans are kept")
    parser.add_argument("--print", action="store_true", help="do not write to the page")
    parser.add_argument("--out", type=Path, default=page.DOCS, help="where numbers.md and numbers.json go")
    return parser.parse_args()


def main() -> None:
    options = _options()
    every = [*PHANTOMS, *REAL]
    names = options.cases or (["head"] if options.quick and options.only == ["details"] else every)
    folder = options.real if options.real.is_dir() else None
    tables = _Tables()
    for case in cases(names, folder, quick=options.quick, cache=options.cache):
        try:
            measure(case, tables, options)
        except CtmahoutError as e:
            print(f"{case.name}: {e.code}")
    if "map" in options.only and not options.quick:
        simulated = [name for name in names if name.startswith("chest ")]
        for dose in _DOSES:
            for case in cases(simulated, None, quick=True, cache=options.cache, dose=dose / 100):
                at = Case(f"{case.name}, {dose} %", case.volume, case.clean, case.sigma)
                measure_map(at, Regions(at), tables)
    for section in sections(tables, options.only):
        if options.print:
            print(page.markdown(section.to_dict()))
        else:
            print(page.publish(section, options.out))


if __name__ == "__main__":
    main()
