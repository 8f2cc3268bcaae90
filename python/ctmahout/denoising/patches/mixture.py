"""Patches as a mixture of low-rank Gaussians in noise of known covariance: assigns patches to groups and shrinks them.

A patch y of group k is N(mu_k, B_k B_k' + b l^2 S): B_k of shape (d, r_k), S the correlation of the noise of its class,
l the noise's SD at its place, b the share of that noise that is left in the group's patches. In the eigenvectors of
S^(-1/2) B_k B_k' S^(-1/2), which do not depend on l, likelihood and Wiener estimate need only r_k coordinates of a
patch: each costs one product of matrices.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .kernels import best_groups
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
        """Return the noise_class of each patch as int64; where only one is told apart, that one."""
        return self.noise_class.astype(np.int64) if noise_classes > 1 else np.zeros(len(self.noise_class), np.int64)


class NoiseCovariances:
    """The correlations S that noise has, one for each noise_class of place, and what is derived from them.

    Parameters
    ----------
    covariances : ndarray of shape (noise_covariances, d, d), float64
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
        return nearest(self.features(patches), self.centres)


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
    noise_covariances : Kinds
    sigmas : Levels
    candidates : Shortlists, optional
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
        self._tables: Once[tuple[int, int], tuple[NDArray[Any], ...]] = Once()
        self._factors: Once[tuple[int, int], Float32] = Once()
        self._synthesis: Once[int, list[Float32]] = Once()
        self._directions = [
            [_directions(whiten @ basis) for basis in mixture.bases] for whiten in noise_covariances.whiten
        ]
        self.analysis = [
            [(whiten @ q).astype(np.float32) for _, q in of_class]
            for whiten, of_class in zip(noise_covariances.whiten, self._directions, strict=True)
        ]

    def synthesis(self, noise_class: int) -> list[Float32]:
        """Return an array of shape (r, d) for each group: a patch is mu plus coordinates times it."""

        def compute() -> list[Float32]:
            colour = self.noise_covariances.colour[noise_class]
            return [np.ascontiguousarray((colour @ q).T, np.float32) for _, q in self._directions[noise_class]]

        return self._synthesis.get(noise_class, compute)

    def shrinkage(self, noise_class: int, group: int) -> Float32:
        """Return the Wiener factor lam / (lam + b l^2) of each coordinate, for each level: (sigmas, r)."""
        lam, _ = self._directions[noise_class][group]
        noise = self.mixture.noise_left[group] * self.sigmas.variances[:, None]
        factor: Float32 = (lam / np.maximum(lam + noise, 1e-30)).astype(np.float32)
        return factor

    def kept(self, group: int) -> float:
        """Return the share of a group's d degrees of freedom that is kept, at the middle level and noise_class."""
        factors = self.shrinkage(len(self.noise_covariances) // 2, group)
        return float(factors[self.sigmas.count // 2].sum()) / self.noise_covariances.d

    # ---------------------------------------------------------------------------------------------------- grouping

    def _table(self, noise_class: int, cell: int) -> tuple[NDArray[Any], ...]:
        lists = self.candidates.groups if self.candidates else ()
        names = lists[cell] if lists else np.arange(len(self.mixture))
        return self._tables.get((noise_class, cell), lambda: self._make_table(noise_class, names))

    def _make_table(self, noise_class: int, names: NDArray[np.int64]) -> tuple[NDArray[Any], ...]:
        """Put the columns of these groups side by side, as `best_groups` takes them."""
        means, weights = self.mixture.means[names], self.mixture.weights[names]
        analysis = [self.analysis[noise_class][k] for k in names]
        lam = [self._directions[noise_class][k][0] for k in names]
        first = np.cumsum([0, *(a.shape[1] for a in analysis)])
        inverse = self.noise_covariances.whiten[noise_class] @ self.noise_covariances.whiten[noise_class]
        # Patches and means are taken less a centre: differences of large numbers would cost single precision's digits.
        centre = means.mean(axis=0)
        means = means - centre
        linear = means @ inverse
        offset = np.concatenate([mean.astype(np.float32) @ a for mean, a in zip(means, analysis, strict=True)])
        variances = self.sigmas.variances[:, None]
        together = np.concatenate(lam)
        gain = together / np.maximum(together + variances, 1e-30)
        # -l^2 (log det - 2 log weight) - mu' S^-1 mu, with the last part divided by l^2 here and multiplied there.
        logs = np.log1p(together / variances)
        log_det = np.stack([logs[:, a:b].sum(axis=1) for a, b in pairwise(first)], axis=1)
        constant = 2 * np.log(weights) - log_det - np.einsum("kd,kd->k", linear, means) / variances
        return (
            centre.astype(np.float32),
            np.ascontiguousarray(np.concatenate([*analysis, linear.T], axis=1), np.float32),
            offset,
            first.astype(np.int64),
            gain.astype(np.float32),
            constant.astype(np.float32),
            names.astype(np.int64),
        )

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
        cells = self.candidates.cells(patches) if self.candidates and self.candidates.groups else None
        key = noise.among(len(self.noise_covariances)) << 32
        if cells is not None:
            key += cells
        order, runs = _runs(key)
        # Sorted once: each run then is a slice, and a small one costs little.
        ordered, level = patches.take(order, axis=0), self.sigmas.index(noise.sigma_hu).take(order)
        variance = self.sigmas.variances.astype(np.float32)[level]
        labels, sorted_scores = np.empty((len(patches), most), np.int64), np.empty((len(patches), most), np.float32)
        for a, b in runs:
            noise_class, cell = divmod(int(key[order[a]]), 1 << 32)
            centre, columns, offset, first, gain, constant, names = self._table(noise_class, cell)
            step = max(64, _CACHE // columns.shape[1])
            for start in range(a, b, step):
                part = slice(start, min(start + step, b))
                best_groups(
                    (ordered[part] - centre) @ columns,
                    offset,
                    first,
                    gain,
                    constant,
                    variance[part],
                    level[part],
                    names,
                    labels[part],
                    sorted_scores[part],
                )
        groups, scores = np.empty_like(labels), np.empty_like(sorted_scores)
        groups[order], scores[order] = labels, sorted_scores
        return groups, scores

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
            lam, q = self._directions[noise_class][group]
            centred = (patches[chosen] - self.mixture.means[group]) @ self.noise_covariances.whiten[noise_class]
            variance = noise.sigma_hu[chosen].astype(np.float64)[:, None] ** 2
            along = (centred @ q) ** 2
            distance = (centred**2).sum(axis=1) / variance[:, 0]
            distance -= (along * lam / (variance * (lam + variance))).sum(axis=1)
            logs = d * np.log(2 * np.pi * variance[:, 0]) + log_det[noise_class] + np.log1p(lam / variance).sum(axis=1)
            likelihood[chosen] = math.log(self.mixture.weights[group]) - 0.5 * (distance + logs)
        return likelihood

    # --------------------------------------------------------------------------------------------------- shrinking

    def estimate(
        self, patches: Float32, noise: Noise, groups: NDArray[np.int64], pilot: Float32 | None = None
    ) -> tuple[Float32, Float32, Float32]:
        """Return the Wiener estimate of each patch in its group, the share of it that was kept, and its error.

        With a pilot, the variance of a coordinate's signal is the mean of the group's and the pilot's own square: so
        what stands out of its group keeps more, and what does not less (empirical Wiener filter: Dabov et al. 2007,
        IEEE Trans. Image Processing 16(8), 2080).

        Parameters
        ----------
        patches : ndarray of shape (n, d), float32, HU
        noise : Noise
        groups : ndarray of shape (n,), int64
        pilot : ndarray of shape (n, d), float32, HU, optional
            The same patches of a first result.

        Returns
        -------
        estimates : ndarray of shape (n, d), float32, HU
            A patch that is no member of any group comes back as it is.
        kept : ndarray of shape (n,), float32
            Sum of the Wiener factors: how many of the d degrees of freedom were kept.
        errors : ndarray of shape (n, d), float32
            Posterior variance in units of the noise's, as if noise_left were 1: of each voxel with a pilot; without,
            where groups are less certain, of the patch in noise of no correlation.
        """
        key = noise.among(len(self.noise_covariances)) * len(self.mixture) + groups
        order, runs = _runs(key)
        level, variance = self.sigmas.index(noise.sigma_hu), noise.sigma_hu[:, None] ** 2
        estimates, kept, errors = np.empty_like(patches), np.empty(len(patches), np.float32), np.empty_like(patches)
        for a, b in runs:
            at = order[a:b]
            noise_class, group = divmod(int(key[at[0]]), len(self.mixture))
            mean, group_patches = self.mixture.means[group].astype(np.float32), patches.take(at, axis=0)
            analysis, synthesis = self.analysis[noise_class][group], self.synthesis(noise_class)[group]
            if pilot is None:
                factors = self._shrinkages(noise_class, group).take(level[at], axis=0)
            else:
                lam = self._directions[noise_class][group][0].astype(np.float32)
                signal = (lam + ((pilot.take(at, axis=0) - mean) @ analysis) ** 2) / 2
                factors = signal / (signal + np.float32(self.mixture.noise_left[group]) * variance[at])
            group_estimates = ((group_patches - mean) @ analysis * factors) @ synthesis
            group_estimates += mean
            residual = group_patches - group_estimates
            misses = np.einsum("ij,ij->i", residual, residual) >= _OUTLIER * patches.shape[1] * variance[at, 0]
            group_estimates[misses] = group_patches[misses]
            estimates[at], kept[at] = group_estimates, factors.sum(axis=1)
            errors[at] = kept[at, None] / patches.shape[1] if pilot is None else factors @ synthesis**2
        return estimates, kept, errors

    def _shrinkages(self, noise_class: int, group: int) -> Float32:
        """Return `shrinkage`, computed once."""
        return self._factors.get((noise_class, group), lambda: self.shrinkage(noise_class, group))


def _directions(basis: Float64) -> tuple[Float64, Float64]:
    """Return variances (r,) and orthonormal directions (d, r) of a whitened basis (d, r)."""
    q, root, _ = np.linalg.svd(basis, full_matrices=False)
    return root**2, q


def _runs(key: NDArray[np.int64]) -> tuple[NDArray[np.int64], list[tuple[int, int]]]:
    """Return the order that sorts keys, stable, and where in it runs of equal ones begin and end."""
    order = np.argsort(key, kind="stable")
    cuts = np.flatnonzero(np.diff(key[order])) + 1
    return order, list(pairwise([0, *cuts.tolist(), len(key)])) if len(key) else []
