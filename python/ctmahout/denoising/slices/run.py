"""Method ``slices``: columns are slices, noise goes with the small components."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ...engines.workers import Workers
from ...errors import InputError
from ...exchange import Manifest, read_factors, read_manifest, write_matrix
from ...options import Config
from ...volume import Volume
from ..method import Progress, Result
from ..noise import matrix_noise_sd
from ..strength import Strength
from .layout import SlicesLayout
from .rank import choose_rank

__all__ = ["SlicesMethod"]


class SlicesMethod:
    """See `ctmahout.denoising.slices.layout` and `ctmahout.denoising.slices.rank`."""

    strengths = ("auto", "rank", "energy", "drop")

    def prepare(self, volume: Volume, matrix: Path, config: Config, progress: Progress | None) -> Manifest:
        layout = SlicesLayout.of(volume)
        about = layout.to_dict() | {
            "series_sha256": volume.fingerprint(),
            "noise_sd_hu": matrix_noise_sd(volume.hu, volume.padding),
        }

        def blocks() -> Iterator[Any]:
            for rows, block in layout.blocks(volume):
                yield rows, block
                if progress:
                    progress("prepare", int(rows[-1]) + 1, layout.rows)

        return write_matrix(
            matrix,
            [blocks()],
            dtype="float32",
            units="HU",
            centring="columns",
            layout=about,
            overwrite=config.overwrite,
        )

    def refines(self, matrix: Manifest) -> bool:
        return False

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
        raise InputError("CTM_NOTHING_TO_REFINE", path=matrix)

    def rebuild(
        self,
        volume: Volume,
        matrix: Path,
        factors: Path,
        strengths: Sequence[Strength],
        workers: Workers,
        progress: Progress | None,
    ) -> Iterator[Result]:
        made, found = read_manifest(matrix, "matrix"), read_factors(factors)
        layout = SlicesLayout.of(volume)
        for strength in strengths:
            choice = choose_rank(
                found.s,
                strength,
                rows=found.rows,
                columns=found.columns,
                squared_norm=found.squared_norm,
                noise_sd=float(made.layout["noise_sd_hu"]),
            )
            yield Result(
                strength,
                layout.reconstruct(volume, found.v, choice.weights, centred=found.centred),
                f"{choice.rank} of {found.rank} components kept",
                {"rank": choice.rank, "energy": choice.energy, "weights": choice.weights.tolist()},
                choice.warnings,
            )

    def shown(self, matrix: Path, factors: Path, choices: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
        found, layout = read_factors(factors), read_manifest(matrix, "matrix").layout
        return {
            "s": found.s,
            "weights": {strength: np.array(choice["weights"]) for strength, choice in choices.items()},
            "noise_sd_hu": float(layout["noise_sd_hu"]),
        }
