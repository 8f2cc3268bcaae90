"""Flat windows of slices: where there is least anatomy, judged without the noise that is to be measured there."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numba
import numpy as np
from numpy.typing import NDArray

from .grid import at_places
from .tissue import Tissue, sampled_slices

__all__ = ["FlatWindows", "flat_windows"]

_SLICES = 32  # at most so many slices are searched
_SIDE_MM, _SIDES = 16.0, (12, 16)  # of a window; and in pixels, multiples of 4
_SMALLEST, _ENOUGH, _FEWEST = 8, 60, 8  # pixels, where there are not enough windows of that side; and numbers of them
_SMALL = 4  # unevenness is that of the means of so many small squares along a side
_FLATTEST, _LEAST, _MOST = 0.1, 24, 1000  # share that is taken, and numbers
_FARTHEST = 3  # slices that far apart at most
_NEARLY = 1.5  # as flat as the last of them, but for this factor, are taken, too: what is uneven there is noise


@dataclass(frozen=True)
class FlatWindows:
    """Square windows within tissue, the flattest first.

    Attributes
    ----------
    corners : ndarray of shape (n, 3), int
        Slice, first row, first column.
    side : int
        Pixels.
    sd : ndarray of shape (n,), float64
        What the map says there, in its units.
    """

    corners: NDArray[np.intp]
    side: int
    sd: NDArray[np.float64]

    @property
    def middles(self) -> NDArray[np.float64]:
        """Places of shape (n, 3), in voxels."""
        half = (self.side - 1) / 2
        places: NDArray[np.float64] = self.corners + np.array([0.0, half, half])
        return places


def flat_windows(
    hu: NDArray[np.float32],
    tissue: Tissue,
    constant: NDArray[np.bool_],
    log_sd: NDArray[np.float64],
    cell: int,
    pixel_mm: tuple[float, float],
    overlap: float = 0.0,
    *,
    widest: bool = False,
) -> FlatWindows | None:
    """Find the windows that are flattest in the slices before and after theirs, beside the noise that is told there.

    Of slices that overlap those are taken that do not: their noise is not that of the window.

    Parameters
    ----------
    hu : ndarray of shape (z, y, x), float32, HU
    tissue : Tissue
    constant : ndarray of shape (z, y, x), bool
        Where not to measure.
    log_sd : ndarray of shape (z, gy, gx), float64
        Logarithm of the noise's SD on a grid of `cell` x `cell` pixels, right but for a factor.
    cell : int
    pixel_mm : tuple of float, mm
        Distance between rows and between columns.
    overlap : float
        Share of a slice that its neighbour covers, too.
    widest : bool
        Take the widest windows, if there are any, flat or not.

    Returns
    -------
    FlatWindows or None
        None if there are fewer than 8 windows of 8 x 8 pixels.
    """
    away = max(1, min(math.ceil(1 / max(1 - overlap, 0.1) - 1e-6), _FARTHEST, (len(hu) - 1) // 2))
    wanted = int(np.clip(_SMALL * round(_SIDE_MM / max(pixel_mm) / _SMALL), *_SIDES))
    for side in _SIDES[::-1] if widest else (wanted, _SMALLEST):
        if side > min(hu.shape[1:]):
            continue
        corners, uneven = _search(hu, tissue, constant, side, away)
        if len(corners) < _FEWEST:
            continue
        middles = corners + np.array([0.0, (side - 1) / 2, (side - 1) / 2])
        sd = np.exp(at_places(log_sd, middles, cell))
        uneven /= sd**2
        order = np.argsort(uneven, kind="stable")
        flattest = order[: max(_LEAST, round(_FLATTEST * len(corners)))]
        flattest = order[: np.searchsorted(uneven[order], _NEARLY * uneven[flattest[-1]], side="right")]
        if side > _SMALLEST and len(flattest) < (_LEAST if widest else _ENOUGH):
            continue
        flattest = flattest[:: -(-len(flattest) // _MOST)]
        return FlatWindows(corners[flattest], side, sd[flattest])
    return None


def _search(
    hu: NDArray[np.float32], tissue: Tissue, constant: NDArray[np.bool_], side: int, away: int
) -> tuple[NDArray[np.intp], NDArray[np.float64]]:
    """Return all windows within the tissue, half overlapping, and the unevenness of their neighbours, HU^2."""
    ny, nx = hu.shape[1:]
    small = side // _SMALL
    found, uneven = [np.empty((0, 3), np.intp)], [np.empty(0)]
    slices = sampled_slices(len(hu))
    for z in slices[:: -(-len(slices) // _SLICES)]:
        near = [k for k in (z - away, z + away) if 0 <= k < len(hu)]
        usable = tissue.pixels(z, hu.shape) & ~constant[max(0, z - 3) : z + 4].any(axis=0)
        if not usable.any():
            continue
        y, x = np.meshgrid(*(np.arange(0, n - side + 1, side // 2) for n in (ny, nx)), indexing="ij")
        sums = np.pad(np.cumsum(np.cumsum(usable, axis=0, dtype=np.int64), axis=1), ((1, 0), (1, 0)))
        inside = sums[y + side, x + side] - sums[y, x + side] - sums[y + side, x] + sums[y, x] == side * side
        y, x = y[inside], x[inside]
        mean = hu[near].mean(axis=0, dtype=np.float32)
        mean = mean[: ny // small * small, : nx // small * small]
        mean = mean.reshape(ny // small, small, nx // small, small).mean(axis=(1, 3))
        variance = np.empty(y.size)
        _plane_variance(mean, y // small, x // small, _SMALL, variance)
        found.append(np.stack([np.full(y.size, z, np.intp), y, x], axis=1))
        uneven.append(variance)
    return np.concatenate(found), np.concatenate(uneven)


@numba.njit(cache=True, nogil=True)
def _plane_variance(image, rows, columns, side, out):  # type: ignore[no-untyped-def]
    """Variance of windows less their planes, which take three degrees of freedom."""
    across = np.arange(side) - (side - 1) / 2
    square = side * (across * across).sum()
    for q in range(rows.size):
        origin = float(image[rows[q], columns[q]])
        total, squares, down, along = 0.0, 0.0, 0.0, 0.0
        for j in range(side):
            for i in range(side):
                value = image[rows[q] + j, columns[q] + i] - origin
                total += value
                squares += value * value
                down += value * across[j]
                along += value * across[i]
        rest = squares - total * total / (side * side) - (down * down + along * along) / square
        out[q] = max(0.0, rest / (side * side - 3))
