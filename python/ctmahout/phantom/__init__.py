"""A synthetic low-dose chest CT with its noise-free twin: `make_phantom`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..volume import Geometry, Volume
from .anatomy import Anatomy, add_texture, draw, texture
from .scanner import PHOTONS, Scanner

__all__ = ["Phantom", "make_phantom"]

# Slices worked on at a time; the random numbers of a batch depend on its place, so this is part of what a seed means.
_BATCH = 16


@dataclass(frozen=True)
class Phantom:
    """A simulated scan.

    Attributes
    ----------
    noisy : Volume
        What the scanner shows.
    clean : Volume
        What it would show without noise: the same reconstruction from the same line integrals.
    """

    noisy: Volume
    clean: Volume


def make_phantom(
    *,
    size: int = 256,
    slices: int = 64,
    dose: float = 0.1,
    seed: int = 1,
    extent_mm: float | None = None,
    fov_mm: float = 380.0,
    progress: Callable[[str, int, int], None] | None = None,
) -> Phantom:
    """Simulate a chest CT.

    A phantom is drawn on a grid twice as fine, projected, given the noise of its photons and of the electronics, and
    reconstructed by filtered back-projection. So its noise is as CT noise is: correlated in a slice, stronger behind
    bone, streaked at low dose.

    Parameters
    ----------
    size : int
        Rows and columns of a slice.
    slices : int
    dose : float
        Share of a full dose, which is 220,000 photons for each ray, whatever the size of pixels and slices.
    seed : int
        The same seed gives the same bits.
    extent_mm : float, optional
        Length along the patient; 3 mm a slice if not given, but at most 300 mm.
    fov_mm : float
        Side of the image.
    progress : callable, optional
        Called with ("phantom", slices done, slices).
    """
    extent = min(3.0 * slices, 300.0) if extent_mm is None else extent_mm
    spacing = extent / slices
    scanner = Scanner(size, fov_mm)
    anatomy = Anatomy.of(seed)
    rng = np.random.default_rng([seed, 1])
    steps = (spacing, scanner.pixel_mm, scanner.pixel_mm)
    shape = (slices, size, size)
    soft, lung = texture(rng, shape, steps, 2.0), texture(rng, shape, steps, 2.6)
    fine = fov_mm / (2 * size)
    across = (np.arange(2 * size) - size + 0.5) * fine
    along = (np.arange(2 * slices) - slices + 0.5) * spacing / 2
    photons = PHOTONS * dose
    noisy, clean = np.empty(shape, np.float32), np.empty(shape, np.float32)
    for start in range(0, slices, _BATCH):
        end = min(slices, start + _BATCH)
        body = draw(anatomy, across, across, along[2 * start : 2 * end])
        body = 0.5 * (body[0::2] + body[1::2])
        add_texture(body, soft[start:end], lung[start:end])
        integrals = scanner.project(body)
        clean[start:end] = scanner.reconstruct(integrals)
        measured = scanner.noisy(integrals, photons, np.random.default_rng([seed, 2, start]))
        noisy[start:end] = scanner.reconstruct(measured)
        if progress:
            progress("phantom", end, slices)
    geometry = _geometry(shape, spacing, scanner.pixel_mm)
    return Phantom(Volume(noisy, geometry), Volume(clean, geometry))


def _geometry(shape: tuple[int, int, int], spacing: float, pixel: float) -> Geometry:
    """Axial slices around the origin, from the feet to the head."""
    z, n, _ = shape
    corner = -(n - 1) / 2 * pixel
    positions: NDArray[np.float64] = np.column_stack(
        [np.full(z, corner), np.full(z, corner), (np.arange(z) - (z - 1) / 2) * spacing]
    )
    return Geometry(positions, np.array([1.0, 0.0, 0.0]), np.array([0.0, 1.0, 0.0]), (pixel, pixel))
