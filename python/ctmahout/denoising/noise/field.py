"""Smooth field from scattered values, some of them wrong: points and values go in, a field over the volume comes out.

A function of the distance from the slice's centre comes first. Normalised convolution (Knutsson and Westin 1993) then
adds the residual of the values, with Gaussian kernels from wide to narrow and robust weights exp(-r^2 / 2 t^2) for a
residual r and a tolerance t. Where there are few values the kernels add nothing, and the field is that of the wider
neighbourhood and of equal distance from the centre.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

__all__ = ["Field", "fit_field", "weighted_quantile"]

_MAX_SLABS, _BOXES = 16, 16  # boxes along z, at most, and along the longer side of a slice
_RINGS = 8  # from the centre of a slice to its nearer edge
_RING_QUANTILE, _MIN_RING_FRACTION = 0.25, 0.03  # of the boxes of a ring; fraction of them with values
_RING_SPREAD = 0.35  # rings that differ by less are equal, rings that differ by twice as much are not
_WIDTHS = (8.0, 4.0, 2.0, 1.0, 1.0, 0.7)  # SDs of the kernels, in boxes
_TOLERANCES = (3.0, 2.0, 1.5, 0.8, 0.6, 0.4)  # t of each kernel
_COARSE = 2  # the widest kernels, of which the coarse field is made
_SHRINKAGE = 0.05  # weight at which a kernel's value is halved; a full box everywhere has the weight 1
_FULL_WEIGHT = 4.0  # more weight in a box adds nothing: its values overlap


class Field:
    """A field over a volume, as values at the centres of a lattice of boxes.

    Parameters
    ----------
    shape : tuple of int
        Of the volume.
    lattice : ndarray of shape (bz, by, bx), float64
    """

    def __init__(self, shape: tuple[int, ...], lattice: NDArray[np.float64]) -> None:
        self.shape, self.lattice = shape, lattice

    def at(self, points: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the field at points of shape (n, 3), in voxels (z, y, x)."""
        coordinates = _lattice_coordinates(points, self.shape, self.lattice.shape)
        values: NDArray[np.float64] = ndimage.map_coordinates(self.lattice, coordinates, order=1, mode="nearest")
        return values

    def on_grid(self, cells: tuple[int, ...], cell: int) -> NDArray[np.float64]:
        """Return the field at the centres of cells of `cell` x `cell` pixels: an array of shape `cells`."""
        axes = [np.arange(cells[0], dtype=float), *((np.arange(n) + 0.5) * cell - 0.5 for n in cells[1:])]
        values = self.lattice
        for axis, centres in enumerate(axes):  # linear along one axis after the other
            position = (centres + 0.5) / self.shape[axis] * values.shape[axis] - 0.5
            position = np.clip(position, 0, values.shape[axis] - 1)
            below = np.minimum(position.astype(int), max(values.shape[axis] - 2, 0))
            above = np.minimum(below + 1, values.shape[axis] - 1)
            weight = (position - below).reshape([-1 if a == axis else 1 for a in range(3)])
            values = (1 - weight) * values.take(below, axis) + weight * values.take(above, axis)
        return values


def fit_field(
    shape: tuple[int, ...], points: NDArray[np.float64], values: NDArray[np.float64], weights: NDArray[np.float64]
) -> tuple[Field, Field]:
    """Fit a field to values; return it and a coarse one, of the widest kernels alone.

    Parameters
    ----------
    shape : tuple of int
        Of the volume.
    points : ndarray of shape (n, 3), float64
        Positions (z, y, x) in voxels.
    values, weights : ndarray of shape (n,), float64
        At least one. Outliers on either side have little influence.
    """
    longer = max(shape[1:])
    size = (min(_MAX_SLABS, shape[0]), *(max(1, round(_BOXES * n / longer)) for n in shape[1:]))
    index = [
        np.clip(np.rint(v).astype(np.intp), 0, n - 1)
        for v, n in zip(_lattice_coordinates(points, shape, size), size, strict=True)
    ]
    box = np.ravel_multi_index(index, size)
    filled, group = np.unique(box, return_inverse=True)
    median, total = weighted_quantile(values, weights, group, filled.size, 0.5)
    value, box_weight = np.zeros(size), np.zeros(size)
    value.flat[filled] = median
    box_weight.flat[filled] = np.minimum(total, _FULL_WEIGHT) / _FULL_WEIGHT
    lattices = [_radial(size, filled, median, box_weight.flat[filled])]
    for width, tolerance in zip(_WIDTHS, _TOLERANCES, strict=True):
        lattice = lattices[-1]
        residual = value - lattice
        weight = box_weight * np.exp(-0.5 * (residual / tolerance) ** 2)
        numerator, denominator = (
            ndimage.gaussian_filter(v, [min(width, n / 2) for n in size], mode="constant", truncate=3)
            for v in (weight * residual, weight)
        )
        lattices.append(lattice + numerator / (denominator + _SHRINKAGE))
    return Field(shape, lattices[-1]), Field(shape, lattices[_COARSE])


def _radial(
    size: tuple[int, ...], filled: NDArray[np.intp], values: NDArray[np.float64], weights: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return the lower quartile of the boxes as a function of their distance from the slice's centre.

    The effect of a bow-tie filter depends on that distance, and among boxes at one distance those with anatomy have
    larger values. A ring with few boxes, as where a skull leaves little, takes the value of the next ring. If rings
    differ no more than anatomy such as sulci can make them differ, all take the median.
    """
    median = float(weighted_quantile(values, weights + 1e-9, np.zeros(values.size, np.intp), 1, 0.5)[0][0])
    y, x = (np.arange(n) - (n - 1) / 2 for n in size[1:])
    radius = np.broadcast_to(np.hypot(y[:, None], x) / (max(size[1:]) / 2), size)
    rings = (radius * _RINGS).astype(np.intp)
    ring = rings.flat[filled]
    fraction = np.bincount(ring, weights, rings.max() + 1) / np.bincount(rings.flat)
    usable = fraction[ring] >= min(_MIN_RING_FRACTION, fraction.max())
    usable_rings, group = np.unique(ring[usable], return_inverse=True)
    ring_weights, ring_radius = weights[usable] + 1e-9, radius.flat[filled[usable]]
    quartiles, total = weighted_quantile(values[usable], ring_weights, group, usable_rings.size, _RING_QUANTILE)
    confidence = float(np.clip((np.ptp(quartiles) - _RING_SPREAD) / _RING_SPREAD, 0, 1))
    mean_radius = np.bincount(group, ring_weights * ring_radius) / total
    departure: NDArray[np.float64] = np.interp(radius, mean_radius, quartiles) - median
    return confidence * departure + median


def weighted_quantile(
    values: NDArray[np.float64], weights: NDArray[np.float64], group: NDArray[np.intp], groups: int, q: float
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the weighted quantile of each group and the sum of its weights, both of shape (groups,).

    Parameters
    ----------
    values, weights : ndarray of shape (n,), float64
    group : ndarray of shape (n,), int
        Index of each value's group, 0 to groups - 1; no group is empty.
    groups : int
    q : float
        0 to 1.
    """
    order = np.lexsort((values, group))
    sorted_values, cumulative = values[order], np.cumsum(weights[order])
    total: NDArray[np.float64] = np.bincount(group, weights, groups).astype(np.float64)
    before = np.concatenate([[0.0], np.cumsum(total)])[:-1]
    index = np.searchsorted(cumulative, before + q * total)
    return sorted_values[np.minimum(index, values.size - 1)], total


def _lattice_coordinates(
    points: NDArray[np.float64], shape: tuple[int, ...], size: tuple[int, ...]
) -> NDArray[np.float64]:
    """Return points in voxels as coordinates on a lattice of `size` boxes, of shape (3, n)."""
    return np.array([(points[:, axis] + 0.5) / shape[axis] * size[axis] - 0.5 for axis in range(3)])
