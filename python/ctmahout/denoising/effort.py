"""How much work method ``patches`` puts into a series: `EFFORTS`.

Apart from the method itself, which takes a second to load.
"""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["EFFORTS", "PATCH", "Effort", "PassSpec"]

PATCH = (3, 5, 5)
"""Size of a patch in z, y, x, voxels."""


@dataclass(frozen=True)
class PassSpec:
    """One pass over the volume.

    Attributes
    ----------
    groups : int
        At most so many.
    patches : int
        To learn from, at most.
    rounds : int
        Of finding the groups.
    stride : tuple of int
        Steps of the patches that are filtered, in y and x.
    """

    groups: int
    patches: int
    rounds: int
    stride: tuple[int, int]


@dataclass(frozen=True)
class Effort:
    """The passes, one or two, and the kinds of place that noise is told apart by."""

    passes: tuple[PassSpec, ...]
    noise_classes: int = 8


_FIRST = PassSpec(groups=60, patches=150_000, rounds=6, stride=(2, 2))

EFFORTS = {
    "fast": Effort((_FIRST,)),
    "normal": Effort((_FIRST, PassSpec(groups=250, patches=250_000, rounds=4, stride=(1, 2)))),
    "best": Effort(
        (
            PassSpec(groups=120, patches=450_000, rounds=6, stride=(1, 2)),
            PassSpec(groups=500, patches=900_000, rounds=4, stride=(1, 1)),
        )
    ),
}
