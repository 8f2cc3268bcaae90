"""BM4D, the strongest classical denoiser, beside ours: part of `quality.py`.

Its licence is for non-commercial use only, so it runs in an environment of its own, for those who have one:
``pip install -r bench/requirements-bm4d.txt``.
"""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from page import Target

from ctmahout import Volume
from ctmahout.denoising.noise import NoiseModel, noise_sd
from ctmahout.denoising.patches.two_passes import measure_noise
from ctmahout.engines.workers import Threads

__all__ = ["ONE_SD", "OUR_NOISE", "bm4d", "targets"]

ONE_SD = "BM4D, one SD"
OUR_NOISE = "BM4D, our noise"

_SCRIPT = "import sys, numpy, bm4d; a, b, c = sys.argv[1:]; numpy.save(c, bm4d.bm4d(numpy.load(a), numpy.load(b)[()]))"


class _Figures(NamedTuple):
    """Of BM4D with our noise; the PSNR of BM4D with one SD and of our prototype, dB; RMSE in HU, None if not noted."""

    psnr_db: float
    ssim: float
    ssim_soft: float
    rmse_soft: float
    one_sd: float
    prototype: float
    rmse_bone: float | None = None
    rmse_lung: float | None = None


# By dose in percent, of phantoms 1 to 3, for where BM4D does not take part. They were taken on 32 of 96 slices, and it
# was not noted on which: the middle third has the PSNR of their noisy scans to 0.01 dB at all doses, their SSIM to
# 0.004 and that in the soft window to 0.006. Nor was it noted which one SD BM4D was told: with that in soft tissue, as
# here, it does better.
_KNOWN = {
    100.0: _Figures(51.94, 0.9969, 0.984, 4.6, 51.09, 51.90),
    25.0: _Figures(47.43, 0.9922, 0.971, 7.0, 46.02, 47.70),
    10.0: _Figures(44.49, 0.9854, 0.954, 9.6, 42.57, 44.76, rmse_bone=21.7),
    5.0: _Figures(42.09, 0.9754, 0.926, 13.2, 39.67, 42.48),
}
# What they are called, their unit, and what the difference to another's is to be: of errors none is wanted as large.
_SCORES = {
    "psnr_db": ("PSNR", " dB", "at least"),
    "ssim": ("SSIM", "", "at least"),
    "ssim_soft": ("SSIM in the soft window", "", "at least"),
    "rmse_soft": ("RMSE of soft tissue", " HU", "below"),
    "rmse_lung": ("RMSE of the lung", " HU", "below"),
    "rmse_bone": ("RMSE of bone", " HU", "below"),
}


def bm4d(python: Path, *, our_noise: bool) -> Callable[[Volume], Volume]:
    """Return BM4D in another interpreter.

    Parameters
    ----------
    python : Path
        An interpreter that has it.
    our_noise : bool
        Tell it our noise map and spectrum, measured blind: then it is at its best. Else, as its users call it, one SD
        for the volume, measured in its soft tissue.
    """

    def denoise(volume: Volume) -> Volume:
        scale, noise = _noise(volume) if our_noise else (np.float32(1), np.array(noise_sd(volume.hu)))
        with tempfile.TemporaryDirectory(prefix="ctmahout-bench-") as folder:
            files = [f"{folder}/{name}.npy" for name in ("noisy", "noise", "denoised")]
            np.save(files[0], volume.hu / scale)
            np.save(files[1], noise)
            subprocess.run([python, "-c", _SCRIPT, *files], check=True)
            return volume.with_hu((np.load(files[2]) * scale).astype(np.float32))

    return denoise


def _noise(volume: Volume) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
    """Return the noise's SD, and the power spectrum of what noise is as a share of it, both of the volume's shape."""
    found = measure_noise(volume.hu, volume.geometry, Threads())
    if not isinstance(found, NoiseModel):
        raise SystemExit("There is no noise to tell BM4D of")
    shape = volume.hu.shape
    return found.sigma_hu(0, *shape), _spectrum(found, shape)


def _spectrum(found: NoiseModel, shape: tuple[int, int, int]) -> NDArray[np.float64]:
    in_slice = np.tensordot(found.sector_share.mean(axis=(1, 2, 3), dtype=np.float64), found.autocovariance, 1)
    reach = len(in_slice) // 2
    around = np.arange(-reach, reach + 1)
    lags = np.zeros(shape)
    for z, likeness in enumerate((1.0, *found.z_correlation)):
        lags[np.ix_(np.array([z, -z]), around, around)] = likeness * in_slice
    power = np.fft.fftn(lags).real
    # Of an estimate some powers are below nothing.
    powers: NDArray[np.float64] = np.maximum(power, 1e-3 * power.mean()) * lags.size
    return powers


def targets(rows: list[dict[str, Any]]) -> list[Target]:
    """Return what is wanted of the rows of ``patches``: by dose, how much better they are on the worst of the scans."""
    found = []
    for dose, known in _KNOWN.items():
        compared = [(what, 0.0, "normal", OUR_NOISE, "BM4D with our noise", getattr(known, what)) for what in _SCORES]
        compared.append(("psnr_db", 1.0, "normal", ONE_SD, "BM4D with one SD", known.one_sd))
        compared.append(("psnr_db", 0.1, "best", "", "our prototype", known.prototype))
        for what, limit, effort, other, name, figure in compared:
            title, unit, sense = _SCORES[what]
            differences = _differences(rows, dose, what, f"patches {effort}", other, figure)
            if differences:
                measured = [difference for difference in differences if difference is not None]
                all_are = len(measured) == len(differences)
                worst = (min if sense == "at least" else max)(measured) if all_are else None
                title = f"{dose:g} %, patches {effort}: {title}, less that of {name}"
                found.append(Target(title, worst, limit, sense, unit))
    return found


def _differences(
    rows: list[dict[str, Any]], dose: float, what: str, method: str, other: str, known: float | None
) -> list[float | None]:
    """Return a method's score less that of another, scan by scan: None where it has none itself.

    The other's is what it has in these rows, else what is `known` of it.
    """
    beside = {row["scan"]: row[what] for row in rows if row["dose"] == dose and row["method"] == other and what in row}
    found = []
    for row in rows:
        if row["dose"] == dose and row["method"] == method:
            than = beside.get(row["scan"], known if row["known"] else None)
            if than is not None:
                found.append(row[what] - than if row.get(what) is not None else None)
    return found
