"""How good a volume is: against a reference, or by what can be measured in the volume itself."""

from .coincidence import Motion, NoiseAgreement
from .details import Apply, DetailKept, details_kept
from .edges import Edges
from .flat import FlatRegions, NoisePower, sd_of_pieces
from .masks import (
    NOISY_SMOOTHING_PX,
    TISSUES,
    TISSUES_AND_FAT,
    interior,
    sample_slices,
    slices_apart,
    tissues,
    tissues_of_noisy,
)
from .noise_share import ShareTaken
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
    "DetailKept",
    "Deviation",
    "Edges",
    "FlatRegions",
    "Motion",
    "NoiseAgreement",
    "NoisePower",
    "RepeatError",
    "Scores",
    "ShareTaken",
    "Transfer",
    "compare",
    "details_kept",
    "interior",
    "repeat_errors",
    "sample_slices",
    "sd_of_pieces",
    "slices_apart",
    "structure_in_residual",
    "tissues",
    "tissues_of_noisy",
]
