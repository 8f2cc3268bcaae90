"""Learn a model on many series: `learn`.

Series are read, and patches compared with groups, by threads here or by Spark's executors: the same functions on the
same parts, so the same model. Mahout factors the groups.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..denoising.effort import PATCH
from ..denoising.noise import MeasuredPart, NoiseModel
from ..denoising.patches import (
    FilePart,
    Groups,
    Model,
    ModelPass,
    Part,
    PatchFilter,
    PatchGrid,
    filter_volume,
    kmeans,
    measure_noise,
    nearest,
    write_parts,
)
from ..dicom import kernel_of, read_series
from ..engines import Engine
from ..engines.workers import Threads, Workers, single_threaded_blas
from ..errors import InputError
from ..exchange import Manifest, is_exchange, read_all_factors, write_matrix, write_model
from ..options import Config, option_error
from ..storage import Location, Uri, local_copy, parse_location, refuse_overlap, upload_on_success
from ..storage.atomic import refuse_existing
from .dssvd import factorise_with, open_engine, options_of

__all__ = ["learn"]

_PATCHES_OF_A_GROUP = (3750, 1500)  # to learn from, in the first pass and in the second
_GROUPS = 1000  # in the second pass, if the series can feed them
_FIRST_SHARE = 0.24  # of them in the first
_ROUNDS = (6, 4)
_STRIDE = (2, 2)  # of the first pass
_NOISE_CLASSES = 8  # of noise: series whose noise is alike share one

Progress = Callable[[str, int, int], None]


@dataclass(frozen=True, eq=False)
class _Series:
    """What is kept of a series between the passes.

    Attributes
    ----------
    source : Path or Uri
    noise : NoiseModel
    covariance : ndarray of shape (d, d), float64
        Of a patch of its noise, for an SD of 1.
    parts : tuple of FilePart
    facts : dict
        For the model, naming nobody.
    noise_class : int
        Which of the cohort's noise_covariances its noise is of.
    """

    source: Location
    noise: NoiseModel
    covariance: NDArray[np.float64]
    parts: tuple[FilePart, ...]
    facts: dict[str, Any]
    noise_class: int = 0


@single_threaded_blas
def learn(
    sources: Sequence[str | Path | Uri],
    model: str | Path | Uri,
    config: Config | None = None,
    *,
    session: object = None,
    progress: Progress | None = None,
    **options: Any,
) -> Manifest:
    """Learn groups and bases of patches on many series, from their noisy patches alone.

    Series should be of one protocol: one kernel, pixel size and slice thickness; doses may differ. More series feed
    more groups, and more groups take out noise better.

    Parameters
    ----------
    sources : sequence of path or URI
        Folders with one CT series each; a single one may stand by itself.
    model : path or URI
        A new directory; `denoise` with ``model=`` uses it, without Spark.
    config : Config, optional
        ``groups``, ``seed``, ``engine`` and what `read_series` and `connect` take.
    session : SparkSession, optional
        A session of yours.
    progress : callable, optional
        See `ctmahout.denoising.registry.Progress`.
    **options
        Fields of `Config`, instead of `config`.

    Returns
    -------
    Manifest

    Raises
    ------
    InputError
        CTM_NOISE_UNMEASURABLE: a series has no noise to learn from. CTM_INPUT_TOO_SMALL: one has two slices, others
        more. Those of `read_series`.
    ConfigError
        CTM_CONFIG_VALUE: `work` is no folder, or is not given although the master is a cluster; `sources` is empty.
    EngineError, OutputError

    Notes
    -----
    With a master or a session, series are read and patches are compared by its executors, which see the same paths
    and URIs; else by threads here. The model is the same.

    Examples
    --------
    >>> manifest = learn(["phantom/noisy"], "model", groups=20, engine="numpy")
    >>> manifest.kind
    'model'
    """
    config = options_of(config, options, "learn")
    if isinstance(sources, (str, Path, Uri)):
        sources = [sources]
    places, model = [parse_location(source) for source in sources], parse_location(model)
    if not places:
        raise option_error("sources", places, "one series or more", source="learn")
    for place in places:
        refuse_overlap(model, place)
    with upload_on_success(model, overwrite=config.overwrite, is_replaceable=is_exchange) as target:
        refuse_existing(target.absolute(), overwrite=config.overwrite, is_replaceable=is_exchange)
        with (
            tempfile.TemporaryDirectory(prefix="ctmahout-", dir=_work(config)) as folder,
            open_engine(config, session) as engine,
        ):
            spread = session is not None or bool(config.master)
            workers = engine.workers(config.workers) if spread else Threads.of(config.workers)
            run = _Learning(Path(folder), config, engine, workers, progress)
            passes, series = run.passes([p.absolute() if isinstance(p, Path) else p for p in places])
        learnt = Model(passes, [one.facts for one in series])
        return write_model(target, learnt.arrays(), learnt.layout(), overwrite=config.overwrite)


def _work(config: Config) -> Path | None:
    """Return the folder to work in, which executors see too; None for the system's."""
    if config.work is None:
        if config.master is not None and not config.master.startswith("local"):
            raise option_error("work", None, f"a folder that the executors of {config.master} see as well")
        return None
    work = parse_location(config.work)
    if not isinstance(work, Path) or not work.is_dir():
        raise option_error("work", config.work, "a folder that is there")
    return work


@dataclass(frozen=True, eq=False)
class _Learning:
    work: Path
    config: Config
    engine: Engine
    workers: Workers
    progress: Progress | None

    def passes(self, sources: Sequence[Location]) -> tuple[tuple[ModelPass, ...], list[_Series]]:
        config = self.config
        second = config.groups or _GROUPS
        groups = (max(1, round(_FIRST_SHARE * second)), second)
        each = [-(-g * n // len(sources)) for g, n in zip(groups, _PATCHES_OF_A_GROUP, strict=True)]
        self._report_phase("sample")
        reading = {"lenient": config.lenient, "unpack_gib": config.unpack_gib, "workers": 1}
        sampler = _FirstSample(self.work, each[0], config.seed, reading)
        series = list(self.workers.map(sampler, enumerate(sources)))
        _check_depths(series)
        series = _with_noise_classes(series, config.seed)
        covariances = _means(series)
        rng = np.random.default_rng([config.seed, 5])
        self._report_phase("learn")
        parts = [part for one in series for part in one.parts]
        one, filter = self._pass(1, parts, groups[0], covariances, rng)
        self._report_phase("refine")
        again = _SecondSample(self.work, filter, covariances, each[1], config.seed, reading)
        parts = [part for sample in self.workers.map(again, enumerate(series)) for part in sample]
        self._report_phase("learn")
        two, _ = self._pass(2, parts, groups[1], covariances, rng)
        return (one, two), series

    def _pass(
        self,
        number: int,
        parts: Sequence[Part],
        count: int,
        covariances: NDArray[np.float64],
        rng: np.random.Generator,
    ) -> tuple[ModelPass, PatchFilter]:
        """Find groups, have Mahout factor them, and return what is for the model and what goes on here."""
        groups = Groups.learn(number, covariances, parts, count, _ROUNDS[number - 1], self.workers, rng)
        if not len(groups.factored):
            raise InputError(
                "CTM_INPUT_TOO_SMALL",
                path="What is to be learnt from",
                given=f"pass {number} finds no group of patches that is large enough",
                expected="more or larger series",
            )
        matrix, factors = self.work / f"matrix-{number}", self.work / f"factors-{number}"
        write_matrix(matrix, groups.matrices(parts), units="noise SD", centring="columns", layout={"method": "cohort"})
        self._report_phase("dssvd")
        factorise_with(self.engine, matrix, factors, self.config)
        filter = groups.filter(read_all_factors(factors))
        assert groups.assigner.candidates is not None
        return ModelPass(groups.assigner.mixture, filter.shrinker.mixture, groups.assigner.candidates), filter

    def _report_phase(self, phase: str) -> None:
        if self.progress:
            self.progress(phase, 0, 0)


# -------------------------------------------------------------------------------------------------- on the executors


@dataclass(frozen=True)
class _FirstSample:
    """Measure the noise of a series and draw patches."""

    work: Path
    patches: int
    seed: int
    reading: dict[str, Any]

    @single_threaded_blas
    def __call__(self, numbered: tuple[int, Location]) -> _Series:
        number, source = numbered
        with local_copy(source) as folder:
            volume = read_series(folder, **self.reading)
        hu = MeasuredPart.of(volume).hu
        noise = measure_noise(hu, volume.geometry, Threads(1))
        if not isinstance(noise, NoiseModel):
            reason = "there is none" if noise is None else noise.reason
            raise InputError("CTM_NOISE_UNMEASURABLE", path=f"Series {number + 1}", given=reason)
        rng = np.random.default_rng([self.seed, 6, number])
        grid = PatchGrid.of(hu, noise, 1, rng)
        facts = {
            "series_sha256": volume.fingerprint(),
            "shape": list(volume.shape),
            "spacing_mm": [volume.geometry.spacing_mm, *volume.geometry.pixel_spacing_mm],
            "kernel": kernel_of(volume),
            "noise": noise.info,
        }
        parts = write_parts(grid.sample(grid.draw(self.patches, rng)), self.work / f"first-{number}")
        return _Series(source, noise, grid.covariances[0], parts, facts)


@dataclass(frozen=True, eq=False)
class _SecondSample:
    """Run the first pass over a series and draw patches of it and of its result."""

    work: Path
    filter: PatchFilter
    covariances: NDArray[np.float64]
    patches: int
    seed: int
    reading: dict[str, Any]

    @single_threaded_blas
    def __call__(self, numbered: tuple[int, _Series]) -> tuple[FilePart, ...]:
        number, one = numbered
        with local_copy(one.source) as folder:
            volume = read_series(folder, **self.reading)
        hu = MeasuredPart.of(volume).hu
        grid = PatchGrid.of_one_class(hu, one.noise, one.noise_class, self.covariances)
        pilot = filter_volume(grid, self.filter, _STRIDE, Threads(1))
        rng = np.random.default_rng([self.seed, 7, number])
        sample = grid.sample(grid.draw(self.patches, rng), grid.with_hu(pilot))
        return write_parts(sample, self.work / f"second-{number}")


def _check_depths(series: Sequence[_Series]) -> None:
    """Refuse a series of fewer slices than a patch has, among others whose patches are deeper."""
    slices = [one.facts["shape"][0] for one in series]
    deepest = min(PATCH[0], max(slices))
    for number, count in enumerate(slices, 1):
        if count < deepest:
            raise InputError(
                "CTM_INPUT_TOO_SMALL",
                path=f"Series {number}",
                given=f"it has {count} slices",
                expected=f"{deepest} or more, as others have",
            )


def _with_noise_classes(series: list[_Series], seed: int) -> list[_Series]:
    """Tell noise_classes of noise: series whose correlation is alike share one."""
    flat = np.array([one.covariance.ravel() for one in series], np.float32)
    count = min(_NOISE_CLASSES, len(series))
    noise_class = nearest(flat, kmeans(flat, count, np.random.default_rng([seed, 8])))
    _, noise_class = np.unique(noise_class, return_inverse=True)
    return [
        replace(one, noise_class=int(k), parts=tuple(replace(part, noise_class=int(k)) for part in one.parts))
        for one, k in zip(series, noise_class, strict=True)
    ]


def _means(series: Sequence[_Series]) -> NDArray[np.float64]:
    """Return the mean covariance of each noise_class, of shape (noise_classes, d, d)."""
    noise_classes = 1 + max(one.noise_class for one in series)
    return np.array(
        [np.mean([one.covariance for one in series if one.noise_class == k], axis=0) for k in range(noise_classes)]
    )
