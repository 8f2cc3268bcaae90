"""Method ``patches``: columns are the voxels of small patches, one matrix for each group of patches that look alike."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...engines.workers import Threads, Workers, single_threaded_blas
from ...errors import CtmahoutError, InputError
from ...exchange import Factors, Manifest, read_all_factors, read_manifest, write_matrix
from ...options import Config
from ...quality import Apply
from ...volume import Volume
from ..effort import EFFORTS
from ..method import GroupSpectrum, Progress, Result
from ..noise import MeasuredPart, NoiseModel, Unmeasurable
from ..strength import Blend, Strength
from . import (
    Filter,
    Fit,
    Learnt,
    Model,
    Stage,
    View,
    apply,
    filtered,
    first_stage,
    noise_of,
    restore_means,
    restore_structure,
    second_stage,
)

__all__ = ["ModelRun", "PatchesMethod"]

Float32 = NDArray[np.float32]

_AS_IT_IS = "The series comes back as it is."
_NOTHING = "No noise was found: the series comes back as it is."


class PatchesMethod:
    """See `ctmahout.denoising.patches`."""

    strengths = ("auto", "remove")

    def prepare(self, volume: Volume, matrix: Path, config: Config, progress: Progress | None) -> Manifest:
        effort = EFFORTS[config.effort]
        threads = Threads.of(config.workers)
        learnt = first_stage(
            MeasuredPart.of(volume).hu,
            volume.geometry,
            effort.passes[0],
            effort.kinds,
            config.seed,
            threads,
        )
        options = {"effort": config.effort, "seed": config.seed, "series_sha256": volume.fingerprint()}
        return _write(matrix, learnt, options, overwrite=config.overwrite)

    def refines(self, matrix: Manifest) -> bool:
        return bool(0 < matrix.layout["pass"] < matrix.layout["passes"])

    def refine(
        self,
        volume: Volume,
        matrix: Path,
        factors: Path,
        refined: Path,
        config: Config,
        workers: Workers,
        progress: Progress | None,
    ) -> Manifest:
        made = read_manifest(matrix, "matrix")
        options = {key: made.layout[key] for key in ("effort", "seed", "series_sha256")}
        if not self.refines(made):
            raise InputError("CTM_NOTHING_TO_REFINE", path=matrix)
        hu = MeasuredPart.of(volume).hu
        stage = Stage.read(matrix, made)
        how = EFFORTS[options["effort"]].passes
        filter = stage.groups.filter(read_all_factors(factors))
        tell = None if progress is None else partial(progress, "refine")
        pilot = apply(hu, stage, filter, how[0].stride, workers, tell)
        learnt = second_stage(hu, stage, pilot, how[1], options["seed"], Threads.of(config.workers))
        return _write(refined, learnt, options, overwrite=config.overwrite)

    def rebuild(
        self,
        volume: Volume,
        matrix: Path,
        factors: Path,
        strengths: Sequence[Strength],
        workers: Workers,
        progress: Progress | None,
    ) -> Iterator[Result]:
        made = read_manifest(matrix, "matrix")
        number = made.layout["pass"]
        if number == 0:
            why = made.layout.get("unmeasurable")
            yield from _unchanged(volume, strengths, None if why is None else Unmeasurable(why))
            return
        part = MeasuredPart.of(volume)
        how = EFFORTS[made.layout["effort"]].passes[number - 1]
        stage = Stage.read(matrix, made)
        filter = stage.groups.filter(read_all_factors(factors))
        tell = None if progress is None else partial(progress, "reconstruct")
        found = apply(part.hu, stage, filter, how.stride, workers, tell)
        again = partial(_passes_again, part.hu, stage, filter, how.stride, _threads(workers))
        yield from _strengths(volume, part, found, strengths, stage.noise, _threads(workers), again)

    def shown(self, matrix: Path, factors: Path, choices: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
        made = read_manifest(matrix, "matrix")
        if made.layout["pass"] == 0:
            return {"groups": []}
        groups, found = Stage.read(matrix, made, pilot=False).groups, read_all_factors(factors)
        shrinking = groups.filter(found).shrinking
        return {
            "groups": [
                GroupSpectrum(
                    f.rows,
                    _padded(f, groups.moments.count[group], groups.kinds.d),
                    shrinking.mixture.bases[group].shape[1],
                    shrinking.kept(int(group)),
                )
                for group, f in zip(groups.factored, found, strict=True)
            ]
        }


@dataclass(frozen=True, eq=False)
class ModelRun:
    """A model on a series: no matrix, no factors, no Spark.

    Attributes
    ----------
    model : Model
    volume : Volume
    config : Config
    noise : NoiseModel, Unmeasurable or None
        None: there is no noise.
    fit : Fit, or None
        How well the model knows the series; None if there is no noise, or none that can be measured.
    """

    model: Model
    volume: Volume
    config: Config
    noise: NoiseModel | Unmeasurable | None
    fit: Fit | None

    @classmethod
    def of(cls, model: Model, volume: Volume, config: Config) -> ModelRun:
        """Measure the series, and how well the model knows it; errors as of `first_stage`."""
        hu, threads = MeasuredPart.of(volume).hu, Threads.of(config.workers)
        noise = noise_of(hu, volume.geometry, threads)
        if not isinstance(noise, NoiseModel):
            return cls(model, volume, config, noise, None)
        view = _model_view(hu, noise, config)
        return cls(model, volume, config, noise, model.fit(view, threads, config.seed))

    def rebuild(self, strengths: Sequence[Strength], workers: Workers, progress: Progress | None) -> Iterator[Result]:
        """Yield the denoised volume for each strength."""
        if not isinstance(self.noise, NoiseModel):
            yield from _unchanged(self.volume, strengths, self.noise)
            return
        part = MeasuredPart.of(self.volume)
        view = _model_view(part.hu, self.noise, self.config)
        tell = None if progress is None else partial(progress, "reconstruct")
        effort = EFFORTS[self.config.effort]
        strides = [how.stride for how in effort.passes][: len(self.model.passes)]
        found = self.model.apply(view, strides, workers, tell)

        def again(slab: Float32, first: int) -> Float32:
            return self.model.apply(view.slab(first, first + len(slab)).with_hu(slab), strides, _threads(workers))

        yield from _strengths(self.volume, part, found, strengths, self.noise, _threads(workers), again)

    def shown(self, choices: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
        """Return what the report shows: a model has no spectrum of this series."""
        return {"groups": []}


def _model_view(hu: Float32, noise: NoiseModel, config: Config) -> View:
    return View.of(hu, noise, EFFORTS[config.effort].kinds, np.random.default_rng([config.seed, 2]))


def _unchanged(volume: Volume, strengths: Sequence[Strength], unmeasurable: Unmeasurable | None) -> Iterator[Result]:
    warning = _NOTHING
    if unmeasurable is not None:
        doubt = CtmahoutError("CTM_NOISE_UNMEASURABLE", path="the series", given=unmeasurable.reason)
        warning = f"[{doubt.code}] {doubt.message} {_AS_IT_IS}"
    for strength in strengths:
        yield Result(strength, volume, "no noise removed", {"noise_removed": 0.0, "share": 1.0}, (warning,))


def _strengths(
    volume: Volume,
    part: MeasuredPart,
    found: Float32,
    strengths: Sequence[Strength],
    noise: NoiseModel,
    threads: Threads,
    passes: Apply,
) -> Iterator[Result]:
    """Yield a blend of source and result for each strength.

    What was not measured stays, and no value lies outside the source's. `passes` runs them over some slices again.
    """
    hu = part.hu
    restore_structure(hu, found, noise, threads)
    restore_means(hu, found)
    np.clip(found, hu.min(), hu.max(), out=found)
    blend = Blend.of(hu, found, part.unmeasured_in_part)
    for strength in strengths:
        share, removed, warnings = blend.choose(strength)
        out = part.expand(found if share == 1 else hu + np.float32(share) * (found - hu), volume.hu)
        warnings += part.notes()
        facts = {"noise_removed": round(removed, 4), "share": round(share, 4)}
        kept = f"{100 * removed:.0f} % of the noise removed"
        # Slices have other numbers in the measured part where some are left out.
        again = partial(_again, passes, part, noise, threads, share) if len(hu) == volume.shape[0] else None
        yield Result(strength, volume.with_hu(out), kept, facts, warnings, again)


@single_threaded_blas
def _passes_again(
    hu: Float32, stage: Stage, filter: Filter, stride: tuple[int, int], workers: Workers, slab: Float32, first: int
) -> Float32:
    """Filter some slices of a series, which may have changed.

    The first pass's bases are not at hand in the second: its result for these slices is taken to be that of the
    second, with the groups of the slices as they were.
    """
    view = stage.view(hu).slab(first, first + len(slab)).with_hu(slab)
    if stage.pilot is None:
        return filtered(view, filter, stride, workers)
    pilot = view.with_hu(stage.pilot[first : first + len(slab)])
    pilot = view.with_hu(filtered(view, filter, stride, workers, pilot=pilot))
    return filtered(view, filter, stride, workers, pilot=pilot)


def _again(
    passes: Apply, part: MeasuredPart, noise: NoiseModel, threads: Threads, share: float, slab: Float32, first: int
) -> Float32:
    """Denoise some slices of a series, which may have changed, as `Apply` does."""
    here = slice(first, first + len(slab))
    if part.unmeasured is not None:
        slab = np.where(part.unmeasured[here], part.hu[here], slab)
    found = passes(slab, first)
    restore_structure(slab, found, noise.slab(first, first + len(slab)), threads)
    blended: Float32 = slab + np.float32(share) * (found - slab)
    return blended


def _threads(workers: Workers) -> Threads:
    """Return threads for what is not worth sending."""
    return workers if isinstance(workers, Threads) else Threads()


@single_threaded_blas
def _write(
    path: Path, learnt: Learnt | Unmeasurable | None, options: Mapping[str, Any], *, overwrite: bool
) -> Manifest:
    if not isinstance(learnt, Learnt):
        # Mahout gets a matrix all the same, so that the steps that follow are the same ones.
        about = {"method": "patches", "pass": 0, "passes": 0, **options}
        if learnt is not None:
            about["unmeasurable"] = learnt.reason
        nothing = [np.zeros((1, 1), np.float32)]
        return write_matrix(path, nothing, units="1", centring="columns", layout=about, overwrite=overwrite)
    return write_matrix(
        path,
        learnt.stage.groups.matrices(learnt.parts),
        units="noise SD",
        centring="columns",
        layout=learnt.stage.layout() | {"passes": len(EFFORTS[options["effort"]].passes)} | dict(options),
        arrays=learnt.stage.arrays(),
        overwrite=overwrite,
    )


def _padded(found: Factors, count: float, d: int) -> NDArray[np.float64]:
    variances = np.zeros(d)
    variances[: found.rank] = found.s**2 / count
    return variances
