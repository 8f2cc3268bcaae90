"""Groups of patches before their bases are known: their matrices for Mahout, and the filter that its factors give."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...engines.workers import Workers, single_threaded_blas
from ...exchange import Factors
from .em import Members, Part, Sample, fit, max_groups, refit, sum_moments
from .mixture import CandidateIndex, Mixture, NoiseCovariances, NoisyMixture, SigmaGrid
from .moments import Moments, Rule, mixture_from_factors, whitened_rows
from .passes import PatchFilter
from .prior import Prior, moments_of_mixture, rows_of

__all__ = [
    "BETA",
    "FIRST",
    "SECOND",
    "Groups",
    "pack_candidates",
    "pack_mixture",
    "pilot_noise",
    "unpack_candidates",
    "unpack_mixture",
]

Float32 = NDArray[np.float32]
Float64 = NDArray[np.float64]
Arrays = Mapping[str, NDArray[Any]]

BETA = 1.1  # factor on the noise's covariance: noise left over shows more than noise overestimated
_PILOT_NOISE, _PILOT_WHITE = 0.2, 0.02  # of the noise's covariance, left in a first result; and white noise


@dataclass(frozen=True)
class _Rules:
    """How groups are assigned and shrunk in a pass."""

    assigner: Rule
    shrinker: Rule
    pilot_weight: float


# In the second pass, components just above the edge are mostly noise that decided on the group: ADR 0024.
FIRST = _Rules(Rule(), Rule(), 0.0)
SECOND = _Rules(Rule(rank=24), Rule(margin=0.6, overfit_slope=1.0, overfit_threshold=0.15), 1.0)


def pilot_noise(covariances: Float64) -> NoiseCovariances:
    """Return the noise that a first result has left, in which classes of place no longer matter."""
    left = covariances.mean(axis=0) * BETA + _PILOT_WHITE * np.eye(covariances.shape[1])
    return NoiseCovariances(_PILOT_NOISE * left[None])


def pass_noise(number: int, covariances: Float64) -> NoiseCovariances:
    """Return the noise of the patches that are assigned in a pass, from those of noise in the series."""
    return NoiseCovariances(covariances * BETA) if number == 1 else pilot_noise(covariances)


@dataclass(frozen=True, eq=False)
class Groups:
    """The groups of one pass.

    Attributes
    ----------
    number : int
        1 or 2: the pass.
    covariances : ndarray of shape (classes, d, d), float64
        Of a patch of noise, for an SD of 1.
    assigner : NoisyMixture
        Assigns patches to the groups.
    moments : Moments
        Of the noisy patches of each group, those of a model that is improved among them.
    earlier : Moments, optional
        Of the patches that this model was learnt from.
    """

    number: int
    covariances: Float64
    assigner: NoisyMixture
    moments: Moments
    earlier: Moments | None = None

    @classmethod
    def learn(
        cls,
        number: int,
        covariances: Float64,
        parts: Sequence[Part],
        count: int,
        rounds: int,
        workers: Workers,
        rng: np.random.Generator,
    ) -> Groups:
        """Find up to `count` groups in a sample; the second pass assigns patches by the sample's pilot.

        Parameters
        ----------
        number : int
            1 or 2: the pass.
        covariances : ndarray of shape (classes, d, d), float64
            Of a patch of noise, for an SD of 1.
        parts : sequence of Part
        count : int
            Fewer are found in a small sample.
        rounds : int
            Of expectation and maximisation.
        workers : Workers
            The groups do not depend on how many there are.
        rng : Generator
        """
        noise = pass_noise(number, covariances)
        rule = (FIRST if number == 1 else SECOND).assigner
        assigner = fit(parts, max_groups(count, parts), rounds, noise, rule, workers, rng)
        moments = sum_moments(parts, assigner, len(assigner.mixture), len(covariances), workers, of_pilot=False)
        return cls(number, covariances, assigner, moments)

    @classmethod
    def improve(
        cls, number: int, covariances: Float64, parts: Sequence[Part], prior: Prior, rounds: int, workers: Workers
    ) -> Groups:
        """Improve the groups of a model by a sample of other series; see `learn`."""
        noise, all_noise = pass_noise(number, covariances), NoiseCovariances(covariances * BETA)
        rule = (FIRST if number == 1 else SECOND).assigner
        assigner = refit(parts, prior, rounds, noise, rule, workers)
        moments = sum_moments(parts, assigner, len(assigner.mixture), len(covariances), workers, of_pilot=False)
        mean_noise = moments.noise.sum(axis=0) / moments.count.sum()
        earlier = moments_of_mixture(prior.shrinker, prior.counts, mean_noise, all_noise)
        return cls(number, covariances, assigner, earlier + moments, earlier)

    def without_scatter(self) -> Groups:
        """Return the groups as they are once their matrices are written."""
        d = self.noise_covariances.d
        return replace(self, moments=replace(self.moments, scatter=np.zeros((0, d, d))), earlier=None)

    @cached_property
    def noise_covariances(self) -> NoiseCovariances:
        """The noise of a patch."""
        return NoiseCovariances(self.covariances * BETA)

    @property
    def rules(self) -> _Rules:
        return FIRST if self.number == 1 else SECOND

    @property
    def factored(self) -> NDArray[np.int64]:
        """The groups that are large enough for a basis, in the order in which they are matrices."""
        return np.flatnonzero(self.moments.count >= self.rules.shrinker.smallest)

    def matrices(self, parts: Sequence[Part]) -> Iterator[Iterator[tuple[NDArray[np.int64], Float32]]]:
        """Yield the matrix of each group for Mahout: its patches, centred, whitened and weighted, of shape (m, d).

        Patches of the model that is improved are not there; d rows stand for them.
        """
        samples = [part.load() for part in parts]
        members = [Members.of(sample, self.assigner) for sample in samples]
        for group in self.factored:
            yield self._rows(int(group), samples, members)

    def _rows(
        self, group: int, samples: Sequence[Sample], members: Sequence[Members]
    ) -> Iterator[tuple[NDArray[np.int64], Float32]]:
        start = 0
        if self.earlier is not None:
            rows = rows_of(self.earlier, self.moments, group, self.noise_covariances)
            yield np.arange(len(rows)), rows
            start = len(rows)
        for sample, of in zip(samples, members, strict=True):
            members_of_group = of.group == group
            rows = whitened_rows(
                sample.patches[of.patch[members_of_group]],
                of.weight[members_of_group],
                self.moments,
                group,
                self.noise_covariances,
            )
            yield np.arange(start, start + len(rows)), rows
            start += len(rows)

    def mixture(self, factors: Sequence[Factors]) -> Mixture:
        """Return the mixture with the bases that Mahout found: factors in the order of `factored`."""
        bases = {
            int(group): (f.s**2 / self.moments.count[group], f.v)
            for group, f in zip(self.factored, factors, strict=True)
        }
        no_basis = np.zeros(0), np.zeros((self.noise_covariances.d, 0))
        each = [bases.get(group, no_basis) for group in range(len(self.assigner.mixture))]
        return mixture_from_factors(self.moments, each, self.noise_covariances, self.rules.shrinker)

    @single_threaded_blas
    def filter(self, factors: Sequence[Factors]) -> PatchFilter:
        """Return the filter of a pass, with the bases that Mahout found."""
        shrinker = NoisyMixture(self.mixture(factors), self.noise_covariances, self.assigner.sigmas)
        return PatchFilter(self.assigner, shrinker, self.rules.pilot_weight, self.rules.shrinker.overfit_threshold)

    # -------------------------------------------------------------------------------------------------- as arrays

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return the groups as arrays for the exchange; the sigmas are not among them."""
        assert self.assigner.candidates is not None
        return {
            "covariances": self.covariances,
            "group_count": self.moments.count,
            "group_mean": self.moments.means,
            "group_noise": self.moments.noise,
            "telling_kinds": self.assigner.noise_covariances.unfloored,
            **pack_mixture("telling", self.assigner.mixture),
            **pack_candidates("telling", self.assigner.candidates),
        }

    @classmethod
    def of_arrays(cls, number: int, arrays: Arrays, sigmas: SigmaGrid) -> Groups:
        d = arrays["group_mean"].shape[1]
        moments = Moments(arrays["group_count"], arrays["group_mean"], np.zeros((0, d, d)), arrays["group_noise"])
        mixture, candidates = unpack_mixture("telling", arrays), unpack_candidates("telling", arrays)
        assigner = NoisyMixture(mixture, NoiseCovariances(arrays["telling_kinds"]), sigmas, candidates)
        return cls(number, arrays["covariances"], assigner, moments)


def pack_mixture(name: str, mixture: Mixture) -> dict[str, NDArray[Any]]:
    """Return a mixture as arrays whose names begin with `name`."""
    return {
        f"{name}_mean": mixture.means,
        f"{name}_basis": np.concatenate([basis.T for basis in mixture.bases]),
        f"{name}_rank": np.array([basis.shape[1] for basis in mixture.bases], np.float64),
        f"{name}_weight": mixture.weights,
        f"{name}_noise_left": mixture.noise_left,
    }


def unpack_mixture(name: str, arrays: Arrays) -> Mixture:
    cuts = np.cumsum(arrays[f"{name}_rank"]).astype(int)[:-1]
    bases = tuple(basis.T for basis in np.split(arrays[f"{name}_basis"], cuts))
    return Mixture(arrays[f"{name}_mean"], bases, arrays[f"{name}_weight"], arrays[f"{name}_noise_left"])


def pack_candidates(name: str, candidates: CandidateIndex) -> dict[str, NDArray[Any]]:
    """Return shortlists as arrays whose names begin with `name`; in each cell's row a group in question is a 1."""
    count = 1 + max(int(groups.max()) for groups in candidates.groups)
    listed = np.zeros((len(candidates.groups), count), np.float32)
    for cell, groups in enumerate(candidates.groups):
        listed[cell, groups] = 1
    return {
        f"{name}_cell_origin": candidates.mean,
        f"{name}_cell_projection": candidates.projection,
        f"{name}_cell_centre": candidates.centres,
        f"{name}_cell_groups": listed,
    }


def unpack_candidates(name: str, arrays: Arrays) -> CandidateIndex:
    return CandidateIndex(
        arrays[f"{name}_cell_origin"],
        arrays[f"{name}_cell_projection"],
        arrays[f"{name}_cell_centre"],
        tuple(np.flatnonzero(row) for row in arrays[f"{name}_cell_groups"]),
    )
