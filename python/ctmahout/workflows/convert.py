"""Conversion of a volume from DICOM, NIfTI or NumPy to NIfTI or NumPy: ``ctmahout convert``."""

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
    """Read a volume and write it to a NIfTI or npz file.

    Parameters
    ----------
    source : path, str or Uri
        Whatever `read_volume` reads, or a URI of it.
    output : path, str or Uri
        File with a name that ends in .nii.gz, .nii or .npz.
    config : Config, optional
        Options of reading, and `overwrite`.
    progress : callable, optional
        Called with (phase, done, total).

    Returns
    -------
    (Volume, Path or Uri)
        The volume, and the location of the file.

    Raises
    ------
    CtmahoutError
        As `read_volume` and `write_array`; nothing is written then.
    """
    config = config or Config()
    source, output = parse_location(source), parse_location(output)
    refuse_overlap(output, source)
    with upload_on_success(output, overwrite=config.overwrite) as target, local_copy(source) as path:
        volume = read_volume(path, config, progress)
        write_array(volume, target, overwrite=config.overwrite)
    return volume, output
