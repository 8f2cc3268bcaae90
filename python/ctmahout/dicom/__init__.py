"""DICOM in, DICOM out: the only place that knows pydicom."""

from .decoders import decodable
from .derive import Derivation
from .find import SeriesInfo, find_series
from .read import SourceSeries, read_series
from .write import Written, write_series

__all__ = [
    "Derivation",
    "SeriesInfo",
    "SourceSeries",
    "Written",
    "decodable",
    "find_series",
    "read_series",
    "write_series",
]
