"""Regions of patches: every patch in one, groups where patches differ, the same model however regions are stored."""

import numpy as np
import pytest

from ctmahout.denoising.patches import regions as regions_module
from ctmahout.denoising.patches.em import Sample
from ctmahout.denoising.patches.mixture import CandidateIndex, Mixture, Noise, NoiseCovariances, NoisyMixture, SigmaGrid
from ctmahout.denoising.patches.model import ModelPass
from ctmahout.denoising.patches.parts import write_part
from ctmahout.denoising.patches.regions import Partition, RegionLearner, Regions, concatenated
from ctmahout.engines.workers import Threads

D = 20
COVARIANCES = NoiseCovariances(np.eye(D)[None])
LEVELS = SigmaGrid(5.0, 20)


def sample_of(rng, count, *, pilot=False):
    """Patches of three kinds: even, of one bright direction, and of many directions."""
    kind = rng.choice(3, count, p=[0.6, 0.2, 0.2])
    directions = np.linalg.qr(rng.standard_normal((D, D)))[0]
    spread = np.array([[0.0, 0.0], [200.0, 0.0], [80.0, 80.0]])[kind] * rng.standard_normal((count, 2))
    clean = 300.0 * kind[:, None] + spread @ directions[:2]
    noisy = (clean + 10 * rng.standard_normal((count, D))).astype(np.float32)
    noise = Noise(rng.uniform(5, 8, count).astype(np.float32), np.zeros(count, np.int32))
    return Sample(noisy, noise, clean.astype(np.float32) if pilot else None)


@pytest.fixture
def parts(tmp_path):
    rng = np.random.default_rng(3)
    return [write_part(sample_of(rng, 12_000), tmp_path / f"series-{n}.npz") for n in range(3)]


@pytest.fixture
def small_regions(monkeypatch):
    monkeypatch.setattr(regions_module, "_GROUPS", 5)
    monkeypatch.setattr(regions_module, "_PATCHES", 15_000)


def test_a_region_holds_no_more_than_a_worker_can(parts, small_regions, tmp_path):
    regions = Regions.cut(parts, COVARIANCES, 20, Threads(2))
    assert sum(regions.groups) == pytest.approx(20, abs=len(regions) / 2)
    assert max(regions.groups) <= 5
    of_regions = list(Threads(2).map(Partition(regions, tmp_path, "pass1"), enumerate(parts)))
    sizes = np.array([[0 if part is None else len(part) for part in of_series] for of_series in of_regions])
    assert sizes.sum(axis=1).tolist() == [len(part) for part in parts]
    # Cut by a third of the patches, so its size is not exact.
    assert sizes.sum(axis=0).max() < 1.3 * 15_000


def test_every_patch_is_in_the_region_that_its_features_tell(parts, small_regions, tmp_path):
    regions = Regions.cut(parts, COVARIANCES, 20, Threads(2))
    of_series = Partition(regions, tmp_path, "pass1")((0, parts[0]))
    gathered = []
    for region, part in enumerate(of_series):
        if part is not None:
            patches = part.load().patches
            assert (regions.index.cells(patches) == region).all()
            gathered.append(patches)
    sort = lambda patches: patches[np.lexsort(patches.T)]  # noqa: E731
    np.testing.assert_array_equal(sort(np.concatenate(gathered)), sort(parts[0].load().patches))


def test_patches_that_are_all_alike_are_one_region(tmp_path, small_regions):
    alike = Sample(
        np.full((20_000, D), 40, np.float32), Noise(np.full(20_000, 5, np.float32), np.zeros(20_000, np.int32))
    )
    regions = Regions.cut([write_part(alike, tmp_path / "alike.npz")], COVARIANCES, 8, Threads(1))
    assert len(regions) == 1


def mixture_of(rng, count, centre):
    means = centre + rng.uniform(-30, 30, (count, D))
    bases = tuple(20 * rng.standard_normal((D, r % 4)) for r in range(count))
    return Mixture(means, bases, rng.dirichlet(np.full(count, 5.0)), np.full(count, 0.9))


def model_pass():
    """A pass of two regions of different size, far from each other."""
    rng = np.random.default_rng(5)
    axes = np.linalg.qr(rng.standard_normal((D, 4)))[0].astype(np.float32)
    index = CandidateIndex(np.zeros(D, np.float32), axes, np.empty((0, 4), np.float32))
    mixtures = [mixture_of(rng, 7, -400.0), mixture_of(rng, 3, 500.0)]
    centres = np.array([index.features(m.means.astype(np.float32)).mean(axis=0) for m in mixtures])
    index = CandidateIndex(index.mean, axes, centres)
    cells = [
        CandidateIndex(
            m.means[0].astype(np.float32),
            axes,
            index.features(m.means[::2].astype(np.float32)),
            tuple(np.arange(len(m)) for _ in m.means[::2]),
        )
        for m in mixtures
    ]
    return ModelPass(index, tuple(zip(mixtures, cells, strict=True)), concatenated(mixtures))


def patches_of(model, rng, count=500):
    mixture = model.shrinker
    group = rng.integers(0, len(mixture), count)
    coordinates = [mixture.bases[k] @ rng.standard_normal(mixture.bases[k].shape[1]) for k in group]
    patches = (mixture.means[group] + np.array(coordinates) + 5 * rng.standard_normal((count, D))).astype(np.float32)
    return patches, Noise(np.full(count, 5, np.float32), np.zeros(count, np.int32))


def test_groups_are_counted_through_all_regions():
    model, rng = model_pass(), np.random.default_rng(6)
    patches, noise = patches_of(model, rng)
    regional = model.assigner(COVARIANCES, LEVELS)
    flat = NoisyMixture(model.shrinker, COVARIANCES, LEVELS)
    groups, shares = regional.responsibilities(patches, noise, 3)
    expected, _ = flat.responsibilities(patches, noise, 3)
    assert (groups[:, 0] == expected[:, 0]).all()
    np.testing.assert_allclose(shares.sum(axis=1), 1, rtol=1e-5)
    np.testing.assert_allclose(
        regional.log_likelihood(patches, noise), flat.log_likelihood(patches, noise), rtol=1e-6, atol=1e-3
    )


def test_a_region_of_fewer_groups_than_a_patch_may_have():
    model, rng = model_pass(), np.random.default_rng(7)
    patches, noise = patches_of(model, rng)
    groups, shares = model.assigner(COVARIANCES, LEVELS).responsibilities(patches, noise, 5)
    in_small = groups[:, 0] >= 7
    assert in_small.any()
    assert (shares[in_small, 3:] == 0).all()
    assert groups.max() < len(model.shrinker)


def test_a_pass_comes_back_from_its_arrays():
    model, rng = model_pass(), np.random.default_rng(8)
    again = ModelPass.of_arrays("pass1", model.arrays("pass1"))
    twice = ModelPass.of_arrays("pass1", again.arrays("pass1"))
    patches, noise = patches_of(model, rng)
    (groups, shares), (groups_again, shares_again), (groups_twice, shares_twice) = (
        one.assigner(COVARIANCES, LEVELS).responsibilities(patches, noise, 3) for one in (model, again, twice)
    )
    assert (groups[:, 0] == groups_again[:, 0]).all()
    np.testing.assert_allclose(shares, shares_again, atol=1e-4)  # bases are stored in single precision
    assert groups_again.tobytes() == groups_twice.tobytes()
    assert shares_again.tobytes() == shares_twice.tobytes()
    for ours, theirs in zip(again.shrinker.bases, model.shrinker.bases, strict=True):
        np.testing.assert_array_equal(ours, theirs.astype(np.float32))


def test_a_model_from_before_there_were_regions_is_read():
    model, rng = model_pass(), np.random.default_rng(9)
    (mixture, candidates), _ = model.regions
    one = ModelPass(model.index, ((mixture, candidates),), mixture)
    arrays = {
        key.replace("telling_cell", "cell") if "_cell_" in key else key: value[0] if value.ndim == 3 else value
        for key, value in one.arrays("pass1").items()
        if "_region_" not in key
    }
    arrays["pass1_cell_origin"] = arrays["pass1_cell_origin"][0]
    patches, noise = patches_of(one, rng)
    groups, _ = ModelPass.of_arrays("pass1", arrays).assigner(COVARIANCES, LEVELS).responsibilities(patches, noise, 3)
    expected, _ = NoisyMixture(mixture, COVARIANCES, LEVELS, candidates).responsibilities(patches, noise, 3)
    assert (groups == expected).all()


def test_a_region_learnt_again_has_the_same_bytes(parts, tmp_path):
    learner = RegionLearner(1, COVARIANCES.covariances, 2, 0, tmp_path)
    first, again = (learner((0, 6, parts)) for _ in range(2))
    assert first.matrix == again.matrix
    assert first.patches == sum(map(len, parts))
    for a, b in zip(first.groups.assigner.mixture.bases, again.groups.assigner.mixture.bases, strict=True):
        assert a.tobytes() == b.tobytes()
    assert first.groups.moments.scatter.size == 0


def test_groups_of_a_region_count_as_their_share_of_all_patches(parts, tmp_path):
    fit = RegionLearner(1, COVARIANCES.covariances, 2, 0, tmp_path)((0, 6, parts))
    mixture, _ = fit.share_of(4 * fit.patches)
    assert mixture.weights[mixture.weights > 1e-20].sum() == pytest.approx(0.25)
