"""Files inside zip and tar archives, read where they are: nothing is unpacked under a name of its own.

A member has the path of its archive followed by its name, as if the archive were a folder. Such a path cannot be that
of a real file, so it says of itself what it is.
"""

from __future__ import annotations

import bz2
import gzip
import lzma
import os
import shutil
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Mapping
from functools import lru_cache
from io import BytesIO
from pathlib import Path, PurePosixPath
from typing import IO, Any, BinaryIO

from ..errors import InputError

__all__ = ["is_archive", "members", "open_file", "stamp"]

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


def members(path: Path) -> list[Path]:
    """Return the paths of the files in an archive.

    Raises
    ------
    InputError
        CTM_INPUT_UNREADABLE.
    """
    return [path / name for name in sorted(_opened(path).names)]


def open_file(path: Path) -> BinaryIO:
    """Open a file, or the member of an archive.

    Raises
    ------
    OSError
    InputError
        CTM_INPUT_UNREADABLE: the archive is damaged or encrypted.
    """
    try:
        return path.open("rb")
    except NotADirectoryError:
        archive, name = _apart(path)
        opened = _opened(archive)
        try:
            return BytesIO(opened.read(name))
        except (*_DAMAGE, RuntimeError) as e:  # RuntimeError: zipfile's word for an encrypted member
            raise _unreadable(path, e) from e


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
        return _opened(archive).sizes[name], archive.stat().st_mtime_ns
    return status.st_size, status.st_mtime_ns


def _apart(path: Path) -> tuple[Path, str]:
    archive = next((parent for parent in path.parents if is_archive(parent)), None)
    if archive is None:
        raise FileNotFoundError(path)
    name = str(PurePosixPath(*path.parts[len(archive.parts) :]))
    if name not in _opened(archive).names:
        raise FileNotFoundError(path)
    return archive, name


def _opened(path: Path) -> _Archive:
    status = path.stat()
    try:
        return _open(path, status.st_size, status.st_mtime_ns)
    except (*_DAMAGE, OSError) as e:
        raise _unreadable(path, e) from e


def _unreadable(path: Path, e: Exception) -> InputError:
    problem = "it is encrypted" if isinstance(e, RuntimeError) else f"the archive is damaged ({type(e).__name__})"
    return InputError("CTM_INPUT_UNREADABLE", file=path, problem=problem)


@lru_cache(maxsize=4)
def _open(path: Path, size: int, mtime_ns: int) -> _Archive:
    return _Zip(path) if path.name.lower().endswith(".zip") else _Tar(path)


class _Archive:
    """Names of regular files, spelled as in a path, with what finds them; safe to read from several threads."""

    names: dict[str, Any]

    @property
    def sizes(self) -> dict[str, int]:
        raise NotImplementedError

    def read(self, name: str) -> bytes:
        raise NotImplementedError


class _Zip(_Archive):
    def __init__(self, path: Path) -> None:
        self._zip = zipfile.ZipFile(path)
        self.names = {_spelled(info.filename): info for info in self._zip.infolist() if not info.is_dir()}

    @property
    def sizes(self) -> dict[str, int]:
        return {name: info.file_size for name, info in self.names.items()}

    def read(self, name: str) -> bytes:
        return self._zip.read(self.names[name])


class _Tar(_Archive):
    def __init__(self, path: Path) -> None:
        lower = path.name.lower()
        opener = next(function for suffix, function in _OPENERS.items() if lower.endswith(suffix))
        self._file: IO[bytes] = opener(path)
        if not lower.endswith(".tar"):
            # Compressed as one stream: unpacked once, into a file that has no name and goes with the process.
            with self._file as packed:
                self._file = tempfile.TemporaryFile()  # noqa: SIM115 - open as long as the archive is in use
                shutil.copyfileobj(packed, self._file, 1 << 20)
        self._file.seek(0)
        with tarfile.open(fileobj=self._file, mode="r:") as tar:
            self.names = {_spelled(m.name): (m.offset_data, m.size) for m in tar if m.isreg() and not m.issparse()}
            # Cut off between two members it would be a smaller archive, were it not for the block of zeros at the end.
            if len(os.pread(self._file.fileno(), tarfile.BLOCKSIZE, tar.offset)) < tarfile.BLOCKSIZE:
                raise EOFError

    def __del__(self) -> None:
        self._file.close()

    @property
    def sizes(self) -> dict[str, int]:
        return {name: size for name, (_, size) in self.names.items()}

    def read(self, name: str) -> bytes:
        at, size = self.names[name]
        data = os.pread(self._file.fileno(), size, at)
        if len(data) < size:
            raise EOFError
        return data


def _spelled(name: str) -> str:
    return str(PurePosixPath(name.lstrip("/")))
