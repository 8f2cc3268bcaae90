"""Files inside zip and tar archives, read where they are: nothing is unpacked under a name of its own.

A member has the path of its archive followed by its name, as if the archive were a folder. Such a path cannot be that
of a real file, so it says of itself what it is.
"""

from __future__ import annotations

import bz2
import errno
import gzip
import lzma
import os
import tarfile
import tempfile
import threading
import zipfile
import zlib
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from functools import lru_cache
from io import BytesIO
from pathlib import Path, PurePosixPath
from typing import IO, Any, BinaryIO

from ..errors import InputError, too_large

__all__ = ["IMAGES", "beginning", "is_archive", "members", "open_file", "stamp"]

IMAGES = 32
"""A compressed tar archive may unpack to so many times what one image may: it goes to disk."""

_CHUNK = 1 << 20
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)

_OPENERS: Mapping[str, Callable[[Path], Any]] = {
    ".tar": lambda path: path.open("rb"),
    ".tar.gz": gzip.open,
    ".tgz": gzip.open,
    ".tar.bz2": bz2.open,
    ".tar.xz": lzma.open,
}
_DAMAGE = (zipfile.BadZipFile, tarfile.TarError, lzma.LZMAError, zlib.error, EOFError, NotImplementedError)


def is_archive(path: Path) -> bool:
    """Tell by its name whether a file is an archive that is looked into."""
    return path.name.lower().endswith((".zip", *_OPENERS)) and path.is_file()


def members(path: Path, limit: int) -> list[Path]:
    """Return the paths of the files in an archive.

    Parameters
    ----------
    path : Path
    limit : int
        Bytes that one image may unpack to; a compressed tar archive, which is unpacked to disk, `IMAGES` times as many.

    Raises
    ------
    InputError
        CTM_INPUT_UNREADABLE, CTM_UNPACKED_TOO_LARGE.
    """
    return [path / name for name in sorted(_opened(path, IMAGES * limit).members)]


def open_file(path: Path, limit: int | None = None) -> BinaryIO:
    """Open a file, or the member of an archive.

    Parameters
    ----------
    path : Path
    limit : int, optional
        Bytes that a compressed member may have; any number if not given, for a file that passed before.

    Raises
    ------
    OSError
    InputError
        CTM_INPUT_UNREADABLE: the archive is damaged or encrypted. CTM_UNPACKED_TOO_LARGE.
    """
    try:
        return path.open("rb")
    except NotADirectoryError:
        archive, name = _apart(path)
        opened = _opened(archive)
        if limit is not None and opened.packed and opened.size(name) > limit:
            raise too_large(path, limit) from None
        return BytesIO(_of_archive(path, lambda: opened.read(name)))


def beginning(path: Path, count: int) -> bytes:
    """Return the first bytes of a file or of a member, of which no more is unpacked; errors as of `open_file`."""
    try:
        with path.open("rb") as stream:
            return stream.read(count)
    except NotADirectoryError:
        archive, name = _apart(path)
        opened = _opened(archive)
        return _of_archive(path, lambda: opened.read(name, count))


def stamp(path: Path) -> tuple[int, int]:
    """Return size and time of change (ns) of a file; a member changes when its archive does.

    Raises
    ------
    OSError
    InputError
        CTM_INPUT_UNREADABLE.
    """
    try:
        status = path.stat()
    except NotADirectoryError:
        archive, name = _apart(path)
        return _opened(archive).size(name), archive.stat().st_mtime_ns
    return status.st_size, status.st_mtime_ns


def _of_archive(path: Path, read: Callable[[], bytes]) -> bytes:
    try:
        return read()
    except (*_DAMAGE, RuntimeError) as e:  # RuntimeError: zipfile's word for an encrypted member
        raise _unreadable(path, e) from e


def _apart(path: Path) -> tuple[Path, str]:
    archive = next((parent for parent in path.parents if is_archive(parent)), None)
    if archive is None:
        raise FileNotFoundError(path)
    name = str(PurePosixPath(*path.parts[len(archive.parts) :]))
    if name not in _opened(archive).members:
        raise FileNotFoundError(path)
    return archive, name


def _opened(path: Path, limit: int | None = None) -> _Archive:
    """Return an archive; if it is unpacked, within a limit in bytes: none for an archive that passed before."""
    status = path.stat()
    try:
        archive = _open(path, status.st_size, status.st_mtime_ns)
        archive.prepare(limit)
    except (*_DAMAGE, OSError) as e:
        raise _unreadable(path, e) from e
    return archive


def _unreadable(path: Path, e: Exception) -> InputError:
    if isinstance(e, RuntimeError):
        problem = "it is encrypted"
    elif isinstance(e, OSError) and e.errno is not None:  # of the disk; those of gzip and bz2 have none
        where = f" in {tempfile.gettempdir()}, where it is unpacked" if e.errno in _FULL else ""
        problem = f"{e.strerror}{where}"
    else:
        problem = f"the archive is damaged ({type(e).__name__})"
    return InputError("CTM_INPUT_UNREADABLE", file=path, problem=problem)


@lru_cache(maxsize=16)
def _open(path: Path, size: int, mtime_ns: int) -> _Archive:
    return _Zip(path) if path.name.lower().endswith(".zip") else _Tar(path)


class _Archive:
    """Regular files by their names, spelled as in a path, with what finds them; safe to read from several threads.

    Attributes
    ----------
    members : dict
    packed : bool
        Members may be much larger than the archive.
    """

    members: dict[str, Any]
    packed: bool

    def prepare(self, limit: int | None) -> None:
        """Have the members ready to be read; unpack no more than so many bytes."""

    def size(self, name: str) -> int:
        """Return the bytes of a member."""
        raise NotImplementedError

    def read(self, name: str, count: int | None = None) -> bytes:
        """Return a member, or its first bytes."""
        raise NotImplementedError


class _Zip(_Archive):
    packed = True

    def __init__(self, path: Path) -> None:
        self._zip = zipfile.ZipFile(path)
        self.members = {_spelled(info.filename): info for info in self._zip.infolist() if not info.is_dir()}

    def size(self, name: str) -> int:
        return int(self.members[name].file_size)

    def read(self, name: str, count: int | None = None) -> bytes:
        if count is None:
            return self._zip.read(self.members[name])  # checks the CRC
        with self._zip.open(self.members[name]) as stream:
            return stream.read(count)


class _Tar(_Archive):
    def __init__(self, path: Path) -> None:
        lower = path.name.lower()
        self._path = path
        self._opener = next(function for suffix, function in _OPENERS.items() if lower.endswith(suffix))
        self.packed = not lower.endswith(".tar")
        self._file: IO[bytes] | None = None
        self._lock = threading.Lock()

    def prepare(self, limit: int | None) -> None:
        with self._lock:
            if self._file is None:
                with ExitStack() as stack:
                    file = stack.enter_context(self._opener(self._path))
                    if self.packed:
                        # As one stream: unpacked once, into a file that has no name and goes with the process.
                        unpacked = stack.enter_context(tempfile.TemporaryFile())
                        self._unpack(file, unpacked, limit)
                        file.close()
                        file = unpacked
                    self.members = _members(file)
                    stack.pop_all()
                self._file = file

    def _unpack(self, packed: IO[bytes], file: IO[bytes], limit: int | None) -> None:
        done = 0
        while chunk := packed.read(_CHUNK):
            done += len(chunk)
            if limit is not None and done > limit:
                raise too_large(self._path, limit)
            file.write(chunk)
        file.flush()

    def __del__(self) -> None:
        if self._file is not None:
            self._file.close()

    def size(self, name: str) -> int:
        return int(self.members[name][1])

    def read(self, name: str, count: int | None = None) -> bytes:
        assert self._file is not None
        at, size = self.members[name]
        wanted = size if count is None else min(count, size)
        data = bytearray()
        while len(data) < wanted:  # a system call gives 2 GiB at most
            piece = os.pread(self._file.fileno(), min(wanted - len(data), 1 << 30), at + len(data))
            if not piece:
                raise EOFError
            data += piece
        return bytes(data)


def _members(file: IO[bytes]) -> dict[str, tuple[int, int]]:
    """Return where each regular file of a tar begins and how many bytes it has."""
    file.seek(0)
    with tarfile.open(fileobj=file, mode="r:") as tar:
        found = {_spelled(m.name): (m.offset_data, m.size) for m in tar if m.isreg() and not m.issparse()}
        # Cut off between two members it would be a smaller archive, were it not for the block of zeros at the end.
        if len(os.pread(file.fileno(), tarfile.BLOCKSIZE, tar.offset)) < tarfile.BLOCKSIZE:
            raise EOFError
    return found


def _spelled(name: str) -> str:
    return str(PurePosixPath(name.lstrip("/")))
