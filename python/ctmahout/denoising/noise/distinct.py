"""Slices that hold a measurement of their own: neither empty nor written twice."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["EMPTY", "distinct_slices"]

EMPTY = 0.999  # share of a slice that is constant when there is nothing in it


def distinct_slices(hu: NDArray[np.float32], constant: NDArray[np.bool_]) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Find the slices that hold a measurement of their own: neither empty nor the twin of the one before.

    Parameters
    ----------
    hu : ndarray of shape (z, y, x), float32, HU
    constant : ndarray of shape (z, y, x), bool
        What holds none.

    Returns
    -------
    distinct : ndarray of shape (n,), int
        Their numbers, ascending.
    nearest : ndarray of shape (z,), int
        For each slice the place in `distinct` of its twin or, if it is empty, of the nearest; zeros if n is 0.
    """
    filled = constant.mean(axis=(1, 2)) < EMPTY
    distinct: list[int] = []
    nearest = np.zeros(len(hu), np.intp)
    for z in np.nonzero(filled)[0]:
        # Few pixels tell nearly always.
        before = hu[distinct[-1]] if distinct else None
        if before is None or not (np.array_equal(before[::8, ::8], hu[z, ::8, ::8]) and np.array_equal(before, hu[z])):
            distinct.append(int(z))
        nearest[z] = len(distinct) - 1
    for z in np.nonzero(~filled)[0]:
        if distinct:
            nearest[z] = np.abs(np.array(distinct) - z).argmin()
    return np.array(distinct, np.intp), nearest
