"""Constant regions: from a volume, a mask of voxels without a measurement.

Masks, the fill of a rotation, blanked rows and empty slices are squares of one value. In a measured image no pixel
equals all its neighbours, so this criterion holds for any value at any position.
"""

from __future__ import annotations

import numba
import numpy as np
from numpy.typing import NDArray

__all__ = ["constant_regions"]

_EQUAL_HU = 0.01  # values that differ by less are equal
_SIDE_PX = 5  # side of the smallest square that counts


def constant_regions(hu: NDArray[np.float32], margin: int = 0) -> NDArray[np.bool_]:
    """Return the voxels in squares of 5 x 5 pixels, within a slice, whose values are equal within 0.01 HU.

    Parameters
    ----------
    hu : ndarray of shape (z, y, x), float32, HU
        If slices are smaller than 5 x 5 pixels, so are the squares.
    margin : int
        Pixels around the squares, within the slice, that are included.

    Returns
    -------
    ndarray of shape (z, y, x), bool
    """
    constant = np.zeros(hu.shape, np.bool_)
    side = min(_SIDE_PX, *hu.shape[1:])
    for image, mask in zip(hu, constant, strict=True):
        _mark_squares(image, np.float32(_EQUAL_HU), side, margin, mask)
    return constant


@numba.njit(cache=True, nogil=True)
def _mark_squares(image, tolerance, side, margin, mask):  # type: ignore[no-untyped-def]
    """Mark squares of side x side equal pixels of image [y, x] in `mask`, and `margin` pixels around them.

    By dynamic programming: the largest square that ends at a pixel has one pixel more on a side than the smallest that
    ends at its left, upper and upper left neighbours.
    """
    rows, columns = image.shape
    above, current = np.zeros(columns + 1, np.int32), np.zeros(columns + 1, np.int32)
    for j in range(rows):
        marked = 0  # columns before this one are marked already
        for i in range(columns):
            value = image[j, i]
            size = 1
            if (
                j > 0
                and i > 0
                and abs(value - image[j, i - 1]) <= tolerance
                and abs(value - image[j - 1, i]) <= tolerance
                and abs(value - image[j - 1, i - 1]) <= tolerance
            ):
                size = 1 + min(above[i], above[i + 1], current[i])
            current[i + 1] = size
            if size >= side:
                first, last = max(0, i - side + 1 - margin), min(columns, i + 1 + margin)
                # If a square ended one row above as well, only one row is new.
                top = j + margin if above[i + 1] >= side else max(0, j - side + 1 - margin)
                for y in range(top, min(rows, j + 1 + margin)):
                    for x in range(max(first, marked), last):
                        mask[y, x] = True
                marked = last
        above, current = current, above
