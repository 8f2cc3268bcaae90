import json
import warnings

import numpy as np
import pytest
from scipy import ndimage

from ctmahout import Geometry, Volume
from ctmahout.denoising.noise import matrix_noise_sd, noise_sd, noise_sd_by_tissue
from ctmahout.phantom import make_phantom
from ctmahout.quality import compare, tissues


def body(z=8, n=96, seed=None, sd=0.0, lung=True):
    """A cylinder of soft tissue with two lungs and a spine, in air."""
    y, x = np.mgrid[:n, :n] - (n - 1) / 2
    image = np.full((n, n), -1000.0, np.float32)
    image[np.hypot(y, x) < 0.45 * n] = 40.0
    if lung:
        for side in (-1, 1):
            image[np.hypot(y, x - side * 0.2 * n) < 0.13 * n] = -850.0
    image[np.hypot(y - 0.3 * n, x) < 0.06 * n] = 600.0
    hu = np.repeat(image[None], z, axis=0)
    if seed is not None:
        hu = hu + np.float32(sd) * np.random.default_rng(seed).standard_normal(hu.shape, np.float32)
    return hu


def volume(hu, padding=None):
    z = len(hu)
    geometry = Geometry(
        np.column_stack([np.zeros(z), np.zeros(z), np.arange(z)]),
        np.array([1.0, 0, 0]),
        np.array([0, 1.0, 0]),
        (1.0, 1.0),
    )
    return Volume(hu.astype(np.float32), geometry, padding)


def test_equal_volumes_are_equal_in_every_score():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        scores = compare(volume(body()), volume(body()))
    assert scores.psnr_db is None
    assert scores.ssim == pytest.approx(1.0)
    assert scores.ssim_soft == pytest.approx(1.0)
    assert set(scores.rmse_hu.values()) == {0.0}
    assert scores.largest_difference_hu == 0.0
    assert scores.nps_distance is None
    json.dumps(scores.as_dict(), allow_nan=False)


def test_known_noise_gives_its_known_psnr_and_rmse():
    clean, noisy = volume(body(lung=False)), volume(body(seed=1, sd=20.0, lung=False))
    scores = compare(noisy, clean)
    assert scores.psnr_db == pytest.approx(20 * np.log10(2000 / 20), abs=0.1)
    assert scores.rmse_hu["soft"] == pytest.approx(20, rel=0.03)
    assert scores.rmse_hu["lung"] is None
    assert scores.mean_difference_hu["soft"] == pytest.approx(0, abs=0.5)


def test_a_shift_is_told_with_its_sign():
    clean = volume(body())
    assert compare(clean.with_hu(clean.hu + 7), clean).mean_difference_hu["bone"] == pytest.approx(7)


def test_more_noise_scores_worse():
    clean = volume(body())
    scores = [compare(volume(body(seed=1, sd=sd)), clean) for sd in (5, 20, 80)]
    for measure in ("psnr_db", "ssim", "ssim_soft"):
        values = [getattr(s, measure) for s in scores]
        assert values == sorted(values, reverse=True)


def test_ssim_is_that_of_its_definition():
    """Against sums written out for one pixel, with the window's weights from the formula of a Gaussian."""
    rng = np.random.default_rng(3)
    a, b = rng.normal(0, 100, (2, 1, 33, 33)).astype(np.float32)
    offsets = np.arange(-5, 6)
    w = np.exp(-(offsets**2) / (2 * 1.5**2))
    w = np.outer(w, w) / w.sum() ** 2
    # One pixel is masked in: the padding leaves out all others.
    padding = np.ones(a.shape, bool)
    padding[0, 16, 16] = False
    x, y = (v[0, 11:22, 11:22].astype(float) for v in (a, b))
    mx, my = (w * x).sum(), (w * y).sum()
    vx, vy, c = (w * x * x).sum() - mx**2, (w * y * y).sum() - my**2, (w * x * y).sum() - mx * my
    c1, c2 = 20.0**2, 60.0**2
    expected = (2 * mx * my + c1) * (2 * c + c2) / ((mx**2 + my**2 + c1) * (vx + vy + c2))
    assert compare(volume(a, padding), volume(b)).ssim == pytest.approx(expected, rel=1e-9)


def test_padding_is_left_out():
    clean = body()
    padding = np.zeros(clean.shape, bool)
    padding[:, :, :48] = True
    spoilt = clean.copy()
    spoilt[padding] = 3000
    assert compare(volume(spoilt, padding), volume(clean)).largest_difference_hu == 0.0


def test_tissues_lie_in_the_body_and_a_volume_without_body_is_all_body():
    found = tissues(body())
    for name in ("lung", "soft", "bone"):
        assert found[name].any()
        assert not (found[name] & ~found["body"]).any()
    assert tissues(np.full((2, 20, 20), -1000, np.float32))["body"].all()


def test_shapes_that_differ_are_refused():
    with pytest.raises(ValueError, match="shapes differ"):
        compare(volume(body(z=4)), volume(body(z=5)))


def test_sharpness_and_the_grain_of_noise_are_told_apart():
    """A blur takes from edges and makes noise coarser, less noise does neither, nor does a shift."""
    made = make_phantom(size=160, slices=6, extent_mm=18.0, dose=0.2, seed=2)
    scores = {
        "noise": compare(made.noisy, made.clean),
        "same": compare(made.noisy, made.noisy),
        "shift": compare(made.noisy.with_hu(made.noisy.hu + 9), made.noisy),
        "half": compare(made.noisy.with_hu(0.5 * (made.noisy.hu + made.clean.hu)), made.noisy),
        "blur": compare(made.noisy.with_hu(ndimage.gaussian_filter(made.noisy.hu, (0, 1, 1))), made.noisy),
    }
    assert scores["noise"].edge_sharpness["strong"] == pytest.approx(1, abs=0.03)
    assert scores["noise"].edge_sharpness["weak"] == pytest.approx(1, abs=0.1)
    assert scores["blur"].edge_sharpness["strong"] < 0.75
    for name in ("same", "shift"):
        assert scores[name].edge_sharpness["strong"] == pytest.approx(1, abs=1e-4)
        assert scores[name].nps_distance == pytest.approx(0, abs=1e-4)
    assert 2 * scores["half"].nps_distance < scores["blur"].nps_distance


def test_the_body_can_be_found_in_a_drawing():
    """A drawing that has no right half leaves the scores of the right half out."""
    clean = volume(body())
    noisy = clean.with_hu(np.where(np.arange(96) < 48, clean.hu, clean.hu + 50))
    half = np.where(np.arange(96) < 46, clean.hu, -1000).astype(np.float32)
    assert compare(noisy, clean).largest_difference_hu == 50
    assert compare(noisy, clean, outline=half).largest_difference_hu == 0


@pytest.mark.parametrize("sd", [5.0, 30.0, 120.0])
@pytest.mark.parametrize("slices", [2, 3, 12])
def test_white_noise_is_measured(sd, slices):
    hu = body(z=slices, seed=7, sd=sd)
    assert noise_sd(hu) == pytest.approx(sd, rel=0.15)
    assert matrix_noise_sd(hu) == pytest.approx(sd, rel=0.15)


def test_noise_that_differs_between_tissues_is_told_apart():
    clean = body(z=9)
    masks = tissues(clean)
    sd = np.where(masks["lung"], 60.0, 15.0)
    noisy = (clean + sd * np.random.default_rng(2).standard_normal(clean.shape)).astype(np.float32)
    found = noise_sd_by_tissue(noisy, masks)
    assert found["lung"] == pytest.approx(60, rel=0.15)
    assert found["soft"] == pytest.approx(15, rel=0.2)


def test_edges_that_move_are_not_taken_for_noise():
    hu = np.stack([np.roll(image, 2 * z, axis=1) for z, image in enumerate(body(z=9, seed=4, sd=10.0))])
    assert noise_sd(hu) == pytest.approx(10, rel=0.3)


@pytest.mark.parametrize("slices", [1, 2, 5])
def test_what_has_no_noise_has_none(slices):
    assert noise_sd(body(z=slices)) == pytest.approx(0, abs=1e-3) or slices == 1
    assert matrix_noise_sd(np.full((slices, 24, 24), -1000, np.float32)) == 0.0


def test_soft_tissue_without_noise_counts_as_that_whatever_noise_is_around_it():
    y, x = np.mgrid[:160, :160] - 79.5
    radius = np.hypot(y, x)
    image = np.select([radius < 20, radius < 70, radius < 75], [40.0, -800.0, 40.0], -1000.0)
    hu = np.repeat(image[None], 6, axis=0).astype(np.float32)
    lung = (radius > 24) & (radius < 70)
    hu[:, lung] += np.random.default_rng(3).normal(0, 30, (6, lung.sum()))
    found = noise_sd_by_tissue(hu, tissues(hu, smoothing=2.0))
    assert found["soft"] == noise_sd(hu) == 0.0
    assert found["body"] > 1


def test_the_noise_of_the_matrix_is_where_its_singular_values_end():
    hu = body(z=30, seed=11, sd=25.0)
    a = hu.reshape(30, -1).T.astype(float)
    a -= a.mean(axis=0)
    s = np.linalg.svd(a, compute_uv=False)
    m, n = a.shape
    assert s[-1] >= 0.9 * matrix_noise_sd(hu) * (np.sqrt(m) - np.sqrt(n))
    assert s[1] <= 1.1 * matrix_noise_sd(hu) * (np.sqrt(m) + np.sqrt(n))
