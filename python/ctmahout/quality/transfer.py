"""The transfer function of a denoiser from two scans, and the filter that undoes it.

With y1 = x + n1 and y2 = x + n2, independent noise, and spectra F at a frequency f,

    E[F(D(y1)) F(y2)*] = E[F(D(y1))] F(x)*    and    E[F(y1) F(y2)*] = |F(x)|^2,

so their ratio, over a ring of frequencies and over slices, is the mean transfer of what the scans have in common:
noise has no part in it, neither what a result keeps of it nor what it removes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import fft, ndimage

from .masks import sample_slices

__all__ = ["Transfer"]

Float32 = NDArray[np.float32]
Float64 = NDArray[np.float64]

_MOST_RINGS = 32  # up to the Nyquist frequency of the wider pixels
_ERROR = 0.05  # largest standard error of a transfer that is reported
_FEWEST = 4  # slices
_GAIN = 4.0  # most that a filter lifts or lowers
_INNER, _FADE = 6, 2.0  # pixels: rims of a tissue that are left out, and the SD of the Gaussian that fades it out
_BORDER = 32  # pixels, mirrored before a filter


@dataclass(frozen=True)
class Transfer:
    """Transfer by frequency.

    Attributes
    ----------
    frequency_per_mm : ndarray of shape (n,), float64, cycles/mm
        Ascending; up to where the object has enough structure to measure it.
    transfer : ndarray of shape (n,), float64
        1 where contrast is kept, 0 where it is gone.
    error : ndarray of shape (n,), float64
        Standard errors, from the spread between slices.
    """

    frequency_per_mm: Float64
    transfer: Float64
    error: Float64

    @classmethod
    def of(
        cls,
        scans: tuple[Float32, Float32],
        denoised: Sequence[Float32],
        mask: NDArray[np.bool_] | None,
        spacing_mm: tuple[float, float],
    ) -> Transfer | None:
        """Measure it within slices.

        Parameters
        ----------
        scans : two ndarrays of shape (z, y, x), float32, HU
            y1 and y2.
        denoised : one or two ndarrays of the same shape
            D(y1), and D(y2).
        mask : ndarray of shape (z, y, x), bool
            Tissue to measure it in, chosen without regard to the noise; None: all of a slice. At most 40 slices are
            looked at.
        spacing_mm : tuple of float, mm
            Distance between rows and between columns.

        Returns
        -------
        Transfer or None
            None if there are fewer than 4 slices, or if no frequency can be measured to 0.05.
        """
        frequency, ring = _rings(scans[0].shape[1:], spacing_mm)
        rings = len(frequency)
        crossed: list[Float64] = []
        common: list[Float64] = []
        for z in sample_slices(len(scans[0])):
            window = _window(scans[0].shape[1:], None if mask is None else mask[z])
            if not window.any():
                continue
            y1, y2 = (_spectrum(scan[z], window) for scan in scans)
            results = [_spectrum(result[z], window) for result in denoised]
            both = np.mean([d * np.conj(y) for d, y in zip(results, (y2, y1), strict=False)], axis=0)
            for sums, product in ((crossed, both), (common, y1 * np.conj(y2))):
                total = np.bincount(ring, weights=product.real.ravel(), minlength=rings + 2)
                sums.append(total[1 : rings + 1].astype(np.float64))
        if len(common) < _FEWEST:
            return None
        above, below = np.array(crossed), np.array(common)
        total = below.sum(axis=0)
        safe = np.where(total > 0, total, np.inf)
        ratio = above.sum(axis=0) / safe
        spread = np.sum((above - ratio * below) ** 2, axis=0) * len(below) / (len(below) - 1)
        error = np.where(total > 0, np.sqrt(spread) / safe, np.inf)
        # A denominator that is itself uncertain makes a ratio that is biased, however well the two agree.
        uneven = np.sqrt(np.sum((below - below.mean(axis=0)) ** 2, axis=0)) / safe
        good = (error <= _ERROR) & (uneven <= 0.25)
        count = int(np.argmin(good)) if not good.all() else len(good)
        return cls(frequency[:count], ratio[:count], error[:count]) if count else None

    def at(self, frequency: Float64) -> Float64:
        """Return the transfer at frequencies in cycles/mm: 1 at 0, and beyond the last one measured as there."""
        transfer: Float64 = np.interp(frequency, [0.0, *self.frequency_per_mm], [1.0, *self.transfer])
        return transfer

    def undo(self, hu: Float32, spacing_mm: tuple[float, float]) -> Float32:
        """Return slices of shape (z, y, x) filtered by the inverse of the transfer, by a factor of 4 at most."""
        shape = tuple(fft.next_fast_len(n + 2 * _BORDER, real=True) for n in hu.shape[1:])
        rows, columns = fft.fftfreq(shape[0], spacing_mm[0]), fft.rfftfreq(shape[1], spacing_mm[1])
        gain = 1 / np.clip(self.at(np.hypot(rows[:, None], columns)), 1 / _GAIN, _GAIN)
        out = np.empty_like(hu)
        for image, filtered in zip(hu, out, strict=True):
            before = [(n - k) // 2 for n, k in zip(shape, image.shape, strict=True)]
            pads = [(b, n - k - b) for b, n, k in zip(before, shape, image.shape, strict=True)]
            spectrum = fft.rfft2(np.pad(image.astype(np.float64), pads, mode="symmetric"))
            inside = tuple(slice(b, b + k) for b, k in zip(before, image.shape, strict=True))
            filtered[...] = fft.irfft2(spectrum * gain, shape)[inside]
        return out


def _rings(shape: tuple[int, ...], spacing_mm: tuple[float, float]) -> tuple[Float64, NDArray[np.intp]]:
    """Return the mean frequency of each ring, and the number of the ring of each frequency of a slice, from 1."""
    rings = min(_MOST_RINGS, min(shape) // 2)
    rows, columns = fft.fftfreq(shape[0], spacing_mm[0]), fft.rfftfreq(shape[1], spacing_mm[1])
    frequency = np.hypot(rows[:, None], columns)
    ring = np.minimum(np.ceil(frequency * 2 * max(spacing_mm) * rings), rings + 1).astype(np.intp).ravel()
    count = np.maximum(np.bincount(ring, minlength=rings + 2), 1)
    mean = np.bincount(ring, weights=frequency.ravel(), minlength=rings + 2) / count
    return mean[1 : rings + 1], ring


def _window(shape: tuple[int, ...], mask: NDArray[np.bool_] | None) -> Float64:
    """Return weights that fade out towards the rims of a slice and of a mask: sharp rims leak into the spectrum."""
    window: Float64 = np.outer(*(np.hanning(n + 2)[1:-1] for n in shape))
    if mask is None:
        return window
    inner = ndimage.binary_erosion(mask, iterations=_INNER)
    window *= ndimage.gaussian_filter(inner.astype(np.float64), _FADE, truncate=_INNER / _FADE)
    return window


def _spectrum(image: Float32, window: Float64) -> NDArray[np.complex128]:
    """Return the spectrum of what a window shows of a slice, less its mean."""
    values = image.astype(np.float64)
    spectrum: NDArray[np.complex128] = fft.rfft2((values - np.average(values, weights=window)) * window)
    return spectrum
