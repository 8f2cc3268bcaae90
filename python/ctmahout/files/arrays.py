"""Volumes outside DICOM, read and written in the format of the file's suffix: NIfTI or NumPy's npz."""

from __future__ import annotations

import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path

from ..errors import InputError
from ..options import option_error
from ..storage import Location, Uri, local_copy, parse_location, refuse_overlap, upload_on_success
from ..volume import Volume
from .nifti import read_nifti, write_nifti
from .npz import read_npz, write_npz
from .source import ArraySource

__all__ = ["ArraySource", "WrittenArray", "is_array", "read_array", "write_array"]

_SUFFIXES = (".nii.gz", ".nii", ".npz")
# Limit of the unpacked size of a volume, in limits of one image.
_VOLUME_LIMIT = 4


@dataclass(frozen=True)
class WrittenArray:
    """A volume that was written.

    Attributes
    ----------
    path : Path or Uri
    clipped : int
        Always 0: values outside the range of int16 are written as float32.
    warnings : tuple of str
    """

    path: Location
    clipped: int = 0
    warnings: tuple[str, ...] = ()


def is_array(path: str | Path) -> bool:
    """Return whether a path has the suffix of a NIfTI or npz file."""
    return _suffix(Path(path)) != ""


def _suffix(path: Path) -> str:
    return next((suffix for suffix in _SUFFIXES if path.name.lower().endswith(suffix)), "")


def read_array(path: str | Path | Uri, *, unpack_gib: int = 1) -> Volume:
    """Read a volume in HU from a NIfTI or npz file.

    Parameters
    ----------
    path : path or URI
        NIfTI with a geometry (sform, or else qform), in mm, one value for each voxel; or npz written by `write_array`.
    unpack_gib : int, GiB
        A file that unpacks to more than 4 times as much is refused.

    Returns
    -------
    Volume
        Slices along the last axis of NIfTI, in ascending order along their normal; rows along its second axis.

    Raises
    ------
    InputError
        CTM_INPUT_NOT_FOUND, CTM_INPUT_UNREADABLE, CTM_UNPACKED_TOO_LARGE, CTM_GEOMETRY_INVALID, CTM_ATTRIBUTE_INVALID,
        CTM_ARRAYS_MISSING, CTM_STORAGE_READ.
    ConfigError
        CTM_EXTRA_MISSING: nibabel is not installed. CTM_LOCATION_INVALID.

    Examples
    --------
    >>> from ctmahout import read_series, write_array
    >>> _ = write_array(read_series("phantom/noisy"), "scan.npz")
    >>> read_array("scan.npz").hu.shape
    (8, 96, 96)
    """
    with local_copy(parse_location(path)) as file:
        return _read(file, int(_VOLUME_LIMIT * unpack_gib * (1 << 30)))


def _read(path: Path, limit: int) -> Volume:
    if not path.is_file():
        raise InputError("CTM_INPUT_NOT_FOUND", path=path)
    if not _suffix(path):
        problem = "its name ends in none of " + ", ".join(_SUFFIXES)
        raise InputError("CTM_INPUT_UNREADABLE", file=path, problem=problem)
    try:
        return read_npz(path, limit) if _suffix(path) == ".npz" else read_nifti(path, limit)
    except (OSError, EOFError, ValueError, KeyError, zipfile.BadZipFile, zlib.error) as e:
        problem = f"it is damaged, or something else ({type(e).__name__})"
        raise InputError("CTM_INPUT_UNREADABLE", file=path, problem=problem) from e


def write_array(volume: Volume, path: str | Path | Uri, *, overwrite: bool = False) -> WrittenArray:
    """Write a volume to a NIfTI or npz file.

    Parameters
    ----------
    volume : Volume
    path : path or URI
        ``.nii`` or ``.nii.gz``: HU rounded to int16, or unrounded float32 if int16 is too small. NIfTI cannot mark
        padding, whose values are written like others. ``.npz``: float32, with padding and the position of each slice.
    overwrite : bool
        Replace an existing file if it is like those of this function.

    Raises
    ------
    InputError
        CTM_GEOMETRY_UNEVEN: NIfTI only stores evenly stacked slices.
    OutputError
        CTM_OUTPUT_EXISTS, CTM_OUTPUT_UNWRITABLE, CTM_OUTPUT_IS_INPUT, CTM_STORAGE_WRITE.
    ConfigError
        CTM_CONFIG_VALUE: another suffix. CTM_EXTRA_MISSING: nibabel is not installed. CTM_LOCATION_INVALID.

    Examples
    --------
    >>> from ctmahout import read_series
    >>> write_array(read_series("phantom/noisy"), "noisy.npz").path.name
    'noisy.npz'
    """
    location = parse_location(path)
    name = Path(location.name)
    if not _suffix(name):
        expected = "a name that ends in " + ", ".join(_SUFFIXES)
        raise option_error("path", str(name), expected, source="output")
    if isinstance(volume.source, ArraySource):
        refuse_overlap(location, volume.source.path)
    with upload_on_success(location, overwrite=overwrite) as target:
        (write_npz if _suffix(name) == ".npz" else write_nifti)(volume, target, overwrite=overwrite)
    return WrittenArray(location)
