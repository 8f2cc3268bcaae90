"""Anatomies of the phantom, by name, and their common interface."""

from __future__ import annotations

from typing import Any, ClassVar, Protocol

import numpy as np
from numpy.typing import NDArray

from .chest import Chest
from .drawing import Grid
from .head import Head

__all__ = ["ANATOMIES", "Anatomy"]


class Anatomy(Protocol):
    """Part of a body, and the defaults of its scan.

    Attributes
    ----------
    fov_mm : float
        Side of the image.
    spacing_mm, longest_mm : float
        Distance between slices, and the longest scan within the anatomy.
    half_width_mm : float
        Largest distance from the axis.
    photons : float
        For each ray through the centre of the bow-tie filter, for a slice, at full dose.
    views : int
        In a rotation, for images of 512 x 512 pixels.
    thin : int
        Thin slices averaged to a slice.
    textures : tuple of float
        Spectral slopes of the fields that `add_texture` takes, see `drawing.texture`.
    """

    fov_mm: ClassVar[float]
    spacing_mm: ClassVar[float]
    longest_mm: ClassVar[float]
    half_width_mm: ClassVar[float]
    photons: ClassVar[float]
    views: ClassVar[int]
    thin: ClassVar[int]
    textures: ClassVar[tuple[float, ...]]

    @classmethod
    def of(cls, seed: int) -> Anatomy: ...

    def draw(self, xs: NDArray[np.floating], ys: NDArray[np.floating], zs: NDArray[np.floating]) -> Grid: ...

    @property
    def add_texture(self) -> Any: ...


ANATOMIES: dict[str, type[Anatomy]] = {"chest": Chest, "head": Head}
