"""Model observers: channel outputs of places with and without a signal go in, AUC and d' with intervals come out.

Each scan of a pair has the signal at some places, the other scan at all others. So every place is seen with and
without it, in its surroundings, as in a two-alternative forced choice: the observer says which of two images has the
signal, and the share of right answers is the area under the ROC curve, whatever the distribution of the noise (Barrett
and Myers 2004, Foundations of Image Science, section 13.2.5). Surroundings that are the same in both cancel.

The Hotelling observer weights channels by w = K⁻¹ Δ: Δ is the mean difference of channel outputs, K = S + a diag S
their covariance with the observer's internal noise, independent from channel to channel (Brankov 2013, Phys. Med. Biol.
58, 7159). It learns Δ and S from all other pairs, and never sees the pair that it judges. The non-prewhitening observer
is the same with one channel: the expected signal, filtered twice by the eye's response (Burgess 1994, J. Opt. Soc. Am.
A 11, 1237).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import special

__all__ = ["LEAST_PAIRS", "Judged", "equal_dose", "eye_filtered", "judge", "laguerre_gauss"]

Float64 = NDArray[np.float64]

INTERNAL = 1.0  # a: internal noise as a share of a channel's variance
_CHANNELS = 6
LEAST_PAIRS = 3
# Images are shown at their true size and seen from 500 mm. The eye is at its peak 4 cycles/degree.
_DEGREE_MM, _PEAK, _POWER = 500.0 * np.pi / 180, 4.0, 1.3


def laguerre_gauss(side: int, pixel_mm: float, width_mm: float, count: int = _CHANNELS) -> Float64:
    """Return Laguerre-Gauss channels of norm 1, of shape (side², count) (Gallas and Barrett 2003, eq. 34).

    Parameters
    ----------
    side : int
        Pixels, odd.
    pixel_mm, width_mm : float
        The Gaussian is exp(-π r² / width²).
    """
    axis = (np.arange(side) - side // 2) * pixel_mm
    g = 2 * np.pi * (axis[:, None] ** 2 + axis**2).ravel() / width_mm**2
    channels = np.stack([np.exp(-g / 2) * special.eval_laguerre(n, g) for n in range(count)], axis=1)
    unit: Float64 = channels / np.linalg.norm(channels, axis=0)
    return unit


def eye_filtered(image: Float64, pixel_mm: float) -> Float64:
    """Return an image of shape (n, n) filtered twice by the eye's response f^1.3 exp(-c f²), peak 4 cycles/degree."""
    f = np.fft.fftfreq(len(image), pixel_mm)
    degree = np.hypot(f[:, None], f) * _DEGREE_MM
    response = degree**_POWER * np.exp(-_POWER / 2 * (degree / _PEAK) ** 2)
    filtered: Float64 = np.fft.ifft2(np.fft.fft2(image) * (response / response.max()) ** 2).real
    return filtered


@dataclass(frozen=True)
class Judged:
    """What an observer makes of a task, and the same of resampled data.

    Attributes
    ----------
    auc, d : float
        Share of right answers, and the mean of the differences of its decision variable over their SD, times √2.
    auc_resampled, d_resampled : ndarray of shape (resamples,), float64
    pairs : int
        Of scans.
    """

    auc: float
    d: float
    auc_resampled: Float64
    d_resampled: Float64
    pairs: int

    @property
    def auc_interval(self) -> tuple[float, float]:
        return _interval(self.auc_resampled)

    @property
    def d_interval(self) -> tuple[float, float]:
        return _interval(self.d_resampled)


def judge(
    present: Float64, absent: Float64, *, internal: float = INTERNAL, resamples: int = 500, seed: int = 0
) -> Judged:
    """Judge places with and without a signal.

    Parameters
    ----------
    present, absent : ndarray of shape (pairs, places, slices, channels), float64
        Channel outputs.
    internal : float
        a, internal noise as a share of each channel's variance.
    resamples : int
        Of the bootstrap: of pairs, and of places within them. Observers are not trained anew.

    Raises
    ------
    ValueError
        There are fewer than 3 pairs.
    """
    pairs, places = present.shape[:2]
    if pairs < LEAST_PAIRS:
        raise ValueError(f"{LEAST_PAIRS} pairs or more are expected, not {pairs}")
    each = [_margins(present, absent, k, internal) for k in range(pairs)]
    margin, noise = np.stack([m for m, _ in each]), float(np.mean([v for _, v in each]))
    right = special.ndtr(margin / np.sqrt(noise)) if noise else (margin > 0) + 0.5 * (margin == 0)
    moments = np.stack([right, margin, margin**2]).mean(axis=3)  # over the slices of a place
    rng = np.random.default_rng(seed)
    drawn = rng.integers(pairs, size=(resamples, pairs, 1)), rng.integers(places, size=(resamples, pairs, places))
    auc, d = _figures(moments.mean(axis=(1, 2)), noise)
    resampled = _figures(moments[:, drawn[0], drawn[1]].mean(axis=(2, 3)), noise)
    return Judged(float(auc), float(d), *resampled, pairs)


def _margins(present: Float64, absent: Float64, k: int, internal: float) -> tuple[Float64, float]:
    """Return by how much the right image of pair k wins, (places, slices), and the variance of that by internal noise.

    In units of the SD that the observer expects of its decision variable.
    """
    others = np.arange(len(present)) != k
    residuals = [a[others] - a[others].mean(axis=0) for a in (present, absent)]
    channels = present.shape[-1]
    degrees = 2 * (others.sum() - 1) * present[0, ..., 0].size
    S = sum(r.reshape(-1, channels).T @ r.reshape(-1, channels) for r in residuals) / degrees
    inner = internal * np.diag(np.diag(S))
    delta = (present[others] - absent[others]).mean(axis=(0, 1, 2))
    w = np.linalg.solve(S + inner, delta)
    unit = w / np.sqrt(w @ (S + inner) @ w)
    return (present[k] - absent[k]) @ unit, float(2 * unit @ inner @ unit)


def _figures(moments: Float64, noise: float) -> tuple[Float64, Float64]:
    right, mean, square = moments
    return right, np.sqrt(2) * mean / np.sqrt(np.maximum(square - mean**2, 0) + noise)


def _interval(resampled: Float64) -> tuple[float, float]:
    low, high = np.percentile(resampled, (2.5, 97.5))
    return float(low), float(high)


def equal_dose(doses: Float64, d: Float64, target: Float64) -> Float64:
    """Return the dose at which d' is `target`, by straight lines in logarithms.

    Parameters
    ----------
    doses : ndarray of shape (n,), ascending
    d : ndarray of shape (n, resamples)
        d' at each dose. Where it falls with the dose it is taken to stay.
    target : ndarray of shape (resamples,)

    Returns
    -------
    ndarray of shape (resamples,)
        The lowest or the highest dose, where it would lie beyond.
    """
    rising = np.log(np.maximum.accumulate(np.maximum(d, 1e-3), axis=0))
    logs = [np.interp(np.log(max(t, 1e-3)), r, np.log(doses)) for t, r in zip(target, rising.T, strict=True)]
    return np.exp(logs)
