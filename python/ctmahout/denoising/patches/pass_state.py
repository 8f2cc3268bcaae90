"""The state of a pass on one series: its groups and noise, and how they go through the exchange.

A matrix directory holds one matrix for each group, for Mahout, and as arrays beside them what the next step needs; so
that step may run in another process or on another machine.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...engines.workers import single_threaded_blas
from ...exchange import Manifest, read_arrays
from ..noise import NoiseModel
from .grid import PatchGrid, patch_size
from .groups import Groups
from .mixture import SigmaGrid

__all__ = ["PassState"]

Float32 = NDArray[np.float32]
Arrays = Mapping[str, NDArray[Any]]


@dataclass(frozen=True, eq=False)
class PassState:
    """Groups of one pass, and the noise of the series.

    Attributes
    ----------
    groups : Groups
    noise : NoiseModel
    noise_class : ndarray of shape (z, gy, gx), int32
        As of `PatchGrid`.
    pilot : ndarray of shape (z, y, x), float32, HU, or None
        The first pass's result, in the second.
    """

    groups: Groups
    noise: NoiseModel
    noise_class: NDArray[np.int32]
    pilot: Float32 | None = None

    def grid(self, hu: Float32) -> PatchGrid:
        """Return the series as patches."""
        return PatchGrid(hu, self.noise, patch_size(hu), self.noise_class, self.groups.covariances)

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return what the next step needs, as arrays."""
        arrays: dict[str, NDArray[Any]] = {
            "noise_log_sd": self.noise.log_sigma,
            "noise_share": self.noise.sector_share,
            "noise_autocovariance": self.noise.autocovariance,
            "kind": self.noise_class.astype(np.float32),
            **self.groups.arrays(),
        }
        return arrays if self.pilot is None else arrays | {"pilot": self.pilot}

    def layout(self) -> dict[str, Any]:
        """Return the rest of the state, as JSON."""
        sigmas = self.groups.assigner.sigmas
        return {
            "method": "patches",
            "rows_are": "patches",
            "columns_are": "voxels of a patch",
            "pass": self.groups.number,
            "groups": self.groups.factored.tolist(),
            "levels": {"lowest_hu": sigmas.lowest, "count": sigmas.count},
            "noise": {**self.noise.info, "cell": self.noise.cell, "along_z": list(self.noise.z_correlation)},
        }

    @classmethod
    @single_threaded_blas
    def of_arrays(cls, layout: Mapping[str, Any], arrays: Arrays) -> PassState:
        """Return the state that gave this layout and these arrays."""
        noise = NoiseModel(
            layout["noise"]["cell"],
            arrays["noise_log_sd"],
            arrays["noise_share"],
            arrays["noise_autocovariance"],
            tuple(layout["noise"]["along_z"]),
            layout["noise"],
        )
        sigmas = SigmaGrid(layout["levels"]["lowest_hu"], layout["levels"]["count"])
        groups = Groups.of_arrays(layout["pass"], arrays, sigmas)
        return cls(groups, noise, arrays["kind"].astype(np.int32), arrays.get("pilot"))

    @classmethod
    def load(cls, path: Path, manifest: Manifest) -> PassState:
        """Read the state from a matrix directory; errors as of `read_arrays`."""
        return cls.of_arrays(manifest.layout, read_arrays(path, manifest))

    def reloaded(self) -> PassState:
        """Return the state as `load` gives it, to the last bit: rounding depends on the order of arrays in memory."""
        return self.of_arrays(self.layout(), self.arrays())
