"""How good a volume is: against a reference, or by what can be measured in the volume itself."""

from .edges import Edges
from .flat import FlatRegions, NoisePower, sd_of_pieces
from .masks import NOISY, TISSUES, sample_slices, tissues, tissues_of_noisy
from .scores import Scores, compare

__all__ = [
    "NOISY",
    "TISSUES",
    "Edges",
    "FlatRegions",
    "NoisePower",
    "Scores",
    "compare",
    "sample_slices",
    "sd_of_pieces",
    "tissues",
    "tissues_of_noisy",
]
