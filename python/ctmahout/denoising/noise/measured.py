"""Measured part of a volume: a volume goes in, the same without padding, constant regions, empty and repeated slices.

Methods work on the measured part, and `MeasuredPart.expand` puts their result back into the full volume.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ...quality.constant import constant_regions
from ...volume import Volume
from .distinct import EMPTY_FRACTION, distinct_slices

__all__ = ["MeasuredPart"]

Float32 = NDArray[np.float32]

_AIR_HU = -1000.0
_CLIPPED_AIR_HU = 100.0  # a constant this close to air is air that was clipped, and stays as it is
_MAX_RUNS = 8  # of slice numbers in a note


@dataclass(frozen=True, eq=False)
class MeasuredPart:
    """The measured part of a volume of z slices, as n slices without repetition.

    Attributes
    ----------
    hu : ndarray of shape (n, y, x), float32, HU
        The slices, with air in place of unmeasured voxels.
    unmeasured : ndarray of shape (z, y, x), bool, or None
        Padding and constant regions of the full volume; None if there are none.
    slices : ndarray of shape (n,), int
        Indices of the n slices in the full volume; all slices if fewer than two hold a measurement.
    nearest : ndarray of shape (z,), int
        For each slice of the full volume, the index of the equal one among the n or, if it is empty, of the nearest.
    """

    hu: Float32
    unmeasured: NDArray[np.bool_] | None
    slices: NDArray[np.intp]
    nearest: NDArray[np.intp]

    @classmethod
    def of(cls, volume: Volume) -> MeasuredPart:
        """Return the measured part of a volume."""
        hu, mask = volume.hu, constant_regions(volume.hu)
        if volume.padding is not None:
            mask |= volume.padding
        unmeasured = mask if mask.any() else None
        slices, nearest = distinct_slices(hu, mask)
        if len(slices) < 2:
            slices = nearest = np.arange(len(hu))
        if len(slices) < len(hu):
            hu = hu[slices]
        if unmeasured is not None:
            replaced = unmeasured[slices] & (np.abs(hu - np.float32(_AIR_HU)) > _CLIPPED_AIR_HU)
            if replaced.any():
                hu = np.where(replaced, np.float32(_AIR_HU), hu)
        return cls(hu, unmeasured, slices, nearest)

    @property
    def unmeasured_in_part(self) -> NDArray[np.bool_] | None:
        """`unmeasured` of the slices of `hu`, of shape (n, y, x)."""
        return None if self.unmeasured is None else self.unmeasured[self.slices]

    def expand(self, result: Float32, fill: Float32) -> Float32:
        """Return a result for `hu` as one for the full volume.

        Parameters
        ----------
        result : ndarray of shape (n, y, x), float32
        fill : ndarray of shape (z, y, x), float32
            Values of unmeasured voxels.

        Returns
        -------
        ndarray of shape (z, y, x), float32
        """
        if len(result) < len(self.nearest):
            result = result[self.nearest]
        return result if self.unmeasured is None else np.where(self.unmeasured, fill, result)

    def notes(self) -> tuple[str, ...]:
        """Return a sentence for users about empty slices, and one about repeated slices, if there are any."""
        if len(self.slices) == len(self.nearest):
            return ()
        dropped = np.ones(len(self.nearest), np.bool_)
        dropped[self.slices] = False
        empty = np.zeros_like(dropped)
        if self.unmeasured is not None:
            empty = dropped & (self.unmeasured.mean(axis=(1, 2)) >= EMPTY_FRACTION)
        causes = (("Unchanged, of one value", empty), ("The same as before", dropped & ~empty))
        return tuple(f"{cause}: {_slice_numbers(mask)}." for cause, mask in causes if mask.any())


def _slice_numbers(mask: NDArray[np.bool_]) -> str:
    """Return the numbers of slices, from 1, for users: "slices 1 to 3, 7"."""
    edges = np.nonzero(np.diff(np.concatenate([[False], mask, [False]]).astype(np.int8)))[0].reshape(-1, 2)
    runs = [f"{a + 1}" if b == a + 1 else f"{a + 1} to {b}" for a, b in edges]
    noun = "slice" if mask.sum() == 1 else "slices"
    more = f" and {mask[edges[_MAX_RUNS][0] :].sum()} more" if len(runs) > _MAX_RUNS else ""
    return f"{noun} " + ", ".join(runs[:_MAX_RUNS]) + more
