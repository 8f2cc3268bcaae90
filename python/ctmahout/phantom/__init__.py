"""Simulated CT scans: an anatomy, a scanner and a dose go in, a noisy volume and the same without noise come out."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..volume import Geometry, Volume
from .anatomy import ANATOMIES, Anatomy
from .drawing import Grid, texture
from .parameters import SCANNERS, ScanParameters, check_choice
from .scanner import Scanner

__all__ = ["ANATOMIES", "SCANNERS", "Phantom", "ScanParameters", "make_phantom"]

# Thin slices simulated together. The random numbers of a batch depend on its position, so another size would give other
# noise for the same seed.
_BATCH = 16
_PADDING_HU = -1024.0


@dataclass(frozen=True)
class Phantom:
    """A simulated scan.

    Attributes
    ----------
    noisy : Volume
        Reconstruction from the measured line integrals.
    clean : Volume
        Reconstruction from the same line integrals without noise.
    sigma_hu : ndarray of shape (z, y, x), float32, HU, or None
        The true SD of the noise, if requested.
    """

    noisy: Volume
    clean: Volume
    sigma_hu: NDArray[np.float32] | None = None


def make_phantom(
    *,
    size: int = 256,
    slices: int = 64,
    dose: float = 0.1,
    seed: int = 1,
    extent_mm: float | None = None,
    fov_mm: float | None = None,
    anatomy: str = "chest",
    scanner: str | ScanParameters = "standard",
    noise_seed: int | None = None,
    sigma: bool = False,
    progress: Callable[[str, int, int], None] | None = None,
) -> Phantom:
    """Simulate a CT scan.

    A phantom is drawn on a grid twice as fine and projected; photon noise and electronic noise are added to the
    projections, which are reconstructed by filtered back-projection. So the noise has the properties of CT noise: it is
    correlated within a slice, stronger behind bone, and streaked at low dose.

    Parameters
    ----------
    size : int
        Rows and columns of a slice.
    slices : int
    dose : float
        Fraction of a full dose: 220,000 photons for each ray through a slice of a chest, 2,600,000 for a head, for any
        size of pixels and slices.
    seed : int
        The same seed gives the same bytes.
    extent_mm : float, optional
        Length along the patient. Default: 3 mm a slice in a chest, at most 300 mm, and 5 mm in a head, at most 100 mm.
    fov_mm : float, optional
        Side of the image. Default: that of the scanner, else 380 mm for a chest and 240 mm for a head.
    anatomy : str
        "chest" or "head".
    scanner : str or ScanParameters
        A name of `SCANNERS`, or its parameters.
    noise_seed : int, optional
        Seed of another noise realisation in the same anatomy.
    sigma : bool
        Return the true SD of the noise as well.
    progress : callable, optional
        Called with ("phantom", slices done, slices).

    Returns
    -------
    Phantom

    Raises
    ------
    ConfigError
        CTM_CONFIG_VALUE: no anatomy or scanner has this name.
    """
    check_choice("anatomy", anatomy, list(ANATOMIES))
    kind = ANATOMIES[anatomy]
    parameters = ScanParameters.named(scanner) if isinstance(scanner, str) else scanner
    extent = min(kind.spacing_mm * slices, kind.longest_mm) if extent_mm is None else extent_mm
    simulation = _Simulation(_anatomy(anatomy, seed), size, slices, extent, fov_mm, parameters)
    shape = (slices, size, size)
    noisy, clean = np.empty(shape, np.float32), np.empty(shape, np.float32)
    sigma_hu = np.empty(shape, np.float32) if sigma else None
    start = 0
    for integrals, measured, variance in simulation.scan(kind.photons * dose, seed, noise_seed, sigma=sigma):
        end = start + integrals.shape[2]
        clean[start:end] = simulation.scanner.reconstruct(integrals)
        noisy[start:end] = simulation.scanner.reconstruct(measured)
        if sigma_hu is not None and variance is not None:
            sigma_hu[start:end] = simulation.scanner.sigma(variance)
        start = end
        if progress:
            progress("phantom", end, slices)
    spacing = extent / slices
    thickness = parameters.thickness * spacing if simulation.thin > 1 or parameters.thickness > 1 else None
    geometry = _geometry(shape, spacing, simulation.scanner.pixel_mm, thickness)
    padding = _outside_circle(shape) if parameters.round_field else None
    if padding is not None:
        noisy[padding] = clean[padding] = _PADDING_HU
    return Phantom(Volume(noisy, geometry, padding), Volume(clean, geometry, padding), sigma_hu)


@functools.lru_cache(maxsize=4)
def _anatomy(name: str, seed: int) -> Anatomy:
    return ANATOMIES[name].of(seed)


class _Simulation:
    """A patient in a scanner: thin slices are drawn and projected, and averaged to slices."""

    def __init__(
        self,
        anatomy: Anatomy,
        size: int,
        slices: int,
        extent_mm: float,
        fov_mm: float | None,
        parameters: ScanParameters,
    ) -> None:
        self.anatomy, self.parameters = anatomy, parameters
        self.thin = parameters.thin or anatomy.thin
        self.weights = parameters.weights(self.thin)
        fov = fov_mm or parameters.fov_mm or anatomy.fov_mm
        pixel = fov / size
        # The whole patient is in the beam, also outside the image.
        reach = 2 * (anatomy.half_width_mm * max(parameters.stretch) + max(map(abs, parameters.offset_mm)))
        self.pixels = size if reach <= fov else math.ceil(reach / pixel)
        field = fov if self.pixels == size else self.pixels * pixel
        self.scanner = Scanner(size, fov, field, anatomy.views, parameters)
        self.count = (slices - 1) * self.thin + len(self.weights)
        self.step_mm = extent_mm / slices / self.thin
        self.field_mm = field

    def scan(
        self, photons: float, seed: int, noise_seed: int | None, *, sigma: bool
    ) -> Iterator[tuple[Grid, Grid, Grid | None]]:
        """Yield batches of line integrals, measured line integrals and their variance, each (view, detector, z).

        `photons` are those of a slice and are divided among its thin slices.
        """
        photons *= float((self.weights**2).sum())
        noise = [seed, 2] if noise_seed is None else [seed, 2, noise_seed]
        means = [_SliceMean(weights, self.thin) for weights in (self.weights, self.weights, self.weights**2)]
        for start, body in self._bodies(seed):
            integrals = self.scanner.project(body)
            position = (np.arange(start, start + len(body)) + 0.5) / self.count
            sent = self.scanner.sent(integrals, photons, position)
            measured = self.scanner.measure(integrals, sent, np.random.default_rng([*noise, start]))
            slices, measured_slices = means[0].add(integrals), means[1].add(measured)
            variance = means[2].add(self.scanner.variance(integrals, sent)) if sigma else None
            if slices.shape[2]:
                yield slices, measured_slices, variance

    def _bodies(self, seed: int) -> Iterator[tuple[int, Grid]]:
        """Yield the index of the first thin slice of a batch, and the drawing of the batch, of shape (z, y, x), HU."""
        rng = np.random.default_rng([seed, 1])
        n, p = self.pixels, self.parameters
        steps = (self.step_mm, self.scanner.pixel_mm, self.scanner.pixel_mm)
        textures = [texture(rng, (self.count, n, n), steps, slope) for slope in self.anatomy.textures]
        fine = self.field_mm / (2 * n)
        across = (np.arange(2 * n) - n + 0.5) * fine
        x, y = ((across - offset) / factor for offset, factor in zip(p.offset_mm, p.stretch, strict=True))
        along = (np.arange(2 * self.count) - self.count + 0.5) * self.step_mm / 2
        for start in range(0, self.count, _BATCH):
            end = min(self.count, start + _BATCH)
            body = self.anatomy.draw(x, y, along[2 * start : 2 * end])
            body = 0.5 * (body[0::2] + body[1::2])
            self.anatomy.add_texture(body, *(field[start:end] for field in textures))
            yield start, body


class _SliceMean:
    """Weighted means of thin slices, which arrive in batches along the last axis."""

    def __init__(self, weights: NDArray[np.float64], step: int) -> None:
        self.weights, self.step = weights.astype(np.float32), step
        self.remainder: Grid | None = None

    def add(self, thin: Grid) -> Grid:
        """Return the slices that this batch completes."""
        if len(self.weights) == 1:
            return thin
        if self.remainder is not None:
            thin = np.concatenate([self.remainder, thin], axis=2)
        count = max(0, (thin.shape[2] - len(self.weights)) // self.step + 1)
        matrix = np.zeros((thin.shape[2], count), np.float32)
        for k in range(count):
            matrix[k * self.step : k * self.step + len(self.weights), k] = self.weights
        self.remainder = thin[:, :, count * self.step :]
        return thin @ matrix


def _outside_circle(shape: tuple[int, int, int]) -> NDArray[np.bool_]:
    """Return the mask outside the circle inscribed in each slice."""
    axis = np.arange(shape[1]) - (shape[1] - 1) / 2
    outside = np.hypot(axis[:, None], axis) > shape[1] / 2
    return np.ascontiguousarray(np.broadcast_to(outside, shape))


def _geometry(shape: tuple[int, int, int], spacing: float, pixel: float, thickness: float | None) -> Geometry:
    """Return the geometry of axial slices centred on the origin, from the feet to the head."""
    z, n, _ = shape
    corner = -(n - 1) / 2 * pixel
    positions: NDArray[np.float64] = np.column_stack(
        [np.full(z, corner), np.full(z, corner), (np.arange(z) - (z - 1) / 2) * spacing]
    )
    directions = np.array([1.0, 0.0, 0.0]), np.array([0.0, 1.0, 0.0])
    return Geometry(positions, *directions, (pixel, pixel), thickness)
