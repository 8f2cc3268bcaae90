"""What every method offers: a `Run` on one volume, from its matrices to denoised volumes."""

from __future__ import annotations

import html
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Protocol

import numpy as np
from numpy.typing import NDArray

from ..engines.workers import Workers
from ..exchange import Factors, Manifest
from ..quality import Apply
from ..volume import Volume
from .noise import NoiseModel, Unmeasurable
from .strength import Strength

__all__ = ["GroupSpectrum", "Progress", "Result", "Run"]

Progress = Callable[[str, int, int], None]
"""Called with a phase, the work done and the total; a total of 0 means that it is not known."""


@dataclass(frozen=True, eq=False)
class Result:
    """A denoised volume.

    Attributes
    ----------
    strength : Strength
    volume : Volume
        HU; geometry, padding and source are those of the input.
    kept : str
        What was kept, for people: "12 of 51 components kept".
    facts : dict
        The same for programs, as JSON.
    warnings : tuple of str
    apply : Apply, optional
        Denoises some slices of the series again, changed or not, with what was learnt from the whole; the report
        measures with it what becomes of faint details.
    """

    strength: Strength
    volume: Volume
    kept: str
    facts: dict[str, Any]
    warnings: tuple[str, ...] = ()
    apply: Apply | None = None

    def _repr_html_(self) -> str:
        """Return the volume, and what was kept: what a notebook shows."""
        return f"{self.volume._repr_html_()}<p>{html.escape(f'{self.strength.text}: {self.kept}')}</p>"


@dataclass(frozen=True)
class GroupSpectrum:
    """The eigenvalues of a group of patches.

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


class Run(Protocol):
    """A method at work on one volume: it gives matrices, takes their factors, and gives the next run or results.

    `save` writes the matrices, with all that `load` needs to go on elsewhere; a run that was loaded goes on with the
    same bytes as the one that was saved.

    Attributes
    ----------
    method : str
        Its name, one of `ctmahout.options.METHODS`.
    strengths : tuple of str
        Kinds of `Strength` that the method knows.
    label : str
        Method and effort, "patches normal"; part of the identifiers of what is written.
    seed : int or None
        Of the method's own random choices; None: it makes none.
    series_sha256 : str
        `Volume.fingerprint` of the volume.
    passes_left : int
        Decompositions to come after the one of these matrices.
    noise : NoiseModel, Unmeasurable or None
        As the method measured it; None: there is none, or the method has no noise model.
    """

    method: ClassVar[str]
    strengths: ClassVar[tuple[str, ...]]

    @property
    def label(self) -> str: ...

    @property
    def seed(self) -> int | None: ...

    @property
    def series_sha256(self) -> str: ...

    @property
    def passes_left(self) -> int: ...

    @property
    def noise(self) -> NoiseModel | Unmeasurable | None: ...

    def save(self, path: Path, *, overwrite: bool = False) -> Manifest:
        """Write the matrix directory, once.

        Raises
        ------
        OutputError
            CTM_OUTPUT_EXISTS, CTM_OUTPUT_UNWRITABLE.
        """

    def next(self, factors: Sequence[Factors], workers: Workers, progress: Progress | None) -> Run:
        """Return the run of the next pass, while there is one (`passes_left`).

        Parameters
        ----------
        factors : sequence of Factors
            Of all matrices, ascending by group.
        workers : Workers
            Go over the volume.
        progress : Progress, optional
        """

    def results(
        self, factors: Sequence[Factors], strengths: Sequence[Strength], workers: Workers, progress: Progress | None
    ) -> Iterator[Result]:
        """Yield the denoised volume for each strength; parameters as of `next`."""

    def report_data(self, factors: Sequence[Factors], facts: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
        """Return what the report shows of the decomposition: keyword arguments of `write_report`.

        `facts` are those of each strength.
        """
