"""A smooth field of place, fitted to scattered values of which some are wrong.

First a function of the distance from the middle of the slice; then kernels from wide to narrow, each fitted to what was
left, shrunk to 0 where there is little evidence. So the field follows the values where there are some; elsewhere it is
that of the wider neighbourhood and of equal distance.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

__all__ = ["Field", "fit_field", "weighted_quantile"]

_SLABS, _BOXES = 16, 16  # along z, and along the longer side of a slice
_LOWER, _ENOUGH = 0.25, 0.03  # quantile of the boxes of a ring, and share of its boxes that must be measured
_ALIKE = 0.35  # rings that differ by less are alike, by twice as much are not
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
    median, total = weighted_quantile(values, weights, group, filled.size, 0.5)
    value, evidence = np.zeros(size), np.zeros(size)
    value.flat[filled] = median
    evidence.flat[filled] = np.minimum(total, _FULL) / _FULL
    lattices = [_radial(size, filled, median, evidence.flat[filled])]
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
    size: tuple[int, ...], filled: NDArray[np.intp], values: NDArray[np.float64], evidence: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return the lower quartile of boxes by their distance from the middle of the slice.

    A bow tie's departure depends on that distance; of boxes as far away, those with anatomy lie higher. A ring with few
    boxes, as where a skull leaves little, takes the value of the next. Rings that differ no more than anatomy can make
    them differ, as sulci do, all take the median.
    """
    middle = float(weighted_quantile(values, evidence + 1e-9, np.zeros(values.size, np.intp), 1, 0.5)[0][0])
    y, x = (np.arange(n) - (n - 1) / 2 for n in size[1:])
    radius = np.broadcast_to(np.hypot(y[:, None], x) / (max(size[1:]) / 2), size)
    rings = (radius * _RINGS).astype(np.intp)
    ring = rings.flat[filled]
    share = np.bincount(ring, evidence, rings.max() + 1) / np.bincount(rings.flat)
    told = share[ring] >= min(_ENOUGH, share.max())
    names, group = np.unique(ring[told], return_inverse=True)
    weights, at = evidence[told] + 1e-9, radius.flat[filled[told]]
    quartiles, total = weighted_quantile(values[told], weights, group, names.size, _LOWER)
    trust = float(np.clip((np.ptp(quartiles) - _ALIKE) / _ALIKE, 0, 1))
    rings_at = np.bincount(group, weights * at) / total
    departure: NDArray[np.float64] = np.interp(radius, rings_at, quartiles) - middle
    return trust * departure + middle


def weighted_quantile(
    values: NDArray[np.float64], weights: NDArray[np.float64], group: NDArray[np.intp], groups: int, share: float
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the weighted quantile of each group, all of which have members, and the sum of its weights."""
    order = np.lexsort((values, group))
    sorted_values, running = values[order], np.cumsum(weights[order])
    total: NDArray[np.float64] = np.bincount(group, weights, groups).astype(np.float64)
    before = np.concatenate([[0.0], np.cumsum(total)])[:-1]
    middle = np.searchsorted(running, before + share * total)
    return sorted_values[np.minimum(middle, values.size - 1)], total


def _on_lattice(places: NDArray[np.float64], shape: tuple[int, ...], size: tuple[int, ...]) -> NDArray[np.float64]:
    return np.array([(places[:, axis] + 0.5) / shape[axis] * size[axis] - 0.5 for axis in range(3)])
