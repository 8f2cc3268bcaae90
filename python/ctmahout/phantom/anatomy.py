"""A chest that never was: bodies of smooth shape, drawn in HU on a grid.

Fat, muscle, lungs with a branching vessel tree, heart, aorta, airways, spine, ribs, sternum, liver with lesions of low
contrast, nodules, a table, and correlated texture in the tissues. All lengths are in mm; x grows to the patient's left,
y to the back, z to the head.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from typing import Any

import numba
import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import fft

__all__ = ["Anatomy", "draw"]

Grid = NDArray[np.float32]


@numba.njit(cache=True)
def _blend(volume, k, j, i, share, value):  # type: ignore[no-untyped-def]
    volume[k, j, i] += share * (value - volume[k, j, i])


@numba.njit(cache=True)
def _ellipsoid(volume, xs, ys, zs, centre, radii, turn, value, soft):  # type: ignore[no-untyped-def]
    """An ellipsoid, turned in-plane, its edge `soft` mm wide."""
    cosine, sine = math.cos(turn), math.sin(turn)
    reach = max(radii[0], radii[1]) + soft
    for k in range(zs.size):
        dz = zs[k] - centre[2]
        if abs(dz) > radii[2] + soft:
            continue
        for j in range(ys.size):
            dy = ys[j] - centre[1]
            if abs(dy) > reach:
                continue
            for i in range(xs.size):
                dx = xs[i] - centre[0]
                if abs(dx) > reach:
                    continue
                u = (cosine * dx + sine * dy) / radii[0]
                v = (-sine * dx + cosine * dy) / radii[1]
                w = dz / radii[2]
                # The distance to the surface, to first order: k0 (k0 - 1) / |gradient of k0|.
                k0 = math.sqrt(u * u + v * v + w * w)
                if k0 > 3.0:
                    continue
                k1 = math.sqrt((u / radii[0]) ** 2 + (v / radii[1]) ** 2 + (w / radii[2]) ** 2) + 1e-9
                share = 0.5 - k0 * (k0 - 1.0) / k1 / soft
                if share > 0.0:
                    _blend(volume, k, j, i, min(share, 1.0), value)


@numba.njit(cache=True)
def _tubes(volume, xs, ys, zs, segments, value, soft):  # type: ignore[no-untyped-def]
    """Tapered tubes; a segment is x0 y0 z0 x1 y1 z1 r0 r1."""
    step = xs[1] - xs[0]
    for s in range(segments.shape[0]):
        x0, y0, z0, x1, y1, z1, r0, r1 = segments[s]
        reach = max(r0, r1) + soft
        i0 = max(0, int((min(x0, x1) - reach - xs[0]) / step))
        i1 = min(xs.size, int((max(x0, x1) + reach - xs[0]) / step) + 2)
        j0 = max(0, int((min(y0, y1) - reach - ys[0]) / step))
        j1 = min(ys.size, int((max(y0, y1) + reach - ys[0]) / step) + 2)
        ex, ey, ez = x1 - x0, y1 - y0, z1 - z0
        square = ex * ex + ey * ey + ez * ez + 1e-9
        for k in range(zs.size):
            if zs[k] < min(z0, z1) - reach or zs[k] > max(z0, z1) + reach:
                continue
            for j in range(j0, j1):
                for i in range(i0, i1):
                    px, py, pz = xs[i] - x0, ys[j] - y0, zs[k] - z0
                    t = min(1.0, max(0.0, (px * ex + py * ey + pz * ez) / square))
                    away = math.sqrt((px - t * ex) ** 2 + (py - t * ey) ** 2 + (pz - t * ez) ** 2)
                    share = 0.5 - (away - (r0 + t * (r1 - r0))) / soft
                    if share > 0.0:
                        _blend(volume, k, j, i, min(share, 1.0), value)


@numba.njit(cache=True)
def _trunk(volume, xs, ys, zs, width, depth, value, soft):  # type: ignore[no-untyped-def]
    """A trunk between an ellipse and a box, its half axes wandering with z."""
    for k in range(zs.size):
        z = zs[k]
        a = width * (1.0 + 0.05 * math.sin(z / 90.0) + 0.02 * math.sin(z / 31.0))
        b = depth * (1.0 + 0.06 * math.sin(z / 110.0 + 0.7))
        for j in range(ys.size):
            for i in range(xs.size):
                q = ((abs(xs[i]) / a) ** 2.5 + (abs(ys[j]) / b) ** 2.5) ** 0.4
                share = 0.5 - (q - 1.0) * min(a, b) / soft
                if share > 0.0:
                    _blend(volume, k, j, i, min(share, 1.0), value)


@dataclass(frozen=True)
class Anatomy:
    """What differs from one phantom to the next: vessels, nodules and lesions, by seed.

    Attributes
    ----------
    vessels, cortex, marrow : ndarray of shape (segments, 8), mm
        Tubes: two ends and the radii there.
    nodules, lesions : list of (centre mm, radius mm, HU)
    """

    vessels: NDArray[np.float64]
    cortex: NDArray[np.float64]
    marrow: NDArray[np.float64]
    nodules: list[tuple[NDArray[np.float64], float, float]]
    lesions: list[tuple[NDArray[np.float64], float, float]]

    @classmethod
    def of(cls, seed: int) -> Anatomy:
        """Return the anatomy that belongs to a seed."""
        rng = np.random.default_rng(seed)
        vessels: list[list[float]] = []
        for side in (-1, 1):
            for _ in range(9):
                way = np.array([side * rng.uniform(0.2, 1), rng.normal(0, 0.8), rng.normal(0, 1.1)])
                start = np.array([side * 32.0, -2.0, rng.normal(0, 18)])
                _grow(rng, side, vessels, start, way / np.linalg.norm(way), rng.uniform(3.0, 5.0), 8)
        cortex, marrow = _ribs()
        nodules = []
        for n in range(16):
            side = -1 if n % 2 else 1
            centre = np.array([side * 75.0, -8.0, 5.0]) + rng.uniform(-1, 1, 3) * np.array([33, 48, 75])
            nodules.append((centre, float(rng.uniform(2.0, 8.0)), -620.0 if n % 4 == 3 else 35.0))
        lesions = []
        for _ in range(16):
            centre = np.array([-58.0, 5.0, -150.0]) + rng.uniform(-1, 1, 3) * np.array([55, 50, 36])
            lesions.append((centre, float(rng.uniform(3.0, 10.0)), float(rng.choice([70.0, 85.0, 100.0, 145.0]))))
        return cls(np.array(vessels), cortex, marrow, nodules, lesions)


def _grow(
    rng: np.random.Generator,
    side: int,
    segments: list[list[float]],
    at: NDArray[np.float64],
    way: NDArray[np.float64],
    radius: float,
    depth: int,
) -> None:
    """Let a vessel wander and branch within an ellipsoidal lung."""
    centre, half = np.array([side * 75.0, -8.0, 5.0]), np.array([58.0, 78.0, 128.0])
    for _ in range(int(rng.integers(2, 5))):
        step = way * rng.uniform(4, 9) * (0.7 + 0.15 * radius)
        after = at + step
        if np.sum(((after - centre) / half) ** 2) > 1.0:
            if depth < 5:
                return
            way = (centre + rng.normal(0, 0.4, 3) * half) - at  # a thick branch turns back
            way /= np.linalg.norm(way)
            after = at + way * np.linalg.norm(step)
        thinner = radius * rng.uniform(0.93, 0.99)
        segments.append([*at, *after, radius, thinner])
        at, radius = after, thinner
        way = way + rng.normal(0, 0.22, 3)
        way /= np.linalg.norm(way)
    if depth == 0 or radius < 0.35:
        return
    for _ in range(2 if rng.random() < 0.8 else 3):
        aside = way + rng.normal(0, 0.62, 3) + 0.15 * (at - np.array([side * 25.0, 0, 0])) / 60.0
        _grow(rng, side, segments, at, aside / np.linalg.norm(aside), radius * rng.uniform(0.66, 0.86), depth - 1)


def _ribs() -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    cortex, marrow = [], []
    for n in range(13):
        for side in (-1, 1):
            turn = np.linspace(-1.35, 1.30, 30)  # from the spine round to the front
            x = side * 136.0 * np.cos(turn) * (1 + 0.02 * np.sin(3 * turn))
            z = -165.0 + 27.0 * n - 24.0 * (turn + 1.35) / 2.65
            points = np.stack([x, -93.0 * np.sin(turn), z], 1)
            for a, b in itertools.pairwise(points):
                cortex.append([*a, *b, 5.0, 5.0])
                marrow.append([*a, *b, 3.2, 3.2])
    return np.array(cortex), np.array(marrow)


def draw(anatomy: Anatomy, xs: NDArray[np.floating], ys: NDArray[np.floating], zs: NDArray[np.floating]) -> Grid:
    """Draw the phantom without texture.

    Parameters
    ----------
    xs, ys, zs : ndarray of shape (x,), (y,), (z,), mm
        Where the grid's points lie.

    Returns
    -------
    ndarray of shape (z, y, x), float32, HU
    """
    edge = float(xs[1] - xs[0])
    v = np.full((zs.size, ys.size, xs.size), -1000.0, np.float32)

    def ellipsoid(centre: ArrayLike, radii: ArrayLike, hu: float, turn: float = 0.0, soft: float = edge) -> None:
        _ellipsoid(v, xs, ys, zs, np.asarray(centre, float), np.asarray(radii, float), turn, hu, soft)

    def tubes(segments: Any, hu: float) -> None:
        _tubes(v, xs, ys, zs, np.asarray(segments, float), hu, edge)

    # Later bodies lie in earlier ones and replace them. The table is a row of rods in a shallow bow.
    tubes([[x, 150 - 0.0016 * x * x, -900, x, 150 - 0.0016 * x * x, 900, 3, 3] for x in range(-110, 111, 4)], -300.0)
    _trunk(v, xs, ys, zs, 158.0, 118.0, -100.0, edge)
    _trunk(v, xs, ys, zs, 146.0, 103.0, 52.0, edge)
    for side in (-1, 1):
        ellipsoid([side * 75, -8, 5], [62, 82, 134], -860.0)
    tubes(anatomy.vessels, 45.0)
    for centre, r, hu in anatomy.nodules:
        ellipsoid(centre, [r, r, r], hu, soft=edge if hu > 0 else 4.0)
    ellipsoid([-55, 2, -165], [86, 84, 92], 115.0)  # liver
    ellipsoid([70, 0, -172], [66, 74, 78], 60.0)  # stomach and spleen
    ellipsoid([72, -10, -165], [34, 40, 44], -20.0)
    for centre, r, hu in anatomy.lesions:
        ellipsoid(centre, [r, r, r], hu)
    ellipsoid([0, 0, 0], [31, 62, 170], 40.0)  # mediastinum
    ellipsoid([0, 5, 60], [22, 48, 120], -90.0)
    ellipsoid([24, -32, -48], [57, 44, 62], 95.0, 0.5)  # heart and its chambers
    ellipsoid([38, -30, -52], [24, 19, 36], 150.0, 0.5)
    ellipsoid([4, -34, -42], [18, 20, 30], 150.0, 0.5)
    aorta = [[14, 50, -900, 14, 50, 62, 11.5, 12.5], [14, 50, 62, 2, 10, 82, 12.5, 13]]
    tubes([*aorta, [2, 10, 82, -10, -20, 60, 13, 14], [-10, -20, 60, 4, -30, 5, 14, 14]], 150.0)
    for wall, hu in ((1.0, 30.0), (0.82, -995.0)):  # trachea and main bronchi
        airways = [
            [0, 22, 40, 0, 12, 300, 9.5, 9.5],
            [0, 22, 40, 34, 12, 12, 7, 5.5],
            [0, 22, 40, -34, 12, 16, 7.5, 5.5],
        ]
        tubes([[*a[:6], a[6] * wall, a[7] * wall] for a in airways], hu)
    for z in range(-300, 300, 25):  # vertebrae
        tubes([[0, 76, z - 11, 0, 76, z + 11, 20, 20]], 420.0)
        tubes([[0, 76, z - 9, 0, 76, z + 9, 16, 16]], 190.0)
        arch = [[0, 96, z, 0, 104, z - 14, 5, 4], [14, 92, z, 40, 96, z, 5, 4], [-14, 92, z, -40, 96, z, 5, 4]]
        tubes(arch, 480.0)
    tubes([[0, 94, -900, 0, 94, 900, 8, 8]], 25.0)
    tubes(anatomy.cortex, 650.0)
    tubes(anatomy.marrow, 180.0)
    sternum = [
        [0, -98, -60, 0, -98, 120, 9, 9],
        [10, -98, -60, 10, -98, 120, 7, 7],
        [-10, -98, -60, -10, -98, 120, 7, 7],
    ]
    tubes(sternum, 380.0)
    return v


def texture(rng: np.random.Generator, shape: tuple[int, ...], spacing_mm: tuple[float, ...], slope: float) -> Grid:
    """Return a Gaussian field of SD 1 whose power falls like 1 / f^slope above 1 / 60 mm."""
    square = np.zeros((shape[0], shape[1], shape[2] // 2 + 1), np.float32)
    for axis, (n, d) in enumerate(zip(shape, spacing_mm, strict=True)):
        f = (np.fft.rfftfreq(n, d) if axis == 2 else np.fft.fftfreq(n, d)).astype(np.float32)
        square += (f**2).reshape([-1 if a == axis else 1 for a in range(3)])
    amplitude = (square + (1 / 60.0) ** 2) ** (-slope / 4) * np.exp(-square)
    field = fft.irfftn(fft.rfftn(rng.standard_normal(shape, np.float32)) * amplitude, shape)
    unit: Grid = (field / field.std()).astype(np.float32)
    return unit


def add_texture(v: Grid, soft: Grid, lung: Grid) -> None:
    """Add texture in place, to a volume with twice as many rows and columns as the fields."""

    def finer(field: Grid) -> Grid:
        return np.repeat(np.repeat(field, 2, 1), 2, 2)

    in_lung = np.clip((-500.0 - v) / 120.0, 0, 1) * np.clip((v + 985.0) / 60.0, 0, 1)
    in_body = np.clip((v + 160.0) / 40.0, 0, 1)
    in_bone = np.clip((v - 165.0) / 60.0, 0, 1)
    v += in_lung * 38.0 * finer(lung) + in_body * (7.0 + 45.0 * in_bone) * finer(soft)
