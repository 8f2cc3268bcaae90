"""Slices with a measurement: from a volume, the indices of those that are neither empty nor copies.

A slice that is written twice would make noise look like anatomy, which is alike in neighbouring slices.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["EMPTY_FRACTION", "distinct_slices"]

EMPTY_FRACTION = 0.999  # of a slice that is constant: with so much it counts as empty


def distinct_slices(hu: NDArray[np.float32], constant: NDArray[np.bool_]) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Return the slices that are neither empty nor equal to the slice before.

    Parameters
    ----------
    hu : ndarray of shape (z, y, x), float32, HU
    constant : ndarray of shape (z, y, x), bool
        Voxels without a measurement, see `constant_regions`.

    Returns
    -------
    distinct : ndarray of shape (n,), int
        Indices of the slices, ascending.
    nearest : ndarray of shape (z,), int
        For each slice, the index into `distinct` of the slice it equals or, if it is empty, of the nearest one; zeros
        if n is 0.
    """
    filled = constant.mean(axis=(1, 2)) < EMPTY_FRACTION
    distinct: list[int] = []
    nearest = np.zeros(len(hu), np.intp)
    for z in np.nonzero(filled)[0]:
        # A few pixels nearly always suffice to see that two slices differ.
        before = hu[distinct[-1]] if distinct else None
        if before is None or not (np.array_equal(before[::8, ::8], hu[z, ::8, ::8]) and np.array_equal(before, hu[z])):
            distinct.append(int(z))
        nearest[z] = len(distinct) - 1
    for z in np.nonzero(~filled)[0]:
        if distinct:
            nearest[z] = np.abs(np.array(distinct) - z).argmin()
    return np.array(distinct, np.intp), nearest
