"""Low-contrast detectability: rods of the CCT189 body phantom in the liver of the phantom, at six doses.

25 rods 24 mm apart, five of each kind, stand in one slab of 16 slices. Scan A of a pair has every second one, scan B
the others. So a pair has each place once with and once without its rod, in the same surroundings: 5 places x 7 slices
= 35 decisions of each kind. Kinds are the four rods of CCT189, and a disc against a ring of one integral.
"""

from __future__ import annotations

import argparse
import pickle
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .denoisers import BLUR, METHODS, UNTOUCHED, add_options, blur, blur_to, chosen, denoiser
from .observers import LEAST_PAIRS, Judged, equal_dose, eye_filtered, judge, laguerre_gauss
from .scans import LIVER, Draw, Inserted, Object, rod
from .store import Store

__all__ = ["DOSES", "KINDS", "OBSERVERS", "Layout", "measure", "summary"]

Float32 = NDArray[np.float32]
Float64 = NDArray[np.float64]

DOSES = (100, 70, 50, 35, 25, 10)  # percent
KINDS = ("3 mm, 14 HU", "5 mm, 7 HU", "7 mm, 5 HU", "10 mm, 3 HU", "disc or ring, 8 mm, 10 HU")
OBSERVERS = ("CHO", "NPWE")
_RODS = ((3.0, 14.0), (5.0, 7.0), (7.0, 5.0), (10.0, 3.0), (8.0, 10.0))  # diameter mm, contrast HU
_SHAPE, _HOLE_MM = 4, 5.0  # kind of the second task, and the hole of its ring
_GRID, _APART_MM = 5, 24.0
_SIDE = 23  # pixels, of what an observer sees
_SLICES = slice(2, 15, 2)
_WIDTH = 1.5  # of channels, in diameters and 3 mm more


class Layout:
    """The rods, in an object, and the channels through which observers see them."""

    def __init__(self, body: Object) -> None:
        field = body.field
        self.body = body
        steps = (np.arange(_GRID) - (_GRID - 1) / 2) * _APART_MM
        self.places = [
            ((i + 2 * j) % _GRID, i % 2 == 0, field.centre_mm[0] + steps[i], field.centre_mm[1] + steps[j])
            for i in range(_GRID)
            for j in range(_GRID)
        ]
        self.scans: tuple[Inserted, Inserted] = (body.insert(*self._rods(True)), body.insert(*self._rods(False)))
        self.flat = self._flat()
        self.channels = [self._channels(kind) for kind in range(len(KINDS))]

    def _rods(self, first: bool) -> list[Draw]:
        """Return the rods of one of the scans of a pair."""
        rods = []
        for kind, even, x, y in self.places:
            present = even == first
            if present or kind == _SHAPE:
                rods.append(rod(x, y, *_RODS[kind], 0.0 if present else _HOLE_MM))
        return rods

    def _flat(self) -> NDArray[np.bool_]:
        """Return where there is no rod, in the slices that are read."""
        flat = np.zeros(self.body.clean.shape, np.bool_)
        flat[_SLICES] = (np.abs(self.scans[0].hu) + np.abs(self.scans[1].hu))[_SLICES] < 0.2
        margin = 8
        flat[:, :margin] = flat[:, -margin:] = flat[:, :, :margin] = flat[:, :, -margin:] = False
        return flat

    def _channels(self, kind: int) -> Float64:
        """Return the channels of a kind, of shape (side², 6 + 1): Laguerre-Gauss, and the filtered signal."""
        pixel = self.body.field.pixel_mm
        signal = np.zeros((_SIDE, _SIDE))
        for number, even, x, y in self.places:
            if number == kind:
                present, absent = (self.scans[0 if even else 1].hu, self.scans[1 if even else 0].hu)
                signal += self._seen(present - absent, x, y).mean(axis=0)
        width = _WIDTH * _RODS[kind][0] + 3.0
        matched = eye_filtered(signal / _GRID, pixel).ravel()
        return np.column_stack([laguerre_gauss(_SIDE, pixel, width), matched / np.linalg.norm(matched)])

    def _seen(self, hu: Float32, x: float, y: float) -> Float64:
        row, column = self.body.field.index(x, y)
        half = _SIDE // 2
        seen = hu[_SLICES, row - half : row + half + 1, column - half : column + half + 1]
        return seen.astype(np.float64)

    def pair(self, dose: int, number: int) -> tuple[Float32, Float32]:
        """Return the two scans of a pair; the dose in percent."""
        first, second = (self.body.scan(dose / 100, [dose, number, n], self.scans[n]) for n in range(2))
        return first, second

    def outputs(self, results: tuple[Float32, Float32]) -> dict[str, Any]:
        """Return channel outputs of a pair's results, by kind, with and without: (places, slices, channels)."""
        by_kind: dict[str, Any] = {}
        for number, kind in enumerate(KINDS):
            both: dict[str, list[Any]] = {"present": [], "absent": []}
            for of, even, x, y in self.places:
                if of == number:
                    for name, result in zip(("present", "absent"), results if even else results[::-1], strict=True):
                        seen = self._seen(result, x, y).reshape(-1, _SIDE**2) @ self.channels[number]
                        both[name].append(np.round(seen, 4).tolist())
            by_kind[kind] = both
        noise = [float((r - self.body.clean - s.hu)[self.flat].std()) for r, s in zip(results, self.scans, strict=True)]
        return {"kinds": by_kind, "noise_hu": float(np.mean(noise))}


def measure(store: Store, options: argparse.Namespace) -> None:
    """Add pairs of scans to what is kept, until there are as many as asked for or the time is over."""
    store = store / "detectability"
    layout = _layout(store.folder / "layout.pickle")
    names = chosen(options)
    start = time.monotonic()
    for pair in range(options.pairs):
        for dose in options.doses:
            wanted = [name for name in names if not store.has(f"{dose}/{name}/{pair}")]
            if not wanted:
                continue
            scans = layout.pair(dose, pair)
            for name in wanted:
                if time.monotonic() - start > 60 * options.minutes:
                    return
                if name == BLUR:
                    sd = _blur_sd(store, layout, dose, scans[0])
                    results = [blur(hu, sd) for hu in scans]
                else:
                    model = store.folder / "model"
                    denoise = denoiser(name, model=model, field=LIVER, python=options.bm4d)
                    results = [denoise(layout.body.volume(hu)) for hu in scans]
                store.keep(f"{dose}/{name}/{pair}", layout.outputs((results[0], results[1])))


def _layout(file: Path) -> Layout:
    """Return the layout, which takes half a minute to draw and project, from a file if it is there."""
    if not file.exists():
        file.parent.mkdir(parents=True, exist_ok=True)
        partial = file.with_suffix(".partial")
        partial.write_bytes(pickle.dumps(Layout(Object(LIVER))))
        partial.replace(file)
    layout: Layout = pickle.loads(file.read_bytes())
    return layout


def _blur_sd(store: Store, layout: Layout, dose: int, hu: Float32) -> float:
    """Return the SD of the Gaussian that leaves as much noise as `normal` does."""
    if not store.has(f"{dose}/blur_px"):
        noise = hu - layout.body.clean - layout.scans[0].hu
        store.keep(f"{dose}/blur_px", blur_to(noise, layout.flat, store.kept(f"{dose}/normal/0")["noise_hu"]))
    sd: float = store.kept(f"{dose}/blur_px")
    return sd


def summary(store: Store, methods: Sequence[str] = METHODS) -> dict[str, Any]:
    """Return rows: of each task, observer, method and dose, and the doses that equal the full one.

    A row's `gain` is d' less that of the untouched scans of the same pairs, resampled alike.
    """
    store = store / "detectability"
    rows: list[dict[str, Any]] = []
    figures: dict[tuple[str, str, str], dict[int, Judged]] = {}
    for dose in DOSES:
        untouched = store.all(f"{dose}/{UNTOUCHED}")
        for name in methods:
            pairs = store.all(f"{dose}/{name}")
            if len(pairs) < LEAST_PAIRS:
                continue
            noise = float(np.mean([pair["noise_hu"] for pair in pairs]))
            about = {"method": name, "dose": dose, "pairs": len(pairs), "noise": noise}
            for kind in KINDS:
                for observer in OBSERVERS:
                    judged = _judged(pairs, kind, observer)
                    figures.setdefault((kind, observer, name), {})[dose] = judged
                    row = {
                        "task": kind,
                        "observer": observer,
                        **about,
                        **_interval("auc", judged.auc, judged.auc_resampled),
                    }
                    row |= _interval("d", judged.d, judged.d_resampled)
                    if len(untouched) >= len(pairs):
                        before = _judged(untouched[: len(pairs)], kind, observer)
                        row |= _interval("gain", judged.d - before.d, judged.d_resampled - before.d_resampled)
                    rows.append(row)
    return {"rows": rows, "equal": _equal(figures)}


def _judged(pairs: Sequence[dict[str, Any]], kind: str, observer: str) -> Judged:
    channels = slice(0, -1) if observer == OBSERVERS[0] else slice(-1, None)
    present, absent = (
        np.array([pair["kinds"][kind][which] for pair in pairs])[..., channels] for which in ("present", "absent")
    )
    return judge(present, absent)


def _interval(name: str, value: float, resampled: Float64) -> dict[str, Any]:
    low, high = np.percentile(resampled, (2.5, 97.5))
    return {name: value, f"{name}_interval": [float(low), float(high)]}


def _equal(figures: dict[tuple[str, str, str], dict[int, Judged]]) -> list[dict[str, Any]]:
    """Return, for each task, observer and method, the dose with the d' of the full dose untouched."""
    equal = []
    for (kind, observer, name), by_dose in figures.items():
        full = figures.get((kind, observer, UNTOUCHED), {}).get(DOSES[0])
        if full is None or len(by_dose) < 2:
            continue
        doses = sorted(by_dose)
        at = np.array(doses, float)
        value = equal_dose(at, np.array([[by_dose[d].d] for d in doses]), np.array([full.d]))[0]
        resampled = equal_dose(at, np.array([by_dose[d].d_resampled for d in doses]), full.d_resampled)
        row = {"task": kind, "observer": observer, "method": name, "lowest": doses[0], "highest": doses[-1]}
        equal.append(row | _interval("dose", float(value), resampled))
    return equal


def options(parser: argparse.ArgumentParser) -> None:
    """Add the options of this part."""
    parser.add_argument("--pairs", type=int, default=100, help="of scans; 100 are 200 realisations of each dose")
    add_options(parser, DOSES)
    parser.add_argument("--minutes", type=float, default=float("inf"), help="then begin nothing more")
