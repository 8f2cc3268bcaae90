"""Check of the environment, with advice on what is missing: ``ctmahout doctor``."""

from __future__ import annotations

import platform
import shutil
import sys
import tempfile
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

from .._version import __version__
from ..dicom import decodable
from ..engines import find_jar, find_java
from ..engines.class_archive import find_archive
from ..engines.jars import find_spark
from ..errors import CtmahoutError

__all__ = ["Check", "check_environment"]

_FREE_GIB = 4  # a 512 x 512 x 300 series needs about this for its matrix and for Spark


@dataclass(frozen=True)
class Check:
    """Result of one check.

    Attributes
    ----------
    name : str
    ok : bool
        Whether a run is possible with it.
    found : str
        Version and location, or the error.
    advice : str
        What to do, empty if nothing.
    """

    name: str
    ok: bool
    found: str
    advice: str = ""

    def as_dict(self) -> dict[str, Any]:
        """Return the check as JSON values."""
        return asdict(self)


def check_environment() -> list[Check]:
    """Check Python, Java, Spark, the jar, the decoders and the disk; leaves no JVM running, raises no error.

    Examples
    --------
    >>> [check.name for check in check_environment()][:2]
    ['ctmahout', 'Java']
    """
    return [
        Check("ctmahout", True, f"{__version__} on Python {platform.python_version()}, {sys.platform}"),
        _check("Java", lambda: (java := find_java()).version + f" at {java.path}"),
        _check("Spark", lambda: (spark := find_spark()).version + f" with Scala {spark.scala} at {spark.home}"),
        _check("Java for this Spark", lambda: find_java(find_spark().version).version),
        _check("jar", lambda: (jar := find_jar()).path.name + f", Mahout {jar.mahout}, commit {jar.commit}"),
        _check("start of Spark", _archive),
        _check("S3 for Spark", _s3_connector),
        *_decoders(),
        _disk(),
    ]


def _check(name: str, describe: Callable[[], str]) -> Check:
    try:
        return Check(name, True, describe())
    except CtmahoutError as e:
        return Check(name, False, e.message, e.hint)


def _archive() -> str:
    """Describe the class archive for this Spark; its absence is no error."""
    path = find_archive(find_spark())
    if path is None:
        return "in full; `ctmahout warm-up` makes it a third shorter"
    if path.stat().st_mtime < find_jar().path.stat().st_mtime:
        return f"in full: {path} is of another ctmahout; run `ctmahout warm-up` again"
    return f"short, with {path}"


def _s3_connector() -> str:
    """Describe the S3 connector of Spark; only dssvd on s3:// needs it, so its absence is no error."""
    jars = find_spark().home / "jars"
    if connectors := sorted(jars.glob("hadoop-aws-*.jar")):
        return connectors[-1].name
    version = next((jar.stem.rpartition("-")[2] for jar in jars.glob("hadoop-client-api-*.jar")), "VERSION")
    return f"not in {jars}; dssvd on s3:// takes --conf spark.jars.packages=org.apache.hadoop:hadoop-aws:{version}"


def _decoders() -> list[Check]:
    syntaxes = decodable()
    missing = [name for name, is_decodable in syntaxes.items() if not is_decodable]
    readable = f"{len(syntaxes) - len(missing)} of {len(syntaxes)} transfer syntaxes can be read"
    if not missing:
        return [Check("decoders", True, readable)]
    # One unreadable syntax does not prevent series in others from being denoised.
    return [
        Check(
            "decoders", True, readable, f"Not read here: {', '.join(missing)}. Convert with dcmdjpeg or gdcmconv --raw."
        )
    ]


def _disk() -> Check:
    folder = tempfile.gettempdir()
    free = shutil.disk_usage(folder).free / 2**30
    advice = "" if free >= _FREE_GIB else "Spark spills here: free some space, or set TMPDIR."
    return Check("temporary space", free >= _FREE_GIB, f"{free:.0f} GiB free in {folder}", advice)
