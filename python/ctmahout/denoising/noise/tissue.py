"""Where in a volume noise can be measured: soft tissue and fat, and what stands in for them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from .grid import block_mean

__all__ = ["Tissue", "sampled_slices"]

_SLICES = 64  # at most so many slices are looked at
_FILLED = 1e-3  # share of a slice that is enough
_NOISY_HU = 80.0  # mean difference of cells from the next slice: with more they are smoothed
_AROUND, _ALONG = 2.0, 0.7  # SD of the kernel in cells and in slices
_CLIPPED = np.float32(-400.0), np.float32(450.0)
_CONSTANT = 0.02  # share of a cell that may be constant
# In this order. Lung differs from slice to slice by its vessels, bone by its edges, so they are the last resort.
_TISSUES = {"soft tissue": (-150.0, 200.0), "lung": (-960.0, -500.0), "body": (-400.0, np.inf)}


@dataclass(frozen=True)
class Tissue:
    """A mask on a grid of `side` x `side` pixels.

    Attributes
    ----------
    mask : ndarray of shape (z, ceil(y / side), ceil(x / side)), bool
    side : int
    name : str
        Of most of it: "soft tissue" with fat; in slices that have none "lung", or else "body"; "image" where a volume
        has none of these.
    """

    mask: NDArray[np.bool_]
    side: int
    name: str

    @classmethod
    def of(cls, hu: NDArray[np.float32], side: int, constant: NDArray[np.bool_] | None = None) -> Tissue:
        """Find tissue, less its border of one cell and less what is constant."""
        means = _despeckled(block_mean(hu, side))
        free = np.ones(means.shape, np.bool_)
        if constant is not None:
            free = block_mean(constant.view(np.uint8), side) < _CONSTANT
        inner = np.ones((1, 3, 3))
        mask, sizes = np.zeros(means.shape, np.bool_), {}
        for name, (low, high) in _TISSUES.items():
            empty = mask.mean(axis=(1, 2)) <= _FILLED
            found = ndimage.binary_erosion((means > low) & (means < high) & free, inner, border_value=1)
            found &= empty[:, None, None]
            mask |= found
            sizes[name] = int(found.sum())
        if mask.mean() > _FILLED:
            return cls(mask, side, max(sizes, key=lambda name: sizes[name]))
        return cls(ndimage.binary_erosion(free, inner, border_value=1), side, "image")

    def pixels(self, z: int, shape: tuple[int, ...]) -> NDArray[np.bool_]:
        """Return the mask of slice z of a volume of this shape."""
        fine: NDArray[np.bool_] = self.mask[z].repeat(self.side, axis=0).repeat(self.side, axis=1)
        return fine[: shape[1], : shape[2]]


def _despeckled(means: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return means over cells, smoothed where their noise alone would carry them out of a tissue's range."""
    difference = np.abs(np.diff(means, axis=0, prepend=means[1:2], append=means[-2:-1]))
    noise = np.minimum(difference[:-1], difference[1:])
    noisy = ndimage.gaussian_filter(noise, (0, _AROUND, _AROUND)) > _NOISY_HU
    if not noisy.any():
        return means
    # Clipped, or a border to air or bone would reach far into the tissue.
    smooth = ndimage.gaussian_filter(np.clip(means, *_CLIPPED), (_ALONG, _AROUND, _AROUND))
    return np.where(noisy, smooth, means)


def sampled_slices(count: int) -> NDArray[np.int64]:
    """Return the slices to measure in: inner ones, for they have two neighbours."""
    ends = min(1, max(count - 2, 0)), max(count - 2, min(1, count - 1))
    return np.unique(np.linspace(*ends, min(count, _SLICES)).round().astype(np.int64))
