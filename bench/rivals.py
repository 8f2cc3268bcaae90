"""One rival measured in a process of its own: ``rivals.py NAME MATRIX.npy --k 50 --p 15 --q 1``.

The matrix is in memory before the clock starts. Prints one line of JSON, as the measurements on the JVM do.
"""

from __future__ import annotations

import argparse
import json
import re
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Matrix = NDArray[Any]

# Rows of A that become float64 at a time: so few that they stay in the cache, which is fastest.
_STEP = 1024


class Found(NamedTuple):
    """A is about U diag(s) V'; U only if asked for."""

    u: Matrix | None
    s: Matrix
    v: Matrix


def numpy_dssvd(A: Matrix, k: int, p: int, q: int, seed: int, u: bool) -> Found:
    """Mahout's dssvd step by step: float64 arithmetic, Q by Cholesky, eigenvalues of B B'."""
    from scipy.linalg import cholesky

    def times(X: Matrix) -> Matrix:
        Y = np.empty((len(A), X.shape[1]))
        for i in range(0, len(A), _STEP):
            np.matmul(A[i : i + _STEP].astype(np.float64), X, out=Y[i : i + _STEP])
        return Y

    def transposed_times(Q: Matrix) -> Matrix:
        Bt = np.zeros((A.shape[1], Q.shape[1]))
        for i in range(0, len(A), _STEP):
            Bt += A[i : i + _STEP].astype(np.float64).T @ Q[i : i + _STEP]
        return Bt

    def orthonormal(Y: Matrix) -> Matrix:
        return Y @ np.linalg.inv(cholesky(Y.T @ Y))

    omega = np.random.default_rng(seed).random((A.shape[1], k + p)) - 0.5
    Q = orthonormal(times(omega))
    Bt = transposed_times(Q)
    for _ in range(q):
        Q = orthonormal(times(Bt))
        Bt = transposed_times(Q)
    values, vectors = np.linalg.eigh(Bt.T @ Bt)
    s, W = np.sqrt(values[::-1][:k]), vectors[:, ::-1][:, :k]
    return Found(Q @ W if u else None, s, Bt @ (W / s))


def numpy_gram(A: Matrix, k: int, p: int, q: int, seed: int, u: bool) -> Found:
    """Eigenvectors of A'A, float64 arithmetic; what `algorithm="exact"` does."""
    gram = np.zeros((A.shape[1], A.shape[1]))
    for i in range(0, len(A), _STEP):
        block = A[i : i + _STEP].astype(np.float64)
        gram += block.T @ block  # numpy computes one triangle of such a product
    values, vectors = np.linalg.eigh(gram)
    s, V = np.sqrt(np.maximum(values[::-1][:k], 0)), vectors[:, ::-1][:, :k]
    if not u:
        return Found(None, s, V)
    U = np.empty((len(A), k))
    for i in range(0, len(A), _STEP):
        np.matmul(A[i : i + _STEP].astype(np.float64), V / s, out=U[i : i + _STEP])
    return Found(U, s, V)


def sklearn_randomized(A: Matrix, k: int, p: int, q: int, seed: int, u: bool) -> Found:
    """scikit-learn's randomized_svd, in the type of A."""
    from sklearn.utils.extmath import randomized_svd

    U, s, Vt = randomized_svd(
        A, k, n_oversamples=p, n_iter=q, power_iteration_normalizer="LU", flip_sign=False, random_state=seed
    )
    return Found(U, s, Vt.T)


def dask_compressed(A: Matrix, k: int, p: int, q: int, seed: int, u: bool) -> Found:
    """dask's svd_compressed, in the type of A, on one thread."""
    import dask
    import dask.array as da

    chunks = (1 << 15, A.shape[1])
    lazy = da.linalg.svd_compressed(
        da.from_array(A, chunks=chunks), k, iterator="QR", n_power_iter=q, n_oversamples=p, seed=seed
    )
    U, s, Vt = dask.compute(*lazy, scheduler="synchronous")
    return Found(U, s, Vt.T)


RIVALS: dict[str, tuple[Callable[[Matrix, int, int, int, int, bool], Found], str]] = {
    "numpy": (numpy_dssvd, "numpy"),
    "gram": (numpy_gram, "numpy"),
    "sklearn": (sklearn_randomized, "scikit-learn"),
    "dask": (dask_compressed, "dask"),
}


def orthogonality(Q: Matrix) -> float:
    """Return the largest entry of |Q'Q - I|."""
    Q = Q.astype(np.float64)
    return float(np.abs(Q.T @ Q - np.eye(Q.shape[1])).max())


def peak_mib() -> int:
    """Return the peak resident memory of this process as the kernel counts it."""
    found = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())
    return int(found[1]) // 1024 if found else 0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", choices=RIVALS)
    parser.add_argument("matrix", type=Path)
    parser.add_argument("--k", type=int, required=True)
    parser.add_argument("--p", type=int, default=15)
    parser.add_argument("--q", type=int, default=0)
    parser.add_argument("--no-u", action="store_true")
    parser.add_argument("--warm", type=int, default=1)
    parser.add_argument("--runs", type=int, default=3)
    options = parser.parse_args()
    function, package = RIVALS[options.name]
    A = np.load(options.matrix)
    runs = []
    for i in range(options.warm + options.runs):
        cpu, wall = time.process_time(), time.perf_counter()
        found = function(A, options.k, options.p, options.q, i, not options.no_u)
        if i >= options.warm:
            runs.append({"cpu_s": time.process_time() - cpu, "wall_s": time.perf_counter() - wall})
    answer: dict[str, Any] = {
        "runs": runs,
        "peak_mib": peak_mib(),
        "s": found.s.tolist(),
        "orthogonality_v": orthogonality(found.v),
        "package": f"{package} {version(package)}",
        "blas": blas(),
    }
    if found.u is not None:
        answer["orthogonality_u"] = orthogonality(found.u)
    print("BENCH", json.dumps(answer))


def blas() -> str:
    """Return the kernel that numpy's products run on: a wrong one makes numpy look slow."""
    from threadpoolctl import threadpool_info

    pools = [p for p in threadpool_info() if p["user_api"] == "blas" and "numpy" in p["filepath"]]
    pools = pools or [p for p in threadpool_info() if p["user_api"] == "blas"]
    return ", ".join(f"{p['internal_api']} {p['version']} {p.get('architecture', '')}".strip() for p in pools)


if __name__ == "__main__":
    main()
