"""Where patches lie, what noise they have, and a pass over a volume."""

import pickle
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage
from threadpoolctl import threadpool_limits

from ctmahout.denoising.effort import PassSpec
from ctmahout.denoising.noise import NoiseModel
from ctmahout.denoising.patches.grid import PatchGrid, covariance_of
from ctmahout.denoising.patches.groups import FIRST, SECOND, pilot_noise
from ctmahout.denoising.patches.mixture import Mixture, NoiseCovariances, NoisyMixture, SigmaGrid
from ctmahout.denoising.patches.moments import mixture_from_moments
from ctmahout.denoising.patches.passes import PatchFilter, filter_slices, filter_volume
from ctmahout.denoising.patches.two_passes import first_pass, measure_noise
from ctmahout.engines.workers import Threads, single_threaded_blas

# ------------------------------------------------------------------------------------------------------------ places


def test_little_of_what_is_learnt_from_lies_in_air():
    rng = np.random.default_rng(9)
    hu = np.full((6, 80, 80), -1000, np.float32)
    hu[:, 20:60, 20:60] = 40
    hu += rng.standard_normal(hu.shape).astype(np.float32)
    view = view_of(hu)
    corners = view.draw(6000, rng)
    assert len(np.unique(corners, axis=0)) == len(corners)
    assert (np.diff(corners[:, 0]) >= 0).all()
    in_air = hu[corners[:, 0] + 1, corners[:, 1] + 2, corners[:, 2] + 2] < -500
    assert 0 < in_air.sum() <= 6000 // 20


def test_a_series_of_air_is_learnt_from_all_the_same():
    hu = np.full((4, 60, 60), -1000, np.float32) + np.random.default_rng(1).standard_normal((4, 60, 60), np.float32)
    assert len(view_of(hu).draw(4000, np.random.default_rng(2))) == 4000


def flat_noise(shape, sd=20.0, cell=4):
    """White noise of one SD."""
    grid = (shape[0], -(-shape[1] // cell), -(-shape[2] // cell))
    autocovariance = np.zeros((1, 33, 33))
    autocovariance[0, 16, 16] = 1
    log_sd = np.full(grid, np.log(sd), np.float32)
    return NoiseModel(cell, log_sd, np.ones((1, *grid), np.float32), autocovariance, (0.0, 0.0))


def view_of(hu, sd=20.0):
    return PatchGrid.of(hu, flat_noise(hu.shape, sd), 1, np.random.default_rng(0))


@settings(max_examples=60, deadline=None)
@given(
    shape=st.tuples(st.integers(2, 7), st.integers(5, 45), st.integers(5, 45)),
    stride=st.sampled_from([(1, 1), (1, 2), (2, 1), (2, 2), (3, 4), (5, 5)]),
    value=st.sampled_from([0, -1000]),
)
def test_the_patches_of_every_layer_cover_the_slice(shape, stride, value):
    view = view_of(np.full(shape, value, np.float32))
    for z in range(view.layers):
        everywhere = view.layer(z, stride)
        for corners in (everywhere, view.layer(z, stride, sparse_in_air=True)):
            covered = np.zeros(shape[1:], bool)
            assert (corners[:, 0] == z).all()
            assert len(np.unique(corners, axis=0)) == len(corners)
            assert {*map(tuple, corners)} <= {*map(tuple, everywhere)}
            for _, y, x in corners:
                assert 0 <= y <= shape[1] - 5
                assert 0 <= x <= shape[2] - 5
                covered[y : y + 5, x : x + 5] = True
            assert covered.all()


@pytest.mark.parametrize("stride", [(1, 2), (2, 2)])
def test_patches_are_sparse_in_open_air_alone(stride):
    hu = np.full((5, 80, 80), -1000, np.float32)
    hu[2, 32:48, 32:48] = 0  # a body of one slice
    view = view_of(hu)
    for z in range(view.layers):
        everywhere = view.layer(z, stride)
        dense, sparse = ({*map(tuple, c)} for c in (everywhere, view.layer(z, stride, sparse_in_air=True)))
        # Within a cell of the body nothing is left out; far from it, most.
        assert dense - sparse <= {(z, y, x) for z, y, x in dense if not (24 <= y + 2 < 56 and 24 <= x + 2 < 56)}
        far = {(z, y, x) for z, y, x in dense if y > 60}
        assert len(far & sparse) < 0.6 * len(far)


@pytest.mark.parametrize("shape", [(2, 5, 5), (3, 7, 12), (6, 11, 9)])
def test_patches_are_taken_from_where_they_lie(shape):
    hu = np.random.default_rng(4).standard_normal(shape).astype(np.float32)
    view = view_of(hu)
    corners = view.draw(10**6, np.random.default_rng(0))
    depth = min(3, shape[0])
    assert len(corners) == (shape[0] - depth + 1) * (shape[1] - 4) * (shape[2] - 4)
    for corner, patch in zip(corners, view.patches_at(corners), strict=True):
        z, y, x = corner
        np.testing.assert_array_equal(patch, hu[z : z + depth, y : y + 5, x : x + 5].ravel())
    few = view.draw(7, np.random.default_rng(1))
    assert len(np.unique(few, axis=0)) == min(7, len(corners))
    assert (np.diff(few[:, 0]) >= 0).all()


def test_noise_is_that_of_the_middle_of_a_patch():
    noise = flat_noise((20, 40, 40))
    ramp = np.log(5 + np.arange(20, dtype=np.float32))[:, None, None] + 0 * noise.log_sigma
    view = PatchGrid.of(
        np.zeros((20, 40, 40), np.float32),
        NoiseModel(4, ramp, noise.sector_share, noise.autocovariance, (0.0, 0.0)),
        1,
        np.random.default_rng(0),
    )
    corners = view.draw(3000, np.random.default_rng(2))
    np.testing.assert_allclose(view.sample(corners).noise.sigma_hu, 5 + corners[:, 0] + 1, rtol=1e-5)


def test_the_covariance_of_a_patch_is_that_of_patches_of_such_noise():
    rng = np.random.default_rng(6)
    white = rng.standard_normal((40, 70, 70))
    across, along = np.array([[1.0, 2.0, 1.0], [0.0, 3.0, 2.0]]), np.array([1.0, 2.0, 1.0])
    noise = ndimage.convolve(ndimage.convolve1d(white, along, axis=0, mode="wrap"), across[None], mode="wrap")
    power = np.abs(np.fft.fft2(across, (64, 64))) ** 2
    in_slice = np.roll(np.fft.ifft2(power).real, (16, 16), (0, 1))[:33, :33]
    # 1-2-1: variance 6, with the next slice 4, with the one after 1.
    expected = covariance_of(in_slice / in_slice[16, 16], (4 / 6, 1 / 6), (3, 5, 5))
    view = view_of((noise / noise.std()).astype(np.float32))
    patches = view.patches_at(view.draw(60_000, rng))
    np.testing.assert_allclose(np.cov(patches.T), expected, atol=0.05)
    assert np.linalg.eigvalsh(expected).min() > -1e-9


# ------------------------------------------------------------------------------------------------------------ a pass


@pytest.fixture(scope="module")
def stage(phantom):
    """Seven slices of a phantom, and filters of a first and of a second pass for them."""
    hu = np.ascontiguousarray(phantom.noisy.hu[8:15, 40:113, 60:121])
    how = PassSpec(groups=12, patches=12_000, rounds=2, stride=(2, 2))
    noise = measure_noise(hu, phantom.noisy.geometry, Threads(1))
    learnt, _ = first_pass(hu, noise, how, 3, 0, Threads(1))
    groups = learnt.groups
    shrinker = mixture_from_moments(groups.moments, groups.noise_covariances, FIRST.shrinker)
    prepared = NoisyMixture(shrinker, groups.noise_covariances, groups.assigner.sigmas)
    view = learnt.grid(hu)
    told_by_pilot = NoisyMixture(
        groups.assigner.mixture, pilot_noise(groups.covariances), groups.assigner.sigmas, groups.assigner.candidates
    )
    return (
        view,
        PatchFilter(groups.assigner, prepared, FIRST.pilot_weight, FIRST.shrinker.overfit_threshold),
        PatchFilter(told_by_pilot, prepared, SECOND.pilot_weight, SECOND.shrinker.overfit_threshold),
    )


@single_threaded_blas
def whole(view, filter, threads=1, **options):
    return np.stack([found for _, found in filter_slices(view, filter, (2, 2), Threads(threads), **options)])


@pytest.fixture(scope="module")
def first_result(stage):
    view, filter, _ = stage
    return whole(view, filter)


def test_any_number_of_threads_gives_the_same_bytes(stage, first_result):
    view, filter, second = stage
    pilot = view.with_hu(first_result)
    for threads in (2, 5):
        assert whole(view, filter, threads).tobytes() == first_result.tobytes()
    one = whole(view, second, pilot=pilot)
    assert whole(view, second, 4, pilot=pilot).tobytes() == one.tobytes()
    assert one.tobytes() != first_result.tobytes()


@pytest.mark.parametrize("cuts", [(0, 3, 7), (0, 1, 2, 7), (0, 6, 7), (0, 1, 2, 3, 4, 5, 6, 7)])
def test_slabs_give_the_bytes_of_the_whole(stage, first_result, cuts):
    view, filter, second = stage
    pilot = view.with_hu(first_result)
    for use, options, expected in (
        (filter, {}, first_result),
        (second, {"pilot": pilot, "is_last": True}, whole(view, second, pilot=pilot, is_last=True)),
    ):
        told = []
        for start, stop in pairwise(cuts):
            with threadpool_limits(1, "blas"):
                found = list(filter_slices(view, use, (2, 2), Threads(2), slices=(start, stop), **options))
            assert [z for z, _ in found] == list(range(start, stop))
            told += [image for _, image in found]
        assert np.stack(told).tobytes() == expected.tobytes()


class Away:
    """Workers that share no memory with us: what goes to them and comes back is pickled."""

    is_remote = True

    def map(self, function, items):
        for item in items:
            sent, given = pickle.loads(pickle.dumps((function, item)))
            yield pickle.loads(pickle.dumps(sent(given)))


@pytest.mark.parametrize("slab", [1, 2, 3, 50])
def test_workers_elsewhere_are_sent_slabs_and_give_the_same_bytes(stage, first_result, slab, monkeypatch):
    monkeypatch.setattr("ctmahout.denoising.patches.passes._SLAB", slab)
    view, filter, second = stage
    pilot, told = view.with_hu(first_result), []
    assert filter_volume(view, filter, (2, 2), Away()).tobytes() == first_result.tobytes()
    found = filter_volume(
        view, second, (2, 2), Away(), pilot=pilot, progress=lambda done, total: told.append((done, total))
    )
    assert found.tobytes() == whole(view, second, pilot=pilot).tobytes()
    assert told == [(min(done, 7), 7) for done in range(slab, 7 + slab, slab)]


def test_progress_counts_every_slice_once(stage):
    view, filter, _ = stage
    told = []
    whole(view, filter, progress=lambda done, total: told.append((done, total)))
    assert told == [(n, 7) for n in range(1, 8)]


def one_group(mean, rank, d=75, seed=0):
    """A filter that knows one group only."""
    rng = np.random.default_rng(seed)
    mixture = Mixture(np.full((1, d), float(mean)), (30 * rng.standard_normal((d, rank)),), np.ones(1), np.ones(1))
    prepared = NoisyMixture(mixture, NoiseCovariances(np.eye(d)[None]), SigmaGrid(20.0, 1))
    return PatchFilter(prepared, prepared)


def test_overlapping_patches_count_by_their_error_voxel_by_voxel():
    """Every voxel is the mean of its patches' estimates, weighted by 1 / (their error + a little)."""
    hu, smooth = (np.random.default_rng(n).normal(40, 25, (4, 9, 8)).astype(np.float32) for n in (2, 3))
    view, filter = view_of(hu), one_group(40, 6)
    pilot = view.with_hu(smooth)
    total, weight = np.zeros(hu.shape), np.zeros(hu.shape)
    for corner in np.concatenate([view.layer(z, (2, 2)) for z in range(view.layers)]):
        patch = view.patches_at(corner[None])
        noise = view.noise_at(corner[None], view.sd(0, 4), 0)
        estimate, _, error = filter.estimate(patch, noise, pilot.patches_at(corner[None]))
        assert error.min() < 0.7 * error.max()
        box = tuple(slice(a, a + n) for a, n in zip(corner, view.patch, strict=True))
        of_voxels = (1 / (error + 0.04)).reshape(view.patch)
        total[box] += of_voxels * estimate.reshape(view.patch)
        weight[box] += of_voxels
    np.testing.assert_allclose(whole(view, filter, pilot=pilot), total / weight, rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize("rank", [0, 5])
@pytest.mark.parametrize("value", [-1000.0, 0.0, 40.0])
def test_a_volume_that_is_its_groups_mean_stays(rank, value):
    hu = np.full((4, 13, 9), value, np.float32)
    np.testing.assert_allclose(whole(view_of(hu), one_group(value, rank)), hu, atol=2e-4)


def test_metal_stays_and_what_lies_apart_from_it_is_denoised():
    rng = np.random.default_rng(1)
    hu = rng.normal(40, 20, (7, 40, 40)).astype(np.float32)
    hu[3, 20, 20] = 15_000
    found = whole(view_of(hu), one_group(40, 0))
    assert found[3, 20, 20] == pytest.approx(15_000, rel=1e-6)
    near = np.zeros(hu.shape, bool)
    near[1:6, 16:25, 16:25] = True
    assert np.abs(found[~near] - 40).max() < 0.01
    assert np.abs(found[near & (hu < 1000)] - hu[near & (hu < 1000)]).max() < 100
