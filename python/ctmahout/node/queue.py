"""The queue on disk: images in, series that move from state to state, each move one rename.

A series is a folder, and its state is the folder that it lies in::

    incoming/            images that are not yet acknowledged; emptied at every start
    receiving/SERIES/    images/*.dcm, record.json
    waiting/SERIES/      complete, to be denoised; run/ while that is done
    sending/SERIES/      run/ is complete and on the disk; it is never computed again
    done/SERIES/         record.json and run/ without images, for a while
    quarantine/SERIES/   what failed, with its reason in record.json
    fetched/             an empty file for each series that was fetched from an archive, for ever

SERIES is a digest of the UIDs and a generation: images that come after a series was denoised begin the next one.
File names are digests, too: nothing that a sender says becomes a path.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

from ..errors import CtmahoutError, OutputError
from .config import Limits
from .durable import move, sync_folder, sync_tree, write_file, write_json

fcntl: ModuleType | None
try:
    import fcntl
except ImportError:  # Windows
    fcntl = None

__all__ = ["STATES", "Entry", "Full", "ImageConflict", "Queue", "Record", "series_key"]

STATES = ("receiving", "waiting", "sending", "done", "quarantine")
_INCOMING, _FETCHED, _IMAGES, RUN = "incoming", "fetched", "images", "run"
_RECORD, _NAMES, _MARK = "record.json", "images.json", "queue.json"
_KEY = re.compile(r"([0-9a-f]{32})-(\d{1,6})")
# How long a node waits for the child processes of a killed one to end.
_ORPHANS_S = 30.0
# How old the known free space may be.
_FRESH_S = 1.0


class Full(Exception):  # noqa: N818 - not an error of the node
    """There is no room for an image."""


class ImageConflict(Exception):  # noqa: N818
    """An image has the UID of another one with other content."""


@dataclass
class Record:
    """What is known of a series besides its images; nothing in it names a patient.

    Attributes
    ----------
    sender : str
        AE title.
    received : float
        Time of the first image, seconds since 1970.
    completed : float
        When no more images were expected.
    images : int
    rule : str
    timestamp : str
        Time in the derived series, the same in every try.
    tries : int
        How often it was begun to denoise it.
    due : float
        Not to be tried again before.
    seconds : float
        What denoising it took.
    code, message, hint : str
        Why it is in quarantine, or what the last try ended with.
    outcome : str
        Of one that is done: "sent", "kept" or "skipped".
    deliveries : dict
        For each destination: ``sent`` (a time, or 0), ``failed``, ``tries``, ``due``, ``code``, ``message``, ``hint``.
    """

    sender: str = ""
    received: float = 0.0
    completed: float = 0.0
    images: int = 0
    rule: str = ""
    timestamp: str = ""
    tries: int = 0
    due: float = 0.0
    seconds: float = 0.0
    code: str = ""
    message: str = ""
    hint: str = ""
    outcome: str = ""
    deliveries: dict[str, dict[str, Any]] = field(default_factory=dict)

    def fail(self, error: CtmahoutError | None) -> None:
        """Set the reason of a failure, or remove it."""
        self.code, self.message, self.hint = (error.code, error.message, error.hint) if error else ("", "", "")


@dataclass(frozen=True)
class Entry:
    """A series in the queue.

    Attributes
    ----------
    key : str
        Name of its folder.
    state : str
    path : Path
    """

    key: str
    state: str
    path: Path

    @property
    def images(self) -> Path:
        """The folder of its images."""
        return self.path / _IMAGES

    @property
    def run(self) -> Path:
        """The output of `denoise`."""
        return self.path / RUN

    @property
    def generation(self) -> int:
        return int(self.key.rpartition("-")[2])

    def record(self) -> Record:
        """Read its record."""
        return Record(**json.loads((self.path / _RECORD).read_text(encoding="utf-8")))

    def names(self) -> dict[str, str]:
        """Return the digest of each image by its name, as of when the series was complete."""
        names: dict[str, str] = json.loads((self.path / _NAMES).read_text(encoding="utf-8"))
        return names


class Queue:
    """The queue of one node; safe for its threads.

    Parameters
    ----------
    root : Path
        A new folder, or that of an earlier start.
    limits : Limits

    Raises
    ------
    OutputError
        CTM_NODE_BUSY: another node uses the folder. CTM_OUTPUT_EXISTS: it holds something else.
        CTM_OUTPUT_UNWRITABLE.
    """

    def __init__(self, root: Path, limits: Limits) -> None:
        self.root = root.absolute()
        self._limits = limits
        self.lock = threading.RLock()
        self._arrivals: dict[str, float] = {}
        self._running: set[str] = set()
        self._room = (float("-inf"), "")
        try:
            self._handle = self._open()
            try:
                self._recover()
            except BaseException:
                self.close()
                raise
        except OSError as e:
            raise OutputError("CTM_OUTPUT_UNWRITABLE", path=root, problem=e.strerror or e) from e

    def _open(self) -> int:
        if self.root.exists() and any(self.root.iterdir()) and not (self.root / _MARK).exists():
            raise OutputError("CTM_OUTPUT_EXISTS", path=self.root)
        self.root.mkdir(parents=True, exist_ok=True, mode=0o700)
        for name in (_INCOMING, _FETCHED, *STATES):
            (self.root / name).mkdir(exist_ok=True, mode=0o700)
        handle = os.open(self.root / ".lock", os.O_CREAT | os.O_RDWR, 0o600)
        if fcntl is not None:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                os.close(handle)
                raise OutputError("CTM_NODE_BUSY", path=self.root) from None
        # Written before the first image comes, so that a folder with images always has it.
        if not (self.root / _MARK).exists():
            write_json(self.root / _MARK, {"kind": "queue", "version": 1})
        return handle

    def _recover(self) -> None:
        """Remove what a killed node left unfinished: images that it had not acknowledged, and parts of runs."""
        self._await_orphans()
        for path in (self.root / _INCOMING).iterdir():
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        for entry in self.entries("receiving"):
            self._arrivals[entry.key] = time.monotonic()
        for entry in self.entries("done"):
            self._remove_images(entry)

    def _await_orphans(self) -> None:
        """Wait for the child processes of a killed node, which hold a lock until they end: see `child`."""
        if fcntl is None:
            return
        handle = os.open(self.root / ".children", os.O_CREAT | os.O_RDWR, 0o600)
        try:
            end = time.monotonic() + _ORPHANS_S
            while True:
                try:
                    fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    return
                except OSError:
                    if time.monotonic() > end:
                        raise OutputError("CTM_NODE_BUSY", path=self.root) from None
                    time.sleep(0.05)
        finally:
            os.close(handle)

    def close(self) -> None:
        """Release the folder."""
        os.close(self._handle)

    # -------------------------------------------------------------------------------------------------- what is there

    def entries(self, state: str) -> list[Entry]:
        """Return the series in a state, oldest first."""
        folder = self.root / state
        paths = [path for path in folder.iterdir() if _KEY.fullmatch(path.name)]
        return [Entry(path.name, state, path) for path in sorted(paths, key=_age)]

    def find(self, key: str) -> Entry | None:
        """Return the series of this key, or None."""
        if not _KEY.fullmatch(key):
            return None
        for state in STATES:
            if (path := self.root / state / key).is_dir():
                return Entry(key, state, path)
        return None

    def is_running(self, key: str) -> bool:
        return key in self._running

    def counts(self) -> dict[str, int]:
        """Return the number of series by state; those being denoised are "running" and not "waiting"."""
        with self.lock:
            counts = {state: len(self.entries(state)) for state in STATES}
            counts["running"] = len(self._running)
            counts["waiting"] -= counts["running"]
            return counts

    def refusal(self) -> str:
        """Return why no more series can be accepted, or an empty text."""
        return self._disk_problem() or self._length_problem()

    def _disk_problem(self) -> str:
        now = time.monotonic()
        if now - self._room[0] > _FRESH_S:
            free = shutil.disk_usage(self.root).free >> 20
            full = free < self._limits.free_mib
            self._room = (now, f"{free} MiB are free on the queue's disk, expected {self._limits.free_mib}" * full)
        return self._room[1]

    def _length_problem(self) -> str:
        folders = (self.root / state for state in ("receiving", "waiting", "sending"))
        active = sum(1 for folder in folders for _ in os.scandir(folder))
        if active < self._limits.series:
            return ""
        return f"{active} series are in the queue, expected fewer than {self._limits.series}"

    # ------------------------------------------------------------------------------------------------------- receiving

    def store(self, study_uid: str, series_uid: str, sop_uid: str, data: bytes, sender: str) -> str:
        """Keep an image: when this returns it is on the disk, whatever happens. Returns the key of its series.

        Parameters
        ----------
        study_uid, series_uid, sop_uid : str
        data : bytes
            The file.
        sender : str
            AE title.

        Raises
        ------
        Full
            The disk, or the series, is full.
        ImageConflict
            There is another image with this UID.
        """
        base, name = series_key(study_uid, series_uid), _image_name(sop_uid)
        new = self.root / _INCOMING / f"{uuid.uuid4().hex}.dcm"
        if problem := self._disk_problem():
            raise Full(problem)
        try:
            write_file(new, data)
            with self.lock:
                return self._place(base, name, new, data, sender)
        except OSError as e:
            raise Full(e.strerror or str(e)) from e
        finally:
            with suppress(OSError):
                new.unlink(missing_ok=True)

    def _place(self, base: str, name: str, new: Path, data: bytes, sender: str) -> str:
        entry = self._latest(base)
        if entry is None:
            entry = self._begin(f"{base}-1", sender)
        elif self._is_closed(entry):
            digest = entry.names().get(name)
            if digest is not None:
                if digest != hashlib.sha256(data).hexdigest():
                    raise ImageConflict
                return entry.key
            entry = self._begin(f"{base}-{entry.generation + 1}", sender)
        elif entry.state != "receiving":
            entry = self._reopen(entry)
        target = entry.images / name
        if target.exists():
            if target.read_bytes() != data:
                raise ImageConflict
        elif sum(1 for _ in os.scandir(entry.images)) >= self._limits.images:
            raise Full(f"the series has {self._limits.images} images")
        else:
            move(new, target)
        self._arrivals[entry.key] = time.monotonic()
        return entry.key

    def _latest(self, base: str) -> Entry | None:
        """Return the last generation of a series."""
        generations = [Entry(p.name, state, p) for state in STATES for p in (self.root / state).glob(f"{base}-*")]
        return max(generations, key=lambda entry: entry.generation, default=None)

    def _is_closed(self, entry: Entry) -> bool:
        """Return whether no image can be added: from when it is denoised until it is forgotten."""
        if entry.state in ("sending", "done") or entry.key in self._running:
            return True
        return entry.state == "quarantine" and bool(entry.record().deliveries)

    def _begin(self, key: str, sender: str) -> Entry:
        """Make the folder of a series that receives."""
        if problem := self._length_problem():
            raise Full(problem)
        return self._enter(_new_series(self.root / _INCOMING / uuid.uuid4().hex), key, sender)

    def _enter(self, folder: Path, key: str, sender: str) -> Entry:
        """Make a folder with images that of a series that receives."""
        write_json(folder / _RECORD, asdict(Record(sender=sender, received=time.time())))
        path = self.root / "receiving" / key
        move(folder, path)
        return Entry(key, "receiving", path)

    def _reopen(self, entry: Entry) -> Entry:
        """Receive further images of a series that is complete and not yet denoised, or that failed."""
        record = entry.record()
        fresh = Record(sender=record.sender, received=record.received)
        entry = self._move(entry, "receiving")
        self.write(entry, fresh)
        return entry

    def silent(self, seconds: float) -> list[Entry]:
        """Return the receiving series that have had no image for so long."""
        now = time.monotonic()
        with self.lock:
            return [e for e in self.entries("receiving") if now - self._arrivals.setdefault(e.key, now) >= seconds]

    def complete(self, keys: set[str]) -> None:
        """Take these series as silent: their sender has released its association."""
        with self.lock:
            for key in keys & set(self._arrivals):
                self._arrivals[key] = float("-inf")

    # -------------------------------------------------------------------------------------------------------- fetching

    @contextmanager
    def incoming(self) -> Iterator[Path]:
        """Yield a new folder for images that are being fetched; what stays in it is removed."""
        folder = self.root / _INCOMING / uuid.uuid4().hex
        folder.mkdir(mode=0o700)
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def room(self) -> int:
        """Return how many bytes the queue's disk can take."""
        return max(0, shutil.disk_usage(self.root).free - (self._limits.free_mib << 20))

    def is_known(self, key: str) -> bool:
        """Return whether the queue has the series of this `series_key`, in whatever state."""
        with self.lock:
            return self._latest(key) is not None

    def is_fetched(self, key: str) -> bool:
        """Return whether the series of this `series_key` was ever fetched."""
        return (self.root / _FETCHED / key).exists()

    def note_fetched(self, key: str) -> None:
        """Note that the series of this `series_key` need not be fetched again."""
        (self.root / _FETCHED / key).touch(mode=0o600)
        sync_folder(self.root / _FETCHED)

    def adopt(self, key: str, images: Mapping[str, Path], sender: str) -> None:
        """Take a series that was fetched whole, unless the queue has it; it is complete at once.

        Its folder appears with all of its images, so that no kill makes a part of a series look complete. It is noted
        as fetched afterwards: after a kill in between, the queue has it.

        Parameters
        ----------
        key : str
            Its `series_key`.
        images : mapping
            Files in a folder of `incoming`, by SOPInstanceUID; they are moved.
        sender : str
        """
        with self.incoming() as folder:
            partial = _new_series(folder / "series")
            for sop_uid, file in images.items():
                file.rename(partial / _IMAGES / _image_name(sop_uid))
            sync_tree(partial)
            with self.lock:
                if self._latest(key) is None:
                    entry = self._enter(partial, f"{key}-1", sender)
                    self._arrivals[entry.key] = float("-inf")
        self.note_fetched(key)

    # ------------------------------------------------------------------------------------------------ further states

    def write(self, entry: Entry, record: Record) -> None:
        """Replace the record of a series."""
        write_json(entry.path / _RECORD, asdict(record))

    def update(self, entry: Entry, change: Callable[[Record], None]) -> None:
        """Change the record of a series that others may be changing, too."""
        with self.lock:
            record = entry.record()
            change(record)
            self.write(entry, record)

    def admit(self, entry: Entry, record: Record, silence_s: float) -> bool:
        """Move a series from receiving to waiting; returns False if an image came meanwhile."""
        with self.lock:
            if not self._is_silent(entry, silence_s):
                return False
            files = sorted(entry.images.iterdir())
            record.images, record.completed = len(files), time.time()
            write_json(entry.path / _NAMES, {f.name: hashlib.sha256(f.read_bytes()).hexdigest() for f in files})
            self.write(entry, record)
            self._move(entry, "waiting")
            return True

    def _is_silent(self, entry: Entry, silence_s: float) -> bool:
        return time.monotonic() - self._arrivals.get(entry.key, 0.0) >= silence_s and entry.path.is_dir()

    def missing_names(self, entry: Entry) -> int:
        """Return how many images of the generation before are not in this one."""
        base, _, generation = entry.key.rpartition("-")
        before = self.find(f"{base}-{int(generation) - 1}")
        if before is None:
            return 0
        return len(set(before.names()) - {file.name for file in entry.images.iterdir()})

    def take(self) -> tuple[Entry, Record] | None:
        """Return the oldest series that is due to be denoised, with one try more, and mark it as running."""
        with self.lock:
            for entry in self.entries("waiting"):
                record = entry.record()
                if entry.key in self._running or record.due > time.time():
                    continue
                record.tries += 1
                self.write(entry, record)  # before the try: it may take the whole node with it
                shutil.rmtree(entry.run, ignore_errors=True)
                self._running.add(entry.key)
                return entry, record
        return None

    def put_back(self, entry: Entry, record: Record) -> None:
        """End a try that failed; the series waits."""
        with self.lock:
            self.write(entry, record)
            self.release(entry)

    def release(self, entry: Entry) -> None:
        """Mark a series as no longer running."""
        with self.lock:
            self._running.discard(entry.key)

    def finish(self, entry: Entry, record: Record) -> None:
        """Move a denoised series from waiting to sending; from here on it is not computed again."""
        sync_tree(entry.run)
        with self.lock:
            self.write(entry, record)
            self._move(entry, "sending")
            self._running.discard(entry.key)

    def quarantine(self, entry: Entry, record: Record, error: CtmahoutError) -> None:
        """Put a series aside, with the reason."""
        record.fail(error)
        with self.lock:
            self.write(entry, record)
            self._move(entry, "quarantine")
            self._running.discard(entry.key)

    def retry(self, key: str) -> bool:
        """Take a series out of quarantine; returns False if it is not there."""
        with self.lock:
            entry = self.find(key)
            if entry is None or entry.state != "quarantine":
                return False
            record = entry.record()
            record.fail(None)
            record.tries, record.due = 0, 0.0
            for delivery in record.deliveries.values():
                delivery.update(tries=0, due=0.0, failed=False, code="", message="", hint="")
            self.write(entry, record)
            if record.deliveries:
                self._move(entry, "sending")
            elif record.rule and (entry.path / _NAMES).exists():
                self._move(entry, "waiting")
            else:
                self._move(entry, "receiving")
                self._arrivals[key] = float("-inf")
            return True

    def archive(self, entry: Entry, record: Record, outcome: str) -> None:
        """Move a series to done, and remove its images unless the result goes nowhere else."""
        record.outcome = outcome
        with self.lock:
            if not (entry.path / _NAMES).exists():  # skipped before it was admitted
                files = sorted(entry.images.iterdir())
                write_json(entry.path / _NAMES, {f.name: hashlib.sha256(f.read_bytes()).hexdigest() for f in files})
            self.write(entry, record)
            entry = self._move(entry, "done")
        self._remove_images(entry)

    def prune(self, keep_s: float) -> None:
        """Remove the records of series that have been done for so long."""
        for entry in self.entries("done"):
            record = entry.record()
            last = max([record.completed, record.received, *(d["sent"] for d in record.deliveries.values())])
            if time.time() - last > keep_s:
                doomed = self.root / _INCOMING / uuid.uuid4().hex
                with self.lock:
                    move(entry.path, doomed)  # so that it is forgotten whole or not at all
                shutil.rmtree(doomed, ignore_errors=True)

    def _move(self, entry: Entry, state: str) -> Entry:
        path = self.root / state / entry.key
        move(entry.path, path)
        self._arrivals.pop(entry.key, None)
        return Entry(entry.key, state, path)

    @staticmethod
    def _remove_images(entry: Entry) -> None:
        """Remove images of a series that is done: they are where they came from, and where they were to go."""
        shutil.rmtree(entry.images, ignore_errors=True)
        if entry.record().outcome == "sent":
            for folder in _folders(entry.run):
                shutil.rmtree(folder, ignore_errors=True)
        sync_folder(entry.path)


def _folders(run: Path) -> Iterator[Path]:
    with suppress(OSError):
        yield from (path for path in list(run.iterdir()) if path.is_dir())


def _age(path: Path) -> tuple[float, str]:
    try:
        return json.loads((path / _RECORD).read_text(encoding="utf-8"))["received"], path.name
    except (OSError, ValueError, KeyError):  # it has moved on meanwhile
        return 0.0, path.name


def _new_series(folder: Path) -> Path:
    """Make the folder of a series without images."""
    for path in (folder, folder / _IMAGES):
        path.mkdir(mode=0o700)
    return folder


def series_key(study_uid: str, series_uid: str) -> str:
    """Return the key of a series without its generation."""
    return _digest("series", study_uid, series_uid)[:32]


def _image_name(sop_uid: str) -> str:
    return _digest("image", sop_uid)[:40] + ".dcm"


def _digest(*parts: str) -> str:
    return hashlib.sha256(repr(parts).encode()).hexdigest()
