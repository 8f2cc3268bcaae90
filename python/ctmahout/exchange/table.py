"""A table of a few columns as one Parquet file: rows as dictionaries go in and come out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from ..errors import ExchangeError
from .parquet import corrupt_as_error

__all__ = ["read_table", "write_table"]

_TYPES = {"int": pa.int32(), "float": pa.float64(), "text": pa.string(), "texts": pa.list_(pa.string())}


def write_table(path: Path, columns: Mapping[str, str], rows: Sequence[Mapping[str, Any]]) -> None:
    """Write a table.

    Parameters
    ----------
    path : Path
        A new file.
    columns : mapping of str to str
        Type of each column: "int", "float", "text" or "texts".
    rows : sequence of mapping
        A row may lack columns; what is not there is null.
    """
    schema = pa.schema([(name, _TYPES[kind]) for name, kind in columns.items()])
    pq.write_table(pa.Table.from_pylist(list(rows), schema=schema), path)


def read_table(path: Path, columns: Mapping[str, str], content: str) -> list[dict[str, Any]]:
    """Read a table that has at least these columns.

    Parameters
    ----------
    path : Path
    columns : mapping of str to str
        As of `write_table`.
    content : str
        What the table is expected to contain, for errors.

    Returns
    -------
    list of dict
        The columns of each row; None where there is no value.

    Raises
    ------
    ExchangeError
        CTM_EXCHANGE_CORRUPT, CTM_EXCHANGE_KIND.
    """
    with corrupt_as_error(path):
        schema = pq.read_schema(path)
    if any(name not in schema.names or schema.field(name).type != _TYPES[kind] for name, kind in columns.items()):
        raise ExchangeError(
            "CTM_EXCHANGE_KIND",
            path=path,
            given=f"a table with the columns {', '.join(schema.names)}",
            expected=content,
        )
    with corrupt_as_error(path):
        rows: list[dict[str, Any]] = pq.read_table(path, columns=list(columns)).to_pylist()
    return rows
