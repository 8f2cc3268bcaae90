import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ctmahout import ConfigError, choose_rank
from ctmahout.denoising.strength import Strength


def choose(s, strength, rows=1000, columns=None, noise_sd=None):
    s = np.asarray(s, float)
    return choose_rank(
        s, strength, rows=rows, columns=columns or s.size, squared_norm=float(np.sum(s**2)), noise_sd=noise_sd
    )


spectra = st.lists(st.floats(1e-3, 1e6), min_size=1, max_size=40).map(lambda x: np.sort(x)[::-1])


@given(spectra, st.integers(1, 40))
def test_rank_keeps_the_first(s, n):
    if n > s.size:
        with pytest.raises(ConfigError):
            choose(s, f"rank:{n}")
    else:
        assert choose(s, f"rank:{n}").weights.tolist() == [1.0] * n + [0.0] * (s.size - n)


@given(spectra, st.floats(0.01, 1.0))
def test_energy_keeps_the_fewest_that_hold_it(s, share):
    choice = choose(s, Strength("energy", share))
    total = np.sum(s**2)
    assert np.sum(s[: choice.rank] ** 2) >= share * total * (1 - 1e-9)
    assert np.sum(s[: choice.rank - 1] ** 2) < share * total
    assert choice.energy >= share * (1 - 1e-9)


def test_energy_beyond_what_was_computed_keeps_all_and_says_so():
    choice = choose_rank(np.array([3.0, 1.0]), "energy:0.99", rows=9, columns=5, squared_norm=100.0)
    assert choice.rank == 2
    assert "raise k" in choice.warnings[0]


@pytest.mark.parametrize(("percent", "kept"), [(0, 20), (10, 18), (50, 10), (99.9, 1)])
def test_drop_drops_a_share_of_the_components(percent, kept):
    assert choose(np.arange(20, 0, -1), f"drop:{percent}%").rank == kept


def test_auto_finds_the_rank_and_comes_closer_to_the_truth_than_any_truncation():
    rng = np.random.default_rng(5)
    m, n, rank, sd = 4000, 60, 5, 2.0
    truth = rng.normal(size=(m, rank)) @ (np.array([9, 7, 5, 4, 3])[:, None] * rng.normal(size=(rank, n)) / 4)
    noisy = truth + sd * rng.normal(size=(m, n))
    u, s, vt = np.linalg.svd(noisy, full_matrices=False)
    choice = choose_rank(s, "auto", rows=m, columns=n, squared_norm=float(np.sum(s**2)), noise_sd=sd)
    assert choice.rank == rank
    error = np.linalg.norm((u * s * choice.weights) @ vt - truth)
    truncated = min(np.linalg.norm((u[:, :r] * s[:r]) @ vt[:r] - truth) for r in range(1, n + 1))
    assert error < truncated


def test_auto_keeps_all_of_what_has_no_noise():
    assert choose([3.0, 2.0, 0.1], "auto", noise_sd=0.0).weights.tolist() == [1.0, 1.0, 1.0]


def test_auto_says_when_k_ended_before_the_noise_began():
    choice = choose([300.0, 200.0], "auto", rows=100, columns=50, noise_sd=1.0)
    assert "raise k" in choice.warnings[0]


@given(spectra, st.floats(1e-3, 1e3))
def test_weights_lie_between_0_and_1_and_fall(s, sd):
    weights = choose(s, "auto", noise_sd=sd).weights
    assert np.all((weights >= 0) & (weights <= 1))
    assert np.all(np.diff(weights) <= 1e-12)


@pytest.mark.parametrize(
    "text",
    ["", "rank", "rank:0", "rank:-1", "rank:1.5", "energy:0", "energy:1.1", "drop:100%", "drop:10", "best"],
)
def test_a_strength_of_no_known_form_is_refused(text):
    with pytest.raises(ConfigError) as e:
        Strength.parse(text)
    assert e.value.code == "CTM_CONFIG_VALUE"


@pytest.mark.parametrize(
    ("text", "label"),
    [
        ("auto", "auto"),
        ("rank:20", "rank-20"),
        ("energy:0.990", "energy-0.99"),
        ("drop:10%", "drop-10"),
        ("rank:1000000", "rank-1000000"),
    ],
)
def test_labels_are_fit_for_folder_names(text, label):
    assert Strength.parse(text).label == label
