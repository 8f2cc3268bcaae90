"""Lossless compression of what is written."""

from __future__ import annotations

from pydicom.dataset import Dataset
from pydicom.uid import JPEG2000Lossless, JPEGLSLossless, RLELossless

__all__ = ["COMPRESSIONS", "compress"]

COMPRESSIONS = {"none": "", "rle": RLELossless, "jpeg-ls": JPEGLSLossless, "jpeg2000": JPEG2000Lossless}
"""Transfer syntaxes by the names that options have."""

# Each by one encoder, so that equal input gives equal bytes wherever it runs.
_PLUGINS = {RLELossless: "pydicom", JPEGLSLossless: "pyjpegls", JPEG2000Lossless: "pylibjpeg"}


def compress(ds: Dataset, name: str) -> None:
    """Encode the pixels of a dataset, which are in native form and explicit VR little endian (PS3.5 A.4)."""
    syntax = COMPRESSIONS[name]
    if syntax:
        ds.compress(syntax, encoding_plugin=_PLUGINS[syntax], generate_instance_uid=False)
