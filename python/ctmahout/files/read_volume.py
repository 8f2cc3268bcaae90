"""Whatever a path holds, as a volume: a DICOM series, or a file of NIfTI or NumPy."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from ..dicom import read_series
from ..options import Config
from ..volume import Volume
from .arrays import is_array, read_array

__all__ = ["read_volume"]


def read_volume(source: str | Path, config: Config, progress: Callable[[str, int, int], None] | None = None) -> Volume:
    """Read the volume that the options choose.

    Raises
    ------
    InputError
        See `ctmahout.dicom.read_series` and `ctmahout.files.arrays.read_array`.
    """
    if is_array(source):
        return read_array(source, unpack_gib=config.unpack_gib)
    return read_series(
        source,
        series=config.series,
        split=config.split,
        lenient=config.lenient,
        unpack_gib=config.unpack_gib,
        workers=config.workers,
        progress=progress,
    )
