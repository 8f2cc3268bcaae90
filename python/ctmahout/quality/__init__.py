"""How good a volume is: against a reference, or by what can be measured in the volume itself."""

from .details import Apply, DetailKept, details_kept
from .edges import Edges
from .flat import FlatRegions, NoisePower, sd_of_pieces
from .masks import NOISY_SMOOTHING_PX, TISSUES, TISSUES_AND_FAT, interior, sample_slices, tissues, tissues_of_noisy
from .noise_share import ShareTaken
from .scores import Scores, compare
from .structure import OCTAVES, structure_in_residual

__all__ = [
    "NOISY_SMOOTHING_PX",
    "OCTAVES",
    "TISSUES",
    "TISSUES_AND_FAT",
    "Apply",
    "DetailKept",
    "Edges",
    "FlatRegions",
    "NoisePower",
    "Scores",
    "ShareTaken",
    "compare",
    "details_kept",
    "interior",
    "sample_slices",
    "sd_of_pieces",
    "structure_in_residual",
    "tissues",
    "tissues_of_noisy",
]
