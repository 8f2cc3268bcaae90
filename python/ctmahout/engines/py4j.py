"""Engine ``py4j``: Mahout in the JVM of PySpark, in a session of its own or of the user."""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
import warnings
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import IO, Any

from ..errors import CtmahoutError, CtmahoutWarning, EngineError
from .base import Engine
from .jars import check_session_jar, find_jar, find_spark
from .java import find_java
from .jvm_calls import interruptible, translate_error
from .pod_template import pod_template
from .request import Request
from .session import is_connect, is_local, spark_settings

__all__ = ["Py4jEngine"]

_BRIDGE = "org.ctmahout.bridge.Bridge"


class Py4jEngine(Engine):
    """Runs in a Spark session of this process.

    A session that the engine starts is stopped, with its JVM, by `close`. A session of the user, passed or already
    running, is neither reconfigured nor stopped; it must have the ctmahout jar. Parameters as of
    `ctmahout.engines.connect`.
    """

    name = "py4j"

    def __init__(
        self,
        session: object = None,
        *,
        master: str | None = None,
        jar: str | None = None,
        conf: Mapping[str, str] | None = None,
        driver_memory: str | None = None,
        image: str | None = None,
        pod_template: str | None = None,
    ) -> None:
        _check_session(session)
        self._started: _Session | None = None
        if session is None:
            session = _running_session()
            if session is not None and (master or jar or conf or driver_memory):
                warnings.warn(
                    "A Spark session runs in this process already and is used as it is: "
                    "master, jar, conf and driver_memory are ignored.",
                    CtmahoutWarning,
                    stacklevel=3,
                )
        if session is None:
            pods = _ExecutorPods.of(master, image, pod_template, conf or {})
            self._started = _Session(master, jar, conf, driver_memory, pods)
            session = self._started.session
        self.session: Any = session
        try:
            self._bridge = self._find_bridge()
        except BaseException:
            self.close()
            raise

    def run(self, request: Request) -> dict[str, Any]:
        """See `ctmahout.engines.Engine.run`."""
        from pyspark import InheritableThread

        text = request.to_json()
        try:
            answer = interruptible(lambda: self._bridge.run(text), self._bridge.cancel, thread=InheritableThread)
        except Exception as e:
            raise self._error(e) from e
        manifest: dict[str, Any] = json.loads(answer)
        return manifest

    def close(self) -> None:
        """Stop the session and its JVM, if this engine started them."""
        if self._started is not None:
            self._started.close()
            self._started = None

    def _find_bridge(self) -> Any:
        """Return the bridge's class, after a check that driver and executors have it in the right version."""
        from py4j.java_gateway import JavaClass

        context = self.session.sparkContext
        if getattr(context, "_jsc", None) is None:
            raise EngineError("CTM_ENGINE_FAILED", engine=self.name, detail="the Spark session given is stopped")
        bridge: Any = self.session._jvm
        for name in _BRIDGE.split("."):
            bridge = getattr(bridge, name)
        if not isinstance(bridge, JavaClass):
            raise _invisible("on the driver", self.session.version)
        try:
            check_session_jar(json.loads(bridge.version()), self.session.version)
            # Local executors are threads of the driver. Others are checked by a job that calls the same method.
            if not is_local(context.master):
                tasks = max(2, context.defaultParallelism)
                self.session.range(0, tasks, 1, tasks).selectExpr(f"reflect('{_BRIDGE}', 'version')").collect()
        except CtmahoutError:
            raise
        except Exception as e:
            if "ClassNotFoundException" in str(e) or "NoClassDefFoundError" in str(e):
                raise _invisible("on the executors", self.session.version) from e
            raise self._error(e) from e
        return bridge

    def _error(self, error: Exception) -> CtmahoutError:
        return translate_error(error, engine=self.name, log=self._started.log() if self._started else "")


@dataclass(frozen=True)
class _ExecutorPods:
    """What executors on Kubernetes need beside the settings of every Spark: settings, and a pod template as JSON."""

    settings: Mapping[str, str] = field(default_factory=dict)
    template: str | None = None

    @classmethod
    def of(cls, master: str | None, image: str | None, template: str | None, conf: Mapping[str, str]) -> _ExecutorPods:
        if master is None or not master.startswith("k8s://"):
            return cls()
        from .kubernetes import client_settings

        return cls(client_settings(master, image, conf), json.dumps(pod_template(template)))


class _Session:
    """A Spark session and its JVM, whose output is kept for error messages."""

    def __init__(
        self,
        master: str | None,
        jar: str | None,
        conf: Mapping[str, str] | None,
        driver_memory: str | None,
        pods: _ExecutorPods,
    ) -> None:
        # Everything that can be checked is checked before a JVM starts.
        spark = find_spark()
        find_java(spark.version)
        jar_file = find_jar(jar, spark=spark)
        conf = {**pods.settings, **(conf or {})}
        settings = spark_settings(spark, jar_file, master=master, driver_memory=driver_memory, conf=conf)
        try:
            import pyspark.sql  # noqa: F401
        except ImportError as e:
            raise EngineError("CTM_SPARK_MISSING", problem=e) from e
        self._log: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115 - open as long as the session
        self._template: IO[str] | None = None
        if pods.template is not None:
            self._template = tempfile.NamedTemporaryFile("w", suffix=".json")  # noqa: SIM115 - Spark reads it later
            self._template.write(pods.template)
            self._template.flush()
            settings = {"spark.kubernetes.executor.podTemplateFile": self._template.name, **settings}
        self._gateway: Any = None
        self._cancelled = False
        self.session: Any = None
        try:
            # In the main thread PySpark would handle SIGINT itself, and Ctrl-C would interrupt an answer of the JVM.
            interruptible(lambda: self._start(settings), self._cancel)
        except BaseException as e:
            log = self.log()
            self.close()
            if isinstance(e, Exception):
                raise translate_error(e, engine="py4j", log=log) from e
            raise

    def _start(self, settings: Mapping[str, str]) -> None:
        from pyspark import SparkConf, SparkContext
        from pyspark.sql import SparkSession

        # PySpark has one JVM: that of an earlier session is used as it is, and left running.
        if SparkContext._gateway is None:
            self._gateway = self._launch(SparkConf(loadDefaults=False).setAll(list(settings.items())))
            SparkContext._ensure_initialized(gateway=self._gateway)
        if self._cancelled:
            return
        builder = SparkSession.builder
        for key, value in settings.items():
            builder = builder.config(key, value)
        self.session = builder.getOrCreate()

    def _cancel(self) -> None:
        self._cancelled = True
        if self._gateway is not None:
            self._gateway.proc.kill()

    def _launch(self, conf: Any) -> Any:
        from pyspark.java_gateway import launch_gateway

        return launch_gateway(conf, {"stdout": self._log, "stderr": subprocess.STDOUT})

    def log(self) -> str:
        """Return the end of the JVM's output, at most 64 KiB."""
        if self._log.closed:
            return ""
        # Not by seeking: the JVM writes through the same file offset.
        size = os.fstat(self._log.fileno()).st_size
        return os.pread(self._log.fileno(), 1 << 16, max(0, size - (1 << 16))).decode("utf-8", "replace")

    def close(self) -> None:
        from pyspark import SparkContext

        if self.session is not None:
            session, self.session = self.session, None
            _stop(session)
        if self._gateway is not None:
            gateway, self._gateway = self._gateway, None
            SparkContext._gateway = None
            SparkContext._jvm = None
            with suppress(Exception):
                gateway.shutdown()
            _end(gateway.proc)
        if self._template is not None:
            self._template.close()
        self._log.close()


def _stop(session: Any) -> None:
    """Stop a session; if its JVM has died, complete what PySpark's stop leaves undone when it raises."""
    from pyspark import SparkContext
    from pyspark.sql import SparkSession

    context = session.sparkContext
    with warnings.catch_warnings(), suppress(Exception):
        warnings.simplefilter("ignore")
        session.stop()
    if getattr(context, "_accumulatorServer", None) is not None:
        context._accumulatorServer.shutdown()
        context._accumulatorServer = None
    SparkContext._active_spark_context = None
    SparkSession._instantiatedSession = None
    SparkSession._activeSession = None


def _end(process: subprocess.Popen[bytes]) -> None:
    """End the JVM, which exits when its stdin closes."""
    with suppress(OSError):
        if process.stdin:
            process.stdin.close()
    try:
        process.wait(20)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _running_session() -> Any:
    """Return the running session of this process, or None."""
    try:
        from pyspark import SparkContext
        from pyspark.sql import SparkSession
    except ImportError:
        return None
    context = SparkContext._active_spark_context
    if context is None or getattr(context, "_jsc", None) is None:
        return None
    return SparkSession.getActiveSession() or SparkSession.builder.getOrCreate()


def _check_session(session: object) -> None:
    remote = session is None and ("SPARK_REMOTE" in os.environ or "SPARK_CONNECT_MODE_ENABLED" in os.environ)
    if remote or is_connect(session):
        raise EngineError("CTM_SPARK_CONNECT", what="Engine py4j")
    if session is not None and not hasattr(session, "sparkContext"):
        raise TypeError(f"session must be a SparkSession, not {type(session).__name__}")


def _invisible(where: str, spark: str) -> EngineError:
    """Return CTM_JAR_INVISIBLE, with the lines that add the jar to a session."""
    try:
        jar = str(find_jar(spark=spark).path)
    except CtmahoutError:
        jar = "<path of the ctmahout jar>"
    lines = f'ctmahout.spark_builder(), or SparkSession.builder.config("spark.jars", "{jar}") before its JVM starts'
    return EngineError("CTM_JAR_INVISIBLE", where=where, lines=lines)
