"""Scan a folder or an archive: the headers of its CT series, and what its other files are."""

from __future__ import annotations

import hashlib
import os
import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TypeAlias

from ..errors import CtmahoutError, InputError
from .archive import is_archive, list_members, size_and_mtime
from .classify import Classification, UnusableImage, classify
from .files import parallel_map
from .header import SliceHeader
from .split import split

__all__ = ["FolderContents", "HeaderCache", "SeriesFiles", "cached_headers", "names_of_series", "scan", "series_text"]


@dataclass
class SeriesFiles:
    """The files of one SeriesInstanceUID.

    Attributes
    ----------
    uid : str
    headers : list of SliceHeader
        Files that can be slices of a volume.
    problems : list of CtmahoutError
        Why the other files cannot be used.
    part : str
        Label of the part, if the series was split.
    """

    uid: str
    headers: list[SliceHeader] = field(default_factory=list)
    problems: list[CtmahoutError] = field(default_factory=list)
    part: str = ""

    @property
    def folder(self) -> str:
        """Folder name for the output of this series: independent of its location, without patient data."""
        number = re.sub(r"\D", "", min((h.series_number for h in self.headers), default=""))[:10] or "0"
        content = repr((self.uid, sorted({h.sop_uid for h in self.headers})))
        return f"series-{number}-{hashlib.sha256(content.encode()).hexdigest()[:8]}"


@dataclass
class FolderContents:
    """The contents of a folder.

    Attributes
    ----------
    series : list of SeriesFiles
        In the order of their first files.
    unreadable : list of CtmahoutError
        Files too damaged to assign to a series.
    skipped : Counter
        Number of files that are not CT slices, by kind.
    """

    series: list[SeriesFiles] = field(default_factory=list)
    unreadable: list[CtmahoutError] = field(default_factory=list)
    skipped: Counter[str] = field(default_factory=Counter)

    def skipped_text(self) -> str:
        return ", ".join(f"{count} {kind}" for kind, count in sorted(self.skipped.items()))


def scan(
    path: Path,
    *,
    parts: bool = False,
    unpack_gib: int = 1,
    workers: int | None = None,
    tick: Callable[[int, int], None] | None = None,
) -> FolderContents:
    """Read the headers of all files below a folder, including those in zip and tar archives.

    Links to folders are not followed, and archives within archives are not opened.

    Parameters
    ----------
    path : Path
    parts : bool
        Split each series into its volumes: see `split`.
    unpack_gib : int, GiB
        Largest unpacked size of an image in an archive or of a deflated image; larger ones are unreadable files. See
        `list_members`.
    workers : int, optional
        Threads.
    tick : callable, optional
        Called with files done and their number.

    Raises
    ------
    InputError
        CTM_INPUT_NOT_FOUND, CTM_INPUT_EMPTY.
    """
    if not path.exists():
        raise InputError("CTM_INPUT_NOT_FOUND", path=path)
    contents = FolderContents()
    limit = unpack_gib << 30
    files = _expand_archives([path] if path.is_file() else _walk(path, contents), contents, limit)
    if not files and not contents.unreadable:
        raise InputError("CTM_INPUT_EMPTY", path=path)
    by_uid: dict[str, SeriesFiles] = {}
    for item in _classify_all(files, limit, workers=workers, tick=tick):
        if isinstance(item, str):
            contents.skipped[item] += 1
        elif isinstance(item, CtmahoutError):
            contents.unreadable.append(item)
        elif isinstance(item, UnusableImage):
            by_uid.setdefault(item.series_uid, SeriesFiles(item.series_uid)).problems.append(item.error)
        else:
            for header in item:
                by_uid.setdefault(header.series_uid, SeriesFiles(header.series_uid)).headers.append(header)
    contents.series = list(by_uid.values())
    if parts:
        contents.series = [part for series in contents.series for part in _split_series(series)]
    return contents


HeaderCache: TypeAlias = dict[Path, tuple[tuple[int, int], Classification]]
"""What files are, by their paths, with the size and time at which they were read."""

_cache: ContextVar[HeaderCache | None] = ContextVar("cache", default=None)


@contextmanager
def cached_headers(known: HeaderCache | None = None) -> Iterator[HeaderCache]:
    """Keep the headers read in this block, for further scans of the same folder; changed files are read again.

    Parameters
    ----------
    known : dict, optional
        What another block has kept, perhaps in another process.
    """
    cache = {} if known is None else known
    token = _cache.set(cache)
    try:
        yield cache
    finally:
        _cache.reset(token)


def names_of_series(headers: HeaderCache, folder: Path, series_uid: str) -> frozenset[str]:
    """Return the files below a folder, and their folders, that reading one of its series looks at.

    These are the files of the series, and those that belong to no series: they are counted, or refused.
    """
    names: set[str] = set()
    for path, (_, item) in headers.items():
        uids = [item.series_uid] if isinstance(item, UnusableImage) else None
        if isinstance(item, list):
            uids = [header.series_uid for header in item]
        if uids is None or series_uid in uids:
            relative = path.relative_to(folder)
            names |= {parent.as_posix() for parent in (relative, *relative.parents)}
    return frozenset(names)


def _classify_all(
    files: Sequence[Path], limit: int, *, workers: int | None, tick: Callable[[int, int], None] | None
) -> list[Classification]:
    cache = _cache.get()
    if cache is None:
        return parallel_map(partial(classify, limit=limit), files, workers=workers, tick=tick)
    stamps = {file: _size_and_mtime(file) for file in files}
    new = [file for file in files if file not in cache or cache[file][0] != stamps[file]]
    results = parallel_map(partial(classify, limit=limit), new, workers=workers, tick=tick)
    classified = dict(zip(new, results, strict=True))
    for file, result in classified.items():
        if (stamp := stamps[file]) is not None:
            cache[file] = (stamp, result)
    return [classified[file] if file in classified else cache[file][1] for file in files]


def _size_and_mtime(file: Path) -> tuple[int, int] | None:
    try:
        return size_and_mtime(file)
    except (OSError, CtmahoutError):
        return None


def _split_series(series: SeriesFiles) -> list[SeriesFiles]:
    parts = split(series.headers)
    if len(parts) < 2:
        return [series]
    # An unusable file may belong to any part.
    return [SeriesFiles(series.uid, headers, series.problems, label) for label, headers in parts]


def _walk(path: Path, contents: FolderContents) -> list[Path]:
    def report(e: OSError) -> None:
        # os.walk would skip such a folder silently.
        problem = f"the folder cannot be opened ({e.strerror})"
        contents.unreadable.append(InputError("CTM_INPUT_UNREADABLE", file=e.filename, problem=problem))

    files = []
    for folder, subfolders, names in os.walk(path, onerror=report):
        subfolders.sort()
        files += [Path(folder) / name for name in sorted(names)]
    return files


def _expand_archives(files: list[Path], contents: FolderContents, limit: int) -> list[Path]:
    """Return the files, with the members of an archive in its place."""
    expanded: list[Path] = []
    for file in files:
        if not is_archive(file):
            expanded.append(file)
            continue
        try:
            expanded += list_members(file, limit)
        except CtmahoutError as e:
            contents.unreadable.append(e)
    return expanded


def series_text(series: Sequence[SeriesFiles]) -> str:
    """Return the series as one line for an error message, each with its number in brackets."""
    return "; ".join(f"[{number}] {_describe(one)}" for number, one in enumerate(series, 1))


def _describe(series: SeriesFiles) -> str:
    first = series.headers[0] if series.headers else None
    if first is None:
        return f"{len(series.problems)} files that cannot be used"
    parts = [
        f"SeriesNumber {first.series_number[:12] or '-'}",
        *([series.part] if series.part else []),
        f"{len(series.headers)} slices",
        f"{first.pixels.rows} x {first.pixels.columns}",
    ]
    return ", ".join([*parts, f"kernel {first.kernel[:16]}"] if first.kernel else parts)
