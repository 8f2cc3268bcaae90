"""What stored values of a CT image mean: their format, rescale and padding."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset, FileDataset

from ..errors import InputError
from ..volume import HU_LIMIT
from .issues import Issue

__all__ = ["PixelFormat", "numbers", "pixel_format", "text_of"]

# Float32 holds HU to 1/4096 up to 2048 and to 1/2048 up to 4095: stored values of a finer slope would not come back.
_FINEST_SLOPE = 1e-3
# Steps of so many HU show no tissue.
_COARSEST_SLOPE = 1e3
# Below any tissue, and below air: what a whole corner holds below it was never measured.
_LOWEST_HU = -1500.0
# Defined terms that are not HU (PS3.3 C.11.1.1.2).
_OTHER_UNITS = {
    "US": "unspecified",
    "OD": "optical density",
    "MGML": "mg/ml",
    "Z_EFF": "effective atomic number",
    "ED": "electron density",
    "EDW": "electron density",
    "HU_MOD": "modified HU",
    "PCT": "percentage",
}
# Padding above this many HU would also hide tissue.
_HIGHEST_PADDING_HU = -900.0


@dataclass(frozen=True)
class PixelFormat:
    """How the pixels of one slice are stored (PS3.3 C.7.6.3, C.8.2.1).

    Attributes
    ----------
    rows, columns, bits_allocated, bits_stored : int
    signed : bool
        PixelRepresentation is 1: two's complement.
    slope, intercept : float
        HU = stored value * slope + intercept, of this very slice.
    padding : tuple of int or None
        Lowest and highest stored value that mean "no measurement" (PS3.3 C.7.5.1.1.2).
    """

    rows: int
    columns: int
    bits_allocated: int
    bits_stored: int
    signed: bool
    slope: float
    intercept: float
    padding: tuple[int, int] | None

    @property
    def stored_range(self) -> tuple[int, int]:
        """Smallest and largest value that BitsStored and PixelRepresentation allow."""
        if self.signed:
            return -(1 << (self.bits_stored - 1)), (1 << (self.bits_stored - 1)) - 1
        return 0, (1 << self.bits_stored) - 1

    @property
    def size(self) -> int:
        """Bytes of one slice that is not compressed."""
        return self.rows * self.columns * self.bits_allocated // 8

    def to_hu(self, stored: NDArray[np.integer[Any]]) -> NDArray[np.float32]:
        """Return HU of stored values, correctly rounded."""
        whole = self.slope.is_integer() and self.intercept.is_integer()
        # Float32 is exact for whole numbers up to 2**24, and takes half the time.
        exact = whole and self.slope * 65536 + abs(self.intercept) < 1 << 24
        hu = stored.astype(np.float32 if exact else np.float64)
        hu *= self.slope
        hu += self.intercept
        return hu.astype(np.float32, copy=False)

    def to_stored(self, hu: NDArray[np.float32]) -> NDArray[np.float64]:
        """Return the nearest whole stored values of HU, whether or not they fit."""
        return np.rint((hu.astype(np.float64) - self.intercept) / self.slope)

    @property
    def highest_padding(self) -> float:
        """The highest stored value that a voxel without measurement can have, declared or of a border."""
        border = (_LOWEST_HU - self.intercept) / self.slope
        return border if self.padding is None else max(border, self.padding[1])

    def declared_padding(self, stored: NDArray[np.integer[Any]]) -> NDArray[np.bool_]:
        """Return where PixelPaddingValue says that there is no measurement."""
        if self.padding is None:
            return np.zeros(stored.shape, np.bool_)
        return (stored >= self.padding[0]) & (stored <= self.padding[1])

    def border(self, stored: NDArray[np.integer[Any]]) -> NDArray[np.bool_]:
        """Return where stored values are those of a corner that no tissue has: the outside of the scanned circle."""
        mask = np.zeros(stored.shape, np.bool_)
        for corner in {int(stored[y, x]) for y in (0, -1) for x in (0, -1)}:
            if corner * self.slope + self.intercept < _LOWEST_HU:
                mask |= stored == corner
        return mask


def text_of(ds: Dataset, keyword: str) -> str:
    """Return a value as text, its parts joined as in the file; empty if it is absent or empty."""
    value = ds.get(keyword)
    if value is None:
        return ""
    if _is_many(value):
        return "\\".join(str(part) for part in value)
    return str(value).strip(" \0")


def numbers(
    ds: FileDataset, keyword: str, count: int, path: Path, code: str = "CTM_GEOMETRY_INVALID"
) -> tuple[float, ...]:
    """Return the finite values of a decimal string attribute, or refuse it by name."""
    value = ds.get(keyword)
    parts = [] if value is None or value == "" else list(value) if _is_many(value) else [value]
    try:
        values = tuple(float(part) for part in parts)
    except (TypeError, ValueError):
        values = ()
    if len(values) != count or not all(map(math.isfinite, values)):
        expected = "a number" if count == 1 else f"{count} numbers"
        text = "\\".join(map(str, parts))[:80]
        # What is no number at all may be a part of another attribute, put here by damage.
        number = re.fullmatch(r"[-+0-9.,eEnaif\\ ]*", text)
        given = "missing" if not parts else text if number else "no number"
        raise InputError(code, file=path, attribute=keyword, given=given, expected=expected)
    return values


def _is_many(value: object) -> bool:
    return not isinstance(value, (str, bytes)) and hasattr(value, "__iter__") and not hasattr(value, "components")


def pixel_format(ds: FileDataset, path: Path) -> tuple[PixelFormat, list[Issue]]:
    """Return how the pixels are stored, and what is doubtful about it.

    Raises
    ------
    InputError
        CTM_ATTRIBUTE_INVALID: stored values would mean something else than rescaled grey values.
    """
    photometric = text_of(ds, "PhotometricInterpretation")
    if photometric != "MONOCHROME2" or ds.get("SamplesPerPixel", 1) != 1:
        # MONOCHROME1 only says how to display (PS3.3 C.7.6.3.1.2), but not every scanner means it so.
        raise _refuse(path, "PhotometricInterpretation", photometric or "missing", "MONOCHROME2, one sample per pixel")
    if (shown := text_of(ds, "PixelPresentation")) not in ("", "MONOCHROME"):
        # Above some value pixels are indices into a palette (PS3.3 C.8.16.2.1.1): no HU.
        raise _refuse(path, "PixelPresentation", shown, "MONOCHROME")
    for keyword in ("Rows", "Columns", "BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation"):
        if not isinstance(ds.get(keyword), int):
            raise _refuse(path, keyword, text_of(ds, keyword) or "missing", "a whole number")
    allocated, stored = int(ds.BitsAllocated), int(ds.BitsStored)
    if ds.Rows < 1 or ds.Columns < 1:
        raise _refuse(path, "Rows, Columns", f"{ds.Rows}, {ds.Columns}", "at least 1")
    if allocated not in (8, 16) or not 8 <= stored <= allocated:
        raise _refuse(path, "BitsStored of BitsAllocated", f"{stored} of {allocated}", "12 to 16 of 16")
    if ds.HighBit != stored - 1:
        raise _refuse(path, "HighBit", ds.HighBit, f"BitsStored - 1 = {stored - 1}")
    if ds.PixelRepresentation not in (0, 1):
        raise _refuse(path, "PixelRepresentation", ds.PixelRepresentation, "0 or 1")
    if "ModalityLUTSequence" in ds:
        raise _refuse(path, "ModalityLUTSequence", "present", "RescaleSlope and RescaleIntercept")
    doubts: list[Issue] = []
    if allocated == 8:
        doubts.append("The source has 8 bits, which CT images must not have; 16 are written.")
    slope, intercept = _rescale(ds, path, doubts)
    padding = _padding(ds, path)
    if padding is not None and padding[1] * slope + intercept > _HIGHEST_PADDING_HU:
        doubts.append(
            f"PixelPaddingValue stands for {padding[1] * slope + intercept:g} HU: tissue of it is left alone."
        )
    found = PixelFormat(
        rows=int(ds.Rows),
        columns=int(ds.Columns),
        bits_allocated=allocated,
        bits_stored=stored,
        signed=bool(ds.PixelRepresentation),
        slope=slope,
        intercept=intercept,
        padding=padding,
    )
    return found, doubts


def _refuse(path: Path, attribute: str, given: object, expected: str) -> InputError:
    return InputError("CTM_ATTRIBUTE_INVALID", file=path, attribute=attribute, given=given, expected=expected)


def _rescale(ds: FileDataset, path: Path, doubts: list[Issue]) -> tuple[float, float]:
    (slope,) = numbers(ds, "RescaleSlope", 1, path, "CTM_ATTRIBUTE_INVALID")
    (intercept,) = numbers(ds, "RescaleIntercept", 1, path, "CTM_ATTRIBUTE_INVALID")
    if not _FINEST_SLOPE <= slope <= _COARSEST_SLOPE:
        expected = f"a number between {_FINEST_SLOPE:g} and {_COARSEST_SLOPE:g}"
        raise _refuse(path, "RescaleSlope", f"{slope:g}", expected)
    if abs(intercept) > HU_LIMIT:
        raise _refuse(path, "RescaleIntercept", f"{intercept:g}", f"a number between -{HU_LIMIT:g} and {HU_LIMIT:g}")
    kind = text_of(ds, "RescaleType")
    if kind in _OTHER_UNITS:
        doubts.append(_refuse(path, "RescaleType", f"{kind} ({_OTHER_UNITS[kind]})", "HU"))
    elif kind not in ("", "HU"):  # "Houndsfield Unit" and its like are found in the field
        doubts.append(f"RescaleType is {kind[:16]!r}; it is taken for HU.")
    return slope, intercept


def _padding(ds: FileDataset, path: Path) -> tuple[int, int] | None:
    ends = []
    for keyword in ("PixelPaddingValue", "PixelPaddingRangeLimit"):
        value = ds.get(keyword)
        if value is None or value == "":
            continue
        if not isinstance(value, int):
            raise _refuse(path, keyword, text_of(ds, keyword)[:40], "one whole number")
        ends.append(as_stored(value, signed=bool(ds.PixelRepresentation)))
    return (min(ends), max(ends)) if ends and ds.get("PixelPaddingValue") not in (None, "") else None


def as_stored(value: int, *, signed: bool) -> int:
    """Return what 16 bits mean by PixelRepresentation, whichever VR they were written with.

    Examples
    --------
    >>> as_stored(63536, signed=True), as_stored(-2000, signed=False)
    (-2000, 63536)
    """
    value &= 0xFFFF
    return value - 0x10000 if signed and value > 0x7FFF else value
