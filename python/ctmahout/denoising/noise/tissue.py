"""Where noise can be measured: from a volume in HU, a mask of soft tissue and fat, or of a substitute."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from .grid import block_mean

__all__ = ["Tissue", "sampled_slices"]

_MAX_SLICES = 64  # sampled
_MIN_FRACTION = 1e-3  # of a slice that a tissue must fill
# Mean difference of cells from the next slice; above it their own noise moves them out of a tissue's range.
_NOISY_HU = 80.0
_SMOOTHING_CELLS, _SMOOTHING_SLICES = 2.0, 0.7  # SD of the Gaussian that such cells are smoothed with
_CLIP_HU = np.float32(-400.0), np.float32(450.0)
_MAX_CONSTANT = 0.02  # fraction of a cell
# In order of preference. The lung differs from slice to slice by its vessels and bone by its edges, so they come last.
_TISSUES = {"soft tissue": (-150.0, 200.0), "lung": (-960.0, -500.0), "body": (-400.0, np.inf)}


@dataclass(frozen=True)
class Tissue:
    """A mask of tissue on a grid of cells of `side` x `side` pixels.

    Attributes
    ----------
    mask : ndarray of shape (z, ceil(y / side), ceil(x / side)), bool
    side : int
        Pixels.
    name : str
        The tissue of most cells: "soft tissue", which includes fat; "lung" or else "body" from slices without it;
        "image" if the volume has none of these.
    """

    mask: NDArray[np.bool_]
    side: int
    name: str

    @classmethod
    def of(cls, hu: NDArray[np.float32], side: int, constant: NDArray[np.bool_] | None = None) -> Tissue:
        """Segment a volume; cells at the border of a tissue and cells with constant pixels are excluded.

        Parameters
        ----------
        hu : ndarray of shape (z, y, x), float32, HU
        side : int
            Pixels of a cell.
        constant : ndarray of shape (z, y, x), bool, optional
            See `constant_regions`.
        """
        means = _denoised_cells(block_mean(hu, side))
        usable = np.ones(means.shape, np.bool_)
        if constant is not None:
            usable = block_mean(constant.view(np.uint8), side) < _MAX_CONSTANT
        square = np.ones((1, 3, 3))
        mask, sizes = np.zeros(means.shape, np.bool_), {}
        for name, (low, high) in _TISSUES.items():
            empty = mask.mean(axis=(1, 2)) <= _MIN_FRACTION
            tissue = ndimage.binary_erosion((means > low) & (means < high) & usable, square, border_value=1)
            tissue &= empty[:, None, None]
            mask |= tissue
            sizes[name] = int(tissue.sum())
        if mask.mean() > _MIN_FRACTION:
            return cls(mask, side, max(sizes, key=lambda name: sizes[name]))
        return cls(ndimage.binary_erosion(usable, square, border_value=1), side, "image")

    def pixel_mask(self, z: int, shape: tuple[int, ...]) -> NDArray[np.bool_]:
        """Return the mask of slice z in pixels, of shape (y, x), for a volume of shape (z, y, x)."""
        fine: NDArray[np.bool_] = self.mask[z].repeat(self.side, axis=0).repeat(self.side, axis=1)
        return fine[: shape[1], : shape[2]]


def _denoised_cells(means: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the means over cells, smoothed where their noise alone would move them out of a tissue's range."""
    difference = np.abs(np.diff(means, axis=0, prepend=means[1:2], append=means[-2:-1]))
    noise = np.minimum(difference[:-1], difference[1:])
    noisy = ndimage.gaussian_filter(noise, (0, _SMOOTHING_CELLS, _SMOOTHING_CELLS)) > _NOISY_HU
    if not noisy.any():
        return means
    # Without clipping, a border to air or bone would reach far into the tissue.
    smoothing = (_SMOOTHING_SLICES, _SMOOTHING_CELLS, _SMOOTHING_CELLS)
    smooth = ndimage.gaussian_filter(np.clip(means, *_CLIP_HU), smoothing)
    return np.where(noisy, smooth, means)


def sampled_slices(count: int) -> NDArray[np.int64]:
    """Return the indices of at most 64 of `count` slices, ascending; inner ones, which have two neighbours."""
    ends = min(1, max(count - 2, 0)), max(count - 2, min(1, count - 1))
    return np.unique(np.linspace(*ends, min(count, _MAX_SLICES)).round().astype(np.int64))
