"""Java's archive of loaded classes (JEP 350): with it Spark starts in two thirds of the time.

All engines on a machine give Java the same class path, so they share one archive for each Spark. Java checks it against
its own version and every jar, and ignores an archive that does not match.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterable
from pathlib import Path

from .jars import Spark

__all__ = ["archive_folder", "archive_name", "archive_options", "find_archive"]

# By default Java verifies the header only, and other damage would crash it; verification costs no measurable time.
_OPTIONS = ("-XX:+VerifySharedSpaces", "-Xlog:cds=off", "-Xlog:cds+dynamic=off")
_ARCHIVE_OPTION = re.compile(r"SharedArchive|ArchiveClassesAtExit|-Xshare")


def archive_folder() -> Path:
    """Return the folder of archives, in the user's cache."""
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "ctmahout"


def archive_name(spark: Spark, size: int | str) -> str:
    """Return the name of a Spark's archive, with its size in bytes: Java reads past the end of a truncated one."""
    return f"classes-{hashlib.sha256(str(spark.home.resolve()).encode()).hexdigest()[:16]}-{size}.jsa"


def find_archive(spark: Spark) -> Path | None:
    """Return the archive of a Spark; None if there is none, it is truncated or another user could have written it."""
    try:
        candidates = archive_folder().glob(archive_name(spark, "*"))
        return next((path for path in candidates if _is_ours_and_whole(path, spark)), None)
    except (OSError, RuntimeError):  # no home folder, or an unreadable one
        return None


def _is_ours_and_whole(path: Path, spark: Spark) -> bool:
    # Java runs the code in it, and the cache may be in a folder that others can write to.
    status = path.stat()
    is_ours = not hasattr(os, "geteuid") or (status.st_uid in (0, os.geteuid()) and not status.st_mode & 0o022)
    return is_ours and path.name == archive_name(spark, status.st_size)


def archive_options(spark: Spark, user_options: Iterable[str] = ()) -> list[str]:
    """Return Java's options for the archive of a Spark; none without an archive, or if the user's options name one."""
    path = find_archive(spark)
    if path is None or any(map(_ARCHIVE_OPTION.search, user_options)):
        return []
    return [f"-XX:SharedArchiveFile={path}", *_OPTIONS]
