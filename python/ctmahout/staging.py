"""Output that appears whole or not at all."""

from __future__ import annotations

import glob
import shutil
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from .claims import claimed, clear_abandoned
from .errors import OutputError

__all__ = ["refuse_overlap", "staged", "staged_file"]


@contextmanager
def staged(path: Path, *, overwrite: bool, ours: Callable[[Path], bool]) -> Iterator[Path]:
    """Give a new folder beside `path` to fill, and rename it to `path` when the block ends well.

    On any error, and on Ctrl-C, the folder is removed and what stood at `path` is as it was. A process that is killed
    leaves its folder; the next one that writes to `path` removes it.

    Parameters
    ----------
    path : Path
    overwrite : bool
        Replace what is at `path`, once the new output is complete.
    ours : callable
        Tells whether an existing folder was written by ctmahout; anything else is never replaced.

    Raises
    ------
    OutputError
        CTM_OUTPUT_EXISTS, CTM_OUTPUT_UNWRITABLE.
    """
    path = Path(path).absolute()
    refuse_existing(path, overwrite=overwrite, ours=ours)
    clear_abandoned(path.parent, glob.escape(path.name))
    partial = path.with_name(f"{path.name}.partial-{uuid.uuid4().hex[:8]}")
    missing = [folder for folder in path.parents if not folder.exists()]
    try:
        try:
            partial.mkdir(parents=True)
            with claimed(partial):
                yield partial
            _commit(partial, path, overwrite=overwrite, ours=ours)
        except OSError as e:
            if isinstance(e, FileExistsError):
                raise OutputError("CTM_OUTPUT_EXISTS", path=path) from e
            raise OutputError("CTM_OUTPUT_UNWRITABLE", path=path, problem=e.strerror or e) from e
    finally:
        shutil.rmtree(partial, ignore_errors=True)
        with suppress(OSError):  # they are not empty after a run that ended well
            for folder in missing:
                folder.rmdir()


@contextmanager
def staged_file(path: Path, *, overwrite: bool, ours: Callable[[Path], bool] = Path.is_file) -> Iterator[Path]:
    """Give the path of a new file beside `path` to write, and rename it to `path` when the block ends well.

    Parameters
    ----------
    path : Path
    overwrite : bool
        Replace what is at `path`, once the new file is complete.
    ours : callable
        Tells whether an existing file was written by ctmahout; anything else is never replaced.

    Raises
    ------
    OutputError
        CTM_OUTPUT_EXISTS, CTM_OUTPUT_UNWRITABLE.
    """
    path = Path(path).absolute()
    if path.is_symlink() or (path.exists() and not (overwrite and path.is_file() and ours(path))):
        raise OutputError("CTM_OUTPUT_EXISTS", path=path)
    partial = path.with_name(f"{path.name}.partial-{uuid.uuid4().hex[:8]}")
    missing = [folder for folder in path.parents if not folder.exists()]
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield partial
        partial.replace(path)
    except OSError as e:
        raise OutputError("CTM_OUTPUT_UNWRITABLE", path=path, problem=e.strerror or e) from e
    finally:
        with suppress(OSError):  # they are not empty after a file that was written well
            partial.unlink(missing_ok=True)
            for folder in missing:
                folder.rmdir()


def refuse_existing(path: Path, *, overwrite: bool, ours: Callable[[Path], bool]) -> None:
    """Raise CTM_OUTPUT_EXISTS if `path` may not be written: cheap, so it is asked before hours of work, too."""
    if path.is_symlink() or path.exists():
        empty = path.is_dir() and not any(path.iterdir())
        if not empty and not (overwrite and path.is_dir() and ours(path)):
            raise OutputError("CTM_OUTPUT_EXISTS", path=path)


def _commit(partial: Path, path: Path, *, overwrite: bool, ours: Callable[[Path], bool]) -> None:
    refuse_existing(path, overwrite=overwrite, ours=ours)
    if not path.exists():
        partial.rename(path)
        return
    old = path.with_name(f"{path.name}.replaced-{uuid.uuid4().hex[:8]}")
    path.rename(old)
    try:
        partial.rename(path)
    except BaseException:
        old.rename(path)
        raise
    shutil.rmtree(old, ignore_errors=True)


def refuse_overlap(output: Path, source: Path) -> None:
    """Raise CTM_OUTPUT_IS_INPUT if one of the two folders lies in the other."""
    a, b = Path(output).resolve(), Path(source).resolve()
    if a == b or a in b.parents or b in a.parents:
        raise OutputError("CTM_OUTPUT_IS_INPUT", path=output)
