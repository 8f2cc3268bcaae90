"""Mahout's dssvd in numpy: the oracle of the tests, and the ``numpy`` engine.

Halko, Martinsson and Tropp 2011, Finding structure with randomness, algorithms 4.4 and 5.1, in the order of Apache
Mahout's ``DSSVD.dssvd``. It differs where that loses digits: the last step is an SVD of B' and not an
eigendecomposition of B B', and directions that A does not have are left out instead of an error.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from .errors import ConfigError

__all__ = ["Decomposition", "dssvd"]

# Bytes of a block of rows in float64.
_BLOCK_BYTES = 16 << 20


class Decomposition(NamedTuple):
    """What `dssvd` gives: A is about U diag(s) V'.

    Attributes
    ----------
    u : ndarray of shape (m, r), A's dtype, or None
    s : ndarray of shape (r,), float64
    v : ndarray of shape (n, r), float64
    squared_norm : float
        Squared Frobenius norm of A.
    warnings : tuple of str
        Says so if r is smaller than k.
    """

    u: NDArray[np.floating] | None
    s: NDArray[np.float64]
    v: NDArray[np.float64]
    squared_norm: float
    warnings: tuple[str, ...]


def dssvd(
    A: NDArray[np.floating],
    k: int | None = None,
    p: int = 15,
    q: int = 1,
    seed: int = 0,
    *,
    want_u: bool = True,
    group: int = 0,
) -> Decomposition:
    """Decompose a tall matrix by the stochastic SVD.

    Arithmetic is float64; besides A there is room for two matrices of shape (m, k + p).

    Parameters
    ----------
    A : ndarray of shape (m, n), m >= n, float32 or float64
        Finite values.
    k : int, optional
        Components to compute; n if not given. With k + p >= n the result is exact.
    p : int
        Oversampling.
    q : int
        Power iterations.
    seed : int
        Seed of Omega. The numbers are numpy's, not Mahout's.
    want_u : bool
        Compute U.
    group : int
        The number that an error gives the matrix.

    Raises
    ------
    ConfigError
        CTM_RANK_RANGE: k is not between 1 and n.

    Examples
    --------
    >>> A = np.random.default_rng(1).standard_normal((100, 6))
    >>> u, s, v, _, _ = dssvd(A, k=3, q=2)
    >>> u.shape, s.shape, v.shape
    ((100, 3), (3,), (6, 3))
    """
    m, n = A.shape
    k = n if k is None else k
    if not 1 <= k <= n:
        raise ConfigError("CTM_RANK_RANGE", given=k, group=group, rows=m, columns=n)
    # A power of two brings the largest entry near 1: products of extreme values neither overflow nor vanish.
    largest = max((float(np.abs(block).max()) for _, block in _blocks(A)), default=0.0)
    scale = math.ldexp(1.0, -min(1000, max(-1000, math.frexp(largest)[1])))

    r = k + min(p, min(m, n) - k)
    omega = np.random.default_rng(seed).random((n, r)) - 0.5
    Q = _orthonormal(_times(A, omega, scale))
    Bt, squared_norm = _transposed_times(A, Q, scale)
    for _ in range(q):
        # Only the span of B' counts, so its scale is taken off: else q iterations raise it to the power 2 q + 1.
        Q = _orthonormal(_times(A, _orthonormal(Bt), scale))
        Bt, _ = _transposed_times(A, Q, scale)

    V, s, Uhat_t = np.linalg.svd(Bt, full_matrices=False)
    # A is known to its own rounding: what lies below the rounding of the sums is not a direction of A.
    tolerance = np.finfo(np.float64).eps * max(m, n) * (s[0] if s.size else 0.0)
    rank = min(k, int(np.count_nonzero(s > tolerance)))
    warnings: tuple[str, ...] = ()
    if rank < k:
        warnings = (f"group {group}: {rank} of the {k} components asked for: the matrix has no more directions.",)
    V, s, Uhat = V[:, :rank], s[:rank], Uhat_t[:rank].T
    signs = _signs(V)
    U = (Q @ (Uhat * signs)).astype(A.dtype) if want_u else None
    squared_norm = min(squared_norm / scale / scale, np.finfo(np.float64).max)
    return Decomposition(U, s / scale, V * signs, squared_norm, warnings)


def _blocks(A: NDArray[np.floating]) -> Iterator[tuple[slice, NDArray[np.float64]]]:
    """Yield rows of A in float64, so that A itself is never converted as a whole."""
    step = max(1, _BLOCK_BYTES // (8 * A.shape[1]))
    for start in range(0, len(A), step):
        rows = slice(start, start + step)
        yield rows, A[rows].astype(np.float64)


def _times(A: NDArray[np.floating], X: NDArray[np.float64], scale: float) -> NDArray[np.float64]:
    """Return Y = scale A X, of shape (m, r)."""
    Y = np.empty((len(A), X.shape[1]))
    for rows, block in _blocks(A):
        block *= scale
        np.matmul(block, X, out=Y[rows])
    return Y


def _transposed_times(
    A: NDArray[np.floating], Q: NDArray[np.float64], scale: float
) -> tuple[NDArray[np.float64], float]:
    """Return B' = scale A'Q, of shape (n, r), and the squared norm of scale A."""
    Bt = np.zeros((A.shape[1], Q.shape[1]))
    squared_norm = 0.0
    for rows, block in _blocks(A):
        block *= scale
        Bt += block.T @ Q[rows]
        squared_norm += float(np.vdot(block, block))
    return Bt, squared_norm


def _orthonormal(Y: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return Q of shape (m, r'), an orthonormal basis of the range of Y, r' <= r; overwrites Y.

    Two rounds of Q = Y T with T from the eigendecomposition of Y'Y (as CholeskyQR2, Fukaya et al. 2014, but
    revealing the rank): the first leaves |Q'Q - I| of about eps cond(Y)^2, the second puts it to eps. Columns are
    scaled to norm 1 before, so that their own range of sizes does not count. Where a round is too badly conditioned
    for that, a Householder QR does the work.
    """
    norms = np.sqrt(np.einsum("ij,ij->j", Y, Y))
    if not norms.all():
        Y, norms = Y[:, norms > 0], norms[norms > 0]
    if Y.shape[1] == 0:
        return Y
    Y /= norms
    for _ in range(2):
        lambdas, W = np.linalg.eigh(Y.T @ Y)
        if lambdas[0] < 1e-10 * lambdas[-1]:
            return np.linalg.qr(Y)[0]
        Y = Y @ (W / np.sqrt(lambdas))
    return Y


def _signs(V: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the signs that make the entry of largest magnitude of each column positive, the first if several."""
    if V.shape[1] == 0:
        return np.ones(0)
    largest = np.argmax(np.abs(V), axis=0)
    return np.where(V[largest, np.arange(V.shape[1])] < 0, -1.0, 1.0)
