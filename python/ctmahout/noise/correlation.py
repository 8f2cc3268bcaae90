"""The correlation of the noise: in the slice, by direction, and with the next slices.

Measured in the quietest windows of the z-difference divided by its SD. The noise of filtered back-projection has a
radial power of its own (ramp and kernel) and, at each place, the directions of the rays that are noisiest there.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from ..errors import InputError
from .grid import upsample
from .level import Tissue, band, sampled_slices, z_difference

__all__ = ["REACH", "Measured", "autocovariance_by_direction", "measure_correlation"]

REACH = 16  # pixels: the largest lag
_WINDOWS = ((32, 0.9), (24, 0.8), (16, 0.7), (16, 0.4))  # side in pixels, share of it in the tissue; the first that fit
_PEAK_FROM, _RAMP_FROM = 0.1, 0.03  # cycles per pixel: the noise of no kernel peaks lower; what windows can tell
_ENOUGH, _MOST, _MOST_Z = 20, 1500, 400  # windows
_QUIET = 0.35  # share of the windows that is used, the quietest


@dataclass(frozen=True)
class Measured:
    """What the quiet windows told.

    Attributes
    ----------
    autocovariance : ndarray of shape (2 REACH + 1, 2 REACH + 1), float64
        Of the z-difference divided by its SD, over lags in y and x.
    along_z, along_z_everywhere : tuple of float
        Correlation with the next slice and the one after: in the windows that are quietest in the slice, and in all.
    plateau : float
        Share of the variance that does not fall off with distance, taken to be anatomy.
    windows : int
        How many were used.
    """

    autocovariance: NDArray[np.float64]
    along_z: tuple[float, float]
    along_z_everywhere: tuple[float, float]
    plateau: float
    windows: int


def measure_correlation(
    hu: NDArray[np.float32], log_sd: NDArray[np.float64], cell: int, tissue: Tissue, rng: np.random.Generator
) -> Measured:
    """Measure the correlation of the noise in the quietest windows.

    Raises
    ------
    InputError
        CTM_NOISE_UNMEASURABLE: no window of 16 x 16 pixels lies in the body.
    """

    @cache
    def level(z: int) -> NDArray[np.float32]:
        sd: NDArray[np.float32] = np.exp(upsample(log_sd[z : z + 1], cell, *hu.shape[1:])[0])
        return sd

    @cache
    def slice_of(z: int) -> NDArray[np.float32]:
        return z_difference(hu, z) / level(z)

    for side, share in _WINDOWS:
        corners = _windows(hu.shape, tissue, side, share)
        if len(corners) >= _ENOUGH / _QUIET:
            break
    if not len(corners):
        raise InputError(
            "CTM_NOISE_UNMEASURABLE", path="The series", given="no part of the image is 16 x 16 pixels of tissue"
        )
    variance = np.array([slice_of(z)[y : y + side, x : x + side].var() for z, y, x in corners])
    order = np.argsort(variance, kind="stable")
    # The very quietest are often not image at all; beyond a third, anatomy sets in.
    quiet = order[int(0.02 * len(order)) : max(_ENOUGH, int(_QUIET * len(order)))]
    quiet = rng.permutation(quiet)[:_MOST]
    power = np.zeros((2 * side, side + 1))
    for z, y, x in corners[quiet]:
        window = slice_of(z)[y : y + side, x : x + side]
        power += np.abs(np.fft.rfft2(window - window.mean(), (2 * side, 2 * side))) ** 2
    covariance, plateau = _unbiased(np.fft.irfft2(power / len(quiet), (2 * side, 2 * side)), side)
    along_z, everywhere = _along_z(hu, level, corners[quiet[:_MOST_Z]], side)
    return Measured(covariance, along_z, everywhere, plateau, len(quiet))


def _windows(shape: tuple[int, ...], tissue: Tissue, side: int, share: float) -> NDArray[np.int64]:
    """Return the corners (z, y, x) of windows, 8 pixels apart, of which so much lies in the tissue."""
    _, ny, nx = shape
    if ny < side or nx < side:
        return np.empty((0, 3), np.int64)
    y, x = np.meshgrid(np.arange(0, ny - side + 1, 8), np.arange(0, nx - side + 1, 8), indexing="ij")
    at_y = np.minimum((y + side // 2) // tissue.side, tissue.mask.shape[1] - 1)
    at_x = np.minimum((x + side // 2) // tissue.side, tissue.mask.shape[2] - 1)
    found = [np.empty((0, 3), np.int64)]
    for z in sampled_slices(shape[0]):
        filled = ndimage.uniform_filter(tissue.mask[z].astype(np.float32), max(1, side // tissue.side), mode="constant")
        inside = filled[at_y, at_x] > share
        found.append(np.stack([np.full(int(inside.sum()), z), y[inside], x[inside]], axis=1))
    return np.concatenate(found)


def _unbiased(covariance: NDArray[np.float64], side: int) -> tuple[NDArray[np.float64], float]:
    """Correct a window's autocovariance for its shrinking overlap, take a plateau off, cut it to the lags wanted."""
    overlap = np.maximum(side - np.abs(np.fft.fftfreq(2 * side) * 2 * side), 1)
    centred = np.fft.fftshift(covariance / np.outer(overlap, overlap))
    reach = min(REACH, side - 1)
    cut = centred[side - reach : side + reach + 1, side - reach : side + reach + 1]
    whole = np.pad(cut, REACH - reach)
    lag = np.hypot(*np.mgrid[-REACH : REACH + 1, -REACH : REACH + 1])
    # The noise of filtered back-projection has no mean, so no plateau: what there is of one is anatomy.
    ring = (lag > side / 4) & (lag < min(14, 0.45 * side))
    floor = max(0.0, float(np.median(whole[ring])))
    share = floor / max(float(whole[REACH, REACH]), 1e-12)
    return np.where(lag < reach, whole - floor, 0.0), share


def _along_z(
    hu: NDArray[np.float32], level: Callable[[int], NDArray[np.float32]], corners: NDArray[np.int64], side: int
) -> tuple[tuple[float, float], tuple[float, float]]:
    """Measure the correlation with the next two slices, in the windows that are quietest in the slice, and in all.

    Those that are quiet in the z-difference are not enough: vessels and surfaces along z cancel there, and here they
    would be taken for noise.
    """
    if len(hu) < 3:
        return (0.0, 0.0), (0.0, 0.0)
    sums = np.zeros((len(corners), 3))
    for n, (z, y, x) in enumerate(corners):
        middle = min(max(int(z), 1), len(hu) - 2)
        window = np.s_[y : y + side, x : x + side]
        a, b, c = (band(image) for image in hu[middle - 1 : middle + 2, window[0], window[1]])
        variance = float(np.mean(level(int(z))[window], dtype=np.float64)) ** 2
        products = [0.5 * float((a * a + b * b).sum()), float((a * b).sum()), float((a * c).sum())]
        sums[n] = np.array(products) / variance
    quiet = np.argsort(sums[:, 0], kind="stable")[: max(_ENOUGH, int(_QUIET * len(sums)))]
    # In all windows each counts as much: a few with an edge in them, which is strong, would outvote the others.
    return _correlations(sums[quiet]), _correlations(sums / np.maximum(sums[:, :1], 1e-12))


def _correlations(sums: NDArray[np.float64]) -> tuple[float, float]:
    energy, next_one, after = sums.sum(axis=0)
    one, two = (float(np.clip(v, 0, 0.9)) if v > 0.03 else 0.0 for v in np.array([next_one, after]) / max(energy, 1e-9))
    return one, two


def _below_ramp(frequency: NDArray[np.float64], power: Sequence[float]) -> NDArray[np.float64]:
    """Cap the radial power below its peak by a ramp: what lies above is anatomy.

    The ramp of filtered back-projection times a kernel that does not rise below its peak cannot be higher. Windows of
    finite size cannot tell the lowest frequencies, so the ramp ends there.
    """
    found = np.asarray(power)
    peak = int(np.argmax(np.where(frequency >= _PEAK_FROM, found, 0)))
    cap = found[peak] * np.maximum(frequency, _RAMP_FROM) / frequency[peak]
    return np.where(frequency < frequency[peak], np.minimum(found, cap), found)


def autocovariance_by_direction(
    mean: NDArray[np.float64], mean_share: NDArray[np.float64], n: int = 64
) -> NDArray[np.float64]:
    """Split a mean autocovariance by the direction of the rays.

    Parameters
    ----------
    mean : ndarray of shape (2 h + 1, 2 h + 1), float64
        Where the noise was measured.
    mean_share : ndarray of shape (sectors,), float64
        The share of each direction there; they sum up to 1.
    n : int
        Side of the Fourier transforms.

    Returns
    -------
    ndarray of shape (sectors, 2 h + 1, 2 h + 1), float64
        The autocovariance of noise that comes from one direction only; 1 at lag 0 in the mean over `mean_share`.
    """
    h, sectors = mean.shape[0] // 2, mean_share.size
    taper = np.hanning(2 * h + 3)[1:-1]
    padded = np.zeros((n, n))
    padded[: 2 * h + 1, : 2 * h + 1] = mean * np.outer(taper, taper)
    power = np.maximum(np.fft.fft2(np.roll(padded, (-h, -h), (0, 1))).real, 0)
    fy, fx = np.meshgrid(np.fft.fftfreq(n), np.fft.fftfreq(n), indexing="ij")
    frequency = np.hypot(fy, fx)
    direction = np.mod(np.arctan2(fy, fx), math.pi) / math.pi * sectors
    expected = mean_share[np.minimum(direction.astype(int), sectors - 1)] * sectors
    edges = np.arange(0, 0.75, 1 / 64)
    rings = [np.exp(-0.5 * ((frequency - edge) * 64 / 0.6) ** 2) for edge in edges]
    radial = np.interp(frequency, edges, _below_ramp(edges, [(r * power).sum() / (r * expected).sum() for r in rings]))
    found = []
    for sector in range(sectors):
        share = np.maximum(0, 1 - np.abs((direction - 0.5 - sector + sectors / 2) % sectors - sectors / 2))
        share[0, 0] = 1 / sectors
        covariance = np.fft.ifft2(radial * share * sectors).real
        found.append(np.roll(covariance, (h, h), (0, 1))[: 2 * h + 1, : 2 * h + 1])
    by_direction = np.array(found)
    unit: NDArray[np.float64] = by_direction / np.tensordot(mean_share, by_direction, 1)[h, h]
    return unit
