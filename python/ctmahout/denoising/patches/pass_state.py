"""A pass over one series that is ready to run but for its bases, and how it goes through the exchange.

Its matrix directory holds one matrix for each group, for Mahout, and beside them all that the next step needs; so that
step may run in another process or on another machine.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...engines.workers import single_threaded_blas
from ...exchange import Manifest, read_arrays
from ..noise import NoiseModel
from .grid import View, patch_size
from .groups import Groups
from .mixture import Levels

__all__ = ["Stage"]

Float32 = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Stage:
    """Groups of one pass, and the noise of the series.

    Attributes
    ----------
    groups : Groups
    noise : NoiseModel
    kind : ndarray of shape (z, gy, gx), int32
        As of `View`.
    pilot : ndarray of shape (z, y, x), float32, HU, or None
        The first pass's result, in the second.
    """

    groups: Groups
    noise: NoiseModel
    kind: NDArray[np.int32]
    pilot: Float32 | None = None

    def view(self, hu: Float32) -> View:
        """Return the series as patches."""
        return View(hu, self.noise, patch_size(hu), self.kind, self.groups.covariances)

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return what the next step needs, as arrays."""
        found: dict[str, NDArray[Any]] = {
            "noise_log_sd": self.noise.log_sigma,
            "noise_share": self.noise.sector_share,
            "noise_autocovariance": self.noise.autocovariance,
            "kind": self.kind.astype(np.float32),
            **self.groups.arrays(),
        }
        return found if self.pilot is None else found | {"pilot": self.pilot}

    def layout(self) -> dict[str, Any]:
        """Return what is left, as JSON."""
        levels = self.groups.telling.levels
        return {
            "method": "patches",
            "rows_are": "patches",
            "columns_are": "voxels of a patch",
            "pass": self.groups.number,
            "groups": self.groups.factored.tolist(),
            "levels": {"lowest_hu": levels.lowest, "count": levels.count},
            "noise": {**self.noise.info, "cell": self.noise.cell, "along_z": list(self.noise.z_correlation)},
        }

    @classmethod
    @single_threaded_blas
    def read(cls, path: Path, manifest: Manifest, *, pilot: bool = True) -> Stage:
        """Read a stage from its matrix directory, maybe without the pilot; errors as of `read_arrays`."""
        layout = manifest.layout
        a = read_arrays(path, manifest, None if pilot else tuple(n for n in layout["arrays"] if n != "pilot"))
        noise = NoiseModel(
            layout["noise"]["cell"],
            a["noise_log_sd"],
            a["noise_share"],
            a["noise_autocovariance"],
            tuple(layout["noise"]["along_z"]),
            layout["noise"],
        )
        levels = Levels(layout["levels"]["lowest_hu"], layout["levels"]["count"])
        groups = Groups.of_arrays(layout["pass"], a, levels)
        return cls(groups, noise, a["kind"].astype(np.int32), a.get("pilot"))
