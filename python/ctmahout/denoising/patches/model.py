"""A model: groups and bases learnt on many series, for other series of the same protocol.

It is in HU and without noise; the noise of a series enters when the model is used on it. A model fits a series if
its likelihood is at least that of a small mixture learnt on the series itself.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...engines.workers import Workers, single_threaded_blas
from ...errors import ExchangeError
from ...exchange import Manifest, read_arrays
from .grid import PatchGrid
from .groups import (
    BETA,
    FIRST,
    SECOND,
    pack_candidates,
    pack_mixture,
    pass_noise,
    unpack_candidates,
    unpack_mixture,
)
from .mixture import CandidateIndex, Mixture, NoiseCovariances, NoisyMixture, SigmaGrid
from .passes import PatchFilter, filter_volume
from .prior import Prior
from .regions import RegionalMixture

__all__ = ["Model", "ModelPass"]

Float32 = NDArray[np.float32]
Float64 = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class ModelPass:
    """What one pass does.

    Attributes
    ----------
    index : CandidateIndex
        A region of patches is a cell of it.
    regions : tuple of (Mixture, CandidateIndex)
        The groups of each region, to which its patches are assigned, and those in question for a patch.
    shrinker : Mixture
        The same groups, of one region after the other: they shrink patches.
    patches : float
        Those of the series that the groups were learnt from; 0 if a model of an earlier version does not say.
    """

    index: CandidateIndex
    regions: tuple[tuple[Mixture, CandidateIndex], ...]
    shrinker: Mixture
    patches: float = 0.0

    def assigner(self, noise_covariances: NoiseCovariances, sigmas: SigmaGrid) -> RegionalMixture:
        """Return what assigns patches with noise of these covariances."""
        each = [NoisyMixture(mixture, noise_covariances, sigmas, candidates) for mixture, candidates in self.regions]
        return RegionalMixture(self.index, each)

    def priors(self, patches: float) -> list[Prior]:
        """Return the groups of each region as those of `patches` patches in all."""
        cuts = np.cumsum([len(mixture) for mixture, _ in self.regions])[:-1]
        numbers = np.split(np.arange(len(self.shrinker)), cuts)
        return [
            Prior(mixture, candidates, self.shrinker[of], mixture.weights * patches)
            for of, (mixture, candidates) in zip(numbers, self.regions, strict=True)
        ]

    def arrays(self, name: str) -> dict[str, NDArray[Any]]:
        """Return arrays whose names begin with `name`; those of regions follow each other in one array."""
        regions = [pack_mixture("telling", m) | pack_candidates("telling", c) for m, c in self.regions]
        width = max(of["telling_cell_groups"].shape[1] for of in regions)
        for of in regions:
            listed = of["telling_cell_groups"]
            of["telling_cell_groups"] = np.pad(listed, ((0, 0), (0, width - listed.shape[1])))
            for one in ("telling_cell_origin", "telling_cell_projection"):
                of[one] = of[one][None]
        sizes = [(len(m), len(c.centres)) for m, c in self.regions]
        of_groups = {f"{name}_{key}": np.concatenate([of[key] for of in regions]) for key in regions[0]}
        of_groups |= pack_mixture(f"{name}_shrinking", self.shrinker)
        # Most of a model are bases, and their last digits are of no use.
        of_groups |= {key: value.astype(np.float32) for key, value in of_groups.items() if key.endswith("_basis")}
        return {
            f"{name}_region_origin": self.index.mean,
            f"{name}_region_projection": self.index.projection,
            f"{name}_region_centre": self.index.centres,
            f"{name}_region_sizes": np.array(sizes, np.float64),
            **of_groups,
        }

    @classmethod
    def of_arrays(cls, name: str, arrays: Mapping[str, NDArray[Any]], patches: float = 0.0) -> ModelPass:
        if f"{name}_region_sizes" not in arrays:  # a model from before there were regions
            groups = unpack_mixture(f"{name}_telling", arrays), unpack_candidates(name, arrays)
            d = groups[0].d
            one_cell = CandidateIndex(
                np.zeros(d, np.float32), np.zeros((d, 1), np.float32), np.zeros((1, 1), np.float32)
            )
            return cls(one_cell, (groups,), unpack_mixture(f"{name}_shrinking", arrays), patches)
        index = CandidateIndex(
            arrays[f"{name}_region_origin"], arrays[f"{name}_region_projection"], arrays[f"{name}_region_centre"]
        )
        sizes = arrays[f"{name}_region_sizes"].astype(int)
        group, cell = (np.cumsum(sizes[:, column])[:-1] for column in (0, 1))
        rank = np.cumsum(arrays[f"{name}_telling_rank"].astype(int))
        cuts = {"basis": rank[group - 1], **dict.fromkeys(("mean", "rank", "weight", "noise_left"), group)}
        cuts |= dict.fromkeys(("cell_centre", "cell_groups"), cell)
        cuts |= dict.fromkeys(("cell_origin", "cell_projection"), np.arange(1, len(sizes)))
        split = {key: np.split(arrays[f"{name}_telling_{key}"], at) for key, at in cuts.items()}
        regions = []
        for number in range(len(sizes)):
            of = {f"telling_{key}": parts[number] for key, parts in split.items()}
            for one in ("telling_cell_origin", "telling_cell_projection"):
                of[one] = of[one][0]
            regions.append((unpack_mixture("telling", of), unpack_candidates("telling", of)))
        return cls(index, tuple(regions), unpack_mixture(f"{name}_shrinking", arrays), patches)


@dataclass(frozen=True, eq=False)
class Model:
    """Two passes, and what they were learnt on.

    Attributes
    ----------
    passes : tuple of ModelPass
    learnt_on : list of dict
        One entry for each series, without anything that names a patient.
    """

    passes: tuple[ModelPass, ...]
    learnt_on: list[dict[str, Any]]

    def filter(self, number: int, grid: PatchGrid, sigma_hu: Float32) -> PatchFilter:
        """Return what a pass does with a series.

        Parameters
        ----------
        number : int
            1 or 2.
        grid : PatchGrid
            The series.
        sigma_hu : ndarray, float32, HU
            The least and the greatest SD of its noise.
        """
        rules, learnt = (FIRST, SECOND)[number - 1], self.passes[number - 1]
        noise_covariances, sigmas = NoiseCovariances(grid.covariances * BETA), SigmaGrid.of(sigma_hu)
        assigner = learnt.assigner(pass_noise(number, grid.covariances), sigmas)
        return PatchFilter(
            assigner,
            NoisyMixture(learnt.shrinker, noise_covariances, sigmas),
            rules.pilot_weight,
            rules.shrinker.overfit_threshold,
        )

    @single_threaded_blas
    def apply(
        self,
        grid: PatchGrid,
        strides: Sequence[tuple[int, int]],
        workers: Workers,
        progress: Callable[[int, int], None] | None = None,
    ) -> Float32:
        """Run as many passes over a series as there are strides; returns the result, of the shape of the series, HU."""
        sigma_hu = np.exp(np.array([grid.noise.log_sigma.min(), grid.noise.log_sigma.max()]))
        pilot, result = None, grid.hu
        total = len(strides) * grid.shape[0]
        for number, stride in enumerate(strides, 1):
            before = (number - 1) * grid.shape[0]
            report = None if progress is None else partial(_after, progress, before, total)
            result = filter_volume(
                grid,
                self.filter(number, grid, sigma_hu),
                stride,
                workers,
                pilot=pilot,
                is_last=number == len(strides),
                progress=report,
            )
            pilot = grid.with_hu(result)
        return result

    # ----------------------------------------------------------------------------------------------- the exchange

    def arrays(self) -> dict[str, NDArray[Any]]:
        arrays: dict[str, NDArray[Any]] = {}
        for number, learnt in enumerate(self.passes, 1):
            arrays |= learnt.arrays(f"pass{number}")
        return arrays

    def layout(self) -> dict[str, Any]:
        return {
            "method": "patches",
            "passes": len(self.passes),
            "groups": [len(one.shrinker) for one in self.passes],
            "patches": [one.patches for one in self.passes],
            "learnt_on": self.learnt_on,
        }

    @classmethod
    def read(cls, path: Path, manifest: Manifest) -> Model:
        """Read a model; errors as of `read_arrays`."""
        about = manifest.layout
        if about.get("method") != "patches" or about.get("passes") not in (1, 2) or "learnt_on" not in about:
            raise ExchangeError("CTM_EXCHANGE_MANIFEST", path=path, problem="layout is not that of a model of patches")
        a = read_arrays(path, manifest)
        try:
            patches = about.get("patches", [0.0] * about["passes"])
            passes = [ModelPass.of_arrays(f"pass{n}", a, patches[n - 1]) for n in range(1, about["passes"] + 1)]
        except KeyError as e:
            raise ExchangeError("CTM_EXCHANGE_MANIFEST", path=path, problem=f"layout.arrays lacks {e}") from None
        return cls(tuple(passes), about["learnt_on"])


def _after(progress: Callable[[int, int], None], before: int, total: int, done: int, of: int) -> None:
    """Report the progress of one pass as part of all."""
    progress(before + done, total)
