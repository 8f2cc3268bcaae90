"""How much noise a volume holds, and of what kind, measured in the volume itself.

`quiet` has simple figures for a tissue, `model` the noise of every voxel: its SD, its correlation in the slice by
direction and along z.
"""

from __future__ import annotations

from ...quality.constant import constant_regions
from .by_tissue import matrix_noise_sd, noise_sd, noise_sd_by_tissue
from .measured import MeasuredPart
from .model import NoiseModel, Unmeasurable, estimate_noise

__all__ = [
    "MeasuredPart",
    "NoiseModel",
    "Unmeasurable",
    "constant_regions",
    "estimate_noise",
    "matrix_noise_sd",
    "noise_sd",
    "noise_sd_by_tissue",
]
