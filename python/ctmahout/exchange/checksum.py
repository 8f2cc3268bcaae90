"""The checksum of a group: 64-bit arithmetic modulo 2^64, independent of the order of rows and files."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["checksum", "hex_digits", "sum_of_rows"]

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
# Bytes of a block of rows, widened to 64 bits: it fits the cache.
_BLOCK_BYTES = 1 << 22


def checksum(values: NDArray[np.floating], rows: NDArray[np.int64] | None = None) -> str:
    """Return the checksum of a matrix as 16 hexadecimal digits.

    Parameters
    ----------
    values : ndarray of shape (m, n), float32 or float64
    rows : ndarray of shape (m,), int64, optional
        Row numbers; default: 0 to m - 1.

    Examples
    --------
    >>> checksum(np.zeros((1, 1), dtype=np.float32))
    '48218226ff3cd4bf'
    """
    return hex_digits(sum_of_rows(np.arange(len(values)) if rows is None else rows, values))


def sum_of_rows(rows: NDArray[np.int64], values: NDArray[np.floating]) -> int:
    """Return the sum of the hashes of rows modulo 2^64; sums of parts add up to that of the matrix."""
    m, n = values.shape
    w = _mix(np.arange(1, n + 1, dtype=np.uint64) * _GOLDEN) | np.uint64(1)
    number_hashes = _mix((rows.astype(np.uint64) + np.uint64(1)) * _GOLDEN)
    patterns = np.ascontiguousarray(values).view(np.uint32 if values.dtype == np.float32 else np.uint64)
    step = max(1, _BLOCK_BYTES // (8 * max(n, 1)))
    total = 0
    for start in range(0, m, step):
        block = patterns[start : start + step].astype(np.uint64, copy=False)
        hashes = _mix(np.einsum("ij,j->i", block, w) + number_hashes[start : start + step])
        total += int(hashes.sum(dtype=np.uint64))
    return total & 0xFFFF_FFFF_FFFF_FFFF


def hex_digits(value: int) -> str:
    """Return a sum as 16 hexadecimal digits, as in manifests."""
    return f"{value & 0xFFFF_FFFF_FFFF_FFFF:016x}"


def _mix(x: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Return the finaliser of SplitMix64 (Steele, Lea and Flood 2014), modulo 2^64."""
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    mixed: NDArray[np.uint64] = x ^ (x >> np.uint64(31))
    return mixed
