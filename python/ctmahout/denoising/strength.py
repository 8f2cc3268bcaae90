"""How strong a result is: the share of the noise that it takes out, measured, and set by blending with the source."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from ..options import option_error
from ..quality import FlatRegions, detrended_sd, sample_slices, tissues_from_neighbours

__all__ = ["Blend", "Strength"]

_HALVINGS = 10
_FORMS = "auto, remove:PERCENT% (0 to 100), rank:N, energy:SHARE (0 to 1) or drop:PERCENT% (0 to 100)"


@dataclass(frozen=True)
class Strength:
    """A strength as the user wrote it, taken apart.

    Attributes
    ----------
    kind : str
        "auto", "remove", "rank", "energy" or "drop".
    value : float
        The share of the noise to remove, N, the share of the energy, or the share dropped; 0 for auto.
    text : str
        What the user wrote, without spaces around it.
    """

    kind: str
    value: float = 0.0
    text: str = ""

    @classmethod
    def parse(cls, text: str) -> Strength:
        """Read ``auto``, ``remove:50%``, ``rank:20``, ``energy:0.99`` or ``drop:10%``.

        Raises
        ------
        ConfigError
            CTM_CONFIG_VALUE.
        """
        text = text.strip()
        if text == "auto":
            return cls("auto", 0.0, text)
        if match := re.fullmatch(r"rank:(\d+)", text):
            if int(match[1]) >= 1:
                return cls("rank", int(match[1]), text)
        elif match := re.fullmatch(r"energy:(\d*\.?\d+)", text):
            if 0.0 < float(match[1]) <= 1.0:
                return cls("energy", float(match[1]), text)
        elif (match := re.fullmatch(r"drop:(\d*\.?\d+)%", text)) and 0.0 <= float(match[1]) < 100.0:
            return cls("drop", float(match[1]) / 100.0, text)
        elif (match := re.fullmatch(r"remove:(\d*\.?\d+)%", text)) and 0.0 <= float(match[1]) <= 100.0:
            return cls("remove", float(match[1]) / 100.0, text)
        raise option_error("strength", text, _FORMS)

    @property
    def label(self) -> str:
        """A name for files and captions: ``auto``, ``rank-20``, ``energy-0.99``, ``drop-10``."""
        if self.kind == "auto":
            return "auto"
        if self.kind == "rank":
            return f"rank-{self.value:.0f}"
        return f"{self.kind}-{self.value * 100 if self.kind in ('drop', 'remove') else self.value:g}"


@dataclass(frozen=True, eq=False)
class Blend:
    """Flat regions of soft tissue in a volume and in its denoised twin: those in which the report measures noise.

    Attributes
    ----------
    before, after : ndarray of shape (n, side, side), float64, HU
        Of the body, where there is no soft tissue; of shape (0, 0, 0) if there is nothing flat.
    """

    before: NDArray[np.float64]
    after: NDArray[np.float64]

    @classmethod
    def of(cls, before: NDArray[np.float32], after: NDArray[np.float32], padding: NDArray[np.bool_] | None) -> Blend:
        """Find them in two volumes of shape (z, y, x), HU; padding is not measured in."""
        masks = tissues_from_neighbours(before, padding, sample_slices(len(before)))
        for name in ("soft", "body"):
            if regions := FlatRegions.of(before, masks[name]):
                return cls(regions.detrended(before), regions.detrended(after))
        return cls(np.empty((0, 0, 0)), np.empty((0, 0, 0)))

    def removed(self, share: float) -> float:
        """Return the share of the noise's SD that is gone from before + share (after - before)."""
        if self.noise == 0:
            return 0.0
        return 1 - detrended_sd(self.before + share * (self.after - self.before)) / self.noise

    @cached_property
    def noise(self) -> float:
        """The SD before, HU."""
        return detrended_sd(self.before) if len(self.before) else 0.0

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
