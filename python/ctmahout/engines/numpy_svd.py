"""Mahout's dssvd and dspca, and the exact SVD, in numpy: a tall matrix in, U, s and V out.

Halko, Martinsson and Tropp 2011, Finding structure with randomness, algorithms 4.4 and 5.1, in the order of Apache
Mahout's ``DSSVD.dssvd``. It differs where that loses digits: the last step is an SVD of B' and not an
eigendecomposition of B B', and components beyond the rank of A are omitted instead of an error. `dspca` is the same for
A - 1 mu', which is never stored; `exact` uses the eigenvectors of A'A. It is the ``numpy`` engine and the reference of
the tests.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from ..errors import ConfigError
from .choice import choose
from .workers import Threads, single_threaded_blas

__all__ = ["Decomposition", "decompose", "dspca", "dssvd", "exact"]

Result = TypeVar("Result")

# Bytes of a block of rows in float64.
_BLOCK_BYTES = 16 << 20
# The ratio of singular values up to which their squares in A'A keep nine digits.
_RELIABLE = 1e3
_EPS = float(np.finfo(np.float64).eps)


class Decomposition(NamedTuple):
    """Factors of a matrix: A, or A - 1 mu' by `dspca`, is about U diag(s) V'.

    Attributes
    ----------
    u : ndarray of shape (m, r), A's dtype, or None
    s : ndarray of shape (r,), float64
    v : ndarray of shape (n, r), float64
    squared_norm : float
        Squared Frobenius norm of A; of A - 1 mu' by `dspca`.
    warnings : tuple of str
        One if r is smaller than k.
    """

    u: NDArray[np.floating] | None
    s: NDArray[np.float64]
    v: NDArray[np.float64]
    squared_norm: float
    warnings: tuple[str, ...]


@single_threaded_blas
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

    Arithmetic is float64; besides A it needs memory for two matrices of shape (m, k + p).

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
        Number of the matrix in errors and warnings.

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
    return _stochastic(_Rows.of(A), _components(A, k, group), p, q, seed, want_u, group)


@single_threaded_blas
def dspca(
    A: NDArray[np.floating],
    k: int | None = None,
    p: int = 15,
    q: int = 1,
    seed: int = 0,
    *,
    want_u: bool = True,
    group: int = 0,
) -> Decomposition:
    """Decompose A - 1 mu', where mu holds the means of A's columns, as for principal components.

    The mean is subtracted from blocks of rows; A is neither changed nor copied. Parameters are those of `dssvd`.

    Raises
    ------
    ConfigError
        CTM_RANK_RANGE: k is not between 1 and n.
    """
    return _stochastic(_Rows.of(A, centred=True), _components(A, k, group), p, q, seed, want_u, group)


@single_threaded_blas
def exact(
    A: NDArray[np.floating], k: int | None = None, seed: int = 0, *, want_u: bool = True, group: int = 0
) -> Decomposition:
    """Decompose a narrow matrix by the eigenvectors of A'A, which takes one pass over A; U takes a second one.

    A singular value s(i) has a relative error of about eps (s(0) / s(i))^2. If the k requested values span more than
    1e3, they come from `dssvd` with a square projection instead, which is exact as well and keeps the digits.

    Parameters
    ----------
    A : ndarray of shape (m, n), m >= n, float32 or float64
        Finite values.
    k : int, optional
        Components to return; n if not given.
    seed : int
        Seed of the projection, where one is needed.
    want_u : bool
        Compute U.
    group : int
        Number of the matrix in errors and warnings.

    Raises
    ------
    ConfigError
        CTM_RANK_RANGE: k is not between 1 and n.
    """
    k = _components(A, k, group)
    rows = _Rows.of(A)
    gram, squared_norm = rows.transposed_times(None)
    lambdas, V = np.linalg.eigh(gram)
    s = np.sqrt(np.maximum(lambdas[::-1], 0.0))[:k]
    if s[0] == 0.0 or s[0] > _RELIABLE * s[-1]:
        return _stochastic(rows, k, A.shape[1] - k, 0, seed, want_u, group)
    V = V[:, ::-1][:, :k]
    V *= _signs(V)
    U = None
    if want_u:
        U = rows.times(V / s)
        # One step of Newton and Schulz: from an |U'U - I| of 1e-10 to that of rounding.
        U = (U @ (1.5 * np.eye(k) - 0.5 * (U.T @ U))).astype(A.dtype)
    return Decomposition(U, s / rows.scale, V, rows.unscaled(squared_norm), ())


def decompose(
    algorithm: str,
    A: NDArray[np.floating],
    k: int | None = None,
    p: int = 15,
    q: int = 1,
    seed: int = 0,
    *,
    want_u: bool = True,
    group: int = 0,
) -> Decomposition:
    """Decompose by the algorithm of this name, one of `ctmahout.options.ALGORITHMS`; `exact` ignores p and q."""
    if algorithm == "auto":
        algorithm = choose(A.shape[1], k, p, q).algorithm
    if algorithm == "exact":
        return exact(A, k, seed, want_u=want_u, group=group)
    stochastic = {"dssvd": dssvd, "dspca": dspca}[algorithm]
    return stochastic(A, k, p, q, seed, want_u=want_u, group=group)


def _components(A: NDArray[np.floating], k: int | None, group: int) -> int:
    m, n = A.shape
    k = n if k is None else k
    if not 1 <= k <= n:
        raise ConfigError("CTM_RANK_RANGE", given=k, group=group, rows=m, columns=n)
    return k


def _stochastic(rows: _Rows, k: int, p: int, q: int, seed: int, want_u: bool, group: int) -> Decomposition:
    m, n = rows.A.shape
    r = k + min(p, min(m, n) - k)
    omega = np.random.default_rng(seed).random((n, r)) - 0.5
    Q = _orthonormal(rows.times(omega))
    Bt, squared_norm = rows.transposed_times(Q)
    for _ in range(q):
        # Only the span of B' matters. Without orthonormalisation its scale would grow to the power 2 q + 1.
        Q = _orthonormal(rows.times(_orthonormal(Bt)))
        Bt, _ = rows.transposed_times(Q)

    V, s, Uhat_t = np.linalg.svd(Bt, full_matrices=False)
    # Singular values below the rounding errors of the sums are not components of A, nor are the rounding errors that
    # the subtraction of a large mean leaves.
    tolerance = _EPS * max(max(m, n) * (s[0] if s.size else 0.0), n * rows.mean_norm)
    rank = min(k, int(np.count_nonzero(s > tolerance)))
    warnings: tuple[str, ...] = ()
    if rank < k:
        warnings = (f"group {group}: {rank} of the {k} components asked for: the matrix has no more directions.",)
    V, s, Uhat = V[:, :rank], s[:rank], Uhat_t[:rank].T
    signs = _signs(V)
    U = (Q @ (Uhat * signs)).astype(rows.A.dtype) if want_u else None
    return Decomposition(U, s / rows.scale, V * signs, rows.unscaled(squared_norm), warnings)


@dataclass(frozen=True)
class _Rows:
    """scale A - 1 mean' in float64, in blocks of rows: A is never converted as a whole.

    Attributes
    ----------
    A : ndarray of shape (m, n)
    scale : float
        A power of two that brings the largest entry of A near 1, so that products neither overflow nor underflow.
    mean : ndarray of shape (n,), or None
        Subtracted from each column of scale A.
    """

    A: NDArray[np.floating]
    scale: float
    mean: NDArray[np.float64] | None = None

    @classmethod
    def of(cls, A: NDArray[np.floating], *, centred: bool = False) -> _Rows:
        largest = max(cls(A, 1.0)._each(lambda _, block: float(np.abs(block).max())), default=0.0)
        scaled = cls(A, math.ldexp(1.0, -min(1000, max(-1000, math.frexp(largest)[1]))))
        if not centred:
            return scaled
        mean = scaled._mean()
        # A second mean removes the rounding error of the first: a constant column becomes zero.
        return cls(A, scaled.scale, mean + cls(A, scaled.scale, mean)._mean())

    def _mean(self) -> NDArray[np.float64]:
        sums = self._each(lambda _, block: block.sum(axis=0))
        return sum(sums, np.zeros(self.A.shape[1])) / len(self.A)

    @property
    def mean_norm(self) -> float:
        """The norm of the matrix 1 mean'."""
        return 0.0 if self.mean is None else math.sqrt(len(self.A)) * float(np.linalg.norm(self.mean))

    def _each(self, function: Callable[[slice, NDArray[np.float64]], Result]) -> Iterator[Result]:
        """Yield function(rows, block) of every block of rows, in order, for any number of threads."""

        def work(rows: slice) -> Result:
            block = self.A[rows].astype(np.float64)
            block *= self.scale
            if self.mean is not None:
                block -= self.mean
            return function(rows, block)

        step = max(1, _BLOCK_BYTES // (8 * self.A.shape[1]))
        return Threads().map(work, [slice(start, start + step) for start in range(0, len(self.A), step)])

    def times(self, X: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the rows times X, of shape (m, r)."""
        Y = np.empty((len(self.A), X.shape[1]))
        for _ in self._each(lambda rows, block: np.matmul(block, X, out=Y[rows])):
            pass
        return Y

    def transposed_times(self, Q: NDArray[np.float64] | None) -> tuple[NDArray[np.float64], float]:
        """Return B' = A'Q of shape (n, r), or A'A without Q, and the squared Frobenius norm."""

        def products(rows: slice, block: NDArray[np.float64]) -> tuple[NDArray[np.float64], float]:
            return block.T @ (block if Q is None else Q[rows]), float(np.vdot(block, block))

        n = self.A.shape[1]
        Bt = np.zeros((n, n if Q is None else Q.shape[1]))
        squared_norm = 0.0
        for product, square in self._each(products):
            Bt += product
            squared_norm += square
        return Bt, squared_norm

    def unscaled(self, squared_norm: float) -> float:
        """Return the squared norm of A, at most the largest float64."""
        return float(min(squared_norm / self.scale / self.scale, np.finfo(np.float64).max))


def _orthonormal(Y: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return Q of shape (m, r'), an orthonormal basis of the range of Y, r' <= r; overwrites Y.

    Two rounds of Q = Y T with T from the eigendecomposition of Y'Y (as CholeskyQR2, Fukaya et al. 2014, but
    revealing the rank): the first leaves |Q'Q - I| of about eps cond(Y)^2, the second reduces it to eps. Columns are
    scaled to norm 1 first, so that their norms do not affect the condition. If a round is too badly conditioned, a
    Householder QR replaces it.
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
    """Return the signs that make the entry of largest magnitude of each column positive; of equal ones the first."""
    if V.shape[1] == 0:
        return np.ones(0)
    largest = np.argmax(np.abs(V), axis=0)
    return np.where(V[largest, np.arange(V.shape[1])] < 0, -1.0, 1.0)
