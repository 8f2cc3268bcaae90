"""Engine ``jpype``: Spark and Mahout in a JVM inside this Python process."""

from __future__ import annotations

import json
import os
import shlex
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from ..errors import ConfigError, CtmahoutError, EngineError
from .base import Engine
from .jars import Jar, Spark, find_jar, find_spark
from .java import Java, find_java
from .jvm_calls import interruptible, translate_error
from .launcher import class_path, module_options
from .request import Request
from .session import spark_settings

__all__ = ["JpypeEngine"]

_BRIDGE = "org.ctmahout.bridge.Bridge"
_LOGGING = Path(__file__).with_name("log4j2.properties")


class JpypeEngine(Engine):
    """Runs Spark in the JVM of this process.

    A process has one JVM, which cannot be restarted: a second engine gets a new Spark session in the JVM of the first
    one, with its class path and memory. Parameters as of `ctmahout.engines.connect`.
    """

    name = "jpype"

    def __init__(
        self,
        *,
        master: str | None = None,
        jar: str | None = None,
        conf: Mapping[str, str] | None = None,
        driver_memory: str | None = None,
        spark_home: str | None = None,
    ) -> None:
        try:
            import jpype
        except ImportError as e:
            raise ConfigError("CTM_EXTRA_MISSING", what="Engine jpype", package="jpype1", extra="spark") from e
        spark = find_spark(spark_home)
        java = find_java(spark.version)
        jar_file = find_jar(jar, spark=spark)
        settings = spark_settings(spark, jar_file, master=master, driver_memory=driver_memory, conf=conf)
        self._session: Any = None
        if jpype.isJVMStarted():
            _check_running_jvm(jpype, jar_file)
        else:
            _start_jvm(jpype, spark, java, jar_file, settings)
        try:
            self._bridge = jpype.JClass(_BRIDGE)
            self._session = self._new_session(jpype, settings)
        except Exception as e:
            raise translate_error(e, engine=self.name) from e

    def _new_session(self, jpype: Any, settings: Mapping[str, str]) -> Any:
        sessions = jpype.JClass("org.apache.spark.sql.SparkSession")
        if sessions.getDefaultSession().isDefined():
            raise EngineError("CTM_JVM_RUNNING", problem="it has a Spark session, of another engine that is still open")
        builder = sessions.builder()
        for key, value in settings.items():
            builder = builder.config(key, value)
        return builder.getOrCreate()

    def run(self, request: Request) -> dict[str, Any]:
        """See `ctmahout.engines.Engine.run`."""
        text = request.to_json()
        try:
            answer = interruptible(lambda: str(self._bridge.run(text)), self._bridge.cancel)
        except Exception as e:
            raise translate_error(e, engine=self.name) from e
        manifest: dict[str, Any] = json.loads(answer)
        return manifest

    def close(self) -> None:
        """Stop the Spark session; the JVM stays until the process ends."""
        if self._session is not None:
            session, self._session = self._session, None
            with suppress(Exception):
                session.stop()


def _start_jvm(jpype: Any, spark: Spark, java: Java, jar: Jar, settings: Mapping[str, str]) -> None:
    options = ["-XX:+IgnoreUnrecognizedVMOptions", *module_options(spark)]
    options += shlex.split(settings.get("spark.driver.extraJavaOptions", ""))
    if memory := settings.get("spark.driver.memory"):
        options.append(f"-Xmx{memory}")
    options.append(f"-Dlog4j2.configurationFile={_LOGGING.as_uri()}")
    # Without handlers of the JVM: its handler of SIGTERM would end the process before Python cleans up.
    options.append("-Xrs")
    os.environ.setdefault("SPARK_HOME", str(spark.home))
    try:
        jpype.startJVM(
            str(java.libjvm),
            *dict.fromkeys(options),
            classpath=class_path(spark, jar),
            convertStrings=False,
            interrupt=False,
        )
    except Exception as e:
        raise translate_error(e, engine="jpype") from e


def _check_running_jvm(jpype: Any, jar: Jar) -> None:
    try:
        facts = json.loads(str(jpype.JClass(_BRIDGE).version()))
        jpype.JClass("org.apache.spark.sql.SparkSession")
    except CtmahoutError:
        raise
    except Exception:
        raise EngineError(
            "CTM_JVM_RUNNING", problem="its class path has no Spark or no ctmahout jar, which cannot be added later"
        ) from None
    if (facts["version"], facts["built_for_spark"]) != (jar.version, jar.spark_line):
        raise EngineError(
            "CTM_JVM_RUNNING",
            problem=f"it has the ctmahout jar {facts['version']} for Spark {facts['built_for_spark']}, not {jar.path}",
        )
