"""A whole study: every CT series in a folder or archive, one after the other: ``ctmahout denoise --all-series``."""

from __future__ import annotations

import json
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from .._version import __version__
from ..dicom import SeriesInfo, cached_headers, summarise
from ..errors import CtmahoutError, InputError, OutputError
from ..exchange import is_manifest, read_manifest
from ..options import Config, option_error
from ..storage import Location, Uri, local_copy, parse_location, refuse_overlap, upload_on_success
from ..storage.locks import remove_stale
from .denoise import denoise
from .dssvd import open_engine, options_of
from .outcome import RUN, Progress, is_run

__all__ = ["STUDY", "Study", "StudySeries", "denoise_study"]

STUDY = "study.json"
"""The list of what became of each series; by it the folder is known as ours."""

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
    """

    number: int
    folder: str
    slices: int
    outcome: str
    code: str = ""
    message: str = ""
    exit_code: int = 0
    seconds: float = 0.0


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


def denoise_study(
    source: str | Path | Uri,
    output: str | Path | Uri,
    config: Config | None = None,
    *,
    session: object = None,
    progress: Progress | None = None,
    on_series: Callable[[StudySeries], None] | None = None,
    **options: Any,
) -> Study:
    """Denoise every CT series of a study; a series that fails does not stop the others.

    Each series gets a folder of its own, which appears whole or not at all. Run again, it keeps what an earlier run
    with the same options has finished, and does the rest.

    Parameters
    ----------
    source : path or URI
        A folder or an archive. It is only read.
    output : path or URI
        A new folder, or that of an earlier run; it gets a folder for each series and ``study.json``.
    config : Config, optional
    session : SparkSession, optional
        A session of yours to work in; it is neither reconfigured nor stopped. If not given, one is started for all.
    progress : callable, optional
        See `Progress`.
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
        There is no CT series at all.
    ConfigError
        CTM_CONFIG_VALUE: `series` chooses one.
    OutputError
        CTM_OUTPUT_EXISTS: what is at `output` is not of an earlier run. CTM_OUTPUT_IS_INPUT.
    EngineError
        Spark cannot be started.

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
    source, output = parse_location(source), parse_location(output)
    refuse_overlap(output, source)
    with cached_headers(), local_copy(source) as folder, _known(output) as known:
        return _every(folder, source, output, known, config, session, progress, on_series)


def _every(
    folder: Path,
    source: Location,
    output: Location,
    known: Path,
    config: Config,
    session: object,
    progress: Progress | None,
    on_series: Callable[[StudySeries], None] | None,
) -> Study:
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
    _begin(output, known)
    done: list[StudySeries] = []
    model = _model_digest(config)
    undone = [_undone(info, known, config, model) for info in listing]
    with _one_session(config, session, needed=any(undone)) as shared:
        for info, needed in zip(listing, undone, strict=True):
            outcome = _one(info, listing, folder, output, config, shared, progress, needed=needed)
            done.append(replace(outcome, message=outcome.message.replace(str(folder), str(source))))
            _note(Study(output, tuple(done), unreadable), known)
            if on_series:
                on_series(done[-1])
    return Study(output, tuple(done), unreadable)


def _one(
    info: SeriesInfo,
    listing: list[SeriesInfo],
    source: Path,
    output: Location,
    config: Config,
    session: object,
    progress: Progress | None,
    *,
    needed: bool,
) -> StudySeries:
    so_far = StudySeries(info.number, info.folder, info.slices, "done")
    if reason := _nothing_to_do(info):
        return replace(so_far, outcome="skipped", message=reason)
    if not needed:
        return replace(so_far, outcome="kept")
    # By its UID, which stays when others come or go; a part of a series has none of its own.
    alone = bool(info.series_uid) and sum(other.series_uid == info.series_uid for other in listing) == 1
    chosen = info.series_uid if alone else f"[{info.number}]"
    start = time.perf_counter()
    try:
        denoise(source, output / so_far.folder, replace(config, series=chosen), session=session, progress=progress)
    except CtmahoutError as e:
        if e.exit_code == 130:
            raise
        so_far = replace(so_far, outcome="failed", code=e.code, message=e.message, exit_code=e.exit_code)
    return replace(so_far, seconds=round(time.perf_counter() - start, 2))


def _nothing_to_do(info: SeriesInfo) -> str:
    if info.denoised:
        return "It was denoised by ctmahout before."
    if info.slices == 1 and not info.unusable:
        return "It is a single slice."
    return ""


def _undone(info: SeriesInfo, known: Path, config: Config, model: str | None) -> bool:
    """Tell whether a series is to be denoised: there is no run of it, or one of another version or other options."""
    folder = known / info.folder
    if _nothing_to_do(info):
        return False
    if config.overwrite or not is_run(folder):
        return True
    run = json.loads((folder / RUN).read_text(encoding="utf-8"))
    before = run.get("config")
    if not isinstance(before, dict) or run.get("ctmahout") != __version__:
        return True
    options = config.to_dict()
    same = all(options.get(key) == value for key, value in before.items() if key not in _METHOD_OPTIONS)
    return not (same and _same_model(run, config, model))


def _same_model(run: dict[str, Any], config: Config, model: str | None) -> bool:
    """Tell whether a run used the model that is asked for; its path may be another's now."""
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
    """Give one Spark session for all series: to start one takes longer than to denoise a small series."""
    if session is not None or config.engine != "py4j" or (config.model and not config.spread) or not needed:
        yield session
        return
    with open_engine(config, None) as engine:
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
    if isinstance(study.path, Uri):
        with upload_on_success(study.path / STUDY, overwrite=True) as file:
            shutil.copyfile(known / STUDY, file)
