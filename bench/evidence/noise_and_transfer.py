"""Noise power and transfer as TG-233 has them: rods of five contrasts in a cylinder of water, scanned twice."""

from __future__ import annotations

import argparse
import json
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .denoisers import BLUR, METHODS, MODEL, UNTOUCHED, add_options, blur, blur_to, chosen, denoiser
from .scans import Field, Inserted, Object, rod
from .spectra import Edge, edge_profile, noise_power, squares
from .store import Store

__all__ = ["CONTRASTS", "DOSES", "cross_check", "measure", "summary"]

Float32 = NDArray[np.float32]

DOSES = (100, 25, 10)  # percent
CONTRASTS = (1000.0, 300.0, 100.0, 30.0, -100.0)  # HU
WATER = Field((0.0, 0.0, 0.0))
_PLACES = ((-40.0, -40.0), (40.0, -40.0), (-40.0, 40.0), (40.0, 40.0), (0.0, 0.0))  # mm
_DIAMETER = 20.0  # mm
_SIDE, _CORNERS = 32, ((8, 48), (88, 48), (48, 8), (48, 88))  # squares between the rods
_NYQUIST = 0.5  # cycles/mm

_PYLINAC = """
import json, sys, numpy, pylinac
from pylinac.core.nps import noise_power_spectrum_2d
from pylinac.core.mtf import EdgeSpreadFunctionMTF
rois, esf = numpy.load(sys.argv[1]), numpy.load(sys.argv[2])
nps = noise_power_spectrum_2d(1.0, list(rois))
f = numpy.hypot(*numpy.meshgrid(*[numpy.fft.fftshift(numpy.fft.fftfreq(len(nps)))] * 2))
ring = (f > 0) & (f <= 0.5)
mtf = EdgeSpreadFunctionMTF([esf], sample_spacing=0.1)
print(json.dumps({"version": pylinac.__version__, "sd": float(numpy.sqrt(nps[f > 0].sum() / nps.size)),
    "mean_frequency": float((nps * f)[ring].sum() / nps[ring].sum()), "f50": mtf.relative_resolution(50)}))
"""


def phantom() -> tuple[Object, Inserted]:
    """Return the cylinder and its rods."""
    water = Object(WATER, uniform=True)
    return water, water.insert(*(rod(x, y, _DIAMETER, hu) for (x, y), hu in zip(_PLACES, CONTRASTS, strict=True)))


def measure(store: Store, options: argparse.Namespace) -> None:
    """Measure each dose and method; what is kept is not measured again."""
    store = store / "noise_and_transfer"
    units = [(dose, name) for dose in options.doses for name in chosen(options)]
    missing = [(dose, name) for dose, name in units if not store.has(f"{dose}/{name}")]
    if not missing:
        return
    water, rods = phantom()
    for dose, name in missing:
        scans = [water.scan(dose / 100, [dose, n, 11], rods) for n in range(2)]
        if name == BLUR:
            normal = store.kept(f"{dose}/normal")
            sd = blur_to((scans[0] - scans[1]) / np.float32(np.sqrt(2)), _flat(scans[0].shape), normal["sd"])
            results = [blur(hu, sd) for hu in scans]
        else:
            denoise = denoiser(name, model=store.folder / "model", field=WATER, python=options.bm4d)
            results = [denoise(water.volume(hu)) for hu in scans]
        figures = _figures(results)
        if name == UNTOUCHED and options.pylinac:
            figures["pylinac"] = cross_check(results, options.pylinac)
        store.keep(f"{dose}/{name}", figures)


def _flat(shape: tuple[int, ...]) -> NDArray[np.bool_]:
    flat = np.zeros(shape, np.bool_)
    for row, column in _CORNERS:
        flat[:, row : row + _SIDE, column : column + _SIDE] = True
    return flat


def _edge(image: Float32, place: tuple[float, float]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    middle = (WATER.size - 1) / 2
    centre = place[1] / WATER.pixel_mm + middle, place[0] / WATER.pixel_mm + middle
    return edge_profile(image.astype(np.float64), centre, _DIAMETER / 2, WATER.pixel_mm)


def _figures(results: list[Float32]) -> dict[str, Any]:
    spacing = WATER.spacing_mm[1:]
    power = noise_power(results[0], results[1], _CORNERS, _SIDE, spacing)
    difference = ((results[0] - results[1]) / np.sqrt(2))[_flat(results[0].shape)]
    mean = np.mean([hu.mean(axis=0, dtype=np.float64) for hu in results], axis=0)
    edges = {}
    for place, hu in zip(_PLACES, CONTRASTS, strict=True):
        edge = Edge.of(*_edge(mean, place), _NYQUIST)
        edges[f"{hu:g}"] = {
            "contrast": edge.contrast_hu,
            "f50": edge.falls_to(0.5),
            "f10": edge.falls_to(0.1),
            "transfer": np.round(edge.transfer[::4], 4).tolist(),
        }
    return {
        "sd": float(difference.std()),
        "mean_frequency": power.mean_frequency,
        "frequency": power.frequency_per_mm.tolist(),
        "power": power.power_hu2_mm2.tolist(),
        "edges": edges,
    }


def cross_check(results: list[Float32], python: Path) -> dict[str, Any]:
    """Return what pylinac, in another interpreter, makes of the same squares and of the edge of the first rod."""
    noise = ((results[0] - results[1]) / np.sqrt(2)).astype(np.float64)
    rois = [noise[z, y : y + _SIDE, x : x + _SIDE] for z, y, x in squares(len(noise), _CORNERS)]
    mean = np.mean([hu.mean(axis=0, dtype=np.float64) for hu in results], axis=0)
    _, profile = _edge(mean, _PLACES[0])
    with tempfile.TemporaryDirectory(prefix="ctmahout-bench-") as folder:
        files = [f"{folder}/{name}.npy" for name in ("rois", "edge")]
        for file, values in zip(files, (np.array(rois), profile), strict=True):
            np.save(file, values)
        done = subprocess.run([python, "-c", _PYLINAC, *files], check=True, capture_output=True, text=True)
    answer: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return answer


def summary(store: Store) -> list[dict[str, Any]]:
    """Return a row for each dose and method."""
    return (store / "noise_and_transfer").rows(DOSES, METHODS)


def options(parser: argparse.ArgumentParser) -> None:
    """Add the options of this part."""
    add_options(parser, DOSES, [name for name in METHODS if name != MODEL])  # which is learnt in a body
    parser.add_argument("--pylinac", type=Path, metavar="PYTHON", help="an interpreter that has pylinac")
