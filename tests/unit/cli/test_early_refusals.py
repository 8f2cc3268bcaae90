"""What is refused before any work: options, sources and places with which a run would fail at its end."""

import json
import shutil

import numpy as np
import pytest
from dicom_slices import put
from helpers import code_of, refusal

import ctmahout
from ctmahout import Config, dssvd
from ctmahout.exchange import read_manifest, read_matrix, write_matrix
from ctmahout.storage.atomic import atomic_dir
from ctmahout.workflows import denoise as pipeline
from ctmahout.workflows import outputs as deliver
from ctmahout.workflows.learn import learn
from ctmahout.workflows.study import denoise_study

HOW = {"method": "slices", "engine": "numpy", "report": False}


@pytest.fixture
def no_work(monkeypatch):
    def work(*_):
        pytest.fail("the work began")

    monkeypatch.setattr(pipeline, "open_engine", work)


@pytest.mark.parametrize(
    ("options", "key"),
    [
        ({"timestamp": "yesterday"}, "timestamp"),
        ({"series_suffix": ""}, "series_suffix"),
        ({"series_suffix": "Ü"}, "series_suffix"),
        ({"series_suffix": "X" * 30, "maps": True}, "series_suffix"),  # " RESIDUAL" comes after it
        ({"series_number_offset": 2**31}, "series_number_offset"),
        ({"compression": "jpeg2000"}, "compression"),  # of 16 x 16
        ({"strength": ("rank:2", "rank:2")}, "strength"),
    ],
)
def test_options_of_writing_are_checked_before_the_work(source, tmp_path, no_work, options, key):
    error = refusal(ctmahout.denoise, source, tmp_path / "out", **HOW, **options)
    assert (error.code, error.fields["key"]) == ("CTM_CONFIG_VALUE", key)
    assert not (tmp_path / "out").exists()


def test_text_in_the_pixels_is_seen_before_the_work(slices, tmp_path, no_work):
    source = slices.write(tmp_path / "in", put(BurnedInAnnotation="YES"), only=[2])
    error = refusal(ctmahout.denoise, source, tmp_path / "out", deidentify=True, **HOW)
    assert (error.code, error.fields["attribute"]) == ("CTM_ATTRIBUTE_INVALID", "BurnedInAnnotation")


def test_a_disk_without_room_is_seen_before_the_work(source, tmp_path, no_work, monkeypatch):
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(deliver.shutil, "disk_usage", lambda _: usage._replace(free=4 * 16 * 16 * 2 * 2))
    error = refusal(ctmahout.denoise, source, tmp_path / "out", maps=True, **HOW)  # three series
    assert (error.code, "free" in error.message) == ("CTM_OUTPUT_UNWRITABLE", True)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["in"]


def test_of_two_runs_into_one_folder_the_second_is_told_at_once(source, tmp_path, no_work):
    with atomic_dir(tmp_path / "out", overwrite=False, is_replaceable=lambda _: False):
        assert code_of(ctmahout.denoise, source, tmp_path / "out", **HOW) == "CTM_OUTPUT_BUSY"


@pytest.mark.parametrize(
    ("function", "paths", "option"),
    [
        (ctmahout.denoise, 2, {"all_series": True}),
        (ctmahout.denoise, 2, {"groups": 5}),
        (ctmahout.prepare, 2, {"strength": ("auto",)}),
        (ctmahout.prepare, 2, {"maps": True}),
        (ctmahout.prepare, 2, {"model": "m"}),
        (ctmahout.factorise, 2, {"lenient": True}),
        (ctmahout.refine, 4, {"effort": "best"}),
        (ctmahout.reconstruct, 4, {"k": 5}),
        (denoise_study, 2, {"all_series": True}),
        (learn, 2, {"strength": ("auto",)}),
        (learn, 2, {"nonsense": 3}),
    ],
)
def test_an_option_that_means_nothing_to_a_function_is_refused_by_name(tmp_path, function, paths, option):
    error = refusal(function, *(tmp_path / str(i) for i in range(paths)), **option)
    assert (error.code, error.fields["given"]) == ("CTM_CONFIG_UNKNOWN_KEY", *option)
    with pytest.raises(TypeError):
        function(*(tmp_path / str(i) for i in range(paths)), Config(), **option)


# ---------------------------------------------------------------------------------------------- directories of others


@pytest.fixture
def steps(source, tmp_path):
    ctmahout.prepare(source, tmp_path / "matrix", method="slices")
    ctmahout.factorise(tmp_path / "matrix", tmp_path / "factors", engine="numpy")
    return source, tmp_path / "matrix", tmp_path / "factors"


@pytest.mark.parametrize("layout", [{}, {"method": "patches"}, {"method": "patches", "pass": 1, "passes": 2}])
def test_a_matrix_of_ones_own_says_which_part_of_its_layout_is_missing(steps, tmp_path, layout):
    source, matrix, _ = steps
    made = read_manifest(matrix)
    layout = layout | {"series_sha256": made.layout["series_sha256"]}
    write_matrix(tmp_path / "own", [read_matrix(matrix)], units="HU", centring="columns", layout=layout)
    ctmahout.factorise(tmp_path / "own", tmp_path / "own-factors", engine="numpy")
    given = source, tmp_path / "own", tmp_path / "own-factors"
    for strength in ("rank:2", "auto"):
        error = refusal(ctmahout.reconstruct, *given, tmp_path / "out", strength=(strength,))
        assert (error.code, "layout has no" in error.message) == ("CTM_EXCHANGE_MANIFEST", True)
    assert code_of(ctmahout.refine, *given, tmp_path / "out") in ("CTM_EXCHANGE_MANIFEST", "CTM_NOTHING_TO_REFINE")
    assert not (tmp_path / "out").exists()


def test_factors_that_lack_a_group_are_refused(steps, tmp_path):
    source, matrix, factors = steps
    made = read_manifest(matrix)
    two = [read_matrix(matrix), read_matrix(matrix)]
    write_matrix(tmp_path / "two", two, units="HU", centring="columns", layout=made.layout)
    ctmahout.factorise(tmp_path / "two", tmp_path / "both", engine="numpy")
    manifest = json.loads((factors / "_ctmahout.json").read_text())
    manifest["input_sha256"] = read_manifest(tmp_path / "two").sha256
    (factors / "_ctmahout.json").write_text(json.dumps(manifest))
    error = refusal(ctmahout.reconstruct, source, tmp_path / "two", factors, tmp_path / "out", strength=("rank:2",))
    assert (error.code, error.fields.get("group")) == ("CTM_EXCHANGE_GROUP_UNKNOWN", 1)


# ----------------------------------------------------------------------------------------------------- arrays of dssvd


def test_integers_that_float32_does_not_hold_are_decomposed_as_float64():
    a = np.array([[2**24 + 1, 0], [0, 1], [0, 0]])
    assert dssvd(a, engine="numpy").s[0] == 2**24 + 1
    assert dssvd(a.astype(np.int16), engine="numpy").s.tolist() == pytest.approx([1, 1])  # 2**24 + 1 in 16 bits


@pytest.mark.parametrize(
    "a",
    [np.ones((4, 2), complex), np.ones(4), np.ones((2, 2, 2)), np.array([["a"], ["b"]]), np.array([[None]]), [], 3],
    ids=["complex", "1-d", "3-d", "text", "objects", "nothing", "a number"],
)
def test_what_is_no_real_matrix_is_refused_without_a_warning(a):
    assert code_of(dssvd, a, engine="numpy") == "CTM_REQUEST_INVALID"


def test_errors_about_an_array_do_not_name_a_folder_that_nobody_gave():
    for a, k in ((np.full((4, 2), np.nan), None), (np.ones((2, 4)), None), (np.ones((4, 2)), 3)):
        error = refusal(dssvd, a, k, engine="numpy")
        assert "ctmahout-" not in error.message + error.hint + str(error.fields)
        assert error.code in ("CTM_EXCHANGE_NOT_FINITE", "CTM_EXCHANGE_WIDE", "CTM_RANK_RANGE")


@pytest.mark.parametrize("options", [{"engine": "operator"}, {"engine": "submit", "deploy_mode": "cluster"}])
def test_an_array_does_not_go_to_a_cluster_that_cannot_see_it(options):
    error = refusal(dssvd, np.ones((4, 2)), **options)
    assert (error.code, error.fields["key"]) == ("CTM_CONFIG_VALUE", "matrix")
