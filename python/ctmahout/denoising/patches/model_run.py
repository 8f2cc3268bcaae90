"""A model of many series at work on another one: no matrix, no factors, no Spark."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...engines.workers import Threads, Workers
from ...options import Config
from ...volume import Volume
from ..effort import EFFORTS
from ..method import Progress, Result
from ..noise import MeasuredPart, NoiseModel, Unmeasurable
from ..strength import Strength
from .fit import Fit, HeldOut
from .grid import PatchGrid
from .model import Model
from .results import blended_results, unchanged_results
from .two_passes import measure_noise

__all__ = ["ModelRun"]

Float32 = NDArray[np.float32]

_NOISE_CLASSES = 3  # of place: as good as eight (ADR 0040), and a model's tables are one for each


@dataclass(frozen=True, eq=False)
class ModelRun:
    """A model on a series.

    Attributes
    ----------
    model : Model
    volume : Volume
    part : MeasuredPart
        Of `volume`.
    effort : str
        As many passes as it has, of the model's.
    grid : PatchGrid, Unmeasurable or None
        The series as patches, or why its noise cannot be measured; None: there is no noise.
    held_out : HeldOut, or None
        What models are judged by; None without a grid.
    """

    model: Model
    volume: Volume
    part: MeasuredPart
    effort: str
    grid: PatchGrid | Unmeasurable | None
    held_out: HeldOut | None = None

    @classmethod
    def start(cls, model: Model, volume: Volume, config: Config) -> ModelRun:
        """Measure the noise of a series, and learn what the model is judged by; errors as of `measure_noise`."""
        part, threads = MeasuredPart.of(volume), Threads.of(config.workers)
        noise = measure_noise(part.hu, volume.geometry, threads)
        if not isinstance(noise, NoiseModel):
            return cls(model, volume, part, config.effort, noise)
        rng = np.random.default_rng([config.seed, 2])
        grid = PatchGrid.of(part.hu, noise, _NOISE_CLASSES, rng)
        return cls(model, volume, part, config.effort, grid, HeldOut.of(grid, threads, config.seed))

    @cached_property
    def fit(self) -> Fit | None:
        """How well the model knows the series; None without a grid."""
        return self.held_out.fit(self.model) if self.held_out else None

    def with_model(self, model: Model) -> ModelRun:
        """Return another model on the same series, of which nothing is measured again."""
        return replace(self, model=model)

    @property
    def noise(self) -> NoiseModel | Unmeasurable | None:
        """As of `Run`."""
        return self.grid.noise if isinstance(self.grid, PatchGrid) else self.grid

    def results(self, strengths: Sequence[Strength], workers: Workers, progress: Progress | None) -> Iterator[Result]:
        """Yield the denoised volume for each strength; parameters as of `Run.results`."""
        grid, threads = self.grid, Threads.local(workers)
        if not isinstance(grid, PatchGrid):
            return unchanged_results(self.volume, strengths, grid)
        strides = [spec.stride for spec in EFFORTS[self.effort].passes][: len(self.model.passes)]
        estimate = self.model.apply(grid, strides, workers, progress and partial(progress, "reconstruct"))

        def estimate_slab(slab: Float32, first: int) -> Float32:
            return self.model.apply(grid.slab(first, first + len(slab)).with_hu(slab), strides, threads)

        return blended_results(self.volume, self.part, estimate, strengths, grid.noise, threads, estimate_slab)

    def report_data(self) -> dict[str, Any]:
        """Return what the report shows: a model has no spectrum of this series."""
        return {"groups": []}
