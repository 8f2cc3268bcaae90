"""Patches of many series, cut into regions that each have groups of their own.

A region is what lies next to its centre, by a few features of a patch. Its groups are found, factored and used without
a look at the others, so the work for a patch, and what a worker holds, do not grow with the number of groups.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ...engines.workers import Threads, Workers, single_threaded_blas
from ...exchange import write_matrix
from .em import Features, Sample, feature_axes, overview, principal_direction, split
from .groups import Groups
from .mixture import CandidateIndex, Mixture, Noise, NoiseCovariances, NoisyMixture, nearest
from .parts import FilePart, parts_of, write_part
from .prior import Prior

__all__ = ["Partition", "RegionFit", "RegionLearner", "RegionalMixture", "Regions", "concatenated"]

Float32 = NDArray[np.float32]
Float64 = NDArray[np.float64]

_GROUPS = 250  # of a region, at most
_PATCHES = 500_000  # of a region, if it can be cut: what a worker holds is a few times 300 bytes for each of them
_FEATURES_OF = 100_000  # patches, from which regions are cut
_LEAST_OF_A_REGION = 200  # of those


@dataclass(frozen=True, eq=False)
class Regions:
    """Where regions lie, and how many groups each is to have.

    Attributes
    ----------
    index : CandidateIndex
        A region is a cell of it.
    groups : tuple of int
        Of each region.
    """

    index: CandidateIndex
    groups: tuple[int, ...]

    def __len__(self) -> int:
        return len(self.groups)

    @classmethod
    def cut(cls, parts: Sequence[FilePart], covariances: NoiseCovariances, groups: int, workers: Workers) -> Regions:
        """Cut patches into regions that hold `groups` groups in all.

        Groups go where patches differ most, as the cells that a series' own groups start from (`em.split`).

        Parameters
        ----------
        parts : sequence of FilePart
            One for each series.
        covariances : NoiseCovariances
            Of the noise in the patches that are assigned.
        groups : int
        workers : Workers
        """
        _, _, total = overview(parts, len(covariances), workers)
        axes = feature_axes(total, covariances)
        count = int(total.count[0])
        step = max(1, count // _FEATURES_OF)
        points = np.concatenate(list(workers.map(Features(axes, step), parts)))
        cells = split(points, groups)
        cell = nearest(points, cells)
        share = 1 / np.bincount(cell, minlength=len(cells))[cell]  # of a group, for each point
        regions = list(_cut(points, share, count / len(points)))
        centres = np.array([points[of].mean(axis=0, dtype=np.float64) for of in regions], np.float32)
        each = tuple(max(1, round(float(share[of].sum()))) for of in regions)
        return cls(CandidateIndex(axes.mean, axes.projection, centres), each)


def _cut(points: Float32, share: Float64, patches_of_a_point: float) -> Iterator[NDArray[np.int64]]:
    """Yield the points of each region: cells that hold too much are cut along their principal direction."""
    waiting = [np.arange(len(points))]
    while waiting:
        of = waiting.pop()
        load = max(float(share[of].sum()) / _GROUPS, len(of) * patches_of_a_point / _PATCHES)
        _, mean, direction = principal_direction(points[of])
        above = (points[of] - mean) @ direction > 0
        if load <= 1 or min(above.sum(), (~above).sum()) < _LEAST_OF_A_REGION:
            yield of
        else:
            waiting += [of[~above], of[above]]


@dataclass(frozen=True, eq=False)
class Partition:
    """Writes the patches of a series by region."""

    regions: Regions
    folder: Path
    name: str

    def __call__(self, numbered: tuple[int, FilePart]) -> list[FilePart | None]:
        """Return a part for each region; None where the series has no patch."""
        number, part = numbered
        sample = part.load()
        region = self.regions.index.cells(sample.reference)
        order = np.argsort(region, kind="stable")
        cuts = np.searchsorted(region[order], np.arange(len(self.regions) + 1))
        return [
            write_part(sample[order[a:b]], self.folder / f"{self.name}-region-{r}-series-{number}.npz")
            if a < b
            else None
            for r, (a, b) in enumerate(pairwise(cuts))
        ]


@dataclass(frozen=True, eq=False)
class RegionFit:
    """The groups of a region, found and written for Mahout.

    Attributes
    ----------
    groups : Groups
        Without their scatter, which is as large as all the rest together.
    matrix : Path
        A matrix for each group that is large enough; no directory if none is.
    patches : float
        With those of the model that is improved.
    """

    groups: Groups
    matrix: Path
    patches: float

    def share_of(self, total: float) -> tuple[Mixture, CandidateIndex]:
        """Return the groups as a part of `total` patches, and those in question for a patch."""
        mixture, candidates = self.groups.assigner.mixture, self.groups.assigner.candidates
        assert candidates is not None
        return replace(mixture, weights=mixture.weights * (self.patches / total)), candidates


@dataclass(frozen=True, eq=False)
class RegionLearner:
    """Finds the groups of a region, and writes their matrices: the work of one worker."""

    number: int
    covariances: Float64
    rounds: int
    seed: int
    folder: Path

    @single_threaded_blas
    def __call__(self, region: tuple[int, int | Prior, Sequence[FilePart]]) -> RegionFit:
        """Learn the region of this number, with so many groups, from these parts, or improve the groups that it has."""
        number, groups_or_prior, files = region
        sample = Sample.concatenate([part.load() for part in files])
        parts, rng, threads = parts_of(sample), np.random.default_rng([self.seed, 9, self.number, number]), Threads(1)
        patches = float(len(sample.patches))
        if isinstance(groups_or_prior, Prior):
            groups = Groups.improve(self.number, self.covariances, parts, groups_or_prior, self.rounds, threads)
            patches += groups_or_prior.patches
        else:
            groups = Groups.learn(self.number, self.covariances, parts, groups_or_prior, self.rounds, threads, rng)
        matrix = self.folder / f"matrix-{self.number}-{number}"
        if len(groups.factored):
            layout = {"method": "cohort", "pass": self.number, "region": number}
            matrices = groups.matrices(parts)
            # A task may be run twice: with the same bytes.
            write_matrix(matrix, matrices, units="noise SD", centring="columns", layout=layout, overwrite=True)
        return RegionFit(groups.without_scatter(), matrix, patches)


class RegionalMixture:
    """A mixture whose groups lie in regions: a patch is compared with the groups of its region.

    Parameters
    ----------
    index : CandidateIndex
        A region is a cell of it.
    regions : sequence of NoisyMixture
        Their groups are counted through, in this order.
    """

    def __init__(self, index: CandidateIndex, regions: Sequence[NoisyMixture]) -> None:
        self.index, self.regions = index, tuple(regions)
        self.first = np.cumsum([0, *(len(region.mixture) for region in regions)])

    def responsibilities(self, patches: Float32, noise: Noise, most: int) -> tuple[NDArray[np.int64], Float32]:
        """Return the likeliest groups of each patch; see `NoisyMixture.responsibilities`."""
        groups, shares = np.zeros((len(patches), most), np.int64), np.zeros((len(patches), most), np.float32)
        for region, of in self._members(patches):
            in_region, share = self.regions[region].responsibilities(patches[of], noise[of], most)
            groups[of, : in_region.shape[1]] = in_region + self.first[region]
            shares[of, : in_region.shape[1]] = share
        return groups, shares

    def log_likelihood(self, patches: Float32, noise: Noise) -> Float64:
        """Return the log-likelihood of each patch in its most likely group, of shape (n,), in nats."""
        likelihood = np.empty(len(patches))
        for region, of in self._members(patches):
            likelihood[of] = self.regions[region].log_likelihood(patches[of], noise[of])
        return likelihood

    def _members(self, patches: Float32) -> Iterator[tuple[int, NDArray[np.int64]]]:
        region = self.index.cells(patches)
        for r in np.unique(region):
            yield int(r), np.flatnonzero(region == r)


def concatenated(mixtures: Sequence[Mixture]) -> Mixture:
    """Return the groups of several mixtures as one."""
    return Mixture(
        np.concatenate([m.means for m in mixtures]),
        tuple(basis for m in mixtures for basis in m.bases),
        np.concatenate([m.weights for m in mixtures]),
        np.concatenate([m.noise_left for m in mixtures]),
    )
