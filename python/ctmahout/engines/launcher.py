"""The JVM options and class path of Spark's launcher, read from its class files, because calling it takes a JVM."""

from __future__ import annotations

import os
import re
import zipfile
from contextlib import suppress

from .jars import Jar, Spark

__all__ = ["class_path", "module_options"]

_OPTION = re.compile(rb"(?:--[a-z-]+=|-D|-XX:\+)[A-Za-z0-9_./=-]+")


def module_options(spark: Spark) -> list[str]:
    """Return the options of every Spark JVM: the constants of `JavaModuleOptions`."""
    return [option.decode() for option in _OPTION.findall(_class_file(spark, "JavaModuleOptions"))]


def class_path(spark: Spark, jar: Jar) -> list[str]:
    """Return the class path of Spark with the ctmahout jar; an archive of classes needs the same jars in this order."""
    with os.scandir(spark.home / "jars") as entries:  # the order of Java's own *
        jars = [entry.name for entry in entries if entry.name.endswith(".jar")]
    # Spark 4 puts this jar first.
    logging = "slf4j-api-"
    has_first = logging.encode() in _class_file(spark, "AbstractCommandBuilder")
    first = [name for name in jars if has_first and name.startswith(logging)]
    return [str(jar.path), *(str(spark.home / "jars" / name) for name in (*first, *jars))]


def _class_file(spark: Spark, name: str) -> bytes:
    """Return a class file of the launcher; empty if there is none."""
    for jar in sorted((spark.home / "jars").glob("spark-*.jar")):
        if jar.name.startswith(("spark-launcher", "spark-common-utils", "spark-core")):
            with zipfile.ZipFile(jar) as archive, suppress(KeyError):
                return archive.read(f"org/apache/spark/launcher/{name}.class")
    return b""
