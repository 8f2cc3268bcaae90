"""``ctmahout compare``, as it is called."""

import json
from dataclasses import replace

import pytest
from click.testing import CliRunner

from ctmahout.cli.verbs import ctmahout
from ctmahout.dicom import read_series
from ctmahout.errors import InputError
from ctmahout.files.arrays import write_array
from ctmahout.options import Config
from ctmahout.workflows.compare import compare_series
from ctmahout.workflows.phantom import write_phantom


@pytest.fixture(scope="module")
def scans(tmp_path_factory):
    folder = tmp_path_factory.mktemp("scans")
    small = write_phantom(folder / "small", size=64, slices=3, dose=0.1, seed=1)
    return write_phantom(folder / "scan", size=128, slices=6, dose=0.2, seed=1) | {"small": small["noisy"]}


def compare(*arguments):
    return CliRunner().invoke(ctmahout, ["compare", *map(str, arguments)], catch_exceptions=False)


def leaves(value, path=()):
    for name, part in value.items():
        yield from leaves(part, (*path, name)) if isinstance(part, dict) else [(*path, name)]


def test_the_table_has_every_score_of_the_json(scans):
    answer = compare(scans["noisy"], scans["clean"], "--json")
    assert answer.exit_code == 0
    scores = json.loads(answer.stdout)
    names = list(leaves(scores))
    assert {("psnr_db",), ("rmse_hu", "bone"), ("edge_sharpness", "strong"), ("nps_distance",)} <= set(names)
    assert 30 < scores["psnr_db"] < 50
    assert 0 < scores["ssim_soft"] < scores["ssim"] < 1
    assert scores["edge_sharpness"]["strong"] == pytest.approx(1, abs=0.05)
    table = compare(scans["noisy"], scans["clean"]).stdout
    for name in names:
        assert " ".join(name).replace("_", " ") in table


def test_a_series_against_itself_differs_in_nothing(scans):
    scores = json.loads(compare(scans["noisy"], scans["noisy"], "--json").stdout)
    assert scores["psnr_db"] is None
    assert scores["ssim"] == scores["ssim_soft"] == pytest.approx(1)
    assert scores["nps_distance"] == 0
    assert scores["edge_sharpness"]["strong"] == 1


def test_series_of_different_shapes_are_refused(scans):
    with pytest.raises(InputError, match="CTM_SERIES_MIXED"):
        compare(scans["small"], scans["clean"])


def moved(volume, *, spacing=1.0, by=0.0):
    g = volume.geometry
    positions = g.positions_mm * [1, 1, spacing] + by
    return replace(volume, source=None, geometry=replace(g, positions_mm=positions))


def test_series_of_other_voxels_or_another_place_are_refused(scans, tmp_path):
    volume = read_series(scans["small"])
    for name, changes in (("same", {}), ("thick", {"spacing": 25}), ("elsewhere", {"by": 30.0}), ("near", {"by": 0.1})):
        write_array(moved(volume, **changes), tmp_path / f"{name}.npz")
    reference = tmp_path / "same.npz"
    assert compare_series(tmp_path / "near.npz", reference)["psnr_db"] is None
    for name, attribute in (("thick", "the size of a voxel"), ("elsewhere", "where it lies")):
        with pytest.raises(InputError) as e:
            compare_series(str(tmp_path / f"{name}.npz"), reference)
        assert (e.value.code, e.value.fields["attribute"]) == ("CTM_SERIES_MIXED", attribute)
    lenient = Config(lenient=True)
    assert compare_series(tmp_path / "elsewhere.npz", reference, lenient)["psnr_db"] is None
    with pytest.raises(InputError):
        compare_series(tmp_path / "thick.npz", reference, lenient)
