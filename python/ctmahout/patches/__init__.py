"""Denoising by patches: blind noise model, groups of patches that look alike, one factorisation for each, two passes.

A patch is 3 x 5 x 5 voxels, a row of 75 values. Patches are grouped by what they look like; in each group those of the
noise fill all 75 directions alike, those of the anatomy only a few; so every patch is shrunk onto its group's leading
directions, which are the right singular vectors of the matrix of the group's patches. The guesses that overlap in a
voxel are averaged. A second pass groups patches by the first result.

`method` has the steps, `stage` what goes through the exchange in between.
"""

from __future__ import annotations

from .effort import EFFORTS, Effort, Pass
from .method import Learnt, apply, first_stage, second_stage, without_padding
from .stage import Stage
from .workers import Threads, one_core_each

__all__ = [
    "EFFORTS",
    "Effort",
    "Learnt",
    "Pass",
    "Stage",
    "Threads",
    "apply",
    "first_stage",
    "one_core_each",
    "second_stage",
    "without_padding",
]
