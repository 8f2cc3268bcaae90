"""NIfTI as a file format of volumes, with the extra ``nifti``.

NIfTI's x axis points to the right and its y axis to the front of the patient, DICOM's to the left and to the back; z
points to the head in both. Voxel (0, 0, 0) is at the centre of the first voxel in both (NIfTI-1, nifti1.h, methods 2
and 3; PS3.3 C.7.6.2.1.1).
"""

from __future__ import annotations

import gzip
import zlib
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import ConfigError, InputError, too_large
from ..storage.atomic import atomic_file
from ..volume import Geometry, Volume
from .checks import ANGLE_TOLERANCE, check_hu, invalid_attribute
from .source import ArraySource

__all__ = ["read_nifti", "write_nifti"]

_HEADER_SIZE = 348
_CHUNK = 1 << 24  # bytes
_LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0])
# Positions are rounded to 0.001 mm.
_POSITION_TOLERANCE_MM = 0.01


def read_nifti(path: Path, limit: int) -> Volume:
    """Read a volume: slices along the last axis, rows along the second.

    Parameters
    ----------
    path : Path
        ``.nii`` or ``.nii.gz``, with sform or qform, in mm, one value for each voxel.
    limit : int, bytes
        Largest unpacked size of a ``.nii.gz`` file.

    Raises
    ------
    InputError
        CTM_INPUT_UNREADABLE, CTM_UNPACKED_TOO_LARGE, CTM_GEOMETRY_INVALID, CTM_ATTRIBUTE_INVALID.
    ConfigError
        CTM_EXTRA_MISSING: nibabel is not installed.
    OSError, EOFError, ValueError, zlib.error
        Damage.
    """
    nibabel = _import_nibabel()
    # Unpacked to the end, where the checksum is: nibabel would not check it.
    data = _unpack(path, limit) if _is_compressed(path) else path.read_bytes()
    is_nifti2 = data[:4] in (b"\x1c\2\0\0", b"\0\0\2\x1c")  # size of the header
    try:
        with nibabel.imageglobals.LoggingOutputSuppressor():  # nibabel logs what it then raises
            image: Any = (nibabel.Nifti2Image if is_nifti2 else nibabel.Nifti1Image).from_bytes(data)
        header = image.header
        affine = _affine(image, path)
        shape = image.shape
        dtype = header.get_data_dtype()
        scalar = not dtype.fields and dtype.kind in "iuf"
        if len(shape) < 3 or any(n != 1 for n in shape[3:]) or min(shape) < 1 or not scalar:
            content = f"{' x '.join(map(str, shape))} of {'colours' if dtype.fields else dtype.name}"
            raise invalid_attribute(path, "the image", content, "one volume of numbers")
        unit = header.get_xyzt_units()[0]
        if unit not in ("mm", "unknown"):
            raise invalid_attribute(path, "xyzt_units", unit, "mm")
        values = np.asarray(image.dataobj, dtype=np.float32).reshape(shape[:3])
    except (
        nibabel.filebasedimages.ImageFileError,
        nibabel.spatialimages.HeaderDataError,
        nibabel.wrapstruct.WrapStructError,
    ) as e:
        raise InputError("CTM_INPUT_UNREADABLE", file=path, problem="it is no NIfTI file") from e
    if not np.isfinite(values).all():
        raise invalid_attribute(path, "the image", "values that are not finite", "HU")
    check_hu(values, None, path)
    geometry, descending = _geometry(affine, shape[2], path)
    hu = np.ascontiguousarray(values.transpose(2, 1, 0)[:: -1 if descending else 1])
    warnings = ("Nothing in the file says that its values are HU.",)
    return Volume(hu, geometry, source=ArraySource(path.absolute(), descending), warnings=warnings)


def write_nifti(volume: Volume, path: Path, *, overwrite: bool) -> None:
    """Write a volume as int16, or as float32 if int16 is too small; with `overwrite` an earlier one is replaced.

    Raises
    ------
    InputError
        CTM_GEOMETRY_UNEVEN: NIfTI only stores evenly stacked slices.
    OutputError
        CTM_OUTPUT_EXISTS, CTM_OUTPUT_UNWRITABLE.
    ConfigError
        CTM_EXTRA_MISSING: nibabel is not installed.
    """
    data = _encode(volume, path)
    with atomic_file(path, overwrite=overwrite, is_replaceable=_is_volume) as partial:
        # Without a time, so that equal volumes give equal files.
        partial.write_bytes(gzip.compress(data, compresslevel=6, mtime=0) if _is_compressed(path) else data)


def _is_volume(path: Path) -> bool:
    """Return whether a file has a header like those of `write_nifti`."""
    try:
        with gzip.open(path) if _is_compressed(path) else path.open("rb") as stream:
            header = stream.read(_HEADER_SIZE)
    except (OSError, EOFError, zlib.error):
        return False
    # An sform without a qform, in mm; other programs usually write both (NIfTI-1, nifti1.h).
    qform, sform = (int.from_bytes(header[at : at + 2], "little") for at in (252, 254))
    return len(header) == _HEADER_SIZE and header[344:347] == b"n+1" and (qform, sform, header[123]) == (0, 1, 2)


def _is_compressed(path: Path) -> bool:
    return path.name.lower().endswith(".gz")


def _import_nibabel() -> ModuleType:
    try:
        import nibabel
    except ImportError as e:
        raise ConfigError("CTM_EXTRA_MISSING", what="NIfTI", package="nibabel", extra="nifti") from e
    module: ModuleType = nibabel
    return module


def _unpack(path: Path, limit: int) -> bytes:
    chunks, size = [], 0
    with gzip.open(path) as stream:
        while chunk := stream.read(_CHUNK):
            chunks.append(chunk)
            size += len(chunk)
            if size > limit:
                raise too_large(path, limit)
    return b"".join(chunks)


def _affine(image: Any, path: Path) -> NDArray[np.float64]:
    """Return the (4, 4) map from voxels to mm: the sform, or else the qform. A file without both has no positions."""
    for get in (image.get_sform, image.get_qform):
        affine, code = get(coded=True)
        if code and affine is not None:
            affine_mm: NDArray[np.float64] = np.asarray(affine, np.float64)
            return affine_mm
    raise InputError(
        "CTM_GEOMETRY_INVALID", file=path, attribute="sform and qform", given="missing", expected="one of them"
    )


def _geometry(affine: NDArray[np.float64], slices: int, path: Path) -> tuple[Geometry, bool]:
    """Return the geometry, and whether the slices in the file descend along their normal."""
    lps = _LPS_TO_RAS @ affine[:3, :3]
    origin = _LPS_TO_RAS @ affine[:3, 3]
    x, y = float(np.linalg.norm(lps[:, 0])), float(np.linalg.norm(lps[:, 1]))
    regular = bool(np.isfinite(affine).all()) and min(x, y) > 0
    row, column = (lps[:, 0] / x, lps[:, 1] / y) if regular else (lps[:, 0], lps[:, 1])
    step = float(np.cross(row, column) @ lps[:, 2])
    if not regular or abs(float(row @ column)) > ANGLE_TOLERANCE or abs(step) < ANGLE_TOLERANCE:
        expected = "rows and columns at a right angle, slices one behind the other"
        raise InputError(
            "CTM_GEOMETRY_INVALID", file=path, attribute="the affine", given="something else", expected=expected
        )
    positions = origin + np.outer(np.arange(slices), lps[:, 2])
    if step < 0:
        positions = positions[::-1].copy()
    return Geometry(positions, row, column, (y, x)), step < 0


def _encode(volume: Volume, path: Path) -> bytes:
    nibabel = _import_nibabel()
    geometry = volume.geometry
    positions = geometry.positions_mm
    step = (positions[-1] - positions[0]) / (len(positions) - 1) if len(positions) > 1 else geometry.normal
    line = positions[0] + np.outer(np.arange(len(positions)), step)
    deviation = float(np.abs(line - positions).max())
    if deviation > _POSITION_TOLERANCE_MM:
        raise InputError("CTM_GEOMETRY_UNEVEN", path=path, off=f"{deviation:.2f}")
    values = volume.hu.transpose(2, 1, 0)
    origin = positions[0]
    if isinstance(volume.source, ArraySource) and volume.source.reversed:
        values, origin, step = values[:, :, ::-1], positions[-1], -step
    affine = np.eye(4)
    affine[:3, 0] = _LPS_TO_RAS @ geometry.row_direction * geometry.pixel_spacing_mm[1]
    affine[:3, 1] = _LPS_TO_RAS @ geometry.column_direction * geometry.pixel_spacing_mm[0]
    affine[:3, 2] = _LPS_TO_RAS @ step
    affine[:3, 3] = _LPS_TO_RAS @ origin
    rounded = np.rint(values)
    fits_int16 = float(np.abs(rounded).max()) <= 32767
    image = nibabel.Nifti1Image(rounded.astype(np.int16) if fits_int16 else values.astype(np.float32), affine)
    image.header.set_xyzt_units("mm")
    # Code 1: scanner coordinates. No qform, which cannot represent a sheared stack of slices.
    image.set_sform(affine, code=1)
    image.set_qform(affine, code=0)
    data: bytes = image.to_bytes()
    return data
