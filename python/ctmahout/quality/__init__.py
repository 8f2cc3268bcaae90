"""Image quality: volumes in HU go in; noise, sharpness, structure in the residual and scores come out.

Only `compare` needs a reference.
"""

from .details import Apply, DetailRecovery, detail_recovery
from .edges import Edges
from .flat import FlatRegions, NoisePower, detrended_sd
from .masks import (
    NOISY_SMOOTHING_PX,
    TISSUES,
    TISSUES_AND_FAT,
    interior,
    sample_slices,
    tissues,
    tissues_from_neighbours,
)
from .noise_share import NoiseRemoved
from .scores import Scores, compare
from .structure import OCTAVES, structure_in_residual

__all__ = [
    "NOISY_SMOOTHING_PX",
    "OCTAVES",
    "TISSUES",
    "TISSUES_AND_FAT",
    "Apply",
    "DetailRecovery",
    "Edges",
    "FlatRegions",
    "NoisePower",
    "NoiseRemoved",
    "Scores",
    "compare",
    "detail_recovery",
    "detrended_sd",
    "interior",
    "sample_slices",
    "structure_in_residual",
    "tissues",
    "tissues_from_neighbours",
]
