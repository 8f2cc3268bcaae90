import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from ctmahout import Geometry, InputError, Volume
from ctmahout.denoising.slices.layout import SlicesLayout


def volume(hu, padding=None):
    z = len(hu)
    geometry = Geometry(
        np.column_stack([np.zeros(z), np.zeros(z), np.arange(z)]),
        np.array([1.0, 0, 0]),
        np.array([0, 1.0, 0]),
        (1.0, 1.0),
    )
    return Volume(np.asarray(hu, np.float32), geometry, padding)


def matrix(layout, v):
    rows, blocks = zip(*layout.blocks(v), strict=True)
    assert np.array_equal(np.concatenate(rows), np.arange(layout.rows))
    return np.concatenate(blocks)


volumes = st.tuples(st.integers(2, 6), st.integers(3, 9), st.integers(3, 9)).flatmap(
    lambda shape: st.tuples(
        hnp.arrays(np.float32, shape, elements=st.integers(-3024, 3071).map(float)),
        st.none() | hnp.arrays(np.bool_, shape),
    )
)


@settings(deadline=None)
@given(volumes)
def test_full_rank_gives_the_volume_back(case):
    hu, padding = case
    v = volume(hu, padding)
    try:
        layout = SlicesLayout.of(v)
    except InputError:
        assert padding is not None
        assert (~padding).any(axis=0).sum() < len(hu)
        return
    a = matrix(layout, v)
    assert a.dtype == np.float32
    assert a.shape == (layout.rows, layout.columns)
    _, _, vt = np.linalg.svd(a.astype(np.float64), full_matrices=False)
    back = layout.reconstruct(v, vt.T, np.ones(len(vt)))
    np.testing.assert_allclose(back.hu, hu, atol=0.01)
    if padding is not None:
        assert np.array_equal(back.hu[padding], hu[padding])


@settings(deadline=None)
@given(volumes)
def test_columns_have_zero_mean_and_padding_weighs_nothing(case):
    hu, padding = case
    v = volume(hu, padding)
    try:
        layout = SlicesLayout.of(v)
    except InputError:
        return
    a = matrix(layout, v)
    np.testing.assert_allclose(a.astype(np.float64).sum(axis=0), 0, atol=0.5)
    if padding is not None:
        assert not a[padding.reshape(len(hu), -1).T[layout.pixels]].any()
        other = hu.copy()
        other[padding] = 12345
        assert np.array_equal(matrix(SlicesLayout.of(volume(other, padding)), volume(other, padding)), a)


@settings(deadline=None)
@given(volumes, st.integers(0, 6))
def test_centred_factors_give_back_the_mean_and_the_rank_reduced_rest(case, keep):
    """By dspca A is about 1 mu' + (A - 1 mu') V V'; here mu is far from 0, as a step of somebody's own may leave it."""
    hu, padding = case
    v = volume(hu, padding)
    try:
        found = SlicesLayout.of(v)
    except InputError:
        return
    layout = SlicesLayout(found.shape, found.pixels, found.means_hu - 500.0)
    a = matrix(layout, v).astype(np.float64)
    mu = a.mean(axis=0)
    vt = np.linalg.svd(a - mu, full_matrices=False)[2]
    weights = (np.arange(len(vt)) < keep).astype(float)
    back = layout.reconstruct(v, vt.T, weights, centred=True)
    expected = mu + (a - mu) @ (vt.T * weights) @ vt
    stays = np.zeros(a.shape, bool) if padding is None else padding.reshape(len(hu), -1).T[layout.pixels]
    found = back.hu.reshape(len(hu), -1).T[layout.pixels].astype(np.float64) - layout.means_hu
    np.testing.assert_allclose(found[~stays], expected[~stays], atol=0.01)
    if keep >= len(vt):
        np.testing.assert_allclose(back.hu, hu, atol=0.01)


def test_weights_of_zero_leave_the_mean_of_each_slice():
    hu = np.random.default_rng(0).normal(size=(3, 5, 7)).astype(np.float32)
    layout = SlicesLayout.of(volume(hu))
    flat = layout.reconstruct(volume(hu), np.eye(3), np.zeros(3)).hu
    np.testing.assert_allclose(flat, np.broadcast_to(hu.mean(axis=(1, 2))[:, None, None], hu.shape), rtol=1e-5)


@pytest.mark.parametrize("shape", [(1, 8, 8), (10, 3, 3)])
def test_too_few_slices_or_pixels_are_refused(shape):
    with pytest.raises(InputError) as e:
        SlicesLayout.of(volume(np.zeros(shape)))
    assert e.value.code == "CTM_INPUT_TOO_SMALL"


def test_the_input_is_never_changed():
    hu = np.random.default_rng(0).normal(size=(3, 5, 7)).astype(np.float32)
    v = volume(hu.copy())
    layout = SlicesLayout.of(v)
    matrix(layout, v)
    layout.reconstruct(v, np.eye(3), np.full(3, 0.5))
    assert np.array_equal(v.hu, hu)
