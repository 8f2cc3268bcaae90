"""Method ``patches``: columns are the voxels of small patches, one matrix for each group of patches that look alike."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from ...engines.workers import Threads, Workers, single_threaded_blas
from ...errors import InputError
from ...exchange import Factors, Manifest, write_matrix
from ...options import Config
from ...volume import Volume
from ..effort import EFFORTS, PassSpec
from ..method import GroupSpectrum, Progress, Result
from ..noise import MeasuredPart, NoiseModel, Unmeasurable
from ..strength import Strength
from .em import Part
from .pass_state import PassState
from .passes import PatchFilter, filter_volume
from .results import blended_results, unchanged_results
from .two_passes import first_pass, measure_noise, second_pass

__all__ = ["PatchesRun", "UnchangedRun"]

Float32 = NDArray[np.float32]


@dataclass(frozen=True)
class _Settings:
    """What the layout of a matrix keeps of a run's options and of its volume."""

    effort: str
    seed: int
    series_sha256: str

    @property
    def passes(self) -> tuple[PassSpec, ...]:
        return EFFORTS[self.effort].passes


class _Run:
    """What runs with and without noise share."""

    method: ClassVar[str] = "patches"
    strengths: ClassVar[tuple[str, ...]] = ("auto", "remove")

    def __init__(self, volume: Volume, settings: _Settings) -> None:
        self.volume, self._settings = volume, settings

    @property
    def label(self) -> str:
        return f"patches {self._settings.effort}"

    @property
    def seed(self) -> int:
        return self._settings.seed

    @property
    def series_sha256(self) -> str:
        return self._settings.series_sha256


class UnchangedRun(_Run):
    """A run on a series without noise, or whose noise cannot be measured: it is returned as it is.

    Its matrix is a single zero, so that the steps are those of every run.

    Parameters
    ----------
    volume : Volume
    settings : _Settings
    noise : Unmeasurable, or None
        None: there is no noise.
    """

    passes_left: ClassVar[int] = 0

    def __init__(self, volume: Volume, settings: _Settings, noise: Unmeasurable | None) -> None:
        super().__init__(volume, settings)
        self.noise = noise

    def save(self, path: Path, *, overwrite: bool = False) -> Manifest:
        layout = {"method": "patches", "pass": 0, "passes": 0, **asdict(self._settings)}
        if self.noise is not None:
            layout["unmeasurable"] = self.noise.reason
        zero = [np.zeros((1, 1), np.float32)]
        return write_matrix(path, zero, units="1", centring="columns", layout=layout, overwrite=overwrite)

    def next(self, factors: Sequence[Factors], workers: Workers, progress: Progress | None) -> UnchangedRun:
        raise InputError("CTM_NOTHING_TO_REFINE", path="The matrix")

    def results(
        self, factors: Sequence[Factors], strengths: Sequence[Strength], workers: Workers, progress: Progress | None
    ) -> Iterator[Result]:
        return unchanged_results(self.volume, strengths, self.noise)

    def report_data(self, factors: Sequence[Factors], facts: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
        return {"groups": []}


class PatchesRun(_Run):
    """One of the passes over a series; see `ctmahout.denoising.method.Run`.

    Parameters
    ----------
    volume : Volume
    part : MeasuredPart
        Of `volume`.
    settings : _Settings
    state : PassState
    sample : tuple of Part
        The patches that the groups were learnt from, for `save`; empty if loaded.
    threads : Threads
        Look for the groups of the next pass.
    """

    def __init__(
        self,
        volume: Volume,
        part: MeasuredPart,
        settings: _Settings,
        state: PassState,
        sample: tuple[Part, ...],
        threads: Threads,
    ) -> None:
        super().__init__(volume, settings)
        self._part, self._state, self._sample, self._threads = part, state, sample, threads
        self._filter: PatchFilter | None = None

    @classmethod
    def start(cls, volume: Volume, config: Config, progress: Progress | None) -> PatchesRun | UnchangedRun:
        """Measure the noise and find the groups of the first pass.

        Raises
        ------
        InputError
            CTM_INPUT_TOO_SMALL.
        """
        settings = _Settings(config.effort, config.seed, volume.fingerprint())
        part, threads = MeasuredPart.of(volume), Threads.of(config.workers)
        noise = measure_noise(part.hu, volume.geometry, threads)
        if not isinstance(noise, NoiseModel):
            return UnchangedRun(volume, settings, noise)
        classes = EFFORTS[config.effort].noise_classes
        state, sample = first_pass(part.hu, noise, settings.passes[0], classes, config.seed, threads)
        return cls(volume, part, settings, state.reloaded(), sample, threads)

    @classmethod
    def layout_keys(cls, layout: Mapping[str, Any]) -> tuple[str, ...]:
        """Return what the layout of a matrix must have: less where no noise was found."""
        keys = ("pass", "passes", "effort", "seed")
        return (*keys, "noise", "levels", "groups", "arrays") if layout.get("pass") else keys

    @classmethod
    def load(cls, volume: Volume, path: Path, manifest: Manifest, config: Config) -> PatchesRun | UnchangedRun:
        """Read a run from its matrix directory; errors as of `read_arrays`."""
        layout = manifest.layout
        settings = _Settings(layout["effort"], layout["seed"], layout["series_sha256"])
        if layout["pass"] == 0:
            noise = Unmeasurable(layout["unmeasurable"]) if "unmeasurable" in layout else None
            return UnchangedRun(volume, settings, noise)
        part, state = MeasuredPart.of(volume), PassState.load(path, manifest)
        return cls(volume, part, settings, state, (), Threads.of(config.workers))

    @property
    def noise(self) -> NoiseModel:
        return self._state.noise

    @property
    def passes_left(self) -> int:
        return len(self._settings.passes) - self._state.groups.number

    @single_threaded_blas
    def save(self, path: Path, *, overwrite: bool = False) -> Manifest:
        if not self._sample:
            raise ValueError("matrices are saved once, by the process that made them")
        manifest = write_matrix(
            path,
            self._state.groups.matrices(self._sample),
            units="noise SD",
            centring="columns",
            layout=self._state.layout() | {"passes": len(self._settings.passes)} | asdict(self._settings),
            arrays=self._state.arrays(),
            overwrite=overwrite,
        )
        self._sample = ()  # some hundred megabytes that are needed no more
        return manifest

    def next(self, factors: Sequence[Factors], workers: Workers, progress: Progress | None) -> PatchesRun:
        if not self.passes_left:
            raise InputError("CTM_NOTHING_TO_REFINE", path="The matrix")
        hu, spec = self._part.hu, self._settings.passes[self._state.groups.number]
        pilot = self._estimate(factors, workers, progress and partial(progress, "refine"))
        state, sample = second_pass(hu, self._state, pilot, spec, self.seed, self._threads)
        return PatchesRun(self.volume, self._part, self._settings, state.reloaded(), sample, self._threads)

    def results(
        self, factors: Sequence[Factors], strengths: Sequence[Strength], workers: Workers, progress: Progress | None
    ) -> Iterator[Result]:
        estimate = self._estimate(factors, workers, progress and partial(progress, "reconstruct"))
        threads = Threads.local(workers)
        slab = partial(self._estimate_slab, factors, threads)
        return blended_results(self.volume, self._part, estimate, strengths, self.noise, threads, slab)

    def report_data(self, factors: Sequence[Factors], facts: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
        groups, shrinker = self._state.groups, self._filter_with(factors).shrinker
        return {
            "groups": [
                GroupSpectrum(
                    svd.rows,
                    _padded(svd, groups.moments.count[group], groups.noise_covariances.d),
                    shrinker.mixture.bases[group].shape[1],
                    shrinker.kept(int(group)),
                )
                for group, svd in zip(groups.factored, factors, strict=True)
            ]
        }

    # ------------------------------------------------------------------------------------------------ the pass itself

    def _filter_with(self, factors: Sequence[Factors]) -> PatchFilter:
        """Return the filter of these factors, made once: it is asked for up to three times."""
        if self._filter is None:
            self._filter = self._state.groups.filter(factors)
        return self._filter

    @property
    def _stride(self) -> tuple[int, int]:
        return self._settings.passes[self._state.groups.number - 1].stride

    @single_threaded_blas
    def _estimate(self, factors: Sequence[Factors], workers: Workers, progress: Any) -> Float32:
        """Run the pass over the volume; returns ndarray of the shape of the measured part, HU."""
        grid = self._state.grid(self._part.hu)
        pilot = None if self._state.pilot is None else grid.with_hu(self._state.pilot)
        return filter_volume(
            grid,
            self._filter_with(factors),
            self._stride,
            workers,
            pilot=pilot,
            is_last=not self.passes_left,
            progress=progress,
        )

    @single_threaded_blas
    def _estimate_slab(self, factors: Sequence[Factors], workers: Workers, slab: Float32, first: int) -> Float32:
        """Run the pass over some slices, which may have changed.

        The first pass's bases are not at hand in the second: its result for these slices is taken to be that of the
        second, with the groups of the slices as they were.
        """
        filter, stop = self._filter_with(factors), first + len(slab)
        grid = self._state.grid(self._part.hu).slab(first, stop).with_hu(slab)
        if self._state.pilot is None:
            return filter_volume(grid, filter, self._stride, workers, is_last=True)
        pilot = grid.with_hu(self._state.pilot[first:stop])
        pilot = grid.with_hu(filter_volume(grid, filter, self._stride, workers, pilot=pilot))
        return filter_volume(grid, filter, self._stride, workers, pilot=pilot, is_last=True)


def _padded(svd: Factors, count: float, d: int) -> NDArray[np.float64]:
    """Return the d variances of a group, those without a factor being 0."""
    variances = np.zeros(d)
    variances[: svd.rank] = svd.s**2 / count
    return variances
