"""One object scanned many times: part of a phantom's body, with shapes that are put in before the scanner's model.

The body is drawn and projected once. A scan then costs its photons and a reconstruction. Projection and reconstruction
are linear, so a shape is projected by itself, and its noise-free image is exactly what it adds to a scan.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from ctmahout import Volume
from ctmahout.phantom import ScanParameters
from ctmahout.phantom.chest import Chest
from ctmahout.phantom.drawing import texture, tubes
from ctmahout.phantom.scanner import Scanner

__all__ = ["FULL_DOSE", "Field", "Inserted", "Object", "rod"]

Float32 = NDArray[np.float32]
Float64 = NDArray[np.float64]

FULL_DOSE = 6.0e5  # photons of a ray; noise in the liver, with pixels of 1 mm, then has an SD of about 12 HU
_VIEWS = 1968  # of a rotation, for 512 x 512 pixels
_HALF_WIDTH_MM = 170.0  # of the body; all of it is in the beam


@dataclass(frozen=True)
class Field:
    """The part of the body that is imaged.

    Attributes
    ----------
    centre_mm : tuple of float
        x, y and z of the middle, in the coordinates of the phantom.
    size, slices : int
    pixel_mm, step_mm : float
    """

    centre_mm: tuple[float, float, float]
    size: int = 128
    slices: int = 16
    pixel_mm: float = 1.0
    step_mm: float = 1.5

    @property
    def spacing_mm(self) -> tuple[float, float, float]:
        return self.step_mm, self.pixel_mm, self.pixel_mm

    def index(self, x_mm: float, y_mm: float) -> tuple[int, int]:
        """Return the row and column that are nearest to a place in the coordinates of the phantom."""
        middle = (self.size - 1) / 2
        return round((y_mm - self.centre_mm[1]) / self.pixel_mm + middle), round(
            (x_mm - self.centre_mm[0]) / self.pixel_mm + middle
        )


LIVER = Field((-62.0, 2.0, -175.0))
LUNG = Field((-80.0, -8.0, 10.0))


Draw = Callable[[Float32, Float64, Float64, Float64], None]
"""Changes a grid of contrasts, shape (z, y, x), HU, 0 before; then come the coordinates xs, ys, zs, mm."""


@dataclass(frozen=True)
class Inserted:
    """What is put into an object: line integrals, and the image without noise, of shape (z, y, x), HU."""

    integrals: Float32
    hu: Float32


class Object:
    """A body in a scanner.

    Parameters
    ----------
    field : Field
    seed : int
        Of the anatomy and its texture.
    uniform : bool
        Water instead of the anatomy: a cylinder of 280 mm.
    """

    def __init__(self, field: Field, seed: int = 1, *, uniform: bool = False) -> None:
        self.field = field
        x, y, _ = field.centre_mm
        reach = 2 * (_HALF_WIDTH_MM + max(abs(x), abs(y)))
        pixels = math.ceil(reach / field.pixel_mm)
        self._fine = field.pixel_mm / 2
        self._shape = (field.slices, pixels, pixels)
        parameters = ScanParameters(offset_mm=(-x, -y))
        self._scanner = Scanner(field.size, field.size * field.pixel_mm, pixels * field.pixel_mm, _VIEWS, parameters)
        body = self._water() if uniform else self._body(seed)
        self._integrals = self._scanner.project(body)
        self.clean: Float32 = self._scanner.reconstruct(self._integrals)

    def _axes(self) -> tuple[Float64, Float64, Float64]:
        """Return xs, ys and zs of the grid, twice as fine as the image, in the coordinates of the phantom."""
        slices, pixels, _ = self._shape
        across = (np.arange(2.0 * pixels) - pixels + 0.5) * self._fine
        x, y, z = self.field.centre_mm
        along = (np.arange(2.0 * slices) - slices + 0.5) * self.field.step_mm / 2
        return np.add(across, x), np.add(across, y), np.add(along, z)

    def _body(self, seed: int) -> Float32:
        anatomy = replace(Chest.of(seed), lesions=[])
        body = anatomy.draw(*self._axes())
        body = 0.5 * (body[0::2] + body[1::2])
        rng = np.random.default_rng([seed, 1])
        anatomy.add_texture(body, *(texture(rng, self._shape, self.field.spacing_mm, s) for s in anatomy.textures))
        return body

    def _water(self) -> Float32:
        xs, ys, _ = self._axes()
        x, y, _ = self.field.centre_mm
        inside = np.hypot(ys[:, None] - y, xs - x) < 140.0
        return np.repeat(np.where(inside, 0.0, -1000.0).astype(np.float32)[None], self.field.slices, axis=0)

    def insert(self, *draw: Draw) -> Inserted:
        """Return shapes as the scanner images them."""
        xs, ys, zs = self._axes()
        contrast = np.zeros((zs.size, ys.size, xs.size), np.float32)
        for shape in draw:
            shape(contrast, xs, ys, zs)
        # A scanner takes HU: air is what attenuates nothing.
        integrals = self._scanner.project(0.5 * (contrast[0::2] + contrast[1::2]) - 1000.0)
        return Inserted(integrals, self._scanner.reconstruct(integrals) + 1000.0)

    def scan(self, dose: float, seed: Sequence[int], inserted: Inserted | None = None) -> Float32:
        """Return a scan, of shape (z, y, x), HU.

        Parameters
        ----------
        dose : float
            Share of the full one.
        seed : sequence of int
            Of the noise.
        inserted : Inserted, optional
        """
        integrals = self._integrals if inserted is None else self._integrals + inserted.integrals
        sent = self._scanner.sent(integrals, FULL_DOSE * dose, np.full(self.field.slices, 0.5))
        return self._scanner.reconstruct(self._scanner.measure(integrals, sent, np.random.default_rng(seed)))

    def volume(self, hu: Float32) -> Volume:
        """Return an image as methods take it."""
        return Volume.of_array(hu, self.field.spacing_mm)


def rod(x: float, y: float, diameter_mm: float, hu: float, hole_mm: float = 0.0) -> Draw:
    """Return a rod along z, and with a hole a tube, at a place in mm; the mean over its disc is `hu`."""

    def draw(grid: Float32, xs: Float64, ys: Float64, zs: Float64) -> None:
        value = hu / (1 - (hole_mm / diameter_mm) ** 2)
        for diameter, filled in ((diameter_mm, value), (hole_mm, 0.0)):
            if diameter:
                segment = [[x, y, -9e3, x, y, 9e3, diameter / 2, diameter / 2]]
                tubes(grid, xs, ys, zs, np.array(segment), filled, float(xs[1] - xs[0]))

    return draw
