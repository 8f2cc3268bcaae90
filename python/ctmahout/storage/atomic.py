"""Output files and folders that appear complete or not at all."""

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

_DISK_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EROFS)


@contextmanager
def atomic_dir(path: Path, *, overwrite: bool, is_replaceable: Callable[[Path], bool]) -> Iterator[Path]:
    """Yield a new folder beside `path`, and rename it to `path` when the block succeeds.

    On any error, and on Ctrl-C, the folder is removed and `path` is unchanged. A killed process leaves its folder; the
    next run that writes to `path` removes it, and restores an output that was being replaced.

    Parameters
    ----------
    path : Path
    overwrite : bool
        Replace an existing output when the new one is complete.
    is_replaceable : callable
        Returns whether an existing folder was written by ctmahout; others are never replaced.

    Raises
    ------
    OutputError
        CTM_OUTPUT_EXISTS, CTM_OUTPUT_UNWRITABLE.
    """
    path = Path(path).absolute()
    _restore(path)
    refuse_existing(path, overwrite=overwrite, is_replaceable=is_replaceable)
    remove_stale(path.parent, glob.escape(path.name))
    suffix = uuid.uuid4().hex[:8]
    partial = path.with_name(f"{path.name}.partial-{suffix}")
    missing = [folder for folder in path.parents if not folder.exists()]
    try:
        with _os_errors_as_unwritable(path):
            partial.mkdir(parents=True)
        with hold(partial):
            try:
                yield partial
            except OSError as e:
                # The block may also fail to start a program, use a network or read an input.
                if (unwritable := _unwritable_path(e, partial, path)) is None:
                    raise
                raise OutputError("CTM_OUTPUT_UNWRITABLE", path=unwritable, problem=e.strerror or e) from e
        with _os_errors_as_unwritable(path):
            _commit(partial, path, suffix, overwrite=overwrite, is_replaceable=is_replaceable)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
        with suppress(OSError):  # not empty after success
            for folder in missing:
                folder.rmdir()


@contextmanager
def atomic_file(path: Path, *, overwrite: bool, is_replaceable: Callable[[Path], bool]) -> Iterator[Path]:
    """Yield the path of a new file beside `path`, and rename it to `path` when the block succeeds.

    Parameters
    ----------
    path : Path
    overwrite : bool
        Replace an existing file when the new one is complete.
    is_replaceable : callable
        Returns whether an existing file was written by ctmahout; others are never replaced.

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
        with _os_errors_as_unwritable(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            yield partial
            partial.replace(path)
    finally:
        with suppress(OSError):  # not empty after success
            partial.unlink(missing_ok=True)
            for folder in missing:
                folder.rmdir()


def refuse_existing(path: Path, *, overwrite: bool, is_replaceable: Callable[[Path], bool]) -> None:
    """Raise CTM_OUTPUT_EXISTS if `path` may not be written. Cheap enough to call before hours of work."""
    if path.is_symlink() or path.exists():
        empty = path.is_dir() and not any(path.iterdir())
        if not empty and not (overwrite and path.is_dir() and is_replaceable(path)):
            raise OutputError("CTM_OUTPUT_EXISTS", path=path)


@contextmanager
def _os_errors_as_unwritable(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as e:
        raise OutputError("CTM_OUTPUT_UNWRITABLE", path=path, problem=e.strerror or e) from e


def _unwritable_path(e: OSError, partial: Path, path: Path) -> Path | None:
    """Return the output or the temporary folder, whichever could not be written; None for any other error."""
    temp = Path(tempfile.gettempdir())
    if e.filename is not None:
        parents = Path(os.fsdecode(e.filename)).parents
        return path if partial in parents else temp if e.errno in _DISK_ERRORS and temp in parents else None
    if e.errno not in _DISK_ERRORS:
        return None
    # Errors of an open file have no file name: of two disks, assume the one with less free space.
    with suppress(OSError):
        two_disks = temp.stat().st_dev != partial.stat().st_dev
        if two_disks and shutil.disk_usage(temp).free < shutil.disk_usage(partial).free:
            return temp
    return path


def refuse_busy(path: Path) -> None:
    """Raise CTM_OUTPUT_BUSY if another run is writing to `path`, since only one of the two could succeed."""
    path = Path(path).absolute()
    if is_in_progress(path.parent, glob.escape(path.name)):
        raise OutputError("CTM_OUTPUT_BUSY", path=path)


def _commit(partial: Path, path: Path, suffix: str, *, overwrite: bool, is_replaceable: Callable[[Path], bool]) -> None:
    refuse_existing(path, overwrite=overwrite, is_replaceable=is_replaceable)
    if not path.exists():
        partial.rename(path)
        return
    old = path.with_name(f"{path.name}.replaced-{suffix}")
    path.rename(old)
    try:
        partial.rename(path)
    except BaseException:
        with suppress(OSError):  # another process may have restored it
            old.rename(path)
        raise
    shutil.rmtree(old, ignore_errors=True)


def _restore(path: Path) -> None:
    """Restore or remove the old output of a process that was killed while replacing it: see `_commit`."""
    for old in path.parent.glob(f"{glob.escape(path.name)}.replaced-????????"):
        suffix = old.name.rpartition("-")[2]
        if not re.fullmatch("[0-9a-f]{8}", suffix):
            continue
        with suppress(OSError):
            if path.exists():  # the new output is complete
                shutil.rmtree(old, ignore_errors=True)
            else:
                old.rename(path)
                # Its replacement no longer has a lock file, so `remove_stale` would keep it.
                shutil.rmtree(path.with_name(f"{path.name}.partial-{suffix}"), ignore_errors=True)


def refuse_overlap(output: Path, source: Path) -> None:
    """Raise CTM_OUTPUT_IS_INPUT if the two paths are the same, or one contains the other."""
    a, b = Path(output).resolve(), Path(source).resolve()
    if a == b or a in b.parents or b in a.parents:
        raise OutputError("CTM_OUTPUT_IS_INPUT", path=output)
