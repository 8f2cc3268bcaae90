"""A volume from DICOM to NIfTI or NumPy, or from one of these to the other: ``ctmahout convert``."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from .arrays import WrittenArray, write_array
from .config import Config
from .reading import read_volume
from .staging import refuse_overlap
from .volume import Volume

__all__ = ["convert"]


def convert(
    source: str | Path,
    output: str | Path,
    config: Config | None = None,
    *,
    progress: Callable[[str, int, int], None] | None = None,
) -> tuple[Volume, WrittenArray]:
    """Write the volume that a path holds to a file whose name ends in .nii.gz, .nii or .npz; return both.

    Raises
    ------
    CtmahoutError
        See `read_volume` and `write_array`; then nothing was written.
    """
    config = config or Config()
    refuse_overlap(Path(output), Path(source))
    volume = read_volume(source, config, progress)
    return volume, write_array(volume, output, overwrite=config.overwrite)
