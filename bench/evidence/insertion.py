"""What a method does to lesions: put into the body before the scanner's model, with the noise of the scan without them.

The change of the result, D(y with) - D(y without), is compared with what lesions are in the image without noise.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from ctmahout.phantom.drawing import ellipsoid, tubes

from .denoisers import BLUR, METHODS, add_options, blur, blur_to, chosen, denoiser
from .scans import LIVER, LUNG, Draw, Field, Object
from .store import Store

__all__ = ["BODIES", "Lesion", "lesions", "measure", "score", "summary"]

Float32 = NDArray[np.float32]
Float64 = NDArray[np.float64]
Mask = NDArray[np.bool_]

DOSES = (100, 25, 10)  # percent
BODIES: dict[str, Field] = {"liver": LIVER, "lung": LUNG}
_HALF = 9  # pixels, half the side of the square in which a lesion is judged
_SEED = 2  # of the anatomy
_AWAY = (3, 7)  # slices and pixels between a lesion and what counts as elsewhere
_APART_MM = {"liver": 22.0, "lung": 20.0}


@dataclass(frozen=True)
class Lesion:
    """A lesion.

    Attributes
    ----------
    kind : str
        nodule, ground glass, faint ground glass, lesion, vessel, calcification or fissure.
    size_mm : float
        Diameter; of a fissure the thickness.
    hu : float
        Contrast.
    """

    kind: str
    size_mm: float
    hu: float

    def at(self, x: float, y: float, z: float) -> Draw:
        """Return it at a place in mm."""

        def draw(grid: Float32, xs: Float64, ys: Float64, zs: Float64) -> None:
            r, edge = self.size_mm / 2, float(xs[1] - xs[0])
            if self.kind == "vessel":  # 16 mm long, oblique
                segment = [[x - 7, y - 4, z - 2, x + 7, y + 4, z + 2, r, r]]
                tubes(grid, xs, ys, zs, np.array(segment), self.hu, edge)
            elif self.kind == "fissure":  # a sheet of 14 mm
                for step in np.arange(-7, 7.1, 0.5):
                    segment = [[x + step, y - 0.4 * step, z - 6, x + step, y - 0.4 * step, z + 6, r, r]]
                    tubes(grid, xs, ys, zs, np.array(segment), self.hu, edge)
            else:
                ellipsoid(grid, xs, ys, zs, np.array([x, y, z]), np.full(3, r), 0.0, self.hu, edge)

        return draw


_SIZES = (3.0, 5.0, 7.0, 10.0)


def lesions(body: str) -> list[Lesion]:
    """Return the 25 lesions of a body."""
    if body == "liver":
        faint = [Lesion("lesion", size, hu) for hu in (10.0, 20.0, 40.0, 80.0) for size in _SIZES]
        return [
            *faint,
            *(Lesion("vessel", size, 60.0) for size in (1.0, 2.0, 3.0, 4.0)),
            *(Lesion("calcification", size, 500.0) for size in (1.0, 1.5, 2.0, 3.0, 4.0)),
        ]
    return [
        *(Lesion("nodule", size, 880.0) for size in _SIZES),
        *(Lesion("ground glass", size, 240.0) for size in _SIZES),
        *(Lesion("faint ground glass", size, 100.0) for size in _SIZES),
        *(Lesion("vessel", size, 880.0) for size in (0.75, 1.0, 1.5, 2.0, 3.0)),
        *(Lesion("fissure", size, 400.0) for size in (0.5, 0.75, 1.0, 1.5)),
        *(Lesion("calcification", size, 1500.0) for size in (1.0, 1.5, 2.0, 3.0)),
    ]


class Plan:
    """Where lesions are in a body; large ones are not all side by side, as their order is mixed."""

    def __init__(self, body: str) -> None:
        self.field = BODIES[body]
        self.lesions = lesions(body)
        side = int(np.ceil(np.sqrt(len(self.lesions))))
        steps = (np.arange(side) - (side - 1) / 2) * _APART_MM[body]
        x, y, z = self.field.centre_mm
        order = np.random.default_rng(5).permutation(side * side)[: len(self.lesions)]
        self.places = [(x + steps[n % side], y + steps[n // side], z) for n in order]

    def draws(self) -> list[Draw]:
        return [lesion.at(*place) for lesion, place in zip(self.lesions, self.places, strict=True)]

    def boxes(self) -> list[tuple[slice, slice, slice]]:
        boxes = []
        for x, y, _ in self.places:
            row, column = self.field.index(x, y)
            rows, columns = (slice(i - _HALF, i + _HALF + 1) for i in (row, column))
            boxes.append((slice(None), rows, columns))
        return boxes


def score(change: Float32, added: Float32, boxes: Sequence[tuple[slice, slice, slice]]) -> dict[str, Any]:
    """Compare the change of a result with what was added.

    Parameters
    ----------
    change, added : ndarray of shape (z, y, x), float32, HU
    boxes : sequence of slices
        Around each lesion.

    Returns
    -------
    dict
        kept: the share of the contrast of each lesion, by least squares; shape: the correlation of the change with the
        lesion in its box; elsewhere_rms, elsewhere_most: HU, away from all lesions, of the change less what was added.
    """
    kept, shape = [], []
    for box in boxes:
        was, is_now = added[box].astype(np.float64), change[box].astype(np.float64)
        product, energy = (was * is_now).sum(), (was**2).sum()
        kept.append(float(product / energy))
        norm = np.sqrt(energy * (is_now**2).sum())
        shape.append(float(product / norm) if norm else 0.0)
    away = (change - added)[elsewhere(added, boxes)]
    return {
        "kept": kept,
        "shape": shape,
        "elsewhere_rms": float(np.sqrt(np.mean(away.astype(np.float64) ** 2))),
        "elsewhere_most": float(np.abs(away).max()),
    }


def elsewhere(added: Float32, boxes: Sequence[tuple[slice, slice, slice]]) -> Mask:
    """Return what is away from all lesions."""
    near = np.zeros(added.shape, np.bool_)
    for box in boxes:
        near[box] |= np.abs(added[box]) > 0.02 * np.abs(added[box]).max()
    depth, side = (2 * n + 1 for n in _AWAY)
    widened: Mask = ndimage.maximum_filter(near, (depth, side, side))
    return ~widened


def measure(store: Store, options: argparse.Namespace) -> None:
    """Measure each body, dose, method and noise; what is kept is not measured again."""
    store = store / "insertion"
    for body in options.bodies:
        plan = Plan(body)
        units = [
            (dose, name, number)
            for number in range(options.scans)
            for dose in options.doses
            for name in chosen(options)
            if not store.has(f"{body}/{dose}/{name}/{number}")
        ]
        if not units:
            continue
        anatomy = Object(plan.field, _SEED)
        added = anatomy.insert(*plan.draws()).hu
        away = elsewhere(added, plan.boxes())
        for dose, name, number in units:
            without = anatomy.scan(dose / 100, [dose, number, 7])
            # A lesion changes the noise by less than another realisation would, which would hide what the method does.
            scans = without, without + added
            if name == BLUR:
                normal = store.kept(f"{body}/{dose}/normal/{number}")
                sd = blur_to(without - anatomy.clean, away, normal["noise"])
                results = [blur(hu, sd) for hu in scans]
            else:
                model = store.folder / f"model-{body}"
                denoise = denoiser(name, model=model, field=plan.field, python=options.bm4d)
                results = [denoise(anatomy.volume(hu)) for hu in scans]
            noise = float((results[0] - anatomy.clean)[away].std())
            scores = score(results[1] - results[0], added, plan.boxes())
            store.keep(f"{body}/{dose}/{name}/{number}", {"noise": noise, **scores})


def summary(store: Store, methods: Sequence[str] = METHODS) -> list[dict[str, Any]]:
    """Return a row for each body, dose and method: means over the scans."""
    store = store / "insertion"
    rows = []
    for body in BODIES:
        for dose in DOSES:
            for name in methods:
                scores = store.all(f"{body}/{dose}/{name}")
                if not scores:
                    continue
                kept, shape = (np.mean([s[key] for s in scores], axis=0) for key in ("kept", "shape"))
                rows.append(
                    {
                        "body": body,
                        "dose": dose,
                        "method": name,
                        "scans": len(scores),
                        "noise": float(np.mean([s["noise"] for s in scores])),
                        "lesions": [
                            {"kind": one.kind, "size": one.size_mm, "hu": one.hu, "kept": float(k), "shape": float(s)}
                            for one, k, s in zip(lesions(body), kept, shape, strict=True)
                        ],
                        "elsewhere_rms": float(np.sqrt(np.mean([s["elsewhere_rms"] ** 2 for s in scores]))),
                        "elsewhere_most": max(s["elsewhere_most"] for s in scores),
                    }
                )
    return rows


def options(parser: argparse.ArgumentParser) -> None:
    """Add the options of this part."""
    parser.add_argument("--scans", type=int, default=2, help="with noise of their own")
    parser.add_argument("--bodies", nargs="+", choices=BODIES, default=list(BODIES))
    add_options(parser, DOSES)
