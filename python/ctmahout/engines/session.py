"""The Spark settings that ctmahout needs, the same through every engine that starts a Spark of its own."""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from ..storage.environment import endpoint, region, unsigned, web_identity
from .class_archive import archive_options
from .jars import Jar, Spark, find_jar, find_spark, spark_line

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

__all__ = ["conf_folder", "default_driver_memory", "is_local", "spark_builder", "spark_settings"]

# Spark 3.5 leaves this off; without it products run on one number at a time and take three times as long.
_VECTOR = "--add-modules=jdk.incubator.vector"
# On one machine throughput counts, not pauses: on two cores a decomposition takes a fifth less time than with G1, for
# whose regions blocks of matrices are too large.
_COLLECTOR = "-XX:+UseParallelGC"
# Most of what a short run compiles is not worth it: three times as many calls before it is; see docs/adr/0021.
_COMPILER = "-XX:CompileThresholdScaling=3"
_A_COLLECTOR = re.compile(r"-XX:[+-]Use\w+GC\b")  # told of two Java does not start
_JOINED = {"extraJavaOptions": " ", "extraClassPath": os.pathsep}
_WEB_IDENTITY = {
    "3.5": "com.amazonaws.auth.WebIdentityTokenCredentialsProvider",
    "4": "software.amazon.awssdk.auth.credentials.WebIdentityTokenFileCredentialsProvider",
}


def spark_builder(
    master: str | None = None, jar: str | None = None, driver_memory: str | None = None, **conf: str
) -> SparkSession.Builder:
    """Return a builder of Spark sessions that ctmahout works in.

    It holds the jar, Java's vector module, and quiet defaults. Settings of a JVM count when the JVM starts: use it for
    the first session of a process.

    Parameters
    ----------
    master : str, optional
        ``local[*]`` if not given.
    jar : str, optional
        The ctmahout jar, instead of CTMAHOUT_JAR and the bundled one.
    driver_memory : str, optional
        Half of this machine's memory for local masters, if not given.
    **conf : str
        Further settings, as ``**{"spark.sql.shuffle.partitions": "8"}``.

    Raises
    ------
    EngineError
        CTM_SPARK_MISSING, CTM_JAR_MISSING, CTM_JAR_MISMATCH.

    Examples
    --------
    >>> spark = spark_builder("local[2]").appName("mine").getOrCreate()    # doctest: +SKIP
    """
    spark = find_spark()
    settings = spark_settings(spark, find_jar(jar, spark=spark), master=master, driver_memory=driver_memory, conf=conf)
    from pyspark.sql import SparkSession

    builder = SparkSession.builder
    for key, value in settings.items():
        builder = builder.config(key, value)
    return builder


def is_local(master: str | None) -> bool:
    """Return whether a Spark master is this process, or a few beside it; without one it is."""
    return (master or "local").startswith("local")


def spark_settings(
    spark: Spark,
    jar: Jar | None,
    *,
    master: str | None = None,
    driver_memory: str | None = None,
    conf: Mapping[str, str] | None = None,
) -> dict[str, str]:
    """Return the settings of a Spark of ours; `conf` overrules them, Java options and class paths are put together.

    Without `jar` nothing is said of it: spark-submit takes it as an argument.
    """
    local = is_local(master)
    settings = {
        "spark.master": master or "local[*]",
        "spark.app.name": "ctmahout",
        "spark.ui.enabled": "false",
        "spark.ui.showConsoleProgress": "false",
        "spark.log.level": "ERROR",
        "spark.sql.catalogImplementation": "in-memory",
        **_s3a(spark_line(spark.version)),
    }
    if jar is not None:
        # Both: spark.jars reaches executors, but the driver only through a class loader of its own.
        settings |= {"spark.jars": str(jar.path), "spark.driver.extraClassPath": str(jar.path)}
    if local:
        # A laptop's name may resolve to an address that changes or is firewalled.
        settings |= {"spark.driver.bindAddress": "127.0.0.1", "spark.driver.host": "127.0.0.1"}
        # A task without memory ends its JVM, which here is the driver's, or even Python's own; let it fail instead.
        settings["spark.executor.killOnFatalError.depth"] = "0"
    if driver_memory or local:
        settings["spark.driver.memory"] = driver_memory or default_driver_memory()
    driver, executor = [], []
    if spark_line(spark.version) == "3.5":
        driver, executor = [_VECTOR], [_VECTOR]
    # What Spark's own configuration gives to Java, it would not pass on beside ours.
    if not (conf_folder(spark) / "spark-defaults.conf").exists():
        driver.append(_COMPILER)
        if local:
            given = _given_to_java(conf or {})
            if not any(map(_A_COLLECTOR.search, given)):
                driver.append(_COLLECTOR)
            driver += archive_options(spark, given)
    for process, options in (("driver", driver), ("executor", executor)):
        if options:
            settings[f"spark.{process}.extraJavaOptions"] = shlex.join(options)
    for key, value in (conf or {}).items():
        between = next((sep for end, sep in _JOINED.items() if key.endswith(end) and key in settings), None)
        settings[key] = str(value) if between is None else f"{settings[key]}{between}{value}"
    return settings


def conf_folder(spark: Spark) -> Path:
    """Return the folder of Spark's own configuration, which need not exist."""
    return Path(os.environ.get("SPARK_CONF_DIR") or spark.home / "conf")


def _given_to_java(conf: Mapping[str, str]) -> list[str]:
    """Return the options that a user gives to Java."""
    names = ("JDK_JAVA_OPTIONS", "JAVA_TOOL_OPTIONS", "_JAVA_OPTIONS")
    return [v for k, v in conf.items() if k.endswith("JavaOptions")] + [os.environ.get(name, "") for name in names]


def _s3a(line: str) -> dict[str, str]:
    """Return what Hadoop's connector for S3 needs to find the store that pyarrow finds; secrets it reads itself."""
    settings = {}
    if url := endpoint():
        # A store of one's own has no host for each bucket.
        settings = {"endpoint": url, "endpoint.region": region(), "path.style.access": "true"}
    if unsigned():
        settings["aws.credentials.provider"] = "org.apache.hadoop.fs.s3a.AnonymousAWSCredentialsProvider"
    elif web_identity():
        # The one source of credentials that is not among its own.
        settings["aws.credentials.provider"] = _WEB_IDENTITY[line]
    return {f"spark.hadoop.fs.s3a.{key}": value for key, value in settings.items()}


def default_driver_memory() -> str:
    """Return half of the memory that this process may use, from 1 to 32 GiB: Spark's own 1 GiB is too little."""
    limits = [os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")]
    for path in ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"):
        try:
            limits.append(int(Path(path).read_text()))
        except (OSError, ValueError):  # no such control group, or "max"
            continue
    mib = min(limits) // 2 // (1 << 20)
    return f"{min(max(mib, 1024), 32 * 1024)}m"
