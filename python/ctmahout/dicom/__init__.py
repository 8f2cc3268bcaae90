"""DICOM in, DICOM out: the only place that knows pydicom."""

from __future__ import annotations

from .decoders import Decoder, check_decoders, decodable, decoders
from .derive import Derivation
from .find import headers_kept
from .headers import SliceHeader, SourceSeries, kernel_of
from .inventory import SeriesInfo, SeriesList, find_series
from .read import read_series
from .send import Sent, send
from .synthetic import write_synthetic
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
    "write_synthetic",
]
