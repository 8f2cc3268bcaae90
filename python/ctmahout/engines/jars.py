"""Which Spark there is, and the ctmahout jar that fits it: both are known before a JVM starts.

A jar of the wrong Scala line loads, runs and fails in the middle of a job with an innocent-looking NoSuchMethodError.
"""

from __future__ import annotations

import os
import re
import zipfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from ..errors import EngineError
from ..exchange.manifest import VERSION

__all__ = ["Jar", "Spark", "find_jar", "find_spark", "spark_line"]

_BUNDLED = Path(__file__).parent.parent / "jars"


@dataclass(frozen=True)
class Spark:
    """A Spark that was found.

    Attributes
    ----------
    home : Path
        The folder of ``bin`` and ``jars``.
    version : str
        For instance ``4.0.1``.
    scala : str
        Scala's binary version, ``2.13``.
    """

    home: Path
    version: str
    scala: str


@dataclass(frozen=True)
class Jar:
    """A ctmahout jar, as its MANIFEST describes it.

    Attributes
    ----------
    path : Path
    version, exchange_version : str
        Of ctmahout, and of the exchange it reads and writes.
    spark_line, scala : str
        What it is built for: ``3.5`` and ``2.12...``, or ``4`` and ``2.13...``.
    mahout, commit : str
        What it is built from.
    """

    path: Path
    version: str
    exchange_version: str
    spark_line: str
    scala: str
    mahout: str
    commit: str

    def as_dict(self) -> dict[str, Any]:
        """Return the fields as JSON has them."""
        return {**asdict(self), "path": str(self.path)}


def spark_line(version: str) -> str:
    """Return the line a jar is built for: ``3.5`` for 3.5.9, ``4`` for 4.0.1."""
    major, _, rest = version.partition(".")
    return major if int(major) >= 4 else f"{major}.{rest.partition('.')[0]}"


def find_spark(home: str | Path | None = None) -> Spark:
    """Return the Spark that runs: the argument's, SPARK_HOME's, or the installed pyspark's.

    Raises
    ------
    EngineError
        CTM_SPARK_MISSING.
    """
    given = home or os.environ.get("SPARK_HOME")
    if given:
        folder, what = Path(given), f"{given}, given as Spark's home,"
    else:
        spec = find_spec("pyspark")
        if spec is None or spec.origin is None:
            raise EngineError("CTM_SPARK_MISSING", problem="pyspark is not installed and SPARK_HOME is not set")
        folder, what = Path(spec.origin).parent, "the installed pyspark"
    for jar in sorted(folder.glob("jars/spark-core_*.jar")):
        if match := re.fullmatch(r"spark-core_(2\.\d+)-(\d+\.\d+.*)\.jar", jar.name):
            return Spark(folder, match[2], match[1])
    raise EngineError("CTM_SPARK_MISSING", problem=f"{what} has no jars/spark-core_*.jar")


def find_jar(jar: str | Path | None = None, *, spark: str | Spark | None = None) -> Jar:
    """Return the jar for a Spark: the argument's, CTMAHOUT_JAR's, or the one that came with this package.

    Parameters
    ----------
    jar : path, optional
    spark : str, optional
        Spark's version; the Spark that `find_spark` finds if not given.

    Raises
    ------
    EngineError
        CTM_JAR_MISSING, CTM_JAR_MISMATCH, CTM_SPARK_MISSING.
    """
    spark = find_spark() if spark is None else spark
    version, scala = (spark, None) if isinstance(spark, str) else (spark.version, spark.scala)
    line = spark_line(version)
    variable = os.environ.get("CTMAHOUT_JAR")
    bundled = sorted(_BUNDLED.glob(f"ctmahout-spark{line}_*.jar"))
    # What was named is taken or refused; falling through to another jar would hide a misspelt path.
    candidate = Path(jar) if jar else Path(variable) if variable else bundled[-1] if bundled else None
    if candidate is None or not candidate.is_file():
        looked = [
            f"the path given ({jar})" if jar else "the path given (none)",
            f"CTMAHOUT_JAR ({variable or 'not set'})",
            f"{_BUNDLED}/ctmahout-spark{line}_*.jar",
        ]
        raise EngineError("CTM_JAR_MISSING", spark=version, looked="; ".join(looked))
    found = _describe(candidate.absolute())
    if found.spark_line != line or (scala and not found.scala.startswith(scala)):
        raise EngineError(
            "CTM_JAR_MISMATCH",
            path=found.path,
            given=f"Spark {found.spark_line} with Scala {found.scala}",
            expected=f"Spark {version}" + (f" with Scala {scala}" if scala else ""),
        )
    check_exchange(found.exchange_version, str(found.path))
    return found


def check_exchange(version: str, where: str) -> None:
    """Refuse a jar whose exchange has another major version: the two sides would not understand each other."""
    if version.partition(".")[0] != VERSION.partition(".")[0]:
        raise EngineError(
            "CTM_JAR_MISMATCH", path=where, given=f"exchange version {version}", expected=f"exchange version {VERSION}"
        )


def _describe(path: Path) -> Jar:
    try:
        with zipfile.ZipFile(path) as archive:
            text = archive.read("META-INF/MANIFEST.MF").decode("utf-8")
        attributes = dict(_attributes(text))
        names = ("Version", "Exchange-Version", "Spark-Line", "Scala-Version", "Mahout-Version", "Git-Commit")
        return Jar(path, *(attributes[f"Ctmahout-{name}"] for name in names))
    except (OSError, KeyError, ValueError, zipfile.BadZipFile):
        raise EngineError(
            "CTM_JAR_MISMATCH",
            path=path,
            given="something else (its MANIFEST does not describe a ctmahout jar)",
            expected="ctmahout",
        ) from None


def _attributes(text: str) -> Iterator[tuple[str, str]]:
    """Yield names and values of a MANIFEST; lines end after 72 bytes and go on after a space."""
    for line in re.sub(r"\r?\n ", "", text).splitlines():
        name, colon, value = line.partition(": ")
        if colon:
            yield name, value.strip()
