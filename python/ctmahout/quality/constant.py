"""Regions of one value: masks, the fill of a rotation, blanked rows, empty slices. They hold no measurement.

No pixel of a measured image has the value of all its neighbours, so squares of one value are told by that alone,
whatever the value, and wherever they lie.
"""

from __future__ import annotations

import numba
import numpy as np
from numpy.typing import NDArray

__all__ = ["constant_regions"]

_EQUAL_HU = 0.01  # what differs by less is the same value
_SIDE = 5  # pixels: the smallest square of one value that counts


def constant_regions(hu: NDArray[np.float32], grown: int = 0) -> NDArray[np.bool_]:
    """Find the voxels that lie in a square of 5 x 5 pixels of one value, within 0.01 HU, in their slice.

    Parameters
    ----------
    hu : ndarray of shape (z, y, x), float32, HU
        Where slices are smaller than that, squares are, too.
    grown : int
        Pixels around the squares, within slices, that are found as well.

    Returns
    -------
    ndarray of shape (z, y, x), bool
    """
    found = np.zeros(hu.shape, np.bool_)
    side = min(_SIDE, *hu.shape[1:])
    for image, mask in zip(hu, found, strict=True):
        _mark(image, np.float32(_EQUAL_HU), side, grown, mask)
    return found


@numba.njit(cache=True, nogil=True)
def _mark(image, equal, side, reach, mask):  # type: ignore[no-untyped-def]
    """Mark squares of side x side equal pixels, and `reach` pixels around them.

    The largest square that ends at a pixel is one larger than the smallest that ends at its three neighbours before it.
    """
    rows, columns = image.shape
    above, here = np.zeros(columns + 1, np.int32), np.zeros(columns + 1, np.int32)
    for j in range(rows):
        until = 0  # columns before it are marked already
        for i in range(columns):
            value = image[j, i]
            size = 1
            if (
                j > 0
                and i > 0
                and abs(value - image[j, i - 1]) <= equal
                and abs(value - image[j - 1, i]) <= equal
                and abs(value - image[j - 1, i - 1]) <= equal
            ):
                size = 1 + min(above[i], above[i + 1], here[i])
            here[i + 1] = size
            if size >= side:
                first, last = max(0, i - side + 1 - reach), min(columns, i + 1 + reach)
                # Where a square ended one row above, too, only one row is new.
                top = j + reach if above[i + 1] >= side else max(0, j - side + 1 - reach)
                for y in range(top, min(rows, j + 1 + reach)):
                    for x in range(max(first, until), last):
                        mask[y, x] = True
                until = last
        above, here = here, above
