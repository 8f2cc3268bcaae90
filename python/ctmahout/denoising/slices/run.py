"""Method ``slices``: columns are slices; components of the noise are small."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from ...engines.workers import Workers
from ...errors import InputError
from ...exchange import Factors, Manifest, write_matrix
from ...options import Config
from ...volume import Volume
from ..method import Progress, Result, Run
from ..noise import matrix_noise_sd
from ..strength import Strength
from .layout import SlicesLayout
from .rank import choose_rank

__all__ = ["SlicesRun"]


@dataclass(frozen=True, eq=False)
class SlicesRun:
    """See `Run`, and `ctmahout.denoising.slices.layout` and `rank` for the mathematics.

    Attributes
    ----------
    volume : Volume
    series_sha256 : str
    noise_sd_hu : float
        SD of the noise of an entry of the matrix, HU.
    label : str
    seed : int or None
    progress : Progress, optional
        Of `save`.
    """

    volume: Volume
    series_sha256: str
    noise_sd_hu: float
    label: str = "slices"
    seed: int | None = None
    progress: Progress | None = None

    method: ClassVar[str] = "slices"
    strengths: ClassVar[tuple[str, ...]] = ("auto", "rank", "energy", "drop")
    passes_left: ClassVar[int] = 0
    noise: ClassVar[None] = None

    @classmethod
    def start(cls, volume: Volume, config: Config, progress: Progress | None) -> SlicesRun:
        SlicesLayout.of(volume)  # refuses volumes that are too small
        return cls(volume, volume.fingerprint(), matrix_noise_sd(volume.hu, volume.padding), progress=progress)

    @classmethod
    def layout_keys(cls, layout: Mapping[str, Any]) -> tuple[str, ...]:
        """Return what the layout of a matrix must have."""
        return ("noise_sd_hu",)

    @classmethod
    def load(cls, volume: Volume, path: Path, manifest: Manifest, config: Config) -> SlicesRun:
        layout = manifest.layout
        # A matrix of somebody's own may name another method, which the output then names, too.
        label = " ".join(str(layout[key]) for key in ("method", "effort") if key in layout)
        return cls(volume, layout["series_sha256"], float(layout["noise_sd_hu"]), label, layout.get("seed"))

    @cached_property
    def _layout(self) -> SlicesLayout:
        return SlicesLayout.of(self.volume)

    def save(self, path: Path, *, overwrite: bool = False) -> Manifest:
        about = {"series_sha256": self.series_sha256, "noise_sd_hu": self.noise_sd_hu}
        return write_matrix(
            path,
            [self._blocks()],
            dtype="float32",
            units="HU",
            centring="columns",
            layout=self._layout.to_dict() | about,
            overwrite=overwrite,
        )

    def _blocks(self) -> Iterator[tuple[NDArray[np.int64], NDArray[np.float32]]]:
        for rows, block in self._layout.blocks(self.volume):
            yield rows, block
            if self.progress:
                self.progress("prepare", int(rows[-1]) + 1, self._layout.rows)

    def next(self, factors: Sequence[Factors], workers: Workers, progress: Progress | None) -> Run:
        raise InputError("CTM_NOTHING_TO_REFINE", path="The matrix")

    def results(
        self, factors: Sequence[Factors], strengths: Sequence[Strength], workers: Workers, progress: Progress | None
    ) -> Iterator[Result]:
        svd = factors[0]
        for strength in strengths:
            choice = choose_rank(
                svd.s,
                strength,
                rows=svd.rows,
                columns=svd.columns,
                squared_norm=svd.squared_norm,
                noise_sd=self.noise_sd_hu,
            )
            yield Result(
                strength,
                self._layout.reconstruct(self.volume, svd.v, choice.weights, centred=svd.centred),
                f"{choice.rank} of {svd.rank} components kept",
                {"rank": choice.rank, "energy": choice.energy, "weights": choice.weights.tolist()},
                choice.warnings,
            )

    def report_data(self, factors: Sequence[Factors], facts: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
        return {
            "s": factors[0].s,
            "weights": {strength: np.array(values["weights"]) for strength, values in facts.items()},
            "noise_sd_hu": self.noise_sd_hu,
        }
