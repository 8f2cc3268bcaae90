"""A study or cohort: every CT series of a folder, archive or list, one by one or by Spark's executors.

``ctmahout denoise --all-series``. A task of an executor is one series, denoised as in the loop.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

from ...dicom import HeaderCache, cached_headers
from ...options import Config, option_error
from ...storage import Location, is_dicomweb, local_copy, parse_location, refuse_overlap
from ..dssvd import open_engine, options_of
from ..outcome import Progress
from ..results import RESULTS, write_results
from .earlier import kept, model_digest
from .executors import denoise_by_executors
from .output import begin, known_output, note, upload
from .records import STUDY, Study, StudySeries
from .series import denoise_one
from .sources import PlannedSeries, Source, absolute, listed_sources, series_of_folder

__all__ = ["STUDY", "Study", "StudySeries", "denoise_study"]


def denoise_study(
    source: Source | Sequence[Source],
    output: Source,
    config: Config | None = None,
    *,
    session: object = None,
    progress: Progress | None = None,
    on_series: Callable[[StudySeries], None] | None = None,
    **options: Any,
) -> Study:
    """Denoise every CT series of a study or of a list; a series that fails does not stop the others.

    Each series gets a folder of its own, which appears whole or not at all. Run again, it keeps what an earlier run
    with the same options has finished, and does the rest.

    Parameters
    ----------
    source : path, URI, or sequence of them
        A folder or an archive. Or a list of series: a sequence, or a text file ``NAME.txt`` with a path or URI in each
        line, relative to the file's folder. It is only read.
    output : path or URI
        A new folder, or that of an earlier run; it gets a folder for each series, ``study.json``, and the table
        ``results.parquet``, see `read_results`.
    config : Config, optional
        With `spread`, Spark's executors denoise the series, one in a task. They need ctmahout installed and must see
        the paths; `engine` is what each task uses by itself, "py4j" or "numpy".
    session : SparkSession, optional
        A session of yours to work in; it is neither reconfigured nor stopped. If not given, one is started for all.
    progress : callable, optional
        See `Progress`; with `spread` it is called with ("series", series done, series).
    on_series : callable, optional
        Called with each series when it is done with.
    **options
        Fields of `Config`, instead of `config`.

    Returns
    -------
    Study

    Raises
    ------
    InputError
        There is no CT series at all; CTM_INPUT_EMPTY: the list is empty.
    ConfigError
        CTM_CONFIG_VALUE: `series` chooses one.
    OutputError
        CTM_OUTPUT_EXISTS: what is at `output` is not of an earlier run. CTM_OUTPUT_IS_INPUT.
    EngineError
        Spark cannot be started; CTM_EXECUTORS_LACK, CTM_EXECUTORS_STORAGE: executors lack ctmahout, or do not see
        `output`.

    Examples
    --------
    >>> study = denoise_study("phantom", "study", method="slices", engine="numpy", report=False)
    >>> [series.outcome for series in study.series], study.failed
    (['done', 'done'], 0)
    """
    config = options_of(config, options, "denoise_study")
    if config.series is not None or config.work is not None:
        key = "series" if config.series is not None else "work"
        raise option_error(key, getattr(config, key), "none with all series")
    if config.spread and config.engine not in ("py4j", "numpy"):
        raise option_error("engine", config.engine, "py4j or numpy with --spread")
    output = absolute(parse_location(output)) if config.spread else parse_location(output)
    if is_dicomweb(output):
        raise option_error("all_series", True, "a folder or a bucket for the output, whose series `send` stores")
    listed = listed_sources(source)
    if listed is not None:
        for one in listed:
            refuse_overlap(output, one)
        with known_output(output) as known:
            begin(output, known)
            return _every(PlannedSeries.of_list(listed), (), output, known, config, {}, session, progress, on_series)
    location = parse_location(cast("Source", source))
    refuse_overlap(output, location)
    if config.spread:
        if is_dicomweb(location):
            raise option_error("spread", True, "a list of series of the archive, and not a study")
        location = absolute(location)
    with cached_headers() as headers, local_copy(location) as folder, known_output(output) as known:
        series, unreadable = series_of_folder(folder, location, config, headers, progress)
        begin(output, known)
        return _every(series, unreadable, output, known, config, headers, session, progress, on_series)


def _every(
    series: list[PlannedSeries],
    unreadable: tuple[str, ...],
    output: Location,
    known: Path,
    config: Config,
    headers: HeaderCache,
    session: object,
    progress: Progress | None,
    on_series: Callable[[StudySeries], None] | None,
) -> Study:
    model = model_digest(config)
    series = [replace(one, so_far=kept(one.so_far, known, config, model)) for one in series]
    done: list[StudySeries] = []

    def study() -> Study:
        return Study(output, tuple(sorted(done, key=lambda one: one.number)), unreadable)

    try:
        with _one_session(config, session, needed=any(not one.so_far.outcome for one in series)) as shared:
            outcomes = (
                denoise_by_executors(series, output, config, model, headers, shared, progress)
                if config.spread
                else _one_by_one(series, output, config, shared, progress)
            )
            with closing(outcomes):
                for one in outcomes:
                    done.append(one)
                    note(study(), known)
                    if on_series:
                        on_series(one)
    finally:
        if done:
            write_results(known / RESULTS, study().rows())
            upload(output, known, RESULTS)
    return study()


def _one_by_one(
    series: Sequence[PlannedSeries], output: Location, config: Config, session: object, progress: Progress | None
) -> Generator[StudySeries, None, None]:
    for one in series:
        yield one.so_far if one.so_far.outcome else denoise_one(one, output, config, session, progress)


@contextmanager
def _one_session(config: Config, session: object, *, needed: bool) -> Iterator[object]:
    """Give one Spark session for all series: to start one takes longer than to denoise a small series.

    With a model there is none to be started; with a store of models, a series that none fits starts its own.
    """
    by_model = config.model or config.models
    if session is not None or not needed or (not config.spread and (by_model or config.engine != "py4j")):
        yield session
        return
    with open_engine(replace(config, engine="py4j"), None) as engine:
        yield engine.session
