"""A volume from DICOM to NIfTI or NumPy, or from one of these to the other: ``ctmahout convert``."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from ..files.arrays import write_array
from ..files.read_volume import read_volume
from ..options import Config
from ..storage import Location, Uri, local_copy, parse_location, refuse_overlap, upload_on_success
from ..volume import Volume

__all__ = ["convert"]


def convert(
    source: str | Path | Uri,
    output: str | Path | Uri,
    config: Config | None = None,
    *,
    progress: Callable[[str, int, int], None] | None = None,
) -> tuple[Volume, Location]:
    """Write the volume that a path holds to a file whose name ends in .nii.gz, .nii or .npz; return it and the place.

    Raises
    ------
    CtmahoutError
        See `read_volume` and `write_array`; then nothing was written.
    """
    config = config or Config()
    source, output = parse_location(source), parse_location(output)
    refuse_overlap(output, source)
    with upload_on_success(output, overwrite=config.overwrite) as target, local_copy(source) as series:
        volume = read_volume(series, config, progress)
        write_array(volume, target, overwrite=config.overwrite)
    return volume, output
