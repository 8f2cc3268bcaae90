"""Matched filters in a wavelet band: how much of the series' local structure is in the residual, in SDs of the noise.

`likeness` takes the series' own coefficients around a place for the template. `line_evidence` has lines of several
directions for templates, since a line's evidence lies along it: a window's sum grows with its length, the noise in it
with about the root (Turin 1960, IRE Trans. Information Theory 6(3), 311). Noise of few rays is streaks, which are lines
as well; so the noise of a line is that of its direction and place.
"""

from __future__ import annotations

import numba
import numpy as np
from numpy.typing import NDArray

__all__ = ["likeness", "line_evidence", "line_variance", "mirror"]

Float32 = NDArray[np.float32]
Float64 = NDArray[np.float64]

_AROUND = 2  # pixels to each side of a place: squares of 5
_DIRECTIONS = 8
_LEAST = 0.25  # of the variance's mean
_REACH = 4  # pixels to each side of the middle: windows of 9


def _windows() -> NDArray[np.int64]:
    """Return the steps in y and x to the pixels of each window, of shape (directions, pixels, 2)."""
    turn = np.arange(_DIRECTIONS) * np.pi / _DIRECTIONS
    along = np.stack([np.sin(turn), np.cos(turn)], axis=1)
    return np.rint(along[:, None] * np.arange(-_REACH, _REACH + 1)[:, None]).astype(np.int64)


_WINDOWS = _windows()


def likeness(series: Float32, residual: Float32) -> Float32:
    """Return the residual's part along the series, within 5 x 5 pixels of each place.

    Parameters
    ----------
    series, residual : ndarray of shape (z, y, x), float32
        Their coefficients in a band, in SDs of the noise's. Both hold the same noise: its variance, 1, is no likeness.

    Returns
    -------
    ndarray of shape (z, y, x), float32
        A coefficient's size, of the residual's where it is a share of the series', and of its sign.
    """
    likeness_map = np.empty_like(series)
    _project(series, residual, likeness_map)
    return likeness_map


def line_variance(power: Float64, share: Float32) -> Float32:
    """Return the variance of a band's sum over each window, by place.

    Parameters
    ----------
    power : ndarray of shape (sectors, n, n)
        Of the noise in the band, of an SD of 1, by the direction of its rays; the mean is the variance.
    share : ndarray of shape (sectors, z, gy, gx)
        As of a `NoiseModel`.

    Returns
    -------
    ndarray of shape (directions, z, gy, gx), float32
    """
    frequency = 2 * np.pi * np.fft.fftfreq(power.shape[-1])
    of_sectors = []
    for window in _WINDOWS:
        phase = window[:, :1, None] * frequency[:, None] + window[:, 1:, None] * frequency
        response = np.abs(np.exp(1j * phase).sum(axis=0)) ** 2
        of_sectors.append((power * response).mean(axis=(1, 2)))
    sums = np.tensordot(np.array(of_sectors, np.float32), share / share.sum(axis=0), 1)
    # Of an estimate some powers are below nothing, so some sums may be.
    variance: Float32 = np.maximum(sums, _LEAST * sums.mean())
    return variance


def line_evidence(series: Float32, residual: Float32, variance: Float32, cell: int, significant: float) -> Float32:
    """Return how far lines of the residual stand above the noise, SDs: the most of all windows.

    Only windows count in which the series itself is significant, and the residual of its sign: a detail that was
    weakened is in both.

    Parameters
    ----------
    series, residual : ndarray of shape (z, y, x), float32
        Their coefficients in a band.
    variance : ndarray of shape (directions, z, gy, gx), float32
        Of noise in each window.
    cell : int, pixels
        Side of a cell of `variance`.
    significant : float
        SDs.

    Returns
    -------
    ndarray of shape (z, y, x), float32
        0 where there is none.
    """
    beyond = ((0, 0), (_REACH, _REACH), (_REACH, _REACH))
    evidence = np.zeros_like(series)
    padded, rest = (np.pad(band, beyond, mode="symmetric") for band in (series, residual))
    _strongest(padded, rest, np.sqrt(variance), cell, np.float32(significant), _WINDOWS + _REACH, evidence)
    return evidence


@numba.njit(cache=True, nogil=True)
def _project(series, residual, out):  # type: ignore[no-untyped-def]
    slices, rows, columns = out.shape
    side = 2 * _AROUND + 1
    common, power = np.empty(columns + 2 * _AROUND, np.float32), np.empty(columns + 2 * _AROUND, np.float32)
    for z in range(slices):
        for y in range(rows):
            common[:] = 0
            power[:] = 0
            for step in range(-_AROUND, _AROUND + 1):
                line, rest = series[z, mirror(y + step, rows)], residual[z, mirror(y + step, rows)]
                for x in range(columns):
                    common[_AROUND + x] += line[x] * rest[x]
                    power[_AROUND + x] += line[x] * line[x]
            for x in range(_AROUND):
                left, right = _AROUND + mirror(x - _AROUND, columns), _AROUND + mirror(columns + x, columns)
                common[x], common[columns + _AROUND + x] = common[left], common[right]
                power[x], power[columns + _AROUND + x] = power[left], power[right]
            for x in range(columns):
                alike, size = np.float32(0), np.float32(0)
                for step in range(side):
                    alike += common[x + step]
                    size += power[x + step]
                places = np.float32(side * side)
                out[z, y, x] = (alike / places - np.float32(1)) / np.sqrt(max(size / places, np.float32(1)))


@numba.njit(cache=True, nogil=True)
def _strongest(coefficients, rest, sd, cell, significant, windows, out):  # type: ignore[no-untyped-def]
    slices, rows, columns = out.shape
    of_own, of_rest, unit = np.empty(columns, np.float32), np.empty(columns, np.float32), np.empty(columns, np.float32)
    for z in range(slices):
        for y in range(rows):
            best = out[z, y]
            for direction in range(len(windows)):
                for cells in range(sd.shape[3]):
                    unit[cells * cell : (cells + 1) * cell] = sd[direction, z, y // cell, cells]
                of_own[:] = 0
                of_rest[:] = 0
                for at in range(windows.shape[1]):
                    row, first = y + windows[direction, at, 0], windows[direction, at, 1]
                    series, residual = (
                        coefficients[z, row, first : first + columns],
                        rest[z, row, first : first + columns],
                    )
                    for x in range(columns):
                        of_own[x] += series[x]
                        of_rest[x] += residual[x]
                for x in range(columns):
                    evidence = np.copysign(of_rest[x], of_rest[x] * of_own[x]) / unit[x]
                    if abs(of_own[x]) > significant * unit[x] and evidence > best[x]:
                        best[x] = evidence


@numba.njit(cache=True, nogil=True)
def mirror(at, length):  # type: ignore[no-untyped-def]
    """Return the pixel that lies at `at` in a row mirrored at both of its ends, as often as needed."""
    at %= 2 * length
    return at if at < length else 2 * length - 1 - at
