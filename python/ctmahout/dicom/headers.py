"""The light header of one CT slice: what ordering, checking and writing need, without its pixels."""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import FileDataset
from pydicom.uid import UID

from ..errors import InputError
from .uids import made_uid

__all__ = ["SliceHeader", "header_of", "numbers"]


@dataclass(frozen=True)
class SliceHeader:
    """What is kept of a file: a few hundred bytes instead of a dataset.

    Attributes
    ----------
    path : Path
    size, mtime_ns : int
        Of the file when it was listed; a change since is noticed.
    sop_uid : str
        SOPInstanceUID, or one made from the content (``made_uid``).
    position_mm, orientation : tuple of float
        ImagePositionPatient and ImageOrientationPatient.
    slope, intercept : float
        Of this very slice (PS3.3 C.7.6.16.2.9 does not apply to CT; C.8.2.1 does).
    padding : tuple of int or None
        Lowest and highest stored value that mean "no measurement" (PS3.3 C.7.5.1.1.2).
    """

    path: Path
    size: int
    mtime_ns: int
    sop_uid: str
    made_uid: bool
    series_uid: str
    series_number: str
    transfer_syntax: str
    position_mm: tuple[float, float, float]
    orientation: tuple[float, ...]
    pixel_spacing_mm: tuple[float, float]
    thickness_mm: float | None
    rows: int
    columns: int
    bits_allocated: int
    bits_stored: int
    signed: bool
    slope: float
    intercept: float
    padding: tuple[int, int] | None
    kernel: str
    lossy: bool
    notes: tuple[str, ...] = ()

    @property
    def row_direction(self) -> NDArray[np.float64]:
        return np.array(self.orientation[:3])

    @property
    def column_direction(self) -> NDArray[np.float64]:
        return np.array(self.orientation[3:])

    @property
    def stored_range(self) -> tuple[int, int]:
        """Smallest and largest value that BitsStored and PixelRepresentation allow."""
        if self.signed:
            return -(1 << (self.bits_stored - 1)), (1 << (self.bits_stored - 1)) - 1
        return 0, (1 << self.bits_stored) - 1


def numbers(
    ds: FileDataset, keyword: str, count: int, path: Path, code: str = "CTM_GEOMETRY_INVALID"
) -> tuple[float, ...]:
    """Return the finite values of a decimal string attribute, or refuse it by name."""
    value = ds.get(keyword)
    expected = "a number" if count == 1 else f"{count} numbers"
    parts: list[Any] = [] if value is None or value == "" else (list(value) if _is_many(value) else [value])
    try:
        values = tuple(float(part) for part in parts)
    except (TypeError, ValueError):
        values = ()
    if len(values) != count or not all(map(math.isfinite, values)):
        given = "missing" if not parts else "\\".join(map(str, parts))
        raise InputError(code, file=path, attribute=keyword, given=given, expected=expected)
    return values


def _is_many(value: object) -> bool:
    return not isinstance(value, (str, bytes)) and hasattr(value, "__iter__")


def _refuse(path: Path, attribute: str, given: object, expected: str) -> InputError:
    return InputError("CTM_ATTRIBUTE_INVALID", file=path, attribute=attribute, given=given, expected=expected)


def header_of(ds: FileDataset, path: Path, *, lenient: bool) -> SliceHeader:
    """Return the light header of a CT image, everything in it checked.

    Raises
    ------
    InputError
        CTM_GEOMETRY_INVALID, CTM_ATTRIBUTE_INVALID, CTM_UID_MISSING.
    """
    stat = path.stat()
    notes: list[str] = []
    if "SOPInstanceUID" not in ds:
        notes.append("SOPInstanceUID is absent; identifiers were made from the content.")
    position = numbers(ds, "ImagePositionPatient", 3, path)
    orientation = numbers(ds, "ImageOrientationPatient", 6, path)
    row, column = np.array(orientation[:3]), np.array(orientation[3:])
    if abs(np.linalg.norm(row) - 1) > 1e-3 or abs(np.linalg.norm(column) - 1) > 1e-3 or abs(row @ column) > 1e-3:
        raise InputError(
            "CTM_GEOMETRY_INVALID",
            file=path,
            attribute="ImageOrientationPatient",
            given="\\".join(map(str, orientation)),
            expected="two unit vectors at a right angle",
        )
    spacing = numbers(ds, "PixelSpacing", 2, path)
    if min(spacing) <= 0:
        raise InputError("CTM_GEOMETRY_INVALID", file=path, attribute="PixelSpacing", given=spacing, expected="above 0")
    _check_pixels(ds, path)
    slope, intercept = _rescale(ds, path, notes, lenient=lenient)
    uid = str(ds.get("SOPInstanceUID", ""))
    if not uid and not lenient:
        raise InputError("CTM_UID_MISSING", file=path, attribute="SOPInstanceUID")
    series_uid = str(ds.get("SeriesInstanceUID", ""))
    if not series_uid and not lenient:
        raise InputError("CTM_UID_MISSING", file=path, attribute="SeriesInstanceUID")
    if ds.get("BurnedInAnnotation") == "YES":
        notes.append("BurnedInAnnotation is YES: text in the pixels is denoised like anatomy.")
    if ds.get("ImageType") and "DERIVED" in ds.ImageType[:1]:
        notes.append("The source is itself a derived image.")
    lossy = str(ds.get("LossyImageCompression", "")) == "01"
    if lossy:
        notes.append("The source was compressed with loss; its artefacts are taken for anatomy or noise.")
    thickness = ds.get("SliceThickness")
    return SliceHeader(
        path=path,
        size=stat.st_size,
        mtime_ns=stat.st_mtime_ns,
        sop_uid=uid or made_uid("content", hashlib.sha256(path.read_bytes()).hexdigest()),
        made_uid=not uid,
        series_uid=series_uid,
        series_number="" if ds.get("SeriesNumber") is None else str(ds.SeriesNumber),
        transfer_syntax=str(ds.file_meta.TransferSyntaxUID),
        position_mm=(position[0], position[1], position[2]),
        orientation=orientation,
        pixel_spacing_mm=(spacing[0], spacing[1]),
        thickness_mm=None if thickness in (None, "") else float(thickness),
        rows=int(ds.Rows),
        columns=int(ds.Columns),
        bits_allocated=int(ds.BitsAllocated),
        bits_stored=int(ds.BitsStored),
        signed=bool(ds.PixelRepresentation),
        slope=slope,
        intercept=intercept,
        padding=_padding(ds),
        kernel=_text(ds.get("ConvolutionKernel")),
        lossy=lossy or _is_lossy(ds.file_meta.TransferSyntaxUID),
        notes=tuple(notes),
    )


_LOSSY = ("1.2.840.10008.1.2.4.50", "1.2.840.10008.1.2.4.51", "1.2.840.10008.1.2.4.81", "1.2.840.10008.1.2.4.91")


def _is_lossy(syntax: UID) -> bool:
    return str(syntax) in _LOSSY


def _text(value: object) -> str:
    return "" if value is None else "\\".join(map(str, value)) if _is_many(value) else str(value)  # type: ignore[call-overload]


def _check_pixels(ds: FileDataset, path: Path) -> None:
    """Refuse whatever would make stored values mean something else than rescaled grey values."""
    photometric = ds.get("PhotometricInterpretation")
    if photometric != "MONOCHROME2" or ds.get("SamplesPerPixel", 1) != 1:
        raise _refuse(path, "PhotometricInterpretation", photometric, "MONOCHROME2 with one sample per pixel")
    for keyword in ("Rows", "Columns", "BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation"):
        if not isinstance(ds.get(keyword), int):
            raise _refuse(path, keyword, ds.get(keyword, "missing"), "a whole number")
    if ds.Rows < 1 or ds.Columns < 1:
        raise _refuse(path, "Rows, Columns", (ds.Rows, ds.Columns), "at least 1")
    if ds.BitsAllocated != 16 or not 9 <= ds.BitsStored <= 16:
        raise _refuse(path, "BitsStored of BitsAllocated", f"{ds.BitsStored} of {ds.BitsAllocated}", "12 to 16 of 16")
    if ds.HighBit != ds.BitsStored - 1:
        raise _refuse(path, "HighBit", ds.HighBit, f"BitsStored - 1 = {ds.BitsStored - 1}")
    if "ModalityLUTSequence" in ds:
        raise _refuse(path, "ModalityLUTSequence", "present", "RescaleSlope and RescaleIntercept")


def _rescale(ds: FileDataset, path: Path, notes: list[str], *, lenient: bool) -> tuple[float, float]:
    (slope,) = numbers(ds, "RescaleSlope", 1, path, "CTM_ATTRIBUTE_INVALID")
    (intercept,) = numbers(ds, "RescaleIntercept", 1, path, "CTM_ATTRIBUTE_INVALID")
    if slope <= 0:
        raise _refuse(path, "RescaleSlope", slope, "a number above 0")
    kind = ds.get("RescaleType")
    if kind not in (None, "", "HU"):
        # "Houndsfield Unit" and its like are found in the field; US means unspecified (PS3.3 C.11.1.1.2).
        if kind == "US" and not lenient:
            raise _refuse(path, "RescaleType", kind, "HU")
        notes.append(f"RescaleType is {str(kind)!r}; the values are taken for HU.")
    return slope, intercept


def _padding(ds: FileDataset) -> tuple[int, int] | None:
    low = ds.get("PixelPaddingValue")
    if not isinstance(low, int):
        return None
    high = ds.get("PixelPaddingRangeLimit")
    ends = [low, high if isinstance(high, int) else low]
    if ds.PixelRepresentation:  # written with the wrong VR, -2000 reads as 63536
        ends = [v - 65536 if v > 32767 else v for v in ends]
    return min(ends), max(ends)
