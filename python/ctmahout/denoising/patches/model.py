"""A model: groups and bases learnt on many series, for any other of their kind.

In HU and free of noise, so the noise of the series it is used on comes in only then. Whether a series is of its kind is
told by likelihood: a model is worth using if it says at least as much about the series' patches as a small mixture that
is learnt on the series itself.
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
from .grid import View
from .groups import (
    BETA,
    FIRST,
    SECOND,
    pack_mixture,
    pack_shortlists,
    pilot_kinds,
    unpack_mixture,
    unpack_shortlists,
)
from .mixture import Kinds, Levels, Mixture, Prepared, Shortlists
from .parts import parts_of
from .passes import Filter, filtered

__all__ = ["Fit", "Model", "ModelPass"]

Float32 = NDArray[np.float32]
Float64 = NDArray[np.float64]

_OWN_GROUPS, _OWN_ROUNDS = 40, 3
_LEARNT, _HELD_OUT = 40_000, 10_000  # patches


@dataclass(frozen=True, eq=False)
class ModelPass:
    """What one pass does.

    Attributes
    ----------
    telling, shrinking : Mixture
        Of the same groups: one tells the group of a patch, one shrinks it.
    shortlists : Shortlists
    """

    telling: Mixture
    shrinking: Mixture
    shortlists: Shortlists


@dataclass(frozen=True)
class Fit:
    """How well a model knows a series.

    Attributes
    ----------
    model, own : float
        Mean log-likelihood per patch of patches that neither has seen, in nats: by the model, and by a small mixture
        learnt on the series.
    """

    model: float
    own: float

    @property
    def is_good(self) -> bool:
        """Whether the model says at least as much."""
        return self.model >= self.own


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

    def filter(self, number: int, view: View, level: Float32) -> Filter:
        """Return what a pass does with a series.

        Parameters
        ----------
        number : int
            1 or 2.
        view : View
            The series.
        level : ndarray, float32, HU
            Noise levels to be ready for.
        """
        rules, learnt = (FIRST, SECOND)[number - 1], self.passes[number - 1]
        kinds, levels = Kinds(view.covariances * BETA), Levels.of(level)
        telling = Prepared(
            learnt.telling, kinds if number == 1 else pilot_kinds(view.covariances), levels, learnt.shortlists
        )
        return Filter(telling, Prepared(learnt.shrinking, kinds, levels), rules.mix, rules.shrinking.knee)

    @single_threaded_blas
    def apply(
        self,
        view: View,
        strides: Sequence[tuple[int, int]],
        workers: Workers,
        progress: Callable[[int, int], None] | None = None,
    ) -> Float32:
        """Run as many passes over a series as there are strides; returns the result, of the shape of the series, HU."""
        level = np.exp(np.array([view.noise.log_sigma.min(), view.noise.log_sigma.max()]))
        pilot, result = None, view.hu
        total = len(strides) * view.shape[0]
        for number, stride in enumerate(strides, 1):
            before = (number - 1) * view.shape[0]
            told = None if progress is None else partial(_after, progress, before, total)
            result = filtered(view, self.filter(number, view, level), stride, workers, pilot=pilot, progress=told)
            pilot = view.with_hu(result)
        return result

    @single_threaded_blas
    def fit(self, view: View, threads: Threads, seed: int) -> Fit:
        """Compare the model with what the series teaches."""
        rng = np.random.default_rng([seed, 4])
        sample = view.sample(view.draw(_LEARNT + _HELD_OUT, rng))
        chosen = rng.permutation(len(sample.patches))
        held = max(1, len(chosen) * _HELD_OUT // (_LEARNT + _HELD_OUT))
        test, train = (
            Sample(sample.patches[at], sample.noise[at]) for at in (np.sort(chosen[:held]), np.sort(chosen[held:]))
        )
        kinds, groups = Kinds(view.covariances * BETA), max(1, min(_OWN_GROUPS, len(chosen) // 500))
        own = fit(parts_of(train), groups, _OWN_ROUNDS, kinds, FIRST.telling, threads, rng)
        levels = Levels.of(sample.noise.level)
        model = Prepared(self.passes[0].telling, kinds, levels, self.passes[0].shortlists)
        return Fit(*(float(p.log_likelihood(test.patches, test.noise).mean()) for p in (model, own)))

    # ----------------------------------------------------------------------------------------------- the exchange

    def arrays(self) -> dict[str, NDArray[Any]]:
        found: dict[str, NDArray[Any]] = {}
        for number, learnt in enumerate(self.passes, 1):
            found |= pack_mixture(f"pass{number}_telling", learnt.telling)
            found |= pack_mixture(f"pass{number}_shrinking", learnt.shrinking)
            found |= pack_shortlists(f"pass{number}", learnt.shortlists)
        return found

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
                    unpack_shortlists(f"pass{n}", a),
                )
                for n in range(1, about["passes"] + 1)
            ]
        except KeyError as e:
            raise ExchangeError("CTM_EXCHANGE_MANIFEST", path=path, problem=f"layout.arrays lacks {e}") from None
        return cls(tuple(passes), about["learnt_on"])


def _after(progress: Callable[[int, int], None], before: int, total: int, done: int, of: int) -> None:
    """Tell the progress of one of several passes as that of all."""
    progress(before + done, total)
