"""dssvd in numpy against LAPACK: accuracy, hard matrices, invariances, limits."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from threadpoolctl import threadpool_limits

from ctmahout.engines.numpy_svd import decompose, dspca, dssvd, exact
from ctmahout.errors import ConfigError


def with_singular_values(s, m, n, seed=0):
    """A matrix of shape (m, n) with these singular values."""
    random = np.random.default_rng(seed)
    U = np.linalg.qr(random.standard_normal((m, len(s))))[0]
    V = np.linalg.qr(random.standard_normal((n, len(s))))[0]
    return (U * s) @ V.T


def check(A, found, k, tolerance=1e-12):
    """Check what holds for every result: shapes, order, signs, orthonormal factors, no NaN."""
    u, s, v, squared_norm, warnings = found
    r = s.size
    assert r <= k
    assert (v.shape, u.shape, u.dtype) == ((A.shape[1], r), (A.shape[0], r), A.dtype)
    assert np.isfinite(s).all()
    assert np.isfinite(v).all()
    assert np.isfinite(u).all()
    assert (np.diff(s) <= 0).all()
    assert (s > 0).all()
    np.testing.assert_allclose(v.T @ v, np.eye(r), atol=1e-12)
    np.testing.assert_allclose(u.T @ u, np.eye(r), atol=1e-12 if A.dtype == np.float64 else 1e-5)
    assert (v[np.argmax(np.abs(v), axis=0), np.arange(r)] > 0).all()
    norm = np.linalg.norm(A.astype(np.float64))
    assert squared_norm == pytest.approx(norm**2, rel=1e-12)
    assert (r < k) == bool(warnings)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("q", [0, 1, 2])
def test_all_components_are_exact_for_any_q(dtype, q):
    A = np.random.default_rng(3).standard_normal((500, 20)).astype(dtype)
    found = dssvd(A, q=q)
    check(A, found, 20)
    np.testing.assert_allclose(found.s, np.linalg.svd(A.astype(np.float64), compute_uv=False), rtol=1e-12)
    tolerance = 1e-12 if dtype == np.float64 else 1e-5
    np.testing.assert_allclose((found.u * found.s) @ found.v.T, A, atol=tolerance * found.s[0])


def test_leading_components_with_power_iterations():
    s = 0.8 ** np.arange(60)
    A = with_singular_values(s, 3000, 80)
    found = dssvd(A, k=10, q=2)
    check(A, found, 10)
    np.testing.assert_allclose(found.s, s[:10], rtol=1e-6)
    exact = np.linalg.svd(A, full_matrices=False)[2][:10].T
    np.testing.assert_allclose(np.abs(np.sum(exact * found.v, axis=0)), 1, atol=1e-6)


def test_power_iterations_bring_the_error_down():
    A = np.random.default_rng(0).standard_normal((1000, 100))
    exact = np.linalg.svd(A, compute_uv=False)[:10]
    errors = [np.abs(dssvd(A, k=10, q=q).s / exact - 1).max() for q in (0, 2, 6)]
    assert errors[0] > errors[1] > errors[2]


@pytest.mark.parametrize("q", [0, 1, 3])
@pytest.mark.parametrize("least", [1e-4, 1e-8, 1e-11])
def test_graded_matrices_keep_their_smallest_singular_values(q, least):
    s = np.geomspace(1, least, 30)
    A = with_singular_values(s, 2000, 30)
    found = dssvd(A, q=q)
    check(A, found, 30)
    np.testing.assert_allclose(found.s, s, rtol=1e-14 / least + 1e-13)


@pytest.mark.parametrize("q", [0, 1, 2])
@pytest.mark.parametrize("rank", [1, 5, 20])
def test_exact_rank_is_found_and_said(q, rank):
    random = np.random.default_rng(rank)
    A = (random.integers(-9, 9, (4000, rank)) @ random.integers(-9, 9, (rank, 65))).astype(np.float32)
    found = dssvd(A, k=50, q=q)
    check(A, found, 50)
    assert found.s.size == rank
    assert f"{rank} of the 50" in found.warnings[0]
    np.testing.assert_allclose(found.s, np.linalg.svd(A.astype(np.float64), compute_uv=False)[:rank], rtol=1e-10)


@pytest.mark.parametrize("q", [0, 1])
@pytest.mark.parametrize(
    ("A", "rank"),
    [
        (np.zeros((30, 5), np.float32), 0),
        (np.full((30, 5), 1e-3), 1),
        (np.tile(np.arange(30.0)[:, None], (1, 5)), 1),
        (np.pad(np.random.default_rng(0).standard_normal((30, 2)), ((0, 0), (0, 3))), 2),
        (np.pad(np.eye(5), ((0, 25), (0, 0))), 5),
        (np.array([[3.0]]), 1),
        (np.array([[-3.0], [4.0]]), 1),
        (np.eye(5), 5),
    ],
    ids=["zero", "constant", "equal columns", "zero columns", "identity", "1x1", "one column", "square"],
)
def test_degenerate_matrices(A, rank, q):
    found = dssvd(A, q=q)
    check(A, found, A.shape[1])
    assert found.s.size == rank
    np.testing.assert_allclose((found.u * found.s) @ found.v.T, A, atol=1e-6 * max(1, np.abs(A).max()))


# ---------------------------------------------------------------------------------------------------- exact and dspca


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("k", [1, 7, 20])
def test_exact_is_exact(dtype, k):
    A = np.random.default_rng(3).standard_normal((500, 20)).astype(dtype)
    found = exact(A, k)
    check(A, found, k)
    U, s, Vt = np.linalg.svd(A.astype(np.float64), full_matrices=False)
    np.testing.assert_allclose(found.s, s[:k], rtol=1e-13)
    np.testing.assert_allclose(np.abs(np.sum(found.v * Vt[:k].T, axis=0)), 1, atol=1e-12)
    np.testing.assert_allclose(np.abs(np.sum(found.u * U[:, :k], axis=0)), 1, atol=1e-6)


@pytest.mark.parametrize("least", [0.9, 1.01e-3, 0.99e-3, 1e-8, 1e-14])
def test_exact_keeps_the_digits_that_squares_lose(least):
    """To 1e-3 by A'A, beyond by a square projection; U is orthonormal to rounding on both sides of the border."""
    s = np.geomspace(1, least, 30)
    A = with_singular_values(s, 2000, 30)
    found = exact(A)
    check(A, found, 30)
    told = s[: found.s.size] > 1e-8
    assert told.sum() == np.count_nonzero(s > 1e-8)
    np.testing.assert_allclose(found.s[told], s[: found.s.size][told], rtol=1e-6 if least < 1e-4 else 1e-9)


def test_exact_needs_no_more_digits_than_the_components_asked_for():
    """Below the k asked for the spectrum may fall to nothing: that is not a reason to do it in another way."""
    A = with_singular_values(np.array([3.0, 2.0, 1.0, 1e-9]), 300, 4)
    found = exact(A, 3)
    check(A, found, 3)
    np.testing.assert_allclose(found.s, [3, 2, 1], rtol=1e-13)


def centred(A):
    return A.astype(np.float64) - A.mean(axis=0, dtype=np.float64)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("q", [0, 1, 2])
@pytest.mark.parametrize("mean", [0.0, 3.0, -1e5])
def test_dspca_is_the_svd_of_the_centred_matrix(dtype, q, mean):
    A = (np.random.default_rng(3).standard_normal((500, 20)) + mean).astype(dtype)
    kept = A.copy()
    found = dspca(A, q=q)
    C = centred(A)
    tolerance = 1e-12 * max(1.0, abs(mean))
    np.testing.assert_allclose(found.s, np.linalg.svd(C, compute_uv=False), rtol=tolerance)
    np.testing.assert_allclose(found.v.T @ found.v, np.eye(20), atol=1e-12)
    np.testing.assert_allclose(found.u.T @ found.u, np.eye(20), atol=1e-12 if dtype == np.float64 else 1e-5)
    assert found.squared_norm == pytest.approx(np.linalg.norm(C) ** 2, rel=tolerance)
    np.testing.assert_allclose((found.u * found.s) @ found.v.T, C, atol=1e-5 if dtype == np.float32 else 1e-9)
    np.testing.assert_array_equal(A, kept)


@pytest.mark.parametrize("value", [0.0, 0.1, -1024.0, 1e-300, 1e300, 1 / 3])
def test_dspca_finds_nothing_in_constant_columns(value):
    """What is left of a mean that has no exact sum is no direction."""
    found = dspca(np.full((1000, 4), value))
    assert found.s.size == 0
    assert found.warnings
    A = np.full((1000, 4), value if abs(value) < 1e10 else 0.1)
    A[:, 1] += np.random.default_rng(0).standard_normal(1000)
    assert dspca(A).s.size == 1


@settings(deadline=None, max_examples=60)
@given(n=st.integers(1, 8), extra=st.integers(0, 30), seed=st.integers(0, 2**32), data=st.data())
@pytest.mark.parametrize("algorithm", ["dssvd", "exact", "dspca"])
def test_every_algorithm_on_any_shape(algorithm, n, extra, seed, data):
    k = data.draw(st.integers(1, n))
    A = np.random.default_rng(seed).standard_normal((n + extra, n)) + 0.5
    found = decompose(algorithm, A, k, 20, 1, seed)
    C = centred(A) if algorithm == "dspca" else A
    s = np.linalg.svd(C, compute_uv=False)
    rank = min(k, int(np.count_nonzero(s > 1e-12 * max(s[0], 1))))
    assert (found.s.size, bool(found.warnings)) == (rank, rank < k)
    np.testing.assert_allclose(found.s, s[:rank], rtol=1e-8)
    np.testing.assert_allclose(found.u.T @ found.u, np.eye(rank), atol=1e-12)
    np.testing.assert_allclose(C @ found.v, found.u * found.s, atol=1e-8 * max(1.0, s[0]))


@pytest.mark.parametrize("algorithm", ["dssvd", "exact", "dspca"])
@pytest.mark.parametrize("k", [0, 7])
def test_every_algorithm_refuses_k_out_of_range(algorithm, k):
    with pytest.raises(ConfigError, match="CTM_RANK_RANGE"):
        decompose(algorithm, np.ones((9, 6)), k)


@pytest.mark.parametrize("scale", [1e-300, 1e-160, 1e-30, 1e30, 1e150, 1e300])
def test_extreme_scales_do_not_change_the_digits(scale):
    A = np.random.default_rng(0).standard_normal((200, 9))
    found = dssvd(A * scale, k=4, q=3)
    with np.errstate(over="ignore", under="ignore"):
        np.testing.assert_allclose(found.s / scale, dssvd(A, k=4, q=3).s, rtol=1e-10)
        np.testing.assert_allclose(exact(A * scale).s / scale, exact(A).s, rtol=1e-10)
        np.testing.assert_allclose(dspca(A * scale).s / scale, dspca(A).s, rtol=1e-10)


def test_columns_of_very_different_size():
    A = np.random.default_rng(0).standard_normal((500, 6)) * 10.0 ** np.array([0, -6, 3, -3, 6, 1])
    found = dssvd(A)
    check(A, found, 6)
    np.testing.assert_allclose(found.s, np.linalg.svd(A, compute_uv=False), rtol=1e-3)


@settings(deadline=None, max_examples=80)
@given(
    n=st.integers(1, 12),
    extra=st.integers(0, 30),
    seed=st.integers(0, 2**32),
    p=st.integers(0, 20),
    q=st.integers(0, 2),
    data=st.data(),
)
def test_any_shape(n, extra, seed, p, q, data):
    k = data.draw(st.integers(1, n))
    A = np.random.default_rng(seed).standard_normal((n + extra, n)) + 0.5
    found = dssvd(A, k, p, q, seed)
    check(A, found, k)
    assert found.s.size == k
    exact = np.linalg.svd(A, compute_uv=False)
    assert (found.s <= exact[:k] * (1 + 1e-12)).all()  # what is projected never grows
    if k + p >= n:
        np.testing.assert_allclose(found.s, exact[:k], rtol=1e-9)


def test_rows_in_blocks_give_the_same_as_rows_at_once(monkeypatch):
    A = np.random.default_rng(0).standard_normal((1000, 20))
    at_once = dssvd(A, 5)
    monkeypatch.setattr("ctmahout.engines.numpy_svd._BLOCK_BYTES", 20 * 8 * 7)
    in_blocks = dssvd(A, 5)
    np.testing.assert_allclose(in_blocks.s, at_once.s, rtol=1e-12)
    np.testing.assert_allclose(in_blocks.v, at_once.v, atol=1e-10)


@pytest.mark.parametrize("algorithm", ["dssvd", "dspca", "exact"])
def test_the_number_of_cores_and_of_blas_threads_changes_no_bit(algorithm, monkeypatch):
    A = np.random.default_rng(0).standard_normal((20_000, 75))
    monkeypatch.setattr("ctmahout.engines.numpy_svd._BLOCK_BYTES", 1 << 20)

    def decomposed(cores, blas_threads):
        monkeypatch.setattr("os.sched_getaffinity", lambda _: range(cores))
        with threadpool_limits(blas_threads, "blas"):
            found = decompose(algorithm, A)
        return found.s.tobytes(), found.v.tobytes(), found.u.tobytes(), found.squared_norm

    assert decomposed(1, 1) == decomposed(3, 2)


def test_seeds():
    A = np.random.default_rng(0).standard_normal((300, 40))
    np.testing.assert_array_equal(dssvd(A, 3, 0, 0, 7).s, dssvd(A, 3, 0, 0, 7).s)
    assert (dssvd(A, 3, 0, 0, 7).s != dssvd(A, 3, 0, 0, 8).s).all()


def test_the_matrix_is_only_read_and_u_is_optional():
    A = np.random.default_rng(0).standard_normal((100, 6))
    A.flags.writeable = False
    assert dssvd(A, want_u=False).u is None


@pytest.mark.parametrize("k", [0, -1, 7])
def test_k_out_of_range(k):
    with pytest.raises(ConfigError, match=r"\[CTM_RANK_RANGE\] .* group 4 has 9 rows and 6 columns"):
        dssvd(np.ones((9, 6)), k, group=4)
