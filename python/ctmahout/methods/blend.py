"""How strong a result is: the share of the noise that it takes out, measured, and set by blending with the source."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from ..quality import FlatRegions, tissues
from ..rank import Strength

__all__ = ["Blend"]

_SLICES = 24  # noise is measured in so many neighbouring slices, from the middle
_HALVINGS = 10


@dataclass(frozen=True, eq=False)
class Blend:
    """Some slices from the middle of a volume and of its denoised twin, and flat regions of soft tissue in them.

    Attributes
    ----------
    before, after : ndarray of shape (z, y, x), float32, HU
    regions : FlatRegions, or None
        Of the body, where there is no soft tissue; None if there is nothing flat.
    """

    before: NDArray[np.float32]
    after: NDArray[np.float32]
    regions: FlatRegions | None

    @classmethod
    def of(cls, before: NDArray[np.float32], after: NDArray[np.float32], padding: NDArray[np.bool_] | None) -> Blend:
        """Take the slices from the middle; padding is not measured in."""
        start = max(0, (len(before) - _SLICES) // 2)
        middle = slice(start, start + _SLICES)
        before, after = before[middle], after[middle]
        masks = tissues(after)
        found = (masks[name] if padding is None else masks[name] & ~padding[middle] for name in ("soft", "body"))
        regions = next((r for mask in found if (r := FlatRegions.of(before, mask)) is not None), None)
        return cls(before, after, regions)

    def removed(self, share: float) -> float:
        """Return the share of the noise's SD that is gone from before + share (after - before)."""
        if self.regions is None or self.noise == 0:
            return 0.0
        return 1 - self.regions.sd(self.before + np.float32(share) * (self.after - self.before)) / self.noise

    @cached_property
    def noise(self) -> float:
        """The SD before, HU."""
        return self.regions.sd(self.before) if self.regions else 0.0

    @cached_property
    def most(self) -> float:
        """What the full result removes."""
        return self.removed(1.0)

    def choose(self, strength: Strength) -> tuple[float, float, tuple[str, ...]]:
        """Return the share of `after` for a strength, the share of the noise that it removes, and warnings."""
        most = self.most
        if strength.kind == "auto":
            return 1.0, most, ()
        if strength.value >= most:
            wanted = f"{100 * strength.value:g} % of the noise was to be removed"
            return 1.0, most, (f"{wanted}, but no more than {100 * most:.0f} % can be.",)
        low, high = 0.0, 1.0
        for _ in range(_HALVINGS):
            middle = (low + high) / 2
            low, high = (middle, high) if self.removed(middle) < strength.value else (low, middle)
        share = (low + high) / 2
        return share, self.removed(share), ()
