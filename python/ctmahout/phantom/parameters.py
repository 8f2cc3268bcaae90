"""How a phantom is scanned: `ScanParameters`, and the scanners that have a name."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..options import option_error

__all__ = ["KERNELS", "PROFILES", "SCANNERS", "ScanParameters", "one_of"]

KERNELS = ("standard", "smooth", "sharp")
PROFILES = ("box", "triangle")


def one_of(key: str, value: str, known: Sequence[str]) -> None:
    """Refuse a value that is not one of those known: ConfigError CTM_CONFIG_VALUE."""
    _expect(value in known, key, value, f"one of {', '.join(known)}")


def _expect(met: bool, key: str, value: object, expected: str) -> None:
    if not met:
        raise option_error(key, value, expected, source="phantom")


@dataclass(frozen=True)
class ScanParameters:
    """A scanner, where the patient lies in it, and what it reconstructs.

    Attributes
    ----------
    bowtie_radius_mm, bowtie_share : float
        The bow-tie filter evens out this share of the attenuation of a water cylinder of this radius.
    angular_modulation, longitudinal_modulation : float
        Tube-current modulation: the current follows this share of the exponent of the thickest path, within a turn and
        from slice to slice. At 0 the current is constant, at 1 the detector gets the same through the thickest path.
    current_swing : float
        Besides, the logarithm of the current follows a sine of this amplitude, one period over the scan.
    offset_mm : tuple of float, mm
        Where the patient's centre lies from the isocentre, in x and y.
    stretch : tuple of float
        Factors for the patient's size in x and y.
    fov_mm : float, optional
        Side of the image; what lies outside is in the beam all the same. If not given, that of the anatomy.
    round_field : bool
        The image is a circle; outside it is padding.
    thickness : float
        Thickness of slices in steps from slice to slice: above 1 they overlap.
    thin : int, optional
        Thin slices scanned for each step from slice to slice, of which a slice is the mean. If not given, as many as
        the anatomy asks for.
    profile : str
        How thin slices are weighted over the thickness: "box", or "triangle", whose full width at half maximum is the
        thickness.
    kernel : str
        Reconstruction kernel: "standard", "smooth", or "sharp", which has undershoots at edges.

    Raises
    ------
    ConfigError
        CTM_CONFIG_VALUE.
    """

    bowtie_radius_mm: float = 160.0
    bowtie_share: float = 0.5
    angular_modulation: float = 0.35
    longitudinal_modulation: float = 0.35
    current_swing: float = 0.0
    offset_mm: tuple[float, float] = (0.0, 0.0)
    stretch: tuple[float, float] = (1.0, 1.0)
    fov_mm: float | None = None
    round_field: bool = False
    thickness: float = 1.0
    thin: int | None = None
    profile: str = "box"
    kernel: str = "standard"

    def __post_init__(self) -> None:
        for name, known in (("kernel", KERNELS), ("profile", PROFILES)):
            one_of(name, getattr(self, name), known)
        _expect(1 <= self.thickness <= 8, "thickness", self.thickness, "1 to 8 steps from slice to slice")
        _expect(self.thin is None or 1 <= self.thin <= 32, "thin", self.thin, "1 to 32 slices")

    def weights(self, thin: int) -> NDArray[np.float64]:
        """Return the slice profile: what thin slices, `thin` of them for a step, weigh in a slice; their sum is 1."""
        width = round(self.thickness * thin)
        profile = np.ones(width) if self.profile == "box" else width - np.abs(np.arange(1.0 - width, width))
        weights: NDArray[np.float64] = profile / profile.sum()
        return weights

    @classmethod
    def named(cls, name: str) -> ScanParameters:
        """Return a scanner of `SCANNERS`; ConfigError CTM_CONFIG_VALUE if there is none of this name."""
        one_of("scanner", name, list(SCANNERS))
        return SCANNERS[name]


SCANNERS = {
    "standard": ScanParameters(),
    "bowtie": ScanParameters(bowtie_radius_mm=130.0, bowtie_share=1.0),
    "modulated": ScanParameters(angular_modulation=0.9, longitudinal_modulation=0.9, current_swing=0.5),
    "constant": ScanParameters(angular_modulation=0.0, longitudinal_modulation=0.0),
    "off-centre": ScanParameters(bowtie_radius_mm=145.0, bowtie_share=0.9, offset_mm=(22.0, 30.0)),
    "elliptical": ScanParameters(stretch=(1.2, 0.85), fov_mm=430.0),
    "cut": ScanParameters(fov_mm=260.0, round_field=True),
    "thick": ScanParameters(thin=4),
    "overlapping": ScanParameters(thin=2, thickness=2.0, profile="triangle"),
    "smooth": ScanParameters(kernel="smooth"),
    "sharp": ScanParameters(kernel="sharp"),
}
