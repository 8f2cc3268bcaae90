"""Spark Connect: Mahout on a server, which reads and writes the directories of the exchange itself."""

from __future__ import annotations

import json
import socket
from contextlib import suppress
from typing import Any
from urllib.parse import urlsplit
from uuid import uuid4

from ..errors import ConfigError, CtmahoutError, EngineError
from .base import Engine
from .dataframes import SOURCE, session_error
from .jars import check_session_jar
from .jvm_calls import exception_text, interruptible
from .request import Request
from .workers import Threads, Workers
from .written import manifest_at, written_manifest

__all__ = ["SparkConnectEngine"]

_PORT = 15002
_REACH_S = 20.0
# Tasks that ask for the version: some on every executor of a small cluster.
_TASKS = 64
# What a server says of a matrix directory that it does not see.
_UNSEEN = ("CTM_INPUT_NOT_FOUND", "CTM_EXCHANGE_NOT_COMMITTED")


class SparkConnectEngine(Engine):
    """Runs on a server of Spark Connect, which has the ctmahout jar and sees the same folders and stores.

    Parameters
    ----------
    session : SparkSession, optional
        A session of the user, which is neither reconfigured nor stopped.
    address : str, optional
        ``sc://HOST:PORT``, without a session: one is started there, and ended by `close`.
    """

    name = "connect"

    def __init__(self, session: Any = None, *, address: str | None = None) -> None:
        self._is_own = session is None
        self.session: Any = _start(str(address)) if session is None else session
        try:
            self._spark = self._checked_version()
        except BaseException:
            self.close()
            raise

    def run(self, request: Request) -> dict[str, Any]:
        """See `ctmahout.engines.Engine.run`."""
        name = f"request-{uuid4()}"
        # The DataFrame is empty: what the server acts on is the option.
        writer = self.session.range(0).write.format(SOURCE).option("request", request.to_json())
        try:
            interruptible(lambda: writer.save(name), lambda: self._cancel(name))
        except Exception as e:
            error = session_error(e, self._spark, is_remote=True, engine=self.name)
            raise _storage_error(error, request) from e
        written = written_manifest(request)
        if written is None:
            detail = "the server has written the factors, and they are not here"
            raise EngineError("CTM_CONNECT_STORAGE", path=request.output, detail=detail)
        return written

    def workers(self, threads: int | None = None) -> Workers:
        """Return threads of this process: on Spark Connect no functions go to executors."""
        return Threads.of(threads)

    def close(self) -> None:
        """End the session, if this engine started it."""
        if self._is_own and self.session is not None:
            session, self.session = self.session, None
            with suppress(Exception):  # the server may have ended
                session.stop()

    def _cancel(self, name: str) -> None:
        """Cancel a run, if there is one of this name."""
        _ = self.session.read.format(SOURCE).option("action", "cancel").load(name).columns

    def _checked_version(self) -> str:
        """Return the server's version of Spark, after a check that it and its executors have the jar for it."""
        try:
            spark: str = self.session.version
        except Exception as e:
            raise _failed(exception_text(e)) from e
        version = "reflect('org.ctmahout.bridge.Bridge', 'version') AS version"
        try:
            self._cancel("nothing")  # of all that the data source does the least
            rows = self.session.range(0, _TASKS, 1, _TASKS).selectExpr(version).distinct().collect()
        except Exception as e:
            raise session_error(e, spark, is_remote=True, engine=self.name) from e
        for row in rows:
            check_session_jar(json.loads(row["version"]), spark)
        return spark


def _start(address: str) -> Any:
    """Start a session on a server, after a check that one is there: Spark's client would try for ten minutes."""
    server = urlsplit(address)
    try:
        socket.create_connection((server.hostname or "", server.port or _PORT), timeout=_REACH_S).close()
    except (OSError, ValueError) as e:
        # Of the address no more than its host: what follows may be a token.
        where = address.removeprefix("sc://").partition("/")[0]
        raise _failed(f"no server of Spark Connect answers at {where} ({e})") from e
    try:
        from pyspark.sql.connect.session import SparkSession

        return SparkSession.builder.remote(address).create()
    except ImportError as e:
        package = e.name or "pyspark-client"
        raise ConfigError("CTM_EXTRA_MISSING", what="Spark Connect", package=package, extra="connect") from e
    except Exception as e:
        raise _failed(exception_text(e)) from e


def _failed(text: str) -> EngineError:
    return EngineError("CTM_ENGINE_FAILED", engine="connect", detail=text.splitlines()[0].rstrip("."))


def _storage_error(error: CtmahoutError, request: Request) -> CtmahoutError:
    """Return CTM_CONNECT_STORAGE if what the server does not find is here."""
    if error.code == "CTM_OUTPUT_UNWRITABLE":
        error.append_hint("It is the server of Spark Connect that writes there, by its own account.")
    if error.code not in _UNSEEN:
        return error
    try:
        manifest_at(request.input, "matrix")
    except CtmahoutError:
        return error
    detail = f"the server says: {error.message.rstrip('.')}"
    return EngineError("CTM_CONNECT_STORAGE", path=request.input, detail=detail)
