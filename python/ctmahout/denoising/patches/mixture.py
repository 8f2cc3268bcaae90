"""Patches as a mixture of low-rank Gaussians in noise of known covariance: assigns patches to groups and shrinks them.

A patch y of group k is N(mu_k, B_k B_k' + b l^2 S): B_k of shape (d, r_k), S the correlation of the noise of its class,
l the noise's SD at its place, b the share of that noise that is left in the group's patches. In the eigenvectors of
S^(-1/2) B_k B_k' S^(-1/2), which do not depend on l, likelihood and Wiener estimate need only r_k coordinates of a
patch: each costs one product of matrices.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from .kernels import best_groups, cells, shrink
from .once import Once

__all__ = ["CandidateIndex", "Mixture", "Noise", "NoiseCovariances", "NoisyMixture", "SigmaGrid"]

Float32 = NDArray[np.float32]
Float64 = NDArray[np.float64]

_FLOOR = 0.01  # of the mean eigenvalue: what a correlation matrix is allowed to be sure of
_OUTLIER = 3.0  # noise variances of mean squared residual; what no group knows (metal) stays as it is
_LEAST_SHARE = 0.03  # of a patch's responsibilities: below, a group is not worth its work
_CACHE = 1 << 17  # coordinates that are looked at while they are in the processor's cache


@dataclass(frozen=True, eq=False)
class Noise:
    """The noise of patches.

    Attributes
    ----------
    sigma_hu : ndarray of shape (n,), float32, HU
        SD at each patch.
    noise_class : ndarray of shape (n,), int32
        Which correlation it has.
    """

    sigma_hu: Float32
    noise_class: NDArray[np.int32]

    def __getitem__(self, chosen: NDArray[np.integer] | slice) -> Noise:
        return Noise(self.sigma_hu[chosen], self.noise_class[chosen])

    def among(self, noise_classes: int) -> NDArray[np.int64]:
        """Return the class of each patch as int64: 0 for all of them if there is only one."""
        return self.noise_class.astype(np.int64) if noise_classes > 1 else np.zeros(len(self.noise_class), np.int64)


class NoiseCovariances:
    """The correlations S that noise has, one for each class of place, and what is derived from them.

    Parameters
    ----------
    covariances : ndarray of shape (classes, d, d), float64
        For an SD of 1. Eigenvalues below a hundredth of their mean are raised to that.
    """

    def __init__(self, covariances: Float64) -> None:
        self.unfloored = covariances  # what is saved: raising eigenvalues again would change the last bits
        eigen = [np.linalg.eigh(c) for c in covariances]
        floored = [(np.maximum(w, _FLOOR * w.mean()), v) for w, v in eigen]
        self.covariances = np.array([(v * w) @ v.T for w, v in floored])
        self.whiten = np.array([(v / np.sqrt(w)) @ v.T for w, v in floored])
        self.colour = np.array([(v * np.sqrt(w)) @ v.T for w, v in floored])

    def __len__(self) -> int:
        return len(self.covariances)

    @property
    def d(self) -> int:
        """Values of a patch."""
        return int(self.covariances.shape[1])

    def mixed(self, shares: Float64) -> Float64:
        """Return the covariance N of noise with these variances of each class, HU^2; shares of shape (classes,)."""
        mixed: Float64 = np.tensordot(shares, self.covariances, 1)
        return mixed

    def roots(self, shares: Float64) -> tuple[Float64, Float64]:
        """Return N^(-1/2) and N^(1/2)."""
        w, v = np.linalg.eigh(self.mixed(shares))
        return (v / np.sqrt(w)) @ v.T, (v * np.sqrt(w)) @ v.T


@dataclass(frozen=True, eq=False)
class SigmaGrid:
    """Noise sigmas in steps of 3 %, for tables of what depends on them.

    Attributes
    ----------
    lowest : float, HU
    count : int
    """

    lowest: float
    count: int

    STEP = 1.03

    @classmethod
    def of(cls, sigma_hu: Float32) -> SigmaGrid:
        """Cover the sigmas of these patches."""
        low, high = float(sigma_hu.min()), float(sigma_hu.max())
        return cls(low, 1 + math.ceil(math.log(high / low) / math.log(cls.STEP)))

    @property
    def variances(self) -> Float64:
        """Their variances, of shape (count,), HU^2."""
        return np.asarray(self.lowest * self.STEP ** np.arange(self.count)) ** 2

    def index(self, sigma_hu: Float32) -> NDArray[np.int32]:
        """Return the nearest step of each level."""
        steps = np.rint(np.log(sigma_hu / self.lowest) / math.log(self.STEP))
        index: NDArray[np.int32] = np.clip(steps, 0, self.count - 1).astype(np.int32)
        return index


@dataclass(frozen=True, eq=False)
class Mixture:
    """Groups of patches as they would be without noise.

    Attributes
    ----------
    means : ndarray of shape (K, d), float64, HU
    bases : tuple of K ndarrays of shape (d, r_k), float64, HU
        B_k: the signal of a group has the covariance B_k B_k'.
    weights : ndarray of shape (K,), float64
        Share of each group among all patches.
    noise_left : ndarray of shape (K,), float64
        b: the share of the noise's variance that is left in patches of the group; below 1 where their noise had a say
        in that they came there.
    """

    means: Float64
    bases: tuple[Float64, ...]
    weights: Float64
    noise_left: Float64

    def __len__(self) -> int:
        return len(self.means)

    def __getitem__(self, groups: NDArray[np.int64]) -> Mixture:
        bases = tuple(self.bases[k] for k in groups)
        return Mixture(self.means[groups], bases, self.weights[groups], self.noise_left[groups])

    @property
    def d(self) -> int:
        """Values of a patch."""
        return int(self.means.shape[1])


@dataclass(frozen=True, eq=False)
class CandidateIndex:
    """The candidate groups of a patch, by the cell of a few of its features.

    Attributes
    ----------
    mean : ndarray of shape (d,), float32, HU
    projection : ndarray of shape (d, f), float32
        Features are signed square roots of (y - mean) projection.
    centres : ndarray of shape (c, f), float32
        Of the cells.
    groups : tuple of c ndarrays, int64
        The groups of each cell, ascending; empty tuple: all groups in all cells.
    """

    mean: Float32
    projection: Float32
    centres: Float32
    groups: tuple[NDArray[np.int64], ...] = ()

    def features(self, patches: Float32) -> Float32:
        """Return the features, of shape (n, f)."""
        projected = (patches - self.mean) @ self.projection
        signed: Float32 = np.sign(projected) * np.sqrt(np.abs(projected))
        return signed

    def cells(self, patches: Float32) -> NDArray[np.int64]:
        """Return the cell of each patch."""
        cell = np.empty(len(patches), np.int64)
        projection = np.ascontiguousarray(self.projection.T)
        cells(patches, self.mean, projection, np.ascontiguousarray(self.centres), cell)
        return cell


class _Signal(NamedTuple):
    """The signal of groups in noise of one class, in coordinates in which signal and noise are both independent.

    Those of all groups follow each other.

    Attributes
    ----------
    first : ndarray of shape (K + 1,), int64
        The first coordinate of each group.
    variances : ndarray of shape (n,), float32
        Of the signal; those of the noise are l^2.
    analysis : ndarray of shape (n, d), float32
        Coordinates are analysis (y - mu).
    synthesis : ndarray of shape (n, d), float32
        A patch is mu plus the sum of coordinates times these.
    """

    first: NDArray[np.int64]
    variances: Float32
    analysis: Float32
    synthesis: Float32


class _Table(NamedTuple):
    """What groups are told by in noise of one class, those of all groups one after the other.

    Attributes
    ----------
    rows : ndarray of shape (n, d), float32
        For each group k the r_k rows of `_Signal.analysis`, and S^-1 (mu - centre).
    first : ndarray of shape (K + 1,), int64
        The first row of each group.
    offset, signal : ndarray of shape (n,), float32
        The coordinates of the group's mean, and the variances of its signal.
    constant : ndarray of shape (levels, K), float32
        What the patch has no part in, divided by l^2.
    """

    rows: Float32
    first: NDArray[np.int64]
    offset: Float32
    signal: Float32
    constant: Float32


def nearest(points: Float32, centres: Float32) -> NDArray[np.int64]:
    """Return the nearest centre of each point; points of shape (n, f), centres of shape (c, f)."""
    squares = (centres * centres).sum(axis=1)
    parts = [
        (squares - 2 * points[start : start + 2048] @ centres.T).argmin(axis=1) for start in range(0, len(points), 2048)
    ]
    return np.concatenate([np.empty(0, np.int64), *parts])


class NoisyMixture:
    """A mixture in noise: tables for each class of noise and each SD.

    Parameters
    ----------
    mixture : Mixture
    noise_covariances : NoiseCovariances
    sigmas : SigmaGrid
    candidates : CandidateIndex, optional
        Every group is a candidate for every patch, if not given.
    """

    def __init__(
        self,
        mixture: Mixture,
        noise_covariances: NoiseCovariances,
        sigmas: SigmaGrid,
        candidates: CandidateIndex | None = None,
    ) -> None:
        self.mixture, self.noise_covariances, self.sigmas, self.candidates = (
            mixture,
            noise_covariances,
            sigmas,
            candidates,
        )
        # Patches and means are taken less a centre: differences of large numbers would cost single precision's digits.
        self._centre = (mixture.weights @ mixture.means / mixture.weights.sum()).astype(np.float32)
        lists = candidates.groups if candidates and candidates.groups else (np.arange(len(mixture)),)
        self._candidates = (np.concatenate(lists).astype(np.int64), np.cumsum([0, *map(len, lists)]))
        self._tables: Once[int, _Table] = Once()
        self._signals: Once[int, _Signal] = Once()

    def _signal(self, noise_class: int) -> _Signal:
        """Return what shrinks patches in noise of a class, computed when first asked for."""
        return self._signals.get(noise_class, lambda: self._make_signal(noise_class))

    def _make_signal(self, noise_class: int) -> _Signal:
        whiten = self.noise_covariances.whiten[noise_class]
        each = [_coordinates(whiten, basis) for basis in self.mixture.bases]
        return _Signal(
            np.cumsum([0, *(variances.size for variances, _, _ in each)]),
            *(np.ascontiguousarray(np.concatenate([one[part] for one in each]), np.float32) for part in range(3)),
        )

    def kept(self, group: int) -> float:
        """Return the share of a group's d degrees of freedom that is kept, at the middle SD and class of noise."""
        noise_class = len(self.noise_covariances) // 2
        lam, _, _ = _coordinates(self.noise_covariances.whiten[noise_class], self.mixture.bases[group])
        noise = self.mixture.noise_left[group] * self.sigmas.variances[self.sigmas.count // 2]
        return float((lam / (lam + noise)).sum()) / self.noise_covariances.d

    # ---------------------------------------------------------------------------------------------------- grouping

    def _table(self, noise_class: int) -> _Table:
        """Return what `best_groups` looks up for noise of a class, computed when first asked for."""
        return self._tables.get(noise_class, lambda: self._make_table(noise_class))

    def _make_table(self, noise_class: int) -> _Table:
        means, d = self.mixture.means - self._centre, self.mixture.d
        whiten = self.noise_covariances.whiten[noise_class]
        linear = means @ whiten @ whiten
        ranks = [basis.shape[1] for basis in self.mixture.bases]
        first = np.cumsum([0, *(r + 1 for r in ranks)])
        rows, offset, lam = np.empty((first[-1], d), np.float32), np.zeros(first[-1], np.float32), np.zeros(first[-1])
        log_det = np.empty((self.sigmas.count, len(means)))
        variances = self.sigmas.variances[:, None]
        for k, basis in enumerate(self.mixture.bases):
            of = slice(first[k], first[k] + ranks[k])
            lam[of], rows[of], _ = _coordinates(whiten, basis)
            rows[of.stop] = linear[k]
            offset[of] = rows[of] @ means[k].astype(np.float32)
            log_det[:, k] = np.log1p(lam[of] / variances).sum(axis=1)
        # -l^2 (log det - 2 log weight) - mu' S^-1 mu, with the last part divided by l^2 here and multiplied there.
        constant = 2 * np.log(self.mixture.weights) - log_det - np.einsum("kd,kd->k", linear, means) / variances
        return _Table(rows, first, offset, lam.astype(np.float32), constant.astype(np.float32))

    def classify(self, patches: Float32, noise: Noise) -> NDArray[np.int64]:
        """Return the most likely group of each patch; patches of shape (n, d), HU."""
        return self._best_groups(patches, noise, 1)[0][:, 0]

    def responsibilities(self, patches: Float32, noise: Noise, most: int) -> tuple[NDArray[np.int64], Float32]:
        """Return the likeliest groups of each patch and the probability of each of them.

        Parameters
        ----------
        patches : ndarray of shape (n, d), float32, HU
        noise : Noise
        most : int
            Groups of a patch.

        Returns
        -------
        groups : ndarray of shape (n, most), int64
            Descending.
        shares : ndarray of shape (n, most), float32
            Sum up to 1; those below `_LEAST_SHARE` are 0.
        """
        groups, scores = self._best_groups(patches, noise, min(most, len(self.mixture)))
        shares = np.exp((scores - scores[:, :1]) / (2 * noise.sigma_hu[:, None] ** 2))
        shares /= shares.sum(axis=1, keepdims=True)
        shares[shares < _LEAST_SHARE] = 0
        shares /= shares.sum(axis=1, keepdims=True)
        return groups, shares

    def _best_groups(self, patches: Float32, noise: Noise, most: int) -> tuple[NDArray[np.int64], Float32]:
        """Return the likeliest groups, descending, and 2 l^2 log likelihood of each; both of shape (n, most)."""
        if self.candidates is not None and self.candidates.groups:
            cell = self.candidates.cells(patches)
        else:
            cell = np.zeros(len(patches), np.int64)
        level, variances = self.sigmas.index(noise.sigma_hu), self.sigmas.variances.astype(np.float32)
        groups, scores = np.empty((len(patches), most), np.int64), np.empty((len(patches), most), np.float32)
        for noise_class, order in self._by_class(noise, cell, np.arange(len(patches))):
            best_groups(
                patches,
                order,
                level,
                cell,
                variances,
                self._centre,
                self._table(noise_class),
                self._candidates,
                _CACHE,
                groups,
                scores,
            )
        return groups, scores

    def _by_class(
        self, noise: Noise, key: NDArray[np.int64], chosen: NDArray[np.int64]
    ) -> Iterator[tuple[int, NDArray[np.int64]]]:
        """Yield each class of noise that chosen patches have, and those patches in the order of a key."""
        noise_class = noise.among(len(self.noise_covariances))[chosen]
        order = np.argsort((noise_class << 32) + key[chosen], kind="stable")
        cuts = np.searchsorted(noise_class[order], np.arange(len(self.noise_covariances) + 1))
        yield from ((k, chosen[order[a:b]]) for k, (a, b) in enumerate(pairwise(cuts.tolist())) if a < b)

    def log_likelihood(self, patches: Float32, noise: Noise) -> Float64:
        """Return the log-likelihood of each patch in its most likely group, of shape (n,), in nats."""
        groups = self.classify(patches, noise)
        d, likelihood = patches.shape[1], np.empty(len(patches))
        log_det = [float(np.linalg.slogdet(c)[1]) for c in self.noise_covariances.covariances]
        key = noise.among(len(self.noise_covariances)) * len(self.mixture) + groups
        order, runs = _runs(key)
        for a, b in runs:
            chosen = order[a:b]
            noise_class, group = divmod(int(key[chosen[0]]), len(self.mixture))
            table = self._table(noise_class)
            of = slice(table.first[group], table.first[group + 1] - 1)
            lam = table.signal[of].astype(np.float64)
            centred = patches[chosen] - self.mixture.means[group]
            variance = noise.sigma_hu[chosen].astype(np.float64)[:, None] ** 2
            along = (centred @ table.rows[of].T) ** 2
            centred = centred @ self.noise_covariances.whiten[noise_class]
            distance = (centred**2).sum(axis=1) / variance[:, 0]
            distance -= (along * lam / (variance * (lam + variance))).sum(axis=1)
            logs = d * np.log(2 * np.pi * variance[:, 0]) + log_det[noise_class] + np.log1p(lam / variance).sum(axis=1)
            likelihood[chosen] = math.log(self.mixture.weights[group]) - 0.5 * (distance + logs)
        return likelihood

    # --------------------------------------------------------------------------------------------------- shrinking

    def estimate(
        self,
        patches: Float32,
        noise: Noise,
        groups: NDArray[np.int64],
        shares: Float32,
        pilot: Float32 | None = None,
    ) -> tuple[Float32, Float32, Float32]:
        """Return the mean of the Wiener estimates of each patch in its groups, the share that was kept, and its error.

        With a pilot, the variance of a coordinate's signal is the mean of the group's and the pilot's own square: so
        what stands out of its group keeps more, and what does not less (empirical Wiener filter: Dabov et al. 2007,
        IEEE Trans. Image Processing 16(8), 2080).

        Parameters
        ----------
        patches : ndarray of shape (n, d), float32, HU
        noise : Noise
        groups : ndarray of shape (n, most), int64
        shares : ndarray of shape (n, most), float32
            Of each group in the mean; those of 0 cost nothing.
        pilot : ndarray of shape (n, d), float32, HU, optional
            The same patches of a first result.

        Returns
        -------
        estimates : ndarray of shape (n, d), float32, HU
            A patch that is no member of a group is its own estimate.
        kept : ndarray of shape (n,), float32
            Sum of the Wiener factors: how many of the d degrees of freedom were kept.
        errors : ndarray of shape (n, d), float32
            Posterior variance in units of the noise's, as if noise_left were 1: of each voxel with a pilot; without,
            where groups are less certain, of the patch in noise of no correlation.
        """
        variance = noise.sigma_hu**2
        means, noise_left = self.mixture.means.astype(np.float32), self.mixture.noise_left.astype(np.float32)
        estimates, kept, errors = np.zeros_like(patches), np.zeros(len(patches), np.float32), np.zeros_like(patches)
        for rank in range(groups.shape[1]):
            of, share = groups[:, rank], shares[:, rank]
            for noise_class, order in self._by_class(noise, of, np.flatnonzero(share)):
                shrink(
                    patches,
                    patches if pilot is None else pilot,
                    pilot is not None,
                    order,
                    of,
                    share,
                    variance,
                    means,
                    noise_left,
                    self._signal(noise_class),
                    np.float32(_OUTLIER * patches.shape[1]),
                    estimates,
                    kept,
                    errors,
                )
        return estimates, kept, errors


def _coordinates(whiten: Float64, basis: Float64) -> tuple[Float64, Float64, Float64]:
    """Return variances (r,), analysis and synthesis (r, d) of a basis (d, r): see `_Signal`.

    They are those of the singular values of S^(-1/2) B, by the eigenvectors of B' S^-1 B, which is small.
    """
    whitened = whiten @ basis
    variances, vectors = np.linalg.eigh(whitened.T @ whitened)
    inverse = np.where(variances > 1e-12 * variances.max(initial=0), 1 / np.sqrt(np.maximum(variances, 1e-300)), 0)
    scaled = vectors * inverse
    return np.maximum(variances, 0), (whiten @ (whitened @ scaled)).T, (basis @ scaled).T


def _runs(key: NDArray[np.int64]) -> tuple[NDArray[np.int64], list[tuple[int, int]]]:
    """Return the order that sorts keys, stable, and where in it runs of equal ones begin and end."""
    order = np.argsort(key, kind="stable")
    cuts = np.flatnonzero(np.diff(key[order])) + 1
    return order, list(pairwise([0, *cuts.tolist(), len(key)])) if len(key) else []
