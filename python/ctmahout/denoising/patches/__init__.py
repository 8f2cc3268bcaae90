"""Denoising by patches: blind noise model, groups of patches that look alike, one factorisation for each, two passes.

A patch is 3 x 5 x 5 voxels, a row of 75 values. Patches are grouped by what they look like; in each group those of the
noise fill all 75 directions alike, those of the anatomy only a few; so every patch is shrunk onto its group's leading
directions, which are the right singular vectors of the matrix of the group's patches. Overlapping estimates are
averaged. A second pass groups patches by the first result.

``grid`` sees a volume as patches, ``em`` finds groups, ``mixture`` assigns and shrinks patches, ``passes`` filters a
volume; ``run`` is the method on one series, ``model`` and ``model_run`` what many series taught.
"""

from __future__ import annotations

from .em import Part, kmeans
from .grid import PatchGrid
from .groups import Groups
from .mixture import nearest
from .model import Fit, Model, ModelPass
from .model_run import ModelRun
from .parts import FilePart, write_parts
from .passes import PatchFilter, filter_volume
from .run import PatchesRun
from .two_passes import measure_noise

__all__ = [
    "FilePart",
    "Fit",
    "Groups",
    "Model",
    "ModelPass",
    "ModelRun",
    "Part",
    "PatchFilter",
    "PatchGrid",
    "PatchesRun",
    "filter_volume",
    "kmeans",
    "measure_noise",
    "nearest",
    "write_parts",
]
