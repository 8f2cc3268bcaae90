"""What a method has to offer."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from ..engines.workers import Workers
from ..exchange import Manifest
from ..options import Config
from ..quality import Apply
from ..volume import Volume
from .strength import Strength

__all__ = ["GroupSpectrum", "Method", "Progress", "Result"]

Progress = Callable[[str, int, int], None]
"""Called with a phase, what is done and what there is; a total of 0 means that it is not known."""


@dataclass(frozen=True, eq=False)
class Result:
    """A denoised volume.

    Attributes
    ----------
    strength : Strength
    volume : Volume
    kept : str
        What was kept, for people: "12 of 51 components kept".
    facts : dict
        The same for programs, as JSON.
    warnings : tuple of str
    apply : Apply, optional
        Does the same to some slices of the series, changed or not, with what was learnt; the report tries it on faint
        details.
    """

    strength: Strength
    volume: Volume
    kept: str
    facts: dict[str, Any]
    warnings: tuple[str, ...] = ()
    apply: Apply | None = None


@dataclass(frozen=True)
class GroupSpectrum:
    """What a group of patches was found to hold.

    Attributes
    ----------
    rows : int
        Patches that the basis was learnt from.
    eigenvalues : ndarray of shape (d,), float64
        Variance along each component, in units of the noise variance, descending: 1 where there is only noise.
    kept : int
        Components with a weight above 0.
    gain : float
        Mean weight of the d components, 0 to 1.
    """

    rows: int
    eigenvalues: NDArray[np.float64]
    kept: int
    gain: float


class Method(Protocol):
    """How a volume becomes matrices and factors a volume."""

    @property
    def strengths(self) -> tuple[str, ...]:
        """Kinds of `Strength` that it knows."""

    def prepare(self, volume: Volume, matrix: Path, config: Config, progress: Progress | None) -> Manifest:
        """Write the matrix directory of a volume: step one."""

    def refines(self, matrix: Manifest) -> bool:
        """Tell whether there is another matrix to be made of this one and its factors."""

    def refine(
        self,
        volume: Volume,
        matrix: Path,
        factors: Path,
        refined: Path,
        config: Config,
        workers: Workers,
        progress: Progress | None,
    ) -> Manifest:
        """Write that matrix directory; `workers` go over the volume."""

    def rebuild(
        self,
        volume: Volume,
        matrix: Path,
        factors: Path,
        strengths: Sequence[Strength],
        workers: Workers,
        progress: Progress | None,
    ) -> Iterator[Result]:
        """Yield the denoised volume for each strength; `workers` go over the volume."""

    def shown(self, matrix: Path, factors: Path, choices: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
        """Return what the report shows of the decomposition: keyword arguments of `write_report`.

        `choices` are the facts of each strength.
        """
