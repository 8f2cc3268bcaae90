"""Second moments of groups of patches, and the mixture that follows from them.

The basis of a group is that of its patches, centred and whitened by the mean noise in them: the right singular vectors
of a matrix with a row for each patch. While groups are still sought it comes from second moments, which add up over
parts of a sample wherever they are; the last basis, the one that is used, is Mahout's work: `whitened_rows` makes the
matrix, `mixture_from_factors` takes the answer.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import linalg

from .mixture import Mixture, Noise, NoiseCovariances

__all__ = ["Moments", "Rule", "mixture_from_factors", "mixture_from_moments", "moments_of", "whitened_rows"]

Float32 = NDArray[np.float32]
Float64 = NDArray[np.float64]
Labels = NDArray[np.int64]

_UNLIKELY = 1e-30


@dataclass(frozen=True)
class Rule:
    """How many components of a group are signal, and how much noise is left in it.

    Attributes
    ----------
    rank : int
        At most so many.
    margin : float
        Eigenvalues are signal above the Marchenko-Pastur edge plus this.
    smallest : int
        Smaller groups are discarded.
    overfit_slope, overfit_threshold : float
        1 - overfit_slope max(0, g - overfit_threshold) of the noise's variance is left, where g is the share of the d
        components that is kept: patches were assigned by values that hold the same noise.
    """

    rank: int = 60
    margin: float = 0.1
    smallest: int = 150
    overfit_slope: float = 0.0
    overfit_threshold: float = 0.15

    def signal(self, variances: Float64, patches: float) -> int:
        """Return how many of these variances, descending and in units of the noise's, are signal in so many patches."""
        ratio = variances.size / patches
        return min(self.rank, int((variances - 1 > 2 * math.sqrt(ratio) + ratio + self.margin).sum()))

    def noise_left(self, signal: Float64, d: int) -> float:
        """Return b, for signal variances in units of the noise's."""
        kept = float((signal / (signal + 1)).sum()) / d
        return max(0.3, 1 - self.overfit_slope * max(0.0, kept - self.overfit_threshold))


@dataclass(frozen=True, eq=False)
class Moments:
    """Moments of the patches of each group; those of two samples add up.

    Attributes
    ----------
    count : ndarray of shape (K,), float64
        Patches.
    means : ndarray of shape (K, d), float64, HU
    scatter : ndarray of shape (K, d, d), float64, HU^2
        Sum of (y - mean)(y - mean)'.
    noise : ndarray of shape (K, noise_classes), float64, HU^2
        Sum of l^2 by class.
    """

    count: Float64
    means: Float64
    scatter: Float64
    noise: Float64

    def __add__(self, other: Moments) -> Moments:
        """Chan, Golub and LeVeque 1983, Algorithms for computing the sample variance, eq. 2.1."""
        count = self.count + other.count
        share = other.count / np.maximum(count, 1)
        delta = other.means - self.means
        means = self.means + share[:, None] * delta
        between = (self.count * share)[:, None, None] * delta[:, :, None] * delta[:, None, :]
        return Moments(count, means, self.scatter + other.scatter + between, self.noise + other.noise)

    @property
    def mean_noise(self) -> Float64:
        """Mean of l^2 by class, of shape (K, noise_classes)."""
        mean: Float64 = self.noise / np.maximum(self.count, 1)[:, None]
        return mean


def moments_of(
    patches: Float32, noise: Noise, labels: Labels, groups: int, noise_classes: int, weights: Float32 | None = None
) -> Moments:
    """Return the moments of each group in one sample.

    Parameters
    ----------
    patches : ndarray of shape (n, d), float32, HU
    noise : Noise
    labels : ndarray of shape (n,), int64
    groups, noise_classes : int
    weights : ndarray of shape (n,), float32, optional
        Of each patch; 1 if not given.
    """
    d = patches.shape[1]
    weights = np.ones(len(patches), np.float32) if weights is None else weights
    count = np.bincount(labels, weights=weights, minlength=groups).astype(np.float64)
    means, scatter = np.zeros((groups, d)), np.zeros((groups, d, d))
    order = np.argsort(labels, kind="stable")
    cuts = np.searchsorted(labels[order], np.arange(groups + 1))
    for k in np.flatnonzero(count):
        at = order[cuts[k] : cuts[k + 1]]
        values, weight = patches[at], weights[at, None]
        means[k] = (weight * values).sum(axis=0, dtype=np.float64) / count[k]
        values = values - means[k].astype(np.float32)
        rounding = (weight * values).sum(axis=0, dtype=np.float64) / count[k]  # of rounding the mean
        values *= np.sqrt(weight)
        scatter[k] = (values.T @ values).astype(np.float64) - count[k] * np.outer(rounding, rounding)
        means[k] = means[k].astype(np.float32).astype(np.float64) + rounding
    square = weights * noise.sigma_hu.astype(np.float64) ** 2
    by_class = np.bincount(
        labels * noise_classes + noise.among(noise_classes), weights=square, minlength=groups * noise_classes
    )
    return Moments(count, means, scatter, by_class.reshape(groups, noise_classes).astype(np.float64))


def mixture_from_moments(moments: Moments, noise_covariances: NoiseCovariances, rule: Rule) -> Mixture:
    """Return the mixture that these moments tell, by the eigenvectors of each group's whitened scatter."""
    factors = []
    for k, count in enumerate(moments.count):
        if count < rule.smallest:
            factors.append((np.zeros(0), np.zeros((noise_covariances.d, 0))))
            continue
        # Solving for both at once is the same as whitening: vectors are N^(-1/2) V.
        variances, vectors = linalg.eigh(
            moments.scatter[k] / count, noise := noise_covariances.mixed(moments.mean_noise[k])
        )
        factors.append((variances[::-1], (noise @ vectors)[:, ::-1]))
    return _mixture(moments, factors, noise_covariances.d, rule)


def mixture_from_factors(
    moments: Moments, factors: Iterable[tuple[Float64, Float64]], noise_covariances: NoiseCovariances, rule: Rule
) -> Mixture:
    """Return the mixture whose groups have these factors.

    Parameters
    ----------
    moments : Moments
        Of the sample that was factored: counts, means and noise are used.
    factors : iterable of (variances, vectors)
        For each group the variances s^2 / count of its whitened patches, descending, and their directions V, of shape
        (d, r); none for a group that is too small.
    noise_covariances : NoiseCovariances
    rule : Rule
    """
    coloured = (
        (variances, noise_covariances.roots(moments.mean_noise[k])[1] @ v) if v.shape[1] else (variances, v)
        for k, (variances, v) in enumerate(factors)
    )
    return _mixture(moments, coloured, noise_covariances.d, rule)


def _mixture(moments: Moments, factors: Iterable[tuple[Float64, Float64]], d: int, rule: Rule) -> Mixture:
    """Return the mixture of these variances and directions N^(1/2) V."""
    bases, left, weights = [], [], []
    total = moments.count.sum()
    for k, (variances, directions) in enumerate(factors):
        if moments.count[k] < rule.smallest:
            bases.append(np.zeros((d, 0)))
            left.append(1.0)
            weights.append(_UNLIKELY)
            continue
        padded = np.zeros(d)
        padded[: variances.size] = variances
        r = min(rule.signal(padded, float(moments.count[k])), directions.shape[1])
        signal = variances[:r] - 1
        b = rule.noise_left(signal, d)
        bases.append(directions[:, :r] * np.sqrt(signal + 1 - b))
        left.append(b)
        weights.append(float(moments.count[k] / total))
    return Mixture(moments.means, tuple(bases), np.array(weights), np.array(left))


def whitened_rows(
    patches: Float32, weights: Float32, moments: Moments, group: int, noise_covariances: NoiseCovariances
) -> Float32:
    """Return the members of one group as Mahout gets them: centred, whitened by the group's mean noise, and weighted.

    A row is sqrt(w) N^(-1/2) (y - mean), so that A'A is the sum of w times the scatter of each.
    """
    whiten, _ = noise_covariances.roots(moments.mean_noise[group])
    rows: Float32 = (patches - moments.means[group].astype(np.float32)) @ whiten.astype(np.float32)
    rows *= np.sqrt(weights)[:, None]
    return rows
