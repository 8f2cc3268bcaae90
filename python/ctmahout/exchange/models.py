"""Model directories: arrays learnt on some series and applied to others."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from .._version import __version__
from ..storage.atomic import atomic_dir
from .arrays import write_arrays
from .manifest import VERSION, Manifest, is_exchange, write_manifest

__all__ = ["write_model"]


def write_model(
    path: str | Path, arrays: Mapping[str, NDArray[Any]], layout: Mapping[str, Any], *, overwrite: bool = False
) -> Manifest:
    """Write a model directory; it appears complete or not at all. `read_manifest` and `read_arrays` read it.

    Parameters
    ----------
    path : path
    arrays : mapping of str to ndarray
        Of any shape, finite; see `write_arrays`.
    layout : mapping
        JSON values that describe the arrays and the series that they were learnt on.
    overwrite : bool
        Replace an earlier exchange directory; anything else is an error.

    Raises
    ------
    OutputError
        CTM_OUTPUT_EXISTS, CTM_OUTPUT_UNWRITABLE.
    """
    path = Path(path)
    with atomic_dir(path, overwrite=overwrite, is_replaceable=is_exchange) as partial:
        return write_manifest(
            partial,
            {
                "kind": "model",
                "exchange_version": VERSION,
                "dtype": "float64",
                "layout": dict(layout) | {"arrays": write_arrays(partial, path, arrays)},
                "writer": {"name": "ctmahout", "version": __version__},
            },
        )
