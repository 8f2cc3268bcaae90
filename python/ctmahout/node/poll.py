"""Fetch series from an archive: one thread for each query, which asks by QIDO-RS and fetches by WADO-RS (PS3.18)."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, timedelta

from ..dicom.identify import identify
from ..errors import CtmahoutError, InputError, Interrupted, OutputError
from ..storage import Uri, parse_location
from ..storage.dicomweb import FoundSeries, open_dicomweb
from .config import Query
from .metrics import Counters
from .queue import Queue, series_key
from .tls import client_context

__all__ = ["Poller"]

_log = logging.getLogger("ctmahout.node")


@dataclass
class _Sighting:
    """What is known of a series that is not fetched yet: its size, since when, and what became of tries to fetch it."""

    images: int
    since: float
    tries: int = 0
    due: float = 0.0


class Poller:
    """Asks one archive again and again, and fetches the series that it has not fetched before.

    Parameters
    ----------
    query : Query
    silence_s : float, s
        A series is complete when its number of images has stayed the same for so long.
    queue : Queue
    counters : Counters
    stop : threading.Event
        Set when the node ends: a series that is being fetched is dropped.
    """

    def __init__(self, query: Query, silence_s: float, queue: Queue, counters: Counters, stop: threading.Event) -> None:
        self._query = query
        self._silence_s = silence_s
        self._queue = queue
        self._counters = counters
        self._stop = stop
        self._tls = client_context(query.tls) if query.tls else None
        archive = parse_location(query.archive)
        assert isinstance(archive, Uri)
        self._archive = archive
        self._sightings: dict[str, _Sighting] = {}
        self._tries, self._due = 0, 0.0

    def step(self) -> bool:
        """Ask, if it is time, and fetch what is complete; returns False, for the next time is never now."""
        if time.monotonic() < self._due or self._queue.refusal():
            return False
        self._due = time.monotonic() + self._query.every_s  # of a defect, too
        error = _error_of(self._ask)
        self._tries = self._tries + 1 if error else 0
        self._due = time.monotonic() + self._wait_s(self._tries)
        if error:
            self._counters.count("fetches", error.code)
            _log.warning("query %s: [%s] %s", self._query.name, error.code, error.message)
        return False

    def _wait_s(self, tries: int) -> float:
        shortest = self._query.every_s
        return min(shortest * 2.0 ** min(tries, 30), max(shortest, self._query.longest_wait_s))

    def _ask(self) -> None:
        """Ask for the series that match, and fetch those that are complete, new and due."""
        filters = {**self._query.filters, "Modality": "CT"}
        if self._query.days:
            filters["StudyDate"] = f"{date.today() - timedelta(days=self._query.days):%Y%m%d}-"
        with open_dicomweb(self._archive, tls=self._tls) as archive:
            matching = {series_key(one.study, one.series): one for one in archive.find_series(filters)}
        now = time.monotonic()
        known = self._sightings
        self._sightings = {}
        for key, series in matching.items():
            if self._queue.is_fetched(key):
                continue
            sighting = known.get(key)
            if sighting is None or sighting.images != series.images:
                sighting = _Sighting(series.images, now)
            self._sightings[key] = sighting
        for key, sighting in self._sightings.items():
            if self._stop.is_set() or self._queue.refusal():
                return
            if now - sighting.since >= self._silence_s and sighting.due <= now:
                self._fetch(key, matching[key], sighting)

    def _fetch(self, key: str, series: FoundSeries, sighting: _Sighting) -> None:
        """Fetch one series. If that fails it is tried again later, and the others go on."""
        error = _error_of(lambda: self._queue_series(key, series))
        self._counters.count("fetches", error.code if error else "done")
        if error:
            sighting.tries += 1
            sighting.due = time.monotonic() + self._wait_s(sighting.tries)
            # Its message would name the series by its UID.
            _log.warning("%s cannot be fetched, try %d: [%s]", key, sighting.tries, error.code)

    def _queue_series(self, key: str, series: FoundSeries) -> None:
        if self._queue.is_known(key):  # it came by C-STORE, or was fetched before a kill
            self._queue.note_fetched(key)
            return
        place = self._archive / "studies" / series.study / "series" / series.series
        with self._queue.incoming() as folder, open_dicomweb(place, tls=self._tls) as archive:
            names = archive.retrieve(folder, limit=self._queue.room(), tick=self._tick)
            images = {}
            for file in (folder / name for name in names):
                identifiers = identify(file.read_bytes())
                if identifiers is None or series_key(identifiers.study_uid, identifiers.series_uid) != key:
                    problem = "it sends images of another series"
                    raise InputError("CTM_FETCH_UNAVAILABLE", source=self._archive, problem=problem)
                images[identifiers.sop_uid] = file
            self._queue.adopt(key, images, self._query.name)

    def _tick(self, done: int, total: int) -> None:
        if self._stop.is_set():
            raise Interrupted("CTM_INTERRUPTED")


def _error_of(action: Callable[[], None]) -> CtmahoutError | None:
    """Return the error of an action, None if there is none."""
    try:
        action()
    except CtmahoutError as e:
        return e
    except OSError as e:
        return OutputError("CTM_OUTPUT_UNWRITABLE", path="the queue", problem=e.strerror or e)
    return None
