"""Tall matrices with singular values that are known, of any height, made block by block.

A = D C diag(s) V': the columns of C are cosines (the second discrete cosine transform), which are orthonormal over any
number of rows; D changes the sign of rows at random, so that no row looks like its neighbours; V is a random
orthogonal matrix. Nothing as tall as A needs an orthogonalisation, and any block of rows can be made by itself.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

__all__ = ["Tall", "hard", "harmonic", "relative_error", "write_groups"]

_BLOCK_ROWS = 8192


@dataclass(frozen=True)
class Tall:
    """A matrix of shape (rows, len(s)), float32, with these singular values but for rounding.

    Attributes
    ----------
    rows : int
    s : ndarray of shape (n,), float64
        Singular values, descending.
    seed : int
        Of signs and V: another matrix for each.
    """

    rows: int
    s: NDArray[np.float64]
    seed: int = 0

    @property
    def columns(self) -> int:
        """Return n."""
        return len(self.s)

    def blocks(self) -> Iterator[tuple[NDArray[np.int64], NDArray[np.float32]]]:
        """Yield row numbers of shape (b,) and their rows of shape (b, n)."""
        rng = np.random.default_rng(self.seed)
        V = np.linalg.qr(rng.standard_normal((self.columns, self.columns)))[0]
        right = np.sqrt(2 / self.rows) * self.s[:, None] * V.T
        frequencies = np.pi / self.rows * np.arange(1, self.columns + 1)
        for start in range(0, self.rows, _BLOCK_ROWS):
            numbers = np.arange(start, min(start + _BLOCK_ROWS, self.rows))
            C = np.cos((numbers + 0.5)[:, None] * frequencies)
            C *= rng.choice((-1.0, 1.0), size=(len(numbers), 1))
            yield numbers, (C @ right).astype(np.float32)

    def array(self) -> NDArray[np.float32]:
        """Return all of it."""
        return np.concatenate([values for _, values in self.blocks()])

    def save(self, path: Path) -> Path:
        """Write it as numpy does, and return the path."""
        shape = (self.rows, self.columns)
        out = np.lib.format.open_memmap(path, mode="w+", dtype=np.float32, shape=shape)
        for numbers, values in self.blocks():
            out[numbers[0] : numbers[-1] + 1] = values
        out.flush()
        return path


def harmonic(rows: int, columns: int, seed: int = 0) -> Tall:
    """Return a matrix with the singular values 1, 1/2, 1/3, ..."""
    return Tall(rows, 1 / np.arange(1, columns + 1), seed)


def write_groups(path: Path, matrices: Iterable[Tall]) -> Path:
    """Write matrices as the groups of one matrix directory of the exchange, and return its path."""
    from ctmahout.exchange import write_matrix

    write_matrix(path, (m.blocks() for m in matrices), units="none", centring="none", layout={"method": "bench"})
    return path


def hard(rows: int, columns: int) -> dict[str, tuple[NDArray[np.float64], int]]:
    """Return matrices that break careless algorithms, each with the k that leaves room for p = 15.

    Where k + 15 is the number of columns, the decomposition is exact by theory, and so is it for a rank below k.
    """
    k = min(50, columns - 15)
    left = np.sqrt(2 / rows) * np.cos(np.pi / rows * np.outer(np.arange(rows) + 0.5, np.arange(1, columns + 1)))
    V = np.linalg.qr(np.random.default_rng(0).standard_normal((columns, columns)))[0]
    narrow = k + 15

    def with_spectrum(s: NDArray[np.float64]) -> NDArray[np.float64]:
        A: NDArray[np.float64] = (left[:, : len(s)] * s) @ V[:, : len(s)].T
        return A

    duplicated = with_spectrum(1 / np.arange(1, k + 1))
    duplicated[:, k:] = duplicated[:, [0]]
    zero_column = with_spectrum(1 / np.arange(1, narrow + 1))[:, :narrow]
    zero_column[:, 7] = 0
    return {
        "rank 20": (with_spectrum(1 / np.arange(1, 21)), k),
        "spectrum to 1e-8": (with_spectrum(np.logspace(0, -8, narrow)), k),
        "Hilbert": (1 / (np.arange(rows)[:, None] + np.arange(narrow) + 1.0), k),
        "zero": (np.zeros((rows, columns)), k),
        "constant": (np.full((rows, columns), 3.0), k),
        "zero column": (zero_column, k),
        "duplicated columns": (duplicated, k),
    }


def relative_error(found: list[float], known: NDArray[np.float64], above: float = 0.0) -> float:
    """Return the largest relative error of the singular values that are more than `above` of the largest.

    What was not found counts as 0; NaN gives infinity. For a zero matrix it is the largest one that was found.
    """
    s = np.zeros(len(known))
    s[: len(found)] = found
    if not np.isfinite(s).all():
        return float("inf")
    if known[0] == 0:
        return float(s.max())
    counted = known > above * known[0]
    return float(np.max(np.abs(s[counted] - known[counted]) / known[counted], initial=0.0))
