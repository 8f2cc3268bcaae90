"""Output that appears whole or not at all."""

from __future__ import annotations

import errno
import glob
import os
import re
import shutil
import tempfile
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from ..errors import OutputError
from .locks import hold, is_in_progress, remove_stale

__all__ = ["atomic_dir", "atomic_file", "refuse_busy", "refuse_existing", "refuse_overlap"]

_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EROFS)


@contextmanager
def atomic_dir(path: Path, *, overwrite: bool, is_replaceable: Callable[[Path], bool]) -> Iterator[Path]:
    """Give a new folder beside `path` to fill, and rename it to `path` when the block ends well.

    On any error, and on Ctrl-C, the folder is removed and what stood at `path` is as it was. A process that is killed
    leaves its folder; the next one that writes to `path` removes it, and puts an output back that was being replaced.

    Parameters
    ----------
    path : Path
    overwrite : bool
        Replace what is at `path`, once the new output is complete.
    is_replaceable : callable
        Tells whether an existing folder was written by ctmahout; anything else is never replaced.

    Raises
    ------
    OutputError
        CTM_OUTPUT_EXISTS, CTM_OUTPUT_UNWRITABLE.
    """
    path = Path(path).absolute()
    _restore(path)
    refuse_existing(path, overwrite=overwrite, is_replaceable=is_replaceable)
    remove_stale(path.parent, glob.escape(path.name))
    number = uuid.uuid4().hex[:8]
    partial = path.with_name(f"{path.name}.partial-{number}")
    missing = [folder for folder in path.parents if not folder.exists()]
    try:
        with _as_unwritable(path):
            partial.mkdir(parents=True)
        with hold(partial):
            try:
                yield partial
            except OSError as e:
                # Not of what else the block does: programs, networks, inputs.
                if (place := _unwritable(e, partial, path)) is None:
                    raise
                raise OutputError("CTM_OUTPUT_UNWRITABLE", path=place, problem=e.strerror or e) from e
        with _as_unwritable(path):
            _commit(partial, path, number, overwrite=overwrite, is_replaceable=is_replaceable)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
        with suppress(OSError):  # they are not empty after a run that ended well
            for folder in missing:
                folder.rmdir()


@contextmanager
def atomic_file(
    path: Path, *, overwrite: bool, is_replaceable: Callable[[Path], bool] = Path.is_file
) -> Iterator[Path]:
    """Give the path of a new file beside `path` to write, and rename it to `path` when the block ends well.

    Parameters
    ----------
    path : Path
    overwrite : bool
        Replace what is at `path`, once the new file is complete.
    is_replaceable : callable
        Tells whether an existing file was written by ctmahout; anything else is never replaced.

    Raises
    ------
    OutputError
        CTM_OUTPUT_EXISTS, CTM_OUTPUT_UNWRITABLE.
    """
    path = Path(path).absolute()
    if path.is_symlink() or (path.exists() and not (overwrite and path.is_file() and is_replaceable(path))):
        raise OutputError("CTM_OUTPUT_EXISTS", path=path)
    partial = path.with_name(f"{path.name}.partial-{uuid.uuid4().hex[:8]}")
    missing = [folder for folder in path.parents if not folder.exists()]
    try:
        with _as_unwritable(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            yield partial
            partial.replace(path)
    finally:
        with suppress(OSError):  # they are not empty after a file that was written well
            partial.unlink(missing_ok=True)
            for folder in missing:
                folder.rmdir()


def refuse_existing(path: Path, *, overwrite: bool, is_replaceable: Callable[[Path], bool]) -> None:
    """Raise CTM_OUTPUT_EXISTS if `path` may not be written: cheap, so it is asked before hours of work, too."""
    if path.is_symlink() or path.exists():
        empty = path.is_dir() and not any(path.iterdir())
        if not empty and not (overwrite and path.is_dir() and is_replaceable(path)):
            raise OutputError("CTM_OUTPUT_EXISTS", path=path)


@contextmanager
def _as_unwritable(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as e:
        raise OutputError("CTM_OUTPUT_UNWRITABLE", path=path, problem=e.strerror or e) from e


def _unwritable(e: OSError, partial: Path, path: Path) -> Path | None:
    """Return which place cannot be written, the output or the temporary folder; None if it is another error."""
    elsewhere = Path(tempfile.gettempdir())
    if e.filename is not None:
        parents = Path(os.fsdecode(e.filename)).parents
        return path if partial in parents else elsewhere if e.errno in _NO_ROOM and elsewhere in parents else None
    if e.errno not in _NO_ROOM:
        return None
    # A file that is open already has no name here: on two disks, it is of the one that has less room.
    with suppress(OSError):
        two_disks = elsewhere.stat().st_dev != partial.stat().st_dev
        if two_disks and shutil.disk_usage(elsewhere).free < shutil.disk_usage(partial).free:
            return elsewhere
    return path


def refuse_busy(path: Path) -> None:
    """Raise CTM_OUTPUT_BUSY if somebody writes to `path`: of two only one can win, and it is seen before the work."""
    path = Path(path).absolute()
    if is_in_progress(path.parent, glob.escape(path.name)):
        raise OutputError("CTM_OUTPUT_BUSY", path=path)


def _commit(partial: Path, path: Path, number: str, *, overwrite: bool, is_replaceable: Callable[[Path], bool]) -> None:
    refuse_existing(path, overwrite=overwrite, is_replaceable=is_replaceable)
    if not path.exists():
        partial.rename(path)
        return
    old = path.with_name(f"{path.name}.replaced-{number}")
    path.rename(old)
    try:
        partial.rename(path)
    except BaseException:
        with suppress(OSError):  # another process may have put it back
            old.rename(path)
        raise
    shutil.rmtree(old, ignore_errors=True)


def _restore(path: Path) -> None:
    """Put back, or remove, what a process left that was killed while it replaced an output: see `_commit`."""
    for old in path.parent.glob(f"{glob.escape(path.name)}.replaced-????????"):
        number = old.name.rpartition("-")[2]
        if not re.fullmatch("[0-9a-f]{8}", number):
            continue
        with suppress(OSError):
            if path.exists():  # the new output is in its place
                shutil.rmtree(old, ignore_errors=True)
            else:
                old.rename(path)
                # What was to take its place has no claim any more.
                shutil.rmtree(path.with_name(f"{path.name}.partial-{number}"), ignore_errors=True)


def refuse_overlap(output: Path, source: Path) -> None:
    """Raise CTM_OUTPUT_IS_INPUT if one of the two folders lies in the other."""
    a, b = Path(output).resolve(), Path(source).resolve()
    if a == b or a in b.parents or b in a.parents:
        raise OutputError("CTM_OUTPUT_IS_INPUT", path=output)
