"""The means of tissues: what a denoiser takes away must have none.

Patches lie on their group's mean a little too closely, so on very noisy series a tissue's mean may move by some HU.
The residual, averaged over a centimetre of one tissue, holds hardly any noise, for that of filtered back-projection has
next to no low frequencies; so that average is added back.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from ...quality import TISSUES
from ..noise.grid import block_mean, upsample

__all__ = ["restore_means"]

Float32 = NDArray[np.float32]

# The tissues that the report measures, fat, and what lies between; lung and fat meet at -300 HU.
_BORDERS_HU = sorted({-300.0, *(float(hu) for ends in TISSUES.values() for hu in ends if np.isfinite(hu))})
_CELL = 4  # pixels
_SPREAD = (1.0, 1.5, 1.5)  # slices and cells: SD of the Gaussian that averages
_SLAB = 16  # slices held at a time
_LEAST = 0.005  # share of a cell: less of a tissue has no mean of its own
_ROUNDS = 2  # an average over a centimetre is too low where most is missing: the second time finds what is left


def restore_means(before: Float32, after: Float32) -> None:
    """Give back, in place, what is missing of each tissue's mean.

    Parameters
    ----------
    before, after : ndarray of shape (z, y, x), float32, HU
        A volume and its estimate; tissues are those of the latter.
    """
    for _ in range(_ROUNDS):
        _give_back(before, after)


def _give_back(before: Float32, after: Float32) -> None:
    slabs = [slice(start, start + _SLAB) for start in range(0, len(before), _SLAB)]
    shifts: list[list[tuple[Float32, Float32]]] = [[] for _ in range(len(_BORDERS_HU) + 1)]
    for slab in slabs:
        tissues, residual = np.digitize(after[slab], _BORDERS_HU), before[slab] - after[slab]
        for tissue, parts in enumerate(shifts):
            mask = (tissues == tissue).astype(np.float32)
            parts.append((block_mean(residual * mask, _CELL), block_mean(mask, _CELL)))
    lows = []
    for parts in shifts:
        total, count = (ndimage.gaussian_filter(np.concatenate(part), _SPREAD) for part in zip(*parts, strict=True))
        lows.append(total / (count + np.float32(_LEAST)))
    for slab in slabs:
        tissues = np.digitize(after[slab], _BORDERS_HU)
        for tissue, low in enumerate(lows):
            mask = tissues == tissue
            after[slab][mask] += upsample(low[slab], _CELL, *after.shape[1:])[mask]
