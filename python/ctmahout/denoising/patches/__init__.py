"""Denoising by patches: blind noise model, groups of patches that look alike, one factorisation for each, two passes.

A patch is 3 x 5 x 5 voxels, a row of 75 values. Patches are grouped by what they look like; in each group those of the
noise fill all 75 directions alike, those of the anatomy only a few; so every patch is shrunk onto its group's leading
directions, which are the right singular vectors of the matrix of the group's patches. Overlapping estimates are
averaged. A second pass groups patches by the first result.

``grid`` sees a volume as patches, ``em`` finds groups, ``mixture`` assigns and shrinks patches, ``passes`` filters a
volume; ``run`` is the method on one series, ``model`` and ``model_run`` what many series taught, region by region
(``regions``), and how other series improve it (``prior``).
"""

from __future__ import annotations

from .em import kmeans, max_groups
from .fit import Fit
from .grid import PatchGrid
from .groups import pass_noise
from .mixture import Mixture, nearest
from .model import Model, ModelPass
from .model_run import ModelRun
from .parts import FilePart, write_part
from .prior import Prior
from .regions import Partition, RegionFit, RegionLearner, Regions, concatenated
from .run import PatchesRun
from .two_passes import measure_noise

__all__ = [
    "FilePart",
    "Fit",
    "Mixture",
    "Model",
    "ModelPass",
    "ModelRun",
    "Partition",
    "PatchGrid",
    "PatchesRun",
    "Prior",
    "RegionFit",
    "RegionLearner",
    "Regions",
    "concatenated",
    "kmeans",
    "max_groups",
    "measure_noise",
    "nearest",
    "pass_noise",
    "write_part",
]
