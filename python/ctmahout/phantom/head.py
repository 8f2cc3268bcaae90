"""Synthetic head, whose tissues differ by a few HU: a seed and a grid go in, a drawing in HU comes out.

Scalp, skull with diploe, cerebrospinal fluid, a cortex folded by sulci, white matter, falx, ventricles, deep nuclei,
cerebellum, petrous bones and a frontal sinus, vessels, a head holder. All lengths are in mm; x grows to the patient's
left, y to the back, z to the head. The origin lies between the lateral ventricles.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar

import numba
import numpy as np
from numpy.typing import ArrayLike, NDArray

from .drawing import Grid, blend, ellipsoid, repeat_pixels, tubes

__all__ = ["GREY", "WHITE", "Head"]

GREY, WHITE, FLUID = 37.0, 30.0, 8.0  # HU
DURA = 58.0
CORTEX_MM = 3.0
SULCUS_MM, SULCI_DEPTH_MM = 1.3, 24.0  # half the width of a sulcus at the surface, and its depth
BRAIN_MM = (66.0, 84.0, 82.0)  # half axes
_CENTRE = (0.0, 2.0, 2.0)


@numba.njit(parallel=True, cache=True)
def _brain(volume, xs, ys, zs, waves, edge):  # type: ignore[no-untyped-def]
    """Draw white matter under a folded cortex into volume [z, y, x], HU.

    Sulci are the zeros of a sum of plane waves, and become narrower with their depth. A row of `waves` is a wave vector
    in 1/mm and a phase. `edge` is the width in mm over which tissues blend.
    """
    a, b, c = BRAIN_MM
    for k in numba.prange(zs.size):
        z = zs[k] - _CENTRE[2]
        for j in range(ys.size):
            y = ys[j] - _CENTRE[1]
            for i in range(xs.size):
                x = xs[i] - _CENTRE[0]
                k0 = math.sqrt((x / a) ** 2 + (y / b) ** 2 + (z / c) ** 2)
                if k0 > 1.1:
                    continue
                k1 = math.sqrt((x / a**2) ** 2 + (y / b**2) ** 2 + (z / c**2) ** 2) + 1e-9
                depth = k0 * (1.0 - k0) / k1
                inside = min(1.0, 0.5 + depth / edge)
                if inside <= 0.0:
                    continue
                fissure = abs(x - 1.5 * math.sin(y / 40.0) - 0.8 * math.sin(z / 25.0)) - 1.6
                # The hemispheres have a surface to each other, except at the corpus callosum and below.
                separate = ((y + 2.0) / 48.0) ** 2 + ((z - 2.0) / 30.0) ** 2 > 1.0 and z > -24.0
                if separate:
                    depth = min(depth, fissure)
                value = WHITE
                if depth < SULCI_DEPTH_MM + CORTEX_MM:
                    g = gx = gy = gz = 0.0
                    for w in range(waves.shape[0]):
                        phase = waves[w, 0] * x + waves[w, 1] * y + waves[w, 2] * z + waves[w, 3]
                        slope = -math.sin(phase)
                        g += math.cos(phase)
                        gx += waves[w, 0] * slope
                        gy += waves[w, 1] * slope
                        gz += waves[w, 2] * slope
                    distance = abs(g) / (math.sqrt(gx * gx + gy * gy + gz * gz) + 1e-6)
                    half = SULCUS_MM * (1.0 - depth / SULCI_DEPTH_MM)
                    cortex = 0.5 + (CORTEX_MM - min(depth, distance - max(0.0, half))) / edge
                    if half < 0.0:
                        cortex = min(cortex, 0.5 + (SULCI_DEPTH_MM + CORTEX_MM - depth) / edge)
                    value += min(1.0, max(0.0, cortex)) * (GREY - WHITE)
                    sulcus = min(1.0, max(0.0, 0.5 + (half - distance) / edge)) if half > 0.0 else 0.0
                    value += sulcus * (FLUID - value)
                if separate:
                    value += min(1.0, max(0.0, 0.5 - fissure / edge)) * (FLUID - value)
                    value += min(1.0, max(0.0, 0.5 - (fissure + 0.9) / edge)) * (DURA - value)
                blend(volume, k, j, i, inside, value)


@dataclass(frozen=True)
class Head:
    """A head; its sulci, the width of its ventricles and its vessels depend on the seed.

    Attributes
    ----------
    waves : ndarray of shape (n, 4)
        Of the folds of the cortex: wave vectors in 1/mm, and phases.
    ventricles : float
        Factor of their width.
    vessels : ndarray of shape (segments, 8), mm
        Tubes: two ends and their radii.
    """

    fov_mm: ClassVar[float] = 240.0
    spacing_mm: ClassVar[float] = 5.0
    longest_mm: ClassVar[float] = 100.0
    half_width_mm: ClassVar[float] = 118.0
    photons: ClassVar[float] = 2.6e6
    views: ClassVar[int] = 1968  # with fewer, streaks from the skull are as strong as the cortex
    thin: ClassVar[int] = 5
    textures: ClassVar[tuple[float, ...]] = (2.0,)

    waves: NDArray[np.float64]
    ventricles: float
    vessels: NDArray[np.float64]

    @classmethod
    def of(cls, seed: int) -> Head:
        """Return the anatomy of a seed."""
        rng = np.random.default_rng([seed, 7])
        vectors = rng.normal(0, 1, (14, 3)) * np.array([1.0, 1.0, 0.5])  # sulci are steep
        vectors *= (2 * np.pi / rng.uniform(22, 40, 14) / np.linalg.norm(vectors, axis=1))[:, None]
        waves = np.column_stack([vectors, rng.uniform(0, 2 * np.pi, 14)])
        return cls(waves, float(rng.uniform(0.8, 1.3)), _vessels(rng))

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

        def body(centre: ArrayLike, radii: ArrayLike, hu: float, turn: float = 0.0) -> None:
            ellipsoid(v, xs, ys, zs, np.asarray(centre, float), np.asarray(radii, float), turn, hu, edge)

        def pair(centre: tuple[float, float, float], radii: ArrayLike, hu: float, turn: float = 0.0) -> None:
            for side in (-1, 1):
                body((side * centre[0], *centre[1:]), radii, hu, side * turn)

        def rods(segments: Any, hu: float) -> None:
            tubes(v, xs, ys, zs, np.asarray(segments, float), hu, edge)

        x0, y0, z0 = _CENTRE
        for turn in np.linspace(0.15 * np.pi, 0.85 * np.pi, 60):  # the holder
            x, y = x0 + 96 * np.cos(turn), y0 + 110 * np.sin(turn)
            rods([[x, y, -900, x, y, 900, 2.2, 2.2]], -150.0)
        # From the skin inwards; later bodies replace earlier ones.
        for half, hu in (((79.0, 98.0, 97.0), 25.0), ((77.5, 96.5, 96.0), -90.0), ((75.0, 94.0, 93.0), 45.0)):
            body((x0, y0, z0), half, hu)
        pair((73, -24, -12), (5, 26, 38), 52.0, -0.1)  # temporal muscles
        for half, hu in (((73.0, 92.0, 91.0), 1000.0), ((71.4, 90.2, 89.4), 600.0), ((69.6, 87.8, 87.0), 1100.0)):
            body((x0, y0, z0), half, hu)
        body((x0, y0, z0), (68, 86, 84.5), FLUID)
        _brain(v, xs, ys, zs, self.waves, edge)
        self._deep(pair, body)
        rods(self.vessels, 50.0)
        rods([[0, y0 + 84 - d, z, 0, y0 + 84 - d, z + 8, 3.5, 3.5] for z, d in _sinus()], 60.0)
        self._base(pair, body, rods)
        return v

    def _deep(self, pair: Any, body: Any) -> None:
        """Draw nuclei, ventricles, brain stem and cerebellum."""
        w = self.ventricles
        pair((11, 6, 0), (9, 15, 11), GREY)  # thalamus
        pair((26, -8, 0), (5, 18, 12), GREY + 1, 0.15)  # putamen
        pair((15, -26, 8), (5, 9, 11), GREY + 1)  # head of the caudate nucleus
        pair((43, -10, -4), (2.2, 17, 13), FLUID, 0.1)  # Sylvian fissure
        pair((8, -28, 10), (4 * w, 15, 9), FLUID, -0.35)  # frontal horn
        pair((11, 2, 18), (5 * w, 26, 7), FLUID, 0.1)  # body of the lateral ventricle
        pair((23, 34, 6), (6 * w, 16, 9), FLUID, 0.3)  # trigone and occipital horn
        body((0, 4, -4), (2.2 * w, 14, 11), FLUID)  # third ventricle
        body((0, 24, 2), (2.5, 3, 3), 140.0)  # pineal gland
        body((0, -6, -28), (13, 11, 8), FLUID)  # basal cisterns
        body((0, 12, -34), (13, 11, 16), WHITE + 1)  # brain stem
        pair((24, 44, -42), (26, 24, 20), GREY - 1)  # cerebellum
        body((0, 28, -42), (5 * w, 6, 8), FLUID)  # fourth ventricle

    def _base(self, pair: Any, body: Any, rods: Any) -> None:
        """Draw bone and air at the base of the skull, which cause streaks."""
        rods([[s * 56, 22, -44, s * 14, 0, -40, 10, 5] for s in (-1, 1)], 900.0)
        rods([[s * 58, 26, -44, s * 46, 18, -44, 4, 2] for s in (-1, 1)], -700.0)
        body((0, -84, -36), (16, 5, 14), -990.0)
        pair((26, -74, -46), (15, 14, 14), -80.0)  # orbits

    def add_texture(self, v: Grid, soft: Grid) -> None:
        """Add texture in place to a volume (z, 2 y, 2 x), HU, from a field (z, y, x) of `drawing.texture`."""
        in_brain = np.clip((v + 20.0) / 20.0, 0, 1) * np.clip((90.0 - v) / 20.0, 0, 1)
        in_bone = np.clip((v - 300.0) / 100.0, 0, 1)
        v += (0.8 * in_brain + 60.0 * in_bone) * repeat_pixels(soft)


def _vessels(rng: np.random.Generator) -> NDArray[np.float64]:
    """Return the tubes of thin vessels on the surface of the brain."""
    segments: list[list[float]] = []
    half = np.array(BRAIN_MM) + 1.0
    for _ in range(40):
        start = rng.normal(0, 1, 3)
        start, direction = start / np.linalg.norm(start), rng.normal(0, 1, 3)
        radius = rng.uniform(0.6, 1.4)
        for _ in range(8):
            end = start + 0.07 * direction
            end /= np.linalg.norm(end)
            segments.append([*(start * half + _CENTRE), *(end * half + _CENTRE), radius, radius])
            direction = direction + rng.normal(0, 0.5, 3)
            start = end
    return np.array(segments)


def _sinus() -> list[tuple[float, float]]:
    """Return points of the sagittal sinus at the back: z, and distance from the inner skull, mm."""
    return [(float(z), 84.0 * (1 - math.sqrt(max(0.0, 1 - (z / 84.0) ** 2)))) for z in range(-24, 72, 8)]
