"""Engine ``submit``: each request is an application of its own, started by spark-submit with the ctmahout jar."""

from __future__ import annotations

import glob
import json
import os
import signal
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from ..errors import CtmahoutError, EngineError
from ..storage import parse_location, remove, siblings
from ..storage.locks import remove_stale
from .base import Engine
from .jars import find_jar, find_spark
from .java import find_java
from .jvm_calls import translate_error
from .request import Request
from .session import is_local, spark_settings
from .written import written_manifest

__all__ = ["MAIN", "SparkSubmit", "SubmitEngine", "parse_answer", "partials_removed"]

MAIN = "org.ctmahout.bridge.Main"
_ANSWER_PREFIX = "CTMAHOUT_RESULT "
# Time for a driver to remove its partial output before it is killed, in seconds.
_GRACE_S = 20.0


class SparkSubmit(Engine):
    """Runs spark-submit; the base of the engines that use it.

    Parameters
    ----------
    spark_home : str, optional
        A Spark distribution, instead of SPARK_HOME and the installed pyspark.
    """

    name = "submit"

    def __init__(self, spark_home: str | None) -> None:
        self._spark = find_spark(spark_home)
        self._java = find_java(self._spark.version)

    def _command(self, settings: Mapping[str, str]) -> list[str]:
        """Return spark-submit and its settings."""
        settings_arguments = [part for item in settings.items() for part in ("--conf", "=".join(item))]
        return [str(self._spark.home / "bin" / "spark-submit"), *settings_arguments]

    def _process(self, command: list[str], log: Path, request: Request) -> tuple[int, str]:
        """Return exit code and stdout of the driver; an exception meanwhile ends its whole process group."""
        environment = {**os.environ, "SPARK_HOME": str(self._spark.home), "JAVA_HOME": str(self._java.home)}
        target = parse_location(request.output)
        before = siblings(target, "partial")
        with log.open("wb") as stderr:
            try:
                process = subprocess.Popen(
                    command,
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.PIPE,
                    stderr=stderr,
                    env=environment,
                    start_new_session=True,
                )
            except OSError as e:
                problem = f"{command[0]} cannot be started ({e.strerror})"
                raise EngineError("CTM_SPARK_MISSING", problem=problem) from e
            try:
                out, _ = process.communicate()
            except BaseException:
                _end(process)
                for partial in siblings(target, "partial") - before:
                    remove(partial)
                raise
        return process.returncode, out.decode("utf-8", "replace")

    def _error(self, code: int, log: str) -> CtmahoutError:
        """Return the error of a driver from its exit code and stderr."""
        # The driver's own error begins a line; errors of tasks stand within lines of Spark's log.
        for line in reversed(log.splitlines()):
            if line.startswith("[CTM_"):
                return translate_error(line, engine=self.name, log=log)
        end = f"killed by signal {-code}" if code < 0 else f"exit code {code}"
        return translate_error(f"spark-submit ended with {end}", engine=self.name, log=log)


class SubmitEngine(SparkSubmit):
    """Runs the driver on this machine.

    Parameters
    ----------
    defaults : mapping, optional
        Spark settings that the others, and `conf`, override.
    master, jar, conf, driver_memory, spark_home
        As of `ctmahout.engines.connect`.
    """

    def __init__(
        self,
        *,
        master: str | None = None,
        jar: str | None = None,
        conf: Mapping[str, str] | None = None,
        driver_memory: str | None = None,
        spark_home: str | None = None,
        defaults: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(spark_home)
        self._jar = find_jar(jar, spark=self._spark)
        # spark-submit distributes its primary jar itself. A local driver also gets it on the class path that all
        # engines have, so that Java's archive of classes covers it.
        driver_jar = self._jar if is_local(master) else None
        settings = spark_settings(self._spark, driver_jar, master=master, driver_memory=driver_memory, conf=conf)
        self._settings = {**(defaults or {}), **settings}

    def run(self, request: Request) -> dict[str, Any]:
        """See `ctmahout.engines.Engine.run`."""
        with tempfile.TemporaryDirectory(prefix="ctmahout-submit-") as folder:
            file, log = Path(folder, "request.json"), Path(folder, "driver.log")
            file.write_text(request.to_json(), encoding="utf-8")
            # As a URI: on a cluster a bare path may refer to the cluster's file system.
            arguments = ["--class", MAIN, str(self._jar.path), "--request-file", file.as_uri()]
            command = self._command(self._settings_of_run(Path(folder)))
            code, out = self._process([*command, *arguments], log, request)
            stderr = log.read_text("utf-8", "replace")
        if code != 0:
            raise self._error(code, stderr)
        return parse_answer(out, request)

    def _settings_of_run(self, folder: Path) -> Mapping[str, str]:
        """Return the settings of a run; what they name may be written to the folder."""
        return self._settings


@contextmanager
def partials_removed(request: Request) -> Iterator[None]:
    """After Ctrl-C remove what a driver on another machine has left beside its output, where this one sees it.

    The driver has ended by then; the output of another that still runs is locked, and stays.
    """
    try:
        yield
    except KeyboardInterrupt:
        target = parse_location(request.output)
        if isinstance(target, Path):
            remove_stale(target.parent, glob.escape(target.name))
        raise


def parse_answer(out: str, request: Request) -> dict[str, Any]:
    """Return the manifest that a driver printed or, if its output was lost, the one that it wrote.

    Raises
    ------
    EngineError
        CTM_ENGINE_ANSWER: neither is to be had here.
    """
    answers = [line.removeprefix(_ANSWER_PREFIX) for line in out.splitlines() if line.startswith(_ANSWER_PREFIX)]
    if answers:
        manifest: dict[str, Any] = json.loads(answers[-1])
        return manifest
    written = written_manifest(request)
    if written is None:
        raise EngineError("CTM_ENGINE_ANSWER", output=request.output)
    return written


def _end(process: subprocess.Popen[bytes]) -> None:
    """End a process group: by SIGTERM, so that the driver cleans up, then by SIGKILL."""
    for signum in (signal.SIGTERM, signal.SIGKILL):
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signum)
        with suppress(subprocess.TimeoutExpired):
            process.communicate(timeout=_GRACE_S)
            break
