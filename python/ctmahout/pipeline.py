"""The main job and its steps: prepare, dssvd, reconstruct; with refine and a second dssvd in between, if need be.

`denoise` is the steps in one process, through the same directories: so both give the same bytes.
"""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np

from . import __version__
from .arrays import ArraySource, WrittenArray, write_array
from .config import Config
from .dicom import Derivation, Written, write_series
from .engine import Door, Request, connect
from .errors import ConfigError, InputError
from .exchange import Factors, Manifest, read_factors, read_manifest, write_matrix
from .methods import Rebuilt, method_named, method_of
from .outcome import RUN, Denoised, DenoisedSeries, Progress, Timer, is_run, run_manifest, timestamp
from .rank import Strength
from .reading import read_volume
from .report import report_numbers, write_report
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
    with staged(output, overwrite=config.overwrite, ours=is_run) as partial:
        work = Path(config.work) if config.work else partial / "work"
        matrix, factors = work / "matrix", work / "factors"
        with timer.phase("read"):
            volume = read_volume(source, config, progress)
        with _door(config, session) as door:  # opened before the work: what it lacks is told at once
            with timer.phase("prepare"):
                made = method.prepare(volume, matrix, config, progress)
            with timer.phase("dssvd"):
                _factorise(matrix, factors, config, door)
            if method.refines(made):
                matrix, factors = work / "refined", work / "refined-factors"
                with timer.phase("refine"):
                    method.refine(volume, work / "matrix", work / "factors", matrix, config, progress)
                with timer.phase("dssvd"):
                    _factorise(matrix, factors, config, door)
        result = _reconstruct(volume, matrix, factors, partial, config, strengths, timer)
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
    made = _matrix_of(volume, Path(matrix))
    return method_of(made).refine(volume, Path(matrix), Path(factors), Path(refined), config, progress).to_dict()


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
    with _door(config, session) as door:
        return _factorise(Path(matrix), Path(factors), config, door)


def reconstruct(
    source: str | Path,
    matrix: str | Path,
    factors: str | Path,
    output: str | Path,
    config: Config | None = None,
    *,
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
    with staged(output, overwrite=config.overwrite, ours=is_run) as partial:
        with timer.phase("read"):
            volume = read_volume(source, config, progress)
        result = _reconstruct(volume, Path(matrix), Path(factors), partial, config, strengths, timer)
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


def _door(config: Config, session: object) -> Door:
    return connect(
        config.engine,
        session=session,
        master=config.master,
        jar=config.jar,
        driver_memory=config.driver_memory,
    )


def _factorise(matrix: Path, factors: Path, config: Config, door: Door) -> dict[str, Any]:
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
    timer: Timer,
) -> Denoised:
    made = _matrix_of(volume, matrix)
    method = method_of(made)
    found = read_factors(factors)
    when = timestamp(config)
    after: dict[str, Volume] = {}
    series: list[DenoisedSeries] = []
    warnings = [*volume.warnings, *found.warnings]
    rebuilding = method.rebuild(volume, matrix, factors, strengths, config, timer.progress)
    for strength in strengths:
        with timer.phase("reconstruct"):
            rebuilt = next(rebuilding)
        folder = output / strength.label
        with timer.phase("write"):
            written = _write(rebuilt, folder, made, found, config, when, timer.progress)
        after[strength.text] = rebuilt.volume
        series.append(DenoisedSeries(strength.text, folder, rebuilt.kept, rebuilt.facts, written.clipped))
        warnings += [f"{strength.text}: {w}" for w in (*rebuilt.warnings, *written.warnings)]
    with timer.phase("report"):
        numbers = report_numbers(volume, after)
        run = run_manifest(
            config,
            volume,
            found,
            series,
            numbers=numbers,
            warnings=warnings,
            phases_s=timer.seconds(),
            when=when,
            sha256=made.layout["series_sha256"],
        )
        report = None
        if config.report:
            report = write_report(
                output / "report.html",
                before=volume,
                after=after,
                run=run,
                numbers=numbers,
                **method.shown(matrix, factors, {s.strength: s.facts for s in series}),
                warnings=warnings,
            )
    (output / RUN).write_text(json.dumps(run, indent=1, allow_nan=False) + "\n", encoding="utf-8")
    return Denoised(output, tuple(series), report, run)


def _write(
    rebuilt: Rebuilt,
    output: Path,
    made: Manifest,
    found: Factors,
    config: Config,
    when: datetime,
    progress: Progress | None,
) -> Written | WrittenArray:
    if isinstance(rebuilt.volume.source, ArraySource):
        return write_array(rebuilt.volume, output / rebuilt.volume.source.path.name)
    request = found.manifest.request
    writer = found.manifest.writer
    # Only what the numbers depend on: it goes into the identifiers.
    names = ("seed",) if found.algorithm == "exact" else ("p", "q", "seed")
    parameters = " ".join([f"k={request['k'] or found.columns}", *(f"{name}={request[name]}" for name in names)])
    maths = (
        f"Apache Mahout {writer['mahout']} {found.algorithm} on Apache Spark"
        if "mahout" in writer
        else f"numpy reference of {found.algorithm}"
    )
    how = " ".join([made.layout["method"], *([made.layout["effort"]] if "effort" in made.layout else [])])
    derivation = Derivation(
        description=f"Denoised by ctmahout {__version__}: method {how}, strength {rebuilt.strength.text} "
        f"({rebuilt.kept}); {maths}, {parameters}.",
        # Of the engines only the family counts: every door to Mahout gives the same answer.
        key=json.dumps(
            [
                __version__,
                how,
                rebuilt.strength.text,
                found.algorithm,
                parameters,
                "mahout" if "mahout" in writer else "numpy",
            ]
        ),
        series_suffix=config.series_suffix,
        image_type_value2=config.image_type,
        series_number_offset=config.series_number_offset,
        software_version=__version__,
        private=config.private,
        deidentified=config.deidentify,
    )
    return write_series(
        rebuilt.volume,
        output,
        derivation=derivation,
        compression=config.compression,
        timestamp=when,
        progress=progress,
        workers=config.workers,
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
