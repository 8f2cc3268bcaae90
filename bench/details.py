"""Faint details of known contrast, put into a series where it is flat: what a method leaves of them.

A method runs over the series with and without the details; the difference of its two results is what is left of them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from cases import Case
from numpy.typing import NDArray
from scipy import ndimage

__all__ = ["KINDS", "Details", "Kind", "blurred_to", "merged"]

Float32 = NDArray[np.float32]
Float64 = NDArray[np.float64]
Mask = NDArray[np.bool_]

_FINE = 4  # samples of a pixel, each way
_PATCH = (3, 5, 5)  # in which significance is judged
_FLAT_PX, _FLAT_HU = 7, 40.0  # a flat place spans less than this, within so many pixels
_BOX = 13  # side of the boxes that noise is measured in
_MARGIN = (4, 9)  # slices and pixels beyond a detail that belong to it still
_PLACES = 400  # that responses are measured at
_QUIET = 0.25  # share of these, those with least anatomy, that noise is measured at
_GAP = 3  # slices between details one above the other


@dataclass(frozen=True)
class Kind:
    """A kind of detail.

    Attributes
    ----------
    name : str
    shape : str
        disc, ring, arc or ellipse.
    radius, width : float, pixels
        Of a disc the radius alone; of a ring and a quarter of one the middle radius and the width; of an ellipse the
        half axes.
    slices : int
    psf : float, pixels
        SD of the blur, as a kernel's.
    """

    name: str
    shape: str
    radius: float
    width: float = 0.0
    slices: int = 1
    psf: float = 1.0

    @property
    def half(self) -> int:
        """Half the side of the template, less its middle."""
        return int(np.ceil(self.radius + self.width / 2 + 3 * self.psf))

    def template(self, turn: float = 0.0) -> Float64:
        """Return a detail of unit contrast, of shape (slices, 2 half + 1, same)."""
        n = 2 * self.half + 1
        at = (np.arange(n * _FINE) + 0.5) / _FINE - n / 2
        y, x = np.meshgrid(at, at, indexing="ij")
        u, v = x * np.cos(turn) + y * np.sin(turn), y * np.cos(turn) - x * np.sin(turn)
        r = np.hypot(u, v)
        if self.shape == "disc":
            inside = r < self.radius
        elif self.shape == "ellipse":
            inside = (u / self.radius) ** 2 + (v / self.width) ** 2 < 1
        else:
            inside = np.abs(r - self.radius) < self.width / 2
            if self.shape == "arc":
                inside &= (u > 0) & (v > 0)
        fine = ndimage.gaussian_filter(inside.astype(float), self.psf * _FINE)
        t: Float64 = fine.reshape(n, _FINE, n, _FINE).mean(axis=(1, 3))
        return np.repeat(t[None], self.slices, axis=0)


KINDS = (
    Kind("disc 2 px", "disc", 2.0),
    Kind("disc 4 px, 2 slices", "disc", 4.0, slices=2, psf=1.2),
    Kind("disc 10 px, 2 slices", "disc", 10.0, slices=2, psf=1.2),
    Kind("ring 5 px", "ring", 5.0, 2.0),
    Kind("arc 8 px", "arc", 8.0, 2.0),
    Kind("ellipse 7 x 2.5 px", "ellipse", 7.0, 2.5, psf=1.4),
    Kind("cylinder 2 px, 5 slices", "disc", 2.0, slices=5, psf=1.2),
)


@dataclass(frozen=True)
class _Placed:
    kind: Kind
    sigma: float
    hu: float
    at: tuple[int, int, int]
    template: Float64
    outer: bool

    @property
    def box(self) -> tuple[slice, slice, slice]:
        return _around(self.at, self.kind)


def _around(at: Sequence[int], kind: Kind) -> tuple[slice, slice, slice]:
    z, y, x = at
    h = kind.half
    return slice(z, z + kind.slices), slice(y - h, y + h + 1), slice(x - h, x + h + 1)


class Details:
    """Details at places of one sort in a case.

    Parameters
    ----------
    case : Case
    place : str
        "flat" soft tissue, "edge": soft tissue beside something else, or "lung".
    sigmas : sequence of float
        How far details stand above the noise: their matched response within one patch of 3 x 5 x 5 voxels, over its SD.
    count : int
        Of each kind and significance, if there is room.
    kinds : sequence of Kind
    """

    def __init__(
        self,
        case: Case,
        place: str = "flat",
        sigmas: Sequence[float] = (10.0, 5.0),
        count: int = 6,
        kinds: Sequence[Kind] = KINDS,
        seed: int = 0,
    ) -> None:
        self.case, self.place = case, place
        rng = np.random.default_rng([seed, 9])
        margin = max(kind.half for kind in kinds) + 1
        found = np.argwhere(_places(case, place, margin, max(kind.slices for kind in kinds)))
        found = found[rng.permutation(len(found))]
        self.at = found[:_PLACES]
        self.quiet = self._quiet()
        self.contrast = {k.name: self._sd_in_patch(k) for k in kinds} if len(found) else {}
        self.placed = list(self._placed(found, kinds, sigmas, count, rng))
        self.detail = np.zeros_like(case.volume.hu)
        self.near = np.zeros(self.detail.shape, np.bool_)
        for p in self.placed:
            self.detail[p.box] += (p.hu * p.template).astype(np.float32)
            z, y, x = p.box
            dz, d = _MARGIN
            near = (z.start - dz, z.stop + dz), (y.start - d, y.stop + d), (x.start - d, x.stop + d)
            self.near[tuple(slice(max(0, a), b) for a, b in near)] = True

    def _placed(
        self,
        found: NDArray[np.intp],
        kinds: Sequence[Kind],
        sigmas: Sequence[float],
        count: int,
        rng: np.random.Generator,
    ) -> Iterator[_Placed]:
        """Yield details that do not touch, the kinds in turn; the large ones first, which fit in fewest places."""
        if not len(found):
            return
        wanted = [(k, s) for _ in range(count) for s in sigmas for k in sorted(kinds, key=lambda k: -k.half)]
        taken = np.zeros((0, 5))
        centre = np.array(self.case.volume.shape[1:]) / 2
        far = np.median(np.hypot(*(found[:, 1:] - centre).T))
        for kind, sigma in wanted:
            away = np.hypot(found[:, None, 1] - taken[:, 1], found[:, None, 2] - taken[:, 2])
            below, above = found[:, None, 0] - taken[:, 0] - taken[:, 4], taken[:, 0] - found[:, None, 0] - kind.slices
            clear = (away > kind.half + taken[:, 3] + 2) | (np.maximum(below, above) >= _GAP)
            free = np.flatnonzero(clear.all(axis=1))
            if not len(free):
                continue
            z, y, x = (int(v) for v in found[free[0]])
            taken = np.vstack([taken, (z, y, x, kind.half, kind.slices)])
            sign = -1 if rng.random() < 0.5 and self.place != "lung" else 1
            outer = bool(np.hypot(y - centre[0], x - centre[1]) > far)
            hu = sign * sigma * self.contrast[kind.name]
            yield _Placed(kind, sigma, hu, (z, y, x), kind.template(rng.uniform(0, 2 * np.pi)), outer)

    def _sd_in_patch(self, kind: Kind) -> float:
        """Return the contrast in HU that stands one SD above the noise, in the patch that holds most of the detail."""
        t = kind.template()[: _PATCH[0]]
        energy = ndimage.uniform_filter(t.sum(axis=0) ** 2, _PATCH[1:], mode="constant")
        y, x = np.unravel_index(int(np.argmax(energy)), energy.shape)
        part = np.zeros_like(t)
        window = np.s_[:, max(0, y - 2) : y + 3, max(0, x - 2) : x + 3]
        part[window] = t[window]
        return self._response_sd(self._noise_of(self.case.volume.hu), kind, part) / float((part**2).sum())

    def _noise_of(self, hu: Float32) -> Float32:
        """Return the noise of a volume; without a truth, the volume less what is as wide as 31 pixels."""
        if self.case.clean is not None:
            noise: Float32 = hu - self.case.clean
        else:
            noise = hu - ndimage.uniform_filter(hu, (1, 31, 31))
        return noise

    def _response_sd(self, noise: Float32, kind: Kind, t: Float64) -> float:
        """Return the SD of a template's response to noise, over the places."""
        depth, h = len(t), kind.half
        pieces = np.stack([noise[z : z + depth, y - h : y + h + 1, x - h : x + h + 1] for z, y, x in self.at])
        response = np.tensordot(pieces, t, 3)
        return float(1.4826 * np.median(np.abs(response - np.median(response))))

    @property
    def volume(self) -> Float32:
        """The series with the details."""
        return self.case.volume.hu + self.detail

    def noise(self, hu: Float32) -> float:
        """Return the median SD, HU, of boxes less their planes at the places with least anatomy."""
        sd: float = box_sd(hu if self.case.clean is None else hu - self.case.clean, self.quiet)
        return sd

    def _quiet(self) -> NDArray[np.intp]:
        if not len(self.at):
            return self.at
        seen, half = _seen(self.case), _BOX // 2
        inside = np.array([all(half <= p[i] < seen.shape[i] - half for i in (1, 2)) for p in self.at])
        at = self.at[inside]
        order = np.argsort(box_sd(seen, at, each=True), kind="stable")
        quiet: NDArray[np.intp] = at[order[: max(8, int(_QUIET * len(at)))]]
        return quiet

    def score(self, without: Float32, with_details: Float32) -> dict[str, Any]:
        """Return what is left of the details, and what changes away from them.

        Returns
        -------
        dict
            noise, HU; elsewhere, rms HU away from the details; rows: a dict for each kind and significance, with the
            shares of the contrast that are left of each, and the gain in the template's signal-to-noise if all were.
        """
        change = np.asarray(with_details, np.float64) - without
        before, after = self._noise_of(self.case.volume.hu), self._noise_of(without)
        rows = []
        for kind, sigma in dict.fromkeys((p.kind, p.sigma) for p in self.placed):
            of = [p for p in self.placed if p.kind == kind and p.sigma == sigma]
            kept = [float((change[p.box] * p.template).sum() / (p.template**2).sum() / p.hu) for p in of]
            t = kind.template()
            t = t - t.mean()
            gain = self._response_sd(before, kind, t) / max(self._response_sd(after, kind, t), 1e-6)
            row = {
                "place": self.place,
                "kind": kind.name,
                "sigma": sigma,
                "hu": sigma * self.contrast[kind.name],
                "each": kept,
                "outer": [p.outer for p in of],
                "gain": gain,
            }
            rows.append(row)
        elsewhere = float(np.sqrt(np.mean(change[~self.near] ** 2))) if not self.near.all() else None
        return {"noise": self.noise(without), "elsewhere": elsewhere, "rows": rows}


def _seen(case: Case) -> Float32:
    """Return what anatomy is judged by: the truth; without one, the mean of the slices on both sides."""
    if case.clean is not None:
        return case.clean
    hu = case.volume.hu
    around = np.concatenate([hu[1:2], hu, hu[-2:-1]])
    mean: Float32 = ndimage.gaussian_filter(0.5 * (around[:-2] + around[2:]), (0, 1, 1))
    return mean


def _places(case: Case, place: str, margin: int, depth: int) -> Mask:
    """Return where details of some sort may be put."""
    smooth = ndimage.gaussian_filter(_seen(case), (0.6, 2, 2))

    def span(pixels: int) -> Float32:
        size = (3, 2 * pixels + 1, 2 * pixels + 1)
        widest: Float32 = ndimage.maximum_filter(smooth, size) - ndimage.minimum_filter(smooth, size)
        return widest

    ok: Mask
    if place == "lung":
        ok = (smooth > -960) & (smooth < -700) & (span(6) < 150)
    else:
        ok = (smooth > -30) & (smooth < 130)
        flat = span(_FLAT_PX) < _FLAT_HU
        ok &= flat if place == "flat" else (span(4) < _FLAT_HU) & ~flat & (span(8) > 2 * _FLAT_HU)
    if case.volume.padding is not None:
        ok &= ~ndimage.maximum_filter(case.volume.padding, (1, 2 * margin + 1, 2 * margin + 1))
    ok[:1] = ok[len(ok) - depth :] = False
    ok[:, :margin] = ok[:, -margin:] = ok[:, :, :margin] = ok[:, :, -margin:] = False
    return ok


def box_sd(hu: Float32, at: NDArray[np.intp], each: bool = False) -> Any:
    """Return the median SD of boxes of 13 x 13 pixels less their planes; with `each`, all of them."""
    u = np.arange(_BOX) - _BOX // 2
    y, x = np.meshgrid(u, u, indexing="ij")
    plane, _ = np.linalg.qr(np.stack([np.ones(_BOX**2), y.ravel(), x.ravel()], axis=1))
    half = _BOX // 2
    inside = [p for p in at if all(half <= p[i] < hu.shape[i] - half for i in (1, 2))]
    boxes = np.stack([hu[z, y - half : y + half + 1, x - half : x + half + 1].ravel() for z, y, x in inside])
    boxes = boxes.astype(np.float64)
    sd = np.sqrt(((boxes - boxes @ plane @ plane.T) ** 2).sum(axis=1) / (_BOX**2 - 3))
    return sd if each else float(np.median(sd))


def merged(scores: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Return the scores of several sets of details as one.

    Of its rows `kept` is the share of the contrast that is left, `se` its standard error, `kept_inner` and `kept_outer`
    that near the centre and far from it, `snr` the template's signal-to-noise as a share of the unprocessed one.
    """
    rows = []
    for key in dict.fromkeys((row["kind"], row["sigma"]) for score in scores for row in score["rows"]):
        of = [row for score in scores for row in score["rows"] if (row["kind"], row["sigma"]) == key]
        kept = np.concatenate([row["each"] for row in of])
        outer = np.concatenate([row["outer"] for row in of])
        sides = {"inner": kept[~outer], "outer": kept[outer]}
        rows.append(
            {
                **{k: of[0][k] for k in ("place", "kind", "sigma", "hu")},
                "n": len(kept),
                "kept": float(kept.mean()),
                "se": float(kept.std(ddof=1) / np.sqrt(len(kept))) if len(kept) > 1 else None,
                **{f"kept_{k}": float(v.mean()) if len(v) else None for k, v in sides.items()},
                "snr": float(kept.mean() * np.mean([row["gain"] for row in of])),
            }
        )
    elsewhere = [score["elsewhere"] for score in scores if score["elsewhere"] is not None]
    mean = float(np.sqrt(np.mean(np.square(elsewhere)))) if elsewhere else None
    return {"noise": scores[0]["noise"], "elsewhere": mean, "rows": rows}


def blurred_to(details: Details, noise: float) -> float:
    """Return the SD in pixels of the Gaussian that leaves so much noise, HU, in flat places."""
    low, high = 0.0, 8.0
    for _ in range(12):
        middle = (low + high) / 2
        left = details.noise(ndimage.gaussian_filter(details.case.volume.hu, (0, middle, middle)))
        low, high = (middle, high) if left > noise else (low, middle)
    return (low + high) / 2
