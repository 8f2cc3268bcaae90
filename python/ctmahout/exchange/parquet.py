"""Rows of numbered groups to and from Parquet files."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from ..errors import ExchangeError
from .checksum import hex_digits, sum_of_rows

__all__ = ["Expected", "PartWriter", "Written", "read_parts"]

ROW_GROUP_BYTES = 8 << 20
PART_BYTES = 64 << 20


@dataclass(frozen=True)
class Expected:
    """Shape and checksum of a group, as the manifest has them."""

    rows: int
    columns: int
    checksum: str


@dataclass(frozen=True)
class Written:
    """Shape and checksum of a group that was written."""

    rows: int
    columns: int
    checksum: str


# ------------------------------------------------------------------------------------------------------------ writing


@dataclass
class _OpenGroup:
    """The group that is being written."""

    rows: list[NDArray[np.int64]] = field(default_factory=list)
    sum: int = 0


class PartWriter:
    """Writes the rows of one directory, in row groups of about 8 MB and part files of about 64 MB.

    Parameters
    ----------
    folder : Path
        An empty folder.
    dtype : str
        "float32" or "float64".
    path : Path
        The final path of the directory, for errors.
    equal_widths : bool
        Rows of all groups have the same length, at least 1; else those of each group.
    """

    def __init__(self, folder: Path, dtype: str, *, path: Path, equal_widths: bool = True) -> None:
        self.folder = folder
        self.dtype = np.dtype(dtype)
        self.path = path
        self.equal_widths = equal_widths
        self.columns: int | None = None
        element = pa.field("element", pa.float32() if dtype == "float32" else pa.float64(), nullable=False)
        self._schema = pa.schema(
            [
                pa.field("group", pa.int32(), nullable=False),
                pa.field("row", pa.int64(), nullable=False),
                pa.field("values", pa.list_(element), nullable=False),
            ]
        )
        self._writer: pq.ParquetWriter | None = None
        self._parts = 0
        self._bytes = 0
        self._open = _OpenGroup()
        self._pending: list[tuple[NDArray[np.int64], NDArray[Any]]] = []

    def __enter__(self) -> PartWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._writer is not None:
            try:
                self._writer.close()
            except Exception:
                if error is None:  # else the first error is the cause, such as a full disk
                    raise

    def append(self, group: int, rows: NDArray[np.int64], values: NDArray[Any]) -> None:
        """Add rows of shape (b, n) to a group. Groups are written one after the other, with `finish` in between."""
        block = self._checked(group, rows, values)
        if rows.size == 0:
            return
        self._open.rows.append(rows)
        self._open.sum += sum_of_rows(rows, block)
        self._pending.append((rows, block))
        step = self._rows_per_group()
        if sum(len(r) for r, _ in self._pending) >= step:
            all_rows, all_values = self._pop_pending()
            full = len(all_rows) // step * step
            for start in range(0, full, step):
                self._write(group, all_rows[start : start + step], all_values[start : start + step])
            if full < len(all_rows):
                self._pending = [(all_rows[full:].copy(), all_values[full:].copy())]

    def finish(self, group: int) -> Written:
        """Write the pending rows of a group, check that each row occurred once, and return what was written."""
        if self._pending:
            self._write(group, *self._pop_pending())
        rows = np.concatenate(self._open.rows) if self._open.rows else np.empty(0, np.int64)
        if rows.size == 0:
            raise ExchangeError("CTM_EXCHANGE_ROW_MISSING", path=self.path, group=group, row=0, given=0, expected=1)
        check_rows(self.path, group, rows, rows.size)
        written = Written(rows.size, self.columns or 0, hex_digits(self._open.sum))
        self._open = _OpenGroup()
        if not self.equal_widths:
            self.columns = None
        return written

    def _checked(self, group: int, rows: NDArray[np.int64], values: NDArray[Any]) -> NDArray[Any]:
        if values.ndim != 2 or rows.shape != values.shape[:1]:
            raise ValueError(
                f"expected rows of shape (b,) and values of shape (b, n), not {rows.shape}, {values.shape}"
            )
        if values.dtype.kind not in "fiub":
            raise TypeError(f"expected real numbers, not {values.dtype}")
        if self.columns is None:
            self.columns = max(1, values.shape[1]) if self.equal_widths else values.shape[1]
        place = {"path": self.path, "group": group, "row": int(rows[0]) if rows.size else 0}
        if values.shape[1] != self.columns:
            raise ExchangeError("CTM_EXCHANGE_WIDTH", given=values.shape[1], expected=self.columns, **place)
        with np.errstate(over="ignore"):  # values beyond float32 become infinite, which is refused
            block = np.ascontiguousarray(values, dtype=self.dtype)
        finite = np.isfinite(block)
        if not finite.all():
            place["row"] = int(rows[~finite.all(axis=1)].min())
            raise ExchangeError("CTM_EXCHANGE_NOT_FINITE", **place)
        if rows.size and rows.min() < 0:
            raise ExchangeError(
                "CTM_EXCHANGE_ROW_RANGE", path=self.path, group=group, row=int(rows.min()), last="the last"
            )
        return block

    def _rows_per_group(self) -> int:
        return max(1, ROW_GROUP_BYTES // ((self.columns or 0) * self.dtype.itemsize + 12))

    def _pop_pending(self) -> tuple[NDArray[np.int64], NDArray[Any]]:
        pending, self._pending = self._pending, []
        if len(pending) == 1:
            return pending[0]
        return np.concatenate([r for r, _ in pending]), np.concatenate([v for _, v in pending])

    def _write(self, group: int, rows: NDArray[np.int64], values: NDArray[Any]) -> None:
        count, n = values.shape
        if self._writer is None or self._bytes >= PART_BYTES:
            if self._writer is not None:
                self._writer.close()
            self._writer = pq.ParquetWriter(
                self.folder / f"part-{self._parts:05d}.parquet",
                self._schema,
                compression="none",
                use_dictionary=False,
                write_statistics=["group", "row"],
                store_schema=False,
                write_page_checksum=True,
            )
            self._parts += 1
            self._bytes = 0
        offsets = np.arange(0, count * n + 1, n, dtype=np.int32) if n else np.zeros(count + 1, np.int32)
        lists = pa.ListArray.from_arrays(
            pa.array(offsets), pa.array(values.reshape(-1)), type=self._schema.field("values").type
        )
        columns = [pa.array(np.full(count, group, np.int32)), pa.array(rows), lists]
        self._writer.write_table(pa.Table.from_arrays(columns, schema=self._schema), row_group_size=count)
        self._bytes += values.nbytes + 12 * count


def check_rows(path: Path, group: int, rows: NDArray[np.int64], expected: int) -> None:
    """Check that the row numbers are 0 to expected - 1, each once: ROW_RANGE, ROW_DUPLICATE, ROW_MISSING."""
    place = {"path": path, "group": group}
    if rows.size == expected and rows.size and rows.min() >= 0 and rows.max() < expected:
        seen = np.zeros(expected, np.bool_)
        seen[rows] = True
        if seen.all():
            return
    ordered = np.sort(rows)
    repeated = ordered[1:][ordered[1:] == ordered[:-1]]
    if repeated.size:
        raise ExchangeError("CTM_EXCHANGE_ROW_DUPLICATE", row=int(repeated[0]), **place)
    gaps = np.flatnonzero(ordered != np.arange(ordered.size))
    missing = int(gaps[0]) if gaps.size else ordered.size
    raise ExchangeError("CTM_EXCHANGE_ROW_MISSING", row=missing, given=rows.size, expected=expected, **place)


# ------------------------------------------------------------------------------------------------------------ reading


@dataclass
class _Collected:
    """The rows of a group that were read so far."""

    rows: list[NDArray[np.int64]] = field(default_factory=list)
    values: NDArray[Any] | None = None
    sum: int = 0


def read_parts(
    path: Path, parts: Sequence[Path], expected: Mapping[int, Expected], dtype: str
) -> dict[int, NDArray[Any]]:
    """Read groups in one pass over part files, with the checks of steps 2 and 3 of contract/v1.

    Parameters
    ----------
    path : Path
        The exchange directory, for errors.
    parts : sequence of Path
        The files, see `Manifest.part_files`.
    expected : mapping of int to Expected
        The groups to read, by number.
    dtype : str

    Returns
    -------
    dict of int to ndarray of shape (rows, columns)
    """
    files = _checked_footers(path, parts, dtype)
    rows_in_files = sum(files.values())
    collected = {group: _Collected() for group in expected}
    failures: list[_Failure] = []
    for file, count in files.items():
        for groups, rows, lengths, flat in _row_groups(file, count, expected):
            for group in np.unique(groups).tolist():
                if group not in expected:
                    continue
                member = groups == group
                selected = (rows, lengths, flat)
                if not member.all():
                    selected = (rows[member], lengths[member], flat[np.repeat(member, lengths)])
                if failure := _collect(collected[group], group, expected[group], rows_in_files, *selected):
                    failures.append(failure)
    if failures:
        first = min(failures, key=lambda f: (f.group, f.row))
        raise ExchangeError(first.code, path=path, group=first.group, row=first.row, **first.fields)
    return {group: _complete(path, group, collected[group], expected[group]) for group in expected}


def _complete(path: Path, group: int, collected: _Collected, expected: Expected) -> NDArray[Any]:
    """Return the values of a group after checking that all rows are present and have the right checksum."""
    check_rows(path, group, np.concatenate([*collected.rows, np.empty(0, np.int64)]), expected.rows)
    digits = hex_digits(collected.sum)
    if digits != expected.checksum:
        raise ExchangeError("CTM_EXCHANGE_CHECKSUM", path=path, group=group, given=digits, expected=expected.checksum)
    assert collected.values is not None
    return collected.values


@dataclass(frozen=True)
class _Failure:
    group: int
    row: int
    code: str
    fields: dict[str, Any]


def _collect(
    into: _Collected,
    group: int,
    expected: Expected,
    rows_in_files: int,
    rows: NDArray[np.int64],
    lengths: NDArray[np.int64],
    flat: NDArray[Any],
) -> _Failure | None:
    """Add rows to a group, or return the failure of the first invalid row, by its number."""
    wrong_width = lengths != expected.columns
    finite = np.isfinite(flat)
    not_finite = np.zeros(rows.size, np.bool_)
    if not finite.all():
        not_finite[np.repeat(np.arange(rows.size), lengths)[~finite]] = True
    out_of_range = (rows < 0) | (rows >= expected.rows)
    wrong = wrong_width | not_finite | out_of_range
    if wrong.any():
        first = np.flatnonzero(wrong)[np.argmin(rows[wrong])]
        row = int(rows[first])
        if wrong_width[first]:
            fields = {"given": int(lengths[first]), "expected": expected.columns}
            return _Failure(group, row, "CTM_EXCHANGE_WIDTH", fields)
        if not_finite[first]:
            return _Failure(group, row, "CTM_EXCHANGE_NOT_FINITE", {})
        return _Failure(group, row, "CTM_EXCHANGE_ROW_RANGE", {"last": expected.rows - 1})
    into.rows.append(rows)
    values = flat.reshape(rows.size, expected.columns)
    into.sum += sum_of_rows(rows, values)
    # No memory is allocated for a manifest with more rows than the files have.
    if into.values is None and expected.rows <= rows_in_files:
        into.values = np.empty((expected.rows, expected.columns), flat.dtype)
    if into.values is not None:
        into.values[rows] = values
    return None


def _checked_footers(path: Path, parts: Sequence[Path], dtype: str) -> dict[Path, int]:
    """Return the part files and the numbers of rows in their footers, after checking their schemas."""
    for part in parts:
        if not part.is_file():
            raise ExchangeError("CTM_EXCHANGE_FILE_MISSING", path=path, file=part.relative_to(path).as_posix())
    files: dict[Path, int] = {}
    problems: list[ExchangeError] = []
    for part in parts:
        try:
            files[part] = _check_footer(part, dtype)
        except ExchangeError as e:
            problems.append(e)
    if problems:  # a schema error takes precedence, then the first file
        raise min(problems, key=lambda e: e.code != "CTM_EXCHANGE_SCHEMA")
    return files


def _check_footer(path: Path, dtype: str) -> int:
    with _CorruptAsError(path), pq.ParquetFile(path) as parquet:
        schema = parquet.schema_arrow
        count = int(parquet.metadata.num_rows)
    element = pa.float32() if dtype == "float32" else pa.float64()
    for name, kind, expected in (
        ("group", pa.int32(), "INT32 not null"),
        ("row", pa.int64(), "INT64 not null"),
        ("values", element, f"a LIST of {'FLOAT' if dtype == 'float32' else 'DOUBLE'}, not null"),
    ):
        if name not in schema.names:
            raise ExchangeError(
                "CTM_EXCHANGE_SCHEMA", path=path, problem=f"column {name} is missing, expected {expected}"
            )
        column = schema.field(name)
        matches = _is_list_of(column.type, kind) if name == "values" else column.type == kind
        if column.nullable or not matches:
            problem = f"column {name} is {column.type}{'' if column.nullable else ' not null'}, expected {expected}"
            raise ExchangeError("CTM_EXCHANGE_SCHEMA", path=path, problem=problem)
    return count


def _is_list_of(kind: Any, element: Any) -> bool:
    is_list = pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)
    return bool(is_list and kind.value_type == element and not kind.value_field.nullable)


def _row_groups(
    path: Path, expected_rows: int, selected: Collection[int]
) -> Iterator[tuple[NDArray[np.int32], NDArray[np.int64], NDArray[np.int64], NDArray[Any]]]:
    """Yield group numbers, row numbers, row lengths and concatenated values of each row group with a selected group."""
    count = 0
    # One file is open at a time: a large matrix has more files than a process may open.
    with ExitStack() as stack:
        with _CorruptAsError(path):
            parquet = stack.enter_context(pq.ParquetFile(path, page_checksum_verification=True))
        for index in range(parquet.metadata.num_row_groups):
            with _CorruptAsError(path):
                # Not by statistics: reading those of a damaged footer aborts the process (pyarrow 26).
                groups = parquet.read_row_group(index, columns=["group"]).column(0).to_numpy()
                count += groups.size
                if not np.isin(groups, list(selected)).any():
                    continue
                columns = groups, *_columns(parquet.read_row_group(index, columns=["row", "values"]), groups.size)
            yield columns
    if count != expected_rows:
        with _CorruptAsError(path):
            raise ValueError(f"it holds {count} rows, its footer says {expected_rows}")


def _columns(table: pa.Table, count: int) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[Any]]:
    """Return row numbers, row lengths and concatenated values of a table of `count` rows."""
    rows, values = (table.column(name).combine_chunks() for name in ("row", "values"))
    if pa.types.is_fixed_size_list(values.type):
        values = values.cast(pa.list_(values.type.value_field))
    lengths = np.diff(values.offsets.to_numpy()).astype(np.int64)
    if not count == len(rows) == lengths.size:
        raise ValueError("its columns differ in length")
    return rows.to_numpy(), lengths, values.flatten().to_numpy()


class _CorruptAsError:
    """Translates errors of pyarrow on damaged files into CTM_EXCHANGE_CORRUPT."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __enter__(self) -> None:
        return None

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # Damaged lengths cause MemoryError, damaged names UnicodeDecodeError (a ValueError).
        if isinstance(error, (pa.ArrowException, OSError, ValueError, TypeError, KeyError, MemoryError, OverflowError)):
            problem = " ".join(str(error).split())[:300].rstrip(".")
            raise ExchangeError("CTM_EXCHANGE_CORRUPT", path=self.path, problem=problem) from error
