"""Locks that distinguish stale output of a killed process from output in progress.

A writer holds a POSIX lock on a file in its folder until it exits; so does the JVM (Claim.scala). The lock ends with
the process, however that ends, and is visible from other containers and, over NFS, from other machines.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import ModuleType

fcntl: ModuleType | None
try:
    import fcntl
except ImportError:  # Windows
    fcntl = None

__all__ = ["hold", "is_in_progress", "remove_stale"]

_LOCK_FILE = ".claim"
_OPEN_EXISTING = os.O_RDWR | getattr(os, "O_NOFOLLOW", 0)
# Folders locked by this process. POSIX locks do not exclude their own process, and closing a second descriptor of the
# lock file would release them.
_held: set[Path] = set()


@contextmanager
def hold(folder: Path) -> Iterator[None]:
    """Hold the lock of a new folder during the block; its file is removed if the block succeeds.

    On a file system or a system without POSIX locks there is no lock file, and such folders are never considered stale.
    """
    lock_file, file = folder / _LOCK_FILE, -1
    _held.add(folder)
    try:
        with suppress(OSError):
            # Renamed once it is locked, so that the folder never looks stale.
            new = folder / f"{_LOCK_FILE}-new"
            if fcntl is not None:
                file = os.open(new, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600)
                try:
                    fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    new.rename(lock_file)
                except OSError:
                    new.unlink()
        yield
        lock_file.unlink(missing_ok=True)
    finally:
        _held.discard(folder)
        if file >= 0:
            os.close(file)


def is_in_progress(parent: Path, name: str) -> bool:
    """Return whether this or another running process writes an output called `name` (glob pattern) in `parent`."""
    return any(folder in _held or _is_locked(folder / _LOCK_FILE) for folder in parent.glob(f"{name}.partial-????????"))


def _is_locked(lock_file: Path) -> bool:
    if fcntl is None:
        return False
    with suppress(OSError):
        file = os.open(lock_file, _OPEN_EXISTING)
        try:
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return True
        finally:
            os.close(file)
    return False


def remove_stale(parent: Path, name: str) -> None:
    """Remove incomplete outputs called `name` (glob pattern) that killed processes left in `parent`.

    Folders without a lock file, or locked by a running process, are kept.
    """
    if fcntl is None:
        return
    for folder in parent.glob(f"{name}.partial-????????"):
        if folder in _held:
            continue
        with suppress(OSError):
            file = os.open(folder / _LOCK_FILE, _OPEN_EXISTING)
            try:
                fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(folder, ignore_errors=True)
            finally:
                os.close(file)
