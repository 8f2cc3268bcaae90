"""The measured part of a volume: all but padding, regions of one value, empty slices and slices that are doubled."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ...quality.constant import constant_regions
from ...volume import Volume
from .distinct import EMPTY, distinct_slices

__all__ = ["MeasuredPart"]

Float32 = NDArray[np.float32]

_AIR_HU = -1000.0
_LIKE_AIR_HU = 100.0  # a constant that is as near to air is air that was clipped


@dataclass(frozen=True, eq=False)
class MeasuredPart:
    """The measured part of a volume, as a volume of its own.

    Attributes
    ----------
    hu : ndarray of shape (n, y, x), float32, HU
        Its slices, with air where nothing was measured.
    unchanged : ndarray of shape (z, y, x), bool, or None
        Of the whole volume: where nothing was measured. None: nowhere.
    slices : ndarray of shape (n,), int
        Which slices of the whole volume these are; all of them if fewer than two hold a measurement.
    nearest : ndarray of shape (z,), int
        For each slice of the whole volume the one of these that is the same, or the nearest if it is empty.
    """

    hu: Float32
    unchanged: NDArray[np.bool_] | None
    slices: NDArray[np.intp]
    nearest: NDArray[np.intp]

    @classmethod
    def of(cls, volume: Volume) -> MeasuredPart:
        """Find it in a volume."""
        hu, empty = volume.hu, constant_regions(volume.hu)
        if volume.padding is not None:
            empty |= volume.padding
        unchanged = empty if empty.any() else None
        slices, nearest = distinct_slices(hu, empty)
        if len(slices) < 2:
            slices = nearest = np.arange(len(hu))
        if len(slices) < len(hu):
            hu = hu[slices]
        if unchanged is not None:
            filled = unchanged[slices] & (np.abs(hu - np.float32(_AIR_HU)) > _LIKE_AIR_HU)
            if filled.any():
                hu = np.where(filled, np.float32(_AIR_HU), hu)
        return cls(hu, unchanged, slices, nearest)

    @property
    def unchanged_here(self) -> NDArray[np.bool_] | None:
        """`unchanged` of the slices of `hu`."""
        return None if self.unchanged is None else self.unchanged[self.slices]

    def whole(self, found: Float32, elsewhere: Float32) -> Float32:
        """Return a result for `hu` as one for the whole volume.

        Parameters
        ----------
        found : ndarray of shape (n, y, x), float32
        elsewhere : ndarray of shape (z, y, x), float32
            What is where nothing was measured.
        """
        if len(found) < len(self.nearest):
            found = found[self.nearest]
        return found if self.unchanged is None else np.where(self.unchanged, elsewhere, found)

    def left_out(self) -> tuple[str, ...]:
        """Tell which slices are left as they are or were the same as others, for people."""
        if len(self.slices) == len(self.nearest):
            return ()
        left = np.ones(len(self.nearest), np.bool_)
        left[self.slices] = False
        empty = np.zeros_like(left) if self.unchanged is None else left & (self.unchanged.mean(axis=(1, 2)) >= EMPTY)
        twins = left & ~empty
        told = ((empty, "Unchanged, of one value"), (twins, "The same as before"))
        return tuple(f"{what}: {_numbered(which)}." for which, what in told if which.any())


def _numbered(which: NDArray[np.bool_]) -> str:
    """Return numbers of slices from 1 for people: "slices 1 to 3, 7"."""
    edges = np.nonzero(np.diff(np.concatenate([[False], which, [False]]).astype(np.int8)))[0].reshape(-1, 2)
    runs = [f"{a + 1}" if b == a + 1 else f"{a + 1} to {b}" for a, b in edges]
    noun = "slice" if which.sum() == 1 else "slices"
    return f"{noun} " + ", ".join(runs[:8]) + (f" and {which[edges[8][0] :].sum()} more" if len(runs) > 8 else "")
