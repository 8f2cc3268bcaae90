"""One series of a study, denoised; an error is what became of it."""

from __future__ import annotations

import time
from dataclasses import replace

from ...errors import CtmahoutError
from ...options import Config
from ...storage import Location, local_copy
from ..denoise import denoise
from ..outcome import Progress
from .earlier import finished
from .records import StudySeries
from .sources import PlannedSeries

__all__ = ["denoise_one", "failed"]


def denoise_one(
    series: PlannedSeries, output: Location, config: Config, session: object, progress: Progress | None
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
        so_far = failed(so_far, e)
    else:
        so_far = finished(so_far, "done", run)
    return replace(so_far, seconds=round(time.perf_counter() - start, 2))


def failed(so_far: StudySeries, error: CtmahoutError) -> StudySeries:
    return replace(so_far, outcome="failed", code=error.code, message=error.message, exit_code=error.exit_code)
