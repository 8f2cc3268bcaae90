"""``ctmahout repeat``, as it is called: what it prints, and which scans it refuses."""

import json
from dataclasses import replace

import numpy as np
import pytest
from click.testing import CliRunner
from repeats import VOXEL, blurred, breathing, moved, noise, phantom, scans, volume
from scipy import ndimage

import ctmahout
from ctmahout.cli.verbs import ctmahout as cli
from ctmahout.errors import InputError
from ctmahout.files.arrays import write_array
from ctmahout.phantom import make_phantom


@pytest.fixture(scope="module")
def truth():
    return phantom()


@pytest.fixture(scope="module")
def folder(tmp_path_factory, truth):
    """Two scans, and a method's results."""
    folder = tmp_path_factory.mktemp("repeats")
    pair = scans(truth, 1)
    for number, hu in enumerate(pair, 1):
        write_array(volume(hu), folder / f"scan{number}.npz")
        write_array(volume(blurred(hu)), folder / f"denoised{number}.npz")
    return folder


def names(folder, *stems):
    return [folder / f"{stem}.npz" for stem in stems]


BOTH = ("scan1", "scan2", "denoised1", "denoised2")


def run(*arguments):
    return CliRunner().invoke(cli, ["repeat", *map(str, arguments)], catch_exceptions=False)


def test_the_verb_and_the_function_measure_the_same_and_the_tables_show_it(folder, truth):
    answer = run(*names(folder, *BOTH), "--json")
    assert answer.exit_code == 0
    measured = json.loads(answer.stdout)
    assert measured == json.loads(json.dumps(ctmahout.repeat(*names(folder, *BOTH))))
    assert (measured["results"], measured["independent"], measured["warnings"]) == (2, True, [])
    body = measured["tissues"]["body"]
    known = np.sqrt(np.mean((blurred(truth) - truth)[truth > -500] ** 2) + body["repeat_sd_hu"] ** 2)
    assert body["rmse_hu"] == pytest.approx(known, rel=0.1)
    assert measured["edge_sharpness"]["strong"] == pytest.approx(1 / np.hypot(1, 0.8), rel=0.1)
    assert measured["motion"]["shift_px"] < 0.05
    assert measured["kernel_matched_to_per_mm"] is None
    table = run(*names(folder, *BOTH))
    assert table.exit_code == 0
    for text in ("body", "soft", f"{body['rmse_hu']:.2f}", f"{body['systematic_hu']:.2f}", "Transfer", "correlation"):
        assert text in table.stdout


def test_one_result_has_an_error_and_no_spread(folder):
    measured = ctmahout.repeat(*names(folder, *BOTH[:3]), workers=1)
    assert measured["results"] == 1
    assert measured["tissues"]["body"]["repeat_sd_hu"] is None
    assert measured["tissues"]["body"]["rmse_hu"] > 10
    assert "one result" in run(*names(folder, *BOTH[:3])).stdout
    for count in (2, 5):
        answer = run(*names(folder, *BOTH, "denoised1")[:count])
        assert (answer.exit_code, "Usage" in answer.stderr) == (2, True)


def test_a_kernel_is_matched_on_request(folder):
    measured = json.loads(run(*names(folder, *BOTH), "--match-kernel", "--json").stdout)
    plain = ctmahout.repeat(*names(folder, *BOTH))
    assert measured["kernel_matched_to_per_mm"] > 0.2
    assert measured["tissues"]["body"]["systematic_hu"] < 0.4 * plain["tissues"]["body"]["systematic_hu"]
    assert np.abs(np.array(measured["transfer"]["all"]["transfer"]) - 1).max() < 0.1
    assert "kernel matched" in run(*names(folder, *BOTH), "--match-kernel").stdout


# ------------------------------------------------------------------------------------------------------ what is refused


def refusal(folder, tmp_path, second, denoised="denoised1", **options):
    """The error of the first scan and another second one, written to a file if it is no name."""
    if not isinstance(second, str):
        write_array(second, tmp_path / "other.npz")
        second = tmp_path / "other.npz"
    else:
        second = folder / f"{second}.npz"
    with pytest.raises(InputError) as e:
        ctmahout.repeat(folder / "scan1.npz", second, folder / f"{denoised}.npz", **options)
    return e.value


@pytest.mark.parametrize("shift", [(0, 0.5, 0), (0, 0, 0.5), (0, 0.35, -0.35), (0.5, 0, 0)])
def test_a_phantom_that_moved_by_half_a_pixel_is_refused(folder, tmp_path, truth, shift):
    error = refusal(folder, tmp_path, volume(moved(truth, shift) + noise(5)))
    assert error.code == "CTM_REPEAT_MOVED"
    assert float(error.fields["shift"]) > 0.4


def test_a_patient_is_refused_because_parts_of_it_move(folder, tmp_path, truth):
    error = refusal(folder, tmp_path, volume(breathing(truth) + noise(5)))
    assert error.code == "CTM_REPEAT_NOT_AT_REST"
    assert "Patients breathe" in error.hint


def test_a_contrast_agent_is_refused(folder, tmp_path, truth):
    enhanced = truth + 8 * ((truth > -20) & (truth < 200))
    error = refusal(folder, tmp_path, volume(enhanced + noise(5)))
    assert (error.code, error.fields["tissue"]) == ("CTM_REPEAT_CHANGED", "soft")


def placed(v, **geometry):
    return replace(v, geometry=replace(v.geometry, **geometry))


GRIDS = {
    "the shape": lambda v: volume(v.hu[1:]),
    "the size of a voxel": lambda v: volume(v.hu, (2.0, *VOXEL[1:])),
    "the place": lambda v: placed(v, positions_mm=v.geometry.positions_mm + np.array([0, 0, 0.8])),
    "the orientation": lambda v: placed(v, row_direction=np.eye(3)[1], column_direction=-np.eye(3)[0]),
}


@pytest.mark.parametrize("attribute", GRIDS)
def test_another_slice_grid_is_refused_in_a_scan_and_in_a_result(folder, tmp_path, truth, attribute):
    error = refusal(folder, tmp_path, GRIDS[attribute](volume(truth + noise(5))))
    assert (error.code, error.fields["attribute"]) == ("CTM_REPEAT_GRID", attribute)
    with pytest.raises(InputError) as e:
        ctmahout.repeat(*names(folder, "scan1", "scan2"), tmp_path / "other.npz")
    assert (e.value.code, e.value.fields["attribute"]) == ("CTM_REPEAT_GRID", attribute)


def test_another_slice_thickness_is_refused(folder, tmp_path, truth):
    for name, thickness in (("a", 1.6), ("b", 3.0)):
        v = volume(truth + noise([5, thickness == 3.0]))
        write_array(replace(v, geometry=replace(v.geometry, thickness_mm=thickness)), tmp_path / f"{name}.npz")
    with pytest.raises(InputError) as e:
        ctmahout.repeat(*names(tmp_path, "a", "b", "a"))
    assert (e.value.code, e.value.fields["attribute"]) == ("CTM_REPEAT_GRID", "the slice thickness")


def test_another_kernel_is_refused_by_the_noise_alone(folder, tmp_path, truth):
    error = refusal(folder, tmp_path, volume(truth + noise(5, peak=0.12)))
    assert (error.code, "frequencies" in error.message) == ("CTM_REPEAT_KERNEL", True)


def test_another_kernel_is_refused_by_the_header(ct_data):
    """A patient's chest, reconstructed with two kernels."""
    sharp, smooth = ct_data / "chest_pair_sharp_B70f", ct_data / "chest_pair_smooth_B40f"
    with pytest.raises(InputError) as e:
        ctmahout.repeat(sharp, smooth, sharp, lenient=True)
    assert e.value.code == "CTM_REPEAT_KERNEL"
    assert "B40f" in e.value.message
    assert "B70f" in e.value.message


def test_one_acquisition_is_not_two(folder, tmp_path, truth):
    assert refusal(folder, tmp_path, "scan1").code == "CTM_REPEAT_SAME"
    hu = ctmahout.read_array(folder / "scan1.npz").hu
    mostly = truth + 0.8 * (hu - truth) + 0.6 * noise(5)
    assert refusal(folder, tmp_path, volume(mostly)).code == "CTM_REPEAT_SAME"


def test_the_result_of_the_other_scan_is_refused(folder, tmp_path):
    assert refusal(folder, tmp_path, "scan2", "denoised2").code == "CTM_REPEAT_SWAPPED"
    with pytest.raises(InputError, match="CTM_REPEAT_SWAPPED"):
        ctmahout.repeat(*names(folder, "scan1", "scan2", "denoised2", "denoised1"))


def test_unequal_noise_needs_both_results(folder, tmp_path, truth):
    louder = volume(truth + noise(5, 30.0))
    assert refusal(folder, tmp_path, louder).code == "CTM_REPEAT_NOISE"
    write_array(louder.with_hu(blurred(louder.hu)), tmp_path / "denoised2.npz")
    both = (folder / "scan1.npz", tmp_path / "other.npz", folder / "denoised1.npz", tmp_path / "denoised2.npz")
    assert ctmahout.repeat(*both)["results"] == 2


def test_what_cannot_be_measured_is_refused_with_what_is_missing(folder, tmp_path):
    for name in ("a", "b"):
        write_array(volume(noise([3, name == "a"], shape=(3, 64, 64))), tmp_path / f"{name}.npz")
    with pytest.raises(InputError, match="3 slices, and 4 are needed") as e:
        ctmahout.repeat(*names(tmp_path, "a", "b", "a"))
    assert e.value.code == "CTM_REPEAT_UNMEASURABLE"
    for name in ("a", "b"):
        write_array(volume(noise([3, name == "a"])), tmp_path / f"{name}.npz", overwrite=True)
    with pytest.raises(InputError, match="structure to match") as e:
        ctmahout.repeat(*names(tmp_path, "a", "b", "a"), match_kernel=True)
    assert e.value.code == "CTM_REPEAT_UNMEASURABLE"
    for name, level in (("a", 0), ("b", 1e-3)):
        write_array(volume(np.full((4, 64, 64), level)), tmp_path / f"{name}.npz", overwrite=True)
    with pytest.raises(InputError, match="no noise, or no object"):
        ctmahout.repeat(*names(tmp_path, "a", "b", "a"))


# -------------------------------------------------------------------------------------------- what is said, not refused


def test_without_edges_the_answer_says_that_motion_was_not_checked(tmp_path):
    for name in ("a", "b"):
        write_array(volume(noise([3, name == "a"])), tmp_path / f"{name}.npz")
    answer = run(*names(tmp_path, "a", "b", "a"))
    assert answer.exit_code == 0
    assert "too few edges to check that it lay still" in answer.stderr
    measured = ctmahout.repeat(*names(tmp_path, "a", "b", "a"))
    assert measured["motion"]["shift_px"] is None
    assert measured["tissues"]["body"]["rmse_hu"] == pytest.approx(20, rel=0.02)


def test_correlated_noise_widens_the_range_and_the_answer_says_so(folder, tmp_path, truth):
    hu = ctmahout.read_array(folder / "scan1.npz").hu
    write_array(volume(truth + 0.4 * (hu - truth) + np.sqrt(1 - 0.16) * noise(5)), tmp_path / "related.npz")
    measured = ctmahout.repeat(folder / "scan1.npz", tmp_path / "related.npz", folder / "denoised1.npz")
    assert measured["independent"] is False
    assert "correlates by 0." in measured["warnings"][0]
    independent = ctmahout.repeat(*names(folder, *BOTH[:3]))
    widths = [np.diff(m["tissues"]["body"]["rmse_range_hu"])[0] for m in (measured, independent)]
    assert widths[0] > 2 * widths[1]


# ----------------------------------------------------------------------------------------------------- a real simulator


def test_two_scans_of_the_simulated_scanner_give_the_error_against_its_noise_free_scan(tmp_path):
    """Photons, electronics and filtered back-projection, as `ctmahout phantom` has them, at full dose."""
    made = [make_phantom(size=96, slices=8, dose=1.0, extent_mm=24, noise_seed=k) for k in (1, 2)]
    results = [ndimage.gaussian_filter(p.noisy.hu, (0, 0.5, 0.5)) for p in made]
    for number, (p, hu) in enumerate(zip(made, results, strict=True), 1):
        write_array(p.noisy, tmp_path / f"scan{number}.npz")
        write_array(p.noisy.with_hu(hu), tmp_path / f"denoised{number}.npz")
    clean = made[0].clean.hu
    measured = ctmahout.repeat(*names(tmp_path, *BOTH))
    from ctmahout.quality import TISSUES_AND_FAT, tissues_from_neighbours

    mean = (made[0].noisy.hu + made[1].noisy.hu) / np.float32(2)
    mask = tissues_from_neighbours(mean, ranges=TISSUES_AND_FAT, distance=3)["soft"]
    known = np.sqrt(np.mean([np.mean((hu - clean)[mask].astype(np.float64) ** 2) for hu in results]))
    assert measured["tissues"]["soft"]["voxels"] == np.count_nonzero(mask)
    assert measured["tissues"]["soft"]["rmse_hu"] == pytest.approx(known, rel=0.02)
    assert measured["motion"]["shift_px"] < 0.05
