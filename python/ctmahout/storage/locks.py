"""Who writes what is not finished yet, so that what a killed process left can be told from what another one works on.

A writer holds a POSIX lock on a file in its folder for as long as it lives; the JVM's side does the same (Claim.scala).
Such a lock ends with its process, however that ends, and is seen from other containers and, over NFS, other machines.
"""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

__all__ = ["hold", "is_in_progress", "remove_stale"]

_CLAIM = ".claim"
# Of this process: its own locks never stand in its way, and to close such a file a second time would end them.
_held: set[Path] = set()


@contextmanager
def hold(folder: Path) -> Iterator[None]:
    """Hold a new folder; when the block ends well, nothing in it tells of that.

    A file system without locks has no claims, and then nothing is ever taken for abandoned.
    """
    claim, file = folder / _CLAIM, -1
    _held.add(folder)
    try:
        with suppress(OSError):
            # Under its name only when it is locked: there is no moment in which it looks abandoned.
            new = folder / f"{_CLAIM}-new"
            file = os.open(new, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600)
            try:
                fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                new.rename(claim)
            except OSError:
                new.unlink()
        yield
        claim.unlink(missing_ok=True)
    finally:
        _held.discard(folder)
        if file >= 0:
            os.close(file)


def is_in_progress(parent: Path, name: str) -> bool:
    """Tell whether a process that lives, or this one, writes an output called `name`, a pattern of glob."""
    return any(folder in _held or _is_locked(folder / _CLAIM) for folder in parent.glob(f"{name}.partial-????????"))


def _is_locked(claim: Path) -> bool:
    with suppress(OSError):
        file = os.open(claim, os.O_RDWR | os.O_NOFOLLOW)
        try:
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return True
        finally:
            os.close(file)
    return False


def remove_stale(parent: Path, name: str) -> None:
    """Remove what killed processes left in `parent` of outputs called `name`, a pattern of glob.

    What is not claimed, or claimed by a process that lives, is left alone.
    """
    for folder in parent.glob(f"{name}.partial-????????"):
        if folder in _held:
            continue
        with suppress(OSError):
            file = os.open(folder / _CLAIM, os.O_RDWR | os.O_NOFOLLOW)
            try:
                fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(folder, ignore_errors=True)
            finally:
                os.close(file)
