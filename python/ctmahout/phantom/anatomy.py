"""The anatomies that can be scanned, and what they have in common."""

from __future__ import annotations

from typing import Any, ClassVar, Protocol

import numpy as np
from numpy.typing import NDArray

from .chest import Chest
from .drawing import Grid
from .head import Head

__all__ = ["ANATOMIES", "Anatomy"]


class Anatomy(Protocol):
    """Part of a body, and how it is scanned if nothing else is said.

    Attributes
    ----------
    fov_mm : float
        Side of the image.
    spacing_mm, longest_mm : float
        Step from slice to slice, and the longest scan that still lies in the anatomy.
    half_width_mm : float
        All of it lies within this of its axis.
    photons : float
        Sent along a ray through the centre of the bow tie, for a slice, at full dose.
    views : int
        In a turn, for images of 512 x 512 pixels.
    thin : int
        Thin slices that a slice is the mean of.
    textures : tuple of float
        Slopes of the fields that `add_texture` asks for.
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
