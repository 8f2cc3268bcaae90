"""The method, step by step: the first pass's groups, its result, the second pass's groups, the result."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ...engines.workers import Threads, Workers, single_threaded_blas
from ...errors import InputError
from ...volume import Geometry
from ..effort import PATCH, Pass
from ..noise import NoiseModel, Unmeasurable, estimate_noise
from .em import Part, fit, max_groups, sum_moments
from .grid import View
from .groups import BETA, FIRST, SECOND, Groups, pilot_kinds
from .mixture import Kinds
from .parts import parts_of
from .pass_state import Stage
from .passes import Filter, filtered

__all__ = ["Learnt", "apply", "first_stage", "noise_of", "second_stage"]

Float32 = NDArray[np.float32]
Progress = Callable[[int, int], None]


@dataclass(frozen=True, eq=False)
class Learnt:
    """A stage and the patches it was learnt from."""

    stage: Stage
    parts: tuple[Part, ...]


@single_threaded_blas
def first_stage(
    hu: Float32, geometry: Geometry, how: Pass, kinds: int, seed: int, threads: Threads
) -> Learnt | Unmeasurable | None:
    """Measure the noise of a volume and find the groups of its patches.

    Parameters
    ----------
    hu : ndarray of shape (z, y, x), float32, HU
        The measured part of a volume.
    geometry : Geometry
    how : Pass
    kinds : int
        Of place, by the direction of the noise.
    seed : int
    threads : Threads
        The answer does not depend on how many there are.

    Returns
    -------
    Learnt, Unmeasurable or None
        None: there is no noise.

    Raises
    ------
    InputError
        CTM_INPUT_TOO_SMALL: one slice, slices smaller than a patch, or too few patches.
    """
    noise = noise_of(hu, geometry, threads)
    if not isinstance(noise, NoiseModel):
        return noise
    rng = np.random.default_rng([seed, 2])
    view = View.of(hu, noise, kinds, rng)
    corners = view.draw(how.patches, rng)
    if len(corners) < FIRST.shrinking.smallest:
        raise InputError(
            "CTM_INPUT_TOO_SMALL",
            path="The series",
            given=f"{len(corners)} places for a patch",
            expected=f"at least {FIRST.shrinking.smallest} to learn from",
        )
    parts = parts_of(view.sample(corners))
    of_noise = Kinds(view.covariances * BETA)
    telling = fit(parts, max_groups(how.groups, parts), how.rounds, of_noise, FIRST.telling, threads, rng)
    moments = sum_moments(parts, telling, len(telling.mixture), len(of_noise), threads)
    return Learnt(Stage(Groups(1, view.covariances, telling, moments), noise, view.kind), parts)


@single_threaded_blas
def noise_of(hu: Float32, geometry: Geometry, threads: Threads) -> NoiseModel | Unmeasurable | None:
    """Measure the noise of a volume; parameters, errors and what stands for none as of `first_stage`."""
    if len(hu) < 2 or hu.shape[1] < PATCH[1] or hu.shape[2] < PATCH[2]:
        raise InputError(
            "CTM_INPUT_TOO_SMALL",
            path="The series",
            given="{} slices of {} x {} pixels".format(*hu.shape),
            expected=f"at least 2 slices of {PATCH[1]} x {PATCH[2]}: noise is what differs between neighbours",
        )
    return estimate_noise(hu, geometry.pixel_spacing_mm, overlap=geometry.overlap, threads=threads.count)


@single_threaded_blas
def second_stage(hu: Float32, first: Stage, pilot: Float32, how: Pass, seed: int, workers: Workers) -> Learnt:
    """Find the groups of patches anew, now told by the first pass's result.

    Parameters
    ----------
    hu, pilot : ndarray of shape (z, y, x), float32, HU
    first : Stage
    how : Pass
    seed : int
    workers : Workers
    """
    rng = np.random.default_rng([seed, 3])
    view, covariances = first.view(hu), first.groups.covariances
    parts = parts_of(view.sample(view.draw(how.patches, rng), view.with_hu(pilot)))
    telling = fit(
        parts, max_groups(how.groups, parts), how.rounds, pilot_kinds(covariances), SECOND.telling, workers, rng
    )
    moments = sum_moments(parts, telling, len(telling.mixture), len(covariances), workers, of_pilot=False)
    return Learnt(Stage(Groups(2, covariances, telling, moments), first.noise, first.kind, pilot), parts)


@single_threaded_blas
def apply(
    hu: Float32,
    stage: Stage,
    filter: Filter,
    stride: tuple[int, int],
    workers: Workers,
    progress: Progress | None = None,
) -> Float32:
    """Run the pass of a stage over a volume; returns the result, of the same shape, HU."""
    view = stage.view(hu)
    pilot = None if stage.pilot is None else view.with_hu(stage.pilot)
    return filtered(view, filter, stride, workers, pilot=pilot, progress=progress)
