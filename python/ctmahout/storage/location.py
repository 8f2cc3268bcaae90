"""The names of places: paths and URIs."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias
from urllib.parse import unquote, urlsplit

from ..errors import ConfigError, OutputError
from .atomic import refuse_overlap as refuse_overlap_of_paths

__all__ = ["Location", "Uri", "hadoop_name", "parse_location", "refuse_overlap"]

# A URI, or one that has been through `Path`, which makes one slash of two.
_URI = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://(.*)|(s3a?|gs|file):/(.*)", re.DOTALL)


# Of a name in every file system of Linux and macOS.
_LONGEST = 255


@dataclass(frozen=True)
class Uri:
    """A place in an object store: one object, or all objects below a prefix.

    Attributes
    ----------
    scheme : str
        "s3", "gs" ...
    bucket : str
    key : str
        As the store has it, without encoding; empty: the whole bucket.
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
"""Where data lies."""


def parse_location(given: str | Path | Uri) -> Location:
    """Return the place that a path or a URI names.

    Parameters
    ----------
    given : str, Path or Uri
        A path, ``file:///...``, ``s3://BUCKET/KEY`` (``s3a://`` means the same), ``gs://BUCKET/KEY``, or another
        scheme that pyarrow knows. A key is taken as it is: "%20" is no space.

    Raises
    ------
    ConfigError
        CTM_LOCATION_INVALID.
    TypeError
        It is something else.
    """
    if isinstance(given, Uri):
        return given
    if not isinstance(given, (str, os.PathLike)):
        raise TypeError(
            f"a place of data is a path or a URI, not {type(given).__name__}; write_array puts a volume there"
        )
    match = _URI.fullmatch(str(given))
    if match is None:
        return _path(os.fsdecode(given))
    scheme = (match[1] or match[3]).lower()
    authority, _, key = (match[2] if match[1] else match[4]).partition("/")
    if scheme == "file":
        return _file(str(given), authority if match[1] else "")
    scheme = "s3" if scheme == "s3a" else scheme
    # What may be a secret is never repeated.
    shown = f"{scheme}://{authority.rpartition('@')[2].partition('?')[0]}/{key.partition('?')[0]}"
    if ":" in authority.rpartition("@")[0] or (scheme in ("s3", "gs") and "@" in authority):
        raise _invalid(shown, "it holds credentials, which belong in the environment")
    if "?" in authority + key:
        raise _invalid(shown, "it has a query; endpoint and region belong in the environment")
    if not authority:
        raise _invalid(shown, "it names no bucket")
    key = key.strip("/")
    if key and not all(part not in ("", ".", "..") for part in key.split("/")):
        raise _invalid(shown, "a part of its key is empty, . or ..")
    return Uri(scheme, authority, key)


def _file(given: str, host: str) -> Path:
    if host not in ("", "localhost"):
        raise _invalid(given, f"{host} is another machine")
    path = unquote(urlsplit(given).path)
    if not path.startswith("/"):
        raise _invalid(given, "a file's URI holds an absolute path")
    return _path(path)


def _path(given: str) -> Path:
    if not given:
        raise _invalid("An empty text", "it names nothing")
    if "\0" in given:
        raise _invalid(given.replace("\0", "\\0"), "a path holds no NUL")
    if any(len(os.fsencode(part)) > _LONGEST for part in Path(given).parts):
        raise _invalid(f"{given[:40]}...", f"a part of it is longer than {_LONGEST} bytes")
    return Path(given)


def _invalid(shown: str, problem: str) -> ConfigError:
    return ConfigError("CTM_LOCATION_INVALID", location=shown, problem=problem)


def hadoop_name(location: str) -> str:
    """Return a location as Hadoop spells it: its connector for S3 is called ``s3a``."""
    return re.sub(r"\As3://", "s3a://", location)


def refuse_overlap(output: Location, source: Location) -> None:
    """Raise CTM_OUTPUT_IS_INPUT if one of the two places lies in the other."""
    if isinstance(output, Path) and isinstance(source, Path):
        refuse_overlap_of_paths(output, source)
    elif isinstance(output, Uri) and isinstance(source, Uri):
        a, b = f"{output}/", f"{source}/"
        if a.startswith(b) or b.startswith(a):
            raise OutputError("CTM_OUTPUT_IS_INPUT", path=output)
