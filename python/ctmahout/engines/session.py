"""The Spark settings that ctmahout needs, the same for every engine that starts Spark."""

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

__all__ = [
    "conf_folder",
    "default_driver_memory",
    "is_connect",
    "is_local",
    "server_address",
    "spark_builder",
    "spark_settings",
]

# Off in Spark 3.5; without it products of matrices are not vectorised and take three times as long.
_VECTOR = "--add-modules=jdk.incubator.vector"
# On one machine throughput matters more than pauses: on two cores a decomposition takes a fifth less time than with G1,
# whose regions are smaller than blocks of matrices.
_COLLECTOR = "-XX:+UseParallelGC"
# Compile after three times as many calls: most compilation does not pay off in a short run; see docs/adr/0021.
_COMPILER = "-XX:CompileThresholdScaling=3"
_COLLECTOR_OPTION = re.compile(r"-XX:[+-]Use\w+GC\b")  # Java rejects two collectors
_SEPARATORS = {"extraJavaOptions": " ", "extraClassPath": os.pathsep}
_WEB_IDENTITY = {
    "3.5": "com.amazonaws.auth.WebIdentityTokenCredentialsProvider",
    "4": "software.amazon.awssdk.auth.credentials.WebIdentityTokenFileCredentialsProvider",
}


def spark_builder(
    master: str | None = None, jar: str | None = None, driver_memory: str | None = None, **conf: str
) -> SparkSession.Builder:
    """Return a builder of Spark sessions for ctmahout.

    It sets the jar, Java's vector module and quiet defaults. Some of them take effect only when a JVM starts, so use it
    for the first session of a process.

    Parameters
    ----------
    master : str, optional
        Spark master; default: ``local[*]``.
    jar : str, optional
        The ctmahout jar, instead of CTMAHOUT_JAR and the bundled one.
    driver_memory : str, optional
        Heap of the driver, for instance ``4g``; default for local masters: half of the memory of this machine.
    **conf : str
        Further Spark settings, as ``**{"spark.sql.shuffle.partitions": "8"}``.

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
    """Return whether a Spark master runs on this machine; True without a master."""
    return (master or "local").startswith("local")


def is_connect(spark: object) -> bool:
    """Return whether a session or a DataFrame is one of Spark Connect. Imports nothing."""
    return type(spark).__module__.startswith("pyspark.sql.connect")


def server_address(master: str | None) -> str | None:
    """Return the server that a master names or, without a master, SPARK_REMOTE; None if it is no ``sc://HOST:PORT``."""
    address = os.environ.get("SPARK_REMOTE", "") if master is None else master
    return address if address.startswith("sc://") else None


def spark_settings(
    spark: Spark,
    jar: Jar | None,
    *,
    master: str | None = None,
    driver_memory: str | None = None,
    conf: Mapping[str, str] | None = None,
) -> dict[str, str]:
    """Return the settings of a Spark that ctmahout starts.

    Parameters
    ----------
    spark : Spark
    jar : Jar or None
        None for spark-submit, which takes the jar as an argument.
    master, driver_memory, conf
        As of `ctmahout.engines.connect`. Settings of `conf` override the others; Java options and class paths are
        appended.
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
        # Both: spark.jars is for executors; on the driver it uses a separate class loader.
        settings |= {"spark.jars": str(jar.path), "spark.driver.extraClassPath": str(jar.path)}
    if local:
        # The host name of a laptop may resolve to an address that changes or is blocked by a firewall.
        settings |= {"spark.driver.bindAddress": "127.0.0.1", "spark.driver.host": "127.0.0.1"}
        # Out of memory, a task ends its JVM, which in local mode is the driver's or, with JPype, Python itself. With 0
        # the task fails instead.
        settings["spark.executor.killOnFatalError.depth"] = "0"
    if driver_memory or local:
        settings["spark.driver.memory"] = driver_memory or default_driver_memory()
    driver, executor = [], []
    if spark_line(spark.version) == "3.5":
        driver, executor = [_VECTOR], [_VECTOR]
    # Java options set here replace those of Spark's own configuration, which must keep its effect.
    if not (conf_folder(spark) / "spark-defaults.conf").exists():
        driver.append(_COMPILER)
        if local:
            user_options = _java_options(conf or {})
            if not any(map(_COLLECTOR_OPTION.search, user_options)):
                driver.append(_COLLECTOR)
            driver += archive_options(spark, user_options)
    for process, options in (("driver", driver), ("executor", executor)):
        if options:
            settings[f"spark.{process}.extraJavaOptions"] = shlex.join(options)
    for key, value in (conf or {}).items():
        separator = next((sep for end, sep in _SEPARATORS.items() if key.endswith(end) and key in settings), None)
        settings[key] = str(value) if separator is None else f"{settings[key]}{separator}{value}"
    return settings


def conf_folder(spark: Spark) -> Path:
    """Return the folder of Spark's own configuration; it need not exist."""
    return Path(os.environ.get("SPARK_CONF_DIR") or spark.home / "conf")


def _java_options(conf: Mapping[str, str]) -> list[str]:
    """Return the Java options of the user, from `conf` and the environment."""
    names = ("JDK_JAVA_OPTIONS", "JAVA_TOOL_OPTIONS", "_JAVA_OPTIONS")
    return [v for k, v in conf.items() if k.endswith("JavaOptions")] + [os.environ.get(name, "") for name in names]


def _s3a(line: str) -> dict[str, str]:
    """Return the settings of Hadoop's S3 connector for the store that pyarrow uses; it reads credentials itself."""
    settings = {}
    if url := endpoint():
        # A self-hosted store has no host name for each bucket.
        settings = {"endpoint": url, "endpoint.region": region(), "path.style.access": "true"}
    if unsigned():
        settings["aws.credentials.provider"] = "org.apache.hadoop.fs.s3a.AnonymousAWSCredentialsProvider"
    elif web_identity():
        # Not among the connector's default sources of credentials.
        settings["aws.credentials.provider"] = _WEB_IDENTITY[line]
    return {f"spark.hadoop.fs.s3a.{key}": value for key, value in settings.items()}


def default_driver_memory() -> str:
    """Return half of the memory that this process may use, from 1 to 32 GiB; Spark's default of 1 GiB is too little."""
    # Where the system does not say, a small laptop is assumed.
    limits = [os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") if hasattr(os, "sysconf") else 8 << 30]
    for path in ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"):
        try:
            limits.append(int(Path(path).read_text()))
        except (OSError, ValueError):  # no such control group, or "max"
            continue
    mib = min(limits) // 2 // (1 << 20)
    return f"{min(max(mib, 1024), 32 * 1024)}m"
