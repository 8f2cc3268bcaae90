"""Volumes outside DICOM: NIfTI (with the extra ``nifti``) and NumPy's npz.

NIfTI counts x to the right and y to the front of the patient, DICOM x to the left and y to the back; both count z to
the head. Voxel (0, 0, 0) is a centre in both (NIfTI-1, nifti1.h, methods 2 and 3; PS3.3 C.7.6.2.1.1).
"""

from __future__ import annotations

import gzip
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import ConfigError, CtmahoutError, InputError, too_large
from ..options import option_error
from ..storage import Location, Uri, local_copy, parse_location, refuse_overlap, upload_on_success
from ..storage.atomic import atomic_file
from ..volume import HU_LIMIT, Geometry, Volume

__all__ = ["ArraySource", "WrittenArray", "is_array", "read_array", "write_array"]

_SUFFIXES = (".nii.gz", ".nii", ".npz")
_NPZ_ARRAYS = ("hu", "positions_mm", "row_direction", "column_direction", "pixel_spacing_mm")
_NIFTI_HEADER = 348
_PIECE = 1 << 24  # bytes
_VOLUMES = 4  # times the limit of one image
_LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0])
# Rounding of float32 affines, and of positions to 0.001 mm.
_RIGHT_ANGLE = 1e-3
_EVEN_MM = 0.01


@dataclass(frozen=True)
class ArraySource:
    """The file that a volume was read from.

    Attributes
    ----------
    path : Path
    reversed : bool
        Its last axis runs against the normal of its slices; it is written back as it was.
    """

    path: Path
    reversed: bool = False


@dataclass(frozen=True)
class WrittenArray:
    """A volume on disk.

    Attributes
    ----------
    path : Path or Uri
    clipped : int
        Always 0: what 16 bits do not hold is written as float32.
    warnings : tuple of str
    """

    path: Location
    clipped: int = 0
    warnings: tuple[str, ...] = ()


def is_array(path: str | Path) -> bool:
    """Tell by its name whether a path is that of a NIfTI or npz file."""
    return _suffix(Path(path)) != ""


def _suffix(path: Path) -> str:
    return next((suffix for suffix in _SUFFIXES if path.name.lower().endswith(suffix)), "")


def read_array(path: str | Path | Uri, *, unpack_gib: int = 1) -> Volume:
    """Read a volume in HU.

    Parameters
    ----------
    path : path or URI
        NIfTI with a geometry (sform, or else qform), in mm, one value for each voxel; or npz as `write_array` makes it.
    unpack_gib : int, GiB
        A compressed file of more than four times as much is refused.

    Returns
    -------
    Volume
        Slices lie along NIfTI's last axis, rows along its second, in ascending order along their normal.

    Raises
    ------
    InputError
        CTM_INPUT_NOT_FOUND, CTM_INPUT_UNREADABLE, CTM_UNPACKED_TOO_LARGE, CTM_GEOMETRY_INVALID, CTM_ATTRIBUTE_INVALID.
    ConfigError
        CTM_EXTRA_MISSING: nibabel is not installed.
    """
    with local_copy(parse_location(path)) as file:
        return _read(file, int(_VOLUMES * unpack_gib * (1 << 30)))


def _read(path: Path, limit: int) -> Volume:
    if not path.is_file():
        raise InputError("CTM_INPUT_NOT_FOUND", path=path)
    if not _suffix(path):
        problem = "its name ends in none of " + ", ".join(_SUFFIXES)
        raise InputError("CTM_INPUT_UNREADABLE", file=path, problem=problem)
    try:
        return _read_npz(path, limit) if _suffix(path) == ".npz" else _read_nifti(path, limit)
    except CtmahoutError:
        raise
    except (OSError, EOFError, ValueError, KeyError, zipfile.BadZipFile, zlib.error) as e:
        problem = f"it is damaged, or something else ({type(e).__name__})"
        raise InputError("CTM_INPUT_UNREADABLE", file=path, problem=problem) from e


def write_array(volume: Volume, path: str | Path | Uri, *, overwrite: bool = False) -> WrittenArray:
    """Write a volume to a file of its own, by its suffix.

    Parameters
    ----------
    volume : Volume
    path : path or URI
        ``.nii`` or ``.nii.gz``: HU rounded to int16, or as they are in float32 if 16 bits do not hold them. NIfTI does
        not say where no measurement is, so padding is written as the values it had. ``.npz``: float32, with padding
        and with the place of each slice.
    overwrite : bool
        Replace a file that this function may have written: an npz or NIfTI file of the same kind.

    Raises
    ------
    InputError
        CTM_GEOMETRY_UNEVEN: NIfTI holds evenly stacked slices only.
    OutputError
        CTM_OUTPUT_EXISTS, CTM_OUTPUT_UNWRITABLE, CTM_OUTPUT_IS_INPUT.
    ConfigError
        CTM_CONFIG_VALUE: another suffix. CTM_EXTRA_MISSING.
    """
    location = parse_location(path)
    name = Path(location.name)
    if not _suffix(name):
        expected = "a name that ends in " + ", ".join(_SUFFIXES)
        raise option_error("path", str(name), expected, source="output")
    if isinstance(volume.source, ArraySource):
        refuse_overlap(location, volume.source.path)
    with upload_on_success(location, overwrite=overwrite) as target:
        _write(volume, target, overwrite=overwrite)
    return WrittenArray(location)


def _write(volume: Volume, path: Path, *, overwrite: bool) -> None:
    suffix = _suffix(path)
    # Before the file is begun: it may be refused.
    data = None if suffix == ".npz" else _nifti_bytes(volume, path)
    with atomic_file(path, overwrite=overwrite, is_replaceable=_is_ours) as partial:
        if data is None:
            with partial.open("wb") as stream:
                np.savez(stream, allow_pickle=False, **_npz_arrays(volume))
        else:
            # Without a time, so that equal volumes are equal files.
            partial.write_bytes(gzip.compress(data, compresslevel=6, mtime=0) if suffix == ".nii.gz" else data)


def _is_ours(path: Path) -> bool:
    """Tell whether a file may be one of `write_array`, by the arrays of an npz or the header of a NIfTI file."""
    try:
        if _suffix(path) == ".npz":
            with np.load(path, allow_pickle=False) as arrays:
                return set(_NPZ_ARRAYS) <= set(arrays)
        with gzip.open(path) if _suffix(path) == ".nii.gz" else path.open("rb") as stream:
            header = stream.read(_NIFTI_HEADER)
    except (OSError, EOFError, ValueError, AttributeError, zipfile.BadZipFile, zlib.error):
        return False
    # sform alone, in mm: other programs write a qform as well (NIfTI-1, nifti1.h).
    qform, sform = (int.from_bytes(header[at : at + 2], "little") for at in (252, 254))
    return len(header) == _NIFTI_HEADER and header[344:347] == b"n+1" and (qform, sform, header[123]) == (0, 1, 2)


# --------------------------------------------------------------------------------------------------------------- NIfTI


def _nibabel() -> ModuleType:
    try:
        import nibabel
    except ImportError as e:
        raise ConfigError("CTM_EXTRA_MISSING", what="NIfTI", package="nibabel", extra="nifti") from e
    module: ModuleType = nibabel
    return module


def _read_nifti(path: Path, limit: int) -> Volume:
    nibabel = _nibabel()
    # To its end, where the checksum is: nibabel stops before.
    data = _unpacked(path, limit) if _suffix(path) == ".nii.gz" else path.read_bytes()
    kinds = (nibabel.Nifti1Image, nibabel.Nifti2Image)  # by the size of their headers
    try:
        with nibabel.imageglobals.LoggingOutputSuppressor():  # it prints what it then raises
            image: Any = kinds[data[:4] in (b"\x1c\2\0\0", b"\0\0\2\x1c")].from_bytes(data)
        header = image.header
        affine = _affine(image, path)
        shape = image.shape
        kind = header.get_data_dtype()
        if len(shape) < 3 or any(n != 1 for n in shape[3:]) or min(shape) < 1 or kind.fields or kind.kind not in "iuf":
            given = f"{' x '.join(map(str, shape))} of {'colours' if kind.fields else kind.name}"
            raise _invalid(path, "the image", given, "one volume of numbers")
        unit = header.get_xyzt_units()[0]
        if unit not in ("mm", "unknown"):
            raise _invalid(path, "xyzt_units", unit, "mm")
        values = np.asarray(image.dataobj, dtype=np.float32).reshape(shape[:3])
    except (
        nibabel.filebasedimages.ImageFileError,
        nibabel.spatialimages.HeaderDataError,
        nibabel.wrapstruct.WrapStructError,
    ) as e:
        raise InputError("CTM_INPUT_UNREADABLE", file=path, problem="it is no NIfTI file") from e
    if not np.isfinite(values).all():
        raise _invalid(path, "the image", "values that are not finite", "HU")
    _check_hu(values, None, path)
    geometry, backwards = _from_affine(affine, shape[2], path)
    hu = np.ascontiguousarray(values.transpose(2, 1, 0)[:: -1 if backwards else 1])
    warnings = ("Nothing in the file says that its values are HU.",)
    return Volume(hu, geometry, source=ArraySource(path.absolute(), backwards), warnings=warnings)


def _unpacked(path: Path, limit: int) -> bytes:
    pieces, count = [], 0
    with gzip.open(path) as stream:
        while piece := stream.read(_PIECE):
            pieces.append(piece)
            count += len(piece)
            if count > limit:
                raise too_large(path, limit)
    return b"".join(pieces)


def _affine(image: Any, path: Path) -> NDArray[np.float64]:
    """Return what maps voxels to mm: sform, or else qform; without both NIfTI only has voxel sizes."""
    for get in (image.get_sform, image.get_qform):
        affine, code = get(coded=True)
        if code and affine is not None:
            found: NDArray[np.float64] = np.asarray(affine, np.float64)
            return found
    raise InputError(
        "CTM_GEOMETRY_INVALID", file=path, attribute="sform and qform", given="missing", expected="one of them"
    )


def _from_affine(affine: NDArray[np.float64], slices: int, path: Path) -> tuple[Geometry, bool]:
    """Return the geometry, and whether slices descend along their normal in the file."""
    lps = _LPS_TO_RAS @ affine[:3, :3]
    origin = _LPS_TO_RAS @ affine[:3, 3]
    x, y = float(np.linalg.norm(lps[:, 0])), float(np.linalg.norm(lps[:, 1]))
    sound = bool(np.isfinite(affine).all()) and min(x, y) > 0
    row, column = (lps[:, 0] / x, lps[:, 1] / y) if sound else (lps[:, 0], lps[:, 1])
    step = float(np.cross(row, column) @ lps[:, 2])
    if not sound or abs(float(row @ column)) > _RIGHT_ANGLE or abs(step) < _RIGHT_ANGLE:
        expected = "rows and columns at a right angle, slices one behind the other"
        raise InputError(
            "CTM_GEOMETRY_INVALID", file=path, attribute="the affine", given="something else", expected=expected
        )
    positions = origin + np.outer(np.arange(slices), lps[:, 2])
    if step < 0:
        positions = positions[::-1].copy()
    return Geometry(positions, row, column, (y, x)), step < 0


def _nifti_bytes(volume: Volume, path: Path) -> bytes:
    nibabel = _nibabel()
    geometry = volume.geometry
    positions = geometry.positions_mm
    step = (positions[-1] - positions[0]) / (len(positions) - 1) if len(positions) > 1 else geometry.normal
    even = positions[0] + np.outer(np.arange(len(positions)), step)
    off = float(np.abs(even - positions).max())
    if off > _EVEN_MM:
        raise InputError("CTM_GEOMETRY_UNEVEN", path=path, off=f"{off:.2f}")
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
    whole = float(np.abs(rounded).max()) <= 32767
    image = nibabel.Nifti1Image(rounded.astype(np.int16) if whole else values.astype(np.float32), affine)
    image.header.set_xyzt_units("mm")
    # Coordinates of a scanner, code 1; a stack of sheared slices is no qform's.
    image.set_sform(affine, code=1)
    image.set_qform(affine, code=0)
    data: bytes = image.to_bytes()
    return data


def _check_hu(hu: NDArray[np.float32], padding: NDArray[np.bool_] | None, path: Path) -> None:
    measured = hu if padding is None else hu[~padding]
    if measured.size and (most := float(np.abs(measured).max())) > HU_LIMIT:
        expected = f"HU between -{HU_LIMIT:g} and {HU_LIMIT:g}"
        raise _invalid(path, "the image", f"values as large as {most:.3g}", expected)


def _invalid(path: Path, attribute: str, given: object, expected: str) -> InputError:
    return InputError("CTM_ATTRIBUTE_INVALID", file=path, attribute=attribute, given=given, expected=expected)


# ----------------------------------------------------------------------------------------------------------------- npz


def _npz_arrays(volume: Volume) -> dict[str, NDArray[Any]]:
    geometry = volume.geometry
    arrays: dict[str, NDArray[Any]] = {
        "hu": volume.hu,
        "positions_mm": geometry.positions_mm,
        "row_direction": geometry.row_direction,
        "column_direction": geometry.column_direction,
        "pixel_spacing_mm": np.array(geometry.pixel_spacing_mm),
    }
    if geometry.thickness_mm is not None:
        arrays["thickness_mm"] = np.array(geometry.thickness_mm)
    return arrays if volume.padding is None else arrays | {"padding": volume.padding}


def _read_npz(path: Path, limit: int) -> Volume:
    with zipfile.ZipFile(path) as members:
        if sum(member.file_size for member in members.infolist() if member.compress_type) > limit:
            raise too_large(path, limit)
    with path.open("rb") as stream:
        arrays = np.load(stream, allow_pickle=False)
        if not isinstance(arrays, np.lib.npyio.NpzFile):
            raise ValueError("one array")
        absent = [name for name in _NPZ_ARRAYS if name not in arrays]
        if absent:
            raise InputError("CTM_ARRAYS_MISSING", file=path, missing=", ".join(absent))
        hu = np.ascontiguousarray(arrays["hu"], dtype=np.float32)
        padding = np.asarray(arrays["padding"], np.bool_) if "padding" in arrays else None
        vectors = [np.asarray(arrays[name], np.float64) for name in ("row_direction", "column_direction")]
        positions = np.asarray(arrays["positions_mm"], np.float64)
        spacing = np.asarray(arrays["pixel_spacing_mm"], np.float64)
        thickness = np.asarray(arrays["thickness_mm"], np.float64) if "thickness_mm" in arrays else None
    row, column = vectors
    shapes = hu.ndim == 3 and hu.size and (positions.shape, spacing.shape) == ((len(hu), 3), (2,))
    shapes = shapes and row.shape == column.shape == (3,) and (padding is None or padding.shape == hu.shape)
    shapes = shapes and (thickness is None or thickness.shape == ())
    if not shapes:
        raise _invalid(path, "the shapes of the arrays", "something else", "those that ctmahout writes")
    if not all(np.isfinite(a).all() for a in (hu, positions, row, column, spacing)):
        raise _invalid(path, "the arrays", "values that are not finite", "numbers")
    units = abs(np.linalg.norm(row) - 1) + abs(np.linalg.norm(column) - 1) + abs(row @ column)
    ascending = bool((np.diff(positions @ np.cross(row, column)) > 0).all())
    if units > 3 * _RIGHT_ANGLE or spacing.min() <= 0 or not ascending:
        expected = "unit vectors at a right angle, spacing above 0, slices that ascend along their normal"
        raise InputError(
            "CTM_GEOMETRY_INVALID", file=path, attribute="the geometry", given="something else", expected=expected
        )
    if thickness is not None and not 0 < thickness < np.inf:
        raise _invalid(path, "thickness_mm", float(thickness), "a number above 0")
    _check_hu(hu, padding, path)
    between_rows, between_columns = map(float, spacing)
    mm = None if thickness is None else float(thickness)
    geometry = Geometry(positions, row, column, (between_rows, between_columns), mm)
    return Volume(hu, geometry, padding, source=ArraySource(path.absolute()))
