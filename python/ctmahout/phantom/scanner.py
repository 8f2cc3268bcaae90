"""A CT scanner: fan-beam projections, the statistics of photons, filtered back-projection.

Equiangular fan beam over a full turn; Kak and Slaney 1988, Principles of Computerized Tomographic Imaging, section
3.4.1. Each slice is scanned on its own.
"""

from __future__ import annotations

import math

import numba
import numpy as np
from numpy.typing import NDArray
from scipy import fft

__all__ = ["MU_WATER", "Scanner"]

MU_WATER = 0.0192  # 1/mm, near 70 keV
SOURCE_TO_ISOCENTRE = 541.0  # mm
# Photons sent along a ray through the centre of the bowtie at full dose.
PHOTONS = 2.2e5
ELECTRONIC_NOISE = 4.0  # photons
# Tube-current modulation: the current grows with this share of the exponent of the thickest path.
MODULATION = 0.35


@numba.njit(parallel=True, fastmath=True, cache=True)
def _project(image, pixel, views, fan, out):  # type: ignore[no-untyped-def]
    """image [y, x, slice] in 1/mm -> out [view, detector, slice]: line integrals by Joseph's interpolation."""
    ny, nx, slices = image.shape
    cx, cy = (nx - 1) / 2.0, (ny - 1) / 2.0
    for b in numba.prange(views.size):
        sx, sy = -SOURCE_TO_ISOCENTRE * math.sin(views[b]), SOURCE_TO_ISOCENTRE * math.cos(views[b])
        total = np.empty(slices, np.float32)
        for g in range(fan.size):
            turn = views[b] + fan[g]
            dx, dy = math.sin(turn), -math.cos(turn)
            total[:] = 0.0
            if abs(dx) > abs(dy):
                length = pixel / abs(dx)
                for i in range(nx):
                    q = (sy + ((i - cx) * pixel - sx) / dx * dy) / pixel + cy
                    j = math.floor(q)
                    if 0 <= j < ny - 1:
                        after = np.float32((q - j) * length)
                        before = np.float32(length) - after
                        for s in range(slices):
                            total[s] += before * image[j, i, s] + after * image[j + 1, i, s]
            else:
                length = pixel / abs(dy)
                for j in range(ny):
                    q = (sx + ((j - cy) * pixel - sy) / dy * dx) / pixel + cx
                    i = math.floor(q)
                    if 0 <= i < nx - 1:
                        after = np.float32((q - i) * length)
                        before = np.float32(length) - after
                        for s in range(slices):
                            total[s] += before * image[j, i, s] + after * image[j, i + 1, s]
            out[b, g, :] = total


@numba.njit(parallel=True, fastmath=True, cache=True)
def _back_project(filtered, pixel, n, views, first, step, out):  # type: ignore[no-untyped-def]
    """filtered [view, detector, slice] -> out [y, x, slice]; a pixel is summed by one thread, in the order of views."""
    count, detectors, slices = filtered.shape
    centre = (n - 1) / 2.0
    share = np.float32(2 * math.pi / count)
    cosine, sine = np.cos(views), np.sin(views)
    for j in numba.prange(n):
        total = np.empty(slices, np.float32)
        y = (j - centre) * pixel
        for i in range(n):
            x = (i - centre) * pixel
            total[:] = 0.0
            for b in range(count):
                ex, ey = x + SOURCE_TO_ISOCENTRE * sine[b], y - SOURCE_TO_ISOCENTRE * cosine[b]
                along = ex * sine[b] - ey * cosine[b]
                across = ex * cosine[b] + ey * sine[b]
                q = (math.atan2(across, along) - first) / step
                k = math.floor(q)
                if 0 <= k < detectors - 1:
                    weight = share / np.float32(along * along + across * across)
                    after = np.float32(q - k) * weight
                    before = weight - after
                    for s in range(slices):
                        total[s] += before * filtered[b, k, s] + after * filtered[b, k + 1, s]
            out[j, i, :] = total


class Scanner:
    """A scanner that makes images of `size` x `size` pixels over `fov_mm`."""

    def __init__(self, size: int, fov_mm: float) -> None:
        self.size, self.fov_mm, self.pixel_mm = size, fov_mm, fov_mm / size
        self.step = 0.79 * self.pixel_mm / SOURCE_TO_ISOCENTRE
        half = math.asin(fov_mm / 2 * 1.02 / SOURCE_TO_ISOCENTRE)
        detectors = 2 * math.ceil(half / self.step)
        # A quarter of a detector off centre, so that opposite rays interleave.
        self.fan = (np.arange(detectors) - (detectors - 1) / 2 + 0.25) * self.step
        self.views = np.arange(int(984 * size / 512)) * 2 * math.pi / int(984 * size / 512)
        self._length = 1 << math.ceil(math.log2(2 * detectors))
        self._filter = self._fan_filter()

        def chord(s: NDArray[np.float64]) -> NDArray[np.float64]:
            return 2 * np.sqrt(np.maximum(0, 160.0**2 - s**2))

        across = SOURCE_TO_ISOCENTRE * np.sin(self.fan)
        self._bowtie = np.exp(-MU_WATER * 0.5 * (chord(np.zeros(1)) - chord(across)))

    def _fan_filter(self) -> NDArray[np.float32]:
        """The ramp filter of an equiangular fan beam (Kak and Slaney, eq. 3.100) under a Hann window."""
        m = self._length
        k = np.fft.fftfreq(m, 1.0 / m)
        h = np.zeros(m)
        odd = np.abs(k) % 2 == 1
        h[odd] = -0.5 / (math.pi * np.sin(k[odd] * self.step)) ** 2
        h[0] = 1 / (8 * self.step**2)
        f = np.abs(np.fft.fftfreq(m)) * 2  # 1 is the detector's Nyquist frequency
        window = 0.5 + 0.5 * np.cos(np.pi * np.clip(f / 0.95, 0, 1))
        response: NDArray[np.float32] = (np.fft.fft(h).real * window * self.step)[: m // 2 + 1].astype(np.float32)
        return response

    def project(self, hu: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return line integrals of shape (view, detector, z) of a volume of shape (z, n, n), HU."""
        image = np.ascontiguousarray(np.moveaxis(MU_WATER * (1 + hu / 1000.0), 0, 2), np.float32)
        out = np.empty((self.views.size, self.fan.size, image.shape[2]), np.float32)
        _project(image, self.fov_mm / hu.shape[1], self.views, self.fan, out)
        return out

    def noisy(self, integrals: NDArray[np.float32], photons: float, rng: np.random.Generator) -> NDArray[np.float32]:
        """Return line integrals as measured with so many photons in the brightest ray."""
        central = (integrals * (np.abs(self.fan) < 0.2)[None, :, None]).max(1, keepdims=True)
        sent = photons * np.exp(MODULATION * (central - 5.0)) * self._bowtie[None, :, None]
        counts = rng.poisson(sent * np.exp(-integrals.astype(np.float64))).astype(np.float64)
        counts += rng.normal(0, ELECTRONIC_NOISE, integrals.shape)
        measured: NDArray[np.float32] = -np.log(np.maximum(counts, 0.8) / sent).astype(np.float32)
        return measured

    def reconstruct(self, integrals: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return images of shape (z, size, size), float32, HU."""
        weight = (SOURCE_TO_ISOCENTRE * np.cos(self.fan)).astype(np.float32)[None, :, None]
        spectrum = fft.rfft(integrals * weight, self._length, axis=1) * self._filter[None, :, None]
        filtered = fft.irfft(spectrum, self._length, axis=1)[:, : self.fan.size]
        out = np.empty((self.size, self.size, integrals.shape[2]), np.float32)
        filtered = np.ascontiguousarray(filtered, np.float32)
        _back_project(filtered, self.pixel_mm, self.size, self.views, self.fan[0], self.step, out)
        return np.ascontiguousarray(np.moveaxis((out / MU_WATER - 1) * 1000.0, 2, 0), np.float32)
