"""Arrays beside a matrix, as Parquet like the matrix itself: what inverts it into a volume, too much for JSON."""

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


def write_arrays(folder: Path, shown: Path, arrays: Mapping[str, NDArray[Any]]) -> dict[str, Any]:
    """Write arrays into a folder that is being filled, one sub-folder for each; return what the manifest keeps of them.

    Parameters
    ----------
    folder : Path
    shown : Path
        The name that errors give to it.
    arrays : mapping of str to ndarray
        Finite. Float32 is stored as such, anything else as float64; the first axis becomes rows.
    """
    entries = {}
    for name, array in arrays.items():
        dtype = "float32" if array.dtype == np.float32 else "float64"
        (folder / _FOLDER / name).mkdir(parents=True)
        rows = array.reshape(len(array), int(np.prod(array.shape[1:])))
        with PartWriter(folder / _FOLDER / name, dtype, shown=shown, one_width=False) as parts:
            if len(rows):
                # A volume's slices are not copied whole; a row group of a few kilobytes costs more than it holds.
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
    """Read the arrays of a directory, all or those named.

    Raises
    ------
    ExchangeError
        CTM_EXCHANGE_MANIFEST: it has no such array. Else as for the rows of a matrix.
    """
    entries = manifest.layout.get("arrays", {})
    if not isinstance(entries, dict):
        raise ExchangeError("CTM_EXCHANGE_MANIFEST", path=path, problem=f"layout.arrays is {entries!r}, no object")
    found = {}
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
            found[name] = np.empty(shape, dtype)
            continue
        found[name] = read_parts(path, path / _FOLDER / name, {0: expected}, dtype)[0].reshape(shape)
    return found
