"""Structure that the passes took for noise: what the residual holds beyond noise goes back to where it was.

A group's basis knows what many patches have in common. A detail that few patches hold has no direction there and is
shrunk like noise, however far it stands above the noise. So the residual is looked at once more, in the wavelet bands
of the a trous transform (Shensa 1992, IEEE Trans. Signal Processing 40(10), 2464): the multiresolution support of
Starck, Murtagh and Bijaoui 1995, Graphical Models and Image Processing 57(5), 420, with the energy around a place as
its criterion.
"""

from __future__ import annotations

import numba
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from ..noise import NoiseModel
from ..workers import Threads

__all__ = ["restore_structure"]

Float32 = NDArray[np.float32]
Float64 = NDArray[np.float64]

_BANDS = 4  # of wavelets of some 2, 4, 8 and 16 pixels
_SPLINE = (1 / 16, 4 / 16, 6 / 16, 4 / 16, 1 / 16)
_SIGNIFICANT = 4.0  # SDs of the noise's coefficient that the series' own exceeds
_ENERGY = (2.5, 5.0)  # mean square of the residual's coefficients, noise variances: nothing is returned, and all
_WINDOW = 5  # pixels: side of the window that energy is averaged over
_ROUNDS = 2  # bands overlap: what one round returns of a detail is not all of it
_SLAB = 8  # slices worked on at a time


def restore_structure(before: Float32, after: Float32, noise: NoiseModel, threads: Threads) -> None:
    """Return to a result, in place, the significant structure of its residual.

    Parameters
    ----------
    before, after : ndarray of shape (z, y, x), float32, HU
        A series, and what the passes made of it.
    noise : NoiseModel
        Of the series.
    threads : Threads
        The answer does not depend on how many there are.
    """
    sd = band_sd(noise)

    def of(start: int) -> Float32:
        stop = min(start + _SLAB, len(before))
        low, high = max(0, start - 1), min(stop + 1, len(before))
        level = noise.sd(low, high, *before.shape[1:])
        found = _structure(before[low:high] / level, (before[low:high] - after[low:high]) / level, sd, noise.along_z)
        found *= level
        return found[start - low : stop - low]

    starts = range(0, len(before), _SLAB)
    # A slab looks at its neighbours as they were: results are added one slab behind.
    previous: tuple[int, Float32] | None = None
    for start, found in zip(starts, threads.map(of, starts), strict=True):
        if previous is not None:
            after[previous[0] : previous[0] + len(previous[1])] += previous[1]
        previous = start, found
    if previous is not None:
        after[previous[0] : previous[0] + len(previous[1])] += previous[1]


def band_sd(noise: NoiseModel) -> Float64:
    """Return the SD of a coefficient in each band, for noise of an SD of 1; of shape (bands,)."""
    share = noise.share.mean(axis=(1, 2, 3), dtype=np.float64)
    covariance = np.tensordot(share / share.sum(), noise.autocovariance, 1)
    reach, side = covariance.shape[0] // 2, 64
    taper = np.hanning(2 * reach + 3)[1:-1]
    padded = np.zeros((side, side))
    padded[: 2 * reach + 1, : 2 * reach + 1] = covariance * np.outer(taper, taper)
    power = np.maximum(np.fft.fft2(np.roll(padded, (-reach, -reach), (0, 1))).real, 0)
    frequency = np.fft.fftfreq(side)
    smoothed, found = np.ones((side, side)), []
    for band in range(_BANDS):
        step = 2**band
        along = sum(weight * np.cos(2 * np.pi * frequency * (tap - 2) * step) for tap, weight in enumerate(_SPLINE))
        low = np.outer(along, along)
        found.append(np.sqrt((power * (smoothed * (1 - low)) ** 2).mean()))
        smoothed = smoothed * low
    return np.array(found)


def _structure(series: Float32, residual: Float32, sd: Float64, along_z: tuple[float, float]) -> Float32:
    """Return what goes back; all in units of the noise's SD, of shape (z, y, x)."""
    bands = _bands(residual)
    gates = [
        _gate(of_series, of_residual, float(unit), along_z)
        for of_series, of_residual, unit in zip(_bands(series), bands, sd, strict=True)
    ]
    returned = np.zeros_like(residual)
    for turn in range(_ROUNDS):
        if turn:
            bands = _bands(residual - returned)
        returned += sum(gate * band for gate, band in zip(gates, bands, strict=True))
    return returned


def _gate(series: Float32, residual: Float32, sd: float, along_z: tuple[float, float]) -> Float32:
    """Return the share of a band's residual that is structure, told by single slices or by three together."""
    gate = np.zeros_like(residual)
    support = np.zeros(residual.shape, np.bool_)
    unit = np.full((len(residual), 1, 1), sd, np.float32)
    for own, rest, of_noise in (
        (series, residual, unit),
        (_over_neighbours(series), _over_neighbours(residual), unit * _sd_over_neighbours(len(residual), along_z)),
    ):
        support |= np.abs(own) > np.float32(_SIGNIFICANT) * of_noise
        energy = ndimage.uniform_filter((rest / of_noise) ** 2, (1, _WINDOW, _WINDOW))
        np.maximum(gate, np.clip((energy - _ENERGY[0]) / (_ENERGY[1] - _ENERGY[0]), 0, 1), out=gate)
    gate *= support
    return gate


def _over_neighbours(band: Float32) -> Float32:
    """Return means over each slice and the slices next to it."""
    total, count = band.copy(), np.ones((len(band), 1, 1), np.float32)
    for mine, theirs in ((slice(1, None), slice(None, -1)), (slice(None, -1), slice(1, None))):
        total[mine] += band[theirs]
        count[mine] += 1
    mean: Float32 = total / count
    return mean


def _sd_over_neighbours(slices: int, along_z: tuple[float, float]) -> Float32:
    """Return the SD of noise of an SD of 1 in `_over_neighbours`, of shape (z, 1, 1)."""
    count = np.full(slices, 1.0) + (np.arange(slices) > 0) + (np.arange(slices) < slices - 1)
    one, two = along_z
    variance = (count + 2 * np.maximum(count - 1, 0) * one + 2 * np.maximum(count - 2, 0) * two) / count**2
    found: Float32 = np.sqrt(variance).astype(np.float32)[:, None, None]
    return found


def _bands(volume: Float32) -> list[Float32]:
    """Return the wavelet bands of each slice, the finest first; what is coarser than all is left out."""
    found = []
    for band in range(_BANDS):
        smooth = np.empty_like(volume)
        _smooth(volume, 2**band, smooth)
        found.append(volume - smooth)
        volume = smooth
    return found


@numba.njit(cache=True, nogil=True)
def _smooth(volume, step, out):  # type: ignore[no-untyped-def]
    """Smooth each slice by the B3 spline with holes of `step` - 1 pixels between its taps; slices are mirrored."""
    slices, rows, columns = volume.shape
    far, near, middle = np.float32(1 / 16), np.float32(4 / 16), np.float32(6 / 16)
    row = np.empty(columns + 4 * step, np.float32)
    beside = np.empty(4 * step, np.int64)
    for i in range(2 * step):
        beside[i] = _mirror(i - 2 * step, columns)
        beside[2 * step + i] = _mirror(columns + i, columns)
    across = np.empty((rows, columns), np.float32)
    for z in range(slices):
        for y in range(rows):
            for i in range(2 * step):
                row[i] = volume[z, y, beside[i]]
                row[columns + 2 * step + i] = volume[z, y, beside[2 * step + i]]
            for x in range(columns):
                row[2 * step + x] = volume[z, y, x]
            for x in range(columns):
                outer = row[x] + row[x + 4 * step]
                inner = row[x + step] + row[x + 3 * step]
                across[y, x] = far * outer + near * inner + middle * row[x + 2 * step]
        for y in range(rows):
            a, b = _mirror(y - 2 * step, rows), _mirror(y - step, rows)
            c, d = _mirror(y + step, rows), _mirror(y + 2 * step, rows)
            for x in range(columns):
                outer, inner = across[a, x] + across[d, x], across[b, x] + across[c, x]
                out[z, y, x] = far * outer + near * inner + middle * across[y, x]


@numba.njit(cache=True, nogil=True)
def _mirror(at, length):  # type: ignore[no-untyped-def]
    """Return the pixel that lies at `at` in a row mirrored at both of its ends, as often as needed."""
    at %= 2 * length
    return at if at < length else 2 * length - 1 - at
