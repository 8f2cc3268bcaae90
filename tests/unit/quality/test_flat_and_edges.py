"""Noise of a known spectrum and edges of a known width, and what is found of them."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage, special

from ctmahout.quality import Edges, FlatRegions, NoisePower, sample_slices

SPACING = (0.7, 0.7)
WIDTH = 2 * special.ndtri(0.9)


def spectrum(frequency):
    """Of filtered back-projection: a ramp under a window, HU^2 mm^2."""
    return 400.0 * frequency * np.exp(-((frequency / 0.35) ** 2))


def noise(shape, spacing, power=spectrum, seed=0):
    """Gaussian noise of a radial power spectrum, periodic, independent from slice to slice."""
    _, rows, columns = shape
    f = np.hypot(np.fft.fftfreq(rows, spacing[0])[:, None], np.fft.fftfreq(columns, spacing[1])[None])
    white = np.random.default_rng(seed).standard_normal(shape)
    amplitude = np.sqrt(power(f) / (spacing[0] * spacing[1]))
    return np.fft.ifft2(np.fft.fft2(white) * amplitude).real.astype(np.float32)


def everywhere(hu):
    return np.ones(hu.shape, np.bool_)


@pytest.mark.parametrize("spacing", [SPACING, (1.4, 1.4), (1.0, 0.5)])
def test_the_power_spectrum_of_noise_is_the_one_it_was_made_with(spacing):
    hu = noise((24, 192, 192), spacing)
    found = FlatRegions.of(hu, everywhere(hu)).power(hu, spacing)
    truth = spectrum(found.frequency_per_mm)
    # The lowest ring has lost something to the plane that is taken off, the others are blurred by the regions' size.
    assert found.power_hu2_mm2[1:] == pytest.approx(truth[1:], rel=0.12, abs=0.02 * truth.max())
    assert np.all(np.diff(found.frequency_per_mm) > 0)
    assert found.frequency_per_mm[-1] <= 0.52 / max(spacing)
    mean = np.sum(found.frequency_per_mm * truth * found.frequency_per_mm) / np.sum(truth * found.frequency_per_mm)
    assert found.mean_frequency == pytest.approx(mean, rel=0.03)


def test_the_sd_is_that_of_the_noise_whatever_planes_lie_under_it():
    hu = noise((12, 128, 128), SPACING)
    z, y, x = np.mgrid[:12, :128, :128]
    sloped = (hu + 0.8 * x - 0.3 * y + 5 * z).astype(np.float32)
    regions = FlatRegions.of(hu, everywhere(hu))
    assert regions.sd(hu) == pytest.approx(hu.std(), rel=0.05)
    assert regions.sd(sloped) == pytest.approx(regions.sd(hu), rel=1e-4)
    assert regions.sd(3 * hu) == pytest.approx(3 * regions.sd(hu), rel=1e-4)


def test_regions_lie_in_the_mask_and_away_from_anatomy():
    hu = noise((12, 160, 160), SPACING)
    # Rods that run through all slices in the left half, a hole in the mask at the upper right.
    rods = np.zeros((160, 160))
    rods[::9, :80] = 300.0
    hu += ndimage.gaussian_filter(rods, 1).astype(np.float32)
    mask = everywhere(hu)
    mask[:, :40, 120:] = False
    regions = FlatRegions.of(hu, mask)
    n = regions.side
    assert all(mask[z, y : y + n, x : x + n].all() for z, y, x in regions.corners)
    assert np.mean(regions.corners[:, 2] >= 64) > 0.95


def test_noise_has_no_say_in_where_it_is_measured():
    """Of independent slices, the regions chosen are as noisy as all others, not the quietest."""
    hu = noise((30, 128, 128), SPACING, seed=4)
    chosen = FlatRegions.of(hu, everywhere(hu))
    every = np.array([(z, y, x) for z in range(30) for y in range(0, 96, 32) for x in range(0, 96, 32)])
    assert chosen.sd(hu) == pytest.approx(FlatRegions(every, 32).sd(hu), rel=0.02)


def test_noise_that_is_alike_in_neighbouring_slices_is_measured_in_full():
    """As a method on several slices at a time leaves it; differences between slices would show less than half of it."""
    before = noise((30, 128, 128), SPACING, seed=5)
    left = ndimage.uniform_filter1d(before, 3, axis=0)
    found = FlatRegions.of(before, everywhere(before)).sd(left)
    assert found == pytest.approx(left.std(), rel=0.1)


@pytest.mark.parametrize("shape", [(1, 64, 64), (2, 40, 200), (3, 8, 8), (5, 9, 31)])
def test_small_volumes_give_a_figure_or_none(shape):
    hu = noise(shape, SPACING)
    regions = FlatRegions.of(hu, everywhere(hu))
    assert regions is None or np.isfinite(regions.sd(hu))
    assert FlatRegions.of(hu, ~everywhere(hu)) is None


def test_without_noise_there_is_no_power_and_no_distance():
    hu = np.full((4, 64, 64), 40.0, np.float32)
    regions = FlatRegions.of(hu, everywhere(hu))
    power = regions.power(hu, SPACING)
    assert regions.sd(hu) == 0
    assert power.mean_frequency is None
    assert power.distance(power) is None


def powers(values):
    return NoisePower(np.arange(1.0, len(values) + 1), np.array(values))


SPECTRA = st.lists(st.floats(0.01, 1e4), min_size=8, max_size=8).map(powers)


@given(SPECTRA, SPECTRA, SPECTRA, st.floats(0.01, 100))
@settings(max_examples=60, deadline=None)
def test_the_distance_of_spectra_is_a_distance_of_shapes(a, b, c, level):
    assert 0 <= a.distance(b) <= 1
    assert a.distance(b) == pytest.approx(b.distance(a))
    assert a.distance(b) <= a.distance(c) + c.distance(b) + 1e-12
    assert a.distance(NoisePower(a.frequency_per_mm, level * a.power_hu2_mm2)) == pytest.approx(0, abs=1e-12)


def test_spectra_without_a_frequency_in_common_are_as_far_apart_as_can_be():
    assert powers([1, 0, 0, 0]).distance(powers([0, 0, 3, 1])) == pytest.approx(1)


# ------------------------------------------------------------------------------------------------------------- edges


def discs(sd_mm, spacing, step=900.0, z=6, side_mm=130.0):
    """Discs in a lower surround, their rims blurred by a Gaussian, each slice another."""
    rows, columns = (round(side_mm / s) for s in spacing)
    y, x = np.meshgrid(np.arange(rows) * spacing[0], np.arange(columns) * spacing[1], indexing="ij")
    image = np.stack(
        [np.hypot(y - side_mm / 2 - 0.3 * k, x - side_mm / 2 + 0.2 * k) - (30 + 1.7 * k) for k in range(z)]
    )
    return (-860 + step * special.ndtr(-image / sd_mm)).astype(np.float32)


@pytest.mark.parametrize("spacing", [(0.7, 0.7), (1.5, 1.5), (0.8, 0.6)])
@pytest.mark.parametrize("pixels", [0.6, 1.0, 1.4])
@pytest.mark.parametrize(("step", "kind"), [(900.0, "strong"), (150.0, "weak")])
def test_an_edge_has_the_width_it_was_made_with(spacing, pixels, step, kind):
    sd_mm = pixels * np.sqrt(spacing[0] * spacing[1])
    hu = discs(sd_mm, spacing, step)
    widths = Edges.of(hu, everywhere(hu), spacing).widths_mm(hu)
    # Splines blur what is as sharp as pixels can show.
    assert widths[kind] == pytest.approx(WIDTH * sd_mm, rel=0.02 if pixels >= 1 else 0.06)
    assert widths["weak" if kind == "strong" else "strong"] is None


def test_noise_does_not_change_the_width_of_edges_that_are_known():
    hu = discs(0.8, SPACING)
    edges = Edges.of(hu, everywhere(hu), SPACING)
    noisy = hu + noise(hu.shape, SPACING)
    assert edges.widths_mm(noisy)["strong"] == pytest.approx(edges.widths_mm(hu)["strong"], rel=0.02)


def test_edges_found_in_a_result_do_not_flatter_it():
    """A source with noise is as sharp as the truth of it, at edges found in the truth, a little less noisy, or it."""
    truth = discs(0.8, SPACING)
    n = noise(truth.shape, SPACING)
    for left in (0.0, 0.2, 1.0):
        result = truth + left * n
        edges = Edges.of(result, everywhere(result), SPACING)
        assert edges.widths_mm(truth + n)["strong"] == pytest.approx(WIDTH * 0.8, rel=0.05)


def test_a_blur_adds_its_own_width():
    hu = discs(0.8, SPACING)
    edges = Edges.of(hu, everywhere(hu), SPACING)
    blurred = ndimage.gaussian_filter(hu, (0, 1.0, 1.0))
    assert edges.widths_mm(blurred)["strong"] == pytest.approx(WIDTH * np.hypot(0.8, 0.7), rel=0.04)


def test_no_edges_no_widths():
    for hu in (np.zeros((3, 64, 64), np.float32), noise((3, 64, 64), SPACING), np.zeros((1, 4, 4), np.float32)):
        assert Edges.of(hu, everywhere(hu), SPACING).widths_mm(hu) == {"strong": None, "weak": None}
    hu = discs(0.8, SPACING)
    assert Edges.of(hu, ~everywhere(hu), SPACING).widths_mm(hu) == {"strong": None, "weak": None}
    # Where the edges were there is nothing any more.
    gone = Edges.of(hu, everywhere(hu), SPACING).widths_mm(np.zeros_like(hu))
    assert gone == {"strong": None, "weak": None}


@given(st.integers(1, 3000))
@settings(deadline=None)
def test_sampled_slices_are_slices_and_reach_from_end_to_end(count):
    found = sample_slices(count)
    assert 1 <= len(found) <= 40
    assert found[0] == 0
    assert found[-1] == count - 1
    assert np.all(np.diff(found) > 0)
    assert len(found) == count or len(found) == 40
