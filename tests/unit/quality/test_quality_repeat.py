"""The error from two scans against the known one, on simulated repeats."""

import numpy as np
import pytest
from repeats import SD, SHAPE, SPACING, VOXEL, blurred, breathing, moved, noise, phantom, scans
from scipy import ndimage

from ctmahout.quality import TISSUES_AND_FAT, Motion, NoiseAgreement, Transfer, repeat_errors, tissues_from_neighbours
from ctmahout.quality.tiles import ratio_and_error, tile_sums


@pytest.fixture(scope="module")
def truth():
    return phantom()


@pytest.fixture(scope="module")
def masks(truth):
    return tissues_from_neighbours(truth + noise(99), ranges=TISSUES_AND_FAT)  # what is constant is no tissue


def true_mse(results, truth, mask):
    return float(np.mean([np.mean((result - truth)[mask].astype(np.float64) ** 2) for result in results]))


def pattern(hu):
    """A method that keeps half of the noise, and invents a grid."""
    grid = 6 * np.sin(np.arange(hu.shape[2]) / 3).astype(np.float32)
    return blurred(hu, 0.5) + grid


METHODS = {"nothing": lambda hu: hu, "blur": blurred, "invention": pattern}


# --------------------------------------------------------------------------------------------------------- the estimate


@pytest.mark.parametrize("name", METHODS)
def test_the_error_is_the_known_one_without_bias_and_its_spread_is_the_one_reported(truth, masks, name):
    ratio, off = ({1: [], 2: []} for _ in range(2))
    for seed in range(8):
        pair = scans(truth, seed)
        results = [METHODS[name](hu) for hu in pair]
        for count in (1, 2):
            error = repeat_errors(pair, results[:count], {"body": masks["body"]})["body"]
            known = true_mse(results[:count], truth, masks["body"])
            ratio[count].append(error.mse_hu2 / known)
            off[count].append((error.mse_hu2 - known) / error.mse_error_hu2)
            low, high = error.rmse_range_hu
            assert low < error.rmse_hu < high
    for count in (1, 2):
        assert np.mean(ratio[count]) == pytest.approx(1, abs=0.02)
        assert np.std(ratio[count]) < 0.05
        # Standard errors are right, or somewhat large, see ctmahout.quality.repeat.
        assert 0.3 < np.std(off[count]) < 1.5


def test_by_tissue_the_error_is_the_known_one(truth, masks):
    pair = scans(truth, 3)
    results = [blurred(hu) for hu in pair]
    errors = repeat_errors(pair, results, masks)
    assert set(errors) == {"body", "lung", "fat", "soft", "bone"}
    for name, error in errors.items():
        assert error.voxels == np.count_nonzero(masks[name])
        assert abs(error.mse_hu2 - true_mse(results, truth, masks[name])) < 4 * error.mse_error_hu2
        assert error.noise_sd_hu == pytest.approx(SD, rel=0.1)


def test_noise_kept_spread_and_systematic_error_are_those_of_the_method(truth, masks):
    pair = scans(truth, 1)
    shrunk = [truth + 0.3 * (hu - truth) + 4 for hu in pair]
    error = repeat_errors(pair, shrunk, masks)["soft"]
    assert error.noise_kept == pytest.approx(0.3, abs=0.01)
    assert error.repeat_sd_hu == pytest.approx(0.3 * SD, rel=0.02)
    low, high = error.systematic_range_hu
    assert low <= 4 <= high
    assert 0 < low < high < 6
    assert error.systematic_hu**2 == pytest.approx(error.mse_hu2 - error.repeat_sd_hu**2)
    assert error.mean_shift_hu == pytest.approx(4, abs=4 * error.mean_shift_error_hu + 0.05)
    assert abs(error.scan_shift_hu) < 4 * error.scan_shift_error_hu


def test_scans_of_unequal_noise_bias_one_result_by_half_the_difference_and_two_by_nothing(truth, masks):
    """Assumption 4 of ctmahout.quality.repeat, and that two results do without it."""
    off = {1: [], 2: []}
    for seed in range(6):
        pair = scans(truth, seed, (20.0, 26.0))
        results = [blurred(hu) for hu in pair]
        for count in (1, 2):
            error = repeat_errors(pair, results[:count], {"body": masks["body"]})["body"]
            off[count].append(error.mse_hu2 - true_mse(results[:count], truth, masks["body"]))
    known = true_mse(results, truth, masks["body"])
    assert np.mean(off[1]) == pytest.approx((26**2 - 20**2) / 2, rel=0.05)
    assert np.mean(off[2]) == pytest.approx(0, abs=0.02 * known)


@pytest.mark.parametrize("share", [0.1, 0.8])  # of the noise, that is kept
def test_correlated_noise_shifts_the_estimate_as_derived_and_the_range_holds_the_error(truth, masks, share):
    r, n = 0.3, [noise([7, k]) for k in range(2)]
    pair = truth + n[0], truth + r * n[0] + np.sqrt(1 - r * r) * n[1]
    results = [truth + share * (hu - truth) for hu in pair]
    mask = {"body": masks["body"]}
    known = true_mse(results, truth, masks["body"])
    error = repeat_errors(pair, results, mask)["body"]
    assert error.mse_hu2 - known == pytest.approx(r * (1 - 2 * share) * SD**2, rel=0.1)
    assert not error.rmse_range_hu[0] <= np.sqrt(known) <= error.rmse_range_hu[1]
    low, high = repeat_errors(pair, results, mask, noise_correlation=r)["body"].rmse_range_hu
    assert low <= np.sqrt(known) <= high


def test_an_error_below_what_can_be_measured_has_a_range_from_0(truth, masks):
    errors = [repeat_errors(scans(truth, seed), [truth], {"m": masks["soft"]})["m"] for seed in range(5)]
    assert {error.rmse_hu is None for error in errors} == {True, False}  # 0 +- something
    assert all(error.rmse_range_hu[0] == 0 < error.rmse_range_hu[1] for error in errors)


def test_without_noise_or_voxels_there_is_no_error_and_three_results_are_none():
    hu = phantom((4, 64, 64))
    everywhere, nowhere = np.ones(hu.shape, np.bool_), np.zeros(hu.shape, np.bool_)
    assert repeat_errors((hu, hu), [hu], {"a": everywhere, "b": nowhere}) == {"a": None, "b": None}
    with pytest.raises(ValueError, match="one or two"):
        repeat_errors((hu, hu), [hu] * 3, {"a": everywhere})


# --------------------------------------------------------------------------------------------- blur, invention, removal


def disc(z, row, column, radius=4.0):
    y, x = np.mgrid[: SHAPE[1], : SHAPE[2]]
    found = np.zeros(SHAPE, np.float32)
    found[z] = ndimage.gaussian_filter((np.hypot(y - row, x - column) < radius).astype(np.float32), 0.7)
    return found


@pytest.mark.parametrize("count", [1, 2])
@pytest.mark.parametrize("contrast", [50.0, -50.0])
def test_what_a_method_invents_or_removes_is_found_where_it_is(truth, masks, count, contrast):
    pair = scans(truth, 2)
    results = [truth + 0.3 * (hu - truth) for hu in pair][:count]
    for sound in (results, list(pair)[:count]):
        assert abs(repeat_errors(pair, sound, masks)["soft"].deviation.sds) < 5.5
    planted = [result + contrast * disc(5, 40, 70) for result in results]
    deviation = repeat_errors(pair, planted, masks)["soft"].deviation
    z, row, column = deviation.place
    assert z == 5
    assert np.hypot(row - 40, column - 70) <= 3
    assert abs(deviation.sds) > 6.5
    assert deviation.hu == pytest.approx(0.8 * contrast, rel=0.3)


def test_a_blur_has_its_own_transfer_function_and_noise_none(truth, masks):
    pair = scans(truth, 4)
    transfer = Transfer.of(pair, [blurred(hu) for hu in pair], None, SPACING)
    f = transfer.frequency_per_mm
    gaussian = np.exp(-2 * (np.pi * 0.8 * SPACING[0] * f) ** 2)
    assert f[-1] > 0.2
    assert np.abs(transfer.transfer - gaussian).max() < 0.05
    # Noise that is removed is no contrast that is lost.
    clean = Transfer.of(pair, [truth, truth], None, SPACING)
    assert np.abs(clean.transfer - 1).max() < 0.1
    assert np.all(clean.error <= 0.05)
    # What is lost of faint contrasts alone is seen in soft tissue.
    faint = [np.where(masks["soft"], blurred(hu, 1.5), hu) for hu in pair]
    soft = Transfer.of(pair, faint, masks["soft"], SPACING)
    assert soft.at(np.array([0.1]))[0] < 0.8


def test_the_transfer_needs_slices_and_structure(truth):
    pair = scans(truth, 4)
    assert Transfer.of(tuple(hu[:3] for hu in pair), [pair[0][:3]], None, SPACING) is None
    water = noise(1), noise(2)
    assert Transfer.of(water, water, None, SPACING) is None
    assert Transfer.of(pair, pair, np.zeros(SHAPE, np.bool_), SPACING) is None


def test_a_rivals_kernel_is_matched_and_its_noise_with_it(truth, masks):
    pair = scans(truth, 6)
    rivals = [blurred(hu, 0.6) for hu in pair]
    before = repeat_errors(pair, rivals, masks)["body"]
    matched = [Transfer.of(pair, rivals, None, SPACING).undo(hu, SPACING) for hu in rivals]
    after = repeat_errors(pair, matched, masks)["body"]
    assert before.systematic_hu > 8
    assert after.systematic_hu < 0.25 * before.systematic_hu
    # A kernel that is sharper again has its noise again.
    assert before.noise_kept < 0.65
    assert after.noise_kept == pytest.approx(1, abs=0.1)
    assert Transfer.of(pair, matched, None, SPACING).transfer == pytest.approx(1, abs=0.05)


# ----------------------------------------------------------------------------------------------- whether scans coincide


@pytest.mark.parametrize("shift", [(0, 0, 0), (0, 0.05, 0), (0, 0.3, -0.2), (0, 0, 0.5), (0.3, 0, 0)])
def test_a_shift_is_measured_to_a_tenth_of_a_pixel(truth, masks, shift):
    n = noise(1), noise(2)
    found = Motion.of(truth + n[0], moved(truth, shift) + n[1], masks["body"], VOXEL)
    pixels = np.linalg.norm(np.array(shift) * VOXEL) / SPACING[0]
    assert found.shift_px == pytest.approx(pixels, abs=max(0.03, (0.2 if shift[0] else 0.1) * pixels))
    assert found.error_px < 0.03
    assert found.local_px < 0.1


def test_noise_does_not_make_a_shift_of_faint_edges_seem_smaller(truth, masks):
    """Noise adds to the squares of gradients, and not to products of gradients of two scans."""
    faint = np.float32(0.06) * truth
    found = Motion.of(faint + noise(1), moved(faint, (0, 0, 0.5)) + noise(2), masks["body"], VOXEL)
    assert found.shift_px == pytest.approx(0.5, abs=0.06)


def test_a_turn_is_a_motion_of_the_whole(truth, masks):
    turned = ndimage.rotate(truth, 0.5, axes=(1, 2), reshape=False, order=5, mode="nearest")
    found = Motion.of(truth + noise(1), turned + noise(2), masks["body"], VOXEL)
    assert 0.2 < found.shift_px < 0.4  # half a degree at some 37 pixels from the centre
    assert found.local_px < 0.3 * found.shift_px


def test_parts_that_move_by_themselves_are_no_motion_of_the_whole(truth, masks):
    found = Motion.of(truth + noise(1), breathing(truth) + noise(2), masks["body"], VOXEL)
    assert found.local_px > max(0.2, found.shift_px)


def test_what_has_no_edges_does_not_tell_whether_it_moved():
    everywhere = np.ones(SHAPE, np.bool_)
    assert Motion.of(noise(1), noise(2), everywhere, VOXEL).shift_px is None
    assert Motion.of(noise(1), noise(2), ~everywhere, VOXEL).shift_px is None


def test_an_upright_cylinder_that_moves_along_itself_is_at_rest():
    """Nothing changes in the images, and nothing in the estimate."""
    x = phantom(drift=0.0)
    found = Motion.of(x + noise(1), x + noise(2), x > -500, VOXEL)
    assert found.shift_px < 0.03


def test_padding_does_not_hold_the_object_in_place(truth, masks):
    pair = [truth + noise(1), moved(truth, (0, 0, 0.5)) + noise(2)]
    padding = np.zeros(SHAPE, np.bool_)
    padding[:, :, :44] = True
    for hu in pair:
        hu[padding] = -1024
    assert Motion.of(*pair, masks["body"], VOXEL, padding).shift_px == pytest.approx(0.5, rel=0.1)
    assert Motion.of(*pair, masks["body"], VOXEL).shift_px < 0.4


@pytest.mark.parametrize("r", [0.0, 0.3])
def test_the_correlation_of_noise_is_the_one_it_was_made_with(truth, masks, r):
    n = noise(11), noise(12)
    pair = truth + n[0], truth + r * n[0] + np.sqrt(1 - r * r) * n[1]
    found = NoiseAgreement.of(*pair, masks["soft"], SPACING)
    assert found.correlation == pytest.approx(r, abs=4 * found.correlation_error)
    assert found.correlation_error < 0.06
    assert abs(found.imbalance) < 4 * found.imbalance_error
    assert found.spectra_differ_by < 0.1
    assert found.sd_hu == pytest.approx((SD, SD), rel=0.1)


def test_noise_of_another_strength_or_spectrum_is_seen(truth, masks):
    louder = NoiseAgreement.of(truth + noise(1), truth + noise(2, 26.0), masks["soft"], SPACING)
    assert louder.imbalance == pytest.approx((20**2 - 26**2) / (20**2 + 26**2), abs=4 * louder.imbalance_error)
    other = NoiseAgreement.of(truth + noise(1), truth + noise(2, peak=0.12), masks["soft"], SPACING)
    assert other.spectra_differ_by > 0.1 + other.spectra_uncertain_by
    assert NoiseAgreement.of(truth, truth, np.zeros(SHAPE, np.bool_), SPACING) is None


def test_sums_over_tiles_are_sums_and_the_error_of_their_ratio_is_the_spread_of_tiles():
    values = np.random.default_rng(0).normal(2.0, 1.0, (3, 50, 37))
    sums = tile_sums(values)
    assert sums.shape == (3, 4, 3)
    assert sums.sum() == pytest.approx(values.sum())
    assert sums[1, 3, 2] == pytest.approx(values[1, 48:, 32:].sum())
    ratio, error = ratio_and_error(sums, tile_sums(np.ones_like(values)))
    assert ratio == pytest.approx(values.mean())
    assert error == pytest.approx(1 / np.sqrt(values.size), rel=0.4)
