"""Read a volume from any input: a DICOM series, a NIfTI or an npz file."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from ..dicom import read_series
from ..options import Config
from ..volume import Volume
from .arrays import is_array, read_array

__all__ = ["read_volume"]


def read_volume(source: str | Path, config: Config, progress: Callable[[str, int, int], None] | None = None) -> Volume:
    """Read a DICOM series, selected by the options, or the volume of a NIfTI or npz file.

    Parameters
    ----------
    source : path or URI
    config : Config
        Its options `series`, `split`, `lenient`, `unpack_gib` and `workers` are used.
    progress : callable, optional
        As for `ctmahout.dicom.read_series`; not called for files.

    Raises
    ------
    InputError, ConfigError
        See `ctmahout.dicom.read_series` and `ctmahout.files.read_array`.
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
