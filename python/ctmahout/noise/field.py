"""A smooth field of place, fitted to scattered values of which some are wrong.

First a function of the distance from the middle of the slice; then kernels from wide to narrow, each fitted to what was
left, shrunk to 0 where there is little evidence. So the field follows the values where there are some; elsewhere it is
that of the wider neighbourhood and of equal distance.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

__all__ = ["Field", "fit_field", "weighted_median"]

_SLABS, _BOXES = 16, 16  # along z, and along the longer side of a slice
_RINGS = 8  # from the middle of a slice to its nearer edge
_WIDTHS = (8.0, 4.0, 2.0, 1.0, 1.0, 0.7)  # of the kernels, in boxes
_TOLERANCE = (3.0, 2.0, 1.5, 0.8, 0.6, 0.4)  # of each: a value that is so far off counts for exp(-1/2)
_COARSE = 2  # of the kernels make the coarser field, the widest
_SHRINK = 0.05  # evidence beside which a kernel's value is halved; that of one good box everywhere is 1
_FULL = 4.0  # weight at which a box has told all that it can: values overlap


class Field:
    """Values on a lattice of boxes."""

    def __init__(self, shape: tuple[int, ...], lattice: NDArray[np.float64]) -> None:
        self.shape, self.lattice = shape, lattice

    def at(self, places: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the field at places of shape (n, 3): z, y, x in voxels."""
        found: NDArray[np.float64] = ndimage.map_coordinates(
            self.lattice, _on_lattice(places, self.shape, self.lattice.shape), order=1, mode="nearest"
        )
        return found

    def on_grid(self, cells: tuple[int, ...], cell: int) -> NDArray[np.float64]:
        """Return the field at the middles of cells, of shape `cells`."""
        axes = [np.arange(cells[0], dtype=float), *((np.arange(n) + 0.5) * cell - 0.5 for n in cells[1:])]
        found = self.lattice
        for axis, places in enumerate(axes):  # linear along one axis after the other
            at = np.clip((places + 0.5) / self.shape[axis] * found.shape[axis] - 0.5, 0, found.shape[axis] - 1)
            below = np.minimum(at.astype(int), max(found.shape[axis] - 2, 0))
            above = np.minimum(below + 1, found.shape[axis] - 1)
            share = (at - below).reshape([-1 if a == axis else 1 for a in range(3)])
            found = (1 - share) * found.take(below, axis) + share * found.take(above, axis)
        return found


def fit_field(
    shape: tuple[int, ...], places: NDArray[np.float64], values: NDArray[np.float64], weights: NDArray[np.float64]
) -> tuple[Field, Field]:
    """Fit a field to values, and a coarser one that is the widest kernels' alone.

    Parameters
    ----------
    shape : tuple of int
        Of the volume.
    places : ndarray of shape (n, 3), float64
        z, y, x in voxels.
    values, weights : ndarray of shape (n,), float64
        One at least; wrong values count for little, above the others or below them.
    """
    longer = max(shape[1:])
    size = (min(_SLABS, shape[0]), *(max(1, round(_BOXES * n / longer)) for n in shape[1:]))
    at = [
        np.clip(np.rint(v).astype(np.intp), 0, n - 1)
        for v, n in zip(_on_lattice(places, shape, size), size, strict=True)
    ]
    box = np.ravel_multi_index(at, size)
    filled, group = np.unique(box, return_inverse=True)
    median, total = weighted_median(values, weights, group, filled.size)
    value, evidence = np.zeros(size), np.zeros(size)
    value.flat[filled] = median
    evidence.flat[filled] = np.minimum(total, _FULL) / _FULL
    lattices = [_radial(size, filled, median, evidence.flat[filled] + 1e-9)]
    for width, tolerance in zip(_WIDTHS, _TOLERANCE, strict=True):
        lattice = lattices[-1]
        rest = value - lattice
        weight = evidence * np.exp(-0.5 * (rest / tolerance) ** 2)
        over, under = (
            ndimage.gaussian_filter(v, [min(width, n / 2) for n in size], mode="constant", truncate=3)
            for v in (weight * rest, weight)
        )
        lattices.append(lattice + over / (under + _SHRINK))
    return Field(shape, lattices[-1]), Field(shape, lattices[_COARSE])


def _radial(
    size: tuple[int, ...], filled: NDArray[np.intp], values: NDArray[np.float64], weights: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return the median of boxes by their distance from the middle of the slice: that is how a bow tie departs."""
    y, x = (np.arange(n) - (n - 1) / 2 for n in size[1:])
    radius = np.broadcast_to(np.hypot(y[:, None], x) / (max(size[1:]) / 2), size)
    ring = (radius.flat[filled] * _RINGS).astype(np.intp)
    rings, group = np.unique(ring, return_inverse=True)
    medians, _ = weighted_median(values, weights, group, rings.size)
    middles = np.bincount(group, weights * radius.flat[filled]) / np.bincount(group, weights)
    found: NDArray[np.float64] = np.interp(radius, middles, medians)
    return found


def weighted_median(
    values: NDArray[np.float64], weights: NDArray[np.float64], group: NDArray[np.intp], groups: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the weighted median of each group, all of which have members, and the sum of its weights."""
    order = np.lexsort((values, group))
    sorted_values, running = values[order], np.cumsum(weights[order])
    total: NDArray[np.float64] = np.bincount(group, weights, groups).astype(np.float64)
    before = np.concatenate([[0.0], np.cumsum(total)])[:-1]
    middle = np.searchsorted(running, before + 0.5 * total)
    return sorted_values[np.minimum(middle, values.size - 1)], total


def _on_lattice(places: NDArray[np.float64], shape: tuple[int, ...], size: tuple[int, ...]) -> NDArray[np.float64]:
    return np.array([(places[:, axis] + 0.5) / shape[axis] * size[axis] - 0.5 for axis in range(3)])
