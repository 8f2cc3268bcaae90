"""CT series in DICOM to volumes in HU, and volumes to derived series; the only package that imports pydicom."""

from __future__ import annotations

from .decoders import Decoder, check_decoders, decodable, decoders
from .derive import Derivation
from .header import SliceHeader, SourceSeries, kernel_of
from .read import read_series
from .scan import cached_headers
from .send import SentImages, send
from .summary import SeriesInfo, SeriesList, summarise
from .write import WrittenSeries, check_derivable, write_series

__all__ = [
    "Decoder",
    "Derivation",
    "SentImages",
    "SeriesInfo",
    "SeriesList",
    "SliceHeader",
    "SourceSeries",
    "WrittenSeries",
    "cached_headers",
    "check_decoders",
    "check_derivable",
    "decodable",
    "decoders",
    "kernel_of",
    "read_series",
    "send",
    "summarise",
    "write_series",
]
