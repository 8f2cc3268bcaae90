"""Java's archive of loaded classes (JEP 350): a JVM that finds one starts Spark in two thirds of the time.

There is one for each Spark, which all engines on this machine share: they give Java the same class path. Java itself
checks it against its own version and every jar, and goes without where something else is there now.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterable
from pathlib import Path

from .jars import Spark

__all__ = ["archive_folder", "archive_name", "archive_options", "find_archive"]

# Unasked, Java looks at the header only, and a bit that flipped elsewhere ends in a crash; asking costs no time.
_QUIETLY = ("-XX:+VerifySharedSpaces", "-Xlog:cds=off", "-Xlog:cds+dynamic=off")
_SPEAKS_OF_ARCHIVES = re.compile(r"SharedArchive|ArchiveClassesAtExit|-Xshare")


def archive_folder() -> Path:
    """Return where archives are: in the user's cache."""
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "ctmahout"


def archive_name(spark: Spark, size: int | str) -> str:
    """Return the name of a Spark's archive of so many bytes: Java reads on behind the end of one that was cut off."""
    return f"classes-{hashlib.sha256(str(spark.home.resolve()).encode()).hexdigest()[:16]}-{size}.jsa"


def find_archive(spark: Spark) -> Path | None:
    """Return the archive of a Spark, if there is one and it is whole."""
    try:
        found = archive_folder().glob(archive_name(spark, "*"))
        return next((path for path in found if path.name == archive_name(spark, path.stat().st_size)), None)
    except (OSError, RuntimeError):  # no home, or one that cannot be looked into
        return None


def archive_options(spark: Spark, given: Iterable[str] = ()) -> list[str]:
    """Return Java's options for the archive of a Spark, none if there is none or `given` options speak of another."""
    path = find_archive(spark)
    if path is None or any(map(_SPEAKS_OF_ARCHIVES.search, given)):
        return []
    return [f"-XX:SharedArchiveFile={path}", *_QUIETLY]
