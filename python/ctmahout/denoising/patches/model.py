"""A model: groups and bases learnt on many series, for other series of the same protocol.

It is in HU and without noise; the noise of a series enters when the model is used on it. A model fits a series if
its likelihood is at least that of a small mixture learnt on the series itself.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...engines.workers import Threads, Workers, single_threaded_blas
from ...errors import ExchangeError
from ...exchange import Manifest, read_arrays
from .em import Sample, fit
from .grid import PatchGrid
from .groups import (
    BETA,
    FIRST,
    SECOND,
    pack_candidates,
    pack_mixture,
    pilot_noise,
    unpack_candidates,
    unpack_mixture,
)
from .mixture import CandidateIndex, Mixture, NoiseCovariances, NoisyMixture, SigmaGrid
from .parts import parts_of
from .passes import PatchFilter, filter_volume

__all__ = ["Fit", "Model", "ModelPass"]

Float32 = NDArray[np.float32]
Float64 = NDArray[np.float64]

_BASELINE_GROUPS, _BASELINE_ROUNDS = 40, 3
_LEARNT, _HELD_OUT = 40_000, 10_000  # patches


@dataclass(frozen=True, eq=False)
class ModelPass:
    """What one pass does.

    Attributes
    ----------
    assigner, shrinker : Mixture
        Of the same groups: one tells the group of a patch, one shrinks it.
    candidates : Shortlists
    """

    assigner: Mixture
    shrinker: Mixture
    candidates: CandidateIndex


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
class Model:
    """Two passes, and what they were learnt on.

    Attributes
    ----------
    passes : tuple of ModelPass
    learnt_on : list of dict
        One entry for each series, without anything that names a patient.
    """

    passes: tuple[ModelPass, ...]
    learnt_on: list[dict[str, Any]]

    def filter(self, number: int, grid: PatchGrid, sigma_hu: Float32) -> PatchFilter:
        """Return what a pass does with a series.

        Parameters
        ----------
        number : int
            1 or 2.
        grid : View
            The series.
        level : ndarray, float32, HU
            Noise sigmas to be ready for.
        """
        rules, learnt = (FIRST, SECOND)[number - 1], self.passes[number - 1]
        noise_covariances, sigmas = NoiseCovariances(grid.covariances * BETA), SigmaGrid.of(sigma_hu)
        assigner = NoisyMixture(
            learnt.assigner,
            noise_covariances if number == 1 else pilot_noise(grid.covariances),
            sigmas,
            learnt.candidates,
        )
        return PatchFilter(
            assigner,
            NoisyMixture(learnt.shrinker, noise_covariances, sigmas),
            rules.pilot_weight,
            rules.shrinker.overfit_threshold,
        )

    @single_threaded_blas
    def apply(
        self,
        grid: PatchGrid,
        strides: Sequence[tuple[int, int]],
        workers: Workers,
        progress: Callable[[int, int], None] | None = None,
    ) -> Float32:
        """Run as many passes over a series as there are strides; returns the result, of the shape of the series, HU."""
        sigma_hu = np.exp(np.array([grid.noise.log_sigma.min(), grid.noise.log_sigma.max()]))
        pilot, result = None, grid.hu
        total = len(strides) * grid.shape[0]
        for number, stride in enumerate(strides, 1):
            before = (number - 1) * grid.shape[0]
            report = None if progress is None else partial(_after, progress, before, total)
            result = filter_volume(
                grid, self.filter(number, grid, sigma_hu), stride, workers, pilot=pilot, progress=report
            )
            pilot = grid.with_hu(result)
        return result

    @single_threaded_blas
    def fit(self, grid: PatchGrid, threads: Threads, seed: int) -> Fit:
        """Compare the model with what the series teaches."""
        rng = np.random.default_rng([seed, 4])
        sample = grid.sample(grid.draw(_LEARNT + _HELD_OUT, rng))
        chosen = rng.permutation(len(sample.patches))
        test_count = max(1, len(chosen) * _HELD_OUT // (_LEARNT + _HELD_OUT))
        test, train = (
            Sample(sample.patches[at], sample.noise[at])
            for at in (np.sort(chosen[:test_count]), np.sort(chosen[test_count:]))
        )
        noise_covariances, groups = (
            NoiseCovariances(grid.covariances * BETA),
            max(1, min(_BASELINE_GROUPS, len(chosen) // 500)),
        )
        baseline = fit(parts_of(train), groups, _BASELINE_ROUNDS, noise_covariances, FIRST.assigner, threads, rng)
        sigmas = SigmaGrid.of(sample.noise.sigma_hu)
        model = NoisyMixture(self.passes[0].assigner, noise_covariances, sigmas, self.passes[0].candidates)
        return Fit(*(float(p.log_likelihood(test.patches, test.noise).mean()) for p in (model, baseline)))

    # ----------------------------------------------------------------------------------------------- the exchange

    def arrays(self) -> dict[str, NDArray[Any]]:
        arrays: dict[str, NDArray[Any]] = {}
        for number, learnt in enumerate(self.passes, 1):
            arrays |= pack_mixture(f"pass{number}_telling", learnt.assigner)
            arrays |= pack_mixture(f"pass{number}_shrinking", learnt.shrinker)
            arrays |= pack_candidates(f"pass{number}", learnt.candidates)
        return arrays

    def layout(self) -> dict[str, Any]:
        return {"method": "patches", "passes": len(self.passes), "learnt_on": self.learnt_on}

    @classmethod
    def read(cls, path: Path, manifest: Manifest) -> Model:
        """Read a model; errors as of `read_arrays`."""
        about = manifest.layout
        if about.get("method") != "patches" or about.get("passes") not in (1, 2) or "learnt_on" not in about:
            raise ExchangeError("CTM_EXCHANGE_MANIFEST", path=path, problem="layout is not that of a model of patches")
        a = read_arrays(path, manifest)
        try:
            passes = [
                ModelPass(
                    unpack_mixture(f"pass{n}_telling", a),
                    unpack_mixture(f"pass{n}_shrinking", a),
                    unpack_candidates(f"pass{n}", a),
                )
                for n in range(1, about["passes"] + 1)
            ]
        except KeyError as e:
            raise ExchangeError("CTM_EXCHANGE_MANIFEST", path=path, problem=f"layout.arrays lacks {e}") from None
        return cls(tuple(passes), about["learnt_on"])


def _after(progress: Callable[[int, int], None], before: int, total: int, done: int, of: int) -> None:
    """Report the progress of one pass as part of all."""
    progress(before + done, total)
