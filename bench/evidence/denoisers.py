"""The methods that are compared, by name: an object and a scan of it go in, the result comes out."""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from methods import ours
from numpy.typing import NDArray
from peers import bm4d
from scipy import ndimage

from ctmahout import Volume, learn
from ctmahout.denoising.effort import EFFORTS
from ctmahout.phantom.dicom import write_synthetic

from .scans import Field, Object

__all__ = [
    "BLUR",
    "BM4D",
    "METHODS",
    "MODEL",
    "OURS",
    "UNTOUCHED",
    "add_options",
    "blur",
    "blur_to",
    "chosen",
    "denoiser",
]

Float32 = NDArray[np.float32]
Denoise = Callable[[Volume], Float32]

UNTOUCHED, BLUR, BM4D, MODEL = "untouched", "Gaussian blur", "BM4D", "model"
OURS = (*EFFORTS, MODEL)
METHODS = (UNTOUCHED, BLUR, BM4D, *OURS)
_ENGINE: dict[str, Any] = {"method": "patches", "engine": "numpy", "algorithm": "exact", "workers": 1}
_MODEL_SEEDS, _MODEL_DOSES, _MODEL_GROUPS = (11, 12, 13), (0.5, 0.25, 0.1), 200


def add_options(parser: argparse.ArgumentParser, doses: Sequence[int], methods: Sequence[str] = METHODS) -> None:
    """Add the options that the parts have in common."""
    parser.add_argument("--doses", type=int, nargs="+", choices=doses, default=list(doses), help="percent")
    parser.add_argument("--methods", nargs="+", choices=methods, default=list(methods), help="these methods")
    parser.add_argument("--bm4d", type=Path, metavar="PYTHON", help="an interpreter that has bm4d; else it is left out")


def chosen(options: argparse.Namespace) -> list[str]:
    """Return the methods to measure, the blur last: it is to have the noise of `normal`."""
    names = [name for name in options.methods if name != BM4D or options.bm4d]
    return sorted(names, key=lambda name: name == BLUR)


def denoiser(name: str, *, model: Path, field: Field, python: Path | None) -> Denoise:
    """Return a method by name, but for the blur.

    Parameters
    ----------
    name : str
        Of `METHODS`.
    model : Path
        Of the method "model"; learnt if it is not there.
    field : Field
        Where it is learnt.
    python : Path, optional
        An interpreter that has BM4D.
    """
    if name == UNTOUCHED:
        return lambda volume: volume.hu
    if name == BM4D:
        assert python is not None
        rival = bm4d(python, our_noise=True)
        return lambda volume: rival(volume).hu
    if name == MODEL:
        if not model.exists():
            _learn(model, field)
        run = ours(model=str(model), workers=1)
    else:
        run = ours(effort=name, **_ENGINE)
    return lambda volume: run(volume)[0].hu


def _learn(model: Path, field: Field) -> None:
    """Learn a model on scans of other bodies in the same place: texture and vessels differ, organs do not."""
    model.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="ctmahout-bench-") as folder:
        series = []
        for seed, dose in zip(_MODEL_SEEDS, _MODEL_DOSES, strict=True):
            body = Object(field, seed)
            series.append(Path(folder, str(seed)))
            scan, key = body.volume(body.scan(dose, [seed, 3])), str(seed)
            write_synthetic(scan, series[-1], description="scan", key=key, study_key=key, series_number=1)
        learn(series, model, groups=_MODEL_GROUPS, engine="numpy", algorithm="exact", workers=1)


def blur(hu: Float32, sd: float) -> Float32:
    """Return slices blurred by a Gaussian, SD in pixels."""
    blurred: Float32 = ndimage.gaussian_filter(hu, (0, sd, sd))
    return blurred


def blur_to(noise: Float32, mask: NDArray[np.bool_], noise_sd: float) -> float:
    """Return the SD in pixels of the Gaussian after which noise has this SD in a mask."""
    low, high = 0.0, 8.0
    for _ in range(14):
        middle = (low + high) / 2
        low, high = (middle, high) if blur(noise, middle)[mask].std() > noise_sd else (low, middle)
    return (low + high) / 2
