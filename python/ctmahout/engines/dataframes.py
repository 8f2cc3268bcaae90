"""A DataFrame of Spark, classic or Connect, goes to the bridge's data source; its factors come back."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

import numpy as np

from ..errors import ConfigError, CtmahoutError, EngineError
from ..exchange import Svd
from .jars import find_jar
from .jvm_calls import exception_text, interruptible, translate_error
from .request import Request
from .session import is_connect

__all__ = [
    "SOURCE",
    "DataFrameFactors",
    "GroupedFactors",
    "decompose",
    "is_dataframe",
    "jar_invisible",
    "session_error",
]

SOURCE = "ctmahout"
# What a Request has where a directory has its path.
_PLACE = "dataframe:/"
# What tasks say that lack our classes; the last, where an RDD of ours cannot be put together.
_CLASSES_MISSING = (
    "ClassNotFoundException: org.ctmahout",
    "ClassNotFound with classloader",
    "NoClassDefFoundError: org/ctmahout",
    "NoClassDefFoundError: ctmahout/ml",
    "ClassNotFoundException: ctmahout.ml",
    "ClassCastException: cannot assign instance of",
)


@dataclass(frozen=True, eq=False)
class DataFrameFactors(Svd):
    """The factors of one matrix A of a DataFrame: A is about U diag(s) V'.

    Attributes
    ----------
    group : object
        Its value in the group column; None without one.
    s : ndarray of shape (r,), float64
        Singular values, descending, in the units of A.
    v : ndarray of shape (n, r), float64
        Orthonormal columns; the entry of largest magnitude of each is positive.
    u : DataFrame, or None
        A row for each row of A: the id column, and `u`, an array<double> of r values. Of a group None, see
        `GroupedFactors`.
    rows, columns : int
        m and n.
    squared_norm : float
        Squared Frobenius norm of A.
    warnings : tuple of str
    algorithm : str
        "dssvd", "exact" or "dspca".
    """

    group: Any
    u: Any
    algorithm: str
    _result: _Result = field(repr=False)

    def unpersist(self) -> None:
        """Free what Spark keeps of U, in memory or on disk."""
        self._result.unpersist()


@dataclass(frozen=True, eq=False)
class GroupedFactors(Mapping[Any, DataFrameFactors]):
    """The factors of each matrix of a DataFrame, by its value in the group column.

    Attributes
    ----------
    u : DataFrame, or None
        The group column, the id column, and `u`, an array<double>, for all groups.
    """

    u: Any
    _groups: Mapping[Any, DataFrameFactors] = field(repr=False)
    _result: _Result = field(repr=False)

    def __getitem__(self, group: Any) -> DataFrameFactors:
        return self._groups[group]

    def __iter__(self) -> Iterator[Any]:
        return iter(self._groups)

    def __len__(self) -> int:
        return len(self._groups)

    def unpersist(self) -> None:
        """Free what Spark keeps of U, in memory or on disk."""
        self._result.unpersist()


def is_dataframe(matrix: object) -> bool:
    """Return whether this is a DataFrame of PySpark, classic or Connect. Imports nothing."""
    classes = type(matrix).__mro__
    return any(cls.__name__ == "DataFrame" and cls.__module__.startswith("pyspark.sql.") for cls in classes)


def decompose(
    frame: Any,
    column: str | Sequence[str],
    *,
    id: str | None = None,
    group: str | None = None,
    algorithm: str = "dssvd",
    k: int | None = None,
    p: int = 15,
    q: int = 1,
    seed: int = 0,
    u: bool = False,
) -> DataFrameFactors | GroupedFactors:
    """Decompose the matrix, or the matrices, of a DataFrame where it is. Parameters as of `ctmahout.dssvd`.

    Raises
    ------
    ConfigError
        CTM_REQUEST_INVALID, CTM_DATAFRAME_COLUMN, CTM_DATAFRAME_TYPE, CTM_DATAFRAME_RANK.
    InputError
        CTM_DATAFRAME_EMPTY, CTM_DATAFRAME_NULL, CTM_DATAFRAME_WIDTH, CTM_DATAFRAME_NOT_FINITE,
        CTM_DATAFRAME_DUPLICATE.
    EngineError
        CTM_JAR_INVISIBLE, CTM_JAR_MISMATCH, CTM_ENGINE_MEMORY, CTM_ENGINE_FAILED.
    """
    columns = [column] if isinstance(column, str) else list(column)
    _check_names(columns, id, group)
    if u and id is None:
        raise _invalid("u is True without an id, expected the column that names the rows of U")
    request = Request(
        _PLACE, _PLACE, algorithm=algorithm, k=k, p=p, q=q, seed=seed, want=("s", "v", "u") if u else ("s", "v")
    )
    names = {"columns": json.dumps(columns), "id": id, "group": group, "u": "true" if u else None}
    parameters = {key: request.to_dict()[key] for key in ("algorithm", "k", "p", "q", "seed")}
    options = {key: str(value) for key, value in (names | parameters).items() if value is not None}
    result = _Result(frame, options)
    try:
        return _collect(result, group, u)
    except BaseException:
        result.unpersist()
        raise


def _collect(result: _Result, group: str | None, u: bool) -> DataFrameFactors | GroupedFactors:
    rows = result.factors()
    frame = result.u() if u else None
    if frame is None:
        result.unpersist()
    elif not result.is_remote:
        # The DataFrame holds its rows itself, and Spark frees them when nothing refers to it any more.
        result.release()
    groups = [_factors(row, row[group] if group else None, None if group else frame, result) for row in rows]
    if group is None:
        return groups[0]
    return GroupedFactors(frame, {factors.group: factors for factors in groups}, result)


def _factors(row: Any, group: object, u: Any, result: _Result) -> DataFrameFactors:
    s = np.array(row["s"], np.float64)
    v = np.frombuffer(row["v"], "<f8").astype(np.float64).reshape(row["columns"], s.size)
    return DataFrameFactors(
        # Clients of Spark Connect 3.5 give numbers of numpy.
        group=group.item() if isinstance(group, np.generic) else group,
        s=s,
        v=v,
        u=u,
        rows=int(row["rows"]),
        columns=int(row["columns"]),
        squared_norm=float(row["squared_norm"]),
        warnings=tuple(row["warnings"]),
        algorithm=row["algorithm"],
        _result=result,
    )


class _Result:
    """A decomposition in a Spark session, by its name there."""

    def __init__(self, frame: Any, options: Mapping[str, str]) -> None:
        self._session = frame.sparkSession
        self._name = f"dssvd-{uuid4()}"
        self.is_remote = is_connect(frame)
        try:
            writer = frame.write.format(SOURCE).options(**options)
            interruptible(lambda: writer.save(self._name), self._cancel, thread=self._thread())
        except Exception as e:
            raise self._error(e) from e

    def factors(self) -> list[Any]:
        """Return a row for each matrix."""
        try:
            rows: list[Any] = self._part("factors").collect()
        except Exception as e:
            raise self._error(e) from e
        return rows

    def u(self) -> Any:
        """Return U, which stays where it is."""
        return self._part("u")

    def release(self) -> None:
        """Leave the result to those who use it: the session holds it no longer."""
        self._act("release")

    def unpersist(self) -> None:
        """End the result; to end it twice does no harm."""
        self._act("unpersist")

    def _part(self, part: str) -> Any:
        return self._session.read.format(SOURCE).option("part", part).load(self._name)

    def _cancel(self) -> None:
        self._act("cancel")

    def _act(self, action: str) -> None:
        # A client of Connect asks its server only when something of the DataFrame is wanted.
        _ = self._session.read.format(SOURCE).option("action", action).load(self._name).columns

    def _thread(self) -> Any:
        if self.is_remote:
            return threading.Thread
        from pyspark import InheritableThread

        return InheritableThread

    def _error(self, error: Exception) -> CtmahoutError:
        return session_error(error, self._session.version, is_remote=self.is_remote)


def session_error(error: Exception, spark: str, *, is_remote: bool = False, engine: str = "spark") -> CtmahoutError:
    """Return the coded error for what a session of this version of Spark has raised."""
    text = exception_text(error)
    if "DATA_SOURCE_NOT_FOUND" in text or f"data source: {SOURCE}" in text:
        return jar_invisible(spark, "server" if is_remote else "driver")
    # A jar that a client of Connect adds to its session is seen by the driver's SQL, not where results arrive.
    if any(symptom in text for symptom in _CLASSES_MISSING):
        return jar_invisible(spark, "server" if is_remote else "executors")
    return translate_error(error, engine=engine)


def jar_invisible(spark: str, where: str) -> EngineError:
    """Return CTM_JAR_INVISIBLE, with the lines that add the jar to a session."""
    try:
        jar = str(find_jar(spark=spark).path)
    except CtmahoutError:
        jar = "<path that `ctmahout jar` prints>"
    if where == "server":
        lines = f"start-connect-server.sh --jars {jar}"
    else:
        lines = f'ctmahout.spark_builder(), or SparkSession.builder.config("spark.jars", "{jar}") before its JVM starts'
    return EngineError("CTM_JAR_INVISIBLE", where=f"on the {where}", lines=lines)


def _check_names(columns: list[str], id: object, group: object) -> None:
    if not columns or not all(isinstance(name, str) for name in columns):
        raise _invalid(f"column is {columns!r}, expected the name of a column, or a list of such")
    for key, value in (("id", id), ("group", group)):
        if value is not None and not isinstance(value, str):
            raise _invalid(f"{key} is {value!r}, expected the name of a column")


def _invalid(problem: str) -> ConfigError:
    return ConfigError("CTM_REQUEST_INVALID", problem=problem)
