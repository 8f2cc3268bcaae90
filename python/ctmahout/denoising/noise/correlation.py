"""The noise in flat windows by frequency: its variance, its correlation in the slice, by direction, and along z.

Noise is alike in neighbouring slices as far as they overlap or were interpolated, anatomy over many slices; so the two
are told apart by what is alike in slices that are two and three apart, at each frequency. The noise of filtered
back-projection has a radial power of its own (ramp and kernel) and, at each place, the directions of the rays that are
noisiest there.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .flat import FlatWindows

__all__ = ["REACH", "Measured", "autocovariance_by_direction", "measure_correlation"]

Float64 = NDArray[np.float64]

REACH = 16  # pixels: the largest lag
_RAMP_FROM = 0.03  # cycles per pixel: what windows can tell
_REACH_Z = 3  # slices: the largest lag along z
_ANATOMY = 2.0  # a variance so many times the median is anatomy's
_BANDS = (0.09, 0.17, 0.27)  # cycles per pixel: where correlation along z is told apart
_SIGNIFICANT = 2.0  # standard errors from which a correlation is one
_OWN_MOST = 0.3  # correlation of the noise with the next slice beside which that of anatomy shows
_LIKENESS, _TEXTURE_MOST = (0.5, 0.95), 0.95  # what that of anatomy with the next slice can be; its largest share
_ALIKE, _GOES_ON = (0.25, 0.1), 0.55  # least correlations of anatomy without noise; how slowly they fall off
_ANATOMY_FROM = 0.85  # no noise is so much alike in neighbouring slices
_FROM, _TO = 0.4, 0.85  # shares of the power below the frequencies between which the kernel is told


@dataclass(frozen=True)
class Measured:
    """What flat windows told.

    Attributes
    ----------
    variance : float
        Of the noise, over what the map says.
    autocovariance : ndarray of shape (2 REACH + 1, 2 REACH + 1), float64
        Of the noise in a slice over lags in y and x; 1 at lag 0.
    along_z : tuple of float
        Correlation of the noise with the next slice and the one after, over all frequencies.
    texture : float
        Share of the windows' variance that is anatomy's.
    is_noise : bool
        False where all of it is anatomy's.
    windows : int
        How many were used.
    """

    variance: float
    autocovariance: Float64
    along_z: tuple[float, float]
    texture: float
    is_noise: bool
    windows: int


def measure_correlation(hu: NDArray[np.float32], windows: FlatWindows, overlap: float) -> Measured:
    """Measure the noise in flat windows.

    Parameters
    ----------
    hu : ndarray of shape (z, y, x), float32, HU
        Two slices at least.
    windows : FlatWindows
    overlap : float
        Share of a slice that its neighbour covers, too.
    """
    side = windows.side
    pieces = _pieces(hu, windows)
    variances = np.square(pieces[_REACH_Z]).sum(axis=(1, 2)) / (side * side - 3)
    kept = variances <= _ANATOMY * np.median(variances)
    # Tapered, or the anatomy of low frequencies would leak into the high ones.
    taper = np.sin(math.pi * (np.arange(side) + 0.5) / side)
    spectra = np.fft.fft2(pieces[:, kept] * np.outer(taper, taper), (2 * side, 2 * side))
    inside = [(z >= 0) & (z < len(hu)) for z in windows.corners[kept, 0] + _offsets()[:, None]]
    # What is alike of a window and the same place so many slices away. The window itself had no say in being chosen;
    # those next to it had.
    own = spectra[_REACH_Z]
    planes = [np.square(np.abs(own)).mean(axis=0)]
    for lag in range(1, min(_REACH_Z + 1, len(hu))):
        both = [(spectra[_REACH_Z + sign * lag], inside[_REACH_Z + sign * lag]) for sign in (-1, 1)]
        total = sum(np.real(own[there] * other[there].conj()).sum(axis=0) for other, there in both)
        planes.append(total / max(1, sum(int(there.sum()) for _, there in both)))
    rings = _Rings(2 * side)
    lags = [rings.means(plane) for plane in planes]
    power = np.maximum(lags[0], 1e-12 * lags[0].max() + 1e-30)
    is_noise = not _is_anatomy(lags, rings, overlap)
    share, noise_alike = _noise_by_frequency(lags, rings.count, rings.frequency, own.shape[0], overlap)
    total = rings.sum(power)
    share *= np.minimum(1, _most_by_kernel(power, rings) / (share * power))
    of_noise = rings.sum(share * power) / total
    # Its directions are those of what differs between slices: less of it is anatomy.
    differs = _differing(spectra, inside)
    of_difference = share * power / np.maximum(rings.means(differs), 1e-12 * total / rings.count.sum())
    covariance = _unbiased(differs * rings.spread(of_difference), taper)
    return Measured(
        variance=float(variances[kept].mean()) * of_noise / _left_by_plane(covariance, side),
        autocovariance=covariance,
        along_z=(
            rings.sum(share * power * noise_alike[0]) / (of_noise * total),
            rings.sum(share * power * noise_alike[1]) / (of_noise * total),
        ),
        texture=1 - of_noise,
        is_noise=is_noise,
        windows=own.shape[0],
    )


def _offsets() -> NDArray[np.intp]:
    return np.arange(-_REACH_Z, _REACH_Z + 1)


def _pieces(hu: NDArray[np.float32], windows: FlatWindows) -> Float64:
    """Return windows and the same places in the slices around less their planes, over the map's SD.

    Returns
    -------
    ndarray of shape (7, n, side, side)
        From three slices before to three after; beyond the volume its first or last slice.
    """
    n = windows.side
    z = np.clip(windows.corners[:, 0] + _offsets()[:, None], 0, len(hu) - 1)[:, :, None, None]
    y, x = (windows.corners[:, axis, None] + np.arange(n) for axis in (1, 2))
    pieces: Float64 = hu[z, y[None, :, :, None], x[None, :, None, :]] / windows.sd[:, None, None]
    ramp = np.arange(n) - (n - 1) / 2
    pieces -= pieces.mean(axis=(2, 3), keepdims=True)
    ramp /= np.sqrt(n * np.square(ramp).sum())
    for pattern in (np.tile(ramp, (n, 1)), np.tile(ramp[:, None], (1, n))):
        pieces -= np.einsum("zrij,ij->zr", pieces, pattern)[:, :, None, None] * pattern
    return pieces


def _differing(spectra: NDArray[np.complex128], inside: list[NDArray[np.bool_]]) -> Float64:
    """Return the power of windows less the mean of the places before and after, of which one may be missing."""
    before, own, after = spectra[_REACH_Z - 1 : _REACH_Z + 2]
    weights = np.array(inside[_REACH_Z - 1 : _REACH_Z + 2 : 2], np.float64)[..., None, None]
    total = np.maximum(weights.sum(axis=0), 1)
    differs = own - (weights[0] * before + weights[1] * after) / total
    power: Float64 = (np.square(np.abs(differs)) / (1 + 1 / total)).mean(axis=0)
    return power


class _Rings:
    """Rings of equal frequency of a Fourier transform of n x n, one bin wide."""

    def __init__(self, n: int) -> None:
        frequency = np.hypot(np.fft.fftfreq(n, 1 / n)[:, None], np.fft.fftfreq(n, 1 / n)[None])
        self._ring = np.rint(frequency).astype(np.intp)
        self.count: Float64 = np.bincount(self._ring.ravel()).astype(np.float64)
        self.frequency = np.arange(self.count.size) / n

    def means(self, plane: Float64) -> Float64:
        """Return the mean of each ring."""
        sums: Float64 = np.bincount(self._ring.ravel(), plane.ravel()).astype(np.float64)
        return sums / self.count

    def sum(self, means: Float64) -> float:
        """Return the sum over the plane of what has these means."""
        return float(means @ self.count)

    def spread(self, rings: Float64) -> Float64:
        """Return the plane whose rings have these values."""
        plane: Float64 = rings[self._ring]
        return plane


def _noise_by_frequency(
    lags: list[Float64], count: Float64, frequency: Float64, windows: int, overlap: float
) -> tuple[Float64, Float64]:
    """Tell noise from anatomy in bands of frequency.

    At the highest frequencies there is hardly any anatomy: the noise's correlation r with the next slice is what is
    found there. Below, a share a of the variance is anatomy's, whose likeness rho falls off by the same factor with
    each slice, while noise is not alike in slices that do not overlap: correlations with slices one and two apart are
    (1 - a) r + a rho and a rho^2.

    Parameters
    ----------
    lags : list of ndarray of shape (rings,)
        Power, and what is alike of it in slices one, two, .. apart.
    count : ndarray of shape (rings,)
        Frequencies in each ring.
    frequency : ndarray of shape (rings,), cycles per pixel
    windows : int
    overlap : float

    Returns
    -------
    share : ndarray of shape (rings,)
        1 - a.
    noise_alike : ndarray of shape (2, rings)
        Correlation of the noise with slices one and two apart.
    """
    band = np.digitize(frequency, _BANDS)
    power, *rest = [np.bincount(band, lag * count, len(_BANDS) + 1).astype(np.float64) for lag in lags]
    one, two = ([*rest, np.zeros_like(power)])[:2]
    one, two = one / np.maximum(power, 1e-30), two / np.maximum(power, 1e-30)
    # Of the frequencies of a padded window a quarter are independent, and half of these are conjugates.
    chance = _SIGNIFICANT / np.sqrt(windows * np.bincount(band, count, len(_BANDS) + 1) / 8)
    expected = [max(0.0, 1 - lag * (1 - overlap)) for lag in (1, 2)]
    texture, likeness = np.zeros(one.size), np.ones(one.size)
    if len(lags) == 2:  # what is alike beyond the overlap is anatomy's
        texture = np.clip((one - expected[0]) / (1 - expected[0] + 1e-9), 0, _TEXTURE_MOST)
    else:
        own, beyond = max(0.0, one[-1]), two - max(0.0, expected[1], two[-1])
        # Where noise is much alike itself, a little more of that at low frequencies says nothing of anatomy.
        telling = (one - own > chance) & (beyond > chance) & (own < _OWN_MOST)
        for k in np.nonzero(telling)[0]:
            # a = (c1 - r) / (rho - r) in c2 = a rho^2
            excess = one[k] - own
            root = math.sqrt(max(0.0, beyond[k] ** 2 - 4 * excess * beyond[k] * own))
            likeness[k] = np.clip((beyond[k] + root) / (2 * excess), max(_LIKENESS[0], own + 0.1), _LIKENESS[1])
            texture[k] = np.clip(excess / (likeness[k] - own), 0, _TEXTURE_MOST)
    noise = [(c - texture * likeness**lag) / (1 - texture) for lag, c in ((1, one), (2, two))]
    alike = np.array([np.where(c > chance, np.clip(c, 0, 0.9), 0) for c in noise])
    return (1 - texture)[band], alike[:, band]


def _most_by_kernel(power: Float64, rings: _Rings) -> Float64:
    """Return the power by ring that noise can have at most, told by the higher frequencies: anatomy is in the lower.

    The power of filtered back-projection is that of the ramp times the square of a kernel, which goes nearly with the
    exponential of the square of the frequency; a kernel that enhances edges is taken for flat.
    """
    below = np.cumsum(power * rings.count) / rings.sum(power)
    first, last = (int(np.searchsorted(below, level)) for level in (_FROM, _TO))
    used = np.arange(max(first, 1), max(last, first + 3) + 1)
    used = used[used < power.size]
    squares, logs = rings.frequency[used] ** 2, np.log(power[used] / rings.frequency[used])
    weight = rings.count[used] / rings.count[used].sum()
    middle, level = weight @ squares, weight @ logs
    slope = min(0.0, weight @ ((squares - middle) * (logs - level)) / max(weight @ (squares - middle) ** 2, 1e-12))
    most = np.maximum(rings.frequency, _RAMP_FROM) * np.exp(level + slope * (rings.frequency**2 - middle))
    return np.where(np.arange(power.size) < first, most, power)


def _is_anatomy(lags: list[Float64], rings: _Rings, overlap: float) -> bool:
    """Tell whether so much is alike that there is no noise beside it, at the frequencies where noise is strongest.

    Noise is alike as far as slices overlap, so its likeness falls off to nothing; that of anatomy goes on.
    """
    if len(lags) < 4:
        return False
    high = rings.frequency >= _BANDS[-1]
    power, one, two, three = (rings.sum(np.where(high, lag, 0)) for lag in lags)
    expected = [power * max(0.0, 1 - lag * (1 - overlap)) for lag in (1, 2)]
    alike = one - expected[0] > _ALIKE[0] * power and two - expected[1] > _ALIKE[1] * power
    return alike and (one > _ANATOMY_FROM * power or three > _GOES_ON * two)


def _unbiased(power: Float64, taper: Float64) -> Float64:
    """Return the autocovariance of tapered windows that were padded to twice their side, 1 at lag 0.

    Beyond two thirds of their side, where few pixels tell, it is 0.
    """
    side = taper.size
    overlap = np.correlate(taper, taper, "full")
    centred = np.fft.fftshift(np.fft.ifft2(power).real)[1:, 1:] / np.outer(overlap, overlap)
    reach = min(REACH, 2 * side // 3)
    cut = centred[side - 1 - reach : side + reach, side - 1 - reach : side + reach]
    return np.pad(cut / max(float(cut[reach, reach]), 1e-30), REACH - reach)


def _left_by_plane(autocovariance: Float64, side: int) -> float:
    """Return the share of the variance of such noise that is left in a window less its plane, by degree of freedom."""
    ramp = np.arange(side) - (side - 1) / 2
    flat, ramp = np.full(side, side**-0.5), ramp / np.sqrt(np.square(ramp).sum())
    reach = min(REACH, side - 1)
    lags = np.s_[side - 1 - reach : side + reach]
    cut = autocovariance[REACH - reach : REACH + reach + 1, REACH - reach : REACH + reach + 1]
    taken = 0.0
    for down, across in ((flat, flat), (flat, ramp), (ramp, flat)):
        taken += float(np.correlate(down, down, "full")[lags] @ cut @ np.correlate(across, across, "full")[lags])
    return float(np.clip((side * side - taken) / (side * side - 3), 0.75, 1.0))


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
    radial = np.interp(frequency, edges, [(r * power).sum() / (r * expected).sum() for r in rings])
    found = []
    for sector in range(sectors):
        share = np.maximum(0, 1 - np.abs((direction - 0.5 - sector + sectors / 2) % sectors - sectors / 2))
        share[0, 0] = 1 / sectors
        covariance = np.fft.ifft2(radial * share * sectors).real
        found.append(np.roll(covariance, (h, h), (0, 1))[: 2 * h + 1, : 2 * h + 1])
    by_direction = np.array(found)
    unit: NDArray[np.float64] = by_direction / np.tensordot(mean_share, by_direction, 1)[h, h]
    return unit
