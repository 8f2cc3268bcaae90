"""Measure how good the denoised pictures are: part of ``make bench``.

Simulated scans, whose noise-free twin is known, are denoised by each method, blind, and scored against the twin; with
``--real`` real series are denoised and checked by what can be measured in them. Scans are those of `ctmahout phantom`,
or with ``--volumes`` folders with ``clean.npy``, ``truth.npy``, ``dose_<percent>.npy`` (float32, HU, of shape (z, y,
x)) and ``meta.json``. Metrics are those of `ctmahout compare`, in the body and tissues of the twin. Figures of others
are known of slices 32:64 of 96: say ``--crop 32:64`` to be held against them.

BM4D takes part with ``--bm4d``, see `peers.py`.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import page
from methods import ours as every_strength
from numpy.typing import NDArray
from page import Column, Section
from peers import ONE_SD, OUR_NOISE, bm4d, targets
from real import real_section

from ctmahout import CtmahoutError, Geometry, Volume
from ctmahout.denoising.effort import EFFORTS
from ctmahout.phantom import make_phantom
from ctmahout.quality import compare

BENCH = Path(__file__).resolve().parent
SHAPE = (96, 256, 256)
EXTENT_MM = 288.0

# The slices by which others were measured on these scans.
CROP = slice(32, 64)

Method = Callable[[Volume], Volume]


@dataclass(frozen=True)
class Scan:
    """A simulated scan at one dose.

    Attributes
    ----------
    name : str
    dose : float
        Percent of the full one.
    noisy, clean : Volume
    outline : ndarray or None
        The drawing, without what a scanner makes of it; the body is found in it.
    known : bool
        Whether it is one of those that other methods have been measured on.
    """

    name: str
    dose: float
    noisy: Volume
    clean: Volume
    outline: NDArray[np.float32] | None = None
    seed: int | None = None

    def cut(self, slices: slice) -> Scan:
        """Return some slices of it."""
        return replace(
            self,
            noisy=cut(self.noisy, slices),
            clean=cut(self.clean, slices),
            outline=None if self.outline is None else self.outline[slices],
        )


def cut(volume: Volume, slices: slice) -> Volume:
    """Return some slices of a volume."""
    geometry = replace(volume.geometry, positions_mm=volume.geometry.positions_mm[slices])
    padding = None if volume.padding is None else volume.padding[slices]
    return replace(volume, hu=np.ascontiguousarray(volume.hu[slices]), geometry=geometry, padding=padding)


def phantoms(seeds: list[int], doses: list[float]) -> Iterator[Scan]:
    """Yield the project's own phantoms."""
    for seed in seeds:
        for dose in doses:
            z, n, _ = SHAPE
            made = make_phantom(size=n, slices=z, dose=dose / 100, seed=seed, extent_mm=EXTENT_MM)
            yield Scan(f"phantom {seed}", dose, made.noisy, made.clean)


def volumes(folders: list[Path], doses: list[float]) -> Iterator[Scan]:
    """Yield the scans in folders."""
    for folder in folders:
        meta = json.loads((folder / "meta.json").read_text())
        clean, truth = (np.load(folder / f"{name}.npy") for name in ("clean", "truth"))
        z, p = meta["spacing_z_mm"], meta["pixel_mm"]
        positions = np.column_stack([np.zeros((len(clean), 2)), z * np.arange(len(clean))])
        geometry = Geometry(positions, np.array([1.0, 0.0, 0.0]), np.array([0.0, 1.0, 0.0]), (p, p))
        for dose in doses:
            file = folder / f"dose_{dose:g}.npy"
            if file.exists():
                noisy = Volume(np.load(file), geometry)
                seed = None if meta["volume"] else meta["seed"]
                yield Scan(folder.name, dose, noisy, Volume(clean, geometry), truth, seed)


def ours(**options: Any) -> Method:
    """Return a method of ours with the strength ``auto``."""
    run = every_strength(**options)
    return lambda volume: run(volume)[0]


def methods(options: argparse.Namespace) -> dict[str, Method]:
    """Return what is measured, by name."""
    found: dict[str, Method] = {
        "noisy": lambda volume: volume,
        "slices auto": ours(method="slices", engine=options.engine),
        **{f"patches {effort}": ours(method="patches", effort=effort, engine=options.engine) for effort in EFFORTS},
    }
    if options.bm4d:
        found[ONE_SD] = bm4d(options.bm4d, our_noise=False)
        found[OUR_NOISE] = bm4d(options.bm4d, our_noise=True)
    return {name: method for name, method in found.items() if not options.only or name in options.only}


def measured(scan: Scan, name: str, method: Method, crop: slice | None) -> dict[str, Any]:
    """Return the row of a table."""
    about = {"scan": scan.name, "dose": scan.dose, "method": name}
    start, cpu = time.perf_counter(), os.times()
    try:
        after = method(scan.noisy)
    except CtmahoutError as e:
        return about | {"refused": e.code}
    seconds, now = time.perf_counter() - start, os.times()
    kept = crop or slice(None)
    shown = scan.cut(kept)
    scores = compare(cut(after, kept), shown.clean, outline=shown.outline)
    return {
        **about,
        **scores.as_dict(),
        **{f"rmse_{tissue}": value for tissue, value in scores.rmse_hu.items()},
        "strong": scores.edge_sharpness["strong"],
        "weak": scores.edge_sharpness["weak"],
        "wall_s": seconds,
        "python_cpu_s": sum(now[:4]) - sum(cpu[:4]),
    }


COLUMNS = [
    Column("scan", "scan"),
    Column("dose", "dose %", "g"),
    Column("method", ""),
    Column("psnr_db", "PSNR dB", ".2f"),
    Column("ssim", "SSIM", ".4f"),
    Column("ssim_soft", "SSIM, soft window", ".4f"),
    Column("rmse_soft", "RMSE HU, soft", ".2f"),
    Column("rmse_lung", "lung", ".2f"),
    Column("rmse_bone", "bone", ".2f"),
    Column("strong", "sharpness, strong edges", ".2f"),
    Column("weak", "weak", ".2f"),
    Column("nps_distance", "NPS distance", ".2f"),
    Column("wall_s", "s", ".0f"),
    Column("refused", ""),
]


def section(rows: list[dict[str, Any]], text: str) -> Section:
    """Return the page's section about simulated scans."""
    versions = {"Python": platform.python_version(), "numpy": np.__version__}
    return Section("quality", "Pictures against the truth", text, COLUMNS, rows, targets(rows), versions)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3], help="phantoms")
    parser.add_argument("--doses", type=float, nargs="+", default=[100, 25, 10, 5], help="percent")
    parser.add_argument("--volumes", type=Path, nargs="+", help="folders with scans, instead of phantoms")
    parser.add_argument("--crop", default=None, metavar="FROM:TO", help="score these slices only; all are denoised")
    parser.add_argument("--only", nargs="+", help="these methods")
    parser.add_argument("--bm4d", type=Path, metavar="PYTHON", help="an interpreter that has bm4d")
    parser.add_argument("--engine", default="py4j", help="what decomposes")
    parser.add_argument(
        "--real",
        type=Path,
        nargs="?",
        const=BENCH.parents[1] / "shared" / "data" / "ct",
        metavar="FOLDER",
        help="check real series, in this folder, instead",
    )
    parser.add_argument("--add", action="store_true", help="to the rows published, instead of in their place")
    parser.add_argument("--out", type=Path, default=page.DOCS, help="where numbers.md and numbers.json go")
    options = parser.parse_args()
    wanted = methods(options)
    if options.real:
        print(page.publish(real_section(options.real, wanted), options.out))
        return
    start, end = (int(part) for part in options.crop.split(":")) if options.crop else (None, None)
    crop = slice(start, end) if options.crop else None
    scans = volumes(options.volumes, options.doses) if options.volumes else phantoms(options.seeds, options.doses)
    rows = []
    for scan in scans:
        for name, method in wanted.items():
            row = measured(scan, name, method, crop)
            # Figures of others are of these scans, and of these slices of them.
            rows.append(row | {"known": scan.seed in (1, 2, 3) and crop == CROP and scan.noisy.shape == SHAPE})
            values = [(row.get(column.key), column.form) for column in COLUMNS]
            print(" | ".join("" if value is None else f"{value:{form}}" for value, form in values), flush=True)
    if options.add:
        rows = added(page.rows("quality", options.out), rows)
    print(page.publish(section(rows, _text(options)), options.out))


def added(published: list[dict[str, Any]], rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return rows and those published of other scans, doses and methods: so a long table can be made in pieces."""
    together = {(row["scan"], -row["dose"], row["method"]): row for row in [*published, *rows]}
    order = ["noisy", "slices auto", *(f"patches {effort}" for effort in EFFORTS), ONE_SD, OUR_NOISE]
    return [together[key] for key in sorted(together, key=lambda key: (*key[:2], order.index(key[2])))]


def _text(options: argparse.Namespace) -> str:
    scans = "Simulated chest scans of 96 slices of 256 x 256" if not options.volumes else "Simulated scans"
    scored = f"slices {options.crop} of each (counted from 0)" if options.crop else "all slices"
    return (
        f"{scans}, denoised blind: nothing is told about the noise. Scored against the same scan without noise, over "
        f"{scored}, in the body: PSNR and SSIM for a range of 2000 HU, SSIM again in the window of -160 to 240 HU, "
        "RMSE by tissue. Sharpness is the 10-90 % width of edges without noise as a share of theirs: 1 is as sharp. "
        "NPS distance is the share of what looks like noise in flat soft tissue that lies at other frequencies."
    )


if __name__ == "__main__":
    main()
