"""The protocol of a series: what must agree before a model of other series is tried on it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ..volume import Volume
from .header import SourceSeries

__all__ = ["Protocol"]

# Patches are counted in voxels. Within a protocol the field of view, and so the pixel size, is chosen for each patient;
# between protocols thickness and spacing differ by 20 % or more (1, 1.25, 1.5, 2, 2.5, 3 mm).
_SAME_SIZE = 0.1


@dataclass(frozen=True)
class Protocol:
    """How a series was acquired and reconstructed, as far as its noise and its anatomy depend on it.

    The body region is not part of it: BodyPartExamined is often absent or wrong (Gueld et al., Proc. SPIE 4685, 2002),
    and the likelihood of the patches says more.

    Attributes
    ----------
    manufacturer, scanner : str
        Manufacturer and ManufacturerModelName (DICOM PS3.3 C.7.5.1); empty if unknown.
    kernel : str
        ConvolutionKernel (PS3.3 C.8.2.1); empty if unknown, as in NIfTI and npz files.
    spacing_mm : tuple of float, mm
        Distances between slices, rows and columns.
    thickness_mm : float or None, mm
        SliceThickness; None if unknown.

    Examples
    --------
    >>> thin = Protocol("SIEMENS", "Sensation 64", "B30f", (1.0, 0.70, 0.70), 1.0)
    >>> thin.matches(Protocol("Siemens", "Sensation 16", "B30f", (1.0, 0.75, 0.75), 1.0))
    True
    >>> thin.matches(Protocol("SIEMENS", "Sensation 64", "B70f", (1.0, 0.70, 0.70), 1.0))
    False
    """

    manufacturer: str
    scanner: str
    kernel: str
    spacing_mm: tuple[float, float, float]
    thickness_mm: float | None

    @classmethod
    def of(cls, volume: Volume) -> Protocol:
        """Return the protocol of the series that a volume was read from."""
        source = volume.source
        first = source.slices[0] if isinstance(source, SourceSeries) and source.slices else None
        return cls(
            first.manufacturer if first else "",
            first.scanner if first else "",
            first.kernel if first else "",
            volume.geometry.voxel_mm,
            volume.geometry.thickness_mm or None,
        )

    @classmethod
    def of_dict(cls, values: Mapping[str, Any]) -> Protocol:
        """Return the protocol of `as_dict`, among other values; ValueError if there is none."""
        try:
            step, rows, columns = (float(mm) for mm in values["spacing_mm"])
            thickness = values.get("thickness_mm")
            manufacturer, scanner, kernel = (
                str(values.get(name, "")) for name in ("manufacturer", "scanner", "kernel")
            )
            thickness = None if thickness is None else float(thickness)
        except (KeyError, TypeError, ValueError, AttributeError):
            raise ValueError("no protocol") from None
        return cls(manufacturer, scanner, kernel, (step, rows, columns), thickness)

    def as_dict(self) -> dict[str, Any]:
        """Return it as JSON types."""
        return {
            "manufacturer": self.manufacturer,
            "scanner": self.scanner,
            "kernel": self.kernel,
            "spacing_mm": list(self.spacing_mm),
            "thickness_mm": self.thickness_mm,
        }

    def difference(self, other: Protocol) -> str:
        """Return the first attribute in which the protocols differ, with both values; empty if they match.

        Kernels agree to the letter: they are names, and names of different kernels look alike (B30f, B30s). Sizes agree
        within 10 %. An unknown kernel or size agrees with an unknown one only. A manufacturer is spelt in many ways and
        is removed by many archives: only two that are known can differ, by their first words.
        """
        makers = [_first_word(one.manufacturer) for one in (self, other)]
        if self.kernel != other.kernel:
            return f"kernel {self.kernel or 'unknown'} instead of {other.kernel or 'unknown'}"
        if "" not in makers and makers[0] != makers[1]:
            return f"manufacturer {self.manufacturer} instead of {other.manufacturer}"
        sizes = [("thickness", self.thickness_mm, other.thickness_mm)]
        for axis, a, b in zip(("slices", "rows", "columns"), self.spacing_mm, other.spacing_mm, strict=True):
            sizes.append((f"spacing of {axis}", a, b))
        for name, one, another in sizes:
            if not _alike(one, another):
                return f"{name} {_text(one)} instead of {_text(another)}"
        return ""

    def matches(self, other: Protocol) -> bool:
        """Return whether a model of one may be tried on the other."""
        return not self.difference(other)

    def is_same_scanner(self, other: Protocol) -> bool:
        """Return whether both come from one model of scanner, as far as they say so."""
        return bool(self.scanner) and self.scanner.casefold() == other.scanner.casefold()


def _first_word(manufacturer: str) -> str:
    """Return what "SIEMENS" and "Siemens Healthineers", "GE MEDICAL SYSTEMS" and "GE Healthcare" have in common."""
    return manufacturer.casefold().partition(" ")[0]


def _alike(a: float | None, b: float | None) -> bool:
    if a is None or b is None:
        return a is b
    return abs(a - b) <= _SAME_SIZE * max(abs(a), abs(b))


def _text(mm: float | None) -> str:
    return "unknown" if mm is None else f"{mm:g} mm"
