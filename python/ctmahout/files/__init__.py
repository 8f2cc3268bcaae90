"""Volumes from files: NIfTI and npz, read and written, and `read_volume` for these and DICOM alike."""

from __future__ import annotations

from .arrays import read_array, write_array
from .read_volume import read_volume

__all__ = ["read_array", "read_volume", "write_array"]
