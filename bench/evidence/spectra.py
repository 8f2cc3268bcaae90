"""Noise power and transfer as AAPM report TG-233 has them (Samei et al. 2019, Med. Phys. 46, e735), by repeats.

The noise of a method is the difference of its results of two scans, over √2: what both have in common, as anatomy,
artefacts and what the method itself adds each time, cancels. The transfer function is that of the edge of a rod.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ctmahout.quality import FlatRegions, NoisePower

__all__ = ["Edge", "edge_profile", "noise_power"]

Float32 = NDArray[np.float32]
Float64 = NDArray[np.float64]

_BIN = 0.1  # pixels, of an edge profile
_REACH_MM = 7.0  # on both sides of an edge


def noise_power(
    first: Float32, second: Float32, corners: Sequence[tuple[int, int]], side: int, spacing_mm: tuple[float, float]
) -> NoisePower:
    """Return the noise power spectrum of two results of shape (z, y, x), in squares of all slices."""
    noise = ((first.astype(np.float64) - second) / np.sqrt(2)).astype(np.float32)
    return FlatRegions(squares(len(first), corners), side).power(noise, spacing_mm)


def squares(slices: int, corners: Sequence[tuple[int, int]]) -> NDArray[np.intp]:
    """Return corners in all slices, of shape (n, 3): slice, row and column."""
    return np.array([(z, *corner) for z in range(slices) for corner in corners], np.intp)


def edge_profile(
    image: Float64, centre: tuple[float, float], radius_mm: float, pixel_mm: float
) -> tuple[Float64, Float64]:
    """Return the mean profile across the edge of a rod: distances from the edge, mm, a tenth of a pixel apart; HU.

    Parameters
    ----------
    image : ndarray of shape (y, x), float64, HU
        The mean of slices and scans.
    centre : tuple of float
        Row and column.
    radius_mm, pixel_mm : float
    """
    rows, columns = (np.arange(n) - c for n, c in zip(image.shape, centre, strict=True))
    distance = np.hypot(rows[:, None], columns) * pixel_mm - radius_mm
    step = _BIN * pixel_mm
    edges = np.arange(-_REACH_MM, _REACH_MM + step, step)
    number = np.digitize(distance.ravel(), edges) - 1
    inside = (number >= 0) & (number < len(edges) - 1)
    count = np.bincount(number[inside], minlength=len(edges) - 1)
    total = np.bincount(number[inside], weights=image.ravel()[inside], minlength=len(edges) - 1)
    at = edges[:-1] + step / 2
    return at, np.interp(at, at[count > 0], total[count > 0] / count[count > 0])


@dataclass(frozen=True)
class Edge:
    """The transfer function of an edge.

    Attributes
    ----------
    frequency_per_mm, transfer : ndarray of shape (n,), float64
        From 0 on, where it is 1.
    contrast_hu : float
        Of the rod to its surroundings.
    """

    frequency_per_mm: Float64
    transfer: Float64
    contrast_hu: float

    @classmethod
    def of(cls, distance_mm: Float64, profile: Float64, limit_per_mm: float) -> Edge:
        """Differentiate a profile, take its part by the edge, and transform it.

        Parameters
        ----------
        distance_mm, profile : ndarray of shape (n,)
            As `edge_profile` returns them.
        limit_per_mm : float
            Frequencies up to this.
        """
        step = distance_mm[1] - distance_mm[0]
        line = -np.diff(profile) / step
        between = distance_mm[:-1] + step / 2
        # Flat by the edge: a Hann window would narrow the line, and lift the transfer of a soft edge by 5 %.
        outer = np.clip(2 * np.abs(between) / np.abs(between).max() - 1, 0, 1)
        window = 0.5 + 0.5 * np.cos(np.pi * outer)
        f = np.arange(0, limit_per_mm, 0.005)
        spectrum = (line * window) @ np.exp(-2j * np.pi * between[:, None] * f)
        ends = len(profile) // 6
        return cls(f, np.abs(spectrum) / np.abs(spectrum[0]), float(profile[:ends].mean() - profile[-ends:].mean()))

    def falls_to(self, level: float) -> float | None:
        """Return the frequency, cycles/mm, at which the transfer first falls below a level; None if it does not."""
        below = np.flatnonzero(self.transfer < level)
        if not len(below):
            return None
        n = below[0]
        high, low = self.transfer[n - 1], self.transfer[n]
        share = (high - level) / (high - low)
        return float(self.frequency_per_mm[n - 1] + share * (self.frequency_per_mm[n] - self.frequency_per_mm[n - 1]))
