"""The noise of every voxel, blind: against noise that is known, for it was put in."""

from itertools import pairwise

import numpy as np
import pytest
from scipy import ndimage

from ctmahout.denoising.noise import NoiseModel, Unmeasurable, estimate_noise
from ctmahout.denoising.noise.grid import block_mean, upsample
from ctmahout.denoising.noise.projection import MU_WATER, SECTORS, variance_by_direction
from ctmahout.denoising.patches.grid import covariance_of
from ctmahout.dicom import read_series
from ctmahout.phantom import make_phantom
from ctmahout.quality import FlatRegions, tissues_from_neighbours


def ratio(model, added, clean):
    """Quantiles 5, 50 and 95 % of the SD found over the true one, inside the body.

    The true SD is that of a neighbourhood of 9 x 17 x 17 voxels: for a single voxel there is none.
    """
    true = np.sqrt(ndimage.uniform_filter(np.square(added, dtype=np.float64), (9, 17, 17)))
    body = ndimage.binary_erosion(ndimage.gaussian_filter(clean, (0, 2, 2)) > -400, np.ones((1, 9, 9)))
    return np.quantile((model.sigma_hu(0, len(added), *added.shape[1:]) / true)[body], [0.05, 0.5, 0.95])


def found(volume, **options):
    return estimate_noise(volume.hu, volume.geometry.pixel_spacing_mm, **options)


# ------------------------------------------------------------------------------------------------- of a simulated scan


@pytest.fixture(scope="module")
def model(phantom):
    return found(phantom.noisy)


def test_the_map_of_a_low_dose_scan(phantom, model):
    low, median, high = ratio(model, phantom.noisy.hu - phantom.clean.hu, phantom.clean.hu)
    assert median == pytest.approx(1, abs=0.05)
    assert low > 0.8
    assert high < 1.2


def test_the_map_of_a_scan_with_finer_pixels():
    made = make_phantom(size=256, slices=24, dose=0.1)
    low, median, high = ratio(found(made.noisy), made.noisy.hu - made.clean.hu, made.clean.hu)
    assert median == pytest.approx(1, abs=0.05)
    assert low > 0.8
    assert high < 1.2


def test_with_little_noise_the_map_is_too_high_but_not_too_low():
    """Coarse pixels, thick slices, a quarter of the dose: anatomy leaks into what differs between slices."""
    made = make_phantom(size=160, slices=24, dose=0.25)
    low, median, high = ratio(found(made.noisy), made.noisy.hu - made.clean.hu, made.clean.hu)
    assert 0.95 < median < 1.2
    assert 0.8 < low < high < 1.4


@pytest.mark.parametrize("seed", [0, 1])
def test_the_map_where_noise_and_anatomy_have_the_same_frequencies(seed):
    """A smooth kernel at full dose: anatomy has half of the power in the flattest windows."""
    made = make_phantom(size=160, slices=16, dose=1.0, scanner="smooth", seed=seed)
    _, median, _ = ratio(found(made.noisy), made.noisy.hu - made.clean.hu, made.clean.hu)
    assert 0.9 < median < 1.15


@pytest.mark.parametrize(("scanner", "at_the_skin"), [("off-centre", 0.88), ("bowtie", 0.5)])
def test_the_map_holds_for_the_periphery_of_a_body(scanner, at_the_skin):
    """By depth in pixels below the skin, where a bow tie leaves few photons on one side of it or all around."""
    made = make_phantom(size=128, slices=12, dose=0.1, scanner=scanner, sigma=True)
    ratio = found(made.noisy).sigma_hu(0, *made.noisy.shape) / made.sigma_hu
    body = [ndimage.binary_fill_holes(image) for image in ndimage.gaussian_filter(made.clean.hu, (0, 2, 2)) > -400]
    depth = np.stack([ndimage.distance_transform_edt(image) for image in body])
    depth[(made.clean.hu < -150) | (made.clean.hu > 200)] = 0
    medians = [np.median(ratio[(depth > low) & (depth <= low + 4)]) for low in (0, 4, 8)]
    assert medians[0] > at_the_skin
    assert min(medians[1:]) > 0.82
    assert max(medians) < 1.1


def test_sd_is_in_proportion_to_the_noise(phantom, model):
    """Half of the noise on the same anatomy."""
    half = estimate_noise((phantom.noisy.hu + phantom.clean.hu) / 2, phantom.noisy.geometry.pixel_spacing_mm)
    assert np.median(np.exp(half.log_sigma - model.log_sigma)) == pytest.approx(0.5, abs=0.08)


def correlation(noise, dy, dx):
    a = noise[:, max(0, dy) :, max(0, dx) :]
    b = noise[:, : noise.shape[1] - dy, : noise.shape[2] - dx]
    return float((a * b).mean() / (noise**2).mean())


def test_noise_is_streaked_along_the_rays_that_are_noisiest(phantom, model):
    """Between lungs and back rays through the shoulders dominate; at the sides those along the ribs."""
    noise = np.asarray(phantom.noisy.hu - phantom.clean.hu, np.float64)
    for y, x in ((80, 80), (60, 80), (100, 40), (100, 120), (50, 40), (50, 120)):
        own = noise[:, y - 10 : y + 10, x - 10 : x + 10]
        share = model.sector_share[:, :, y // model.cell, x // model.cell].mean(axis=1)
        told = np.tensordot(share, model.autocovariance, 1)
        across, down = correlation(own, 0, 1), correlation(own, 1, 0)
        assert abs(across - down) > 0.25  # else there is nothing to tell here
        assert told[16, 17] == pytest.approx(across, abs=0.14)
        assert told[17, 16] == pytest.approx(down, abs=0.14)


def test_shares_sum_up_to_one_and_autocovariances_are_even(model):
    np.testing.assert_allclose(model.sector_share.sum(axis=0), 1, rtol=1e-5)
    assert (model.sector_share >= 0).all()
    np.testing.assert_allclose(model.autocovariance, model.autocovariance[:, ::-1, ::-1], atol=1e-9)
    for share in np.moveaxis(model.sector_share[:, 12, ::16, ::16].reshape(SECTORS, -1), 1, 0):
        told = covariance_of(np.tensordot(share, model.autocovariance, 1), model.z_correlation, (3, 5, 5))
        assert np.linalg.eigvalsh(told).min() > -0.05


def test_threads_and_runs_give_the_same_bits(phantom, model):
    for threads in (1, 3):
        again = found(phantom.noisy, threads=threads)
        for name in ("log_sigma", "sector_share", "autocovariance"):
            assert getattr(again, name).tobytes() == getattr(model, name).tobytes()
        assert (again.z_correlation, again.info) == (model.z_correlation, model.info)


# ------------------------------------------------------------------------------------------------ of noise made up here


N = 160


def disc(value=40.0):
    """A slice of tissue in air, with a soft border as a scanner would show it."""
    y, x = np.mgrid[:N, :N] - (N - 1) / 2
    return ndimage.gaussian_filter(np.where(np.hypot(y, x) < 65, value, -1000.0), 1.0)


def noise_along_z(weights, seed=0, across=0.0):
    """Noise of SD 20 HU with this correlation along z."""
    white = np.random.default_rng(seed).standard_normal((24 + len(weights), N, N))
    white = ndimage.gaussian_filter(white, (0, across, across))
    noise = ndimage.correlate1d(white, np.array(weights, float), axis=0)[len(weights) // 2 :][:24]
    return (20 * noise / noise.std()).astype(np.float32)


@pytest.mark.parametrize(
    ("weights", "expected", "overlap"),
    [
        ([1], (0, 0), 0.0),
        ([1, 2, 1], (2 / 3, 1 / 6), 0.0),
        ([1, 1], (0.5, 0), 0.5),
        ([1, 1, 1], (2 / 3, 1 / 3), 2 / 3),
        ([1, 1, 1, 1], (3 / 4, 1 / 2), 3 / 4),
        ([1, 1, 1], (2 / 3, 1 / 3), 0.0),  # nobody knows that they overlap
    ],
    ids=["white", "1-2-1", "half", "two thirds", "three quarters", "two thirds unknown"],
)
def test_likeness_along_z(weights, expected, overlap):
    added = noise_along_z(weights, across=0.7)
    made = estimate_noise(disc().astype(np.float32) + added, (2.0, 2.0), overlap=overlap)
    assert made.z_correlation == pytest.approx(expected, abs=0.04)
    low, median, high = ratio(made, added, np.broadcast_to(disc(), added.shape))
    # Noise without a shape of physics is found 4 to 8 % low: of windows the quiet ones are taken.
    assert median == pytest.approx(1, abs=0.1)
    assert low > 0.8
    assert high < 1.2


@pytest.mark.parametrize("sigma", [2.0, 3.0])
def test_a_texture_without_noise_is_no_noise(sigma):
    texture = ndimage.gaussian_filter(np.random.default_rng(1).standard_normal((24, N, N)), sigma)
    hu = (disc() + 15 * texture / texture.std()).astype(np.float32)
    assert estimate_noise(hu, (2.0, 2.0)) is None


@pytest.mark.parametrize("sd", [5.0, 20.0])
def test_noise_in_a_texture_is_found(sd):
    texture = ndimage.gaussian_filter(np.random.default_rng(1).standard_normal((24, N, N)), 2.0)
    added = noise_along_z([1], across=0.7) * np.float32(sd / 20)
    hu = (disc() + 15 * texture / texture.std()).astype(np.float32) + added
    made = estimate_noise(hu, (2.0, 2.0))
    assert ratio(made, added, np.broadcast_to(disc(), added.shape))[1] == pytest.approx(1, abs=0.35)


def test_a_clean_scan_has_no_noise(phantom):
    assert found(phantom.clean) is None


def test_a_full_dose_scan_has_some():
    """The few windows that hold an edge must not outvote the others."""
    made = make_phantom(size=160, slices=24, dose=1.0)
    assert found(made.noisy) is not None


# ------------------------------------------------------------------------------------------------------------ awkward


@pytest.mark.parametrize(
    "part",
    [np.s_[:, :151, :97], np.s_[:, 9:106, :152], np.s_[4:15, 40:125, 11:150], np.s_[:, 20:140:2, :]],
    ids=["odd", "wide", "cut", "oblong"],
)
def test_sizes_and_pixels(phantom, part):
    noisy, clean = phantom.noisy.hu[part], phantom.clean.hu[part]
    pixel = phantom.noisy.geometry.pixel_spacing_mm[0]
    made = estimate_noise(np.ascontiguousarray(noisy), (pixel * (part[1].step or 1), pixel))
    assert made.sigma_hu(0, 1, *noisy.shape[1:]).shape == (1, *noisy.shape[1:])
    low, median, high = ratio(made, noisy - clean, clean)
    assert median == pytest.approx(1, abs=0.1)
    assert 0.75 < low < high < 1.35


@pytest.mark.parametrize("slices", [2, 3, 5])
def test_few_slices(phantom, slices):
    part = np.s_[10 : 10 + slices]
    made = estimate_noise(phantom.noisy.hu[part], phantom.noisy.geometry.pixel_spacing_mm)
    median = ratio(made, (phantom.noisy.hu - phantom.clean.hu)[part], phantom.clean.hu[part])[1]
    assert 0.9 < median < 1.4  # anatomy counts as noise, too, where there is little to compare with


@pytest.mark.parametrize("value", [-1000.0, 0.0, 40.0, 3071.0])
@pytest.mark.parametrize("shape", [(2, 16, 16), (8, 64, 64), (3, 33, 90)])
def test_a_constant_volume_has_none(value, shape):
    assert estimate_noise(np.full(shape, value, np.float32), (1.0, 1.0)) is None


@pytest.mark.parametrize(("level", "name"), [(-1000, "image"), (-850, "lung"), (40, "soft tissue"), (900, "body")])
def test_it_is_measured_in_what_there_is(level, name):
    hu = np.random.default_rng(2).normal(level, 10, (8, 64, 64)).astype(np.float32)
    made = estimate_noise(hu, (1.0, 1.0))
    assert made.info["measured_in"] == name
    assert np.exp(np.median(made.log_sigma)) == pytest.approx(10, rel=0.15)


def test_little_soft_tissue_is_enough():
    """Two islands of 24 pixels in lung."""
    clean = np.full((12, 128, 128), -850, np.float32)
    clean[:, 20:44, 20:44] = clean[:, 80:104, 70:94] = 40
    hu = clean + np.random.default_rng(2).normal(0, 20, clean.shape).astype(np.float32)
    made = estimate_noise(hu, (2.0, 2.0))
    assert made.info["measured_in"] == "soft tissue"
    assert np.exp(made.log_sigma[:, 16, 16]).mean() == pytest.approx(20, rel=0.2)


@pytest.mark.parametrize("shape", [(2, 5, 5), (2, 7, 60), (4, 8, 9)])
def test_where_no_window_fits_it_says_so(shape):
    hu = np.random.default_rng(0).normal(0, 10, shape).astype(np.float32)
    found = estimate_noise(hu, (1.0, 1.0))
    assert isinstance(found, Unmeasurable)


# ------------------------------------------------------------------------------------------------------------ physics


def test_the_variance_behind_water_is_beers():
    """In the middle of a disc every ray has the same length: exp(mu d)."""
    n, mm, radius = 81, 4.0, 100.0
    y, x = (np.mgrid[:n, :n] - n // 2) * mm
    hu = np.where(np.hypot(y, x) < radius, 0.0, -1000.0).astype(np.float32)[None]
    variance = variance_by_direction(hu, (mm, mm), 1)
    assert variance[:, 0, n // 2, n // 2].sum() == pytest.approx(np.exp(2 * radius * MU_WATER), rel=0.06)
    np.testing.assert_allclose(variance[:, 0, n // 2, n // 2] * SECTORS, np.exp(2 * radius * MU_WATER), rtol=0.1)
    rings = [variance[:, 0, n // 2, n // 2 + k].sum() for k in (0, 8, 16, 24, 35)]
    assert all(inner > outer for inner, outer in pairwise(rings))


def test_a_turned_image_has_turned_directions():
    rng = np.random.default_rng(3)
    hu = (1000 * ndimage.gaussian_filter(rng.random((2, 30, 44)), (0, 3, 3)) - 700).astype(np.float32)
    straight = variance_by_direction(hu, (3.0, 5.0), 1)
    turned = variance_by_direction(np.ascontiguousarray(hu.transpose(0, 2, 1)), (5.0, 3.0), 1)
    half = SECTORS // 2
    order = [(half - 1 - k) % SECTORS for k in range(SECTORS)]
    mirrored = variance_by_direction(np.ascontiguousarray(hu[:, :, ::-1]), (3.0, 5.0), 1)
    for back in (turned[order].transpose(0, 1, 3, 2), mirrored[::-1, :, :, ::-1]):
        assert np.abs(np.log(back / straight)).mean() < 0.03  # rays hit the pixels of a coarse grid elsewhere
        np.testing.assert_allclose(back.sum(axis=0), straight.sum(axis=0), rtol=0.1)
    wrong = turned.transpose(0, 1, 3, 2)
    assert np.abs(np.log(wrong / straight)).mean() > 0.05


def test_the_grid_keeps_what_is_linear():
    y, x = np.mgrid[:37, :53].astype(np.float32)
    plane = (3 * y - 2 * x)[None]
    for side in (1, 2, 4):
        means = block_mean(plane[:, :36, :52], side)
        np.testing.assert_allclose(means.mean(), plane[:, :36, :52].mean(), rtol=1e-4)
        back = upsample(means, side, 36, 52)
        inner = np.s_[:, side : 36 - side, side : 52 - side]
        np.testing.assert_allclose(back[inner], plane[:, :36, :52][inner], atol=1e-3)
    constant = upsample(np.full((2, 5, 7), 3.0), 4, 17, 26)
    assert constant.shape == (2, 17, 26)
    np.testing.assert_allclose(constant, 3, rtol=1e-6)


# --------------------------------------------------------------------------------------------------------- real series


@pytest.mark.parametrize("name", ["chest_pair_sharp_B70f", "lowdose_pet_ct_STS_003"])
def test_flat_areas_of_real_series_agree(real_ct, name):
    volume = read_series(real_ct / name)
    made = found(volume, overlap=volume.geometry.overlap)
    assert isinstance(made, NoiseModel)
    flat = FlatRegions.of(volume.hu, tissues_from_neighbours(volume.hu)["soft"])
    z, y, x = (flat.corners + np.array([0, flat.side // 2, flat.side // 2])).T
    told = made.sigma_hu(0, *volume.shape)[z, y, x]
    assert np.sqrt(np.median(told**2)) == pytest.approx(flat.sd(volume.hu), rel=0.1)
