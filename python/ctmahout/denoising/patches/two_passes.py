"""What the two passes learn from a series: its noise, the groups of its patches, and groups by the first result."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ...engines.workers import Threads, Workers, single_threaded_blas
from ...errors import InputError
from ...volume import Geometry
from ..effort import PATCH, PassSpec
from ..noise import NoiseModel, Unmeasurable, estimate_noise
from .em import Part
from .grid import PatchGrid
from .groups import FIRST, Groups
from .parts import parts_of
from .pass_state import PassState

__all__ = ["first_pass", "measure_noise", "second_pass"]

Float32 = NDArray[np.float32]


@single_threaded_blas
def measure_noise(hu: Float32, geometry: Geometry, threads: Threads) -> NoiseModel | Unmeasurable | None:
    """Measure the noise of the measured part of a volume, of shape (z, y, x), HU; None: there is none.

    Raises
    ------
    InputError
        CTM_INPUT_TOO_SMALL: one slice, or slices smaller than a patch.
    """
    if len(hu) < 2 or hu.shape[1] < PATCH[1] or hu.shape[2] < PATCH[2]:
        raise InputError(
            "CTM_INPUT_TOO_SMALL",
            path="The series",
            given="{} slices of {} x {} pixels".format(*hu.shape),
            expected=f"at least 2 slices of {PATCH[1]} x {PATCH[2]}: noise is what differs between neighbours",
        )
    return estimate_noise(hu, geometry.pixel_spacing_mm, overlap=geometry.overlap, threads=threads.count)


@single_threaded_blas
def first_pass(
    hu: Float32, noise: NoiseModel, spec: PassSpec, noise_classes: int, seed: int, threads: Threads
) -> tuple[PassState, tuple[Part, ...]]:
    """Find the groups of a volume's patches.

    Parameters
    ----------
    hu : ndarray of shape (z, y, x), float32, HU
        The measured part of a volume.
    noise : NoiseModel
    spec : PassSpec
    noise_classes : int
        Of place, by the direction of the noise.
    seed : int
    threads : Threads
        The answer does not depend on how many there are.

    Returns
    -------
    PassState, tuple of Part
        The groups, and the patches that they were learnt from.

    Raises
    ------
    InputError
        CTM_INPUT_TOO_SMALL: too few patches.
    """
    rng = np.random.default_rng([seed, 2])
    grid = PatchGrid.of(hu, noise, noise_classes, rng)
    corners = grid.draw(spec.patches, rng)
    if len(corners) < FIRST.shrinker.smallest:
        raise InputError(
            "CTM_INPUT_TOO_SMALL",
            path="The series",
            given=f"{len(corners)} places for a patch",
            expected=f"at least {FIRST.shrinker.smallest} to learn from",
        )
    parts = parts_of(grid.sample(corners))
    groups = Groups.learn(1, grid.covariances, parts, spec.groups, spec.rounds, threads, rng)
    return PassState(groups, noise, grid.noise_class), parts


@single_threaded_blas
def second_pass(
    hu: Float32, first: PassState, pilot: Float32, spec: PassSpec, seed: int, workers: Workers
) -> tuple[PassState, tuple[Part, ...]]:
    """Find groups of patches by the first pass's result, the pilot; parameters and returns as of `first_pass`."""
    rng = np.random.default_rng([seed, 3])
    grid = first.grid(hu)
    parts = parts_of(grid.sample(grid.draw(spec.patches, rng), grid.with_hu(pilot)))
    groups = Groups.learn(2, first.groups.covariances, parts, spec.groups, spec.rounds, workers, rng)
    return PassState(groups, first.noise, first.noise_class, pilot), parts
