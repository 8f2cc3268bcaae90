"""BM4D, the strongest classical denoiser, beside ours: part of `quality.py`.

Its licence is for non-commercial use only, so it runs in an environment of its own, for those who have one:
``pip install -r bench/requirements-bm4d.txt``.
"""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from page import Target

from ctmahout import Volume
from ctmahout.noise import NoiseModel, noise_sd
from ctmahout.patches import Threads, noise_of

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
# Whether more is better, and the unit.
_SCORES = {
    "psnr_db": ("PSNR", 1, " dB"),
    "ssim": ("SSIM", 1, ""),
    "ssim_soft": ("SSIM in the soft window", 1, ""),
    "rmse_soft": ("RMSE of soft tissue", -1, " HU"),
    "rmse_lung": ("RMSE of the lung", -1, " HU"),
    "rmse_bone": ("RMSE of bone", -1, " HU"),
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
    found = noise_of(volume.hu, volume.geometry, 0, Threads())
    if found is None:
        raise SystemExit("There is no noise to tell BM4D of")
    shape = volume.hu.shape
    return found.sd(0, *shape), _spectrum(found, shape)


def _spectrum(found: NoiseModel, shape: tuple[int, int, int]) -> NDArray[np.float64]:
    shares = found.share.mean(axis=(1, 2, 3), dtype=np.float64)
    in_slice = np.einsum("s,syx->yx", shares / shares.sum(), found.autocovariance)
    reach = len(in_slice) // 2
    lags = np.zeros(shape)
    for z, likeness in enumerate((1.0, *found.along_z)):
        for at in {z, -z}:
            lags[at, : 2 * reach + 1, : 2 * reach + 1] = likeness * in_slice
    power = np.fft.fftn(np.roll(lags, (-reach, -reach), (1, 2))).real
    # Of an estimate some powers are below nothing.
    powers: NDArray[np.float64] = np.maximum(power, 1e-3 * power.mean()) * lags.size
    return powers


def targets(rows: Iterable[dict[str, Any]]) -> list[Target]:
    """Return what is wanted of the rows of ``patches``: by dose, over all scans, the least by which they are better."""
    at = {(row["scan"], row["dose"], row["method"]): row for row in rows if "psnr_db" in row}
    found = []
    for dose, known in _KNOWN.items():
        for what, (title, sign, unit) in _SCORES.items():
            least = _least(at, dose, what, sign, "patches normal", OUR_NOISE, getattr(known, what))
            found.append((f"{dose:g} %, patches normal: {title}, against BM4D with our noise", least, 0.0, unit))
        least = _least(at, dose, "psnr_db", 1, "patches normal", ONE_SD, known.one_sd)
        found.append((f"{dose:g} %, patches normal: PSNR, against BM4D with one SD", least, 1.0, " dB"))
        least = _least(at, dose, "psnr_db", 1, "patches best", None, known.prototype)
        found.append((f"{dose:g} %, patches best: PSNR, against our prototype", least, 0.1, " dB"))
    return [Target(title, least, limit, "at least", unit) for title, least, limit, unit in found if least is not None]


def _least(
    at: dict[tuple[str, float, str], dict[str, Any]],
    dose: float,
    what: str,
    sign: int,
    method: str,
    other: str | None,
    known: float | None,
) -> float | None:
    """Return the least by which a method is better than another one over all scans, None if nothing is known of it."""
    better = []
    for (scan, of_dose, name), row in at.items():
        if (of_dose, name) != (dose, method):
            continue
        beside = at.get((scan, dose, other)) if other else None
        value = beside[what] if beside else known if row["known"] else None
        if value is not None:
            better.append(sign * (row[what] - value))
    return min(better, default=None)
