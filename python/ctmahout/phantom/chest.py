"""Synthetic chest: a seed and a grid go in, a drawing in HU comes out.

Fat, muscle, lungs with a branching vessel tree, heart, aorta, airways, spine, ribs, sternum, liver with lesions of low
contrast, nodules, a table, and correlated texture in the tissues. All lengths are in mm; x grows to the patient's left,
y to the back, z to the head.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .drawing import Grid, ellipsoid, repeat_pixels, trunk, tubes

__all__ = ["Chest"]


@dataclass(frozen=True)
class Chest:
    """A chest; vessels, nodules and lesions depend on the seed.

    Attributes
    ----------
    vessels, cortex, marrow : ndarray of shape (segments, 8), mm
        Tubes: two ends and their radii.
    nodules, lesions : list of (centre mm, radius mm, HU)
    """

    fov_mm: ClassVar[float] = 380.0
    spacing_mm: ClassVar[float] = 3.0
    longest_mm: ClassVar[float] = 300.0
    half_width_mm: ClassVar[float] = 170.0
    photons: ClassVar[float] = 2.2e5
    views: ClassVar[int] = 984
    thin: ClassVar[int] = 1
    textures: ClassVar[tuple[float, ...]] = (2.0, 2.6)  # of soft tissue, of the lung

    vessels: NDArray[np.float64]
    cortex: NDArray[np.float64]
    marrow: NDArray[np.float64]
    nodules: list[tuple[NDArray[np.float64], float, float]]
    lesions: list[tuple[NDArray[np.float64], float, float]]

    @classmethod
    def of(cls, seed: int) -> Chest:
        """Return the anatomy of a seed."""
        rng = np.random.default_rng(seed)
        vessels: list[list[float]] = []
        for side in (-1, 1):
            for _ in range(9):
                direction = np.array([side * rng.uniform(0.2, 1), rng.normal(0, 0.8), rng.normal(0, 1.1)])
                start = np.array([side * 32.0, -2.0, rng.normal(0, 18)])
                _grow(rng, side, vessels, start, direction / np.linalg.norm(direction), rng.uniform(3.0, 5.0), 8)
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

    def draw(self, xs: NDArray[np.floating], ys: NDArray[np.floating], zs: NDArray[np.floating]) -> Grid:
        """Draw the anatomy without texture.

        Parameters
        ----------
        xs, ys, zs : ndarray of shape (x,), (y,), (z,), mm
            Coordinates of the grid.

        Returns
        -------
        ndarray of shape (z, y, x), float32, HU
        """
        edge = float(xs[1] - xs[0])
        v = np.full((zs.size, ys.size, xs.size), -1000.0, np.float32)

        def body(centre: ArrayLike, radii: ArrayLike, hu: float, turn: float = 0.0, soft: float = edge) -> None:
            ellipsoid(v, xs, ys, zs, np.asarray(centre, float), np.asarray(radii, float), turn, hu, soft)

        def rods(segments: Any, hu: float) -> None:
            tubes(v, xs, ys, zs, np.asarray(segments, float), hu, edge)

        # Later bodies replace earlier ones. The table is a row of rods in a shallow bow.
        rods([[x, 150 - 0.0016 * x * x, -900, x, 150 - 0.0016 * x * x, 900, 3, 3] for x in range(-110, 111, 4)], -300.0)
        trunk(v, xs, ys, zs, 158.0, 118.0, -100.0, edge)
        trunk(v, xs, ys, zs, 146.0, 103.0, 52.0, edge)
        for side in (-1, 1):
            body([side * 75, -8, 5], [62, 82, 134], -860.0)
        rods(self.vessels, 45.0)
        for centre, r, hu in self.nodules:
            body(centre, [r, r, r], hu, soft=edge if hu > 0 else 4.0)
        body([-55, 2, -165], [86, 84, 92], 115.0)  # liver
        body([70, 0, -172], [66, 74, 78], 60.0)  # stomach and spleen
        body([72, -10, -165], [34, 40, 44], -20.0)
        for centre, r, hu in self.lesions:
            body(centre, [r, r, r], hu)
        body([0, 0, 0], [31, 62, 170], 40.0)  # mediastinum
        body([0, 5, 60], [22, 48, 120], -90.0)
        body([24, -32, -48], [57, 44, 62], 95.0, 0.5)  # heart and its chambers
        body([38, -30, -52], [24, 19, 36], 150.0, 0.5)
        body([4, -34, -42], [18, 20, 30], 150.0, 0.5)
        aorta = [[14, 50, -900, 14, 50, 62, 11.5, 12.5], [14, 50, 62, 2, 10, 82, 12.5, 13]]
        rods([*aorta, [2, 10, 82, -10, -20, 60, 13, 14], [-10, -20, 60, 4, -30, 5, 14, 14]], 150.0)
        for wall, hu in ((1.0, 30.0), (0.82, -995.0)):  # trachea and main bronchi
            airways = [
                [0, 22, 40, 0, 12, 300, 9.5, 9.5],
                [0, 22, 40, 34, 12, 12, 7, 5.5],
                [0, 22, 40, -34, 12, 16, 7.5, 5.5],
            ]
            rods([[*a[:6], a[6] * wall, a[7] * wall] for a in airways], hu)
        for z in range(-300, 300, 25):  # vertebrae
            rods([[0, 76, z - 11, 0, 76, z + 11, 20, 20]], 420.0)
            rods([[0, 76, z - 9, 0, 76, z + 9, 16, 16]], 190.0)
            arch = [[0, 96, z, 0, 104, z - 14, 5, 4], [14, 92, z, 40, 96, z, 5, 4], [-14, 92, z, -40, 96, z, 5, 4]]
            rods(arch, 480.0)
        rods([[0, 94, -900, 0, 94, 900, 8, 8]], 25.0)
        rods(self.cortex, 650.0)
        rods(self.marrow, 180.0)
        sternum = [
            [0, -98, -60, 0, -98, 120, 9, 9],
            [10, -98, -60, 10, -98, 120, 7, 7],
            [-10, -98, -60, -10, -98, 120, 7, 7],
        ]
        rods(sternum, 380.0)
        return v

    def add_texture(self, v: Grid, soft: Grid, lung: Grid) -> None:
        """Add texture in place to a volume (z, 2 y, 2 x), HU, from fields (z, y, x) of `drawing.texture`."""
        in_lung = np.clip((-500.0 - v) / 120.0, 0, 1) * np.clip((v + 985.0) / 60.0, 0, 1)
        in_body = np.clip((v + 160.0) / 40.0, 0, 1)
        in_bone = np.clip((v - 165.0) / 60.0, 0, 1)
        v += in_lung * 38.0 * repeat_pixels(lung) + in_body * (7.0 + 45.0 * in_bone) * repeat_pixels(soft)


def _grow(
    rng: np.random.Generator,
    side: int,
    segments: list[list[float]],
    start: NDArray[np.float64],
    direction: NDArray[np.float64],
    radius: float,
    depth: int,
) -> None:
    """Add the segments of a vessel that wanders and branches within an ellipsoidal lung."""
    centre, half = np.array([side * 75.0, -8.0, 5.0]), np.array([58.0, 78.0, 128.0])
    for _ in range(int(rng.integers(2, 5))):
        step = direction * rng.uniform(4, 9) * (0.7 + 0.15 * radius)
        end = start + step
        if np.sum(((end - centre) / half) ** 2) > 1.0:
            if depth < 5:
                return
            direction = (centre + rng.normal(0, 0.4, 3) * half) - start  # a thick vessel turns back
            direction /= np.linalg.norm(direction)
            end = start + direction * np.linalg.norm(step)
        end_radius = radius * rng.uniform(0.93, 0.99)
        segments.append([*start, *end, radius, end_radius])
        start, radius = end, end_radius
        direction = direction + rng.normal(0, 0.22, 3)
        direction /= np.linalg.norm(direction)
    if depth == 0 or radius < 0.35:
        return
    for _ in range(2 if rng.random() < 0.8 else 3):
        branch = direction + rng.normal(0, 0.62, 3) + 0.15 * (start - np.array([side * 25.0, 0, 0])) / 60.0
        _grow(rng, side, segments, start, branch / np.linalg.norm(branch), radius * rng.uniform(0.66, 0.86), depth - 1)


def _ribs() -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the tubes of cortex and marrow of 13 pairs of ribs."""
    cortex, marrow = [], []
    for n in range(13):
        for side in (-1, 1):
            turn = np.linspace(-1.35, 1.30, 30)  # radians, from the spine to the front
            x = side * 136.0 * np.cos(turn) * (1 + 0.02 * np.sin(3 * turn))
            z = -165.0 + 27.0 * n - 24.0 * (turn + 1.35) / 2.65
            points = np.stack([x, -93.0 * np.sin(turn), z], 1)
            for a, b in itertools.pairwise(points):
                cortex.append([*a, *b, 5.0, 5.0])
                marrow.append([*a, *b, 3.2, 3.2])
    return np.array(cortex), np.array(marrow)
