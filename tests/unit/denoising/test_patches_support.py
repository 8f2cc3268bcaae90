"""Structure of the residual that goes back to the result."""

import numpy as np
import pytest
from scipy import ndimage

from ctmahout.denoising.noise import NoiseModel
from ctmahout.denoising.patches import add_back as support
from ctmahout.denoising.patches import matched_filter as matched
from ctmahout.denoising.patches.add_back import restore_structure
from ctmahout.engines.workers import Threads

SHAPE, SD = (9, 96, 96), 10.0


@pytest.fixture(scope="module")
def noise():
    """Noise of one SD whose neighbours are alike."""
    lag = np.hypot(*np.mgrid[-16:17, -16:17])
    grid = (SHAPE[0], 24, 24)
    autocovariance = np.exp(-(lag**2) / 4)[None]
    return NoiseModel(4, np.full(grid, np.log(SD), np.float32), np.ones((1, *grid), np.float32), autocovariance, (0, 0))


@pytest.fixture(scope="module")
def noisy():
    """Soft tissue with noise of that kind."""
    white = np.random.default_rng(1).standard_normal(SHAPE).astype(np.float32)
    coloured = ndimage.gaussian_filter(white, (0, 1, 1), mode="wrap")
    return 40 + SD * coloured / coloured.std()


def disc(radius, at=(4, 48, 48)):
    y, x = np.mgrid[: SHAPE[1], : SHAPE[2]]
    found = np.zeros(SHAPE, np.float32)
    found[at[0]] = ndimage.gaussian_filter((np.hypot(y - at[1], x - at[2]) < radius).astype(np.float32), 0.7)
    return found


def line(turn, at=(4, 48, 48)):
    """A line 3 pixels wide and 40 long."""
    y, x = np.mgrid[: SHAPE[1], : SHAPE[2]]
    along = (x - at[2]) * np.cos(turn) + (y - at[1]) * np.sin(turn)
    across = (y - at[1]) * np.cos(turn) - (x - at[2]) * np.sin(turn)
    found = np.zeros(SHAPE, np.float32)
    inside = (np.abs(along) < 20) & (np.abs(across) < 1.5)
    found[at[0]] = ndimage.gaussian_filter(inside.astype(np.float32), 0.7)
    return found


def restored(before, after, noise, threads=2):
    found = after.copy()
    restore_structure(before, found, noise, Threads(threads))
    return found


def test_the_bands_of_noise_have_the_sd_that_is_told(noise, noisy):
    told = support.band_sd(noise)
    for band, sd in zip(support._bands((noisy - 40) / SD), told, strict=True):
        assert band.std() == pytest.approx(sd, rel=0.15)


def test_bands_and_what_is_coarser_are_the_volume(noisy):
    bands = support._bands(noisy)
    coarse = noisy - sum(bands)
    step, expected = 1, noisy
    for _ in bands:
        kernel = np.zeros(4 * step + 1)
        kernel[::step] = np.array([1, 4, 6, 4, 1]) / 16
        for axis in (1, 2):
            expected = ndimage.correlate1d(expected, kernel, axis, mode="reflect")
        step *= 2
    np.testing.assert_allclose(coarse, expected, rtol=1e-4)


@pytest.mark.parametrize("radius", [2, 4])
def test_a_significant_detail_that_was_erased_comes_back(noise, noisy, radius):
    detail = 6 * SD * disc(radius)
    erased = np.full(SHAPE, 40, np.float32)
    back = restored(noisy + detail, erased, noise) - restored(noisy, erased, noise)
    assert (back * detail).sum() / (detail**2).sum() > 0.7


def test_a_detail_below_the_noise_does_not(noise, noisy):
    detail = 0.3 * SD * disc(2)
    erased = np.full(SHAPE, 40, np.float32)
    back = restored(noisy + detail, erased, noise) - restored(noisy, erased, noise)
    assert (back * detail).sum() / (detail**2).sum() < 0.3


def test_hardly_any_noise_comes_back(noise, noisy):
    found = restored(noisy, np.full(SHAPE, 40, np.float32), noise)
    # All is erased, and the coarse bands hold more of this noise than of CT's, whose power vanishes there.
    assert (found - 40).std() < 0.16 * SD


@pytest.mark.parametrize("turn", [0, 0.3, 1.2, 2.5])
def test_lines_come_back_in_every_direction(noise, noisy, turn, monkeypatch):
    detail = 3 * SD * line(turn)
    erased = np.full(SHAPE, 40, np.float32)

    def kept():
        back = restored(noisy + detail, erased, noise) - restored(noisy, erased, noise)
        return (back * detail).sum() / (detail**2).sum()

    found = kept()
    assert found > 0.3
    monkeypatch.setattr(support, "_LINE", (1e6, 2e6))
    assert found > kept() + 0.02


def test_what_the_residual_has_against_the_series_stays_out(noise):
    """A result that shows too much of a detail is not given more of the other sign."""
    detail = 8 * SD * disc(3)
    before, after = 40 + detail, 40 + 2 * detail
    np.testing.assert_array_equal(restored(before, after, noise), after)


def test_likeness_is_the_projection_on_the_series():
    series, residual = np.random.default_rng(3).standard_normal((2, 2, 12, 15)).astype(np.float32) * 3
    common = ndimage.uniform_filter(series * residual, (1, 5, 5)) - 1
    power = np.maximum(ndimage.uniform_filter(series**2, (1, 5, 5)), 1)
    np.testing.assert_allclose(matched.likeness(series, residual), common / np.sqrt(power), rtol=1e-3, atol=1e-4)


def test_the_noise_of_a_line_is_that_of_its_direction():
    """Streaks along x: a window along them holds far more noise than one across; by place as the share says."""
    white = np.random.default_rng(4).standard_normal((8, 64, 64))
    streaks = ndimage.gaussian_filter(white, (0, 0, 3), mode="wrap")
    streaks /= streaks.std()
    power = (np.abs(np.fft.fft2(streaks)) ** 2).mean(axis=0)[None] / 64**2
    power = np.concatenate([power, power.mean() * np.ones_like(power)])
    share = np.zeros((2, 8, 2, 2), np.float32)
    share[0, :, :, 0] = share[1, :, :, 1] = 1
    told = matched.line_variance(power, share)
    for direction, window in enumerate(matched._WINDOWS):
        total = sum(np.roll(streaks, tuple(-window[at]), (1, 2)) for at in range(len(window)))
        assert told[direction, 0, 0, 0] == pytest.approx(max(total.var(), 0.25 * told.mean()), rel=0.05)
        _, taken = np.unique(window, axis=0, return_counts=True)  # oblique windows come upon some pixels twice
        assert told[direction, 3, 1, 1] == pytest.approx((taken**2).sum(), rel=0.01)
    assert told[0, 0, 0, 0] > 3 * told[4, 0, 0, 0]


def test_a_result_without_residual_stays(noise, noisy):
    np.testing.assert_array_equal(restored(noisy, noisy, noise), noisy)


@pytest.mark.parametrize("slices", [1, 2, 5, 9])
def test_threads_and_slabs_do_not_matter(noise, noisy, slices, monkeypatch):
    before = (noisy + 6 * SD * disc(3))[:slices]
    after, own = np.full_like(before, 40), noise.slab(0, slices)
    one = restored(before, after, own, threads=1)
    monkeypatch.setattr(support, "_SLAB", 2)
    np.testing.assert_array_equal(one, restored(before, after, own, threads=3))


def test_slices_smaller_than_the_coarsest_wavelet(noise):
    before = np.random.default_rng(2).standard_normal((3, 5, 7)).astype(np.float32)
    assert np.isfinite(restored(before, np.zeros_like(before), noise.slab(0, 3))).all()
