"""Locations of data: paths and URIs."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias
from urllib.parse import unquote, urlsplit

from ..errors import ConfigError, OutputError
from .atomic import refuse_overlap as refuse_overlap_of_paths

__all__ = ["Location", "Uri", "hadoop_name", "is_dicomweb", "parse_location", "refuse_overlap"]

# A URI, also one converted by `Path`, which turns "//" into "/".
_URI = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://(.*)|(s3a?|gs|file):/(.*)", re.DOTALL)
_DICOMWEB = ("dicomweb+http", "dicomweb+https")
# Limit of file names (bytes) on Linux and macOS.
_MAX_NAME_LENGTH = 255


@dataclass(frozen=True)
class Uri:
    """A location in an object store: one object, or all objects below a prefix. Or one in a DICOMweb archive.

    Attributes
    ----------
    scheme : str
        "s3", "gs", "dicomweb+https" ...
    bucket : str
        Of an archive: its host, with a port if there is one.
    key : str
        Not percent-encoded; empty for the whole bucket.
    """

    scheme: str
    bucket: str
    key: str = ""

    @property
    def name(self) -> str:
        """The last part of the key, or the bucket."""
        return self.key.rpartition("/")[2] or self.bucket

    @property
    def path(self) -> str:
        """Bucket and key."""
        return f"{self.bucket}/{self.key}" if self.key else self.bucket

    def __truediv__(self, name: str) -> Uri:
        return Uri(self.scheme, self.bucket, f"{self.key}/{name}" if self.key else name)

    def __str__(self) -> str:
        return f"{self.scheme}://{self.path}"


Location: TypeAlias = Path | Uri
"""A path or the URI of an object store."""


def parse_location(location: str | Path | Uri) -> Location:
    """Parse a path or a URI.

    Parameters
    ----------
    location : str, Path or Uri
        A path, ``file:///...``, ``s3://BUCKET/KEY`` or the equivalent ``s3a://``, ``gs://BUCKET/KEY``, another scheme
        of pyarrow, or ``dicomweb+https://HOST/ROOT/studies/UID/series/UID``. Keys are not percent-decoded: "%20" is not
        a space.

    Returns
    -------
    Path or Uri
        A Path for ``file:`` as well.

    Raises
    ------
    ConfigError
        CTM_LOCATION_INVALID.
    TypeError
        Neither a path nor a URI.
    """
    if isinstance(location, Uri):
        return location
    if not isinstance(location, (str, os.PathLike)):
        raise TypeError(
            f"a place of data is a path or a URI, not {type(location).__name__}; write_array puts a volume there"
        )
    match = _URI.fullmatch(str(location))
    if match is None:
        return _parse_path(os.fsdecode(location))
    scheme = (match[1] or match[3]).lower()
    authority, _, key = (match[2] if match[1] else match[4]).partition("/")
    if scheme == "file":
        return _parse_file_uri(str(location), authority if match[1] else "")
    scheme = "s3" if scheme == "s3a" else scheme
    # Messages never repeat a possible secret.
    redacted = f"{scheme}://{authority.rpartition('@')[2].partition('?')[0]}/{key.partition('?')[0]}"
    if ":" in authority.rpartition("@")[0] or (scheme in ("s3", "gs", *_DICOMWEB) and "@" in authority):
        raise _invalid(redacted, "it holds credentials, which belong in the environment")
    if "?" in authority + key:
        raise _invalid(redacted, "it has a query; endpoint and region belong in the environment")
    if not authority:
        raise _invalid(redacted, "it names no bucket")
    key = key.strip("/")
    if key and not all(part not in ("", ".", "..") for part in key.split("/")):
        raise _invalid(redacted, "a part of its key is empty, . or ..")
    return Uri(scheme, authority, key)


def _parse_file_uri(uri: str, host: str) -> Path:
    if host not in ("", "localhost"):
        raise _invalid(uri, f"{host} is another machine")
    path = unquote(urlsplit(uri).path)
    if not path.startswith("/"):
        raise _invalid(uri, "a file's URI holds an absolute path")
    return _parse_path(path)


def _parse_path(path: str) -> Path:
    if not path:
        raise _invalid("An empty text", "it names nothing")
    if "\0" in path:
        raise _invalid(path.replace("\0", "\\0"), "a path holds no NUL")
    if any(len(os.fsencode(part)) > _MAX_NAME_LENGTH for part in Path(path).parts):
        raise _invalid(f"{path[:40]}...", f"a part of it is longer than {_MAX_NAME_LENGTH} bytes")
    return Path(path)


def _invalid(location: str, problem: str) -> ConfigError:
    return ConfigError("CTM_LOCATION_INVALID", location=location, problem=problem)


def is_dicomweb(location: Location) -> bool:
    """Return whether a location is a DICOMweb archive, or a study or a series in one."""
    return isinstance(location, Uri) and location.scheme in _DICOMWEB


def hadoop_name(location: str) -> str:
    """Return a location as Hadoop spells it, with ``s3a`` as the scheme of S3."""
    return re.sub(r"\As3://", "s3a://", location)


def refuse_overlap(output: Location, source: Location) -> None:
    """Raise CTM_OUTPUT_IS_INPUT if the two locations are the same, or one contains the other."""
    if isinstance(output, Path) and isinstance(source, Path):
        refuse_overlap_of_paths(output, source)
    elif isinstance(output, Uri) and isinstance(source, Uri):
        a, b = f"{output}/", f"{source}/"
        if a.startswith(b) or b.startswith(a):
            raise OutputError("CTM_OUTPUT_IS_INPUT", path=output)
