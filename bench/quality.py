"""Measure how good the denoised pictures are: part of ``make bench``.

Simulated scans, whose noise-free twin is known, are denoised by each method, blind, and scored against the twin; with
``--real`` real series are denoised and checked by what can be measured in them. Scans are those of `ctmahout phantom`,
or with ``--volumes`` folders with ``clean.npy``, ``truth.npy``, ``dose_<percent>.npy`` (float32, HU, of shape (z, y,
x)) and ``meta.json``. Metrics are those of `ctmahout compare`, in the body and tissues of the twin.

BM4D, as its users call it, takes part with ``--bm4d`` if it is installed: its licence is for non-commercial use only,
so nothing of ours depends on it. ``pip install -r bench/requirements-bm4d.txt`` into the environment named by
``--bm4d``.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import page
from numpy.typing import NDArray
from page import Column, Section, Target
from real import real_section

from ctmahout import Geometry, Volume, choose_rank, dssvd
from ctmahout.matrix import SlicesLayout
from ctmahout.noise import matrix_noise_sd, noise_sd
from ctmahout.phantom import make_phantom
from ctmahout.quality import compare

BENCH = Path(__file__).resolve().parent
SHAPE = (96, 256, 256)
EXTENT_MM = 288.0
EFFORTS = ("fast", "normal", "best")

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


def slices_auto(engine: str) -> Method:
    """Return the method ``slices`` with the strength ``auto``."""

    def denoise(volume: Volume) -> Volume:
        layout = SlicesLayout.of(volume)
        matrix = np.concatenate([block for _, block in layout.blocks(volume)])
        found = dssvd(matrix, engine=engine)
        choice = choose_rank(
            found.s,
            "auto",
            rows=found.rows,
            columns=found.columns,
            squared_norm=found.squared_norm,
            noise_sd=matrix_noise_sd(volume.hu, volume.padding),
        )
        return layout.reconstruct(volume, found.v, choice.weights)

    return denoise


def patches(effort: str, engine: str) -> Method:
    """Return the method ``patches`` with the automatic strength."""

    def denoise(volume: Volume) -> Volume:
        found = importlib.import_module("ctmahout.patches").denoise_volume(volume, effort=effort, engine=engine)
        return found if isinstance(found, Volume) else volume.with_hu(np.asarray(found.hu, np.float32))

    return denoise


def bm4d(python: Path) -> Method:
    """Return BM4D as its users call it: one noise SD for the volume, measured in its soft tissue."""
    script = "import sys, numpy, bm4d; a, b, sd = sys.argv[1:]; numpy.save(b, bm4d.bm4d(numpy.load(a), float(sd)))"

    def denoise(volume: Volume) -> Volume:
        with tempfile.TemporaryDirectory(prefix="ctmahout-bench-") as folder:
            files = [f"{folder}/noisy.npy", f"{folder}/denoised.npy"]
            np.save(files[0], volume.hu)
            subprocess.run([python, "-c", script, *files, str(noise_sd(volume.hu))], check=True)
            return volume.with_hu(np.load(files[1]).astype(np.float32))

    return denoise


def methods(options: argparse.Namespace) -> dict[str, Method]:
    """Return what is measured, by name."""
    found: dict[str, Method] = {"noisy": lambda volume: volume, "slices auto": slices_auto(options.engine)}
    if importlib.util.find_spec("ctmahout.patches"):
        found |= {f"patches {effort}": patches(effort, options.engine) for effort in EFFORTS}
    else:
        print("There is no ctmahout.patches: left out", file=sys.stderr)
    if options.bm4d:
        found["BM4D, one SD"] = bm4d(options.bm4d)
    return {name: method for name, method in found.items() if not options.only or name in options.only}


def measured(scan: Scan, name: str, method: Method, crop: slice | None) -> dict[str, Any]:
    """Return the row of a table."""
    start, cpu = time.perf_counter(), os.times()
    after = method(scan.noisy)
    seconds, now = time.perf_counter() - start, os.times()
    kept = crop or slice(None)
    shown = scan.cut(kept)
    scores = compare(cut(after, kept), shown.clean, outline=shown.outline)
    return {
        "scan": scan.name,
        "dose": scan.dose,
        "method": name,
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
]
