"""Sums over tiles of a volume, and the standard errors of ratios of such sums.

Noise is correlated over a few pixels, so voxels are not independent; tiles of 16 x 16 pixels and more nearly are.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["TILE", "ratio_and_error", "tile_sums"]

Float64 = NDArray[np.float64]

TILE = 16  # pixels


def tile_sums(values: NDArray[np.floating], side: int = TILE) -> Float64:
    """Return sums of (..., y, x) over squares of `side` pixels, of shape (..., rows, columns), narrower at the end."""
    rows, columns = (np.arange(0, n, side) for n in values.shape[-2:])
    down = np.add.reduceat(values, rows, axis=-2, dtype=np.float64)
    sums: Float64 = np.add.reduceat(down, columns, axis=-1)
    return sums


def ratio_and_error(above: Float64, below: Float64) -> tuple[float, float]:
    """Return sum(above) / sum(below) over independent tiles, and its standard error; NaN without a denominator.

    The error is that of Cochran 1977, Sampling Techniques, eq. 6.4.
    """
    above, below = above.ravel(), below.ravel()
    total, count = float(below.sum()), np.count_nonzero(below)
    if total == 0 or count < 2:
        return (float(above.sum()) / total if total else np.nan), np.nan
    ratio = float(above.sum()) / total
    spread = float(np.sum((above - ratio * below) ** 2)) * count / (count - 1)
    return ratio, float(np.sqrt(spread)) / abs(total)
