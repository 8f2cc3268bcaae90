"""Whether everything is here that a run needs, and what to do if not: ``ctmahout doctor``."""

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

# A 512 x 512 x 300 series needs about this much room for its matrix and what Spark spills.
_FREE_GIB = 4


@dataclass(frozen=True)
class Check:
    """One thing that was looked at.

    Attributes
    ----------
    name : str
    ok : bool
        A run can do with it.
    found : str
    advice : str
        What to do; empty if there is nothing to do.
    """

    name: str
    ok: bool
    found: str
    advice: str = ""

    def as_dict(self) -> dict[str, Any]:
        """Return the check as JSON has it."""
        return asdict(self)


def check_environment() -> list[Check]:
    """Look at Python, Java, Spark, the jar, the decoders and the disk. Starts no JVM that stays; raises nothing."""
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


def _check(name: str, look: Callable[[], str]) -> Check:
    try:
        return Check(name, True, look())
    except CtmahoutError as e:
        return Check(name, False, e.message, e.hint)


def _archive() -> str:
    """Say whether Java has kept the classes of this Spark; that it has not is no fault."""
    path = find_archive(find_spark())
    if path is None:
        return "in full; `ctmahout warm-up` makes it a third shorter"
    if path.stat().st_mtime < find_jar().path.stat().st_mtime:
        return f"in full: {path} is of another ctmahout; run `ctmahout warm-up` again"
    return f"short, with {path}"


def _s3_connector() -> str:
    """Say whether Spark reads S3 itself; only step dssvd on s3:// needs it, so that it is absent is no fault."""
    jars = find_spark().home / "jars"
    if found := sorted(jars.glob("hadoop-aws-*.jar")):
        return found[-1].name
    version = next((jar.stem.rpartition("-")[2] for jar in jars.glob("hadoop-client-api-*.jar")), "VERSION")
    return f"not in {jars}; dssvd on s3:// takes --conf spark.jars.packages=org.apache.hadoop:hadoop-aws:{version}"


def _decoders() -> list[Check]:
    known = decodable()
    missing = [name for name, there in known.items() if not there]
    found = f"{len(known) - len(missing)} of {len(known)} transfer syntaxes can be read"
    if not missing:
        return [Check("decoders", True, found)]
    # Not being able to read some syntax is no reason why another series should not be denoised.
    return [
        Check("decoders", True, found, f"Not read here: {', '.join(missing)}. Convert with dcmdjpeg or gdcmconv --raw.")
    ]


def _disk() -> Check:
    folder = tempfile.gettempdir()
    free = shutil.disk_usage(folder).free / 2**30
    advice = "" if free >= _FREE_GIB else "Spark spills here: free some space, or set TMPDIR."
    return Check("temporary space", free >= _FREE_GIB, f"{free:.0f} GiB free in {folder}", advice)
