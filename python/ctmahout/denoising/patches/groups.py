"""Groups of patches that are found but for their bases: what Mahout gets, and what its answer makes of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...engines.workers import single_threaded_blas
from ...exchange import Factors
from .em import Members, Part, Sample
from .mixture import Kinds, Levels, Mixture, Prepared, Shortlists
from .moments import Moments, Rule, mixture_from_factors, whitened_rows
from .passes import Filter

__all__ = [
    "BETA",
    "FIRST",
    "SECOND",
    "Groups",
    "pack_mixture",
    "pack_shortlists",
    "pilot_kinds",
    "unpack_mixture",
    "unpack_shortlists",
]

Float32 = NDArray[np.float32]
Float64 = NDArray[np.float64]
Arrays = Mapping[str, NDArray[Any]]

BETA = 1.1  # noise is taken to be so much stronger: too little shows more than too much
_PILOT_NOISE, _PILOT_WHITE = 0.2, 0.02  # share of the noise's covariance that a first result has left


@dataclass(frozen=True)
class _Rules:
    """What differs between the passes."""

    telling: Rule
    shrinking: Rule
    mix: float


# In the second pass what lies shortly above the edge is mostly noise that chose its group: ADR 0024.
FIRST = _Rules(Rule(), Rule(), 0.0)
SECOND = _Rules(Rule(rank=24), Rule(margin=0.6, leak=1.0, knee=0.15), 1.0)


def pilot_kinds(covariances: Float64) -> Kinds:
    """Return the noise that a first result has left; kinds of place no longer matter in it."""
    left = covariances.mean(axis=0) * BETA + _PILOT_WHITE * np.eye(covariances.shape[1])
    return Kinds(_PILOT_NOISE * left[None])


@dataclass(frozen=True, eq=False)
class Groups:
    """The groups of one pass.

    Attributes
    ----------
    number : int
        1 or 2: the pass.
    covariances : ndarray of shape (kinds, d, d), float64
        Of a patch of noise, for an SD of 1.
    telling : Prepared
        Tells the group of a patch.
    moments : Moments
        Of the noisy patches of each group.
    """

    number: int
    covariances: Float64
    telling: Prepared
    moments: Moments

    @cached_property
    def kinds(self) -> Kinds:
        """The noise of a patch."""
        return Kinds(self.covariances * BETA)

    @property
    def rules(self) -> _Rules:
        return FIRST if self.number == 1 else SECOND

    @property
    def factored(self) -> NDArray[np.int64]:
        """The groups that are large enough for a basis, in the order in which they are matrices."""
        return np.flatnonzero(self.moments.count >= self.rules.shrinking.smallest)

    def matrices(self, parts: Sequence[Part]) -> Iterator[Iterator[tuple[NDArray[np.int64], Float32]]]:
        """Yield the matrix of each group for Mahout: its patches, centred, whitened and weighted, of shape (m, d)."""
        samples = [part.load() for part in parts]
        members = [Members.of(sample, self.telling) for sample in samples]
        for group in self.factored:
            yield self._rows(int(group), samples, members)

    def _rows(
        self, group: int, samples: Sequence[Sample], members: Sequence[Members]
    ) -> Iterator[tuple[NDArray[np.int64], Float32]]:
        start = 0
        for sample, of in zip(samples, members, strict=True):
            own = of.group == group
            rows = whitened_rows(sample.patches[of.patch[own]], of.weight[own], self.moments, group, self.kinds)
            yield np.arange(start, start + len(rows)), rows
            start += len(rows)

    def mixture(self, factors: Sequence[Factors]) -> Mixture:
        """Return the mixture with the bases that Mahout found: factors in the order of `factored`."""
        found = {
            int(group): (f.s**2 / self.moments.count[group], f.v)
            for group, f in zip(self.factored, factors, strict=True)
        }
        nothing = np.zeros(0), np.zeros((self.kinds.d, 0))
        each = [found.get(group, nothing) for group in range(len(self.telling.mixture))]
        return mixture_from_factors(self.moments, each, self.kinds, self.rules.shrinking)

    @single_threaded_blas
    def filter(self, factors: Sequence[Factors]) -> Filter:
        """Return what the pass does with the bases that Mahout found."""
        shrinking = Prepared(self.mixture(factors), self.kinds, self.telling.levels)
        return Filter(self.telling, shrinking, self.rules.mix, self.rules.shrinking.knee)

    # -------------------------------------------------------------------------------------------------- as arrays

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return the groups as arrays for the exchange; the levels are not among them."""
        assert self.telling.shortlists is not None
        return {
            "covariances": self.covariances,
            "group_count": self.moments.count,
            "group_mean": self.moments.means,
            "group_noise": self.moments.noise,
            "telling_kinds": self.telling.kinds.covariances,
            **pack_mixture("telling", self.telling.mixture),
            **pack_shortlists("telling", self.telling.shortlists),
        }

    @classmethod
    def of_arrays(cls, number: int, arrays: Arrays, levels: Levels) -> Groups:
        d = arrays["group_mean"].shape[1]
        moments = Moments(arrays["group_count"], arrays["group_mean"], np.zeros((0, d, d)), arrays["group_noise"])
        mixture, shortlists = unpack_mixture("telling", arrays), unpack_shortlists("telling", arrays)
        telling = Prepared(mixture, Kinds(arrays["telling_kinds"]), levels, shortlists)
        return cls(number, arrays["covariances"], telling, moments)


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


def pack_shortlists(name: str, shortlists: Shortlists) -> dict[str, NDArray[Any]]:
    """Return shortlists as arrays whose names begin with `name`; in each cell's row a group in question is a 1."""
    count = 1 + max(int(groups.max()) for groups in shortlists.groups)
    listed = np.zeros((len(shortlists.groups), count), np.float32)
    for cell, groups in enumerate(shortlists.groups):
        listed[cell, groups] = 1
    return {
        f"{name}_cell_origin": shortlists.mean,
        f"{name}_cell_projection": shortlists.projection,
        f"{name}_cell_centre": shortlists.centres,
        f"{name}_cell_groups": listed,
    }


def unpack_shortlists(name: str, arrays: Arrays) -> Shortlists:
    return Shortlists(
        arrays[f"{name}_cell_origin"],
        arrays[f"{name}_cell_projection"],
        arrays[f"{name}_cell_centre"],
        tuple(np.flatnonzero(row) for row in arrays[f"{name}_cell_groups"]),
    )
