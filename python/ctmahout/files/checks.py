"""Checks of volumes that hold for every file format."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError
from ..volume import HU_LIMIT

__all__ = ["ANGLE_TOLERANCE", "check_hu", "invalid_attribute"]

# Float32 affines and direction cosines are rounded.
ANGLE_TOLERANCE = 1e-3


def check_hu(hu: NDArray[np.float32], padding: NDArray[np.bool_] | None, path: Path) -> None:
    """Raise CTM_ATTRIBUTE_INVALID if measured values cannot be HU; `hu` and `padding` have the shape (z, y, x)."""
    measured = hu if padding is None else hu[~padding]
    if measured.size and (largest := float(np.abs(measured).max())) > HU_LIMIT:
        expected = f"HU between -{HU_LIMIT:g} and {HU_LIMIT:g}"
        raise invalid_attribute(path, "the image", f"values as large as {largest:.3g}", expected)


def invalid_attribute(path: Path, attribute: str, value: object, expected: str) -> InputError:
    """Return the error CTM_ATTRIBUTE_INVALID of a file."""
    return InputError("CTM_ATTRIBUTE_INVALID", file=path, attribute=attribute, given=value, expected=expected)
