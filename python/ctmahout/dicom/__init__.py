"""CT series in DICOM to volumes in HU, and volumes to derived series; the only package that imports pydicom."""

from __future__ import annotations

from .decoders import Decoder, check_decoders, decodable, decoders
from .derive import Derivation
from .header import SliceHeader, SourceSeries, kernel_of
from .protocol import Protocol
from .read import read_series
from .scan import HeaderCache, cached_headers, names_of_series
from .send import SentImages, check_archive, send, series_in
from .summary import SeriesInfo, SeriesList, summarise
from .write import WrittenSeries, check_derivable, write_series

__all__ = [
    "Decoder",
    "Derivation",
    "HeaderCache",
    "Protocol",
    "SentImages",
    "SeriesInfo",
    "SeriesList",
    "SliceHeader",
    "SourceSeries",
    "WrittenSeries",
    "cached_headers",
    "check_archive",
    "check_decoders",
    "check_derivable",
    "decodable",
    "decoders",
    "kernel_of",
    "names_of_series",
    "read_series",
    "send",
    "series_in",
    "summarise",
    "write_series",
]
