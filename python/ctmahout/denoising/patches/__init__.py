"""Denoising by patches: blind noise model, groups of patches that look alike, one factorisation for each, two passes.

A patch is 3 x 5 x 5 voxels, a row of 75 values. Patches are grouped by what they look like; in each group those of the
noise fill all 75 directions alike, those of the anatomy only a few; so every patch is shrunk onto its group's leading
directions, which are the right singular vectors of the matrix of the group's patches. The guesses that overlap in a
voxel are averaged. A second pass groups patches by the first result.

`method` has the steps, `stage` what goes through the exchange in between.
"""

from __future__ import annotations

from .add_back import restore_structure
from .em import Part, fit, kmeans, max_groups, sum_moments
from .grid import View
from .groups import BETA, FIRST, SECOND, Groups, pilot_kinds
from .mixture import Kinds, nearest
from .model import Fit, Model, ModelPass
from .parts import FilePart, write_parts
from .pass_state import Stage
from .passes import Filter, filtered, run_pass
from .tissue_means import restore_means
from .two_passes import Learnt, apply, first_stage, noise_of, second_stage

__all__ = [
    "BETA",
    "FIRST",
    "SECOND",
    "FilePart",
    "Filter",
    "Fit",
    "Groups",
    "Kinds",
    "Learnt",
    "Model",
    "ModelPass",
    "Part",
    "Stage",
    "View",
    "apply",
    "filtered",
    "first_stage",
    "fit",
    "kmeans",
    "max_groups",
    "nearest",
    "noise_of",
    "pilot_kinds",
    "restore_means",
    "restore_structure",
    "run_pass",
    "second_stage",
    "sum_moments",
    "write_parts",
]
