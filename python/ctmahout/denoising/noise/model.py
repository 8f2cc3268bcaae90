"""The noise of every voxel of a volume, blind: `estimate_noise`."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from ...quality.constant import constant_regions
from .correlation import autocovariance_by_direction, measure_correlation
from .distinct import distinct_slices
from .field import fit_field
from .flat import flat_windows
from .grid import at_places, block_mean, upsample
from .level import SigmaGrid, measure_levels
from .projection import variance_by_direction
from .tissue import Tissue

__all__ = ["NoiseModel", "Unmeasurable", "estimate_noise"]

_CELLS = 64  # cells of the coarse grid along the longer side of a slice
_NOTHING_HU = 0.02
_LEAST_HU, _MOST_HU = -32768.0, 65535.0  # no CT value lies beyond
_GRAIN_PIXELS = 16  # side of the windows that show it
_MORE_ALIKE = 0.15  # correlation with the next slice beyond what the overlap makes of it
_INTERPOLATED = 3  # pixels: as far interpolation carries a constant into what lies beside it
_AIR_HU, _METAL_HU = -1000.0, 3000.0
_NEAR_CELLS, _HALF = 1.5, 0.1  # cells that a measurement reaches, and the share of measured ones that counts half


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


@dataclass(frozen=True)
class Unmeasurable:
    """There is an image, but nowhere enough of it to measure noise in.

    Attributes
    ----------
    why : str
        A sentence's rest: "fewer than two slices hold ...".
    """

    why: str


def estimate_noise(
    hu: NDArray[np.float32], pixel_mm: tuple[float, float], *, overlap: float = 0.0, threads: int = 1
) -> NoiseModel | Unmeasurable | None:
    """Measure the noise of a CT volume in the volume itself.

    Its SD comes from projecting the image again, times a smooth field by which what differs between neighbouring
    slices departs from that, wherever it can be measured. Flat windows tell its level and its correlation. Regions of
    one value, empty slices and slices that are written twice are not measured in.

    Parameters
    ----------
    hu : ndarray of shape (z, y, x), float32, HU
        Finite. Two slices at least; nothing outside the image but air, or any other constant.
    pixel_mm : tuple of float, mm
        Distance between rows and between columns.
    overlap : float
        Share of a slice that its neighbour covers, too: noise is alike in slices that overlap.
    threads : int
        The answer does not depend on it.

    Returns
    -------
    NoiseModel, Unmeasurable or None
        None: no noise was found.
    """
    constant = constant_regions(hu)
    if constant.all():
        return None
    distinct, nearest = distinct_slices(hu, constant)
    if len(distinct) < 2:
        return Unmeasurable("fewer than two slices hold more than one value and differ from each other")
    if len(distinct) < len(hu):
        found = _measure(hu[distinct], constant[distinct], pixel_mm, overlap, threads)
        if not isinstance(found, NoiseModel):
            return found
        return replace(found, log_sd=found.log_sd[nearest], share=found.share[:, nearest])
    return _measure(hu, constant, pixel_mm, overlap, threads)


def _measure(
    hu: NDArray[np.float32],
    constant: NDArray[np.bool_],
    pixel_mm: tuple[float, float],
    overlap: float,
    threads: int,
) -> NoiseModel | Unmeasurable | None:
    if hu.max() > _MOST_HU or hu.min() < _LEAST_HU:
        hu = np.clip(hu, np.float32(_LEAST_HU), np.float32(_MOST_HU))
    longer = max(hu.shape[1:])
    cell = max(2, 2 * round(longer / _CELLS / 2))
    variance = variance_by_direction(_body(hu, constant, cell), (pixel_mm[0] * cell, pixel_mm[1] * cell), threads)
    log_shape = 0.5 * np.log(variance.sum(axis=0, dtype=np.float64))
    share = ndimage.gaussian_filter(variance, (0, 0.5, 0.5, 0.5))
    share /= share.sum(axis=0)
    unusable = constant_regions(hu, _INTERPOLATED) if constant.any() else constant
    tissue = Tissue.of(hu, max(1, cell // 2), unusable)
    levels = measure_levels(hu, tissue, unusable, cell)
    if not levels.log_sd.size:
        return Unmeasurable("nowhere is there enough image beside regions of one value")
    if np.median(levels.log_sd) < math.log(_NOTHING_HU):
        return None
    log_sd = log_shape + _departure(tissue, levels, log_shape, cell, hu.shape)
    windows = flat_windows(hu, tissue, unusable, log_sd, cell, pixel_mm, overlap)
    if windows is None:
        return Unmeasurable("no more than a few places of 8 x 8 pixels are tissue")
    measured = measure_correlation(hu, windows, overlap)
    if measured.along_z[0] > overlap + _MORE_ALIKE:
        # Slices are alike as those that overlap are: windows are to be chosen by slices farther away.
        further = flat_windows(hu, tissue, unusable, log_sd, cell, pixel_mm, measured.along_z[0])
        if further is not None:
            windows, measured = further, measure_correlation(hu, further, overlap)
    if not measured.is_noise:
        return None
    autocovariance = measured.autocovariance
    if windows.side < _GRAIN_PIXELS:
        # Small windows cut the grain; what anatomy there is in wide ones hardly changes between slices.
        wide = flat_windows(hu, tissue, unusable, log_sd, cell, pixel_mm, overlap, widest=True)
        if wide is not None and wide.side > windows.side:
            autocovariance = measure_correlation(hu, wide, overlap).autocovariance
    log_sd += 0.5 * math.log(measured.variance)
    at = _cells(windows.middles, cell, log_sd.shape)
    mean_share = share[:, at[0], at[1], at[2]].mean(axis=1, dtype=np.float64)
    by_direction = autocovariance_by_direction(autocovariance, mean_share)
    at = _cells(levels.places, cell, log_sd.shape)
    info = {
        "measured_in": tissue.name,
        "boxes": int(levels.log_sd.size),
        "windows": measured.windows,
        "window_pixels": windows.side,
        "texture": round(measured.texture, 4),
        "constant": round(float(constant.mean()), 4),
        "median_sd_hu": round(float(np.exp(np.median(log_sd[at[0], at[1], at[2]]))), 3),
    }
    return NoiseModel(cell, log_sd.astype(np.float32), share.astype(np.float32), by_direction, measured.along_z, info)


def _departure(
    tissue: Tissue, levels: SigmaGrid, log_shape: NDArray[np.float64], cell: int, shape: tuple[int, ...]
) -> NDArray[np.float64]:
    """Return by how much the logarithm of the SD departs from the projection model, on its grid.

    Where nothing is measured near by, as in most of a lung, only by as much as in the wider neighbourhood: what narrow
    kernels find in a chest wall is the chest wall's.
    """
    departure = levels.log_sd - at_places(log_shape, levels.places, cell)
    fields = fit_field(shape, levels.places, departure, levels.weight)
    near, wide = (field.on_grid(log_shape.shape, cell) for field in fields)
    measured = block_mean(tissue.mask.astype(np.float32), cell // tissue.side)
    evidence = ndimage.gaussian_filter(measured, (0, _NEAR_CELLS, _NEAR_CELLS)).astype(np.float64)
    found: NDArray[np.float64] = wide + evidence / (evidence + _HALF) * (near - wide)
    return found


def _body(hu: NDArray[np.float32], constant: NDArray[np.bool_], cell: int) -> NDArray[np.float32]:
    """Return means over cells, of shape (z, gy, gx), with air for constants that reach the border of a slice."""
    means = block_mean(np.clip(hu, np.float32(-1024), np.float32(_METAL_HU)), cell)
    if not constant.any():
        return means
    filled = block_mean(constant.view(np.uint8), cell) > 0.5
    for image, mask in zip(means, filled, strict=True):
        labels, _ = ndimage.label(mask)
        edge = np.concatenate([labels[0], labels[-1], labels[:, 0], labels[:, -1]])
        image[np.isin(labels, edge[edge > 0])] = _AIR_HU
    return means


def _cells(places: NDArray[np.float64], cell: int, shape: tuple[int, ...]) -> list[NDArray[np.intp]]:
    """Return the cells in which places lie."""
    at = places / np.array([1, cell, cell])
    return [np.minimum(np.rint(v) if axis == 0 else v, shape[axis] - 1).astype(np.intp) for axis, v in enumerate(at.T)]
