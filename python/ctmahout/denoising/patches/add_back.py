"""Add back to a result the structure that the passes removed as noise, found in the residual.

A group's basis spans what many patches have in common. A detail of few patches has no direction in it and is
shrunk like noise, however far it stands above the noise. So the residual is searched once more, in the wavelet bands
of the a trous transform (Shensa 1992, IEEE Trans. Signal Processing 40(10), 2464): the multiresolution support of
Starck, Murtagh and Bijaoui 1995, Graphical Models and Image Processing 57(5), 420. Coefficients are added back where
the residual resembles the series itself around a place (a matched filter), or is significant along a line through it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numba
import numpy as np
from numpy.typing import NDArray

from ...engines.workers import Threads
from ..noise import NoiseModel
from .matched_filter import likeness, line_evidence, line_variance, mirror

__all__ = ["restore_structure"]

Float32 = NDArray[np.float32]
Float64 = NDArray[np.float64]

_BANDS = 5  # of wavelets of some 2, 4, 8, 16 and 32 pixels
_SPLINE = (1 / 16, 4 / 16, 6 / 16, 4 / 16, 1 / 16)
# SDs of the noise's coefficient that the series' own exceeds, by band: the coarser, the fewer are independent.
_SIGNIFICANT = (4.0, 4.0, 3.0, 3.0, 3.0)
_LIKE = (
    1.0,
    2.0,
)  # SDs of the residual along the series' coefficients: from none to all added back
_LINE_BAND = 1  # lines are looked for where wavelets are as wide as sulci and vessels
_LINE = (3.0, 4.5)  # SDs of the residual along a line, likewise
_ROUNDS = 2  # bands overlap: one round does not add back all of a detail
_SLAB = 8  # slices worked on at a time
_SIDE = 64  # pixels of the spectra that SDs come from


def restore_structure(before: Float32, after: Float32, noise: NoiseModel, threads: Threads) -> None:
    """Add the significant structure of the residual to a result, in place.

    Parameters
    ----------
    before, after : ndarray of shape (z, y, x), float32, HU
        The series and the estimate of the passes.
    noise : NoiseModel
        Of the series.
    threads : Threads
        The answer does not depend on how many there are.
    """
    sd = band_sd(noise)
    lines = line_variance(_powers(noise) * _responses()[_LINE_BAND] ** 2, noise.sector_share)

    def structure_of(start: int) -> Float32:
        stop = min(start + _SLAB, len(before))
        low, high = max(0, start - 1), min(stop + 1, len(before))
        sigma = noise.sigma_hu(low, high, *before.shape[1:])
        scale = _NoiseScale(sd, lines[:, low:high], noise.cell, noise.z_correlation)
        structure = _structure(before[low:high] / sigma, (before[low:high] - after[low:high]) / sigma, scale)
        structure *= sigma
        return structure[start - low : stop - low]

    starts = range(0, len(before), _SLAB)
    # A slab reads its neighbours unchanged: results are added one slab behind.
    previous: tuple[int, Float32] | None = None
    for start, structure in zip(starts, threads.map(structure_of, starts), strict=True):
        if previous is not None:
            after[previous[0] : previous[0] + len(previous[1])] += previous[1]
        previous = start, structure
    if previous is not None:
        after[previous[0] : previous[0] + len(previous[1])] += previous[1]


@dataclass(frozen=True, eq=False)
class _NoiseScale:
    """The noise of wavelet coefficients in some slices, in units of its SD.

    Attributes
    ----------
    sd : ndarray of shape (bands,)
        Of a coefficient in each band.
    lines : ndarray of shape (directions, z, gy, gx), float32
        Variance of sums along lines, in `_LINE_BAND`.
    cell : int
        Side in pixels of a cell of `lines`.
    along_z : tuple of float
        Correlation with the next slice and the one after.
    """

    sd: Float64
    lines: Float32
    cell: int
    along_z: tuple[float, float]


def band_sd(noise: NoiseModel) -> Float64:
    """Return the SD of a coefficient in each band, for noise of an SD of 1; of shape (bands,)."""
    share = noise.sector_share.mean(axis=(1, 2, 3), dtype=np.float64)
    power = np.maximum(np.tensordot(share / share.sum(), _powers(noise), 1), 0)
    return np.array([np.sqrt((power * response**2).mean()) for response in _responses()])


def _powers(noise: NoiseModel) -> Float64:
    """Return the power spectrum of noise of an SD of 1 by the direction of its rays, of shape (sectors, side, side)."""
    reach = noise.autocovariance.shape[1] // 2
    taper = np.hanning(2 * reach + 3)[1:-1]
    padded = np.zeros((len(noise.autocovariance), _SIDE, _SIDE))
    padded[:, : 2 * reach + 1, : 2 * reach + 1] = noise.autocovariance * np.outer(taper, taper)
    power: Float64 = np.fft.fft2(np.roll(padded, (-reach, -reach), (1, 2))).real
    return power


def _responses() -> list[Float64]:
    """Return the frequency responses of the bands, each of shape (side, side)."""
    frequency = np.fft.fftfreq(_SIDE)
    smoothed, responses = np.ones((_SIDE, _SIDE)), []
    for band in range(_BANDS):
        step = 2**band
        along = sum(weight * np.cos(2 * np.pi * frequency * (tap - 2) * step) for tap, weight in enumerate(_SPLINE))
        low = np.outer(along, along)
        responses.append(smoothed * (1 - low))
        smoothed = smoothed * low
    return responses


def _structure(series: Float32, residual: Float32, scale: _NoiseScale) -> Float32:
    """Return what is added back; all in units of the noise's SD, of shape (z, y, x)."""
    bands = _bands(residual)
    gates = [
        _gate(band, coefficients, residuals, scale)
        for band, (coefficients, residuals) in enumerate(zip(_bands(series), bands, strict=True))
    ]
    total = np.zeros_like(residual)
    for iteration in range(_ROUNDS):
        if iteration:
            bands = _bands(residual - total)
        total += sum(gate * band for gate, band in zip(gates, bands, strict=True))
    return total


def _gate(band: int, series: Float32, residual: Float32, scale: _NoiseScale) -> Float32:
    """Return the share of a band's residual that is structure, by single slices or by three together."""
    gate, line = np.zeros_like(residual), np.zeros_like(residual)
    support = np.zeros(residual.shape, np.bool_)
    three = _sd_over_neighbours(len(residual), scale.along_z)
    views = (
        (series, residual, np.ones_like(three)),
        (_over_neighbours(series), _over_neighbours(residual), three),
    )
    for coefficients, residuals, slices in views:
        if band == _LINE_BAND:
            evidence = line_evidence(coefficients, residuals, scale.lines * slices**2, scale.cell, _SIGNIFICANT[band])
            np.maximum(line, evidence, out=line)
        unit = np.float32(scale.sd[band]) * slices
        coefficients, residuals = coefficients / unit, residuals / unit
        support |= np.abs(coefficients) > np.float32(_SIGNIFICANT[band])
        np.maximum(gate, _ramp(likeness(coefficients, residuals), _LIKE), out=gate)
    gate *= support
    return np.maximum(gate, _ramp(line, _LINE))


def _ramp(evidence: Float32, limits: tuple[float, float]) -> Float32:
    """Return 0 below the lower limit, 1 beyond the upper one."""
    share: Float32 = np.clip((evidence - limits[0]) / (limits[1] - limits[0]), 0, 1)
    return share


def _over_neighbours(band: Float32) -> Float32:
    """Return means over each slice and the slices next to it."""
    total, count = band.copy(), np.ones((len(band), 1, 1), np.float32)
    for target, neighbour in ((slice(1, None), slice(None, -1)), (slice(None, -1), slice(1, None))):
        total[target] += band[neighbour]
        count[target] += 1
    mean: Float32 = total / count
    return mean


def _sd_over_neighbours(slices: int, along_z: tuple[float, float]) -> Float32:
    """Return the SD of noise of an SD of 1 in `_over_neighbours`, of shape (z, 1, 1)."""
    count = np.full(slices, 1.0) + (np.arange(slices) > 0) + (np.arange(slices) < slices - 1)
    one, two = along_z
    variance = (count + 2 * np.maximum(count - 1, 0) * one + 2 * np.maximum(count - 2, 0) * two) / count**2
    sd: Float32 = np.sqrt(variance).astype(np.float32)[:, None, None]
    return sd


def _bands(volume: Float32) -> list[Float32]:
    """Return the wavelet bands of each slice, the finest first; the coarsest approximation is left out."""
    bands = []
    for band in range(_BANDS):
        smooth = np.empty_like(volume)
        _smooth(volume, 2**band, smooth)
        bands.append(volume - smooth)
        volume = smooth
    return bands


@numba.njit(cache=True, nogil=True)
def _smooth(volume, step, out):  # type: ignore[no-untyped-def]
    """Smooth each slice by the B3 spline with holes of `step` - 1 pixels between its taps; slices are mirrored."""
    slices, rows, columns = volume.shape
    far, near, middle = np.float32(1 / 16), np.float32(4 / 16), np.float32(6 / 16)
    row = np.empty(columns + 4 * step, np.float32)
    beside = np.empty(4 * step, np.int64)
    for i in range(2 * step):
        beside[i] = mirror(i - 2 * step, columns)
        beside[2 * step + i] = mirror(columns + i, columns)
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
            a, b = mirror(y - 2 * step, rows), mirror(y - step, rows)
            c, d = mirror(y + step, rows), mirror(y + 2 * step, rows)
            for x in range(columns):
                outer, inner = across[a, x] + across[d, x], across[b, x] + across[c, x]
                out[z, y, x] = far * outer + near * inner + middle * across[y, x]
