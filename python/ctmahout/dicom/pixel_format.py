"""Pixel format of a CT image: how stored values are encoded, and how they become HU."""

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

__all__ = ["PixelFormat", "decimal_values", "pixel_format", "text_of"]

# Float32 resolves 1/4096 HU up to 2048 HU and 1/2048 up to 4095: with a finer slope, writing would not restore the
# stored values.
_MIN_SLOPE = 1e-3
# Coarser steps (HU) cannot show tissue.
_MAX_SLOPE = 1e3
# Below air: a corner with a lower value was never measured.
_MIN_HU = -1500.0
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
# Padding above this could be tissue as well.
_MAX_PADDING_HU = -900.0


@dataclass(frozen=True)
class PixelFormat:
    """Format of the stored pixels of one slice (PS3.3 C.7.6.3, C.8.2.1).

    Attributes
    ----------
    rows, columns, bits_allocated, bits_stored : int
    signed : bool
        PixelRepresentation is 1: two's complement.
    slope, intercept : float
        HU = stored value * slope + intercept, for this slice.
    padding : tuple of int or None
        Lowest and highest stored value of pixels without measurement (PS3.3 C.7.5.1.1.2).
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
        """Lowest and highest value that BitsStored and PixelRepresentation allow."""
        if self.signed:
            return -(1 << (self.bits_stored - 1)), (1 << (self.bits_stored - 1)) - 1
        return 0, (1 << self.bits_stored) - 1

    @property
    def size(self) -> int:
        """Size of one uncompressed slice, bytes."""
        return self.rows * self.columns * self.bits_allocated // 8

    def to_hu(self, stored: NDArray[np.integer[Any]]) -> NDArray[np.float32]:
        """Return stored values as HU (float32, same shape), correctly rounded."""
        integral = self.slope.is_integer() and self.intercept.is_integer()
        # Float32 is exact for integers up to 2**24, and takes half the time.
        exact = integral and self.slope * 65536 + abs(self.intercept) < 1 << 24
        hu = stored.astype(np.float32 if exact else np.float64)
        hu *= self.slope
        hu += self.intercept
        return hu.astype(np.float32, copy=False)

    def to_stored(self, hu: NDArray[np.float32]) -> NDArray[np.float64]:
        """Return the integers nearest to the stored values of HU (float64, same shape), even outside the range."""
        return np.rint((hu.astype(np.float64) - self.intercept) / self.slope)

    @property
    def highest_padding(self) -> float:
        """Highest stored value of a voxel without measurement, by PixelPaddingValue or by its value."""
        border = (_MIN_HU - self.intercept) / self.slope
        return border if self.padding is None else max(border, self.padding[1])

    def declared_padding(self, stored: NDArray[np.integer[Any]]) -> NDArray[np.bool_]:
        """Return the mask (bool, same shape) of pixels that PixelPaddingValue declares unmeasured."""
        if self.padding is None:
            return np.zeros(stored.shape, np.bool_)
        return (stored >= self.padding[0]) & (stored <= self.padding[1])

    def border(self, stored: NDArray[np.integer[Any]]) -> NDArray[np.bool_]:
        """Return the mask (bool, same shape) of the area outside the scanned circle.

        Its pixels have the value of a corner pixel, below that of air.
        """
        mask = np.zeros(stored.shape, np.bool_)
        for corner in {int(stored[y, x]) for y in (0, -1) for x in (0, -1)}:
            if corner * self.slope + self.intercept < _MIN_HU:
                mask |= stored == corner
        return mask


def text_of(ds: Dataset, keyword: str) -> str:
    """Return a value as text, multiple values joined by backslashes; empty if it is absent or empty."""
    value = ds.get(keyword)
    if value is None:
        return ""
    if _is_multivalued(value):
        return "\\".join(str(part) for part in value)
    return str(value).strip(" \0")


def decimal_values(
    ds: FileDataset, keyword: str, count: int, path: Path, code: str = "CTM_GEOMETRY_INVALID"
) -> tuple[float, ...]:
    """Return the values of a decimal string attribute.

    Raises
    ------
    InputError
        With `code`: there are not `count` finite numbers.
    """
    value = ds.get(keyword)
    parts = [] if value is None or value == "" else list(value) if _is_multivalued(value) else [value]
    try:
        values = tuple(float(part) for part in parts)
    except (TypeError, ValueError):
        values = ()
    if len(values) != count or not all(map(math.isfinite, values)):
        expected = "a number" if count == 1 else f"{count} numbers"
        text = "\\".join(map(str, parts))[:80]
        # Anything but a number is not quoted: damage may have put patient data here.
        numeric = re.fullmatch(r"[-+0-9.,eEnaif\\ ]*", text)
        value_text = "missing" if not parts else text if numeric else "no number"
        raise InputError(code, file=path, attribute=keyword, given=value_text, expected=expected)
    return values


def _is_multivalued(value: object) -> bool:
    return not isinstance(value, (str, bytes)) and hasattr(value, "__iter__") and not hasattr(value, "components")


def pixel_format(ds: FileDataset, path: Path) -> tuple[PixelFormat, list[Issue]]:
    """Return the pixel format of an image, and its issues.

    Raises
    ------
    InputError
        CTM_ATTRIBUTE_INVALID: the stored values are not rescaled grey values.
    """
    photometric = text_of(ds, "PhotometricInterpretation")
    if photometric != "MONOCHROME2" or ds.get("SamplesPerPixel", 1) != 1:
        # MONOCHROME1 only concerns display (PS3.3 C.7.6.3.1.2), but some scanners also invert the values.
        raise _invalid(path, "PhotometricInterpretation", photometric or "missing", "MONOCHROME2, one sample per pixel")
    if (presentation := text_of(ds, "PixelPresentation")) not in ("", "MONOCHROME"):
        # Pixels above some value are indices into a palette (PS3.3 C.8.16.2.1.1), not HU.
        raise _invalid(path, "PixelPresentation", presentation, "MONOCHROME")
    for keyword in ("Rows", "Columns", "BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation"):
        if not isinstance(ds.get(keyword), int):
            raise _invalid(path, keyword, text_of(ds, keyword) or "missing", "a whole number")
    allocated, stored = int(ds.BitsAllocated), int(ds.BitsStored)
    if ds.Rows < 1 or ds.Columns < 1:
        raise _invalid(path, "Rows, Columns", f"{ds.Rows}, {ds.Columns}", "at least 1")
    if allocated not in (8, 16) or not 8 <= stored <= allocated:
        raise _invalid(path, "BitsStored of BitsAllocated", f"{stored} of {allocated}", "12 to 16 of 16")
    if ds.HighBit != stored - 1:
        raise _invalid(path, "HighBit", ds.HighBit, f"BitsStored - 1 = {stored - 1}")
    if ds.PixelRepresentation not in (0, 1):
        raise _invalid(path, "PixelRepresentation", ds.PixelRepresentation, "0 or 1")
    if "ModalityLUTSequence" in ds:
        raise _invalid(path, "ModalityLUTSequence", "present", "RescaleSlope and RescaleIntercept")
    issues: list[Issue] = []
    if allocated == 8:
        issues.append("The source has 8 bits, which CT images must not have; 16 are written.")
    slope, intercept = _rescale(ds, path, issues)
    padding = _padding(ds, path)
    if padding is not None and padding[1] * slope + intercept > _MAX_PADDING_HU:
        issues.append(
            f"PixelPaddingValue stands for {padding[1] * slope + intercept:g} HU: tissue of it is left alone."
        )
    pixels = PixelFormat(
        rows=int(ds.Rows),
        columns=int(ds.Columns),
        bits_allocated=allocated,
        bits_stored=stored,
        signed=bool(ds.PixelRepresentation),
        slope=slope,
        intercept=intercept,
        padding=padding,
    )
    return pixels, issues


def _invalid(path: Path, attribute: str, value: object, expected: str) -> InputError:
    return InputError("CTM_ATTRIBUTE_INVALID", file=path, attribute=attribute, given=value, expected=expected)


def _rescale(ds: FileDataset, path: Path, issues: list[Issue]) -> tuple[float, float]:
    (slope,) = decimal_values(ds, "RescaleSlope", 1, path, "CTM_ATTRIBUTE_INVALID")
    (intercept,) = decimal_values(ds, "RescaleIntercept", 1, path, "CTM_ATTRIBUTE_INVALID")
    if not _MIN_SLOPE <= slope <= _MAX_SLOPE:
        expected = f"a number between {_MIN_SLOPE:g} and {_MAX_SLOPE:g}"
        raise _invalid(path, "RescaleSlope", f"{slope:g}", expected)
    if abs(intercept) > HU_LIMIT:
        raise _invalid(path, "RescaleIntercept", f"{intercept:g}", f"a number between -{HU_LIMIT:g} and {HU_LIMIT:g}")
    unit = text_of(ds, "RescaleType")
    if unit in _OTHER_UNITS:
        issues.append(_invalid(path, "RescaleType", f"{unit} ({_OTHER_UNITS[unit]})", "HU"))
    elif unit not in ("", "HU"):  # real files have "Houndsfield Unit" and the like
        issues.append(f"RescaleType is {unit[:16]!r}; it is taken for HU.")
    return slope, intercept


def _padding(ds: FileDataset, path: Path) -> tuple[int, int] | None:
    limits = []
    for keyword in ("PixelPaddingValue", "PixelPaddingRangeLimit"):
        value = ds.get(keyword)
        if value is None or value == "":
            continue
        if not isinstance(value, int):
            raise _invalid(path, keyword, text_of(ds, keyword)[:40], "one whole number")
        limits.append(as_stored(value, signed=bool(ds.PixelRepresentation)))
    return (min(limits), max(limits)) if limits and ds.get("PixelPaddingValue") not in (None, "") else None


def as_stored(value: int, *, signed: bool) -> int:
    """Return a 16-bit value as PixelRepresentation interprets it, whichever VR it was written with.

    Examples
    --------
    >>> as_stored(63536, signed=True), as_stored(-2000, signed=False)
    (-2000, 63536)
    """
    value &= 0xFFFF
    return value - 0x10000 if signed and value > 0x7FFF else value
