"""Blind noise model: a CT volume in HU goes in, the SD and the correlation of every voxel's noise come out.

`estimate_noise` takes the SD as the product of three factors: the shape that filtered back-projection gives it
(`projection`), a smooth field for what that shape lacks, such as the bow-tie filter (`level`, `field`), and one level
for the volume, measured in flat windows together with the correlation (`flat`, `correlation`). See docs/adr/0022.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from ...quality.constant import constant_regions
from .correlation import autocovariance_by_direction, measure_correlation
from .distinct import distinct_slices
from .field import fit_field
from .flat import SMALLEST_PX, flat_windows
from .grid import block_mean, interpolate, upsample
from .level import LocalSigma, measure_local_sigma
from .projection import variance_by_direction
from .tissue import Tissue

__all__ = ["NoiseModel", "Unmeasurable", "estimate_noise"]

_CELLS = 64  # of the coarse grid, along the longer side of a slice
_MIN_SIGMA_HU = 0.02  # below it there is no noise
_MIN_HU, _MAX_HU = -32768.0, 65535.0  # no CT value lies beyond
_WIDE_PX = 16  # side of windows that hold the full autocovariance
_MUCH_TEXTURE = 0.15  # fraction of anatomy in windows above which smaller ones are preferred
_EXCESS_CORRELATION = 0.15  # with the next slice, beyond that of overlap
_INTERPOLATION_PX = 3  # to which interpolation carries a constant into its neighbourhood
_AIR_HU, _METAL_HU = -1000.0, 3000.0
_SUPPORT_CELLS = 1.5  # SD of the neighbourhood in which tissue supports the field, ...
_HALF_SUPPORT = 0.05  # ... and the fraction of tissue at which the fine and the coarse field weigh the same


@dataclass(frozen=True, eq=False)
class NoiseModel:
    """Gaussian noise whose SD and direction vary slowly over a volume.

    Attributes
    ----------
    cell : int
        Side of a cell of the coarse grid, pixels.
    log_sigma : ndarray of shape (z, gy, gx), float32
        Logarithm of the SD in HU.
    sector_share : ndarray of shape (sectors, z, gy, gx), float32
        Share of the variance by the direction of the rays, with the sum 1.
    autocovariance : ndarray of shape (sectors, 33, 33), float64
        Within the slice, of the noise from one direction over its SD, over lags of -16 to 16 pixels in y and x.
    z_correlation : tuple of float
        Correlation with the next slice and the one after.
    info : dict
        How the noise was measured: JSON values.
    """

    cell: int
    log_sigma: NDArray[np.float32]
    sector_share: NDArray[np.float32]
    autocovariance: NDArray[np.float64]
    z_correlation: tuple[float, float]
    info: dict[str, Any] = field(default_factory=dict)

    def sigma_hu(self, start: int, stop: int, rows: int, columns: int) -> NDArray[np.float32]:
        """Return the SD of slices `start` to `stop`, of shape (stop - start, rows, columns), float32, HU."""
        sigma: NDArray[np.float32] = np.exp(upsample(self.log_sigma[start:stop], self.cell, rows, columns))
        return sigma

    def slab(self, start: int, stop: int) -> NoiseModel:
        """Return the model of slices `start` to `stop`."""
        return replace(self, log_sigma=self.log_sigma[start:stop], sector_share=self.sector_share[:, start:stop])


@dataclass(frozen=True)
class Unmeasurable:
    """The volume holds an image, but not enough of it to measure noise.

    Attributes
    ----------
    reason : str
        End of a sentence: "fewer than two slices hold ...".
    """

    reason: str


def estimate_noise(
    hu: NDArray[np.float32], pixel_mm: tuple[float, float], *, overlap: float = 0.0, threads: int = 1
) -> NoiseModel | Unmeasurable | None:
    """Estimate the noise of a CT volume from the volume itself.

    Constant regions, empty slices and repeated slices are excluded from all measurements.

    Parameters
    ----------
    hu : ndarray of shape (z, y, x), float32, HU
        Finite, two slices or more; outside the image nothing but air or another constant.
    pixel_mm : tuple of float, mm
        Row and column spacing.
    overlap : float
        Fraction of a slice that its neighbour covers: overlapping slices share noise.
    threads : int
        The result does not depend on it.

    Returns
    -------
    NoiseModel, Unmeasurable or None
        None if there is no noise.
    """
    constant = constant_regions(hu)
    if constant.all():
        return None
    distinct, nearest = distinct_slices(hu, constant)
    if len(distinct) < 2:
        return Unmeasurable("fewer than two slices hold more than one value and differ from each other")
    if len(distinct) < len(hu):
        model = _estimate(hu[distinct], constant[distinct], pixel_mm, overlap, threads)
        if not isinstance(model, NoiseModel):
            return model
        return replace(model, log_sigma=model.log_sigma[nearest], sector_share=model.sector_share[:, nearest])
    return _estimate(hu, constant, pixel_mm, overlap, threads)


def _estimate(
    hu: NDArray[np.float32],
    constant: NDArray[np.bool_],
    pixel_mm: tuple[float, float],
    overlap: float,
    threads: int,
) -> NoiseModel | Unmeasurable | None:
    """Estimate the noise of distinct slices."""
    if hu.max() > _MAX_HU or hu.min() < _MIN_HU:
        hu = np.clip(hu, np.float32(_MIN_HU), np.float32(_MAX_HU))
    longer = max(hu.shape[1:])
    cell = max(2, 2 * round(longer / _CELLS / 2))
    variance = variance_by_direction(_cell_means(hu, constant, cell), (pixel_mm[0] * cell, pixel_mm[1] * cell), threads)
    log_shape = 0.5 * np.log(variance.sum(axis=0, dtype=np.float64))
    sector_share = ndimage.gaussian_filter(variance, (0, 0.5, 0.5, 0.5))
    sector_share /= sector_share.sum(axis=0)
    excluded = constant_regions(hu, _INTERPOLATION_PX) if constant.any() else constant
    tissue = Tissue.of(hu, max(1, cell // 2), excluded)
    local = measure_local_sigma(hu, tissue, excluded, cell)
    if not local.log_sigma.size:
        return Unmeasurable("nowhere is there enough image beside regions of one value")
    if np.median(local.log_sigma) < math.log(_MIN_SIGMA_HU):
        return None
    log_sigma = log_shape + _departure(tissue, local, log_shape, cell, hu.shape)
    choose = partial(flat_windows, hu, tissue, excluded, log_sigma, cell, pixel_mm)
    windows = choose(overlap)
    if windows is None:
        return Unmeasurable("no more than a few places of 8 x 8 pixels are tissue")
    noise = measure_correlation(hu, windows, overlap)
    if noise.z_correlation[0] > overlap + _EXCESS_CORRELATION:
        # Slices are correlated as if they overlapped: choose windows by slices farther away.
        independent = choose(noise.z_correlation[0])
        if independent is not None:
            windows, noise = independent, measure_correlation(hu, independent, overlap)
    if not noise.is_noise:
        return None
    if noise.shared_texture > _MUCH_TEXTURE and windows.side > SMALLEST_PX:
        small = choose(overlap, prefer="small")
        if small is not None:
            in_small = measure_correlation(hu, small, overlap)
            if in_small.shared_texture < noise.shared_texture:
                windows, noise = small, in_small
    autocovariance = noise.autocovariance
    if windows.side < _WIDE_PX:
        # Small windows truncate the autocovariance. Wide ones hold some anatomy, but it hardly differs between slices.
        wide = choose(overlap, prefer="wide")
        if wide is not None and wide.side > windows.side:
            in_wide = measure_correlation(hu, wide, overlap)
            if in_wide.shared_texture <= _MUCH_TEXTURE:
                autocovariance = in_wide.autocovariance
    log_sigma += 0.5 * math.log(noise.variance)
    z, y, x = _cell_indices(windows.centres, cell, log_sigma.shape)
    mean_sector_share = sector_share[:, z, y, x].mean(axis=1, dtype=np.float64)
    by_direction = autocovariance_by_direction(autocovariance, mean_sector_share)
    z, y, x = _cell_indices(local.points, cell, log_sigma.shape)
    info = {
        "measured_in": tissue.name,
        "boxes": int(local.log_sigma.size),
        "windows": noise.windows,
        "window_pixels": windows.side,
        "texture": round(noise.texture, 4),
        "constant": round(float(constant.mean()), 4),
        "median_sd_hu": round(float(np.exp(np.median(log_sigma[z, y, x]))), 3),
    }
    return NoiseModel(
        cell=cell,
        log_sigma=log_sigma.astype(np.float32),
        sector_share=sector_share.astype(np.float32),
        autocovariance=by_direction,
        z_correlation=noise.z_correlation,
        info=info,
    )


def _departure(
    tissue: Tissue, local: LocalSigma, log_shape: NDArray[np.float64], cell: int, shape: tuple[int, ...]
) -> NDArray[np.float64]:
    """Return the departure of the logarithm of the SD from the projection's shape, on its grid (z, gy, gx).

    Far from measurements, as in most of a lung, it is that of the coarse field: what narrow kernels measure in a chest
    wall holds for the chest wall.
    """
    departure = local.log_sigma - interpolate(log_shape, local.points, cell)
    fields = fit_field(shape, local.points, departure, local.weight)
    fine, coarse = (field.on_grid(log_shape.shape, cell) for field in fields)
    tissue_fraction = block_mean(tissue.mask.astype(np.float32), cell // tissue.side)
    support = ndimage.gaussian_filter(tissue_fraction, (0, _SUPPORT_CELLS, _SUPPORT_CELLS)).astype(np.float64)
    blend: NDArray[np.float64] = coarse + support / (support + _HALF_SUPPORT) * (fine - coarse)
    return blend


def _cell_means(hu: NDArray[np.float32], constant: NDArray[np.bool_], cell: int) -> NDArray[np.float32]:
    """Return means over cells, of shape (z, gy, gx), HU, with air for constants that reach the border of a slice."""
    means = block_mean(np.clip(hu, np.float32(-1024), np.float32(_METAL_HU)), cell)
    if not constant.any():
        return means
    filled = block_mean(constant.view(np.uint8), cell) > 0.5
    for image, mask in zip(means, filled, strict=True):
        labels, _ = ndimage.label(mask)
        border = np.concatenate([labels[0], labels[-1], labels[:, 0], labels[:, -1]])
        image[np.isin(labels, border[border > 0])] = _AIR_HU
    return means


def _cell_indices(points: NDArray[np.float64], cell: int, shape: tuple[int, ...]) -> list[NDArray[np.intp]]:
    """Return the indices (z, y, x) of the cells that points of shape (n, 3), in voxels, lie in."""
    cells = points / np.array([1, cell, cell])
    return [
        np.minimum(np.rint(v) if axis == 0 else v, shape[axis] - 1).astype(np.intp) for axis, v in enumerate(cells.T)
    ]
