"""How much of the noise was taken, by place: one share for a series says little when it is 86 % here and 18 % there."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .flat import FlatRegions
from .masks import sample_slices

__all__ = ["ShareTaken"]

Float32 = NDArray[np.float32]
Float64 = NDArray[np.float64]

_SIDE, _SMALL_SIDE, _SMALL = 16, 8, 384  # pixels of a region; the smaller where slices are smaller than this
_CELLS = 8  # of the map, along the longer side of a slice, unless they were
_NARROWEST = 3  # narrower than so many regions
_THIRDS = 3
_FLATTEST = 1 / 3  # of the regions of a cell
_RINGS = 4
_COARSE = 2.0  # times the grain of the series' finest regions: a coarser region holds anatomy
_FINEST = 0.1  # of all regions
_FEWEST = 12  # regions that tell a share
_NOTHING_HU = 0.5  # SD in a region: less is no noise
_TAIL = 0.05  # of all regions, left out at both ends of the spread


@dataclass(frozen=True, eq=False)
class ShareTaken:
    """Share of the noise's SD that was taken, by place, in flat regions of soft tissue and fat.

    Attributes
    ----------
    cells : ndarray of shape (3, rows, columns), float64
        By third of the slices and by square cell of the slice; NaN where there is too little that is flat.
    low, high : float or None
        The lowest and the highest share: of all rings, thirds and tissues, and of the cells but for those with the
        5 % of the regions at either end.
    untouched : float or None
        Share of the regions that lie in cells with less than half of the median cell's share.
    rings, thirds : tuple of float or None
        By distance from the centre of the slice, in quarters of the way to the furthest region; by third of the slices.
    tissues : dict of str to float or None
        soft, fat.
    """

    cells: Float64
    low: float | None
    high: float | None
    untouched: float | None
    rings: tuple[float | None, ...]
    thirds: tuple[float | None, ...]
    tissues: dict[str, float | None]

    @classmethod
    def of(cls, before: Float32, after: Float32, masks: Mapping[str, NDArray[np.bool_]]) -> ShareTaken:
        """Measure it.

        Parameters
        ----------
        before, after : ndarray of shape (z, y, x), float32, HU
        masks : mapping of str to ndarray of shape (z, y, x), bool
            Tissues to measure in, chosen before anything was done to them.
        """
        corners, tissue, side = _regions(before, masks)
        counts, place = _cells(before.shape, corners, side)
        regions = FlatRegions(corners, side)
        was, became = (regions.variances(hu) for hu in (before, after))
        noisy = np.flatnonzero(was > _NOTHING_HU**2)
        grain = was[noisy] / _fine_variances(regions.pieces(before)[noisy])
        usable = noisy[grain < _COARSE * np.quantile(grain, _FINEST)] if noisy.size else noisy
        # With more left than was left nearby, a region holds anatomy, too.
        flat = usable[_flattest(became[usable], place[usable])]
        was, became = was[flat], became[flat]
        place, tissue = place[flat], tissue[flat]
        y, x = (corners[flat, axis] + side / 2 - before.shape[axis] / 2 for axis in (1, 2))
        distance = np.hypot(y, x)
        ring = np.minimum((_RINGS * distance / max(distance.max(initial=0.0), 1.0)).astype(np.intp), _RINGS - 1)
        third = np.unravel_index(place, counts)[0]

        def by(label: NDArray[np.intp], count: int) -> Float64:
            return np.array([_share(was[label == n], became[label == n]) for n in range(count)])

        cells = by(place, int(np.prod(counts)))
        told = cells[place]
        told = np.sort(told[np.isfinite(told)])
        middle = _maybe(float(np.median(told))) if told.size else None
        low, high = told[[int(_TAIL * told.size), -1 - int(_TAIL * told.size)]] if told.size else (np.nan, np.nan)
        rings, thirds, tissues = by(ring, _RINGS), by(third, _THIRDS), by(tissue, len(masks))
        ends = np.array([low, high, *rings, *thirds, *tissues])
        ends = ends[np.isfinite(ends)] if told.size else ends[:0]
        return cls(
            cells.reshape(counts),
            float(ends.min()) if ends.size else None,
            float(ends.max()) if ends.size else None,
            None if middle is None else float(np.mean(told < middle / 2)),
            tuple(_maybe(share) for share in rings),
            tuple(_maybe(share) for share in thirds),
            {name: _maybe(share) for name, share in zip(masks, tissues, strict=True)},
        )


def _regions(hu: Float32, masks: Mapping[str, NDArray[np.bool_]]) -> tuple[NDArray[np.intp], NDArray[np.intp], int]:
    """Return regions inside tissues: corners of shape (n, 3), the number of the tissue (n,), and the side in pixels."""
    levels = sample_slices(len(hu))
    side = min(_SMALL_SIDE if max(hu.shape[1:]) < _SMALL else _SIDE, *hu.shape[1:])
    found = [
        (FlatRegions.inside(mask[z], int(z), side).corners, number)
        for number, mask in enumerate(masks.values())
        for z in levels
    ]
    corners = np.concatenate([np.empty((0, 3), np.intp), *(corners for corners, _ in found)])
    tissue = np.concatenate([np.empty(0, np.intp), *(np.full(len(corners), number) for corners, number in found)])
    return corners, tissue, side


def _cells(
    shape: tuple[int, ...], corners: NDArray[np.intp], side: int
) -> tuple[tuple[int, int, int], NDArray[np.intp]]:
    """Return how many cells the map has, and the number of the cell that each region's middle lies in."""
    cell = max(-(-max(shape[1:]) // _CELLS), _NARROWEST * side)
    counts = (_THIRDS, -(-shape[1] // cell), -(-shape[2] // cell))
    third = np.minimum(corners[:, 0] * _THIRDS // max(shape[0], 1), _THIRDS - 1)
    y, x = ((corners[:, axis] + side // 2) // cell for axis in (1, 2))
    return counts, np.ravel_multi_index((third, y, x), counts)


def _fine_variances(pieces: Float64) -> Float64:
    """Return the mean square of regions' diagonal differences (n, side, side), HU^2: anatomy has little of them.

    What lies in the slices next to a region says nothing about it where slices are thick.
    """
    fine = np.mean(np.diff(np.diff(pieces, axis=1), axis=2) ** 2, axis=(1, 2))
    floored: Float64 = np.maximum(fine, np.finfo(np.float64).tiny)
    return floored


def _flattest(unevenness: Float64, place: NDArray[np.intp]) -> NDArray[np.intp]:
    """Return the indices of the flattest regions of each cell."""
    order = np.lexsort((unevenness, place))
    first = np.searchsorted(place[order], place[order])
    count = np.searchsorted(place[order], place[order], side="right") - first
    return order[np.arange(len(order)) - first < _FLATTEST * count]


def _share(was: Float64, became: Float64) -> float:
    return 1 - float(np.sqrt(np.median(became) / np.median(was))) if len(was) >= _FEWEST else np.nan


def _maybe(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None
