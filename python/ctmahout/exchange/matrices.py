"""Matrix directories: blocks of rows in, arrays out."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .._version import __version__
from ..errors import ExchangeError
from ..storage.atomic import atomic_dir
from .arrays import write_arrays
from .manifest import VERSION, Manifest, is_exchange, read_manifest, select_groups, write_manifest
from .parquet import Expected, PartReader, PartWriter

__all__ = ["read_matrices", "read_matrix", "write_matrix"]

# Bytes of the matrices that are read together: each read passes over all files.
_READ_BYTES = 64 << 20

Chunk = tuple[ArrayLike, ArrayLike]
"""Row numbers of shape (b,), integers, and rows of shape (b, n)."""


def write_matrix(
    path: str | Path,
    groups: Iterable[ArrayLike | Iterable[Chunk]],
    *,
    dtype: str = "float32",
    units: str,
    centring: str,
    layout: Mapping[str, Any],
    arrays: Mapping[str, NDArray[Any]] | None = None,
    overwrite: bool = False,
) -> Manifest:
    """Write a matrix directory; it appears complete or not at all.

    Parameters
    ----------
    path : path
        The directory to write; until it is complete it is named `<name>.partial-<unique>`.
    groups : iterable
        Matrices, each an array of shape (m, n) or an iterable of (rows, values): row numbers of shape (b,) and their
        values of shape (b, n). Each of the rows 0 to m - 1 occurs once, in any order. All matrices have the same n, and
        m >= n.
    dtype : str
        "float32" or "float64": the stored type.
    units : str
        For instance "HU".
    centring : str
        "columns" if the mean of each column was subtracted, else "none".
    layout : mapping
        JSON values that invert the matrix into a volume.
    arrays : mapping of str to ndarray, optional
        Arrays for the same purpose: see `write_arrays`.
    overwrite : bool
        Replace an earlier exchange directory; anything else is an error.

    Returns
    -------
    Manifest

    Raises
    ------
    ExchangeError
        CTM_EXCHANGE_NOT_FINITE, CTM_EXCHANGE_WIDE, CTM_EXCHANGE_WIDTH, CTM_EXCHANGE_ROW_DUPLICATE,
        CTM_EXCHANGE_ROW_MISSING, CTM_EXCHANGE_ROW_RANGE.
    OutputError
        CTM_OUTPUT_EXISTS, CTM_OUTPUT_UNWRITABLE.
    """
    path = Path(path)
    if dtype not in ("float32", "float64"):
        raise ValueError(f"dtype is {dtype!r}, expected float32 or float64")
    with atomic_dir(path, overwrite=overwrite, is_replaceable=is_exchange) as partial:
        entries: list[dict[str, Any]] = []
        with PartWriter(partial, dtype, path=path) as parts:
            for number, matrix in enumerate(groups):
                for rows, values in _chunks(matrix):
                    parts.append(number, rows, values)
                written = parts.finish(number)
                if written.rows < written.columns:
                    raise ExchangeError(
                        "CTM_EXCHANGE_WIDE", path=path, group=number, rows=written.rows, columns=written.columns
                    )
                entries.append(
                    {
                        "group": number,
                        "rows": written.rows,
                        "columns": written.columns,
                        "checksum": written.checksum,
                    }
                )
        if not entries:
            raise ValueError("groups is empty, expected one matrix or more")
        return write_manifest(
            partial,
            {
                "kind": "matrix",
                "exchange_version": VERSION,
                "dtype": dtype,
                "units": units,
                "centring": centring,
                "groups": entries,
                "layout": dict(layout) | ({"arrays": write_arrays(partial, path, arrays)} if arrays else {}),
                "writer": {"name": "ctmahout", "version": __version__},
            },
        )


def read_matrix(path: str | Path, group: int = 0) -> NDArray[Any]:
    """Read one matrix of a directory.

    Returns
    -------
    ndarray of shape (m, n), float32 or float64
        Of the stored type.

    Raises
    ------
    InputError, ExchangeError
        The checks of contract/v1, in its order.
    """
    ((_, matrix),) = read_matrices(path, [group])
    return matrix


def read_matrices(path: str | Path, groups: Sequence[int]) -> Iterator[tuple[int, NDArray[Any]]]:
    """Yield the matrices of these groups with their numbers, in this order; small ones are read together.

    Raises
    ------
    InputError, ExchangeError
        See `read_matrix`.
    """
    path = Path(path)
    manifest = read_manifest(path, "matrix")
    selected = select_groups(path, manifest, groups)
    reader = PartReader(path, manifest.part_files(path), manifest.dtype)
    batch: dict[int, Expected] = {}
    size = 0
    for g in selected:
        matrix_bytes = g.rows * g.columns * np.dtype(manifest.dtype).itemsize
        if batch and size + matrix_bytes > _READ_BYTES:
            yield from reader.read(batch).items()
            batch, size = {}, 0
        batch[g.group] = Expected(g.rows, g.columns, g.checksum or "")
        size += matrix_bytes
    yield from reader.read(batch).items()


def _chunks(matrix: ArrayLike | Iterable[Chunk]) -> Iterator[tuple[NDArray[np.int64], NDArray[Any]]]:
    if isinstance(matrix, np.ndarray):
        yield np.arange(len(matrix)), matrix
        return
    if hasattr(matrix, "__array__") or not isinstance(matrix, Iterable):
        raise TypeError(f"groups must be a list of arrays or of iterables of (rows, values), not of {type(matrix)}")
    for rows, values in cast("Iterable[Chunk]", matrix):
        yield np.asarray(rows, dtype=np.int64), np.asarray(values)
