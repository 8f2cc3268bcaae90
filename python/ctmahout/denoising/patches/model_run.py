"""A model of many series at work on another one: no matrix, no factors, no Spark."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
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
from .grid import PatchGrid
from .model import Fit, Model
from .results import blended_results, unchanged_results
from .two_passes import measure_noise

__all__ = ["ModelRun"]

Float32 = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class ModelRun:
    """A model on a series.

    Attributes
    ----------
    model : Model
    volume : Volume
    effort : str
        As many passes as it has, of the model's.
    noise : NoiseModel, Unmeasurable or None
        None: there is no noise.
    grid : PatchGrid, or None
        The series as patches; None without a noise model.
    fit : Fit, or None
        How well the model knows the series; None without a noise model.
    """

    model: Model
    volume: Volume
    effort: str
    noise: NoiseModel | Unmeasurable | None
    grid: PatchGrid | None = None
    fit: Fit | None = None

    @classmethod
    def start(cls, model: Model, volume: Volume, config: Config) -> ModelRun:
        """Measure the noise of a series, and how well the model knows its patches; errors as of `measure_noise`."""
        hu, threads = MeasuredPart.of(volume).hu, Threads.of(config.workers)
        noise = measure_noise(hu, volume.geometry, threads)
        if not isinstance(noise, NoiseModel):
            return cls(model, volume, config.effort, noise)
        grid = PatchGrid.of(hu, noise, EFFORTS[config.effort].noise_classes, np.random.default_rng([config.seed, 2]))
        return cls(model, volume, config.effort, noise, grid, model.fit(grid, threads, config.seed))

    def results(self, strengths: Sequence[Strength], workers: Workers, progress: Progress | None) -> Iterator[Result]:
        """Yield the denoised volume for each strength; parameters as of `Run.results`."""
        if not isinstance(self.noise, NoiseModel) or self.grid is None:
            assert not isinstance(self.noise, NoiseModel)
            return unchanged_results(self.volume, strengths, self.noise)
        grid, threads = self.grid, workers if isinstance(workers, Threads) else Threads()
        strides = [spec.stride for spec in EFFORTS[self.effort].passes][: len(self.model.passes)]
        estimate = self.model.apply(grid, strides, workers, progress and partial(progress, "reconstruct"))

        def estimate_slab(slab: Float32, first: int) -> Float32:
            return self.model.apply(grid.slab(first, first + len(slab)).with_hu(slab), strides, threads)

        part = MeasuredPart.of(self.volume)
        return blended_results(self.volume, part, estimate, strengths, self.noise, threads, estimate_slab)

    def report_data(self) -> dict[str, Any]:
        """Return what the report shows: a model has no spectrum of this series."""
        return {"groups": []}
