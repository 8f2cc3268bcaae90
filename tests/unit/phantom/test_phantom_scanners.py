"""Phantoms of another anatomy and of other scanners, and the true SD of their noise."""

import dataclasses

import numpy as np
import pytest
from click.testing import CliRunner
from scipy import ndimage

from ctmahout import ConfigError, read_series
from ctmahout.cli import main
from ctmahout.cli.verbs import ctmahout
from ctmahout.phantom import SCANNERS, ScanParameters, make_phantom
from ctmahout.phantom.head import GREY, WHITE, Head
from ctmahout.workflows.phantom import write_phantom

SMALL = {"size": 64, "slices": 4, "extent_mm": 12.0, "seed": 3}
LONG = {"slices": 16, "extent_mm": 48.0}


def scanned(scanner="standard", **options):
    return make_phantom(**{**SMALL, "scanner": scanner, "sigma": True, **options})


@pytest.fixture(scope="module")
def standard():
    return scanned()


@pytest.fixture(scope="module")
def head():
    return make_phantom(anatomy="head", size=128, slices=2, dose=0.25, seed=2, sigma=True)


def soft(phantom):
    return (phantom.clean.hu > -20) & (phantom.clean.hu < 200)


def periphery(phantom):
    """The SD in soft tissue far from the centre of the image, over that near to it."""
    n = phantom.clean.hu.shape[1]
    far = np.hypot(*(np.mgrid[:n, :n] - (n - 1) / 2))[None] > 0.3 * n
    mask = soft(phantom)
    return phantom.sigma_hu[mask & far].mean() / phantom.sigma_hu[mask & ~far].mean()


def test_the_standard_scan_is_what_it_always_was():
    # As commit a2776ec made it; a change in the use of the random numbers moves voxels by tens of HU.
    made = make_phantom(size=96, slices=6, extent_mm=18.0, dose=0.1, seed=3)
    at = ([0, 2, 3, 5, 5], [48, 30, 60, 70, 20], [48, 40, 24, 60, 48])
    np.testing.assert_allclose(made.clean.hu[at], [-86.73, -67.08, -878.65, 51.71, 11.75], atol=0.05)
    np.testing.assert_allclose(made.noisy.hu[at], [-76.13, -50.9, -897.45, 54.61, 33.64], atol=0.5)
    assert made.sigma_hu is None
    assert made.noisy.geometry.thickness_mm is None


@pytest.mark.parametrize("scanner", ["standard", "overlapping"])
def test_the_true_sd_is_that_of_two_independent_scans(scanner):
    one, two = (scanned(scanner, **LONG, noise_seed=n) for n in (None, 1))
    assert np.array_equal(one.clean.hu, two.clean.hu)
    difference = (one.noisy.hu - two.noisy.hu) / np.sqrt(2)
    n = difference.shape[1]
    left = np.broadcast_to(np.arange(n) < n / 2, difference.shape)
    for mask in (soft(one) & left, soft(one) & ~left, one.clean.hu < -600):
        measured, true = (np.sqrt(np.mean(np.square(v[mask], dtype=np.float64))) for v in (difference, one.sigma_hu))
        assert measured == pytest.approx(true, rel=0.06)


def test_few_photons_make_the_noise_that_the_true_sd_says():
    # Behind bone a count is near the electronics' noise, where 1 / count is no variance of a logarithm any more.
    one, two = (scanned(**LONG, dose=0.01, noise_seed=n) for n in (None, 1))
    difference = (one.noisy.hu - two.noisy.hu)[soft(one)] / np.sqrt(2)
    assert difference.std() == pytest.approx(np.sqrt(np.mean(one.sigma_hu[soft(one)] ** 2)), rel=0.06)


def test_a_stronger_bow_tie_raises_the_noise_of_the_periphery(standard):
    assert periphery(scanned("bowtie")) > 1.15 * periphery(standard)
    assert periphery(scanned(ScanParameters(bowtie_share=0.0))) < periphery(standard)


def test_a_patient_off_centre_has_the_noise_of_a_side(standard):
    def sides(phantom):
        n = phantom.sigma_hu.shape[2]
        return phantom.sigma_hu[:, :, : n // 4].mean() / phantom.sigma_hu[:, :, -n // 4 :].mean()

    moved = scanned("off-centre")
    assert abs(np.log(sides(moved))) > abs(np.log(sides(standard))) + 0.1
    shifts = [np.argwhere(p.clean.hu > -400).mean(axis=0) for p in (moved, standard)]
    pixel = standard.clean.geometry.pixel_spacing_mm[0]
    assert (shifts[0] - shifts[1])[1:] * pixel == pytest.approx((30, 22), abs=4)


def test_modulation_within_a_turn_evens_out_the_directions_of_noise():
    def streaked(angular):
        p = ScanParameters(angular_modulation=angular, longitudinal_modulation=0.35)
        made = scanned(p, slices=8, extent_mm=24.0)
        noise = (made.noisy.hu - made.clean.hu)[:, 20:44, 20:44]
        return abs(np.log(np.diff(noise, axis=1).var() / np.diff(noise, axis=2).var()))

    # Rays from front to back pass heart and spine, others the lungs: at a constant current they have most of the noise.
    assert streaked(0.0) > streaked(0.9) + 0.1


def test_the_current_along_z_sets_the_level_of_slices(standard):
    swung = scanned(ScanParameters(current_swing=0.8))
    level = (swung.sigma_hu / standard.sigma_hu)[soft(standard)[:1].repeat(4, axis=0)].reshape(4, -1).mean(axis=1)
    expected = np.exp(-0.4 * np.sin(2 * np.pi * (np.arange(4) + 0.5) / 4))
    np.testing.assert_allclose(level, expected, rtol=0.05)


def test_slices_that_overlap_share_noise_and_thick_ones_do_not():
    def alike(scanner):
        made = scanned(scanner, slices=8, extent_mm=24.0)
        noise = ((made.noisy.hu - made.clean.hu) / made.sigma_hu)[:, 16:48, 16:48]
        return made, np.corrcoef(noise[:-1].ravel(), noise[1:].ravel())[0, 1]

    overlapping, shared = alike("overlapping")
    weights = SCANNERS["overlapping"].weights(2)
    expected = (weights[2:] * weights[:-2]).sum() / (weights**2).sum()
    assert shared == pytest.approx(expected, abs=0.06)
    assert overlapping.noisy.geometry.overlap == pytest.approx(0.5)
    thick, shared = alike("thick")
    assert abs(shared) < 0.06
    assert thick.noisy.geometry.thickness_mm == pytest.approx(3.0)


def test_thin_slices_share_the_dose_of_a_slice():
    # At a dose where the electronics' noise, which each thin slice has for itself, does not count.
    one, thick = (scanned(name, dose=4.0) for name in ("standard", "thick"))
    assert thick.sigma_hu[soft(one)].mean() == pytest.approx(one.sigma_hu[soft(one)].mean(), rel=0.04)


def test_a_field_that_cuts_the_body_has_no_air_around_it(standard):
    cut = scanned("cut")
    padding = cut.noisy.padding
    n = padding.shape[1]
    assert padding.mean() == pytest.approx(1 - np.pi / 4, abs=0.03)
    assert (cut.noisy.hu[padding] == -1024).all()
    # What lies outside the image is in the beam all the same, so what lies inside has the values of the whole scan.
    pixels = [p.clean.geometry.pixel_spacing_mm[0] for p in (cut, standard)]
    at = (np.mgrid[:n, :n] - (n - 1) / 2) * pixels[0] / pixels[1] + (n - 1) / 2
    whole = np.stack([ndimage.map_coordinates(image, at, order=1) for image in standard.clean.hu])
    tissue = ~padding & (whole > 0) & (whole < 100)
    assert abs(np.median((cut.clean.hu - whole)[tissue])) < 4
    assert np.median(np.abs(cut.clean.hu - whole)[tissue]) < 18
    assert (whole[~padding] > -950).mean() > 0.9  # there is hardly any air in the image


def test_a_kernel_changes_grain_and_edges(standard):
    smooth, sharp = scanned("smooth"), scanned("sharp")
    levels = [p.sigma_hu[soft(standard)].mean() for p in (smooth, standard, sharp)]
    assert levels[0] < 0.7 * levels[1] < 0.7 * levels[2]
    slopes = [np.abs(np.diff(p.clean.hu, axis=1)).max() for p in (smooth, standard, sharp)]
    assert slopes == sorted(slopes)
    for p in (smooth, sharp):
        assert p.clean.hu.mean() == pytest.approx(standard.clean.hu.mean(), abs=2)


def test_a_wide_body_is_wider(standard):
    wide = scanned("elliptical")

    def half_axes(phantom):
        _, y, x = np.argwhere(phantom.clean.hu > -400).T * phantom.clean.geometry.pixel_spacing_mm[0]
        return np.ptp(x), np.ptp(y)

    assert half_axes(wide)[0] > 1.1 * half_axes(standard)[0]


def test_every_scanner_gives_the_same_bits_again():
    for name in ("bowtie", "overlapping", "cut"):
        one, two = (scanned(name, size=48, slices=2, extent_mm=6.0) for _ in range(2))
        assert np.array_equal(one.noisy.hu, two.noisy.hu)
        assert np.array_equal(one.sigma_hu, two.sigma_hu)


def test_grey_and_white_matter_are_as_far_apart_as_in_a_brain(head):
    assert 5 <= GREY - WHITE <= 8
    hu = head.clean.hu
    n = hu.shape[1]
    brain = np.hypot(*(np.mgrid[:n, :n] - (n - 1) / 2))[None] < 0.2 * n
    assert hu[np.broadcast_to(brain, hu.shape)].mean() == pytest.approx((GREY + WHITE) / 2, abs=6)
    assert (hu > 600).mean() > 0.02  # the skull
    sulci = (hu > 2) & (hu < 22)
    assert sulci.mean() > 0.003


def test_a_head_is_drawn_with_all_that_it_is_said_to_hold():
    at = np.linspace(-100, 100, 200)
    drawn = Head.of(4).draw(at, at, np.array([18.0, 40.0]))
    brain = drawn[:, 70:130, 70:130]
    for hu in (WHITE, GREY, 8.0):
        assert (np.abs(brain - hu) < 0.5).mean() > 0.01
    middle = drawn[1, 30:60, 95:105]
    assert (middle > 50).any()  # the falx


def test_heads_have_the_noise_of_thick_slices_of_a_head(head):
    noise = (head.noisy.hu - head.clean.hu)[(head.clean.hu > 0) & (head.clean.hu < 60)]
    assert noise.std() == pytest.approx(
        np.sqrt(np.mean(head.sigma_hu[(head.clean.hu > 0) & (head.clean.hu < 60)] ** 2)), rel=0.06
    )
    assert head.noisy.geometry.spacing_mm == pytest.approx(5.0)
    assert head.noisy.geometry.thickness_mm == pytest.approx(5.0)


def test_seeds_make_other_heads_and_the_same_one_again():
    at = np.linspace(-100, 100, 80)
    one, same, other = (Head.of(seed).draw(at, at, np.array([20.0])) for seed in (1, 1, 2))
    assert np.array_equal(one, same)
    assert not np.array_equal(one, other)


@pytest.mark.parametrize("options", [{"anatomy": "knee"}, {"scanner": "best"}])
def test_what_is_not_known_is_refused(options, tmp_path):
    with pytest.raises(ConfigError) as refused:
        make_phantom(size=32, slices=2, **options)
    assert refused.value.code == "CTM_CONFIG_VALUE"
    arguments = [part for name, value in options.items() for part in (f"--{name}", value)]
    with pytest.raises(SystemExit) as ended:
        main(["phantom", str(tmp_path / "out"), *arguments])
    assert ended.value.code == 2
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("change", [{"kernel": "soft"}, {"profile": "sinc"}, {"thickness": 0.5}, {"thin": 0}])
def test_parameters_that_make_no_scan_are_refused(change):
    with pytest.raises(ConfigError) as refused:
        dataclasses.replace(ScanParameters(), **change)
    assert refused.value.code == "CTM_CONFIG_VALUE"


def test_the_command_line_names_every_scanner():
    lines = CliRunner().invoke(ctmahout, ["phantom", "--help"]).output.split()
    said = " ".join(lines).replace("- ", "-")  # lines may end at a hyphen
    for name in SCANNERS:
        assert f"{name}," in said or f"{name}." in said


def test_a_series_says_how_thick_its_slices_are(tmp_path):
    folders = write_phantom(tmp_path / "out", size=48, slices=3, scanner="overlapping", seed=1)
    read = read_series(folders["noisy"])
    assert read.geometry.thickness_mm == pytest.approx(6.0)
    assert read.geometry.spacing_mm == pytest.approx(3.0)
