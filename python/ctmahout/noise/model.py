"""The noise of every voxel of a volume, blind: `estimate_noise`."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from ..quality import FlatRegions, sd_of_pieces
from .correlation import REACH, autocovariance_by_direction, measure_correlation
from .grid import block_mean, upsample
from .level import Tissue, fit_level, level_at_points
from .projection import variance_by_direction

__all__ = ["NoiseModel", "estimate_noise"]

_CELLS = 64  # cells of the coarse grid along the longer side of a slice
_NOTHING_HU = 0.02
_TEXTURE_FROM = 0.4  # correlation with the slice after the next, above that of slices that overlap
_TEXTURE_ONLY = 0.85  # share of the variance beside which noise cannot be told
_CEILING, _CEILING_SIDE = 1.2, 16  # SD in flat regions, of so many pixels at least, that the noise stays below


@dataclass(frozen=True, eq=False)
class NoiseModel:
    """Gaussian noise whose SD and direction vary slowly over a volume.

    Attributes
    ----------
    cell : int
        Side in pixels of a cell of the coarse grid.
    log_sd : ndarray of shape (z, gy, gx), float32
        Logarithm of the SD in HU.
    share : ndarray of shape (sectors, z, gy, gx), float32
        Share of the variance by the direction of the rays; sums up to 1.
    autocovariance : ndarray of shape (sectors, 33, 33), float64
        In the slice, of the noise from one direction divided by its SD, over lags of -16 to 16 pixels in y and x.
    along_z : tuple of float
        Correlation with the next slice and the one after.
    info : dict
        How it was measured: JSON values.
    """

    cell: int
    log_sd: NDArray[np.float32]
    share: NDArray[np.float32]
    autocovariance: NDArray[np.float64]
    along_z: tuple[float, float]
    info: dict[str, Any] = field(default_factory=dict)

    def sd(self, start: int, stop: int, rows: int, columns: int) -> NDArray[np.float32]:
        """Return the SD of slices `start` to `stop`, of shape (stop - start, rows, columns), HU."""
        sd: NDArray[np.float32] = np.exp(upsample(self.log_sd[start:stop], self.cell, rows, columns))
        return sd

    def slab(self, start: int, stop: int) -> NoiseModel:
        """Return the noise of slices `start` to `stop`."""
        return replace(self, log_sd=self.log_sd[start:stop], share=self.share[:, start:stop])


def _in_difference(one: float, two: float) -> float:
    """Return the variance of a slice less its neighbours, over 6, where these and those are so much alike."""
    return 1 - 4 / 3 * one + two / 3


def _texture(along_z: tuple[float, float], expected: float) -> float:
    """Return the share of anatomy in the variance, told by its likeness from slice to slice; 0 if it is all noise's.

    Noise is alike in the slice after the next only as far as the two overlap. Anatomy's likeness rho falls off by about
    the same factor with each slice, so a share a of it makes correlations of a rho and a rho^2.
    """
    one, two = along_z
    return one * one / two if two > max(expected, one * one) else 0.0


def ceiling(hu: NDArray[np.float32], tissue: Tissue, log_sd: NDArray[np.float64], cell: int) -> float:
    """Return the factor, at most 1, that brings the SD down to what there is in flat regions of slices.

    Where slices are few and thick, what differs between them is anatomy nearly everywhere; but it is flat somewhere.
    """
    regions = FlatRegions.of(hu, tissue.pixels((hu.shape[0], hu.shape[1], hu.shape[2])))
    if regions is None or regions.side < _CEILING_SIDE:
        return 1.0
    z, y, x = regions.corners.T
    at_y, at_x = (np.minimum((v + regions.side // 2) // cell, log_sd.shape[axis] - 1) for v, axis in ((y, 1), (x, 2)))
    told = np.exp(log_sd[z, at_y, at_x])[:, None, None]
    return min(1.0, _CEILING * sd_of_pieces(regions.pieces(hu) / told))


def estimate_noise(
    hu: NDArray[np.float32], pixel_mm: tuple[float, float], *, overlap: float = 0.0, threads: int = 1, seed: int = 0
) -> NoiseModel | None:
    """Measure the noise of a CT volume in the volume itself.

    The shape of its SD comes from projecting the image again, its level from a low quantile of what differs between
    neighbouring slices in soft tissue, but no more than there is in flat regions of single slices, its correlation from
    the quietest windows.

    Parameters
    ----------
    hu : ndarray of shape (z, y, x), float32, HU
        Two slices at least; nothing outside the image but air.
    pixel_mm : tuple of float, mm
        Distance between rows and between columns.
    overlap : float
        Share of a slice that its neighbour covers, too: noise is alike in slices that overlap.
    threads : int
        The answer does not depend on it.
    seed : int
        Of the choice of places.

    Returns
    -------
    NoiseModel, or None
        None: no noise was found.

    Raises
    ------
    InputError
        CTM_NOISE_UNMEASURABLE: nowhere is there enough image to measure in.
    """
    rng = np.random.default_rng([seed, 1])
    longer = max(hu.shape[1:])
    cell = max(2, 2 * round(longer / _CELLS / 2))
    variance = variance_by_direction(block_mean(hu, cell), (pixel_mm[0] * cell, pixel_mm[1] * cell), threads)
    shape = 0.5 * np.log(variance.sum(axis=0, dtype=np.float64))
    share = ndimage.gaussian_filter(variance, (0, 0.5, 0.5, 0.5))
    share /= share.sum(axis=0)
    tissue = Tissue.of(hu, max(1, cell // 2))
    points, level = level_at_points(hu, tissue, cell, rng)
    if not level.size or np.median(level) < _NOTHING_HU:
        return None
    points, level = points[level > 0], level[level > 0]
    log_sd = fit_level(shape, cell, (hu.shape[0], hu.shape[1], hu.shape[2]), points, level)
    measured = measure_correlation(hu, log_sd, cell, tissue, rng)
    in_difference = float(measured.autocovariance[REACH, REACH])
    expected = max(0.0, 2 * overlap - 1)  # correlation of noise with the slice after the next, as far as these overlap
    one, two = measured.along_z_everywhere
    # So much likeness is not noise's, whether it falls off by a factor or faster.
    if two > expected + _TEXTURE_FROM and one * one > _TEXTURE_ONLY * two:
        return None
    along_z, texture = measured.along_z, _texture(measured.along_z, expected)
    if texture:
        # The likeness is anatomy's: its variance is in the difference, too, times what its own likeness leaves.
        likeness = along_z[1] / along_z[0]
        gain = (1 - texture) / (1 - texture + texture * _in_difference(likeness, likeness**2))
        along_z = (0.0, 0.0)
    else:
        gain = 1 / max(_in_difference(*along_z), 0.05)
    gain *= in_difference
    at = [np.minimum((points[:, axis] / cell).astype(int), log_sd.shape[axis] - 1) for axis in (1, 2)]
    mean_share = share[:, points[:, 0].astype(int), at[0], at[1]].mean(axis=1, dtype=np.float64)
    by_direction = autocovariance_by_direction(measured.autocovariance / in_difference, mean_share)
    log_sd += 0.5 * math.log(gain)
    factor = ceiling(hu, tissue, log_sd, cell)
    log_sd += math.log(factor)
    info = {
        "measured_in": tissue.name,
        "points": int(level.size),
        "windows": measured.windows,
        "measured_along_z": [round(v, 4) for v in measured.along_z],
        "texture": round(texture, 4),
        "plateau": round(measured.plateau, 4),
        "ceiling": round(factor, 4),
        "median_sd_hu": round(float(np.exp(np.median(log_sd[:, at[0], at[1]]))), 3) if level.size else 0.0,
    }
    return NoiseModel(cell, log_sd.astype(np.float32), share.astype(np.float32), by_direction, along_z, info)
