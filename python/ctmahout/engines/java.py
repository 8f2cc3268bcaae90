"""Find and check Java before Spark starts, whose own errors come late and are hard to read."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from ..errors import EngineError

__all__ = ["Java", "find_java"]

_OLDEST = 17
# JDK 23 removed Subject.getSubject, which Hadoop 3.3 calls at its start; Spark 4 has a newer Hadoop.
_NEWEST_SPARK_35 = 22


@dataclass(frozen=True)
class Java:
    """An installed Java.

    Attributes
    ----------
    path : Path
        The ``java`` command.
    home : Path
        Its ``java.home``.
    version : str
        For instance ``17.0.15``.
    """

    path: Path
    home: Path
    version: str

    @property
    def major(self) -> int:
        """17 for ``17.0.15``, 8 for ``1.8.0_392``, 25 for ``25-ea``."""
        numbers = [int(x) for x in re.findall(r"\d+", self.version)]
        return numbers[1] if numbers[0] == 1 and len(numbers) > 1 else numbers[0]

    @property
    def libjvm(self) -> Path:
        """The library that JPype loads."""
        names = ("libjvm.so", "libjvm.dylib")
        paths = (self.home / "lib" / "server" / name for name in names)
        return next((path for path in paths if path.exists()), self.home / "lib" / "server" / names[0])


def find_java(spark: str | None = None) -> Java:
    """Return the Java that Spark's scripts use: that of JAVA_HOME, else the first on PATH.

    Parameters
    ----------
    spark : str, optional
        Version of the Spark that will run on it.

    Raises
    ------
    EngineError
        CTM_JAVA_MISSING, CTM_JAVA_OLD, CTM_JAVA_NEW.
    """
    java_home = os.environ.get("JAVA_HOME")
    command = shutil.which("java", path=str(Path(java_home, "bin"))) if java_home else shutil.which("java")
    java = _describe(command) if command else None
    if java is None:
        raise EngineError("CTM_JAVA_MISSING", problem=_missing(java_home))
    if java.major < _OLDEST:
        raise EngineError("CTM_JAVA_OLD", given=java.version, path=java.path, expected=_OLDEST)
    if spark is not None and spark.startswith("3.") and java.major > _NEWEST_SPARK_35:
        raise EngineError("CTM_JAVA_NEW", given=java.version, path=java.path, spark=spark, expected=_NEWEST_SPARK_35)
    return java


def _missing(java_home: str | None) -> str:
    if not java_home:
        return "JAVA_HOME is not set, and there is none on PATH"
    other = shutil.which("java")
    return f"JAVA_HOME is {java_home}, which has none" + (f"; {other} counts only without JAVA_HOME" if other else "")


@lru_cache(maxsize=8)
def _describe(command: str) -> Java | None:
    """Return home and version as ``java`` prints them; None if it prints none, like the placeholder of macOS."""
    try:
        process = subprocess.run(
            [command, "-XshowSettings:properties", "-version"],
            capture_output=True,
            text=True,
            timeout=60,
            stdin=subprocess.DEVNULL,
            check=False,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    properties = dict(
        re.findall(r"^\s*(java\.home|java\.version) = (.*?)\s*$", process.stdout + process.stderr, re.MULTILINE)
    )
    if not re.search(r"\d", properties.get("java.version", "")):
        return None
    home = Path(properties.get("java.home", Path(command).resolve().parent.parent))
    return Java(Path(command), home, properties["java.version"])
