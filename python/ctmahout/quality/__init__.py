"""Image quality: volumes in HU go in; noise, sharpness, structure in the residual and scores come out.

Only `compare` needs a reference.
"""

from .coincidence import Motion, NoiseAgreement
from .details import Apply, DetailRecovery, detail_recovery
from .edges import Edges
from .flat import FlatRegions, NoisePower, detrended_sd
from .masks import (
    NOISY_SMOOTHING_PX,
    TISSUES,
    TISSUES_AND_FAT,
    interior,
    neighbour_distance,
    sample_slices,
    tissues,
    tissues_from_neighbours,
)
from .noise_share import NoiseRemoved
from .repeat import Deviation, RepeatError, repeat_errors
from .scores import Scores, compare
from .structure import OCTAVES, structure_in_residual
from .transfer import Transfer

__all__ = [
    "NOISY_SMOOTHING_PX",
    "OCTAVES",
    "TISSUES",
    "TISSUES_AND_FAT",
    "Apply",
    "DetailRecovery",
    "Deviation",
    "Edges",
    "FlatRegions",
    "Motion",
    "NoiseAgreement",
    "NoisePower",
    "NoiseRemoved",
    "RepeatError",
    "Scores",
    "Transfer",
    "compare",
    "detail_recovery",
    "detrended_sd",
    "interior",
    "neighbour_distance",
    "repeat_errors",
    "sample_slices",
    "structure_in_residual",
    "tissues",
    "tissues_from_neighbours",
]
