"""Find Spark and the ctmahout jar for it, before a JVM starts.

A jar for another Scala version would load and then fail in the middle of a job with a NoSuchMethodError.
"""

from __future__ import annotations

import os
import re
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from ..errors import EngineError
from ..exchange.manifest import VERSION

__all__ = ["Jar", "Spark", "check_session_jar", "find_jar", "find_spark", "spark_line"]

_BUNDLED = Path(__file__).parent.parent / "jars"


@dataclass(frozen=True)
class Spark:
    """An installed Spark.

    Attributes
    ----------
    home : Path
        Folder with ``bin`` and ``jars``.
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
        Versions of ctmahout and of the exchange that it reads and writes.
    spark_line, scala : str
        Versions that it is built for: ``3.5`` and ``2.12...``, or ``4`` and ``2.13...``.
    mahout, commit : str
        Versions that it is built from.
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
    """Return the release line, which a jar is built for: ``3.5`` for 3.5.9, ``4`` for 4.0.1."""
    major, _, rest = version.partition(".")
    return major if int(major) >= 4 else f"{major}.{rest.partition('.')[0]}"


def find_spark(home: str | Path | None = None) -> Spark:
    """Return the Spark of `home`, of SPARK_HOME or of the installed pyspark, the first that is set.

    Raises
    ------
    EngineError
        CTM_SPARK_MISSING.
    """
    home = home or os.environ.get("SPARK_HOME")
    if home:
        folder, name = Path(home), f"{home}, given as Spark's home,"
    else:
        spec = find_spec("pyspark")
        if spec is None or spec.origin is None:
            raise EngineError("CTM_SPARK_MISSING", problem="pyspark is not installed and SPARK_HOME is not set")
        folder, name = Path(spec.origin).parent, "the installed pyspark"
    for jar in sorted(folder.glob("jars/spark-core_*.jar")):
        if match := re.fullmatch(r"spark-core_(2\.\d+)-(\d+\.\d+.*)\.jar", jar.name):
            return Spark(folder, match[2], match[1])
    raise EngineError("CTM_SPARK_MISSING", problem=f"{name} has no jars/spark-core_*.jar")


def find_jar(jar: str | Path | None = None, *, spark: str | Spark | None = None) -> Jar:
    """Return the jar for a Spark: `jar`, that of CTMAHOUT_JAR or the bundled one, the first that is set.

    Parameters
    ----------
    jar : path, optional
    spark : str, optional
        Version of Spark; default: that of `find_spark`.

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
    # A path that is set is used or refused: falling back to another jar would hide a misspelling.
    candidate = Path(jar) if jar else Path(variable) if variable else bundled[-1] if bundled else None
    if candidate is None or not candidate.is_file():
        places = [
            f"the path given ({jar})" if jar else "the path given (none)",
            f"CTMAHOUT_JAR ({variable or 'not set'})",
            f"{_BUNDLED}/ctmahout-spark{line}_*.jar",
        ]
        raise EngineError("CTM_JAR_MISSING", spark=version, looked="; ".join(places))
    described = _describe(candidate.absolute())
    if described.spark_line != line or (scala and not described.scala.startswith(scala)):
        raise EngineError(
            "CTM_JAR_MISMATCH",
            path=described.path,
            given=f"Spark {described.spark_line} with Scala {described.scala}",
            expected=f"Spark {version}" + (f" with Scala {scala}" if scala else ""),
        )
    check_exchange(described.exchange_version, str(described.path))
    return described


def check_exchange(version: str, jar: str) -> None:
    """Refuse a jar whose exchange has another major version; `jar` names it in the error."""
    if version.partition(".")[0] != VERSION.partition(".")[0]:
        raise EngineError(
            "CTM_JAR_MISMATCH", path=jar, given=f"exchange version {version}", expected=f"exchange version {VERSION}"
        )


def check_session_jar(versions: Mapping[str, str], spark: str) -> None:
    """Refuse the jar of a session of this version of Spark, by what ``Bridge.version`` says of it."""
    jar = "The ctmahout jar of this session"
    check_exchange(versions["exchange"], jar)
    if versions["built_for_spark"] not in (spark_line(spark), "unknown"):
        raise EngineError(
            "CTM_JAR_MISMATCH",
            path=jar,
            given=f"Spark {versions['built_for_spark']} with Scala {versions['built_for_scala']}",
            expected=f"Spark {spark}",
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
    """Yield names and values of a MANIFEST; a line longer than 72 bytes continues after a line break and a space."""
    for line in re.sub(r"\r?\n ", "", text).splitlines():
        name, colon, value = line.partition(": ")
        if colon:
            yield name, value.strip()
