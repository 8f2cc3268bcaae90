"""Lossless compression of what is written."""

from __future__ import annotations

import threading
from contextlib import nullcontext

from pydicom.dataset import Dataset
from pydicom.uid import JPEG2000Lossless, JPEGLSLossless, RLELossless

from ..options import option_error

__all__ = ["COMPRESSIONS", "check_compression", "compress"]

COMPRESSIONS = {"none": "", "rle": RLELossless, "jpeg-ls": JPEGLSLossless, "jpeg2000": JPEG2000Lossless}
"""Transfer syntaxes by the names that options have."""

# Each by one encoder, so that equal input gives equal bytes wherever it runs.
_PLUGINS = {RLELossless: "pydicom", JPEGLSLossless: "pyjpegls", JPEG2000Lossless: "pylibjpeg"}


# OpenJPEG halves an image five times; pyjpegls has too little room for what is smaller.
_LEAST = {"jpeg2000": 32, "jpeg-ls": 8}


# Two threads that encode JPEG 2000 at once end the process (pylibjpeg-openjpeg 2.6).
_one_by_one = threading.Lock()


def check_compression(name: str, *, rows: int, columns: int) -> None:
    """Refuse a compression that is not known, or that images are too small for.

    Raises
    ------
    ConfigError
        CTM_CONFIG_VALUE.
    """
    expected = "one of " + ", ".join(COMPRESSIONS)
    least = _LEAST.get(name, 1)
    if min(rows, columns) < least:
        expected = f"another for slices of less than {least} x {least} pixels"
    elif name in COMPRESSIONS:
        return
    raise option_error("compression", name, expected)


def compress(ds: Dataset, name: str) -> None:
    """Encode the pixels of a dataset, which are in native form and explicit VR little endian (PS3.5 A.4)."""
    syntax = COMPRESSIONS[name]
    if syntax:
        with _one_by_one if syntax == JPEG2000Lossless else nullcontext():
            ds.compress(syntax, encoding_plugin=_PLUGINS[syntax], generate_instance_uid=False)
