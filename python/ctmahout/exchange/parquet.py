"""Rows of numbered groups to and from Parquet files."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
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

__all__ = ["Expected", "PartReader", "PartWriter", "Written", "corrupt_as_error", "read_parts"]

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


# Group, row numbers of shape (b,), values of shape (b, n).
_Block = tuple[int, NDArray[np.int64], NDArray[Any]]
# Of some rows: numbers, lengths, and the values of one row after the other.
_Columns = tuple[NDArray[np.int64], NDArray[np.int64], NDArray[Any]]

# ------------------------------------------------------------------------------------------------------------ writing


@dataclass
class _OpenGroup:
    """The group that is being written."""

    rows: list[NDArray[np.int64]] = field(default_factory=list)
    sum: int = 0
    has_row_groups: bool = False


class PartWriter:
    """Writes the rows of one directory, in row groups of about 8 MB and part files of about 64 MB.

    A row group holds several groups, whole, or a piece of one: a large group is read without any other, and the footer
    of thousands of small groups stays small.

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
        self._small: list[_Block] = []
        self._small_bytes = 0

    def __enter__(self) -> PartWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if error is None:
                self._write_small()
        finally:
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
                self._write_large(group, all_rows[start : start + step], all_values[start : start + step])
            if full < len(all_rows):
                self._pending = [(all_rows[full:].copy(), all_values[full:].copy())]

    def finish(self, group: int) -> Written:
        """Complete a group: check that each row occurred once, and return its shape and checksum."""
        if self._pending:
            if self._open.has_row_groups:
                self._write_large(group, *self._pop_pending())
            else:
                self._add_small(group, *self._pop_pending())
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

    def _write_large(self, group: int, rows: NDArray[np.int64], values: NDArray[Any]) -> None:
        self._write_small()
        self._write([(group, rows, values)])
        self._open.has_row_groups = True

    def _add_small(self, group: int, rows: NDArray[np.int64], values: NDArray[Any]) -> None:
        # Copies: the caller may fill its arrays with the next group.
        self._small.append((group, rows.copy(), values.copy()))
        self._small_bytes += values.nbytes + 12 * rows.size
        if self._small_bytes >= ROW_GROUP_BYTES:
            self._write_small()

    def _write_small(self) -> None:
        if self._small:
            small, self._small, self._small_bytes = self._small, [], 0
            self._write(small)

    def _write(self, blocks: list[_Block]) -> None:
        """Write one row group."""
        counts = [rows.size for _, rows, _ in blocks]
        groups = np.repeat(np.array([group for group, _, _ in blocks], np.int32), counts)
        lengths = np.repeat([values.shape[1] for _, _, values in blocks], counts)
        rows = np.concatenate([rows for _, rows, _ in blocks])
        flat = np.concatenate([values.reshape(-1) for _, _, values in blocks])
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
        offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32)
        lists = pa.ListArray.from_arrays(pa.array(offsets), pa.array(flat), type=self._schema.field("values").type)
        columns = [pa.array(groups), pa.array(rows), lists]
        self._writer.write_table(pa.Table.from_arrays(columns, schema=self._schema), row_group_size=rows.size)
        self._bytes += flat.nbytes + 12 * rows.size


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
    """Read groups in one pass over part files: see `PartReader`."""
    return PartReader(path, parts, dtype).read(expected)


class PartReader:
    """Reads groups from part files, with the checks of steps 2 and 3 of contract/v1.

    Footers are checked once, and which groups a row group holds is remembered: further groups are read from theirs
    alone.

    Parameters
    ----------
    path : Path
        The exchange directory, for errors.
    parts : sequence of Path
        The files, see `Manifest.part_files`.
    dtype : str
    """

    def __init__(self, path: Path, parts: Sequence[Path], dtype: str) -> None:
        self._path = path
        self._files = _checked_footers(path, parts, dtype)
        self._row_groups: dict[Path, list[_RowGroup]] = {}

    def read(self, expected: Mapping[int, Expected]) -> dict[int, NDArray[Any]]:
        """Read groups in one pass over the files.

        Parameters
        ----------
        expected : mapping of int to Expected
            The groups to read, by number.

        Returns
        -------
        dict of int to ndarray of shape (rows, columns)
        """
        rows_in_files = sum(self._files.values())
        numbers = np.sort(np.fromiter(expected, np.int64, len(expected)))
        collected = {group: _Collected() for group in expected}
        failures: list[_Failure] = []
        for file in self._files:
            for groups, columns in self._selected(file, numbers):
                for group, member in _by_group(groups, *columns):
                    if group in expected and (
                        failure := _collect(collected[group], group, expected[group], rows_in_files, *member)
                    ):
                        failures.append(failure)
        if failures:
            first = min(failures, key=lambda f: (f.group, f.row))
            raise ExchangeError(first.code, path=self._path, group=first.group, row=first.row, **first.fields)
        return {group: _complete(self._path, group, collected[group], expected[group]) for group in expected}

    def _selected(self, path: Path, numbers: NDArray[np.int64]) -> Iterator[tuple[NDArray[np.int32], _Columns]]:
        """Yield the group numbers and `_Columns` of each row group that may hold one of the groups of these numbers."""
        known = self._row_groups.get(path)
        row_groups: list[_RowGroup] = []
        # One file is open at a time: a large matrix has more files than a process may open.
        with ExitStack() as stack:
            if known is not None and not any(row_group.may_hold(numbers) for row_group in known):
                return
            with corrupt_as_error(path):
                parquet = stack.enter_context(pq.ParquetFile(path, page_checksum_verification=True))
            for index in range(parquet.metadata.num_row_groups):
                if known is not None and not known[index].may_hold(numbers):
                    continue
                with corrupt_as_error(path):
                    # Not by statistics: reading those of a damaged footer aborts the process (pyarrow 26).
                    groups = parquet.read_row_group(index, columns=["group"]).column(0).to_numpy()
                    row_group = _RowGroup.of(groups)
                    row_groups.append(row_group)
                    if not row_group.may_hold(numbers):
                        continue
                    columns = _columns(parquet.read_row_group(index, columns=["row", "values"]), groups.size)
                yield groups, columns
        if known is None:
            count = sum(row_group.rows for row_group in row_groups)
            if count != self._files[path]:
                with corrupt_as_error(path):
                    raise ValueError(f"it holds {count} rows, its footer says {self._files[path]}")
            self._row_groups[path] = row_groups


@dataclass(frozen=True)
class _RowGroup:
    """The number of rows, and the smallest and the largest group, of a row group."""

    rows: int
    first: int
    last: int

    @classmethod
    def of(cls, groups: NDArray[np.int32]) -> _RowGroup:
        return cls(groups.size, int(groups.min()), int(groups.max())) if groups.size else cls(0, 0, -1)

    def may_hold(self, numbers: NDArray[np.int64]) -> bool:
        """Return whether one of these group numbers, in ascending order, lies between the smallest and the largest."""
        place = int(np.searchsorted(numbers, self.first))
        return place < numbers.size and int(numbers[place]) <= self.last


def _by_group(
    groups: NDArray[np.int32], rows: NDArray[np.int64], lengths: NDArray[np.int64], flat: NDArray[Any]
) -> Iterator[tuple[int, _Columns]]:
    """Yield each group of a row group with its rows."""
    if groups.size and (groups[1:] >= groups[:-1]).all():  # as our writers leave them
        starts = np.concatenate([[0], np.flatnonzero(groups[1:] != groups[:-1]) + 1, [groups.size]])
        offsets = np.concatenate([[0], np.cumsum(lengths)])
        for start, end in zip(starts[:-1].tolist(), starts[1:].tolist(), strict=True):
            part = slice(start, end)
            yield int(groups[start]), (rows[part], lengths[part], flat[offsets[start] : offsets[end]])
        return
    for group in np.unique(groups).tolist():
        member = groups == group
        yield group, (rows[member], lengths[member], flat[np.repeat(member, lengths)])


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
    with corrupt_as_error(path), pq.ParquetFile(path) as parquet:
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


def _columns(table: pa.Table, count: int) -> _Columns:
    """Return row numbers, row lengths and concatenated values of a table of `count` rows."""
    rows, values = (table.column(name).combine_chunks() for name in ("row", "values"))
    if pa.types.is_fixed_size_list(values.type):
        values = values.cast(pa.list_(values.type.value_field))
    lengths = np.diff(values.offsets.to_numpy()).astype(np.int64)
    if not count == len(rows) == lengths.size:
        raise ValueError("its columns differ in length")
    return rows.to_numpy(), lengths, values.flatten().to_numpy()


class corrupt_as_error:  # noqa: N801 - used like a function
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
