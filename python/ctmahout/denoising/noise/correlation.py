"""Noise in flat windows by frequency: windows go in; variance, autocovariance in the slice and z-correlation come out.

Noise is correlated between slices only as far as they overlap or were interpolated, anatomy over many slices: at each
frequency, covariances with the slices one, two and three away separate the two. Within a slice the noise power of
filtered back-projection is that of the ramp times the squared kernel (Riederer, Pelc and Chesler 1978, Phys. Med. Biol.
23, 446), and at each point it is distributed over directions like the variance of the rays there.

Symbols: r, correlation of the noise with the next slice; a, fraction of the variance that is anatomy; rho, correlation
of the anatomy with the next slice.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .flat import FlatWindows

__all__ = ["MAX_LAG", "WindowNoise", "autocovariance_by_direction", "measure_correlation"]

Float64 = NDArray[np.float64]

MAX_LAG = 16  # pixels
_MAX_LAG_Z = 3  # slices
_MIN_FREQUENCY = 0.03  # cycles per pixel: the lowest that windows resolve
_MAX_VARIANCE = 2.0  # windows above so many times the median variance hold anatomy
_BANDS = (0.09, 0.17, 0.27)  # cycles per pixel: edges of the bands in which noise and anatomy are separated
_MIN_POWER = 0.1  # fraction of the power that high frequencies must hold to be relied on
_SIGNIFICANT = 2.0  # standard errors above which a correlation counts
_MAX_SEPARABLE_R = 0.3  # above it, correlation of the noise hides that of anatomy
_MAX_ANATOMY = 0.95  # limit of a
# Values that are tried: r, rho, and the ratio of anatomy to noise in the lowest band.
_R, _RHO = np.arange(0.0, _MAX_SEPARABLE_R + 0.005, 0.01), np.array([0.5, 0.6, 0.7, 0.8, 0.9, 0.95])
_ANATOMY_TO_NOISE = np.geomspace(0.02, 30.0, 40)
# Without noise: correlations with the next two slices of at least these, beyond those of overlap, ...
_MIN_ANATOMY_CORRELATION = (0.25, 0.1)
_MIN_PERSISTENCE = 0.55  # ... and between the second and the third at least this ratio, ...
_MAX_NOISE_CORRELATION = 0.85  # ... or a correlation with the next slice that no noise has.
_KERNEL_RANGE = (0.4, 0.85)  # fractions of the power between which the kernel is fitted


@dataclass(frozen=True)
class WindowNoise:
    """Noise measured in flat windows.

    Attributes
    ----------
    variance : float
        Relative to that of the noise map.
    autocovariance : ndarray of shape (2 MAX_LAG + 1, 2 MAX_LAG + 1), float64
        Within a slice, over lags in y and x; 1 at lag 0.
    z_correlation : tuple of float
        Correlation with the next slice and the one after, over all frequencies.
    texture : float
        Fraction of the windows' variance that is anatomy.
    shared_texture : float
        The part of it that is correlated with other slices; the rest has more power than noise of its frequency.
    is_noise : bool
        False if all of it is anatomy.
    windows : int
        Number of windows used.
    """

    variance: float
    autocovariance: Float64
    z_correlation: tuple[float, float]
    texture: float
    shared_texture: float
    is_noise: bool
    windows: int


def measure_correlation(hu: NDArray[np.float32], windows: FlatWindows, overlap: float) -> WindowNoise:
    """Measure the noise in flat windows.

    Parameters
    ----------
    hu : ndarray of shape (z, y, x), float32, HU
        Two slices or more.
    windows : FlatWindows
    overlap : float
        Fraction of a slice that its neighbour covers.
    """
    side = windows.side
    pieces = _detrended(hu, windows)
    variances = np.square(pieces[_MAX_LAG_Z]).sum(axis=(1, 2)) / (side * side - 3)
    used = variances <= _MAX_VARIANCE * np.median(variances)
    # Without a taper, anatomy of low frequencies would leak into the high ones.
    taper = np.sin(math.pi * (np.arange(side) + 0.5) / side)
    spectra = np.fft.fft2(pieces[:, used] * np.outer(taper, taper), (2 * side, 2 * side))
    inside = [(z >= 0) & (z < len(hu)) for z in windows.corners[used, 0] + _z_lags()[:, None]]
    # Cross power with the same window in other slices. Windows were selected by their neighbours, so the power is
    # taken from the window itself, on which the selection does not depend.
    centre = spectra[_MAX_LAG_Z]
    planes = [np.square(np.abs(centre)).mean(axis=0)]
    for lag in range(1, min(_MAX_LAG_Z + 1, len(hu))):
        both = [(spectra[_MAX_LAG_Z + sign * lag], inside[_MAX_LAG_Z + sign * lag]) for sign in (-1, 1)]
        total = sum(np.real(centre[exists] * other[exists].conj()).sum(axis=0) for other, exists in both)
        planes.append(total / max(1, sum(int(exists.sum()) for _, exists in both)))
    rings = _Rings(2 * side)
    lags = [rings.means(plane) for plane in planes]
    power = np.maximum(lags[0], 1e-12 * lags[0].max() + 1e-30)
    is_noise = not _is_anatomy(lags, rings, overlap)
    fraction, correlation = _separate(lags, rings.count, rings.frequency, centre.shape[0], overlap)
    total = rings.sum(power)
    shared_texture = 1 - rings.sum(fraction * power) / total
    fraction *= np.minimum(1, _power_limit(power, rings) / (fraction * power))
    noise_fraction = rings.sum(fraction * power) / total
    # Directions are measured in the difference between slices, which holds less anatomy.
    difference = _difference_power(spectra, inside)
    scale = fraction * power / np.maximum(rings.means(difference), 1e-12 * total / rings.count.sum())
    covariance = _unbiased_autocovariance(difference * rings.spread(scale), taper)
    return WindowNoise(
        variance=float(variances[used].mean()) * noise_fraction / _detrended_fraction(covariance, side),
        autocovariance=covariance,
        z_correlation=(
            rings.sum(fraction * power * correlation[0]) / (noise_fraction * total),
            rings.sum(fraction * power * correlation[1]) / (noise_fraction * total),
        ),
        texture=1 - noise_fraction,
        shared_texture=shared_texture,
        is_noise=is_noise,
        windows=centre.shape[0],
    )


def _z_lags() -> NDArray[np.intp]:
    return np.arange(-_MAX_LAG_Z, _MAX_LAG_Z + 1)


def _detrended(hu: NDArray[np.float32], windows: FlatWindows) -> Float64:
    """Return the windows, and the same positions in the slices around, minus their planes, over the map's SD.

    Returns
    -------
    ndarray of shape (7, n, side, side), float64
        From three slices before to three after; beyond the volume its first or last slice.
    """
    n = windows.side
    z = np.clip(windows.corners[:, 0] + _z_lags()[:, None], 0, len(hu) - 1)[:, :, None, None]
    y, x = (windows.corners[:, axis, None] + np.arange(n) for axis in (1, 2))
    pieces: Float64 = hu[z, y[None, :, :, None], x[None, :, None, :]] / windows.sigma[:, None, None]
    ramp = np.arange(n) - (n - 1) / 2
    pieces -= pieces.mean(axis=(2, 3), keepdims=True)
    ramp /= np.sqrt(n * np.square(ramp).sum())
    for pattern in (np.tile(ramp, (n, 1)), np.tile(ramp[:, None], (1, n))):
        pieces -= np.einsum("zrij,ij->zr", pieces, pattern)[:, :, None, None] * pattern
    return pieces


def _difference_power(spectra: NDArray[np.complex128], inside: list[NDArray[np.bool_]]) -> Float64:
    """Return the power of windows minus the mean of the slices before and after, one of which may not exist."""
    before, centre, after = spectra[_MAX_LAG_Z - 1 : _MAX_LAG_Z + 2]
    weights = np.array(inside[_MAX_LAG_Z - 1 : _MAX_LAG_Z + 2 : 2], np.float64)[..., None, None]
    total = np.maximum(weights.sum(axis=0), 1)
    difference = centre - (weights[0] * before + weights[1] * after) / total
    power: Float64 = (np.square(np.abs(difference)) / (1 + 1 / total)).mean(axis=0)
    return power


class _Rings:
    """Rings of equal frequency, one bin wide, of an n x n Fourier transform."""

    def __init__(self, n: int) -> None:
        frequency = np.hypot(np.fft.fftfreq(n, 1 / n)[:, None], np.fft.fftfreq(n, 1 / n)[None])
        self._ring = np.rint(frequency).astype(np.intp)
        self.count: Float64 = np.bincount(self._ring.ravel()).astype(np.float64)
        self.frequency = np.arange(self.count.size) / n

    def means(self, plane: Float64) -> Float64:
        """Return the mean of a plane over each ring."""
        sums: Float64 = np.bincount(self._ring.ravel(), plane.ravel()).astype(np.float64)
        return sums / self.count

    def sum(self, means: Float64) -> float:
        """Return the sum over a plane with these means over rings."""
        return float(means @ self.count)

    def spread(self, values: Float64) -> Float64:
        """Return the plane with these values on the rings."""
        plane: Float64 = values[self._ring]
        return plane


def _separate(
    lags: list[Float64], count: Float64, frequency: Float64, windows: int, overlap: float
) -> tuple[Float64, Float64]:
    """Separate noise from anatomy in bands of frequency.

    In a band a fraction a of the variance is anatomy, whose correlation rho falls off by the same factor with each
    slice, while noise has the correlation r with the next slice, at all frequencies alike, and r2 with the one after.
    Correlations with the slices one and two away then are

        c1 = (1 - a) r + a rho,    c2 = (1 - a) r2 + a rho^2.

    Parameters
    ----------
    lags : list of ndarray of shape (rings,)
        Power, and cross power with slices one, two, .. away.
    count : ndarray of shape (rings,)
        Frequencies in each ring.
    frequency : ndarray of shape (rings,), cycles per pixel
    windows : int
    overlap : float

    Returns
    -------
    fraction : ndarray of shape (rings,)
        1 - a.
    correlation : ndarray of shape (2, rings)
        Of the noise, with the slices one and two away.
    """
    band = np.digitize(frequency, _BANDS)
    size, total_frequency, power, *cross = [
        np.bincount(band, count * values).astype(np.float64) for values in (np.ones_like(count), frequency, *lags)
    ]
    c1, c2 = ([*cross, np.zeros_like(power)])[:2]
    c1, c2 = c1 / np.maximum(power, 1e-30), c2 / np.maximum(power, 1e-30)
    # Of the frequencies of a padded window a quarter are independent, and half of these are conjugates.
    independent = windows * size / 8
    expected = [max(0.0, 1 - lag * (1 - overlap)) for lag in (1, 2)]
    anatomy, rho = np.zeros(c1.size), 1.0
    if len(lags) == 2:  # there is no c2: correlation beyond that of overlap is anatomy
        anatomy = np.clip((c1 - expected[0]) / (1 - expected[0] + 1e-9), 0, _MAX_ANATOMY)
    else:
        # Where a kernel leaves hardly any power, what leaks from lower frequencies may prevail.
        used = c1.size
        while used > 2 and power[used - 1 :].sum() < _MIN_POWER * power.sum() and c1[used - 1] > c1[used - 2]:
            used -= 1
        fit = _fit_anatomy(c1[:used], c2[:used], independent[:used], (total_frequency / size)[:used], expected[1])
        if fit is not None:
            r, rho = fit
            anatomy = np.clip((c1 - r) / (rho - r), 0, _MAX_ANATOMY)
            anatomy[used:] = anatomy[used - 1]
    noise = [(c - anatomy * rho**lag) / (1 - anatomy) for lag, c in ((1, c1), (2, c2))]
    chance = _SIGNIFICANT / np.sqrt(independent)
    correlation = np.array([np.where(c > chance, np.clip(c, 0, 0.9), 0) for c in noise])
    return (1 - anatomy)[band], correlation[:, band]


def _fit_anatomy(
    c1: Float64, c2: Float64, independent: Float64, frequency: Float64, r2: float
) -> tuple[float, float] | None:
    """Fit the correlations of noise and of anatomy to those of all bands, by least squares.

    Noise and anatomy pass the same kernel. In windows as short as these their ratio falls off about as 1 / f.

    Parameters
    ----------
    c1, c2 : ndarray of shape (bands,)
        Measured, with the slices one and two away.
    independent : ndarray of shape (bands,)
        Number of independent values in each.
    frequency : ndarray of shape (bands,), cycles per pixel
    r2 : float
        Correlation of the noise with the slice two away.

    Returns
    -------
    r, rho : float
        None if noise alone explains what was measured, or if its own correlation hides that of anatomy.
    """
    if c1.min() > _MAX_SEPARABLE_R:
        return None
    ratio = np.concatenate([[0.0], _ANATOMY_TO_NOISE])[:, None, None, None] * frequency[0] / frequency
    a, rho, r = ratio / (1 + ratio), _RHO[None, :, None, None], _R[None, None, :, None]
    difference1, difference2 = c1 - (1 - a) * r - a * rho, c2 - (1 - a) * r2 - a * rho**2
    errors = (independent * (difference1**2 + difference2**2)).sum(axis=-1)
    best = np.unravel_index(np.argmin(errors), errors.shape)
    if errors[0].min() - errors[best] <= _SIGNIFICANT**2:
        return None
    return float(_R[best[2]]), float(_RHO[best[1]])


def _power_limit(power: Float64, rings: _Rings) -> Float64:
    """Return the largest power by ring that noise can have, from the higher frequencies: anatomy is in the lower ones.

    The noise power of filtered back-projection is that of the ramp times the squared kernel, here exp(-c f^2) with the
    frequency f, fitted by least squares; for a kernel that enhances edges c is set to 0.
    """
    cumulative = np.cumsum(power * rings.count) / rings.sum(power)
    first, last = (int(np.searchsorted(cumulative, level)) for level in _KERNEL_RANGE)
    used = np.arange(max(first, 1), max(last, first + 3) + 1)
    used = used[used < power.size]
    squares, logs = rings.frequency[used] ** 2, np.log(power[used] / rings.frequency[used])
    weight = rings.count[used] / rings.count[used].sum()
    mean_square, mean_log = weight @ squares, weight @ logs
    deviation = squares - mean_square
    slope = min(0.0, weight @ (deviation * (logs - mean_log)) / max(weight @ deviation**2, 1e-12))
    model = np.exp(mean_log + slope * (rings.frequency**2 - mean_square))
    limit = np.maximum(rings.frequency, _MIN_FREQUENCY) * model
    return np.where(np.arange(power.size) < first, limit, power)


def _is_anatomy(lags: list[Float64], rings: _Rings, overlap: float) -> bool:
    """Return whether slices are correlated so much, at the highest frequencies with power, that there is no noise.

    The correlation of noise is limited to overlapping slices; that of anatomy persists beyond them.
    """
    if len(lags) < 4:
        return False
    above = np.cumsum((lags[0] * rings.count)[::-1])[::-1] / rings.sum(lags[0])
    high = rings.frequency >= min(_BANDS[-1], rings.frequency[above >= _MIN_POWER].max())
    power, one, two, three = (rings.sum(np.where(high, lag, 0)) for lag in lags)
    expected = [power * max(0.0, 1 - lag * (1 - overlap)) for lag in (1, 2)]
    correlated = (
        one - expected[0] > _MIN_ANATOMY_CORRELATION[0] * power
        and two - expected[1] > _MIN_ANATOMY_CORRELATION[1] * power
    )
    return correlated and (one > _MAX_NOISE_CORRELATION * power or three > _MIN_PERSISTENCE * two)


def _unbiased_autocovariance(power: Float64, taper: Float64) -> Float64:
    """Return the autocovariance of tapered windows that were padded to twice their side, 1 at lag 0.

    The inverse transform of the power (Wiener-Khinchin theorem) over the taper's own autocorrelation. Lags beyond two
    thirds of the side, where few pixels contribute, are 0.
    """
    side = taper.size
    weight = np.correlate(taper, taper, "full")
    centred = np.fft.fftshift(np.fft.ifft2(power).real)[1:, 1:] / np.outer(weight, weight)
    lag = min(MAX_LAG, 2 * side // 3)
    covariance = centred[side - 1 - lag : side + lag, side - 1 - lag : side + lag]
    return np.pad(covariance / max(float(covariance[lag, lag]), 1e-30), MAX_LAG - lag)


def _detrended_fraction(autocovariance: Float64, side: int) -> float:
    """Return the fraction of the variance of such noise that remains in a window minus its plane.

    Per degree of freedom, so it is 1 for white noise.
    """
    ramp = np.arange(side) - (side - 1) / 2
    flat, ramp = np.full(side, side**-0.5), ramp / np.sqrt(np.square(ramp).sum())
    lag = min(MAX_LAG, side - 1)
    lags = np.s_[side - 1 - lag : side + lag]
    covariance = autocovariance[MAX_LAG - lag : MAX_LAG + lag + 1, MAX_LAG - lag : MAX_LAG + lag + 1]
    removed = 0.0
    for down, across in ((flat, flat), (flat, ramp), (ramp, flat)):
        product = np.correlate(down, down, "full")[lags] @ covariance @ np.correlate(across, across, "full")[lags]
        removed += float(product)
    return float(np.clip((side * side - removed) / (side * side - 3), 0.75, 1.0))


def autocovariance_by_direction(
    mean: NDArray[np.float64], mean_sector_share: NDArray[np.float64], n: int = 64
) -> NDArray[np.float64]:
    """Split a mean autocovariance by the direction of the rays.

    Noise from rays of one direction varies across the ray only, so its power lies along one line of the Fourier plane.

    Parameters
    ----------
    mean : ndarray of shape (2 h + 1, 2 h + 1), float64
        Autocovariance where the noise was measured.
    mean_sector_share : ndarray of shape (sectors,), float64
        Share of the variance from each direction there, with the sum 1.
    n : int
        Side of the Fourier transforms.

    Returns
    -------
    ndarray of shape (sectors, 2 h + 1, 2 h + 1), float64
        Autocovariance of noise from one direction only; weighted by `mean_sector_share`, their mean is 1 at lag 0.
    """
    h, sectors = mean.shape[0] // 2, mean_sector_share.size
    taper = np.hanning(2 * h + 3)[1:-1]
    padded = np.zeros((n, n))
    padded[: 2 * h + 1, : 2 * h + 1] = mean * np.outer(taper, taper)
    power = np.maximum(np.fft.fft2(np.roll(padded, (-h, -h), (0, 1))).real, 0)
    fy, fx = np.meshgrid(np.fft.fftfreq(n), np.fft.fftfreq(n), indexing="ij")
    frequency = np.hypot(fy, fx)
    direction = np.mod(np.arctan2(fy, fx), math.pi) / math.pi * sectors
    expected = mean_sector_share[np.minimum(direction.astype(int), sectors - 1)] * sectors
    edges = np.arange(0, 0.75, 1 / 64)
    rings = [np.exp(-0.5 * ((frequency - edge) * 64 / 0.6) ** 2) for edge in edges]
    radial = np.interp(frequency, edges, [(ring * power).sum() / (ring * expected).sum() for ring in rings])
    covariances = []
    for sector in range(sectors):
        weight = np.maximum(0, 1 - np.abs((direction - 0.5 - sector + sectors / 2) % sectors - sectors / 2))
        weight[0, 0] = 1 / sectors
        covariance = np.fft.ifft2(radial * weight * sectors).real
        covariances.append(np.roll(covariance, (h, h), (0, 1))[: 2 * h + 1, : 2 * h + 1])
    by_direction = np.array(covariances)
    unit: NDArray[np.float64] = by_direction / np.tensordot(mean_sector_share, by_direction, 1)[h, h]
    return unit
