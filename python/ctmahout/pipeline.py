"""The main job and its steps: prepare, dssvd, reconstruct; with refine and a second dssvd in between, if need be.

`denoise` is the steps in one process, through the same directories: so both give the same bytes.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from .config import Config
from .deliver import Origin, deliver
from .engine import Door, Request, connect
from .engine.executors import Executors
from .errors import ConfigError, InputError
from .exchange import Factors, Manifest, read_factors, read_manifest, write_matrix
from .methods import ModelRun, method_named, method_of
from .outcome import Denoised, DenoisedSeries, Progress, Timer, is_run
from .patches import Model, Threads, Workers
from .rank import Strength
from .reading import read_volume
from .staging import refuse_overlap, staged
from .volume import Volume

__all__ = [
    "Denoised",
    "DenoisedSeries",
    "Progress",
    "denoise",
    "dssvd",
    "factorise",
    "prepare",
    "reconstruct",
    "refine",
]


def denoise(
    source: str | Path,
    output: str | Path,
    config: Config | None = None,
    *,
    session: object = None,
    progress: Progress | None = None,
    **options: Any,
) -> Denoised:
    """Denoise a CT series: DICOM in, derived DICOM series and report out.

    Parameters
    ----------
    source : path
        A folder with one CT series (or several and ``series=``). It is only read.
    output : path
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
    config = _options(config, options)
    source, output = Path(source), Path(output)
    method = method_named(config.method)
    strengths = _strengths(config, method.strengths)
    refuse_overlap(output, source)
    timer = Timer(progress)
    with staged(output, overwrite=config.overwrite, ours=is_run) as folder:
        work = Path(config.work) if config.work else folder / "work"
        matrix, factors = work / "matrix", work / "factors"
        with timer.phase("read"):
            volume = read_volume(source, config, progress)
        if config.model and (result := _with_model(volume, folder, config, strengths, timer, session)):
            return result.moved(output)
        with ExitStack() as stack:
            with timer.phase("start"):
                door = stack.enter_context(door_for(config, session))  # before the work: what it lacks is told at once
            workers = stack.enter_context(_workers(config, session, door))
            with timer.phase("prepare"):
                made = method.prepare(volume, matrix, config, progress)
            with timer.phase("dssvd"):
                factorise_with(door, matrix, factors, config)
            if method.refines(made):
                matrix, factors = work / "refined", work / "refined-factors"
                with timer.phase("refine"):
                    method.refine(volume, work / "matrix", work / "factors", matrix, config, workers, progress)
                with timer.phase("dssvd"):
                    factorise_with(door, matrix, factors, config)
            if not workers.elsewhere:
                stack.close()  # Spark gives back its memory
            result = _reconstruct(volume, matrix, factors, folder, config, strengths, workers, timer)
        if not config.work:
            shutil.rmtree(work, ignore_errors=True)
    return result.moved(output)


def prepare(
    source: str | Path,
    matrix: str | Path,
    config: Config | None = None,
    *,
    progress: Progress | None = None,
    **options: Any,
) -> dict[str, Any]:
    """Read a series and write its matrix: step one. Returns the matrix's manifest; parameters as for `denoise`."""
    config = _options(config, options)
    refuse_overlap(Path(matrix), Path(source))
    volume = read_volume(source, config, progress)
    return method_named(config.method).prepare(volume, Path(matrix), config, progress).to_dict()


def refine(
    source: str | Path,
    matrix: str | Path,
    factors: str | Path,
    refined: str | Path,
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
    """
    config = _options(config, options)
    for given in (source, matrix, factors):
        refuse_overlap(Path(refined), Path(given))
    volume = read_volume(source, config, progress)
    method = method_of(_matrix_of(volume, Path(matrix)))
    with _workers(config, session) as workers:
        made = method.refine(volume, Path(matrix), Path(factors), Path(refined), config, workers, progress)
    return made.to_dict()


def factorise(
    matrix: str | Path,
    factors: str | Path,
    config: Config | None = None,
    *,
    session: object = None,
    **options: Any,
) -> dict[str, Any]:
    """Decompose a matrix directory with Mahout's dssvd on Spark: step two. Returns the factors' manifest.

    Raises
    ------
    ExchangeError, EngineError, OutputError
    """
    config = _options(config, options)
    refuse_overlap(Path(factors), Path(matrix))
    # Refused here as well as by the door: before a JVM starts.
    read_manifest(Path(matrix), "matrix")
    with door_for(config, session) as door:
        return factorise_with(door, Path(matrix), Path(factors), config)


def reconstruct(
    source: str | Path,
    matrix: str | Path,
    factors: str | Path,
    output: str | Path,
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
    """
    config = _options(config, options)
    source, output = Path(source), Path(output)
    strengths = _strengths(config, method_of(read_manifest(Path(matrix), "matrix")).strengths)
    refuse_overlap(output, source)
    timer = Timer(progress)
    with staged(output, overwrite=config.overwrite, ours=is_run) as folder:
        with timer.phase("read"):
            volume = read_volume(source, config, progress)
        with _workers(config, session) as workers:
            result = _reconstruct(volume, Path(matrix), Path(factors), folder, config, strengths, workers, timer)
    return result.moved(output)


def dssvd(
    matrix: Any,
    k: int | None = None,
    p: int = 15,
    q: int = 1,
    *,
    algorithm: str = "dssvd",
    seed: int = 0,
    u: bool = False,
    engine: str = "py4j",
    session: object = None,
    **options: Any,
) -> Factors:
    """Decompose a tall matrix with Mahout's distributed stochastic SVD: A is about U diag(s) V'.

    Factors of "dspca" are of A - 1 mu': then A is about 1 mu' + U diag(s) V', with mu = A.mean(axis=0).

    Parameters
    ----------
    matrix : ndarray of shape (m, n), m >= n, float32 or float64; or path of a matrix directory
        Finite values. Float64 arrays stay float64.
    k : int, optional
        Components to compute; all n if not given.
    p : int
        Oversampling: the random projection has k + p columns (at most n).
    q : int
        Power iterations.
    algorithm : str
        "dssvd"; "exact": from A'A in one pass over A, for a few hundred columns at most, p and q count for nothing;
        "dspca": the factors of A - 1 mu', where mu holds the means of the columns.
    seed : int
        Seed of the random projection.
    u : bool
        Give U as well, an array as tall as A.
    engine : str
        "py4j", "jpype", "submit" or "numpy".
    session : SparkSession, optional
        A session of yours for "py4j".
    **options
        What `connect` takes besides: master, jar, driver_memory ...

    Returns
    -------
    Factors
        s of shape (r,), v of shape (n, r), u of shape (m, r) or None; r <= k is the rank found. In each column of V the
        entry of largest magnitude is positive.

    Raises
    ------
    ConfigError
        CTM_RANK_RANGE: k above n. CTM_REQUEST_INVALID: no such algorithm.
    ExchangeError, EngineError

    Notes
    -----
    Halko, Martinsson and Tropp 2011, Finding structure with randomness, algorithms 4.4 and 5.1, as Apache Mahout 14.1
    implements them. With k = n the result is exact.
    """
    with tempfile.TemporaryDirectory(prefix="ctmahout-") as folder:
        if isinstance(matrix, (str, Path)):
            source = Path(matrix).absolute()
        else:
            a = np.asarray(matrix)
            a = a if a.dtype == np.float64 else np.asarray(a, dtype=np.float32)
            source = Path(folder) / "matrix"
            write_matrix(source, [a], dtype=a.dtype.name, units="1", centring="none", layout={})
        target = Path(folder) / "factors"
        request = Request(
            input=str(source),
            output=str(target),
            algorithm=algorithm,
            k=k,
            p=p,
            q=q,
            seed=seed,
            want=("s", "v", "u") if u else ("s", "v"),
        )
        with connect(engine, session=session, **options) as door:
            door.run(request)
        return read_factors(target)


# ------------------------------------------------------------------------------------------------- the steps' bodies


def door_for(config: Config, session: object) -> Door:
    """Open the door that the options ask for."""
    return connect(
        config.engine,
        session=session,
        master=config.master,
        jar=config.jar,
        driver_memory=config.driver_memory,
        conf=config.spark_conf,
        deploy_mode=config.deploy_mode,
        image=config.image,
    )


@contextmanager
def _workers(config: Config, session: object, door: Door | None = None) -> Iterator[Workers]:
    """Give what goes over a volume: threads here or, if asked for, the executors behind a door."""
    if not config.spread:
        yield Threads.of(config.workers)
        return
    if config.engine != "py4j":
        raise ConfigError(
            "CTM_CONFIG_VALUE", source="options", key="engine", value=config.engine, expected="py4j with --spread"
        )
    with nullcontext(door) if door else door_for(config, session) as opened:
        yield Executors(getattr(opened, "session", None))


def factorise_with(door: Door, matrix: Path, factors: Path, config: Config) -> dict[str, Any]:
    return door.run(
        Request(
            input=str(matrix.absolute()),
            output=str(factors.absolute()),
            algorithm=config.algorithm,
            k=config.k,
            p=config.p,
            q=config.q,
            seed=config.seed,
            partitions=config.partitions,
            overwrite=config.overwrite,
        )
    )


def _matrix_of(volume: Volume, matrix: Path) -> Manifest:
    """Return the manifest of a matrix that was prepared from this volume."""
    made = read_manifest(matrix, "matrix")
    if made.layout.get("series_sha256") != volume.fingerprint():
        raise InputError("CTM_SERIES_MISMATCH", path="What was given")
    return made


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
    method = method_of(made)
    return deliver(
        volume,
        method.rebuild(volume, matrix, factors, strengths, workers, timer.progress),
        Origin.of_factors(made, found),
        partial(method.shown, matrix, factors),
        output,
        config,
        timer,
    )


def _with_model(
    volume: Volume, output: Path, config: Config, strengths: Sequence[Strength], timer: Timer, session: object
) -> Denoised | None:
    """Denoise with a model, or return None if it does not know the series and another is to be learnt."""
    with timer.phase("read"):
        manifest = read_manifest(Path(str(config.model)), "model")
        model = Model.read(Path(str(config.model)), manifest)
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
            Origin.of_model(manifest, model, volume, fitted.fit),
            fitted.shown,
            output,
            config,
            timer,
        )


# ------------------------------------------------------------------------------------------------------ small pieces


def _options(config: Config | None, options: Mapping[str, Any]) -> Config:
    if config is not None and options:
        raise TypeError("give either config or single options, not both")
    return config if config is not None else Config.of(options)


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
