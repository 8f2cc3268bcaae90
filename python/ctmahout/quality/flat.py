"""Noise in flat regions: a volume in HU goes in, the SD in HU and the noise power spectrum of its slices come out.

The spectrum is that of ICRU Report 87 and AAPM TG-233 (section 3.2): the mean periodogram of square regions minus a
fitted plane, averaged over rings of equal frequency.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from .masks import NOISY_SMOOTHING_PX, sample_slices

__all__ = ["FlatRegions", "NoisePower", "detrended_sd"]

# Sides of regions: the largest side with enough regions, the smallest one if it has at least a few.
_SIDES_PX = (32, 16, 8)
_ENOUGH, _MIN_REGIONS, _MAX_REGIONS = 150, 8, 2000
# The flattest third of all regions has the least anatomy.
_FLATTEST_FRACTION = 1 / 3


@dataclass(frozen=True)
class NoisePower:
    """A radial noise power spectrum.

    Attributes
    ----------
    frequency_per_mm : ndarray of shape (n,), float64, cycles/mm
        Up to the Nyquist frequency of the wider pixel spacing, without the frequency 0.
    power_hu2_mm2 : ndarray of shape (n,), float64, HU^2 mm^2
    """

    frequency_per_mm: NDArray[np.float64]
    power_hu2_mm2: NDArray[np.float64]

    @property
    def shape(self) -> NDArray[np.float64]:
        """Fraction of the noise in each ring of frequencies, of shape (n,), with the sum 1; zeros without noise."""
        rings = self.power_hu2_mm2 * self.frequency_per_mm
        total = rings.sum()
        return rings / total if total > 0 else np.zeros_like(rings)

    @property
    def mean_frequency(self) -> float | None:
        """Mean frequency of the noise in cycles/mm, lower for a coarser grain; None without noise."""
        return float(self.shape @ self.frequency_per_mm) if self.power_hu2_mm2.any() else None

    def distance(self, other: NoisePower) -> float | None:
        """Return the fraction of the noise, 0 to 1, at other frequencies than in `other`, independent of the levels.

        Half the L1 distance of the two shapes; None if either has no noise.
        """
        if not (self.power_hu2_mm2.any() and other.power_hu2_mm2.any()):
            return None
        return float(0.5 * np.abs(self.shape - other.shape).sum())


@dataclass(frozen=True)
class FlatRegions:
    """Square regions of slices with little anatomy.

    Attributes
    ----------
    corners : ndarray of shape (n, 3), int
        Slice, first row and first column.
    side : int
        Pixels.
    """

    corners: NDArray[np.intp]
    side: int

    @classmethod
    def of(cls, hu: NDArray[np.float32], mask: NDArray[np.bool_]) -> FlatRegions | None:
        """Select the flattest regions that lie completely in a mask.

        Parameters
        ----------
        hu : ndarray of shape (z, y, x), float32, HU
        mask : ndarray of shape (z, y, x), bool

        Returns
        -------
        FlatRegions or None
            None if there are fewer than 8 regions of 8 x 8 pixels.

        Notes
        -----
        Regions are judged in the mean of the slices before and after their own, so noise that is independent from
        slice to slice does not influence where it is measured.
        """
        slices = sample_slices(len(hu))
        for side in _SIDES_PX:
            if side > min(hu.shape[1:]):
                continue
            corners = np.concatenate([_corners_inside(mask[z], int(z), side) for z in slices])
            if len(corners) < (_MIN_REGIONS if side == _SIDES_PX[-1] else _ENOUGH):
                continue
            order = np.argsort(cls(corners, side).unevenness(hu), kind="stable")
            flattest = np.sort(order[: max(_MIN_REGIONS, int(_FLATTEST_FRACTION * len(corners)))])
            return cls(corners[flattest[:: -(-len(flattest) // _MAX_REGIONS)]], side)
        return None

    @classmethod
    def inside(cls, mask: NDArray[np.bool_], z: int, side: int) -> FlatRegions:
        """Return all regions of slice z, half overlapping, that lie completely in a mask of shape (y, x)."""
        return cls(_corners_inside(mask, z, side), side)

    def unevenness(self, hu: NDArray[np.float32]) -> NDArray[np.float64]:
        """Return the variance of each region minus its plane in the smoothed neighbouring slices, (n,), HU^2."""
        unevenness = np.zeros(len(self.corners))
        for z in np.unique(self.corners[:, 0]):
            in_slice = self.corners[:, 0] == z
            regions = FlatRegions(self.corners[in_slice], self.side)
            unevenness[in_slice] = regions.variances(_mean_neighbour(hu, int(z)))
        return unevenness

    def sd(self, hu: NDArray[np.float32]) -> float:
        """Return the SD in a region minus its plane, in HU: the root of the median variance of the regions."""
        return detrended_sd(self.detrended(hu))

    def power(self, hu: NDArray[np.float32], spacing_mm: tuple[float, float]) -> NoisePower:
        """Return the radial noise power spectrum.

        Parameters
        ----------
        hu : ndarray of shape (z, y, x), float32, HU
        spacing_mm : tuple of float, mm
            Row and column spacing.
        """
        n = self.side
        window = np.outer(np.hanning(n + 2)[1:-1], np.hanning(n + 2)[1:-1])
        total = np.zeros((n, n))
        for part in np.array_split(np.arange(len(self.corners)), -(-len(self.corners) // 256)):
            regions = FlatRegions(self.corners[part], n).detrended(hu)
            total += (np.abs(np.fft.fft2(regions * window)) ** 2).sum(axis=0)
        # Scaled so that the integral over all frequencies is the variance, for any window.
        total *= spacing_mm[0] * spacing_mm[1] / (len(self.corners) * np.sum(window**2))
        frequency = np.hypot(np.fft.fftfreq(n, spacing_mm[0])[:, None], np.fft.fftfreq(n, spacing_mm[1])[None])
        step = 1 / (n * max(spacing_mm))
        ring = np.rint(frequency / step).astype(np.intp).ravel()
        count = np.bincount(ring)[1 : n // 2 + 1]
        mean_frequency, mean_power = (
            np.bincount(ring, weights=v.ravel())[1 : n // 2 + 1] / count for v in (frequency, total)
        )
        return NoisePower(mean_frequency, mean_power)

    def variances(self, hu: NDArray[np.float32]) -> NDArray[np.float64]:
        """Return the variance of each region minus its plane, of shape (n,), HU^2."""
        return _variances(self.detrended(hu))

    def detrended(self, hu: NDArray[np.float32]) -> NDArray[np.float64]:
        """Return the regions minus their least-squares planes, of shape (n, side, side), float64, HU."""
        n = self.side
        z, y, x = (c[:, None, None] for c in self.corners.T)
        regions: NDArray[np.float64] = hu[z, y + np.arange(n)[:, None], x + np.arange(n)].astype(np.float64)
        ramp = (np.arange(n) - (n - 1) / 2) / np.sqrt(n * (n * n - 1) / 12) / np.sqrt(n)
        for pattern in (np.full((n, n), 1 / n), np.tile(ramp, (n, 1)), np.tile(ramp[:, None], (1, n))):
            regions -= np.einsum("rij,ij->r", regions, pattern)[:, None, None] * pattern
        return regions


def detrended_sd(regions: NDArray[np.float64]) -> float:
    """Return the root of the median variance of detrended regions of shape (n, side, side)."""
    return float(np.sqrt(np.median(_variances(regions))))


def _variances(regions: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the variance of each detrended region; the plane takes three degrees of freedom."""
    variances: NDArray[np.float64] = np.sum(regions**2, axis=(1, 2)) / (regions.shape[1] ** 2 - 3)
    return variances


def _corners_inside(mask: NDArray[np.bool_], z: int, side: int) -> NDArray[np.intp]:
    """Return the corners of the half-overlapping regions that lie completely in a slice's mask, of shape (n, 3)."""
    windows = np.lib.stride_tricks.sliding_window_view(mask, (side, side))[:: side // 2, :: side // 2]
    corners = np.argwhere(windows.all(axis=(2, 3))) * (side // 2)
    return np.column_stack([np.full(len(corners), z, np.intp), corners])


def _mean_neighbour(hu: NDArray[np.float32], z: int) -> NDArray[np.float32]:
    """Return the smoothed mean of the slices next to z, repeated to the shape of `hu`; a single slice is its own."""
    neighbours = [k for k in (z - 1, z + 1) if 0 <= k < len(hu)] or [z]
    image = ndimage.gaussian_filter(np.mean(hu[neighbours], axis=0, dtype=np.float32), NOISY_SMOOTHING_PX)
    return np.broadcast_to(image, hu.shape)
