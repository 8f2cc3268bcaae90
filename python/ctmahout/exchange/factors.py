"""Factors directories: s, V and optionally U of each group, written from and read as arrays."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .._version import __version__
from ..storage.atomic import atomic_dir
from .manifest import VERSION, Manifest, is_exchange, read_manifest, select_groups, write_manifest
from .parquet import Expected, PartWriter, read_parts

__all__ = ["Factors", "Svd", "read_all_factors", "read_factors", "write_factors"]


@dataclass(frozen=True, eq=False)
class Svd:
    """The factors of one matrix A of shape (m, n): A is about U diag(s) V'.

    Attributes
    ----------
    group : int
        Number of the matrix in its directory.
    s : ndarray of shape (r,), float64
        Singular values, descending, in the units of A.
    v : ndarray of shape (n, r), float64
        Orthonormal columns; the entry of largest magnitude of each is positive.
    u : ndarray of shape (m, r), or None
        Orthonormal columns, of the dtype of A.
    rows, columns : int
        m and n.
    squared_norm : float
        Squared Frobenius norm of A.
    warnings : tuple of str
    """

    group: int
    s: NDArray[np.float64]
    v: NDArray[np.float64]
    u: NDArray[np.floating] | None
    rows: int
    columns: int
    squared_norm: float
    warnings: tuple[str, ...]

    @property
    def rank(self) -> int:
        """r, the number of components; fewer than requested if the rank of A is lower."""
        return self.s.size

    @property
    def residual(self) -> float:
        """|A - U diag(s) V'| / |A| in the Frobenius norm, 0 for a zero matrix."""
        if self.squared_norm <= 0:
            return 0.0
        return float(np.sqrt(max(0.0, self.squared_norm - float(self.s @ self.s)) / self.squared_norm))


@dataclass(frozen=True, eq=False)
class Factors(Svd):
    """The factors of one matrix, as read from a directory.

    Attributes
    ----------
    manifest : Manifest
        That of the directory: request, writer and timings.
    """

    manifest: Manifest = field(repr=False)

    @property
    def algorithm(self) -> str:
        """The algorithm: "dssvd", "exact" or "dspca"; of a request for "auto" the one that was chosen.

        "dssvd" if the manifest names none.
        """
        return str(self.manifest.chosen.get("algorithm") or self.manifest.request.get("algorithm", "dssvd"))

    @property
    def centred(self) -> bool:
        """Whether these are the factors of A less its column means."""
        return self.manifest.centring == "columns"


def write_factors(
    path: str | Path,
    groups: Iterable[Svd],
    *,
    dtype: str,
    request: Mapping[str, Any],
    input_sha256: str,
    engine: str,
    timings_s: Mapping[str, float],
    chosen: Mapping[str, str] | None = None,
    overwrite: bool = False,
) -> Manifest:
    """Write a factors directory; it appears complete or not at all.

    Parameters
    ----------
    path : path
    groups : iterable of Svd
        Consumed one by one; either all have U or none.
    dtype : str
        "float32" or "float64": dtype of the matrix, and of U.
    request : mapping
        algorithm, k, p, q, seed and want. Factors by "dspca" are those of the matrix less its column means.
    input_sha256 : str
        `Manifest.sha256` of the matrix.
    engine : str
        Name of the engine.
    timings_s : mapping
        Seconds by phase; read after all groups are written.
    chosen : mapping, optional
        For a request of "auto": the algorithm chosen, and why.
    overwrite : bool
        Replace an earlier exchange directory; anything else is an error.

    Raises
    ------
    OutputError
        CTM_OUTPUT_EXISTS, CTM_OUTPUT_UNWRITABLE.
    """
    path = Path(path)
    with atomic_dir(path, overwrite=overwrite, is_replaceable=is_exchange) as partial:
        entries: list[dict[str, Any]] = []
        warnings: list[str] = []
        with ExitStack() as stack:
            parts = {
                name: stack.enter_context(_writer(partial / name, dtype if name == "u" else "float64", path))
                for name in request["want"]
            }
            for svd in groups:
                entries.append(_write_group(parts, svd))
                warnings += svd.warnings
        return write_manifest(
            partial,
            {
                "kind": "factors",
                "exchange_version": VERSION,
                "dtype": dtype,
                "groups": entries,
                "centring": "columns" if request.get("algorithm") == "dspca" else "none",
                "request": dict(request),
                **({"chosen": dict(chosen)} if chosen else {}),
                "input_sha256": input_sha256,
                "writer": {"name": "ctmahout", "version": __version__, "engine": engine},
                "timings_s": {name: round(value, 6) for name, value in timings_s.items()},
                "warnings": warnings,
            },
        )


def read_factors(path: str | Path, group: int = 0) -> Factors:
    """Read the factors of one matrix.

    Raises
    ------
    InputError, ExchangeError
        The checks of contract/v1, in its order.
    """
    return _read(Path(path), [group])[0]


def read_all_factors(path: str | Path) -> list[Factors]:
    """Read the factors of all matrices of a directory, in the order of their numbers; errors as of `read_factors`."""
    return _read(Path(path), None)


def _read(path: Path, numbers: list[int] | None) -> list[Factors]:
    manifest = read_manifest(path, "factors")
    groups = select_groups(path, manifest, [g.group for g in manifest.groups] if numbers is None else numbers)
    parts = {
        name: read_parts(
            path,
            manifest.part_files(path, name),
            {
                g.group: Expected({"s": 1, "v": g.columns, "u": g.rows}[name], g.rank, g.checksums[name])
                for g in groups
                if name in g.checksums
            },
            manifest.dtype if name == "u" else "float64",
        )
        for name in ("s", "v", "u")
        if any(name in g.checksums for g in groups)
    }
    return [
        Factors(
            group=g.group,
            s=parts["s"][g.group][0],
            v=parts["v"][g.group],
            u=parts["u"].get(g.group) if "u" in parts else None,
            rows=g.rows,
            columns=g.columns,
            squared_norm=g.squared_norm or 0.0,
            warnings=manifest.warnings,
            manifest=manifest,
        )
        for g in groups
    ]


def _writer(folder: Path, dtype: str, path: Path) -> PartWriter:
    folder.mkdir()
    return PartWriter(folder, dtype, path=path, equal_widths=False)


def _write_group(parts: Mapping[str, PartWriter], svd: Svd) -> dict[str, Any]:
    """Write one group and return its entry in the manifest."""
    arrays = {"s": svd.s[None, :], "v": svd.v, "u": svd.u}
    checksums: dict[str, str] = {}
    for name, part in parts.items():
        values = arrays[name]
        if values is None:
            raise ValueError("want has u, but a group has none")
        part.append(svd.group, np.arange(len(values)), values)
        checksums[name] = part.finish(svd.group).checksum
    return {
        "group": svd.group,
        "rows": svd.rows,
        "columns": svd.columns,
        "rank": svd.rank,
        "checksums": checksums,
        "squared_norm": svd.squared_norm,
        "residual": svd.residual,
        "orthogonality_v": _orthogonality(svd.v),
        **({} if svd.u is None else {"orthogonality_u": _orthogonality(svd.u)}),
    }


def _orthogonality(x: NDArray[np.floating]) -> float:
    """Return the largest entry of |X'X - I|, computed in float64."""
    gram = np.zeros((x.shape[1], x.shape[1]))
    for start in range(0, len(x), 1 << 14):
        block = x[start : start + (1 << 14)].astype(np.float64)
        gram += block.T @ block
    return float(np.abs(gram - np.eye(len(gram))).max(initial=0.0))
