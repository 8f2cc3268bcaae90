"""How well models know a series: judged by patches of it that nobody has learnt from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ...engines.workers import Threads, single_threaded_blas
from .em import Sample, fit, max_groups
from .grid import PatchGrid
from .groups import BETA, FIRST
from .mixture import NoiseCovariances, NoisyMixture, SigmaGrid
from .parts import parts_of
from .regions import RegionalMixture

if TYPE_CHECKING:
    from .model import Model

__all__ = ["Fit", "HeldOut"]

_BASELINE_GROUPS, _BASELINE_ROUNDS = 40, 3
_LEARNT, _HELD_OUT = 40_000, 10_000  # patches


@dataclass(frozen=True)
class Fit:
    """How well a model knows a series.

    Attributes
    ----------
    model, baseline : float
        Mean log-likelihood per patch of patches that neither has seen, in nats: by the model, and by a small mixture
        learnt on the series.
    """

    model: float
    baseline: float

    @property
    def is_good(self) -> bool:
        """Whether the model says at least as much."""
        return self.model >= self.baseline


@dataclass(frozen=True, eq=False)
class HeldOut:
    """Patches of a series, and how likely they are to a mixture that was learnt on others of the series.

    Attributes
    ----------
    sample : Sample
        The patches, with their noise.
    noise_covariances : NoiseCovariances
    sigmas : SigmaGrid
    baseline : float
        Mean log-likelihood per patch, in nats.
    """

    sample: Sample
    noise_covariances: NoiseCovariances
    sigmas: SigmaGrid
    baseline: float

    @classmethod
    @single_threaded_blas
    def of(cls, grid: PatchGrid, threads: Threads, seed: int) -> HeldOut:
        """Draw patches of a series and learn a mixture on most of them; the same, whatever the threads."""
        rng = np.random.default_rng([seed, 4])
        sample = grid.sample(grid.draw(_LEARNT + _HELD_OUT, rng))
        chosen = rng.permutation(len(sample.patches))
        test_count = max(1, len(chosen) * _HELD_OUT // (_LEARNT + _HELD_OUT))
        test, train = (sample[np.sort(of)] for of in (chosen[:test_count], chosen[test_count:]))
        noise_covariances = NoiseCovariances(grid.covariances * BETA)
        groups = max_groups(_BASELINE_GROUPS, parts_of(sample))
        mixture = fit(parts_of(train), groups, _BASELINE_ROUNDS, noise_covariances, FIRST.assigner, threads, rng)
        sigmas = SigmaGrid.of(sample.noise.sigma_hu)
        return cls(test, noise_covariances, sigmas, _log_likelihood(mixture, test))

    @single_threaded_blas
    def fit(self, model: Model) -> Fit:
        """Compare a model with the mixture."""
        mixture = model.passes[0].assigner(self.noise_covariances, self.sigmas)
        return Fit(_log_likelihood(mixture, self.sample), self.baseline)


def _log_likelihood(mixture: NoisyMixture | RegionalMixture, sample: Sample) -> float:
    return float(mixture.log_likelihood(sample.patches, sample.noise).mean())
