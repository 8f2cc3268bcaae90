"""CT scanner: an image in HU goes in; line integrals, noise and filtered back-projections in HU come out.

Equiangular fan beam over a full rotation (Kak and Slaney 1988, Principles of Computerized Tomographic Imaging, section
3.4.1). Slices are scanned independently, without helical interpolation, scatter or beam hardening.
"""

from __future__ import annotations

import functools
import math

import numba
import numpy as np
from numpy.typing import NDArray
from scipy import fft, special

from .parameters import ScanParameters

__all__ = ["MU_WATER", "Scanner"]

MU_WATER = 0.0192  # 1/mm, near 70 keV
SOURCE_TO_ISOCENTRE = 541.0  # mm
ELECTRONIC_NOISE = 4.0  # SD, photons
MIN_PHOTONS = 0.8  # lower counts are set to this, so that the logarithm exists
TYPICAL_PATH = 5.0  # largest line integral at which the modulated current is the nominal one
# Window on the ramp filter: cut-off over the detector's Nyquist frequency, and enhancement of high frequencies.
_WINDOWS = {"standard": (0.95, 0.0), "smooth": (0.55, 0.0), "sharp": (1.0, 5.0)}


@numba.njit(parallel=True, fastmath=True, cache=True)
def _project(image, pixel, views, fan, out):  # type: ignore[no-untyped-def]
    """image [y, x, slice] in 1/mm -> out [view, detector, slice]: line integrals by Joseph's method (1982)."""
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


@numba.njit(fastmath=True, inline="always")
def _ray(x, y, sine, cosine, first, step, share):  # type: ignore[no-untyped-def]
    """Return the detector before the ray through a point (mm), and the weights of this detector and the next one."""
    ex, ey = x + SOURCE_TO_ISOCENTRE * sine, y - SOURCE_TO_ISOCENTRE * cosine
    along = ex * sine - ey * cosine
    across = ex * cosine + ey * sine
    q = (math.atan2(across, along) - first) / step
    k = math.floor(q)
    weight = share / np.float32(along * along + across * across)
    after = np.float32(q - k) * weight
    return k, weight - after, after


@numba.njit(parallel=True, fastmath=True, cache=True)
def _back_project(filtered, pixel, n, views, first, step, out):  # type: ignore[no-untyped-def]
    """filtered [view, detector, slice] -> out [y, x, slice]; each pixel is summed by one thread, in order of views."""
    count, detectors, slices = filtered.shape
    centre = (n - 1) / 2.0
    share = np.float32(2 * math.pi / count)
    cosine, sine = np.cos(views), np.sin(views)
    for j in numba.prange(n):
        total = np.empty(slices, np.float32)
        for i in range(n):
            total[:] = 0.0
            for b in range(count):
                k, before, after = _ray(
                    (i - centre) * pixel, (j - centre) * pixel, sine[b], cosine[b], first, step, share
                )
                if 0 <= k < detectors - 1:
                    for s in range(slices):
                        total[s] += before * filtered[b, k, s] + after * filtered[b, k + 1, s]
            out[j, i, :] = total


@numba.njit(parallel=True, fastmath=True, cache=True)
def _back_project_variance(variance, covariance, pixel, n, views, first, step, out):  # type: ignore[no-untyped-def]
    """Variance of the result of `_back_project`.

    variance, covariance [view, detector, slice]: of `filtered`, and of each detector with the next one.
    """
    count, detectors, slices = variance.shape
    centre = (n - 1) / 2.0
    share = np.float32(2 * math.pi / count)
    cosine, sine = np.cos(views), np.sin(views)
    for j in numba.prange(n):
        total = np.empty(slices, np.float32)
        for i in range(n):
            total[:] = 0.0
            for b in range(count):
                k, before, after = _ray(
                    (i - centre) * pixel, (j - centre) * pixel, sine[b], cosine[b], first, step, share
                )
                if 0 <= k < detectors - 1:
                    for s in range(slices):
                        total[s] += before * before * variance[b, k, s] + after * after * variance[b, k + 1, s]
                        total[s] += 2 * before * after * covariance[b, k, s]
            out[j, i, :] = total


class Scanner:
    """A scanner that reconstructs images of `size` x `size` pixels.

    Parameters
    ----------
    size : int
    fov_mm : float
        Side of the image.
    field_mm : float, optional
        Side of the square in the beam, `fov_mm` by default.
    views : int
        In a rotation, for images of 512 x 512 pixels; proportional for other sizes.
    parameters : ScanParameters
    """

    def __init__(
        self,
        size: int,
        fov_mm: float,
        field_mm: float | None = None,
        views: int = 984,
        parameters: ScanParameters = ScanParameters(),  # noqa: B008
    ) -> None:
        self.size, self.fov_mm, self.pixel_mm, self.parameters = size, fov_mm, fov_mm / size, parameters
        self.field_mm = fov_mm if field_mm is None else field_mm
        self.step = 0.79 * self.pixel_mm / SOURCE_TO_ISOCENTRE
        half = math.asin(self.field_mm / 2 * 1.02 / SOURCE_TO_ISOCENTRE)
        detectors = 2 * math.ceil(half / self.step)
        # Quarter-detector offset: opposite rays interleave.
        self.fan = (np.arange(detectors) - (detectors - 1) / 2 + 0.25) * self.step
        count = int(views * size / 512)
        self.views = np.arange(count) * 2 * math.pi / count
        self._length = 1 << math.ceil(math.log2(2 * detectors))
        self._filter = self._fan_filter()

        def chord(distance: NDArray[np.float64]) -> NDArray[np.float64]:
            return 2 * np.sqrt(np.maximum(0, parameters.bowtie_radius_mm**2 - distance**2))

        distance = SOURCE_TO_ISOCENTRE * np.sin(self.fan)  # of each ray from the isocentre
        self._bowtie = np.exp(-MU_WATER * parameters.bowtie_share * (chord(np.zeros(1)) - chord(distance)))

    def _fan_filter(self) -> NDArray[np.float32]:
        """Return the ramp filter of an equiangular fan beam (Kak and Slaney, eq. 3.100) with a Hann window."""
        m = self._length
        k = np.fft.fftfreq(m, 1.0 / m)
        h = np.zeros(m)
        odd = np.abs(k) % 2 == 1
        h[odd] = -0.5 / (math.pi * np.sin(k[odd] * self.step)) ** 2
        h[0] = 1 / (8 * self.step**2)
        f = np.abs(np.fft.fftfreq(m)) * 2  # 1 is the detector's Nyquist frequency
        cutoff, enhancement = _WINDOWS[self.parameters.kernel]
        window = (0.5 + 0.5 * np.cos(np.pi * np.clip(f / cutoff, 0, 1))) * (1 + enhancement * f**2)
        response: NDArray[np.float32] = (np.fft.fft(h).real * window * self.step)[: m // 2 + 1].astype(np.float32)
        return response

    def project(self, hu: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return line integrals of shape (view, detector, z), float32, of a volume of shape (z, n, n), HU."""
        image = np.ascontiguousarray(np.moveaxis(MU_WATER * (1 + hu / 1000.0), 0, 2), np.float32)
        out = np.empty((self.views.size, self.fan.size, image.shape[2]), np.float32)
        _project(image, self.field_mm / hu.shape[1], self.views, self.fan, out)
        return out

    def sent(
        self, integrals: NDArray[np.float32], photons: float, position: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        """Return the photons sent along each ray, of the shape of the line integrals, float64.

        Parameters
        ----------
        integrals : ndarray of shape (view, detector, z), float32
        photons : float
            Along the central ray, with the nominal current.
        position : ndarray of shape (z,)
            Of the slices in the scan, from 0 to 1.
        """
        p = self.parameters
        central = (integrals * (np.abs(self.fan) < 0.2)[None, :, None]).max(1, keepdims=True)
        exponent = p.angular_modulation * (central - TYPICAL_PATH)
        if p.longitudinal_modulation != p.angular_modulation:
            mean = central.mean(axis=0, keepdims=True) - TYPICAL_PATH
            exponent = exponent + (p.longitudinal_modulation - p.angular_modulation) * mean
        if p.current_swing:
            exponent = exponent + p.current_swing * np.sin(2 * np.pi * position)
        sent: NDArray[np.float64] = photons * np.exp(exponent) * self._bowtie[None, :, None]
        return sent

    def measure(
        self, integrals: NDArray[np.float32], sent: NDArray[np.float64], rng: np.random.Generator
    ) -> NDArray[np.float32]:
        """Return measured line integrals: with Poisson noise of the photons and Gaussian noise of the electronics."""
        counts = rng.poisson(sent * np.exp(-integrals.astype(np.float64))).astype(np.float64)
        counts += rng.normal(0, ELECTRONIC_NOISE, integrals.shape)
        measured: NDArray[np.float32] = -np.log(np.maximum(counts, MIN_PHOTONS) / sent).astype(np.float32)
        return measured

    def variance(self, integrals: NDArray[np.float32], sent: NDArray[np.float64]) -> NDArray[np.float32]:
        """Return the variance of the result of `measure`, of the same shape, float32."""
        return _variance_of_log(sent * np.exp(-integrals.astype(np.float64))).astype(np.float32)

    def _fan_weights(self, power: int) -> NDArray[np.float32]:
        """Return the weights of detectors in the filtered fan beam (cosine of the fan angle), raised to a power."""
        weight: NDArray[np.float32] = (SOURCE_TO_ISOCENTRE * np.cos(self.fan)).astype(np.float32) ** power
        return weight[None, :, None]

    def reconstruct(self, integrals: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return images of shape (z, size, size), float32, HU."""
        spectrum = fft.rfft(integrals * self._fan_weights(1), self._length, axis=1) * self._filter[None, :, None]
        filtered = fft.irfft(spectrum, self._length, axis=1)[:, : self.fan.size]
        out = np.empty((self.size, self.size, integrals.shape[2]), np.float32)
        filtered = np.ascontiguousarray(filtered, np.float32)
        _back_project(filtered, self.pixel_mm, self.size, self.views, self.fan[0], self.step, out)
        return np.ascontiguousarray(np.moveaxis((out / MU_WATER - 1) * 1000.0, 2, 0), np.float32)

    def sigma(self, variance: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the SD of the noise in images, of shape (z, size, size), float32, HU.

        Reconstruction is linear and rays are independent, so the variance of a pixel is the sum over rays of their
        variances times their squared weights: again a back-projection.

        Parameters
        ----------
        variance : ndarray of shape (view, detector, z), float32
            Of the line integrals.
        """
        kernel = fft.irfft(self._filter.astype(np.float64), self._length)
        spectrum = fft.rfft(variance.astype(np.float64) * self._fan_weights(2), self._length, axis=1)

        def convolved(product: NDArray[np.float64]) -> NDArray[np.float32]:
            response = fft.rfft(product)[None, :, None]
            result = fft.irfft(spectrum * response, self._length, axis=1)[:, : self.fan.size]
            return np.ascontiguousarray(result, np.float32)

        filtered, covariance = convolved(kernel**2), convolved(kernel * np.roll(kernel, -1))
        out = np.empty((self.size, self.size, variance.shape[2]), np.float32)
        _back_project_variance(filtered, covariance, self.pixel_mm, self.size, self.views, self.fan[0], self.step, out)
        sd = np.sqrt(np.maximum(out, 0)) / MU_WATER * 1000.0
        return np.ascontiguousarray(np.moveaxis(sd, 2, 0), np.float32)


@functools.cache
def _log_variance_table() -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return expected numbers of photons, ascending, and the variance of the logarithm of the count, as a table."""
    expected = np.geomspace(0.05, 500.0, 160)
    counts = np.arange(700)
    nodes, weights = np.polynomial.hermite_e.hermegauss(81)
    logs = np.log(np.maximum(counts[:, None] + ELECTRONIC_NOISE * nodes, MIN_PHOTONS))
    weights = weights / weights.sum()
    first, second = logs @ weights, logs**2 @ weights
    probability = special.xlogy(counts, expected[:, None]) - expected[:, None] - special.gammaln(counts + 1.0)
    probability = np.exp(probability)
    return expected, probability @ second - (probability @ first) ** 2


def _variance_of_log(expected: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the variance of the logarithm of a count with a mean of `expected` photons and electronic noise."""
    table, variance = _log_variance_table()
    # For many photons, the series of the logarithm to second order.
    series = 1 / expected + (ELECTRONIC_NOISE**2 + 1.5) / expected**2
    return np.where(
        expected < table[-1], np.interp(np.log(np.maximum(expected, table[0])), np.log(table), variance), series
    )
