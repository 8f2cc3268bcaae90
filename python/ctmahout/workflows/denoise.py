"""The main job: `denoise` a series, or with `denoise_volume` a volume in memory.

A run of a method (`ctmahout.denoising.method.Run`) gives matrices, an engine factorises them, until there are results.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any, overload

from numpy.typing import NDArray

from ..denoising.method import Result, Run
from ..denoising.registry import start, strengths_of
from ..denoising.strength import Strength
from ..dicom import check_archive, send, series_in
from ..engines import Engine
from ..engines.executors import Executors
from ..engines.workers import Threads, Workers
from ..errors import InputError
from ..exchange import Factors, is_exchange, read_all_factors
from ..files import read_volume
from ..files.arrays import is_array
from ..options import Config, option_error
from ..storage import Location, Uri, is_dicomweb, local_copy, parse_location, refuse_overlap, upload_on_success
from ..storage.atomic import atomic_dir, refuse_busy
from ..volume import Volume
from .dssvd import factorise_with, open_engine, options_of
from .models import ModelChoice, ModelList, choose_model, given_model, list_models
from .outcome import Denoised, Progress, Timer, is_run
from .outputs import Finished, Provenance, check_source, check_writing, write_outputs

__all__ = ["denoise", "denoise_volume", "open_workers", "parse_strengths", "upload_matrix"]


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
        A new folder; it gets one folder of DICOM files for each strength, ``report.html`` and ``run.json``. Or a
        DICOMweb archive, ``dicomweb+https://HOST/ROOT``: it gets the series alone.
    config : Config, optional
    session : SparkSession, optional
        A session of yours to work in, classic or of Spark Connect; it is neither reconfigured nor stopped.
    progress : callable, optional
        See `Progress`.
    **options
        Fields of `Config`, instead of `config`. ``models`` is a store from which the best fitting model is taken: see
        `list_models`.

    Returns
    -------
    Denoised

    Raises
    ------
    CtmahoutError
        With the code of what is wrong; then nothing was written.

    Examples
    --------
    >>> done = denoise("phantom/noisy", "denoised", effort="fast", engine="numpy", strength=("auto", "remove:50%"))
    >>> [series.path.name for series in done.series], done.report.name
    (['auto', 'remove-50'], 'report.html')
    """
    config = options_of(config, options, "denoise")
    source, output = parse_location(source), parse_location(output)
    strengths = _check_method(config)
    check_writing(config)
    if isinstance(output, Uri) and is_dicomweb(output):
        return _denoise_into(output, source, config, session, progress)
    refuse_overlap(output, source)
    if config.models:
        refuse_overlap(output, parse_location(config.models))
    if isinstance(output, Path):
        refuse_busy(output)
    models = _models(config)
    timer = Timer(progress)
    with (
        upload_on_success(output, overwrite=config.overwrite, is_replaceable=is_run) as target,
        atomic_dir(target, overwrite=config.overwrite, is_replaceable=is_run) as folder,
        local_copy(source) as series,
        _work_folder(config, beside=folder) as work,
    ):
        with timer.phase("read"):
            volume = read_volume(series, config, progress)
            check_source(volume, folder, config)
        with _denoised(volume, config, strengths, models, work, session, timer) as finished:
            written = write_outputs(volume, finished, folder, config, timer)
    return written.moved(output)


def _denoise_into(
    archive: Uri, source: Location, config: Config, session: object, progress: Progress | None
) -> Denoised:
    """Denoise into a temporary folder, and store its series in an archive."""
    if is_array(str(source)):
        raise InputError("CTM_INPUT_NO_CT", path=source, found="an array, of which an archive takes none")
    check_archive(archive)
    with tempfile.TemporaryDirectory(prefix="ctmahout-") as folder:
        result = denoise(source, Path(folder) / "out", config, session=session, progress=progress)
        send(result.path, archive, progress=progress)
        series = tuple(replace(one, path=series_in(archive, Path(str(one.path)))) for one in result.series)
    return Denoised(archive, series, None, result.run)


@overload
def denoise_volume(
    volume: Volume | NDArray[Any],
    strength: str = ...,
    *,
    spacing_mm: tuple[float, float, float] | None = ...,
    session: object = ...,
    progress: Progress | None = ...,
    **options: Any,
) -> Result: ...


@overload
def denoise_volume(
    volume: Volume | NDArray[Any],
    strength: Sequence[str],
    *,
    spacing_mm: tuple[float, float, float] | None = ...,
    session: object = ...,
    progress: Progress | None = ...,
    **options: Any,
) -> list[Result]: ...


def denoise_volume(
    volume: Volume | NDArray[Any],
    strength: str | Sequence[str] = "auto",
    *,
    spacing_mm: tuple[float, float, float] | None = None,
    session: object = None,
    progress: Progress | None = None,
    **options: Any,
) -> Result | list[Result]:
    """Denoise a volume in memory.

    Parameters
    ----------
    volume : Volume, or ndarray of shape (z, y, x), HU
        It is not changed. An array is converted to float32.
    strength : str or sequence of str
        As of `denoise`.
    spacing_mm : tuple of float, mm
        Of an array: distances between slices, rows and columns. Slices are taken to be as thick as they are apart.
    session : SparkSession, optional
        A session of yours to work in, classic or of Spark Connect; it is neither reconfigured nor stopped.
    progress : callable, optional
        See `Progress`.
    **options
        Fields of `Config`, of those that `denoise` takes: method, effort, engine, model, models, seed, workers ...

    Returns
    -------
    Result or list of Result
        For one strength, or for each of a sequence. ``result.volume.hu`` are the values, float32, HU.

    Raises
    ------
    ConfigError
        CTM_CONFIG_VALUE, CTM_CONFIG_UNKNOWN_KEY.
    InputError
        CTM_INPUT_TOO_SMALL, CTM_MODEL_UNFIT, CTM_MODEL_PATCH.
    EngineError
    TypeError
        The array has not three dimensions, or no spacing is given.

    Examples
    --------
    >>> import numpy as np
    >>> rng = np.random.default_rng(0)
    >>> scan = rng.normal(40, 20, (4, 64, 64))
    >>> result = denoise_volume(scan, spacing_mm=(1.0, 0.7, 0.7), engine="numpy", effort="fast")
    >>> bool(result.volume.hu.std() < scan.std() / 2)
    True
    """
    texts = (strength,) if isinstance(strength, str) else tuple(strength)
    config = replace(options_of(None, options, "denoise_volume"), strength=texts)
    strengths = _check_method(config)
    volume = _as_volume(volume, spacing_mm)
    timer = Timer(progress)
    with (
        _work_folder(config) as work,
        _denoised(volume, config, strengths, _models(config), work, session, timer) as finished,
    ):
        results = list(finished.results)
    return results[0] if isinstance(strength, str) else results


def _as_volume(volume: Volume | NDArray[Any], spacing_mm: tuple[float, float, float] | None) -> Volume:
    if isinstance(volume, Volume):
        if spacing_mm is not None:
            raise TypeError("a Volume has its spacing: spacing_mm is for arrays")
        return volume
    if spacing_mm is None:
        raise TypeError("an array needs spacing_mm=(slices, rows, columns), mm")
    return Volume.of_array(volume, spacing_mm)


# --------------------------------------------------------------------------------------------------- the passes


def run_passes(
    volume: Volume, engine: Engine, work: Location, config: Config, workers: Workers, timer: Timer
) -> tuple[Run, list[Factors]]:
    """Run a method up to its last decomposition: returns the last run and the factors of its matrices.

    Parameters
    ----------
    volume : Volume
    engine : Engine
    work : Path or Uri
        Where matrices and factors are written, and stay.
    config : Config
    workers : Workers
        Go over the volume between two decompositions.
    timer : Timer
    """
    matrix, factors = work / "matrix", work / "factors"
    with timer.phase("prepare"):
        run = start(volume, config, timer.progress)
        _save(run, matrix, config)
    while True:
        with timer.phase("dssvd"):
            factorise_with(engine, matrix, factors, config)
            with local_copy(factors) as folder:
                svds = read_all_factors(folder)
        if not run.passes_left:
            return run, svds
        matrix, factors = work / "refined", work / "refined-factors"
        with timer.phase("refine"):
            run = run.next(svds, workers, timer.progress)
            _save(run, matrix, config)


def _save(run: Run, matrix: Location, config: Config) -> None:
    with upload_matrix(matrix, config) as target:
        run.save(target, overwrite=config.overwrite)


# ------------------------------------------------------------------------------------------------- method or model


@contextmanager
def _denoised(
    volume: Volume,
    config: Config,
    strengths: Sequence[Strength],
    models: ModelList | None,
    work: Location,
    session: object,
    timer: Timer,
) -> Iterator[Finished]:
    """Yield the results of a model, if one is asked for and fits, or of a method."""
    with ExitStack() as stack:
        chosen = _choose(volume, config, models, timer)
        if chosen.manifest and chosen.run:
            run = chosen.run
            workers = stack.enter_context(open_workers(config, session))
            results = run.results(strengths, workers, timer.progress)
            provenance = Provenance.of_model(chosen.manifest, run).with_choice(chosen.about)
            yield Finished(results, provenance, lambda facts: run.report_data(), run.noise)
            return
        with timer.phase("start"):
            engine = stack.enter_context(open_engine(config, session))  # before any work: it may be refused
        workers = stack.enter_context(open_workers(config, session, engine))
        last, factors = run_passes(volume, engine, work, config, workers, timer)
        if not workers.is_remote:
            stack.close()  # Spark frees its memory
        yield Finished(
            last.results(factors, strengths, workers, timer.progress),
            Provenance.of_factors(last, factors[0]).with_choice(chosen.about),
            lambda facts: last.report_data(factors, facts),
            last.noise,
        )


def _choose(volume: Volume, config: Config, models: ModelList | None, timer: Timer) -> ModelChoice:
    """Return the model of the options, or the one of the store that fits best; by default none."""
    if not config.model and models is None:
        return ModelChoice()
    with timer.phase("prepare"):
        if models is None:
            return given_model(volume, config)
        return choose_model(volume, models, parse_location(str(config.models)), config)


def _models(config: Config) -> ModelList | None:
    """List the store of the options, before any work."""
    return list_models(config.models) if config.models else None


# ---------------------------------------------------------------------------------------------- options and places


def _check_method(config: Config) -> list[Strength]:
    """Return the strengths of the options, which method and model must know."""
    if (config.model or config.models) and config.method != "patches":
        raise option_error("method", config.method, "patches, which a model is for")
    if config.model and config.models:
        raise option_error("models", config.models, "none beside a model")
    return parse_strengths(config, strengths_of(config.method))


def parse_strengths(config: Config, known: Sequence[str]) -> list[Strength]:
    """Parse the strengths of the options, before any work.

    Raises
    ------
    ConfigError
        CTM_CONFIG_VALUE: one is of no known form, is none of the method's kinds (`known`), or two share a label.
    """
    strengths = [Strength.parse(text) for text in config.strength]
    for strength in strengths:
        if strength.kind not in known:
            raise option_error("strength", strength.text, "one of this method's strengths, " + ", ".join(known))
    if len({strength.label for strength in strengths}) != len(strengths):
        raise option_error("strength", ", ".join(config.strength), "strengths that differ")
    return strengths


def upload_matrix(matrix: Location, config: Config) -> AbstractContextManager[Path]:
    """Yield the local path of a matrix directory to write."""
    return upload_on_success(matrix, overwrite=config.overwrite, is_replaceable=is_exchange)


@contextmanager
def open_workers(config: Config, session: object, engine: Engine | None = None) -> Iterator[Workers]:
    """Yield the workers: local threads, or with ``spread`` Spark executors, of `engine` if one is open."""
    if not config.spread:
        yield Threads.of(config.workers)
        return
    if config.engine != "py4j":
        raise option_error("engine", config.engine, "py4j with --spread")
    with nullcontext(engine) if engine else open_engine(config, session) as opened:
        yield Executors(opened.session)


@contextmanager
def _work_folder(config: Config, beside: Path | None = None) -> Iterator[Location]:
    """Yield where matrices and factors are written: the folder of the options, or one that is removed afterwards."""
    if config.work:
        yield parse_location(config.work)
    elif beside is not None:
        yield beside / "work"
        shutil.rmtree(beside / "work", ignore_errors=True)
    else:
        with tempfile.TemporaryDirectory(prefix="ctmahout-") as folder:
            yield Path(folder)
