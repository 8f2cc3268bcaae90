"""How strong a result is: the share of the noise that it takes out, measured, and set by blending with the source."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..noise import noise_sd
from ..rank import Strength

__all__ = ["Blend"]

_SLICES = 24  # noise is measured in so many neighbouring slices, from the middle


@dataclass(frozen=True, eq=False)
class Blend:
    """A volume and its denoised twin, of some slices in the middle.

    Attributes
    ----------
    before, after : ndarray of shape (z, y, x), float32, HU
    padding : ndarray of shape (z, y, x), bool, or None
    """

    before: NDArray[np.float32]
    after: NDArray[np.float32]
    padding: NDArray[np.bool_] | None

    @classmethod
    def of(cls, before: NDArray[np.float32], after: NDArray[np.float32], padding: NDArray[np.bool_] | None) -> Blend:
        start = max(0, (len(before) - _SLICES) // 2)
        middle = slice(start, start + _SLICES)
        return cls(before[middle], after[middle], None if padding is None else padding[middle])

    def removed(self, share: float) -> float:
        """Return the share of the noise's SD in soft tissue that is gone from before + share (after - before)."""
        noise = noise_sd(self.before, self.padding)
        if noise == 0:
            return 0.0
        blended = self.before + np.float32(share) * (self.after - self.before)
        return 1 - noise_sd(blended, self.padding) / noise

    def choose(self, strength: Strength) -> tuple[float, float, tuple[str, ...]]:
        """Return the share of `after` for a strength, the share of the noise that it removes, and warnings."""
        most = self.removed(1.0)
        if strength.kind == "auto":
            return 1.0, most, ()
        if strength.value >= most:
            text = f"{100 * strength.value:g} % of the noise was to be removed, {100 * most:.0f} % can be."
            return 1.0, most, (text,)
        low, high = 0.0, 1.0
        for _ in range(8):
            middle = (low + high) / 2
            low, high = (middle, high) if self.removed(middle) < strength.value else (low, middle)
        share = (low + high) / 2
        return share, self.removed(share), ()
