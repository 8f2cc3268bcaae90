"""The file that a volume outside DICOM was read from."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

__all__ = ["ArraySource"]


@dataclass(frozen=True)
class ArraySource:
    """The file that a volume was read from.

    Attributes
    ----------
    path : Path
    reversed : bool
        The slices in the file descend along their normal; a volume derived from this one is written the same way.
    """

    path: Path
    reversed: bool = False
