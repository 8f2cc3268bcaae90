"""Arrays beside a matrix, in Parquet: side data that inverts it into a volume and is too large for JSON."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import ExchangeError
from .manifest import Manifest
from .parquet import Expected, PartWriter, read_parts

__all__ = ["read_arrays", "write_arrays"]

_BLOCK_BYTES = 16 << 20
_FOLDER = "arrays"


def write_arrays(folder: Path, path: Path, arrays: Mapping[str, NDArray[Any]]) -> dict[str, Any]:
    """Write arrays into a partial directory, one folder for each; return their entries for the manifest.

    Parameters
    ----------
    folder : Path
        The partial directory.
    path : Path
        Its final path, for errors.
    arrays : mapping of str to ndarray
        Of any shape, finite. float32 is stored as such, other types as float64; the first axis becomes rows.
    """
    entries = {}
    for name, array in arrays.items():
        dtype = "float32" if array.dtype == np.float32 else "float64"
        (folder / _FOLDER / name).mkdir(parents=True)
        rows = array.reshape(len(array), int(np.prod(array.shape[1:])))
        with PartWriter(folder / _FOLDER / name, dtype, path=path, equal_widths=False) as parts:
            if len(rows):
                # In blocks of rows: PartWriter copies, and small row groups are mostly overhead.
                step = max(1, _BLOCK_BYTES // max(1, rows[0].nbytes))
                for start in range(0, len(rows), step):
                    block = rows[start : start + step]
                    parts.append(0, np.arange(start, start + len(block)), block)
                checksum = parts.finish(0).checksum
            else:
                checksum = ""
        entries[name] = {"shape": list(array.shape), "dtype": dtype, "checksum": checksum}
    return entries


def read_arrays(path: Path, manifest: Manifest, names: tuple[str, ...] | None = None) -> dict[str, NDArray[Any]]:
    """Read the arrays of a directory, all or those of `names`.

    Raises
    ------
    ExchangeError
        CTM_EXCHANGE_MANIFEST: there is no such array. Others as for the rows of a matrix.
    """
    entries = manifest.layout.get("arrays", {})
    if not isinstance(entries, dict):
        raise ExchangeError("CTM_EXCHANGE_MANIFEST", path=path, problem=f"layout.arrays is {entries!r}, no object")
    arrays: dict[str, NDArray[Any]] = {}
    for name in entries if names is None else names:
        try:
            entry = entries[name]
            shape = tuple(entry["shape"])
            if not shape or not all(type(n) is int and n >= 0 for n in shape):
                raise ValueError
            expected = Expected(shape[0], int(np.prod(shape[1:])), str(entry["checksum"]))
            dtype = {"float32": "float32", "float64": "float64"}[entry["dtype"]]
        except (KeyError, TypeError, ValueError):
            raise ExchangeError(
                "CTM_EXCHANGE_MANIFEST", path=path, problem=f"layout.arrays.{name} is missing or malformed"
            ) from None
        if shape[0] == 0:
            arrays[name] = np.empty(shape, dtype)
            continue
        parts = manifest.part_files(path, f"{_FOLDER}/{name}")
        arrays[name] = read_parts(path, parts, {0: expected}, dtype)[0].reshape(shape)
    return arrays
