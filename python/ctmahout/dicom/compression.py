"""Lossless compression of derived images."""

from __future__ import annotations

import threading
from contextlib import nullcontext

from pydicom.dataset import Dataset
from pydicom.uid import JPEG2000Lossless, JPEGLSLossless, RLELossless

from ..options import option_error

__all__ = ["COMPRESSIONS", "check_compression", "compress"]

COMPRESSIONS = {"none": "", "rle": RLELossless, "jpeg-ls": JPEGLSLossless, "jpeg2000": JPEG2000Lossless}
"""Transfer syntaxes by option value."""

# One encoder each, so that equal input gives equal bytes everywhere.
_PLUGINS = {RLELossless: "pydicom", JPEGLSLossless: "pyjpegls", JPEG2000Lossless: "pylibjpeg"}


# OpenJPEG halves an image five times; the output buffer of pyjpegls is too small for smaller images.
_MIN_SIZE = {"jpeg2000": 32, "jpeg-ls": 8}


# Concurrent JPEG 2000 encoding crashes the process (pylibjpeg-openjpeg 2.6).
_jpeg2000_lock = threading.Lock()


def check_compression(name: str, *, rows: int, columns: int) -> None:
    """Refuse an unknown compression, or one for which the images are too small.

    Raises
    ------
    ConfigError
        CTM_CONFIG_VALUE.
    """
    expected = "one of " + ", ".join(COMPRESSIONS)
    min_size = _MIN_SIZE.get(name, 1)
    if min(rows, columns) < min_size:
        expected = f"another for slices of less than {min_size} x {min_size} pixels"
    elif name in COMPRESSIONS:
        return
    raise option_error("compression", name, expected)


def compress(ds: Dataset, name: str) -> None:
    """Compress the pixels of a dataset, in place, from native explicit VR little endian (PS3.5 A.4)."""
    syntax = COMPRESSIONS[name]
    if syntax:
        with _jpeg2000_lock if syntax == JPEG2000Lossless else nullcontext():
            ds.compress(syntax, encoding_plugin=_PLUGINS[syntax], generate_instance_uid=False)
