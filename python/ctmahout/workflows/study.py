"""A study or cohort: every CT series of a folder, archive or list, one by one or by Spark's executors.

``ctmahout denoise --all-series``. A task of an executor is one series, denoised as in the loop.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeAlias, cast

from .._version import __version__
from ..dicom import HeaderCache, SeriesInfo, cached_headers, names_of_series, summarise
from ..engines.executors import Executors
from ..errors import CtmahoutError, EngineError, InputError, OutputError
from ..exchange import is_manifest, read_manifest
from ..options import Config, option_error
from ..storage import Location, Uri, is_dicomweb, local_copy, parse_location, refuse_overlap, upload_on_success
from ..storage.locks import remove_stale
from .denoise import denoise
from .dssvd import open_engine, options_of
from .outcome import RUN, Progress, is_run
from .results import RESULTS, measurements, write_results

__all__ = ["STUDY", "Study", "StudySeries", "denoise_study"]

STUDY = "study.json"
"""The list of what became of each series; by it the folder is known as ours."""

# No series can be denoised, whichever it is.
_NO_SERIES_CAN = ("CTM_EXECUTORS_LACK", "CTM_EXECUTORS_STORAGE")
_BUSY_S = 1.0  # between two looks at a folder that another attempt is writing

# Options that leave the values as they are: a run with others of these need not be done again.
_METHOD_OPTIONS = frozenset(
    {
        "overwrite",
        "workers",
        "master",
        "deploy_mode",
        "image",
        "partitions",
        "driver_memory",
        "spread",
        "timestamp",
        "unpack_gib",
    }
)


@dataclass(frozen=True)
class StudySeries:
    """What became of one series.

    Attributes
    ----------
    number : int
        Its place in the list that ``inspect`` shows.
    folder : str
        Below the output; it is there if the outcome is "done" or "kept".
    slices : int
    outcome : str
        "done"; "kept", from an earlier run; "skipped", for there is nothing to denoise; "failed".
    code, message : str
        Why it failed, or was skipped.
    exit_code : int
        Of the error; 0 if there is none.
    seconds : float
    measured : tuple of dict
        Rows of the table of results, one for each strength: see `Results`.
    """

    number: int
    folder: str
    slices: int
    outcome: str
    code: str = ""
    message: str = ""
    exit_code: int = 0
    seconds: float = 0.0
    measured: tuple[dict[str, Any], ...] = field(default=(), repr=False)


@dataclass(frozen=True)
class Study:
    """What became of a study.

    Attributes
    ----------
    path : Path or Uri
    series : tuple of StudySeries
    unreadable : tuple of str
        Files too damaged to tell which series they belong to, each with the reason.
    """

    path: Location
    series: tuple[StudySeries, ...]
    unreadable: tuple[str, ...] = ()

    @property
    def failed(self) -> int:
        """How many series failed."""
        return sum(s.outcome == "failed" for s in self.series)

    def as_dict(self) -> dict[str, Any]:
        """Return it as ``study.json`` has it, with nothing that names a patient."""
        # Messages name files, and their names may be those of patients; they are shown, not kept.
        kept = ("number", "folder", "slices", "outcome", "code", "seconds")
        return {
            "kind": "study",
            "ctmahout": __version__,
            "series": [{name: getattr(s, name) for name in kept} for s in self.series],
            "unreadable_files": len(self.unreadable),
        }

    def rows(self) -> list[dict[str, Any]]:
        """Return the rows of ``results.parquet``: see `Results`."""
        names = ("number", "folder", "outcome", "code", "slices", "seconds")
        rows = []
        for one in self.series:
            about = {name: getattr(one, name) for name in names}
            rows += [about | m | {"result": f"{one.folder}/{m['result']}"} for m in one.measured] or [about]
        return rows


Source: TypeAlias = str | Path | Uri


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
    output = _absolute(parse_location(output)) if config.spread else parse_location(output)
    if is_dicomweb(output):
        raise option_error("all_series", True, "a folder or a bucket for the output, whose series `send` stores")
    listed = _listed_sources(source)
    if listed is not None:
        for one in listed:
            refuse_overlap(output, one)
        with _known(output) as known:
            _begin(output, known)
            return _every(_Series.of_list(listed), (), output, known, config, {}, session, progress, on_series)
    location = parse_location(cast("Source", source))
    refuse_overlap(output, location)
    if config.spread:
        if is_dicomweb(location):
            raise option_error("spread", True, "a list of series of the archive, and not a study")
        location = _absolute(location)
    with cached_headers() as headers, local_copy(location) as folder, _known(output) as known:
        series, unreadable = _series_of_folder(folder, location, config, headers, progress)
        _begin(output, known)
        return _every(series, unreadable, output, known, config, headers, session, progress, on_series)


@dataclass(frozen=True)
class _Series:
    """A series to denoise, as the loop or a task gets it.

    Attributes
    ----------
    source : Path or Uri
        What it is read from.
    so_far : StudySeries
        Without an outcome, unless there is nothing to do.
    selector : str, optional
        For the option ``series``; None: `source` holds no other.
    names : frozenset of str, optional
        The objects to copy from a URI; None: all.
    source_name : str
        What messages call `source`.
    """

    source: Location
    so_far: StudySeries
    selector: str | None = None
    names: frozenset[str] | None = None
    source_name: str = ""

    @classmethod
    def of_list(cls, sources: Sequence[Location]) -> list[_Series]:
        """Return the series of a list, each named by a digest of its location, which may name a patient."""
        folders = [f"series-{hashlib.sha256(str(one).encode()).hexdigest()[:12]}" for one in sources]
        return [
            cls(source, StudySeries(number, folder, 0, ""), source_name=str(source))
            for number, (source, folder) in enumerate(zip(sources, folders, strict=True), 1)
        ]


def _listed_sources(source: Source | Sequence[Source]) -> list[Location] | None:
    """Return the locations of a list, each once; None if `source` is no list."""
    if not isinstance(source, (str, os.PathLike, Uri)):
        for one in source:
            if not isinstance(one, (str, os.PathLike, Uri)):
                raise TypeError(f"a list of series has paths and URIs, not {type(one).__name__}")
        lines, base, name = [str(one) for one in source], Path(), "The list"
    else:
        location = parse_location(source)
        if not location.name.endswith(".txt") or (isinstance(location, Path) and location.is_dir()):
            return None
        with local_copy(location) as file:
            try:
                lines = file.read_text(encoding="utf-8-sig").splitlines()
            except FileNotFoundError:
                raise InputError("CTM_INPUT_NOT_FOUND", path=source) from None
            except (OSError, UnicodeDecodeError):
                raise InputError("CTM_INPUT_UNREADABLE", file=source, problem="it is not a list of series") from None
        base, name = location.parent if isinstance(location, Path) else Path(), str(source)
    sources = [parse_location(line.strip()) for line in lines if line.strip() and not line.startswith("#")]
    unique = list(dict.fromkeys(_absolute(base / one if isinstance(one, Path) else one) for one in sources))
    if not unique:
        raise InputError("CTM_INPUT_EMPTY", path=name)
    return unique


def _absolute(location: Location) -> Location:
    """Return a path as one that other processes understand."""
    return location.absolute() if isinstance(location, Path) else location


def _series_of_folder(
    folder: Path, source: Location, config: Config, headers: HeaderCache, progress: Progress | None
) -> tuple[list[_Series], tuple[str, ...]]:
    """Return the series of a folder, and what is unreadable in it; `folder` is its local copy."""
    listing = summarise(
        folder,
        split=config.split,
        lenient=config.lenient,
        unpack_gib=config.unpack_gib,
        workers=config.workers,
        progress=progress,
    )
    unreadable = tuple(text.replace(str(folder), str(source)) for text in listing.unreadable)
    if not listing:
        if unreadable:
            raise InputError(
                "CTM_STUDY_UNREADABLE", count=len(unreadable), path=source, first=unreadable[0].rstrip(".")
            )
        others = ", ".join(f"{count} {what}" for what, count in listing.skipped.items())
        raise InputError("CTM_INPUT_NO_CT", path=source, found=others)
    # Executors do not see a temporary copy: each makes one of its series.
    copies = config.spread and isinstance(source, Uri)
    series = []
    for info in listing:
        reason = _nothing_to_do(info)
        so_far = StudySeries(info.number, info.folder, info.slices, "skipped" if reason else "", message=reason)
        # By its UID, which stays when others come or go; a part of a series has none of its own.
        alone = bool(info.series_uid) and sum(other.series_uid == info.series_uid for other in listing) == 1
        selector = info.series_uid if alone else info.folder if copies else f"[{info.number}]"
        names = names_of_series(headers, folder, info.series_uid) if copies else None
        series.append(_Series(source if copies else folder, so_far, selector, names, str(source)))
    return series, unreadable


def _every(
    series: list[_Series],
    unreadable: tuple[str, ...],
    output: Location,
    known: Path,
    config: Config,
    headers: HeaderCache,
    session: object,
    progress: Progress | None,
    on_series: Callable[[StudySeries], None] | None,
) -> Study:
    model = _model_digest(config)
    series = [replace(one, so_far=_kept(one.so_far, known, config, model)) for one in series]
    done: list[StudySeries] = []

    def study() -> Study:
        return Study(output, tuple(sorted(done, key=lambda one: one.number)), unreadable)

    try:
        with _one_session(config, session, needed=any(not one.so_far.outcome for one in series)) as shared:
            outcomes = (
                _by_executors(series, output, config, model, headers, shared, progress)
                if config.spread
                else _one_by_one(series, output, config, shared, progress)
            )
            with closing(outcomes):
                for one in outcomes:
                    done.append(one)
                    _note(study(), known)
                    if on_series:
                        on_series(one)
    finally:
        if done:
            write_results(known / RESULTS, study().rows())
            _upload(output, known, RESULTS)
    return study()


def _one_by_one(
    series: Sequence[_Series], output: Location, config: Config, session: object, progress: Progress | None
) -> Generator[StudySeries, None, None]:
    for one in series:
        yield one.so_far if one.so_far.outcome else _denoise_one(one, output, config, session, progress)


def _by_executors(
    series: Sequence[_Series],
    output: Location,
    config: Config,
    model: str | None,
    headers: HeaderCache,
    session: Any,
    progress: Progress | None,
) -> Generator[StudySeries, None, None]:
    """Yield what is done already, and then each series as soon as an executor has denoised it."""
    undone = [one for one in series if not one.so_far.outcome]
    yield from (one.so_far for one in series if one.so_far.outcome)
    if not undone:
        return
    cores = int(session.sparkContext.getConf().get("spark.task.cpus", "1"))
    task = _Task(output, _in_task(config, cores), model, headers)

    def describe(one: _Series) -> str:
        return f"ctmahout: series {one.so_far.number} of {len(series)}, {one.so_far.folder}"

    done = Executors(session).each(task, undone, describe)
    with closing(done):
        for count, (one, result) in enumerate(done, 1):
            if isinstance(result, CtmahoutError):
                if result.code in _NO_SERIES_CAN:
                    raise result
                result = _failed(one.so_far, result)
            if progress:
                progress("series", count, len(undone))
            yield result


def _in_task(config: Config, cores: int) -> Config:
    """Return the options for a task: a Spark of its own, on the cores of the task, where Mahout is needed."""
    model, models = (
        None if place is None else str(_absolute(parse_location(place))) for place in (config.model, config.models)
    )
    return replace(
        config,
        spread=False,
        master=f"local[{cores}]",
        workers=config.workers or cores,
        conf=("spark.executor.allowSparkContext=true",),
        driver_memory=None,
        jar=None,
        model=model,
        models=models,
    )


@dataclass(frozen=True)
class _Task:
    """What an executor does with a series."""

    output: Location
    config: Config
    model: str | None
    headers: HeaderCache

    def __call__(self, series: _Series) -> StudySeries:
        if isinstance(self.output, Path) and not _is_study(self.output):
            raise EngineError("CTM_EXECUTORS_STORAGE", path=self.output)
        while True:
            # An attempt whose executor was lost may have finished, or go on where nobody hears it.
            if not self.config.overwrite:
                with _manifest_at(self.output / series.so_far.folder) as parent:
                    earlier = _kept(series.so_far, parent, self.config, self.model)
                if earlier.outcome:
                    return replace(earlier, outcome="done")
            with cached_headers(self.headers):
                result = _denoise_one(series, self.output, self.config, None, None)
            if result.code != "CTM_OUTPUT_BUSY":
                return result
            time.sleep(_BUSY_S)


@contextmanager
def _manifest_at(folder: Location) -> Iterator[Path]:
    """Yield the parent of a folder, with nothing but the run manifest in it if that is in a store."""
    if isinstance(folder, Path):
        yield folder.parent
        return
    with ExitStack() as stack:
        try:
            yield stack.enter_context(local_copy(folder, RUN.__eq__)).parent
        except InputError as e:
            if e.code not in ("CTM_INPUT_NOT_FOUND", "CTM_INPUT_UNFINISHED"):
                raise
            yield Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="ctmahout-")))


def _denoise_one(
    series: _Series, output: Location, config: Config, session: object, progress: Progress | None
) -> StudySeries:
    so_far, start = series.so_far, time.perf_counter()
    try:
        include = None if series.names is None else series.names.__contains__
        with local_copy(series.source, include) as source:
            options = replace(config, series=series.selector)
            run = denoise(source, output / so_far.folder, options, session=session, progress=progress).run
    except CtmahoutError as e:
        if e.exit_code == 130:
            raise
        e.rename(str(series.source), series.source_name)
        so_far = _failed(so_far, e)
    else:
        so_far = _finished(so_far, "done", run)
    return replace(so_far, seconds=round(time.perf_counter() - start, 2))


def _failed(so_far: StudySeries, error: CtmahoutError) -> StudySeries:
    return replace(so_far, outcome="failed", code=error.code, message=error.message, exit_code=error.exit_code)


def _finished(so_far: StudySeries, outcome: str, run: dict[str, Any]) -> StudySeries:
    slices = so_far.slices or run["source"]["shape"][0]
    return replace(so_far, outcome=outcome, slices=slices, measured=tuple(measurements(run)))


def _nothing_to_do(info: SeriesInfo) -> str:
    if info.denoised:
        return "It was denoised by ctmahout before."
    if info.slices == 1 and not info.unusable:
        return "It is a single slice."
    return ""


def _kept(so_far: StudySeries, known: Path, config: Config, model: str | None) -> StudySeries:
    """Return the series as kept, if there is a run of it, by this version with the same options."""
    folder = known / so_far.folder
    if so_far.outcome or config.overwrite or not is_run(folder):
        return so_far
    run = json.loads((folder / RUN).read_text(encoding="utf-8"))
    before = run.get("config")
    if not isinstance(before, dict) or run.get("ctmahout") != __version__:
        return so_far
    options = config.to_dict()
    same = all(options.get(key) == value for key, value in before.items() if key not in _METHOD_OPTIONS)
    return _finished(so_far, "kept", run) if same and _same_model(run, config, model) else so_far


def _same_model(run: dict[str, Any], config: Config, model: str | None) -> bool:
    """Tell whether a run used the model that is asked for; its path may be another's now.

    A run that chose from a store counts for any state of it: stores grow, and what is done would be done again.
    """
    if config.models or "models" in run:
        return config.models is not None and "models" in run
    about = run.get("model")
    used = about.get("sha256") if isinstance(about, dict) else None
    if config.model is None or used is None:
        return bool(used is None and (config.model is None or config.refit))
    return bool(used == model)


def _model_digest(config: Config) -> str | None:
    """Return the digest of the model that is asked for, None if there is none."""
    if config.model is None:
        return None
    with local_copy(parse_location(config.model), is_manifest) as folder:
        return read_manifest(folder, "model").sha256


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


@contextmanager
def _known(output: Location) -> Iterator[Path]:
    """Give the output folder or, of one in a store, a copy of what tells what is in it: the list and run manifests."""
    with ExitStack() as stack:
        try:
            folder = stack.enter_context(local_copy(output, _tells))
        except InputError as e:
            if e.code != "CTM_INPUT_NOT_FOUND":
                raise
            yield Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="ctmahout-")))
            return
        if isinstance(output, Uri) and not _is_study(folder):
            raise OutputError("CTM_OUTPUT_EXISTS", path=output)
        yield folder


def _tells(name: str) -> bool:
    return name == STUDY or (name.count("/") == 1 and name.endswith(f"/{RUN}"))


def _begin(output: Location, known: Path) -> None:
    """Make the output folder, or take that of an earlier run and clear away what a killed one left."""
    try:
        if known.is_symlink() or (known.exists() and (not known.is_dir() or any(known.iterdir()))):
            if not _is_study(known):
                raise OutputError("CTM_OUTPUT_EXISTS", path=output)
            remove_stale(known.absolute(), "series-*")
            return
        known.mkdir(parents=True, exist_ok=True)
    except OSError as e:
        raise OutputError("CTM_OUTPUT_UNWRITABLE", path=output, problem=e.strerror or e) from e
    _note(Study(output, ()), known)


def _is_study(folder: Path) -> bool:
    try:
        return bool(json.loads((folder / STUDY).read_text(encoding="utf-8"))["kind"] == "study")
    except (OSError, ValueError, KeyError, TypeError):
        return False


def _note(study: Study, known: Path) -> None:
    """Write the list anew, whole or not at all."""
    beside = known / f".{STUDY}.partial"
    try:
        beside.write_text(json.dumps(study.as_dict(), indent=1) + "\n", encoding="utf-8")
        beside.replace(known / STUDY)
    except OSError as e:
        raise OutputError("CTM_OUTPUT_UNWRITABLE", path=study.path, problem=e.strerror or e) from e
    _upload(study.path, known, STUDY)


def _upload(output: Location, known: Path, name: str) -> None:
    """Copy a file of the output folder to the store, if it is in one."""
    if isinstance(output, Uri):
        with upload_on_success(output / name, overwrite=True) as file:
            shutil.copyfile(known / name, file)
