"""Files inside zip and tar archives, read in place: nothing is unpacked into a named file.

The path of a member is the path of its archive followed by the member's name, as if the archive were a folder. No real
file can have such a path, so it is unambiguous.
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

__all__ = ["TAR_LIMIT_FACTOR", "is_archive", "list_members", "open_file", "read_start", "size_and_mtime"]

TAR_LIMIT_FACTOR = 32
"""A compressed tar archive is unpacked to disk, so it may be larger than one image by this factor."""

_CHUNK = 1 << 20
_DISK_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)

_OPENERS: Mapping[str, Callable[[Path], Any]] = {
    ".tar": lambda path: path.open("rb"),
    ".tar.gz": gzip.open,
    ".tgz": gzip.open,
    ".tar.bz2": bz2.open,
    ".tar.xz": lzma.open,
}
_DAMAGE = (zipfile.BadZipFile, tarfile.TarError, lzma.LZMAError, zlib.error, EOFError, NotImplementedError)


def is_archive(path: Path) -> bool:
    """Return whether a file is a readable kind of archive, by its suffix."""
    return path.name.lower().endswith((".zip", *_OPENERS)) and path.is_file()


def list_members(path: Path, limit: int) -> list[Path]:
    """Return the paths of the files in an archive.

    Parameters
    ----------
    path : Path
    limit : int, bytes
        Largest unpacked size of one image. A compressed tar archive, which is unpacked to disk, may have
        `TAR_LIMIT_FACTOR` times as many.

    Raises
    ------
    InputError
        CTM_INPUT_UNREADABLE, CTM_UNPACKED_TOO_LARGE.
    """
    return [path / name for name in sorted(_open_archive(path, TAR_LIMIT_FACTOR * limit).members)]


def open_file(path: Path, limit: int | None = None) -> BinaryIO:
    """Open a file, or a member of an archive.

    Parameters
    ----------
    path : Path
    limit : int, bytes, optional
        Largest size of a compressed member. Without a limit for a file that passed it before.

    Raises
    ------
    OSError
    InputError
        CTM_INPUT_UNREADABLE: the archive is damaged or encrypted. CTM_UNPACKED_TOO_LARGE.
    """
    try:
        return path.open("rb")
    except NotADirectoryError:
        archive, name = _find_member(path)
        if limit is not None and archive.compressed and archive.size(name) > limit:
            raise too_large(path, limit) from None
        return BytesIO(_translate_damage(path, lambda: archive.read(name)))


def read_start(path: Path, count: int) -> bytes:
    """Return the first bytes of a file or of a member, unpacking no more than these; errors as of `open_file`."""
    try:
        with path.open("rb") as stream:
            return stream.read(count)
    except NotADirectoryError:
        archive, name = _find_member(path)
        return _translate_damage(path, lambda: archive.read(name, count))


def size_and_mtime(path: Path) -> tuple[int, int]:
    """Return size (bytes) and modification time (ns) of a file; a member has the time of its archive.

    Raises
    ------
    OSError
    InputError
        CTM_INPUT_UNREADABLE.
    """
    try:
        status = path.stat()
    except NotADirectoryError:
        archive, name = _find_member(path)
        return archive.size(name), archive.path.stat().st_mtime_ns
    return status.st_size, status.st_mtime_ns


def _translate_damage(path: Path, read: Callable[[], bytes]) -> bytes:
    try:
        return read()
    except (*_DAMAGE, RuntimeError) as e:  # zipfile raises RuntimeError for an encrypted member
        raise _unreadable(path, e) from e


def _find_member(path: Path) -> tuple[_Archive, str]:
    file = next((parent for parent in path.parents if is_archive(parent)), None)
    if file is None:
        raise FileNotFoundError(path)
    archive = _open_archive(file)
    name = str(PurePosixPath(*path.parts[len(file.parts) :]))
    if name not in archive.members:
        raise FileNotFoundError(path)
    return archive, name


def _open_archive(path: Path, limit: int | None = None) -> _Archive:
    """Return an archive, ready to be read; no limit (bytes) for an archive that passed it before."""
    status = path.stat()
    try:
        archive = _cached_archive(path, status.st_size, status.st_mtime_ns)
        archive.prepare(limit)
    except (*_DAMAGE, OSError) as e:
        raise _unreadable(path, e) from e
    return archive


def _unreadable(path: Path, e: Exception) -> InputError:
    if isinstance(e, RuntimeError):
        problem = "it is encrypted"
    elif isinstance(e, OSError) and e.errno is not None:  # from the disk; errors of gzip and bz2 have no errno
        where = f" in {tempfile.gettempdir()}, where it is unpacked" if e.errno in _DISK_FULL else ""
        problem = f"{e.strerror}{where}"
    else:
        problem = f"the archive is damaged ({type(e).__name__})"
    return InputError("CTM_INPUT_UNREADABLE", file=path, problem=problem)


@lru_cache(maxsize=16)
def _cached_archive(path: Path, size: int, mtime_ns: int) -> _Archive:
    return _Zip(path) if path.name.lower().endswith(".zip") else _Tar(path)


class _Archive:
    """The regular files of an archive by normalised name; safe to read from several threads.

    Attributes
    ----------
    path : Path
    members : dict
        What locates each member.
    compressed : bool
        Members may be much larger than the archive.
    """

    path: Path
    members: dict[str, Any]
    compressed: bool

    def prepare(self, limit: int | None) -> None:
        """Make the members readable, unpacking at most `limit` bytes."""

    def size(self, name: str) -> int:
        """Return the size of a member in bytes."""
        raise NotImplementedError

    def read(self, name: str, count: int | None = None) -> bytes:
        """Return a member, or its first `count` bytes."""
        raise NotImplementedError


class _Zip(_Archive):
    compressed = True

    def __init__(self, path: Path) -> None:
        self.path = path
        self._zip = zipfile.ZipFile(path)
        self.members = {_normalise(info.filename): info for info in self._zip.infolist() if not info.is_dir()}

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
        self.path = path
        self._opener = next(function for suffix, function in _OPENERS.items() if lower.endswith(suffix))
        self.compressed = not lower.endswith(".tar")
        self._file: IO[bytes] | None = None
        self._lock = threading.Lock()

    def prepare(self, limit: int | None) -> None:
        with self._lock:
            if self._file is None:
                with ExitStack() as stack:
                    file = stack.enter_context(self._opener(self.path))
                    if self.compressed:
                        # A compressed stream has no random access: unpack it once, to an anonymous file.
                        unpacked = stack.enter_context(tempfile.TemporaryFile())
                        self._unpack(file, unpacked, limit)
                        file.close()
                        file = unpacked
                    self.members = _locate_members(file)
                    stack.pop_all()
                self._file = file

    def _unpack(self, source: IO[bytes], target: IO[bytes], limit: int | None) -> None:
        size = 0
        while chunk := source.read(_CHUNK):
            size += len(chunk)
            if limit is not None and size > limit:
                raise too_large(self.path, limit)
            target.write(chunk)
        target.flush()

    def __del__(self) -> None:
        if self._file is not None:
            self._file.close()

    def size(self, name: str) -> int:
        return int(self.members[name][1])

    def read(self, name: str, count: int | None = None) -> bytes:
        assert self._file is not None
        start, size = self.members[name]
        length = size if count is None else min(count, size)
        data = bytearray()
        while len(data) < length:  # pread returns at most 2 GiB
            chunk = os.pread(self._file.fileno(), min(length - len(data), 1 << 30), start + len(data))
            if not chunk:
                raise EOFError
            data += chunk
        return bytes(data)


def _locate_members(file: IO[bytes]) -> dict[str, tuple[int, int]]:
    """Return offset and size of each regular file of a tar archive."""
    file.seek(0)
    with tarfile.open(fileobj=file, mode="r:") as tar:
        members = {_normalise(m.name): (m.offset_data, m.size) for m in tar if m.isreg() and not m.issparse()}
        # An archive cut off between two members lacks only the block of zeros at its end.
        if len(os.pread(file.fileno(), tarfile.BLOCKSIZE, tar.offset)) < tarfile.BLOCKSIZE:
            raise EOFError
    return members


def _normalise(name: str) -> str:
    return str(PurePosixPath(name.lstrip("/")))
