"""The main job and its three steps: prepare, dssvd, reconstruct.

`denoise` is the three steps in one process, through the same directories: so both give the same bytes.
"""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np

from . import __version__
from .arrays import ArraySource, WrittenArray, write_array
from .config import Config
from .dicom import Derivation, Written, write_series
from .engine import Request, connect
from .errors import ConfigError, InputError
from .exchange import Factors, read_factors, read_manifest, write_matrix
from .matrix import SlicesLayout
from .noise import matrix_noise_sd
from .outcome import RUN, Denoised, DenoisedSeries, Progress, Timer, is_run, run_manifest, timestamp
from .rank import Choice, Strength, choose_rank
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
    strengths = _strengths(config)
    refuse_overlap(output, source)
    timer = Timer(progress)
    with staged(output, overwrite=config.overwrite, ours=is_run) as partial:
        work = Path(config.work) if config.work else partial / "work"
        with timer.phase("read"):
            volume = read_volume(source, config, progress)
        with timer.phase("prepare"):
            _prepare(volume, work / "matrix", config, progress)
        with timer.phase("dssvd"):
            factorise(work / "matrix", work / "factors", config, session=session)
        result = _reconstruct(volume, work / "matrix", work / "factors", partial, config, strengths, timer)
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
    return _prepare(read_volume(source, config, progress), Path(matrix), config, progress)


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
    request = Request(
        input=str(Path(matrix).absolute()),
        output=str(Path(factors).absolute()),
        algorithm=config.algorithm,
        k=config.k,
        p=config.p,
        q=config.q,
        seed=config.seed,
        partitions=config.partitions,
        overwrite=config.overwrite,
    )
    # Refused here as well as by the door: before a JVM starts.
    read_manifest(Path(matrix), "matrix")
    with connect(
        config.engine,
        session=session,
        master=config.master,
        jar=config.jar,
        driver_memory=config.driver_memory,
    ) as door:
        return door.run(request)


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
    """Write the denoised series from the series, its matrix directory and the factors: step three.

    Parameters are those of `denoise`; algorithm, k, p, q and the seed are the factors' own.

    Raises
    ------
    InputError
        CTM_SERIES_MISMATCH: the series is not the one the matrix was prepared from.
    """
    config = _options(config, options)
    source, output = Path(source), Path(output)
    strengths = _strengths(config)
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


def _prepare(volume: Volume, matrix: Path, config: Config, progress: Progress | None) -> dict[str, Any]:
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
    ).to_dict()


def _reconstruct(
    volume: Volume,
    matrix: Path,
    factors: Path,
    output: Path,
    config: Config,
    strengths: list[tuple[str, Strength]],
    timer: Timer,
) -> Denoised:
    made = read_manifest(matrix, "matrix")
    if made.layout.get("series_sha256") != volume.fingerprint():
        raise InputError("CTM_SERIES_MISMATCH", path="What was given")
    found = read_factors(factors)
    layout = SlicesLayout.of(volume)
    when = timestamp(config)
    after: dict[str, Volume] = {}
    choices: dict[str, Choice] = {}
    series = []
    warnings = [*volume.warnings, *found.warnings]
    for text, strength in strengths:
        with timer.phase("reconstruct"):
            choice = choose_rank(
                found.s,
                strength,
                rows=found.rows,
                columns=found.columns,
                squared_norm=found.squared_norm,
                noise_sd=float(made.layout["noise_sd_hu"]),
            )
            after[text] = layout.reconstruct(volume, found.v, choice.weights, centred=found.centred)
            choices[text] = choice
        with timer.phase("write"):
            written = _write(after[text], output / strength.label, text, choice, found, config, when, timer.progress)
        series.append(DenoisedSeries(text, output / strength.label, choice.rank, choice.energy, written.clipped))
        warnings += [f"{text}: {w}" for w in (*choice.warnings, *written.warnings)]
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
                s=found.s,
                weights={text: choice.weights for text, choice in choices.items()},
                noise_sd_hu=float(made.layout["noise_sd_hu"]),
                warnings=warnings,
            )
    (output / RUN).write_text(json.dumps(run, indent=1, allow_nan=False) + "\n", encoding="utf-8")
    return Denoised(output, tuple(series), report, run)


def _write(
    volume: Volume,
    output: Path,
    text: str,
    choice: Choice,
    found: Factors,
    config: Config,
    when: datetime,
    progress: Progress | None,
) -> Written | WrittenArray:
    if isinstance(volume.source, ArraySource):
        return write_array(volume, output / volume.source.path.name)
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
    derivation = Derivation(
        description=f"Denoised by ctmahout {__version__}: method {config.method}, strength {text} "
        f"({choice.rank} of {found.rank} components kept); {maths}, {parameters}.",
        # Of the engines only the family counts: every door to Mahout gives the same answer.
        key=json.dumps(
            [
                __version__,
                config.method,
                text,
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
        volume,
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


def _strengths(config: Config) -> list[tuple[str, Strength]]:
    """Parse all strengths before any work; two of one label would share a folder."""
    parsed = [(text.strip(), Strength.parse(text)) for text in config.strength]
    labels = [strength.label for _, strength in parsed]
    if len(set(labels)) != len(labels):
        raise ConfigError(
            "CTM_CONFIG_VALUE",
            source="options",
            key="strength",
            value=", ".join(config.strength),
            expected="strengths that differ",
        )
    return parsed
