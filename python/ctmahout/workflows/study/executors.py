"""A study by Spark's executors, a series in a task."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Generator, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ...dicom import HeaderCache, cached_headers
from ...engines.executors import Executors
from ...errors import CtmahoutError, EngineError, InputError
from ...options import Config
from ...storage import Location, local_copy, parse_location
from ..outcome import RUN, Progress
from .earlier import kept
from .output import is_study
from .records import StudySeries
from .series import denoise_one, failed
from .sources import PlannedSeries, absolute

__all__ = ["denoise_by_executors"]

# No series can be denoised, whichever it is.
_NO_SERIES_CAN = ("CTM_EXECUTORS_LACK", "CTM_EXECUTORS_STORAGE")
_BUSY_S = 1.0  # between two looks at a folder that another attempt is writing


def denoise_by_executors(
    series: Sequence[PlannedSeries],
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
    executors = Executors(session)
    cores = int(session.sparkContext.getConf().get("spark.task.cpus", "1"))
    task = _Task(output, _in_task(config, cores), model, headers)

    def describe(one: PlannedSeries) -> str:
        return f"ctmahout: series {one.so_far.number} of {len(series)}, {one.so_far.folder}"

    done = executors.each(task, undone, describe)
    with closing(done):
        for count, (one, result) in enumerate(done, 1):
            if isinstance(result, CtmahoutError):
                if result.code in _NO_SERIES_CAN:
                    raise result
                result = failed(one.so_far, result)
            if progress:
                progress("series", count, len(undone))
            yield result


def _in_task(config: Config, cores: int) -> Config:
    """Return the options for a task: a Spark of its own, on the cores of the task, where Mahout is needed."""
    model, models = (
        None if place is None else str(absolute(parse_location(place))) for place in (config.model, config.models)
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

    def __call__(self, series: PlannedSeries) -> StudySeries:
        if isinstance(self.output, Path) and not is_study(self.output):
            raise EngineError("CTM_EXECUTORS_STORAGE", path=self.output)
        while True:
            # An attempt whose executor was lost may have finished, or go on where nobody hears it.
            if not self.config.overwrite:
                with _manifest_at(self.output / series.so_far.folder) as parent:
                    earlier = kept(series.so_far, parent, self.config, self.model)
                if earlier.outcome:
                    return replace(earlier, outcome="done")
            with cached_headers(self.headers):
                result = denoise_one(series, self.output, self.config, None, None)
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
