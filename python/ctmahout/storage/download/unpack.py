"""A zip or tar archive from elsewhere, unpacked into a folder: all of it, and nothing outside the folder."""

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
    """Write the files of an archive below a folder, and return how many there are.

    Parameters
    ----------
    archive : binary file
        A zip, or a tar as it is or compressed by gzip, bzip2 or xz; told by how it begins.
    folder : Path
    source : str
        Where the archive is from, for messages.
    limit : int
        Bytes that all files may have together, whatever the archive says of itself.

    Raises
    ------
    InputError
        CTM_FETCH_ARCHIVE: it is no such archive, damaged, encrypted, or holds what may not be unpacked: links, names
        that lead outside, a name twice. CTM_FETCH_TOO_LARGE.
    """
    room = _Room(source, limit)
    count = 0
    try:
        for name, member in _zip(archive) if _is_zip(archive) else _tar(archive, room):
            place = folder / _safe(name)
            place.parent.mkdir(parents=True, exist_ok=True)
            with member, place.open("xb") as file:
                for chunk in room.chunks(member):
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
        if e.errno is not None:  # of the disk; those of gzip and bz2 have none
            raise
        raise InputError("CTM_FETCH_ARCHIVE", source=source, problem="it is damaged") from e
    return count


class _Refused(Exception):  # noqa: N818 - a reason, which becomes an error of ours
    """Why an archive is not unpacked."""


class _Room:
    """Counts what comes out of an archive."""

    def __init__(self, source: str, limit: int) -> None:
        self._source, self._limit, self._left = source, limit, limit

    def chunks(self, stream: IO[bytes]) -> Iterator[bytes]:
        while chunk := stream.read(_CHUNK):
            self._left -= len(chunk)
            if self._left < 0:
                raise InputError("CTM_FETCH_TOO_LARGE", source=self._source, limit=self._limit)
            yield chunk


def _is_zip(file: IO[bytes]) -> bool:
    """Tell a zip from a tar. By its beginning: by its end, a tar whose last file is a zip would be that zip."""
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


def _tar(file: IO[bytes], room: _Room) -> Iterator[tuple[str, IO[bytes]]]:
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
        # Cut off between two members it would be a smaller archive, were it not for the block of zeros at the end; and
        # the checksum of what is compressed comes after that.
        assert archive.fileobj is not None
        archive.fileobj.seek(archive.offset)
        if sum(map(len, room.chunks(archive.fileobj))) < tarfile.BLOCKSIZE:  # type: ignore[arg-type]
            raise EOFError


def _safe(name: str) -> PurePosixPath:
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or not path.parts or "\0" in name:
        raise _Refused("it holds a name that leads outside the folder")
    return path
