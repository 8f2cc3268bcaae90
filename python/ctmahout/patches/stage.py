"""A pass that is ready to run but for its bases, and how it goes through the exchange.

A `Stage` is what is known when the groups are found. Its matrix directory holds one matrix for each group, for Mahout,
and beside them all that the next step needs; so that step may run in another process or on another machine.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..exchange import Factors, Manifest, read_arrays
from ..noise import NoiseModel
from .learning import Part
from .mixture import Kinds, Levels, Mixture, Prepared, Shortlists
from .moments import Moments, Rule, mixture_from_factors, whitened_rows
from .passes import Filter
from .places import View

__all__ = ["BETA", "FIRST", "SECOND", "Stage", "pilot_kinds"]

Float32 = NDArray[np.float32]
Float64 = NDArray[np.float64]

BETA = 1.2  # noise is taken to be so much stronger: what is too little shows more than what is too much
_PILOT_NOISE, _PILOT_WHITE = 0.2, 0.02  # share of the noise's covariance that a first result has left


@dataclass(frozen=True)
class _Kind:
    """What differs between the passes."""

    telling: Rule
    shrinking: Rule
    mix: float


FIRST = _Kind(Rule(), Rule(), 0.0)
SECOND = _Kind(Rule(rank=24), Rule(leak=2.0, knee=0.15), 2.0)


def pilot_kinds(covariances: Float64) -> Kinds:
    """Return the noise that a first result has left; kinds of place no longer matter in it."""
    left = covariances.mean(axis=0) * BETA + _PILOT_WHITE * np.eye(covariances.shape[1])
    return Kinds(_PILOT_NOISE * left[None])


@dataclass(frozen=True, eq=False)
class Stage:
    """Groups of one pass, and the noise of the series.

    Attributes
    ----------
    number : int
        1 or 2: the pass.
    noise : NoiseModel
    kind, covariances
        As of `View`.
    telling : Prepared
        Tells the group of a patch.
    moments : Moments
        Of the noisy patches of each group.
    pilot : ndarray of shape (z, y, x), float32, HU, or None
        The first pass's result, in the second.
    """

    number: int
    noise: NoiseModel
    kind: NDArray[np.int32]
    covariances: Float64
    telling: Prepared
    moments: Moments
    pilot: Float32 | None = None

    @property
    def kinds(self) -> Kinds:
        """The noise of a patch of the series."""
        return Kinds(self.covariances * BETA)

    @property
    def rules(self) -> _Kind:
        return FIRST if self.number == 1 else SECOND

    @property
    def factored(self) -> NDArray[np.int64]:
        """The groups that are large enough for a basis, in the order in which they are matrices."""
        return np.flatnonzero(self.moments.count >= self.rules.shrinking.smallest)

    def view(self, hu: Float32, patch: tuple[int, int, int]) -> View:
        """Return the series as patches."""
        return View(hu, self.noise, patch, self.kind, self.covariances)

    # ------------------------------------------------------------------------------------------------- to Mahout

    def matrices(self, parts: Sequence[Part]) -> Iterator[Iterator[tuple[NDArray[np.int64], Float32]]]:
        """Yield the matrix of each group: its patches, whitened and centred, of shape (m, d)."""
        samples = [part.load() for part in parts]
        labels = [self.telling.classify(s.telling, s.noise) for s in samples]
        for group in self.factored:
            yield self._rows(int(group), [s.patches[at == group] for s, at in zip(samples, labels, strict=True)])

    def _rows(self, group: int, patches: Sequence[Float32]) -> Iterator[tuple[NDArray[np.int64], Float32]]:
        start = 0
        for own in patches:
            yield np.arange(start, start + len(own)), whitened_rows(own, self.moments, group, self.kinds)
            start += len(own)

    # ----------------------------------------------------------------------------------------------- from Mahout

    def filter(self, factors: Sequence[Factors]) -> Filter:
        """Return what the pass does, with the bases that these factors hold, in the order of `factored`."""
        found = {int(group): (f.s**2 / f.rows, f.v) for group, f in zip(self.factored, factors, strict=True)}
        nothing = np.zeros(0), np.zeros((self.kinds.d, 0))
        each = [found.get(group, nothing) for group in range(len(self.telling.mixture))]
        mixture = mixture_from_factors(self.moments, each, self.kinds, self.rules.shrinking)
        shrinking = Prepared(mixture, self.kinds, self.telling.levels)
        return Filter(self.telling, shrinking, self.rules.mix, self.rules.shrinking.knee)

    # ---------------------------------------------------------------------------------------------- the exchange

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return what the next step needs, as arrays."""
        telling = self.telling
        assert telling.shortlists is not None
        listed = np.zeros((len(telling.shortlists.groups), len(telling.mixture)), np.float32)
        for cell, groups in enumerate(telling.shortlists.groups):
            listed[cell, groups] = 1
        found: dict[str, NDArray[Any]] = {
            "noise_log_sd": self.noise.log_sd,
            "noise_share": self.noise.share,
            "noise_autocovariance": self.noise.autocovariance,
            "kind": self.kind.astype(np.float32),
            "covariances": self.covariances,
            "group_count": self.moments.count,
            "group_mean": self.moments.means,
            "group_noise": self.moments.noise,
            "telling_kinds": telling.kinds.covariances,
            "telling_mean": telling.mixture.means,
            "telling_basis": np.concatenate([b.T for b in telling.mixture.bases]),
            "telling_rank": np.array([b.shape[1] for b in telling.mixture.bases], np.float64),
            "telling_weight": telling.mixture.weights,
            "telling_noise_left": telling.mixture.noise_left,
            "cell_mean": telling.shortlists.mean,
            "cell_projection": telling.shortlists.projection,
            "cell_centre": telling.shortlists.centres,
            "cell_groups": listed,
        }
        return found if self.pilot is None else found | {"pilot": self.pilot}

    def layout(self) -> dict[str, Any]:
        """Return what is left, as JSON."""
        levels = self.telling.levels
        return {
            "method": "patches",
            "rows_are": "patches",
            "columns_are": "voxels of a patch",
            "pass": self.number,
            "groups": self.factored.tolist(),
            "levels": {"lowest_hu": levels.lowest, "count": levels.count},
            "noise": {"cell": self.noise.cell, "along_z": list(self.noise.along_z), **self.noise.info},
        }

    @classmethod
    def read(cls, path: Path, manifest: Manifest, *, pilot: bool = True) -> Stage:
        """Read a stage from its matrix directory, maybe without the pilot; errors as of `read_arrays`."""
        layout = manifest.layout
        a = read_arrays(path, manifest, None if pilot else tuple(n for n in layout["arrays"] if n != "pilot"))
        noise = NoiseModel(
            layout["noise"]["cell"],
            a["noise_log_sd"],
            a["noise_share"],
            a["noise_autocovariance"],
            tuple(layout["noise"]["along_z"]),
            layout["noise"],
        )
        cuts = np.cumsum(a["telling_rank"]).astype(int)[:-1]
        mixture = Mixture(
            a["telling_mean"],
            tuple(basis.T for basis in np.split(a["telling_basis"], cuts)),
            a["telling_weight"],
            a["telling_noise_left"],
        )
        shortlists = Shortlists(
            a["cell_mean"],
            a["cell_projection"],
            a["cell_centre"],
            tuple(np.flatnonzero(row) for row in a["cell_groups"]),
        )
        levels = Levels(layout["levels"]["lowest_hu"], layout["levels"]["count"])
        kinds = Kinds(a["telling_kinds"])
        d = a["group_mean"].shape[1]
        moments = Moments(a["group_count"], a["group_mean"], np.zeros((0, d, d)), a["group_noise"])
        return cls(
            layout["pass"],
            noise,
            a["kind"].astype(np.int32),
            a["covariances"],
            Prepared(mixture, kinds, levels, shortlists),
            moments,
            a.get("pilot"),
        )
