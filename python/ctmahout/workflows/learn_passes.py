"""The two passes of `learn`: groups of patches are found, or those of a model improved, region by region."""

from __future__ import annotations

import math
import shutil
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from ..denoising.effort import PATCH
from ..denoising.noise import MeasuredPart, NoiseModel
from ..denoising.patches import (
    FilePart,
    Mixture,
    Model,
    ModelPass,
    Partition,
    PatchGrid,
    Prior,
    RegionFit,
    RegionLearner,
    Regions,
    concatenated,
    kmeans,
    max_groups,
    measure_noise,
    nearest,
    pass_noise,
    write_part,
)
from ..dicom import Protocol, read_series
from ..engines import Engine
from ..engines.workers import Threads, Workers, single_threaded_blas
from ..errors import ExchangeError, InputError
from ..exchange import read_all_factors, read_manifest
from ..options import Config
from ..storage import Location, local_copy
from ..storage.kept import Kept
from .dssvd import factorise_with

__all__ = ["Base", "Learning", "Progress"]

_PATCHES_OF_A_GROUP = (3750, 1500)  # to learn from, in the first pass and in the second
_GROUPS = 1000  # in the second pass, if the series can feed them
_FIRST_SHARE = 0.24  # of them in the first
_ROUNDS = (6, 4)
_STRIDE = (2, 2)  # of the first pass
_NOISE_CLASSES = 8  # of place in a series, and of all of them together

Progress = Callable[[str, int, int], None]
Item = TypeVar("Item", bound=tuple[Any, ...])
Result = TypeVar("Result")


@dataclass(frozen=True, eq=False)
class Series:
    """What is kept of a series between the passes.

    Attributes
    ----------
    source : Path or Uri
    noise : NoiseModel
    covariances : ndarray of shape (classes, d, d), float64
        Of a patch of its noise, for an SD of 1: of each class of place.
    part : FilePart
        Patches of the first pass.
    facts : dict
        For the model, naming nobody.
    """

    source: Location
    noise: NoiseModel
    covariances: NDArray[np.float64]
    part: FilePart
    facts: dict[str, Any]


@dataclass(frozen=True, eq=False)
class Base:
    """The model that is improved."""

    path: Location
    sha256: str
    model: Model

    @classmethod
    def read(cls, path: Location) -> Base:
        """Read it; errors as of `read_manifest` and `Model.read`."""
        with local_copy(path) as folder:
            manifest = read_manifest(folder, "model")
            model = Model.read(folder, manifest)
        if len(model.passes) != len(_ROUNDS):
            problem = f"layout.passes is {len(model.passes)}, expected {len(_ROUNDS)}"
            raise ExchangeError("CTM_EXCHANGE_MANIFEST", path=path, problem=problem)
        return cls(path, manifest.sha256, model)

    def patches(self, number: int) -> float:
        """Return how many patches the groups of a pass were learnt from; about, for a model of an earlier version."""
        learnt = self.model.passes[number - 1]
        return learnt.patches or len(learnt.shrinker) * _PATCHES_OF_A_GROUP[number - 1]

    def regions(self, number: int) -> Regions:
        """Return where the regions of a pass lie."""
        learnt = self.model.passes[number - 1]
        return Regions(learnt.index, tuple(len(mixture) for mixture, _ in learnt.regions))

    def priors(self, number: int) -> dict[int, Prior]:
        """Return the groups of each region of a pass."""
        return dict(enumerate(self.model.passes[number - 1].priors(self.patches(number))))

    def check(self, series: Sequence[Series]) -> None:
        """Refuse series that the model knows, or that are of another protocol."""
        known = {facts["series_sha256"] for facts in self.model.learnt_on}
        for number, one in enumerate(series, 1):
            if one.facts["series_sha256"] in known:
                raise InputError("CTM_MODEL_KNOWS", number=number, path=self.path)
        _check_depths(series, self.model.passes[0].shrinker.d // (PATCH[1] * PATCH[2]))
        try:
            protocol = Protocol.of_dict(self.model.learnt_on[0])
        except ValueError:  # a model of an earlier version does not say
            return
        _check_protocols(series, protocol, "that of the model")


@dataclass(frozen=True, eq=False)
class Learning:
    """Learns a model; `base` is that which is improved."""

    work: Path
    config: Config
    engine: Engine
    workers: Workers
    progress: Progress | None
    one_protocol: bool
    base: Base | None

    def _each(self, name: str, function: Callable[[Item], Result], items: Iterable[Item]) -> list[Result]:
        """Return the results of the workers; what an earlier run has is not done again."""
        return list(self.workers.map(Kept(function, self.work, name), items))

    def passes(self, sources: Sequence[Location]) -> tuple[tuple[ModelPass, ...], list[Series]]:
        """Return the passes of the model, and the series as they were read."""
        config = self.config
        second = config.groups or _GROUPS
        groups = (max(1, round(_FIRST_SHARE * second)), second)
        patches, count = [g * n for g, n in zip(groups, _PATCHES_OF_A_GROUP, strict=True)], len(sources)
        if self.base:
            patches, count = [math.ceil(self.base.patches(n)) for n in (1, 2)], len(self.base.model.learnt_on)
        each = [-(-n // count) for n in patches]
        self._report_phase("sample")
        reading = {"lenient": config.lenient, "unpack_gib": config.unpack_gib, "workers": 1}
        sampler = _FirstSample(self.work, each[0], config.seed, reading)
        series = self._each("series", sampler, enumerate(sources))
        if self.base:
            self.base.check(series)
        _check_depths(series)
        if self.one_protocol:
            _check_protocols(series, Protocol.of_dict(series[0].facts), "series 1")
        covariances, classes = _noise_classes(series, config.seed)
        self._report_phase("learn")
        parts = [replace(one.part, classes=of) for one, of in zip(series, classes, strict=True)]
        one = self._pass(1, parts, groups[0], covariances)
        self._report_phase("refine")
        again = _SecondSample(self.work, Model((one,), []), each[1], config.seed, reading)
        parts = self._each("again", again, enumerate(series))
        parts = [replace(part, classes=of) for part, of in zip(parts, classes, strict=True)]
        self._report_phase("learn")
        return (one, self._pass(2, parts, groups[1], covariances)), series

    def _pass(self, number: int, parts: Sequence[FilePart], count: int, covariances: NDArray[np.float64]) -> ModelPass:
        """Find the groups of each region, and have Mahout factor them."""
        noise = pass_noise(number, covariances)
        stem = f"pass{number}"
        count = max_groups(count, parts)
        priors = self.base.priors(number) if self.base else {}

        def cut_regions(_: tuple[int]) -> Regions:
            return self.base.regions(number) if self.base else Regions.cut(parts, noise, count, self.workers)

        regions = Kept(cut_regions, self.work, stem)((0,))
        cut = self._each(f"{stem}-parts", Partition(regions, self.work, stem), enumerate(parts))
        by_region = [[part for part in of_region if part] for of_region in zip(*cut, strict=True)]
        # What the next steps keep is enough: samples are the largest of all files.
        _remove(parts)
        learner = RegionLearner(number, covariances, _ROUNDS[number - 1], self.config.seed, self.work)
        items = [(r, priors.get(r, regions.groups[r]), of_region) for r, of_region in enumerate(by_region) if of_region]
        fits = {item[0]: fit for item, fit in zip(items, self._each(f"{stem}-groups", learner, items), strict=True)}
        for of_region in by_region:
            _remove(of_region)
        if not any(len(fit.groups.factored) for fit in fits.values()):
            raise InputError(
                "CTM_INPUT_TOO_SMALL",
                path="What is to be learnt from",
                given=f"pass {number} finds no group of patches that is large enough",
                expected="more or larger series",
            )
        self._report_phase("dssvd")
        shrinkers = {r: prior.shrinker for r, prior in priors.items()}
        for numbered in fits.items():
            shrinkers[numbered[0]] = Kept(self._shrinker, self.work, f"{stem}-shrinker")(numbered)
            for folder in (numbered[1].matrix, _factors(numbered[1].matrix)):
                shutil.rmtree(folder, ignore_errors=True)
        # Regions of a model that the new series have no patch of stay as they are.
        each = [fits.get(r) or priors[r] for r in range(len(regions))]
        total = sum(one.patches for one in each)
        return ModelPass(
            regions.index,
            tuple(one.share_of(total) for one in each),
            concatenated([shrinkers[r] for r in range(len(regions))]),
            total,
        )

    def _shrinker(self, numbered: tuple[int, RegionFit]) -> Mixture:
        """Have Mahout factor the groups of a region."""
        _, fit = numbered
        if not len(fit.groups.factored):
            return fit.groups.mixture([])
        factors = _factors(fit.matrix)
        factorise_with(self.engine, fit.matrix, factors, replace(self.config, overwrite=True))
        return fit.groups.mixture(read_all_factors(factors))

    def _report_phase(self, phase: str) -> None:
        if self.progress:
            self.progress(phase, 0, 0)


def _factors(matrix: Path) -> Path:
    """Return where the factors of a matrix directory go."""
    return matrix.with_name(matrix.name.replace("matrix", "factors"))


def _remove(parts: Iterable[FilePart]) -> None:
    for part in parts:
        part.path.unlink(missing_ok=True)


# -------------------------------------------------------------------------------------------------- on the executors


@dataclass(frozen=True)
class _FirstSample:
    """Measure the noise of a series and draw patches."""

    work: Path
    patches: int
    seed: int
    reading: dict[str, Any]

    @single_threaded_blas
    def __call__(self, numbered: tuple[int, Location]) -> Series:
        number, source = numbered
        with local_copy(source) as folder:
            volume = read_series(folder, **self.reading)
        hu = MeasuredPart.of(volume).hu
        noise = measure_noise(hu, volume.geometry, Threads(1))
        if not isinstance(noise, NoiseModel):
            reason = "there is none" if noise is None else noise.reason
            raise InputError("CTM_NOISE_UNMEASURABLE", path=f"Series {number + 1}", given=reason)
        rng = np.random.default_rng([self.seed, 6, number])
        grid = _grid(hu, noise, self.seed)
        facts = {
            "series_sha256": volume.fingerprint(),
            "shape": list(volume.shape),
            **Protocol.of(volume).as_dict(),
            "noise": noise.info,
        }
        part = write_part(grid.sample(grid.draw(self.patches, rng)), self.work / f"first-{number}.npz")
        return Series(source, noise, grid.covariances, part, facts)


@dataclass(frozen=True, eq=False)
class _SecondSample:
    """Run the first pass over a series and draw patches of it and of its result."""

    work: Path
    model: Model
    patches: int
    seed: int
    reading: dict[str, Any]

    @single_threaded_blas
    def __call__(self, numbered: tuple[int, Series]) -> FilePart:
        number, one = numbered
        with local_copy(one.source) as folder:
            volume = read_series(folder, **self.reading)
        hu = MeasuredPart.of(volume).hu
        grid = _grid(hu, one.noise, self.seed)
        pilot = self.model.apply(grid, [_STRIDE], Threads(1))
        rng = np.random.default_rng([self.seed, 7, number])
        sample = grid.sample(grid.draw(self.patches, rng), grid.with_hu(pilot))
        return write_part(sample, self.work / f"second-{number}.npz")


def _grid(hu: NDArray[np.float32], noise: NoiseModel, seed: int) -> PatchGrid:
    """Return a series as patches, with the classes of its noise by place; the same in both passes."""
    return PatchGrid.of(hu, noise, _NOISE_CLASSES, np.random.default_rng([seed, 2]))


def _check_depths(series: Sequence[Series], deepest: int = 0) -> None:
    """Refuse a series of fewer slices than a patch has, among others whose patches are deeper."""
    slices = [one.facts["shape"][0] for one in series]
    deepest = max(deepest, min(PATCH[0], max(slices)))
    for number, count in enumerate(slices, 1):
        if count < deepest:
            raise InputError(
                "CTM_INPUT_TOO_SMALL",
                path=f"Series {number}",
                given=f"it has {count} slices",
                expected=f"{deepest} or more, as others have",
            )


def _check_protocols(series: Sequence[Series], protocol: Protocol, other: str) -> None:
    """Refuse a series of another protocol than this one."""
    for number, one in enumerate(series, 1):
        if difference := Protocol.of_dict(one.facts).difference(protocol):
            raise InputError("CTM_MODEL_PROTOCOLS", number=number, other=other, difference=difference)


def _noise_classes(series: Sequence[Series], seed: int) -> tuple[NDArray[np.float64], list[tuple[int, ...]]]:
    """Tell classes of noise: those of series and places whose correlation is alike are one.

    Returns
    -------
    covariances : ndarray of shape (classes, d, d), float64
    classes : list of tuple of int
        For each series, the class that its own class 0, 1, ... is of.
    """
    covariances = np.concatenate([one.covariances for one in series])
    flat = covariances.reshape(len(covariances), -1).astype(np.float32)
    count = min(_NOISE_CLASSES, len(flat))
    noise_class = nearest(flat, kmeans(flat, count, np.random.default_rng([seed, 8])))
    _, noise_class = np.unique(noise_class, return_inverse=True)
    means = [covariances[noise_class == k].mean(axis=0) for k in range(1 + noise_class.max())]
    cuts = np.cumsum([len(one.covariances) for one in series])[:-1]
    return np.array(means), [tuple(of.tolist()) for of in np.split(noise_class, cuts)]
