import numpy as np
import pytest

from ctmahout import read_series
from ctmahout.phantom import make_phantom
from ctmahout.quality import tissues
from ctmahout.workflows.phantom import write_phantom

SMALL = {"size": 96, "slices": 6, "extent_mm": 18.0}


@pytest.fixture(scope="module")
def phantom():
    return make_phantom(**SMALL, dose=0.1, seed=3)


def test_the_same_seed_gives_the_same_bits_and_another_another_chest(phantom):
    again = make_phantom(**SMALL, dose=0.1, seed=3)
    assert np.array_equal(phantom.noisy.hu, again.noisy.hu)
    assert np.array_equal(phantom.clean.hu, again.clean.hu)
    assert not np.array_equal(phantom.clean.hu, make_phantom(**SMALL, seed=4).clean.hu)


def test_the_dose_changes_the_noise_and_nothing_else(phantom):
    more = make_phantom(**SMALL, dose=0.4, seed=3)
    assert np.array_equal(phantom.clean.hu, more.clean.hu)
    soft = tissues(phantom.clean.hu)["soft"]
    low, high = ((p.noisy.hu - p.clean.hu)[soft].std() for p in (phantom, more))
    assert low / high == pytest.approx(2.0, rel=0.2)


def test_noise_has_no_mean_and_is_independent_from_slice_to_slice(phantom):
    noise = (phantom.noisy.hu - phantom.clean.hu)[:, 30:66, 30:66]
    assert abs(noise.mean()) < noise.std() / 10
    assert abs(np.corrcoef(noise[:-1].ravel(), noise[1:].ravel())[0, 1]) < 0.1
    # In a slice, filtered back-projection makes neighbours depend on each other.
    assert abs(np.corrcoef(noise[:, :, :-1].ravel(), noise[:, :, 1:].ravel())[0, 1]) > 0.1


def test_tissues_have_the_hu_of_a_chest(phantom):
    hu = phantom.clean.hu
    found = tissues(hu)
    assert hu[:, 3:8, 40:56].mean() == pytest.approx(-1000, abs=60)  # above the chest
    assert hu[found["lung"]].mean() == pytest.approx(-830, abs=60)
    assert 20 < hu[found["soft"]].mean() < 110
    assert hu[found["bone"]].mean() > 250
    for name in ("lung", "soft", "bone"):
        assert found[name].mean() > 0.005


def test_the_series_reads_back_without_a_doubt(phantom, tmp_path):
    folders = write_phantom(tmp_path / "phantom", **SMALL, dose=0.1, seed=3)
    for name, volume in (("noisy", phantom.noisy), ("clean", phantom.clean)):
        read = read_series(folders[name])
        assert read.warnings == ("The source is simulated.",)
        assert np.max(np.abs(read.hu - volume.hu)) <= 0.5
        assert read.geometry.spacing_mm == pytest.approx(3.0)
        np.testing.assert_allclose(read.geometry.positions_mm, volume.geometry.positions_mm, atol=1e-3)


def test_writing_twice_gives_the_same_bytes(tmp_path):
    trees = []
    for name in ("a", "b"):
        write_phantom(tmp_path / name, size=48, slices=2, seed=1)
        trees.append({f.relative_to(tmp_path / name): f.read_bytes() for f in (tmp_path / name).rglob("*.dcm")})
    assert trees[0] == trees[1]
    assert len(trees[0]) == 4
