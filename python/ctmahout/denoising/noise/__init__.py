"""Noise estimation: a CT volume in HU goes in, the SD in HU and the autocovariance of its noise come out.

Nothing but the volume itself is needed: no repeated scan, no raw data, no table of protocols.

`estimate_noise` returns a `NoiseModel`: the SD of every voxel, and the correlation of the noise within a slice, by
direction of the rays, and along z. `by_tissue` holds simpler estimates, one number for each tissue.
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
