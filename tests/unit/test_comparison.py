"""``ctmahout compare``, as it is called."""

import json

import pytest
from click.testing import CliRunner

from ctmahout.cli.verbs import ctmahout
from ctmahout.errors import InputError
from ctmahout.simulation import write_phantom


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
