"""How much noise a volume holds, and of what kind, measured in the volume itself.

`quiet` has simple figures for a tissue, `model` the noise of every voxel: its SD, its correlation in the slice by
direction and along z.
"""

from __future__ import annotations

from .model import NoiseModel, estimate_noise
from .quiet import matrix_noise_sd, noise_sd, noise_sd_by_tissue

__all__ = ["NoiseModel", "estimate_noise", "matrix_noise_sd", "noise_sd", "noise_sd_by_tissue"]
