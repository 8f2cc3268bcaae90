"""Groups of patches: the maths against plain formulas in double precision, and moments that add up."""

import pickle
import time
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import multivariate_normal

from ctmahout.denoising.patches.em import Sample, fit, kmeans, split, sum_moments
from ctmahout.denoising.patches.mixture import CandidateIndex, Mixture, Noise, NoiseCovariances, NoisyMixture, SigmaGrid
from ctmahout.denoising.patches.moments import (
    Moments,
    Rule,
    mixture_from_factors,
    mixture_from_moments,
    moments_of,
    whitened_rows,
)
from ctmahout.denoising.patches.once import Once
from ctmahout.denoising.patches.parts import write_part
from ctmahout.engines.workers import Threads

D, KINDS = 20, 2
LEVELS = SigmaGrid(6.0, 25)


def spread(rng, d=D):
    """A covariance whose eigenvalues are within a factor of 10."""
    q = np.linalg.qr(rng.standard_normal((d, d)))[0]
    return (q * rng.uniform(0.3, 3, d)) @ q.T


def made_mixture(rng, ranks=(0, 1, 2, 4, 7), noise_left=1.0):
    means = rng.uniform(-300, 300, (len(ranks), 1)) + rng.uniform(-20, 20, (len(ranks), D))
    bases = tuple(25 * rng.standard_normal((D, r)) for r in ranks)
    return Mixture(means, bases, rng.dirichlet(np.full(len(ranks), 5)), np.full(len(ranks), noise_left))


def drawn(mixture, kinds, n, rng):
    """Patches of a mixture, their noise and their groups; levels are those of the tables."""
    groups = rng.choice(len(mixture), n, p=mixture.weights)
    noise = Noise(
        np.sqrt(LEVELS.variances)[rng.integers(0, LEVELS.count, n)].astype(np.float32),
        rng.integers(0, len(kinds), n).astype(np.int32),
    )
    patches = np.empty((n, mixture.d), np.float32)
    for i, (k, level, kind) in enumerate(zip(groups, noise.sigma_hu, noise.noise_class, strict=True)):
        basis = mixture.bases[k]
        coloured = kinds.colour[kind] @ rng.standard_normal(mixture.d)
        patches[i] = mixture.means[k] + basis @ rng.standard_normal(basis.shape[1]) + level * coloured
    return patches, noise, groups


@pytest.fixture(scope="module")
def world():
    rng = np.random.default_rng(3)
    kinds = NoiseCovariances(np.array([spread(rng) for _ in range(KINDS)]))
    mixture = made_mixture(rng)
    return mixture, kinds, *drawn(mixture, kinds, 500, rng)


def estimated(prepared, patches, noise, groups, pilot=None):
    """The estimates of patches of one group each."""
    return prepared.estimate(patches, noise, groups[:, None], np.ones((len(groups), 1), np.float32), pilot)


def log_likelihoods(mixture, kinds, patches, noise):
    """Of each patch in each group, the textbook way: log of weight times density."""
    found = np.empty((len(patches), len(mixture)))
    for i, patch in enumerate(patches.astype(np.float64)):
        own = noise.sigma_hu[i].astype(np.float64) ** 2 * kinds.covariances[noise.noise_class[i]]
        for k, basis in enumerate(mixture.bases):
            density = multivariate_normal(mixture.means[k], basis @ basis.T + own)
            found[i, k] = np.log(mixture.weights[k]) + density.logpdf(patch)
    return found


# --------------------------------------------------------------------------------------------------------- the mixture


def test_groups_and_likelihood_are_those_of_the_density(world):
    mixture, kinds, patches, noise, _ = world
    prepared = NoisyMixture(mixture, kinds, LEVELS)
    expected = log_likelihoods(mixture, kinds, patches, noise)
    groups = prepared.classify(patches, noise)
    best = expected.max(axis=1)
    # Single precision may take one of two groups that are as likely.
    assert (best - expected[np.arange(len(patches)), groups] < 0.02).all()
    assert (groups == expected.argmax(axis=1)).mean() > 0.99
    np.testing.assert_allclose(prepared.log_likelihood(patches, noise), best, rtol=1e-4, atol=0.02)


def test_threads_share_tables_and_a_copy_for_another_process_has_none(world, monkeypatch):
    mixture, kinds, patches, noise, groups = world
    prepared, calls = NoisyMixture(mixture, kinds, LEVELS), []
    size = len(pickle.dumps(prepared))
    make = NoisyMixture._make_table

    def slow(self, noise_class):
        calls.append(noise_class)
        time.sleep(0.1)  # long enough for the other threads to ask for the same table
        return make(self, noise_class)

    monkeypatch.setattr(NoisyMixture, "_make_table", slow)
    labels = list(Threads(4).map(lambda _: prepared.classify(patches, noise), range(4)))
    estimate, _, _ = estimated(prepared, patches, noise, groups)
    assert sorted(calls) == list(range(KINDS))
    assert all((each == labels[0]).all() for each in labels)
    sent = pickle.dumps(prepared)
    assert len(sent) == size
    assert estimated(pickle.loads(sent), patches, noise, groups)[0].tobytes() == estimate.tobytes()


def test_a_value_whose_computation_failed_is_computed_again():
    once = Once()
    with pytest.raises(ZeroDivisionError):
        once.get("a", lambda: 1 // 0)
    assert [once.get("a", lambda: 1), once.get("a", lambda: 2)] == [1, 1]


def test_groups_are_told_far_from_zero_as_well(world):
    """Differences of large numbers would cost the digits of single precision."""
    mixture, kinds, patches, noise, _ = world
    groups = NoisyMixture(mixture, kinds, LEVELS).classify(patches, noise)
    far = Mixture(mixture.means + 8192, mixture.bases, mixture.weights, mixture.noise_left)
    assert (NoisyMixture(far, kinds, LEVELS).classify(patches + np.float32(8192), noise) == groups).mean() > 0.99


def test_the_estimate_of_several_groups_is_their_mean_by_shares(world):
    mixture, kinds, patches, noise, groups = world
    prepared = NoisyMixture(mixture, kinds, LEVELS)
    several = np.stack([groups, (groups + 1) % len(mixture), (groups + 2) % len(mixture)], axis=1)
    shares = np.random.default_rng(4).dirichlet(np.ones(3), len(groups)).astype(np.float32)
    shares[::3, 2] = 0
    each = [estimated(prepared, patches, noise, several[:, rank]) for rank in range(3)]
    for part, mean in enumerate(prepared.estimate(patches, noise, several, shares)):
        weights = shares.T.reshape(3, -1, *(1,) * (mean.ndim - 1))
        expected = (weights * np.stack([one[part] for one in each])).sum(axis=0)
        np.testing.assert_allclose(mean, expected, rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("noise_left", [1.0, 0.4])
def test_an_estimate_is_wieners(world, noise_left):
    mixture, kinds, patches, noise, groups = world
    mixture = Mixture(mixture.means, mixture.bases, mixture.weights, np.full(len(mixture), noise_left))
    found, kept, errors = estimated(NoisyMixture(mixture, kinds, LEVELS), patches, noise, groups)
    for i, patch in enumerate(patches.astype(np.float64)):
        k, basis = groups[i], mixture.bases[groups[i]]
        signal = basis @ basis.T
        own = noise.sigma_hu[i].astype(np.float64) ** 2 * kinds.covariances[noise.noise_class[i]]
        wiener = signal @ np.linalg.inv(signal + noise_left * own)
        expected = mixture.means[k] + wiener @ (patch - mixture.means[k])
        outlier = ((patch - expected) ** 2).mean() / noise.sigma_hu[i] ** 2
        if abs(outlier - 3) > 0.01:
            np.testing.assert_allclose(found[i], expected if outlier < 3 else patch, atol=2e-3)
        assert kept[i] == pytest.approx(np.trace(wiener), abs=1e-3)
        np.testing.assert_allclose(errors[i], np.trace(wiener) / D, atol=1e-3)


def test_with_a_pilot_each_coordinate_has_a_variance_of_its_own(world):
    mixture, kinds, patches, noise, groups = world
    prepared = NoisyMixture(mixture, kinds, LEVELS)
    pilot = patches + np.random.default_rng(8).normal(0, 9, patches.shape).astype(np.float32)
    found, kept, errors = estimated(prepared, patches, noise, groups, pilot)
    for i in range(0, len(patches), 5):
        k, kind = groups[i], noise.noise_class[i]
        whiten, colour, level = kinds.whiten[kind], kinds.colour[kind], float(noise.sigma_hu[i])
        directions, root, _ = np.linalg.svd(whiten @ mixture.bases[k], full_matrices=False)
        seen, at = (directions.T @ whiten @ (each[i] - mixture.means[k]) for each in (pilot, patches))
        signal = (root**2 + seen**2) / 2
        factors = signal / (signal + level**2)
        expected = mixture.means[k] + colour @ directions @ (factors * at)
        outlier = ((patches[i] - expected) ** 2).mean() / level**2
        if abs(outlier - 3) > 0.01:
            np.testing.assert_allclose(found[i], expected if outlier < 3 else patches[i], atol=5e-3)
        assert kept[i] == pytest.approx(factors.sum(), abs=1e-3)
        posterior = colour @ (directions * factors) @ directions.T @ colour
        np.testing.assert_allclose(errors[i], np.diag(posterior), atol=1e-3)


def test_what_stands_out_of_its_group_in_the_pilot_keeps_more(world):
    mixture, kinds, patches, noise, groups = world
    prepared = NoisyMixture(mixture, kinds, LEVELS)
    means, some = mixture.means[groups].astype(np.float32), groups == 4
    _, plain, _ = estimated(prepared, patches, noise, groups)
    _, less, _ = estimated(prepared, patches, noise, groups, means)
    _, more, _ = estimated(prepared, patches, noise, groups, means + 8 * (patches - means))
    assert (less[some] < plain[some]).all()
    assert (more[some] > plain[some]).mean() > 0.9


def test_in_a_group_without_a_basis_the_mean_is_all_that_is_left(world):
    mixture, kinds, patches, noise, groups = world
    found, kept, _ = estimated(NoisyMixture(mixture, kinds, LEVELS), patches, noise, groups)
    none = groups == 0
    stays = (found == patches).all(axis=1)
    assert stays[none].mean() < 0.05
    np.testing.assert_allclose(found[none & ~stays], mixture.means[0][None] + 0 * found[none & ~stays], rtol=1e-6)
    assert (kept[none] == 0).all()


def test_what_no_group_knows_stays_bit_by_bit(world):
    mixture, kinds, patches, noise, groups = world
    metal = patches.copy()
    metal[:, 7] += 3000
    found, _, _ = estimated(NoisyMixture(mixture, kinds, LEVELS), metal, noise, groups)
    few = np.array([basis.shape[1] for basis in mixture.bases])[groups] < 3
    np.testing.assert_array_equal(found[few], metal[few])


def candidates(mixture, groups, seed=0):
    rng = np.random.default_rng(seed)
    projection = rng.standard_normal((D, 4)).astype(np.float32)
    first = CandidateIndex(np.zeros(D, np.float32), projection, np.empty((0, 4), np.float32))
    centres = first.features(mixture.means.astype(np.float32))
    return CandidateIndex(first.mean, projection, centres, groups)


def test_full_shortlists_leave_nothing_out_and_short_ones_are_kept_to(world):
    mixture, kinds, patches, noise, _ = world
    all_groups = NoisyMixture(mixture, kinds, LEVELS).classify(patches, noise)
    full = candidates(mixture, (np.arange(len(mixture)),) * len(mixture))
    np.testing.assert_array_equal(NoisyMixture(mixture, kinds, LEVELS, full).classify(patches, noise), all_groups)
    lists = tuple(np.array([i, (i + 1) % 5]) for i in range(5))
    short = candidates(mixture, tuple(np.sort(one) for one in lists))
    found = NoisyMixture(mixture, kinds, LEVELS, short).classify(patches, noise)
    cells = short.cells(patches)
    assert all(label in lists[cell] for label, cell in zip(found, cells, strict=True))
    likely = log_likelihoods(mixture, kinds, patches, noise)
    best = np.array([lists[c][likely[i, lists[c]].argmax()] for i, c in enumerate(cells)])
    assert (found == best).mean() > 0.99


def test_no_patches_have_no_groups(world):
    mixture, kinds, patches, noise, groups = world
    prepared = NoisyMixture(mixture, kinds, LEVELS)
    assert prepared.classify(patches[:0], noise[:0]).shape == (0,)
    assert estimated(prepared, patches[:0], noise[:0], groups[:0])[0].shape == (0, D)


@settings(max_examples=50, deadline=None)
@given(low=st.floats(0.01, 100), ratio=st.floats(1, 50))
def test_levels_cover_their_range_in_steps_of_3_percent(low, ratio):
    level = np.geomspace(low, low * ratio, 30).astype(np.float32)
    levels = SigmaGrid.of(level)
    told = np.sqrt(levels.variances)[levels.index(level)]
    assert np.abs(np.log(told / level)).max() <= 0.5 * np.log(SigmaGrid.STEP) + 1e-5


# ----------------------------------------------------------------------------------------------------------- moments


def direct(patches, noise, labels, groups, kinds):
    """The moments in double precision, one group after the other."""
    d = patches.shape[1]
    means, scatter, count = np.zeros((groups, d)), np.zeros((groups, d, d)), np.zeros(groups)
    of_noise = np.zeros((groups, kinds))
    for k in range(groups):
        own = patches[labels == k].astype(np.float64)
        if len(own):
            count[k], means[k] = len(own), own.mean(axis=0)
            scatter[k] = (own - means[k]).T @ (own - means[k])
        for kind in range(kinds):
            chosen = (labels == k) & (noise.noise_class == kind)
            of_noise[k, kind] = (noise.sigma_hu[chosen].astype(np.float64) ** 2).sum()
    return Moments(count, means, scatter, of_noise)


def assert_same(a, b):
    np.testing.assert_array_equal(a.count, b.count)
    np.testing.assert_allclose(a.means, b.means, atol=1e-3)
    scale = max(float(np.abs(b.scatter).max()), 1.0)
    np.testing.assert_allclose(a.scatter, b.scatter, atol=1e-5 * scale)
    np.testing.assert_allclose(a.noise, b.noise, rtol=1e-9)


@settings(max_examples=30, deadline=None)
@given(cuts=st.lists(st.integers(0, 500), max_size=4), seed=st.integers(0, 1000), offset=st.sampled_from([0, 3000]))
def test_moments_of_any_split_add_up_to_those_of_the_whole(world, cuts, seed, offset):
    mixture, _, patches, noise, groups = world
    patches = patches + np.float32(offset)
    # One group more than there is, so that one is empty; and by a random order, so that any part may miss any group.
    order = np.random.default_rng(seed).permutation(len(patches))
    count = len(mixture) + 1
    edges = [0, *sorted(cuts), len(patches)]
    parts = [order[a:b] for a, b in pairwise(edges)]
    total = moments_of(patches[parts[0]], noise[parts[0]], groups[parts[0]], count, KINDS)
    for part in parts[1:]:
        total = total + moments_of(patches[part], noise[part], groups[part], count, KINDS)
    assert_same(total, direct(patches, noise, groups, count, KINDS))


def test_a_weight_of_three_is_that_of_three_patches(world):
    mixture, _, patches, noise, groups = world
    weights = np.random.default_rng(5).integers(0, 4, len(patches))
    again = np.repeat(np.arange(len(patches)), weights)
    weighted = moments_of(patches, noise, groups, len(mixture), KINDS, weights.astype(np.float32))
    assert_same(weighted, direct(patches[again], noise[again], groups[again], len(mixture), KINDS))


def test_weighted_rows_have_the_weighted_scatter(world):
    mixture, kinds, patches, noise, groups = world
    weights = np.random.default_rng(6).uniform(0.03, 1, len(patches)).astype(np.float32)
    moments = moments_of(patches, noise, groups, len(mixture), KINDS, weights)
    for k in range(len(mixture)):
        own = groups == k
        rows = whitened_rows(patches[own], weights[own], moments, k, kinds).astype(np.float64)
        whiten, _ = kinds.roots(moments.mean_noise[k])
        np.testing.assert_allclose(rows.T @ rows, whiten @ moments.scatter[k] @ whiten, rtol=1e-3, atol=1e-2)


def test_responsibilities_are_those_of_the_densities(world):
    mixture, kinds, patches, noise, _ = world
    most = 3
    groups, shares = NoisyMixture(mixture, kinds, LEVELS).responsibilities(patches, noise, most)
    density = np.array(
        [
            [
                np.log(mixture.weights[k])
                + multivariate_normal(
                    mixture.means[k],
                    mixture.bases[k] @ mixture.bases[k].T + float(level) ** 2 * kinds.covariances[kind],
                ).logpdf(patch)
                for k in range(len(mixture))
            ]
            for patch, level, kind in zip(patches, noise.sigma_hu, noise.noise_class, strict=True)
        ]
    )
    order = np.argsort(-density, axis=1)[:, :most]
    expected = np.exp(np.take_along_axis(density, order, 1) - density.max(axis=1, keepdims=True))
    expected /= expected.sum(axis=1, keepdims=True)
    assert (groups[:, 0] == order[:, 0]).mean() > 0.99
    np.testing.assert_allclose(shares.sum(axis=1), 1, atol=1e-5)
    assert not ((shares > 0) & (shares < 0.03)).any()
    same = (groups == order).all(axis=1)
    assert same.mean() > 0.95
    np.testing.assert_allclose(shares[same], expected[same], atol=0.06)


def test_one_group_has_all_of_a_patch(world):
    mixture, kinds, patches, noise, _ = world
    one = Mixture(mixture.means[:1], mixture.bases[:1], np.ones(1), np.ones(1))
    groups, shares = NoisyMixture(one, kinds, LEVELS).responsibilities(patches, noise, 3)
    assert groups.shape == shares.shape == (len(patches), 1)
    assert (groups == 0).all()
    assert (shares == 1).all()


@pytest.mark.parametrize("count", [1, 2, 7, 60])
def test_cells_part_the_points_along_the_widest_line(count):
    rng = np.random.default_rng(7)
    points = (rng.standard_normal((5000, 4)) * [9, 3, 1, 0.1]).astype(np.float32)
    centres = split(points, count)
    assert centres.shape == (count, 4)
    assert len(np.unique(centres, axis=0)) == count
    if count > 1:
        assert np.ptp(centres[:, 0]) > 5


def test_a_few_points_that_move_hardly_move_the_cells():
    rng = np.random.default_rng(8)
    points = (rng.standard_normal((20_000, 6)) * [9, 5, 3, 2, 1, 1]).astype(np.float32)
    moved = points.copy()
    moved[::2000] += 4
    cells, again = split(points, 40), split(moved, 40)
    apart = np.linalg.norm(cells[:, None] - again[None], axis=2).min(axis=1)
    # Where a start is random, two starts differ by as much as cells are wide.
    starts = [kmeans(points, 40, np.random.default_rng(seed)) for seed in (0, 1)]
    other = np.linalg.norm(starts[0][:, None] - starts[1][None], axis=2).min(axis=1)
    assert np.median(apart) < 0.5 * np.median(other)


@pytest.mark.parametrize("points", [np.ones((50, 3)), np.zeros((1, 3)), np.eye(3)])
def test_there_are_no_more_cells_than_points_that_differ(points):
    centres = split(points.astype(np.float32), 10)
    assert 1 <= len(centres) <= len(np.unique(points, axis=0))
    assert np.isfinite(centres).all()


RULE = Rule(smallest=30)


@pytest.mark.parametrize(
    "rule", [RULE, Rule(rank=3, smallest=30), Rule(overfit_slope=2.0, overfit_threshold=0.05, smallest=30)]
)
def test_moments_and_the_svd_of_whitened_rows_tell_the_same_mixture(world, rule):
    mixture, kinds, patches, noise, groups = world
    moments = moments_of(patches, noise, groups, len(mixture), KINDS)
    from_moments = mixture_from_moments(moments, kinds, rule)
    factors = []
    for k in range(len(mixture)):
        own = groups == k
        rows = whitened_rows(patches[own], np.ones(own.sum(), np.float32), moments, k, kinds)
        _, s, vt = np.linalg.svd(rows.astype(np.float64), full_matrices=False)
        factors.append((s**2 / len(rows), vt.T))
    from_factors = mixture_from_factors(moments, factors, kinds, rule)
    np.testing.assert_array_equal(from_moments.means, from_factors.means)
    np.testing.assert_array_equal(from_moments.weights, from_factors.weights)
    np.testing.assert_allclose(from_moments.noise_left, from_factors.noise_left, atol=1e-4)
    assert any(left < 1 for left in from_moments.noise_left) == (rule.overfit_slope > 0)
    for a, b in zip(from_moments.bases, from_factors.bases, strict=True):
        assert a.shape == b.shape
        assert a.shape[1] <= rule.rank
        np.testing.assert_allclose(a @ a.T, b @ b.T, atol=2e-4 * max(1, np.abs(a @ a.T).max(initial=0)))


def test_a_group_of_few_patches_is_nobodys(world):
    mixture, kinds, patches, noise, groups = world
    moments = moments_of(patches, noise, np.where(groups == 2, 1, groups), len(mixture), KINDS)
    found = mixture_from_moments(moments, kinds, RULE)
    assert found.bases[2].shape == (D, 0)
    assert not (NoisyMixture(found, kinds, LEVELS).classify(patches, noise) == 2).any()


@dataclass(frozen=True)
class Here:
    sample: Sample

    def load(self):
        return self.sample


def test_a_known_mixture_is_found_again():
    """The truth is the best that can be said of patches that nobody has seen; what was learnt comes near."""
    rng = np.random.default_rng(11)
    kinds = NoiseCovariances(np.array([spread(rng) for _ in range(KINDS)]))
    truth = made_mixture(rng, ranks=(0, 1, 2, 3))
    patches, noise, _ = drawn(truth, kinds, 6000, rng)
    test, its_noise, _ = drawn(truth, kinds, 1500, rng)
    parts = [Here(Sample(patches[a : a + 1500], noise[a : a + 1500])) for a in range(0, 6000, 1500)]
    learnt = fit(parts, 4, 6, kinds, Rule(), Threads(1), np.random.default_rng(0))
    known = NoisyMixture(truth, kinds, LEVELS).log_likelihood(test, its_noise).mean()
    one = fit(parts, 1, 6, kinds, Rule(rank=0), Threads(1), np.random.default_rng(0))
    told = learnt.log_likelihood(test, its_noise).mean()
    assert known - 1 < told < known + 0.01
    assert one.log_likelihood(test, its_noise).mean() < known - 20
    again = fit(parts, 4, 6, kinds, Rule(), Threads(3), np.random.default_rng(0))
    for a, b in zip(learnt.mixture.bases, again.mixture.bases, strict=True):
        assert a.tobytes() == b.tobytes()
    assert learnt.mixture.means.tobytes() == again.mixture.means.tobytes()


def test_parts_in_files_teach_the_same_as_parts_in_memory(world, tmp_path):
    mixture, kinds, patches, noise, _ = world
    sample = Sample(patches, noise, patches + 1)
    prepared = NoisyMixture(mixture, kinds, LEVELS)
    file = write_part(sample, tmp_path / "part.npz")
    for of_pilot in (True, False):
        a, b = (
            sum_moments([part], prepared, len(mixture), KINDS, Threads(1), of_pilot=of_pilot)
            for part in (Here(sample), file)
        )
        assert a.scatter.tobytes() == b.scatter.tobytes()
        assert a.means.tobytes() == b.means.tobytes()
    np.testing.assert_array_equal(file.load().pilot, patches + 1)
