"""From the estimate of the passes to a result for each strength: structure and means added back, source blended in."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial

import numpy as np
from numpy.typing import NDArray

from ...engines.workers import Threads
from ...errors import CtmahoutError
from ...quality import Apply
from ...volume import Volume
from ..method import Result
from ..noise import MeasuredPart, NoiseModel, Unmeasurable
from ..strength import Blend, Strength
from .add_back import restore_structure
from .tissue_means import restore_means

__all__ = ["blended_results", "unchanged_results"]

Float32 = NDArray[np.float32]

_UNCHANGED = "The series comes back as it is."
_NO_NOISE = "No noise was found: the series comes back as it is."


def unchanged_results(volume: Volume, strengths: Sequence[Strength], noise: Unmeasurable | None) -> Iterator[Result]:
    """Yield the volume itself for each strength, with the reason: it has no noise, or none that can be measured."""
    warning = _NO_NOISE
    if noise is not None:
        error = CtmahoutError("CTM_NOISE_UNMEASURABLE", path="the series", given=noise.reason)
        warning = f"[{error.code}] {error.message} {_UNCHANGED}"
    for strength in strengths:
        yield Result(strength, volume, "no noise removed", {"noise_removed": 0.0, "share": 1.0}, (warning,))


def blended_results(
    volume: Volume,
    part: MeasuredPart,
    estimate: Float32,
    strengths: Sequence[Strength],
    noise: NoiseModel,
    threads: Threads,
    passes: Apply,
) -> Iterator[Result]:
    """Yield a blend of source and estimate for each strength.

    Voxels without a measurement stay as they are, and no value lies outside the source's range.

    Parameters
    ----------
    volume : Volume
    part : MeasuredPart
        Of `volume`.
    estimate : ndarray of shape of ``part.hu``, float32, HU
        Of the passes; overwritten.
    strengths : sequence of Strength
    noise : NoiseModel
        Of `part`.
    threads : Threads
    passes : Apply
        Runs the passes over some slices again.
    """
    hu = part.hu
    restore_structure(hu, estimate, noise, threads)
    restore_means(hu, estimate)
    np.clip(estimate, hu.min(), hu.max(), out=estimate)
    blend = Blend.of(hu, estimate, part.unmeasured_in_part)
    for strength in strengths:
        share, removed, warnings = blend.choose(strength)
        out = part.expand(estimate if share == 1 else hu + np.float32(share) * (estimate - hu), volume.hu)
        facts = {"noise_removed": round(removed, 4), "share": round(share, 4)}
        kept = f"{100 * removed:.0f} % of the noise removed"
        # Where slices are left out, those of the measured part have other numbers.
        again = partial(_again, passes, part, noise, threads, share) if len(hu) == volume.shape[0] else None
        yield Result(strength, volume.with_hu(out), kept, facts, warnings + part.notes(), again)


def _again(
    passes: Apply, part: MeasuredPart, noise: NoiseModel, threads: Threads, share: float, slab: Float32, first: int
) -> Float32:
    """Denoise some slices of a series, which may have changed, as `Apply` does."""
    slices = slice(first, first + len(slab))
    if part.unmeasured is not None:
        slab = np.where(part.unmeasured[slices], part.hu[slices], slab)
    estimate = passes(slab, first)
    restore_structure(slab, estimate, noise.slab(first, first + len(slab)), threads)
    blended: Float32 = slab + np.float32(share) * (estimate - slab)
    return blended
