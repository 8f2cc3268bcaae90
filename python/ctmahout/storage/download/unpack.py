"""Unpack a zip or tar archive from an untrusted source: all of it, and nothing outside the folder."""

from __future__ import annotations

import lzma
import stat
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import IO

from ...errors import InputError

__all__ = ["unpack"]

_CHUNK = 1 << 20
_DAMAGE = (
    zipfile.BadZipFile,
    tarfile.TarError,
    lzma.LZMAError,
    zlib.error,
    struct.error,
    EOFError,
    NotImplementedError,
    OverflowError,
    ValueError,
)


def unpack(archive: IO[bytes], folder: Path, *, source: str, limit: int) -> int:
    """Unpack an archive into a folder, and return the number of files.

    Parameters
    ----------
    archive : binary file
        A zip file, or a tar file without compression or with gzip, bzip2 or xz, recognised by its content.
    folder : Path
    source : str
        Where the archive is from, for messages.
    limit : int, bytes
        Largest total size of the unpacked files, counted while unpacking.

    Raises
    ------
    InputError
        CTM_FETCH_ARCHIVE: not such an archive, damaged or encrypted; or it contains links, names that lead outside the
        folder, or two files of one name. CTM_FETCH_TOO_LARGE.
    """
    reader = _LimitedReader(source, limit)
    count = 0
    try:
        for name, member in _zip(archive) if _is_zip(archive) else _tar(archive, reader):
            target = folder / _safe(name)
            target.parent.mkdir(parents=True, exist_ok=True)
            with member, target.open("xb") as file:
                for chunk in reader.chunks(member):
                    file.write(chunk)
            count += 1
    except _Refused as e:
        raise InputError("CTM_FETCH_ARCHIVE", source=source, problem=e) from e
    except (FileExistsError, NotADirectoryError) as e:
        problem = "it holds two files of one name"
        raise InputError("CTM_FETCH_ARCHIVE", source=source, problem=problem) from e
    except _DAMAGE as e:
        problem = f"it is damaged ({type(e).__name__})"
        raise InputError("CTM_FETCH_ARCHIVE", source=source, problem=problem) from e
    except OSError as e:
        if e.errno is not None:  # from the disk; errors of gzip and bz2 have no errno
            raise
        raise InputError("CTM_FETCH_ARCHIVE", source=source, problem="it is damaged") from e
    return count


class _Refused(Exception):  # noqa: N818 - raised as an InputError by `unpack`
    """Why an archive is not unpacked."""


class _LimitedReader:
    """Reads streams in chunks, up to a limit of bytes in all."""

    def __init__(self, source: str, limit: int) -> None:
        self._source, self._limit, self._size = source, limit, 0

    def chunks(self, stream: IO[bytes]) -> Iterator[bytes]:
        while chunk := stream.read(_CHUNK):
            self._size += len(chunk)
            if self._size > self._limit:
                raise InputError("CTM_FETCH_TOO_LARGE", source=self._source, limit=self._limit)
            yield chunk


def _is_zip(file: IO[bytes]) -> bool:
    """Return whether the file begins like a zip. `zipfile.is_zipfile` looks at the end, which may be a tar's member."""
    file.seek(0)
    return file.read(4) in (b"PK\3\4", b"PK\5\6")


def _zip(file: IO[bytes]) -> Iterator[tuple[str, IO[bytes]]]:
    with zipfile.ZipFile(file) as archive:
        names = archive.namelist()
        if names and all(name.endswith(".npy") for name in names):
            raise _Refused("it is a file of NumPy (npz), which is no archive of images")
        for info in archive.infolist():
            if info.is_dir():
                continue
            if info.flag_bits & 1:
                raise _Refused("it is encrypted")
            if stat.S_ISLNK(info.external_attr >> 16):
                raise _Refused("it holds a link")
            yield info.filename, archive.open(info)  # checks the CRC at the member's end


def _tar(file: IO[bytes], reader: _LimitedReader) -> Iterator[tuple[str, IO[bytes]]]:
    file.seek(0)
    try:
        archive = tarfile.open(fileobj=file)  # noqa: SIM115 - closed below
    except tarfile.TarError as e:
        raise _Refused("it is neither a zip nor a tar archive") from e
    with archive:
        for member in archive:
            stream = archive.extractfile(member) if member.isreg() else None
            if stream is not None:
                yield member.name, stream
            elif not member.isdir():
                raise _Refused("it holds a link or a device")
        # An archive cut off between two members lacks only the block of zeros at its end. The checksum of a compressed
        # stream comes after that, so read to the end.
        assert archive.fileobj is not None
        archive.fileobj.seek(archive.offset)
        if sum(map(len, reader.chunks(archive.fileobj))) < tarfile.BLOCKSIZE:  # type: ignore[arg-type]
            raise EOFError


def _safe(name: str) -> PurePosixPath:
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or not path.parts or "\0" in name:
        raise _Refused("it holds a name that leads outside the folder")
    return path
