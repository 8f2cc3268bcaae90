"""Parameters of a simulated scan: `ScanParameters`, and scanners by name."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..options import option_error

__all__ = ["KERNELS", "PROFILES", "SCANNERS", "ScanParameters", "check_choice"]

KERNELS = ("standard", "smooth", "sharp")
PROFILES = ("box", "triangle")


def check_choice(key: str, value: str, known: Sequence[str]) -> None:
    """Raise ConfigError CTM_CONFIG_VALUE unless `value` is one of `known`."""
    _check(value in known, key, value, f"one of {', '.join(known)}")


def _check(valid: bool, key: str, value: object, expected: str) -> None:
    if not valid:
        raise option_error(key, value, expected, source="phantom")


@dataclass(frozen=True)
class ScanParameters:
    """A scanner, the position of the patient in it, and the reconstruction.

    Attributes
    ----------
    bowtie_radius_mm, bowtie_share : float
        The bow-tie filter compensates this fraction of the attenuation of a water cylinder of this radius.
    angular_modulation, longitudinal_modulation : float
        Tube-current modulation within a rotation and from slice to slice: fraction of the largest line integral that
        the logarithm of the current follows. At 0 the current is constant; at 1 equally many photons pass the
        thickest path of every view.
    current_swing : float
        Amplitude of a sine added to the logarithm of the current, with one period over the scan.
    offset_mm : tuple of float, mm
        Offset of the patient from the isocentre in x and y.
    stretch : tuple of float
        Factors of the patient's size in x and y.
    fov_mm : float, optional
        Side of the image; the beam covers the whole patient. Default: that of the anatomy.
    round_field : bool
        The image is a circle, with padding outside.
    thickness : float
        Thickness of slices over their distance: above 1 they overlap.
    thin : int, optional
        Thin slices scanned for each slice and averaged. Default: that of the anatomy.
    profile : str
        Slice sensitivity profile: "box", or "triangle", whose full width at half maximum is the thickness.
    kernel : str
        Reconstruction kernel: "standard", "smooth", or "sharp", which enhances edges.

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
            check_choice(name, getattr(self, name), known)
        _check(1 <= self.thickness <= 8, "thickness", self.thickness, "1 to 8 steps from slice to slice")
        _check(self.thin is None or 1 <= self.thin <= 32, "thin", self.thin, "1 to 32 slices")

    def weights(self, thin: int) -> NDArray[np.float64]:
        """Return the slice profile: weights of thin slices, `thin` for each slice distance, with the sum 1."""
        width = round(self.thickness * thin)
        profile = np.ones(width) if self.profile == "box" else width - np.abs(np.arange(1.0 - width, width))
        weights: NDArray[np.float64] = profile / profile.sum()
        return weights

    @classmethod
    def named(cls, name: str) -> ScanParameters:
        """Return a scanner of `SCANNERS`; ConfigError CTM_CONFIG_VALUE for any other name."""
        check_choice("scanner", name, list(SCANNERS))
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
