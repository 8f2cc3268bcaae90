"""Noise where there is little anatomy: its SD and its power spectrum, in flat regions of slices.

The power spectrum is that of ICRU Report 87 and AAPM TG-233 (section 3.2): the mean periodogram of square regions from
which a plane was taken off, averaged over rings of equal frequency.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from .masks import NOISY_SMOOTHING_PX, sample_slices

__all__ = ["FlatRegions", "NoisePower", "sd_of_pieces"]

# Sides in pixels; the largest is taken of which there are enough, the smallest if there are at least a few.
_SIDES = (32, 16, 8)
_ENOUGH, _FEWEST = 150, 8
_MOST = 2000
# Of all regions, the flattest third has the least anatomy.
_SHARE = 1 / 3


@dataclass(frozen=True)
class NoisePower:
    """A radial noise power spectrum.

    Attributes
    ----------
    frequency_per_mm : ndarray of shape (n,), float64, cycles/mm
        Up to the Nyquist frequency of the wider pixel spacing; the frequency 0 is left out.
    power_hu2_mm2 : ndarray of shape (n,), float64, HU^2 mm^2
    """

    frequency_per_mm: NDArray[np.float64]
    power_hu2_mm2: NDArray[np.float64]

    @property
    def shape(self) -> NDArray[np.float64]:
        """The share of the noise in each ring of frequencies, of shape (n,), with the sum 1; zeros if there is none."""
        rings = self.power_hu2_mm2 * self.frequency_per_mm
        total = rings.sum()
        return rings / total if total > 0 else np.zeros_like(rings)

    @property
    def mean_frequency(self) -> float | None:
        """The mean frequency of the noise in cycles/mm: the coarser the grain, the lower. None if there is no noise."""
        return float(self.shape @ self.frequency_per_mm) if self.power_hu2_mm2.any() else None

    def distance(self, other: NoisePower) -> float | None:
        """Return the share of the noise, 0 to 1, that lies at other frequencies than the other's, whatever the levels.

        It is half the L1 distance of the two shapes; None if either holds no noise.
        """
        if not (self.power_hu2_mm2.any() and other.power_hu2_mm2.any()):
            return None
        return float(0.5 * np.abs(self.shape - other.shape).sum())


@dataclass(frozen=True)
class FlatRegions:
    """Square regions of slices with little anatomy in them.

    Attributes
    ----------
    corners : ndarray of shape (n, 3), int
        Slice, first row and first column of each.
    side : int
        Pixels.
    """

    corners: NDArray[np.intp]
    side: int

    @classmethod
    def of(cls, hu: NDArray[np.float32], mask: NDArray[np.bool_]) -> FlatRegions | None:
        """Find the flattest regions that lie wholly in a mask.

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
        How flat a region is, is judged in the mean of the slices before and after it: noise that is independent from
        slice to slice has no say in where it is measured.
        """
        levels = sample_slices(len(hu))
        for side in _SIDES:
            if side > min(hu.shape[1:]):
                continue
            corners = np.concatenate([_inside(mask[z], int(z), side) for z in levels])
            if len(corners) < (_FEWEST if side == _SIDES[-1] else _ENOUGH):
                continue
            unevenness = cls(corners, side).unevenness(hu)
            flattest = np.sort(np.argsort(unevenness, kind="stable")[: max(_FEWEST, int(_SHARE * len(corners)))])
            return cls(corners[flattest[:: -(-len(flattest) // _MOST)]], side)
        return None

    @classmethod
    def inside(cls, mask: NDArray[np.bool_], z: int, side: int) -> FlatRegions:
        """Return all regions of a slice, half overlapping, that lie wholly in a mask of shape (y, x), flat or not."""
        return cls(_inside(mask, z, side), side)

    def unevenness(self, hu: NDArray[np.float32]) -> NDArray[np.float64]:
        """Return the variance of each region less its plane in the smoothed slices next to its own, HU^2."""
        found = np.zeros(len(self.corners))
        for z in np.unique(self.corners[:, 0]):
            here = self.corners[:, 0] == z
            found[here] = _variances(FlatRegions(self.corners[here], self.side).pieces(_neighbours(hu, int(z))))
        return found

    def sd(self, hu: NDArray[np.float32]) -> float:
        """Return the SD in a region less its plane, in HU: the root of the median variance of regions."""
        return sd_of_pieces(self.pieces(hu))

    def power(self, hu: NDArray[np.float32], spacing_mm: tuple[float, float]) -> NoisePower:
        """Return the radial noise power spectrum.

        Parameters
        ----------
        hu : ndarray of shape (z, y, x), float32, HU
        spacing_mm : tuple of float, mm
            Distance between rows and between columns.
        """
        n = self.side
        window = np.outer(np.hanning(n + 2)[1:-1], np.hanning(n + 2)[1:-1])
        total = np.zeros((n, n))
        for part in np.array_split(np.arange(len(self.corners)), -(-len(self.corners) // 256)):
            pieces = FlatRegions(self.corners[part], n).pieces(hu)
            total += (np.abs(np.fft.fft2(pieces * window)) ** 2).sum(axis=0)
        # Scaled so that the integral over all frequencies is the variance, whatever the window.
        total *= spacing_mm[0] * spacing_mm[1] / (len(self.corners) * np.sum(window**2))
        frequency = np.hypot(np.fft.fftfreq(n, spacing_mm[0])[:, None], np.fft.fftfreq(n, spacing_mm[1])[None])
        step = 1 / (n * max(spacing_mm))
        ring = np.rint(frequency / step).astype(np.intp).ravel()
        count = np.bincount(ring)[1 : n // 2 + 1]
        mean = [np.bincount(ring, weights=v.ravel())[1 : n // 2 + 1] / count for v in (frequency, total)]
        return NoisePower(mean[0], mean[1])

    def variances(self, hu: NDArray[np.float32]) -> NDArray[np.float64]:
        """Return the variance of each region less its plane, of shape (n,), HU^2."""
        return _variances(self.pieces(hu))

    def pieces(self, hu: NDArray[np.float32]) -> NDArray[np.float64]:
        """Return the regions less their planes, of shape (n, side, side), HU."""
        n = self.side
        z, y, x = (c[:, None, None] for c in self.corners.T)
        pieces: NDArray[np.float64] = hu[z, y + np.arange(n)[:, None], x + np.arange(n)].astype(np.float64)
        along = (np.arange(n) - (n - 1) / 2) / np.sqrt(n * (n * n - 1) / 12) / np.sqrt(n)
        for pattern in (np.full((n, n), 1 / n), np.tile(along, (n, 1)), np.tile(along[:, None], (1, n))):
            pieces -= np.einsum("rij,ij->r", pieces, pattern)[:, None, None] * pattern
        return pieces


def sd_of_pieces(pieces: NDArray[np.float64]) -> float:
    """Return the root of the median variance of regions less their planes, of shape (n, side, side)."""
    return float(np.sqrt(np.median(_variances(pieces))))


def _variances(pieces: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the variance in each region; the plane has taken three degrees of freedom."""
    variances: NDArray[np.float64] = np.sum(pieces**2, axis=(1, 2)) / (pieces.shape[1] ** 2 - 3)
    return variances


def _inside(mask: NDArray[np.bool_], z: int, side: int) -> NDArray[np.intp]:
    """Return the corners of the regions, half overlapping, that lie wholly in a slice's mask, of shape (n, 3)."""
    windows = np.lib.stride_tricks.sliding_window_view(mask, (side, side))[:: side // 2, :: side // 2]
    found = np.argwhere(windows.all(axis=(2, 3))) * (side // 2)
    return np.column_stack([np.full(len(found), z, np.intp), found])


def _neighbours(hu: NDArray[np.float32], z: int) -> NDArray[np.float32]:
    """Return the mean of the slices next to one, smoothed, as if it stood at its place; a single slice is its own."""
    near = [k for k in (z - 1, z + 1) if 0 <= k < len(hu)] or [z]
    image = ndimage.gaussian_filter(np.mean(hu[near], axis=0, dtype=np.float32), NOISY_SMOOTHING_PX)
    return np.broadcast_to(image, hu.shape)
