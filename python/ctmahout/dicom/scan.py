"""Which CT series a folder holds."""

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

from ..errors import CtmahoutError, InputError
from .archive import is_archive, members, stamp
from .classify import Look, Problem, look
from .files import each
from .header import SliceHeader
from .split import split

__all__ = ["Listing", "SeriesFiles", "headers_kept", "labels", "list_folder"]


@dataclass
class SeriesFiles:
    """The files of one SeriesInstanceUID: those that can be slices of a volume, and why the others cannot.

    `part` says which of them, where a series was split.
    """

    uid: str
    headers: list[SliceHeader] = field(default_factory=list)
    problems: list[CtmahoutError] = field(default_factory=list)
    part: str = ""

    @property
    def folder(self) -> str:
        """The name of a folder for it: the same wherever its files lie, and nothing in it is a patient's."""
        number = re.sub(r"\D", "", min((h.series_number for h in self.headers), default=""))[:10] or "0"
        content = repr((self.uid, sorted({h.sop_uid for h in self.headers})))
        return f"series-{number}-{hashlib.sha256(content.encode()).hexdigest()[:8]}"


@dataclass
class Listing:
    """What was found in a folder.

    Attributes
    ----------
    series : list of SeriesFiles
        In the order found.
    unreadable : list of CtmahoutError
        Files too damaged to tell what they belong to.
    skipped : Counter
        Files that are no CT slices, by what they are.
    """

    series: list[SeriesFiles] = field(default_factory=list)
    unreadable: list[CtmahoutError] = field(default_factory=list)
    skipped: Counter[str] = field(default_factory=Counter)

    def skipped_text(self) -> str:
        return ", ".join(f"{count} {what}" for what, count in sorted(self.skipped.items()))


def list_folder(
    path: Path,
    *,
    parts: bool = False,
    unpack_gib: int = 1,
    workers: int | None = None,
    tick: Callable[[int, int], None] | None = None,
) -> Listing:
    """Read the headers of all files below a folder, in zip and tar archives, too; links to folders are not followed.

    With `parts` a series is split into what can be volumes: see `split`. An image of an archive, or a deflated one, may
    unpack to `unpack_gib`, see `members`; larger ones are among the unreadable files.

    Raises
    ------
    InputError
        CTM_INPUT_NOT_FOUND, CTM_INPUT_EMPTY.
    """
    if not path.exists():
        raise InputError("CTM_INPUT_NOT_FOUND", path=path)
    listing = Listing()
    limit = unpack_gib << 30
    files = _looked_into([path] if path.is_file() else _files_below(path, listing), listing, limit)
    if not files and not listing.unreadable:
        raise InputError("CTM_INPUT_EMPTY", path=path)
    by_uid: dict[str, SeriesFiles] = {}
    for found in _looked_at(files, limit, workers=workers, tick=tick):
        if isinstance(found, str):
            listing.skipped[found] += 1
        elif isinstance(found, CtmahoutError):
            listing.unreadable.append(found)
        elif isinstance(found, Problem):
            by_uid.setdefault(found.series_uid, SeriesFiles(found.series_uid)).problems.append(found.error)
        else:
            for header in found:
                by_uid.setdefault(header.series_uid, SeriesFiles(header.series_uid)).headers.append(header)
    listing.series = list(by_uid.values())
    if parts:
        listing.series = [part for series in listing.series for part in _parts(series)]
    return listing


_kept: ContextVar[dict[Path, tuple[tuple[int, int], Look]] | None] = ContextVar("kept", default=None)


@contextmanager
def headers_kept() -> Iterator[None]:
    """Read the headers of a folder once for all that is read from it in this block; changed files are read anew."""
    token = _kept.set({})
    try:
        yield
    finally:
        _kept.reset(token)


def _looked_at(
    files: Sequence[Path], limit: int, *, workers: int | None, tick: Callable[[int, int], None] | None
) -> list[Look]:
    kept = _kept.get()
    if kept is None:
        return each(partial(look, limit=limit), files, workers=workers, tick=tick)
    stamps = {file: _stamp_or_none(file) for file in files}
    unknown = [f for f in files if f not in kept or kept[f][0] != stamps[f]]
    found = dict(zip(unknown, each(partial(look, limit=limit), unknown, workers=workers, tick=tick), strict=True))
    for file, what in found.items():
        if (at := stamps[file]) is not None:
            kept[file] = (at, what)
    return [found[file] if file in found else kept[file][1] for file in files]


def _stamp_or_none(file: Path) -> tuple[int, int] | None:
    try:
        return stamp(file)
    except (OSError, CtmahoutError):
        return None


def _parts(series: SeriesFiles) -> list[SeriesFiles]:
    found = split(series.headers)
    if len(found) < 2:
        return [series]
    # A file that cannot be used may be of any part.
    return [SeriesFiles(series.uid, headers, series.problems, part) for part, headers in found]


def _files_below(path: Path, listing: Listing) -> list[Path]:
    def closed(e: OSError) -> None:
        # os.walk would leave such a folder out without a word.
        problem = f"the folder cannot be opened ({e.strerror})"
        listing.unreadable.append(InputError("CTM_INPUT_UNREADABLE", file=e.filename, problem=problem))

    files = []
    for folder, names, found in os.walk(path, onerror=closed):
        names.sort()
        files += [Path(folder) / name for name in sorted(found)]
    return files


def _looked_into(files: list[Path], listing: Listing, limit: int) -> list[Path]:
    """Return the files, archives replaced by what is in them; an archive within an archive is not looked into."""
    found: list[Path] = []
    for file in files:
        if not is_archive(file):
            found.append(file)
            continue
        try:
            found += members(file, limit)
        except CtmahoutError as e:
            listing.unreadable.append(e)
    return found


def labels(series: Sequence[SeriesFiles]) -> str:
    """Return a list of series for an error text, each with its number in brackets."""
    return "; ".join(f"[{number}] {_label(one)}" for number, one in enumerate(series, 1))


def _label(series: SeriesFiles) -> str:
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
