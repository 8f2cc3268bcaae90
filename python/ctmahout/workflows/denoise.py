"""The main job and its steps: prepare, dssvd, reconstruct; with refine and a second dssvd in between, if need be.

Step dssvd itself is in `decomposition`.

`denoise` is the steps in one process, through the same directories: so both give the same bytes.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from functools import partial
from pathlib import Path
from typing import Any

from ..denoising.effort import PATCH
from ..denoising.patches import Model
from ..denoising.registry import ModelRun, get_method, method_that_wrote
from ..denoising.strength import Strength
from ..engines import Engine
from ..engines.workers import Threads, Workers
from ..errors import ConfigError, ExchangeError, InputError
from ..exchange import Manifest, is_exchange, is_manifest, is_no_row, read_factors, read_manifest
from ..files.read_volume import read_volume
from ..options import Config
from ..storage import Location, Uri, local_copy, parse_location, refuse_overlap, upload_on_success
from ..storage.atomic import atomic_dir, refuse_busy
from ..volume import Volume
from .dssvd import factorise_with, open_engine, options_of
from .outcome import Denoised, DenoisedSeries, Progress, Timer, is_run
from .outputs import Provenance, check_source, check_writing, deliver

__all__ = [
    "Denoised",
    "DenoisedSeries",
    "Progress",
    "denoise",
    "prepare",
    "reconstruct",
    "refine",
]


def denoise(
    source: str | Path | Uri,
    output: str | Path | Uri,
    config: Config | None = None,
    *,
    session: object = None,
    progress: Progress | None = None,
    **options: Any,
) -> Denoised:
    """Denoise a CT series: DICOM in, derived DICOM series and report out.

    Parameters
    ----------
    source : path or URI
        A folder with one CT series (or several and ``series=``). It is only read.
    output : path or URI
        A new folder; it gets one folder of DICOM files for each strength, ``report.html`` and ``run.json``.
    config : Config, optional
    session : SparkSession, optional
        A session of yours to work in; it is neither reconfigured nor stopped.
    progress : callable, optional
        See `Progress`.
    **options
        Fields of `Config`, instead of `config`.

    Raises
    ------
    CtmahoutError
        With the code of what is wrong; then nothing was written.
    """
    config = options_of(config, options, "denoise")
    source, output = parse_location(source), parse_location(output)
    method = get_method(config.method)
    if config.model and config.method != "patches":
        raise ConfigError(
            "CTM_CONFIG_VALUE",
            source="options",
            key="method",
            value=repr(config.method),
            expected="patches, which a model is for",
        )
    strengths = _strengths(config, method.strengths)
    check_writing(config)
    refuse_overlap(output, source)
    if isinstance(output, Path):
        refuse_busy(output)
    timer = Timer(progress)
    with (
        upload_on_success(output, overwrite=config.overwrite, is_replaceable=is_run) as target,
        atomic_dir(target, overwrite=config.overwrite, is_replaceable=is_run) as folder,
        local_copy(source) as series,
    ):
        work = parse_location(config.work) if config.work else folder / "work"
        matrix, factors = work / "matrix", work / "factors"
        with timer.phase("read"):
            volume = read_volume(series, config, progress)
            check_source(volume, folder, config)
        if config.model and (result := _with_model(volume, folder, config, strengths, timer, session)):
            return result.moved(output)
        with ExitStack() as stack:
            with timer.phase("start"):
                engine = stack.enter_context(
                    open_engine(config, session)
                )  # before the work: what it lacks is told at once
            workers = stack.enter_context(_workers(config, session, engine))
            with timer.phase("prepare"), _stored_matrix(matrix, config) as made_here:
                made = method.prepare(volume, made_here, config, progress)
            with timer.phase("dssvd"):
                factorise_with(engine, matrix, factors, config)
            if method.refines(made):
                first, matrix, factors = (matrix, factors), work / "refined", work / "refined-factors"
                with timer.phase("refine"), _read(*first) as found, _stored_matrix(matrix, config) as made_here:
                    method.refine(volume, *found, made_here, config, workers, progress)
                with timer.phase("dssvd"):
                    factorise_with(engine, matrix, factors, config)
            if not workers.elsewhere:
                stack.close()  # Spark gives back its memory
            with _read(matrix, factors) as found:
                result = _reconstruct(volume, *found, folder, config, strengths, workers, timer)
        if not config.work:
            shutil.rmtree(folder / "work", ignore_errors=True)
    return result.moved(output)


def prepare(
    source: str | Path | Uri,
    matrix: str | Path | Uri,
    config: Config | None = None,
    *,
    progress: Progress | None = None,
    **options: Any,
) -> dict[str, Any]:
    """Read a series and write its matrix: step one. Returns the matrix's manifest; parameters as for `denoise`."""
    config = options_of(config, options, "prepare")
    source, matrix = parse_location(source), parse_location(matrix)
    refuse_overlap(matrix, source)
    with _stored_matrix(matrix, config) as made_here, local_copy(source) as series:
        volume = read_volume(series, config, progress)
        return get_method(config.method).prepare(volume, made_here, config, progress).to_dict()


def refine(
    source: str | Path | Uri,
    matrix: str | Path | Uri,
    factors: str | Path | Uri,
    refined: str | Path | Uri,
    config: Config | None = None,
    *,
    session: object = None,
    progress: Progress | None = None,
    **options: Any,
) -> dict[str, Any]:
    """Write the matrix of the second pass, from the series, the matrix of the first and its factors.

    Then `factorise` and `reconstruct` go on with that one. Method, effort and seed are the matrix's own. Returns the
    manifest; parameters as for `reconstruct`.

    Raises
    ------
    InputError
        CTM_NOTHING_TO_REFINE: the matrix is that of the last pass. CTM_SERIES_MISMATCH.
    ExchangeError
        CTM_FACTORS_MISMATCH: the factors are those of another matrix.
    """
    config = options_of(config, options, "refine")
    source, matrix, factors, refined = (parse_location(given) for given in (source, matrix, factors, refined))
    for given in (source, matrix, factors):
        refuse_overlap(refined, given)
    with _stored_matrix(refined, config) as made_here, local_copy(source) as series, _read(matrix, factors) as found:
        volume = read_volume(series, config, progress)
        made = _matrix_of(volume, found[0])
        _check_factors(made, read_manifest(found[1], "factors"), *found)
        method = method_that_wrote(made)
        with _workers(config, session) as workers:
            return method.refine(volume, *found, made_here, config, workers, progress).to_dict()


def reconstruct(
    source: str | Path | Uri,
    matrix: str | Path | Uri,
    factors: str | Path | Uri,
    output: str | Path | Uri,
    config: Config | None = None,
    *,
    session: object = None,
    progress: Progress | None = None,
    **options: Any,
) -> Denoised:
    """Write the denoised series from the series, its matrix directory and the factors: the last step.

    Parameters are those of `denoise`; method, effort, algorithm, k, p, q and the seed are the matrix's and the
    factors' own.

    Raises
    ------
    InputError
        CTM_SERIES_MISMATCH: the series is not the one the matrix was prepared from.
    ExchangeError
        CTM_FACTORS_MISMATCH: the factors are those of another matrix.
    """
    config = options_of(config, options, "reconstruct")
    source, matrix, factors, output = (parse_location(given) for given in (source, matrix, factors, output))
    with local_copy(matrix, is_manifest) as folder:
        made = read_manifest(folder, "matrix")
        _check_layout(made, matrix)
        strengths = _strengths(config, method_that_wrote(made).strengths)
    check_writing(config)
    for given in (source, matrix, factors):
        refuse_overlap(output, given)
    timer = Timer(progress)
    with (
        upload_on_success(output, overwrite=config.overwrite, is_replaceable=is_run) as target,
        atomic_dir(target, overwrite=config.overwrite, is_replaceable=is_run) as folder,
        local_copy(source) as series,
        _read(matrix, factors) as found,
    ):
        with timer.phase("read"):
            volume = read_volume(series, config, progress)
            check_source(volume, folder, config)
        with _workers(config, session) as workers:
            result = _reconstruct(volume, *found, folder, config, strengths, workers, timer)
    return result.moved(output)


# ------------------------------------------------------------------------------------------------- the steps' bodies


def _stored_matrix(matrix: Location, config: Config) -> AbstractContextManager[Path]:
    return upload_on_success(matrix, overwrite=config.overwrite, is_replaceable=is_exchange)


@contextmanager
def _read(matrix: Location, factors: Location) -> Iterator[tuple[Path, Path]]:
    """Give a matrix, without its rows if it is in a store, and its factors."""
    with local_copy(matrix, is_no_row) as matrix_here, local_copy(factors) as factors_here:
        yield matrix_here, factors_here


@contextmanager
def _workers(config: Config, session: object, engine: Engine | None = None) -> Iterator[Workers]:
    """Yield the workers: local threads, or Spark executors with --spread."""
    if not config.spread:
        yield Threads.of(config.workers)
        return
    if config.engine != "py4j":
        raise ConfigError(
            "CTM_CONFIG_VALUE", source="options", key="engine", value=config.engine, expected="py4j with --spread"
        )
    with nullcontext(engine) if engine else open_engine(config, session) as opened:
        yield opened.workers()


def _matrix_of(volume: Volume, matrix: Path) -> Manifest:
    """Return the manifest of a matrix that was prepared from this volume."""
    made = read_manifest(matrix, "matrix")
    _check_layout(made, matrix)
    if made.layout.get("series_sha256") != volume.fingerprint():
        raise InputError("CTM_SERIES_MISMATCH", path="What was given")
    return made


# What a method finds in the layout of its matrix: of `patches` some of it only if there was noise.
_LAYOUTS = {
    "slices": ("noise_sd_hu",),
    "patches": ("pass", "passes", "effort", "seed"),
    "patches with noise": ("noise", "levels", "groups", "arrays"),
}


def _check_layout(made: Manifest, path: Location) -> None:
    """Refuse a matrix of somebody's own that lacks what its method reads: see docs/own-step.md."""
    layout = made.layout
    kind = "patches" if layout.get("method") == "patches" else "slices"
    wanted = [*_LAYOUTS[kind], *(_LAYOUTS["patches with noise"] if kind == "patches" and layout.get("pass") else ())]
    lacking = [name for name in wanted if name not in layout]
    if lacking:
        problem = f"layout has no {', '.join(lacking)}, which a matrix of method {kind} has"
        raise ExchangeError("CTM_EXCHANGE_MANIFEST", path=path, problem=problem)


def _check_factors(made: Manifest, found: Manifest, matrix: Path, factors: Path) -> None:
    """Refuse the factors of another matrix: they would make a picture, and nobody would see that it is a wrong one."""
    if found.input_sha256 != made.sha256:
        raise ExchangeError("CTM_FACTORS_MISMATCH", path=factors, matrix=matrix)
    there = {group.group for group in found.groups}
    for group in made.groups:
        if group.group not in there:
            groups = ", ".join(map(str, sorted(there)))
            raise ExchangeError("CTM_EXCHANGE_GROUP_UNKNOWN", path=factors, group=group.group, groups=groups)


def _reconstruct(
    volume: Volume,
    matrix: Path,
    factors: Path,
    output: Path,
    config: Config,
    strengths: Sequence[Strength],
    workers: Workers,
    timer: Timer,
) -> Denoised:
    made, found = _matrix_of(volume, matrix), read_factors(factors)
    _check_factors(made, found.manifest, matrix, factors)
    method = method_that_wrote(made)
    return deliver(
        volume,
        method.rebuild(volume, matrix, factors, strengths, workers, timer.progress),
        Provenance.of_factors(made, found),
        partial(method.shown, matrix, factors),
        output,
        config,
        timer,
    )


def _with_model(
    volume: Volume, output: Path, config: Config, strengths: Sequence[Strength], timer: Timer, session: object
) -> Denoised | None:
    """Denoise with a model, or return None if it does not know the series and another is to be learnt."""
    with timer.phase("read"), local_copy(parse_location(str(config.model))) as folder:
        manifest = read_manifest(folder, "model")
        model = Model.read(folder, manifest)
    # Patches of a series of one or two slices are as thin: they have other voxels than those of the model.
    slices = volume.shape[0]
    depth, own = model.passes[0].telling.d // (PATCH[1] * PATCH[2]), min(PATCH[0], slices)
    if depth != own and slices > 1:
        if config.refit:
            return None
        raise InputError("CTM_MODEL_PATCH", path=config.model, given=depth, expected=own)
    with timer.phase("prepare"):
        fitted = ModelRun.of(model, volume, config)
    if fitted.fit is not None and not fitted.fit.is_good:
        if config.refit:
            return None
        raise InputError(
            "CTM_MODEL_UNFIT", path=config.model, given=f"{fitted.fit.model:.1f}", expected=f"{fitted.fit.own:.1f}"
        )
    with _workers(config, session) as workers:
        return deliver(
            volume,
            fitted.rebuild(strengths, workers, timer.progress),
            Provenance.of_model(manifest, model, volume, fitted.fit),
            fitted.shown,
            output,
            config,
            timer,
        )


# ------------------------------------------------------------------------------------------------------ small pieces


def _strengths(config: Config, known: Sequence[str]) -> list[Strength]:
    """Parse all strengths before any work; two of one label would share a folder."""
    strengths = [Strength.parse(text) for text in config.strength]
    for strength in strengths:
        if strength.kind not in known:
            raise ConfigError(
                "CTM_CONFIG_VALUE",
                source="options",
                key="strength",
                value=repr(strength.text),
                expected="one of this method's strengths, " + ", ".join(known),
            )
    if len({strength.label for strength in strengths}) != len(strengths):
        raise ConfigError(
            "CTM_CONFIG_VALUE",
            source="options",
            key="strength",
            value=", ".join(config.strength),
            expected="strengths that differ",
        )
    return strengths
