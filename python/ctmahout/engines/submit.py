"""The submit engine: spark-submit with the ctmahout jar, in processes of their own."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from ..errors import CtmahoutError, EngineError
from ..exchange import is_manifest, read_manifest
from ..storage import beside, local_copy, parse_location, remove
from .base import Engine
from .jars import find_jar, find_spark
from .java import find_java
from .jvm_calls import shaped
from .request import Request
from .session import is_local, spark_settings

__all__ = ["MAIN", "SubmitEngine", "answer"]

_PREFIX = "CTMAHOUT_RESULT "
MAIN = "org.ctmahout.bridge.Main"
# How long a driver gets to remove what it wrote, in seconds, before it is killed.
_GRACE_S = 20.0


class SubmitEngine(Engine):
    """Decomposes by spark-submit, one application for each request, the driver on this machine.

    `further` holds settings that `conf` overrules.
    """

    name = "submit"

    def __init__(
        self,
        *,
        master: str | None = None,
        jar: str | None = None,
        conf: Mapping[str, str] | None = None,
        driver_memory: str | None = None,
        spark_home: str | None = None,
        further: Mapping[str, str] | None = None,
    ) -> None:
        self._spark = find_spark(spark_home)
        self._java = find_java(self._spark.version)
        self._jar = find_jar(jar, spark=self._spark)
        # spark-submit hands its primary jar to driver and executors itself; on this machine, in a class path that all
        # engines have, it can be in Java's archive too.
        here = self._jar if is_local(master) else None
        settings = spark_settings(self._spark, here, master=master, driver_memory=driver_memory, conf=conf)
        self._settings = {**(further or {}), **settings}

    def command(self, request: str) -> list[str]:
        """Return the command line for a file with a request."""
        return [*self._submit(self._settings), "--class", MAIN, str(self._jar.path), "--request-file", request]

    def _submit(self, settings: Mapping[str, str]) -> list[str]:
        parts = [part for item in settings.items() for part in ("--conf", "=".join(item))]
        return [str(self._spark.home / "bin" / "spark-submit"), *parts]

    def run(self, request: Request) -> dict[str, Any]:
        """See `ctmahout.engines.Engine.run`."""
        with tempfile.TemporaryDirectory(prefix="ctmahout-submit-") as folder:
            file, log = Path(folder, "request.json"), Path(folder, "driver.log")
            file.write_text(request.to_json(), encoding="utf-8")
            # A file's URI: on a cluster a bare path may mean a place in the cluster's file system.
            code, out = self._process(self.command(file.as_uri()), log, request)
            said = log.read_text("utf-8", "replace")
        if code != 0:
            raise self._error(code, said)
        return answer(out, request)

    def _error(self, code: int, log: str) -> CtmahoutError:
        # The driver's last word begins a line; what tasks threw stands in the middle of Spark's own lines.
        for line in reversed(log.splitlines()):
            if line.startswith("[CTM_"):
                return shaped(line, engine=self.name, log=log)
        how = f"killed by signal {-code}" if code < 0 else f"exit code {code}"
        return shaped(f"spark-submit ended with {how}", engine=self.name, log=log)

    def _process(self, command: list[str], log: Path, request: Request) -> tuple[int, str]:
        """Return exit code and stdout of the driver; whatever stops the wait stops its whole process group."""
        environment = {**os.environ, "SPARK_HOME": str(self._spark.home), "JAVA_HOME": str(self._java.home)}
        target = parse_location(request.output)
        before = beside(target, "partial")
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
                for left in beside(target, "partial") - before:
                    remove(left)
                raise
        return process.returncode, out.decode("utf-8", "replace")


def answer(out: str, request: Request) -> dict[str, Any]:
    """Return the manifest that a driver printed or, where its output does not arrive, the one that it wrote."""
    answers = [line.removeprefix(_PREFIX) for line in out.splitlines() if line.startswith(_PREFIX)]
    if answers:
        manifest: dict[str, Any] = json.loads(answers[-1])
        return manifest
    with local_copy(parse_location(request.output), is_manifest) as folder:
        return read_manifest(folder, "factors").to_dict()


def _end(process: subprocess.Popen[bytes]) -> None:
    """End a process group: politely, so that the driver cleans up, then for good."""
    for signum in (signal.SIGTERM, signal.SIGKILL):
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signum)
        with suppress(subprocess.TimeoutExpired):
            process.communicate(timeout=_GRACE_S)
            break
