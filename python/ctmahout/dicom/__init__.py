"""DICOM in, DICOM out: the only place that knows pydicom."""

from __future__ import annotations

from .decoders import Decoder, check_decoders, decodable, decoders
from .derive import Derivation
from .header import SliceHeader, SourceSeries, kernel_of
from .read import read_series
from .scan import headers_kept
from .send import Sent, send
from .summary import SeriesInfo, SeriesList, find_series
from .write import Written, check_derivable, write_series

__all__ = [
    "Decoder",
    "Derivation",
    "Sent",
    "SeriesInfo",
    "SeriesList",
    "SliceHeader",
    "SourceSeries",
    "Written",
    "check_decoders",
    "check_derivable",
    "decodable",
    "decoders",
    "find_series",
    "headers_kept",
    "kernel_of",
    "read_series",
    "send",
    "write_series",
]
