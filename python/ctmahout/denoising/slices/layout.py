"""How a volume becomes a tall matrix, and how factors become a volume again: method ``slices``.

Rows are pixels, columns are slices: the layout that the pipeline of 2020 began with. Every slice's mean is taken off
its column and kept, so the components describe how slices differ. Pixels that are padding in every slice have no row;
a padding voxel elsewhere counts as its slice's mean, so it weighs nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...errors import InputError
from ...volume import Volume

__all__ = ["SlicesLayout"]

# Pixels handled at a time: 65,536 x 300 slices in float64 are 157 MB.
_BLOCK = 1 << 16


@dataclass(frozen=True)
class SlicesLayout:
    """What turns a volume into its matrix A of shape (m, n) and back.

    Attributes
    ----------
    shape : tuple of int
        Shape (z, y, x) of the volume; n = z.
    pixels : ndarray of shape (m,), int64
        The pixels y * columns + x that have a row, ascending.
    means_hu : ndarray of shape (z,), float64, HU
        What was taken off each column.
    """

    shape: tuple[int, int, int]
    pixels: NDArray[np.int64]
    means_hu: NDArray[np.float64]

    @classmethod
    def of(cls, volume: Volume) -> SlicesLayout:
        """Measure the layout of a volume.

        Raises
        ------
        InputError
            CTM_INPUT_TOO_SMALL: fewer than two slices, or fewer pixels than slices.
        """
        z, y, x = volume.shape
        flat = volume.hu.reshape(z, -1)
        if volume.padding is None:
            pixels = np.arange(y * x)
            means = flat.mean(axis=1, dtype=np.float64)
        else:
            valid = ~volume.padding.reshape(z, -1)
            pixels = np.flatnonzero(valid.any(axis=0))
            counts = np.maximum(valid.sum(axis=1), 1)
            means = np.array([row[ok].sum(dtype=np.float64) for row, ok in zip(flat, valid, strict=True)]) / counts
        if z < 2 or pixels.size < z:
            raise InputError(
                "CTM_INPUT_TOO_SMALL",
                path="The series",
                given=f"{z} slices with {pixels.size} pixels of image",
                expected="at least 2 slices, and more pixels than slices",
            )
        return cls((z, y, x), pixels.astype(np.int64), means)

    @property
    def rows(self) -> int:
        """m, the pixels that have a row."""
        return self.pixels.size

    @property
    def columns(self) -> int:
        """n, the slices."""
        return self.shape[0]

    def blocks(self, volume: Volume) -> Iterator[tuple[NDArray[np.int64], NDArray[np.float32]]]:
        """Yield the matrix as (row numbers, block of rows), the block of shape (rows, n), float32, HU."""
        for start in range(0, self.rows, _BLOCK):
            columns = self._centred(volume, self.pixels[start : start + _BLOCK])
            yield np.arange(start, start + columns.shape[1]), np.ascontiguousarray(columns.T)

    def _centred(self, volume: Volume, pixels: NDArray[np.int64]) -> NDArray[np.float32]:
        z = self.columns
        block = volume.hu.reshape(z, -1)[:, pixels] - self.means_hu[:, None]
        if volume.padding is not None:
            block[volume.padding.reshape(z, -1)[:, pixels]] = 0.0
        return block.astype(np.float32)

    def reconstruct(
        self, volume: Volume, v: NDArray[np.float64], weights: NDArray[np.float64], *, centred: bool = False
    ) -> Volume:
        """Return the volume whose matrix is A V diag(weights) V', the rank reduced A.

        Since U diag(s) V' = A V V', the tall factor U is never needed. Factors of A - 1 mu' give
        1 mu' + (A - 1 mu') V diag(weights) V'. Padding stays as it is.

        Parameters
        ----------
        volume : Volume
            The volume the matrix was made of.
        v : ndarray of shape (n, k), float64
        weights : ndarray of shape (k,), float64
            What is kept of each component: 1 all, 0 nothing.
        centred : bool
            Whether `v` is of A less the means mu of its columns.
        """
        z = self.columns
        projector = (v * weights) @ v.T
        # What the projector would take of the mean is added back: mu - P mu. The slices' means are off A already, so
        # mu is their rounding; but V is of the matrix that was written, whatever its means are.
        mean = self._column_means(volume) if centred else np.zeros(z)
        offset = self.means_hu + mean - projector @ mean
        out = np.array(volume.hu)
        flat = out.reshape(z, -1)
        for start in range(0, self.rows, _BLOCK):
            pixels = self.pixels[start : start + _BLOCK]
            a = self._centred(volume, pixels).astype(np.float64)
            flat[:, pixels] = projector @ a + offset[:, None]
        if volume.padding is not None:
            out[volume.padding] = volume.hu[volume.padding]
        return volume.with_hu(out)

    def _column_means(self, volume: Volume) -> NDArray[np.float64]:
        """Return the means of A's columns."""
        sums = np.zeros(self.columns)
        for _, block in self.blocks(volume):
            sums += block.sum(axis=0, dtype=np.float64)
        return sums / self.rows

    def to_dict(self) -> dict[str, Any]:
        """Return what the manifest keeps of the layout; the pixels follow from the series."""
        return {
            "method": "slices",
            "rows_are": "pixels",
            "columns_are": "slices",
            "shape": list(self.shape),
            "column_means_hu": self.means_hu.tolist(),
        }
