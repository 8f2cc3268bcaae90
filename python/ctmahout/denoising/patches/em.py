"""Finds groups of patches by expectation and maximisation, from a tree of cells as a start.

Each round maps a function over the parts of a sample and sums second moments, so parts may lie on other machines.
"""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import reduce
from operator import add
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from ...engines.workers import Workers
from .mixture import CandidateIndex, Noise, NoiseCovariances, NoisyMixture, SigmaGrid, nearest
from .moments import Moments, Rule, mixture_from_moments, moments_of
from .prior import Prior, moments_of_mixture

__all__ = [
    "MAX_GROUPS_PER_PATCH",
    "Assigner",
    "Features",
    "Members",
    "Part",
    "Sample",
    "feature_axes",
    "fit",
    "max_groups",
    "overview",
    "principal_direction",
    "refit",
    "split",
    "sum_moments",
]

Float32 = NDArray[np.float32]
Float64 = NDArray[np.float64]
Labels = NDArray[np.int64]

MAX_GROUPS_PER_PATCH = 3
_FEATURES = 12
_PATCHES_OF_A_GROUP = 500  # in the mean
_CLUSTERED = 100_000  # patches that the cells are made from
_LEAST_OF_A_CELL = 20
_COMPARED = 250  # patches for each group that are compared with all groups, for the shortlists
_CELL_SHARE = 0.998  # of a cell's patches, whose groups make its shortlist


@dataclass(frozen=True, eq=False)
class Sample:
    """Patches to learn from, and their noise.

    Attributes
    ----------
    patches : ndarray of shape (n, d), float32, HU
        Bases are learnt from these.
    noise : Noise
    pilot : ndarray of shape (n, d), float32, HU, or None
        The same patches of a first result; if given, patches are assigned by these.
    """

    patches: Float32
    noise: Noise
    pilot: Float32 | None = None

    @classmethod
    def concatenate(cls, samples: Sequence[Sample]) -> Sample:
        """Return several samples as one; all have pilots, or none."""
        noise = Noise(
            np.concatenate([s.noise.sigma_hu for s in samples]), np.concatenate([s.noise.noise_class for s in samples])
        )
        pilots = [s.pilot for s in samples if s.pilot is not None]
        return cls(np.concatenate([s.patches for s in samples]), noise, np.concatenate(pilots) if pilots else None)

    def __getitem__(self, chosen: slice | Labels) -> Sample:
        return Sample(self.patches[chosen], self.noise[chosen], None if self.pilot is None else self.pilot[chosen])

    @property
    def reference(self) -> Float32:
        """The patches that are assigned to groups."""
        return self.patches if self.pilot is None else self.pilot


class Part(Protocol):
    """A part of a sample, that can be handed to another process."""

    def __len__(self) -> int:
        """Return the number of its patches, without loading them."""

    def load(self) -> Sample:
        """Return it."""


def fit(
    parts: Sequence[Part],
    groups: int,
    rounds: int,
    noise_covariances: NoiseCovariances,
    rule: Rule,
    workers: Workers,
    rng: np.random.Generator,
) -> NoisyMixture:
    """Find groups by expectation and maximisation; a patch counts for its few likeliest groups, by their probability.

    Parameters
    ----------
    parts : sequence of Part
    groups, rounds : int
    noise_covariances : NoiseCovariances
        Of the noise in the patches that are assigned.
    rule : Rule
    workers : Workers
    rng : Generator

    Returns
    -------
    NoisyMixture
        Assigns patches to the groups.
    """
    lowest, highest, total = overview(parts, len(noise_covariances), workers)
    sigmas = SigmaGrid.of(np.array([lowest, highest], np.float32))
    candidates = _cluster(parts, total, groups, noise_covariances, workers)
    groups = len(candidates.centres)
    moments = sum_moments(parts, _ByCentre(candidates), groups, len(noise_covariances), workers)
    mixture = mixture_from_moments(moments, noise_covariances, rule)
    all_groups = NoisyMixture(mixture, noise_covariances, sigmas)
    candidates = _with_candidates(candidates, all_groups, total.count[0], parts, workers, int(rng.integers(1 << 31)))
    return _improved(NoisyMixture(mixture, noise_covariances, sigmas, candidates), parts, rounds, rule, workers)


def refit(
    parts: Sequence[Part],
    prior: Prior,
    rounds: int,
    noise_covariances: NoiseCovariances,
    rule: Rule,
    workers: Workers,
) -> NoisyMixture:
    """Improve groups by patches that they were not found from; see `fit`, whose rounds these are.

    The patches that a group was found from count as before, whatever the new ones are like (incremental EM: Neal and
    Hinton 1998, in Learning in Graphical Models, 355).
    """
    lowest, highest, total = overview(parts, len(noise_covariances), workers)
    sigmas = SigmaGrid.of(np.array([lowest, highest], np.float32))
    earlier = moments_of_mixture(prior.assigner, prior.counts, total.mean_noise[0], noise_covariances)
    assigner = NoisyMixture(prior.assigner, noise_covariances, sigmas, prior.candidates)
    return _improved(assigner, parts, rounds, rule, workers, earlier)


def _improved(
    assigner: NoisyMixture,
    parts: Sequence[Part],
    rounds: int,
    rule: Rule,
    workers: Workers,
    earlier: Moments | None = None,
) -> NoisyMixture:
    """Return groups after some rounds; `earlier` are moments of further patches, which stay where they are."""
    noise_covariances = assigner.noise_covariances
    for _ in range(rounds):
        moments = sum_moments(parts, assigner, len(assigner.mixture), len(noise_covariances), workers)
        mixture = mixture_from_moments(earlier + moments if earlier else moments, noise_covariances, rule)
        assigner = NoisyMixture(mixture, noise_covariances, assigner.sigmas, assigner.candidates)
    return assigner


def max_groups(groups: int, parts: Sequence[Part]) -> int:
    """Return `groups`, or as many as a sample supports: a basis needs hundreds of patches."""
    return max(1, min(groups, sum(map(len, parts)) // _PATCHES_OF_A_GROUP))


class Assigner(Protocol):
    """Returns the likeliest groups of patches; see `NoisyMixture.responsibilities`."""

    def responsibilities(self, patches: Float32, noise: Noise, most: int) -> tuple[Labels, Float32]: ...


@dataclass(frozen=True, eq=False)
class Members:
    """Pairs of a patch and one of its likely groups, in one sample.

    Attributes
    ----------
    patch : ndarray of shape (m,), int64
        Its number in the sample.
    group : ndarray of shape (m,), int64
    weight : ndarray of shape (m,), float32
        The probability that the patch is of this group; those of one patch sum up to 1.
    """

    patch: Labels
    group: Labels
    weight: Float32

    @classmethod
    def of(cls, sample: Sample, assigner: Assigner) -> Members:
        groups, shares = assigner.responsibilities(sample.reference, sample.noise, MAX_GROUPS_PER_PATCH)
        patch, rank = np.nonzero(shares)
        return cls(patch, groups[patch, rank], shares[patch, rank])


def sum_moments(
    parts: Sequence[Part],
    assigner: Assigner,
    groups: int,
    noise_classes: int,
    workers: Workers,
    *,
    of_pilot: bool = True,
) -> Moments:
    """Assign all patches and return the moments of the groups: of the pilot's patches or, if not, the noisy ones."""
    return reduce(add, workers.map(_PartMoments(assigner, groups, noise_classes, of_pilot), parts))


# ------------------------------------------------------------------------------------------ functions of one part


@dataclass(frozen=True, eq=False)
class _PartMoments:
    assigner: Assigner
    groups: int
    noise_classes: int
    of_pilot: bool

    def __call__(self, part: Part) -> Moments:
        sample = part.load()
        members = Members.of(sample, self.assigner)
        patches = (sample.reference if self.of_pilot else sample.patches)[members.patch]
        noise = sample.noise[members.patch]
        return moments_of(patches, noise, members.group, self.groups, self.noise_classes, members.weight)


@dataclass(frozen=True, eq=False)
class _ByCentre:
    """Assigns patches to the nearest centre."""

    candidates: CandidateIndex

    def responsibilities(self, patches: Float32, noise: Noise, most: int) -> tuple[Labels, Float32]:
        return self.candidates.cells(patches)[:, None], np.ones((len(patches), 1), np.float32)


@dataclass(frozen=True, eq=False)
class _Overview:
    noise_classes: int

    def __call__(self, part: Part) -> tuple[float, float, Moments]:
        sample = part.load()
        one = np.zeros(len(sample.reference), np.int64)
        sigma = sample.noise.sigma_hu
        return (
            float(sigma.min()),
            float(sigma.max()),
            moments_of(sample.reference, sample.noise, one, 1, self.noise_classes),
        )


@dataclass(frozen=True, eq=False)
class Features:
    """The features of every n-th patch of a part."""

    axes: CandidateIndex
    step: int = 1

    def __call__(self, part: Part) -> Float32:
        return self.axes.features(part.load().reference[:: self.step])


@dataclass(frozen=True, eq=False)
class _Share:
    """A random share of a part's cells and labels, for the shortlists."""

    prepared: NoisyMixture
    candidates: CandidateIndex
    share: float
    seed: int

    def __call__(self, numbered: tuple[int, Part]) -> tuple[Labels, Labels]:
        number, part = numbered
        sample = part.load()
        chosen = np.flatnonzero(np.random.default_rng([self.seed, number]).random(len(sample.reference)) < self.share)
        patches = sample.reference[chosen]
        return self.candidates.cells(patches), self.prepared.classify(patches, sample.noise[chosen])


# ---------------------------------------------------------------------------------------------------------- the start


def overview(parts: Sequence[Part], noise_classes: int, workers: Workers) -> tuple[float, float, Moments]:
    """Return the lowest and the highest SD of the noise, HU, and the moments of all patches as one group."""
    overviews = list(workers.map(_Overview(noise_classes), parts))
    return min(f[0] for f in overviews), max(f[1] for f in overviews), reduce(add, (f[2] for f in overviews))


def _cluster(
    parts: Sequence[Part], total: Moments, groups: int, noise_covariances: NoiseCovariances, workers: Workers
) -> CandidateIndex:
    """Return an index without groups: the features, and the centres of their cells."""
    axes = feature_axes(total, noise_covariances)
    features = np.concatenate(list(workers.map(Features(axes), parts)))
    features = features[:: max(1, len(features) // _CLUSTERED)]
    return replace(axes, centres=split(features, groups))


def feature_axes(total: Moments, noise_covariances: NoiseCovariances) -> CandidateIndex:
    """Return an index without cells, whose features are the leading directions of whitened patches.

    Parameters
    ----------
    total : Moments
        Of all patches as one group.
    noise_covariances : NoiseCovariances
    """
    whiten, _ = noise_covariances.roots(total.mean_noise[0])
    leading = np.linalg.eigh(whiten @ total.scatter[0] @ whiten / total.count[0])[1][:, -_FEATURES:]
    projection = (whiten @ leading).astype(np.float32)
    empty = np.empty((0, _FEATURES), np.float32)
    return CandidateIndex(total.means[0].astype(np.float32), projection, empty)


def principal_direction(points: Float32) -> tuple[float, Float64, Float64]:
    """Return the scatter of points (n, f) along the line of its maximum, their mean (f,), and the line's direction."""
    values = points.astype(np.float64)
    mean = values.mean(axis=0)
    scatter, directions = np.linalg.eigh((values - mean).T @ (values - mean))
    return float(scatter[-1]), mean, directions[:, -1]


def split(points: Float32, count: int) -> Float32:
    """Return the centres of up to `count` cells: that of largest variance along a line is cut there at its mean.

    Principal direction divisive partitioning (Boley 1998, Data Mining and Knowledge Discovery 2, 325). It has no random
    start, and a few points that move hardly move the cells: so a detail more in a scan leaves the rest of it as it was.

    Parameters
    ----------
    points : ndarray of shape (n, f), float32
    count : int

    Returns
    -------
    ndarray of shape (cells, f), float32
        Fewer than `count` where points are too few or all the same.
    """

    def cell(of: Labels) -> tuple[float, int, Float64, Float64, Labels]:
        scatter, mean, direction = principal_direction(points[of])
        return -scatter, int(of[0]), mean, direction, of

    waiting = [cell(np.arange(len(points)))]
    done: list[tuple[float, int, Float64, Float64, Labels]] = []
    while waiting and len(waiting) + len(done) < count:
        largest = heapq.heappop(waiting)
        scatter, _, mean, direction, of = largest
        above = (points[of] - mean.astype(np.float32)) @ direction.astype(np.float32) > 0
        if scatter == 0 or min(above.sum(), (~above).sum()) < max(1, min(_LEAST_OF_A_CELL, len(points) // count)):
            done.append(largest)
            continue
        for half in (of[above], of[~above]):
            heapq.heappush(waiting, cell(half))
    centres: Float32 = np.array([mean for _, _, mean, _, _ in done + waiting], np.float32)
    return centres


def _with_candidates(
    first: CandidateIndex, prepared: NoisyMixture, count: float, parts: Sequence[Part], workers: Workers, seed: int
) -> CandidateIndex:
    """Return the index with the groups of each cell: those that its patches are of."""
    groups = len(prepared.mixture)
    work = _Share(prepared, first, min(1.0, _COMPARED * groups / count), seed)
    labelled = list(workers.map(work, enumerate(parts)))
    cell, label = (np.concatenate([f[i] for f in labelled]) for i in (0, 1))
    lists = []
    for c in range(groups):
        seen = np.bincount(label[cell == c], minlength=groups)
        order = np.argsort(-seen, kind="stable")
        enough = int(np.searchsorted(np.cumsum(seen[order]), _CELL_SHARE * seen.sum())) + 1
        lists.append(np.sort(order[:enough]) if seen.any() else np.arange(groups))
    return CandidateIndex(first.mean, first.projection, first.centres, tuple(lists))


def kmeans(points: Float32, count: int, rng: np.random.Generator, iterations: int = 15) -> Float32:
    """Return `count` centres of points of shape (n, f), by Lloyd's algorithm; a centre of few points is redrawn."""
    n = len(points)
    centres: Float32 = points[rng.choice(n, count, replace=n < count)].copy()
    for _ in range(iterations):
        labels = nearest(points, centres)
        size = np.bincount(labels, minlength=count)
        for f in range(points.shape[1]):
            centres[:, f] = np.bincount(labels, weights=points[:, f], minlength=count) / np.maximum(size, 1)
        few = np.flatnonzero(size < min(20, max(1, n // (4 * count))))
        centres[few] = points[rng.choice(n, len(few), replace=n < len(few))]
    return centres
