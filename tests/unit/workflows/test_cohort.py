"""Models: learnt on some series, used on others of their kind, refused for the rest; and damage to them."""

import json
import shutil
import subprocess
import sys
import time

import numpy as np
import pytest
from helpers import code_of, tree

from ctmahout.denoising.effort import EFFORTS, Effort, PassSpec
from ctmahout.denoising.patches import Fit, Model
from ctmahout.dicom import read_series
from ctmahout.errors import CtmahoutError
from ctmahout.exchange import read_manifest
from ctmahout.options import Config
from ctmahout.workflows.denoise import denoise
from ctmahout.workflows.learn import learn
from ctmahout.workflows.phantom import write_phantom

OPTIONS = {"engine": "numpy", "groups": 150}


@pytest.fixture(scope="module")
def scans(tmp_path_factory):
    """Three scans of one protocol: noisy and clean by number."""
    folder = tmp_path_factory.mktemp("scans")
    made = {}
    for seed in (1, 2, 3):
        made[seed] = write_phantom(folder / str(seed), size=112, slices=10, dose=0.05, seed=seed)
    return made


@pytest.fixture(scope="module")
def model(scans, tmp_path_factory):
    path = tmp_path_factory.mktemp("models") / "model"
    learn([scans[1]["noisy"], scans[2]["noisy"]], path, workers=2, **OPTIONS)
    return path


def test_a_third_scan_is_denoised_without_spark(scans, model, tmp_path):
    found = denoise(scans[3]["noisy"], tmp_path / "out", model=str(model), report=False, engine="py4j")
    before, clean, after = (
        read_series(folder).hu for folder in (scans[3]["noisy"], scans[3]["clean"], found.series[0].path)
    )
    error = [np.sqrt(np.mean(np.square(hu - clean, dtype=np.float64))) for hu in (before, after)]
    assert 20 * np.log10(error[0] / error[1]) > 3  # dB
    about = found.run["model"]
    assert about["sha256"] == read_manifest(model).sha256
    assert about["log_likelihood"]["model"] >= about["log_likelihood"]["own"]


def test_learning_with_other_threads_gives_the_same_bytes(scans, tmp_path):
    for workers in (1, 3):
        learn(
            [scans[1]["noisy"], scans[2]["noisy"]], tmp_path / str(workers), engine="numpy", groups=8, workers=workers
        )
    assert tree(tmp_path / "1") == tree(tmp_path / "3")


LEARN = """
import sys
from ctmahout import learn
learn(sys.argv[3:], sys.argv[1], engine="numpy", groups=8, work=sys.argv[2])
"""


def test_learning_that_is_killed_again_and_again_goes_on_to_the_same_bytes(scans, model, tmp_path):
    """It is killed whenever three more of its steps are done."""
    series = [scans[seed]["noisy"] for seed in (1, 2)]
    work, out, kills = tmp_path / "work", tmp_path / "model", 0
    work.mkdir()
    while not out.exists():
        before = len(list(work.glob("*/*.pickle")))
        command = [sys.executable, "-c", LEARN, out, work, *series]
        with subprocess.Popen(list(map(str, command)), stderr=subprocess.PIPE) as process:
            while process.poll() is None and len(list(work.glob("*/*.pickle"))) < before + 3:
                time.sleep(0.005)
            killed = process.poll() is None
            process.kill()
        assert killed or process.returncode == 0, process.stderr
        kills += killed
        assert kills < 20
    assert kills >= 3
    assert not list(work.iterdir())
    learn(series, tmp_path / "at once", engine="numpy", groups=8)
    assert tree(out) == tree(tmp_path / "at once")


@pytest.fixture(scope="module")
def small_model(scans, tmp_path_factory):
    path = tmp_path_factory.mktemp("models") / "small"
    learn([scans[1]["noisy"]], path, engine="numpy", groups=120)
    return path


@pytest.fixture(scope="module")
def improved(small_model, scans, tmp_path_factory):
    path = shutil.copytree(small_model, tmp_path_factory.mktemp("models") / "improved")
    learn([scans[2]["noisy"]], path, engine="numpy", add=True, workers=1)
    return path


def error_with(model, scans, out):
    result = denoise(scans[3]["noisy"], out, model=str(model), report=False)
    return np.square(read_series(result.series[0].path).hu - read_series(scans[3]["clean"]).hu).mean()


def test_a_series_more_makes_a_model_better(scans, small_model, improved, tmp_path):
    before, after = (read_manifest(model).layout for model in (small_model, improved))
    assert before["groups"] == after["groups"]
    assert after["patches"] == pytest.approx([2 * n for n in before["patches"]], rel=0.1)
    known = [read_series(scans[seed]["noisy"]).fingerprint() for seed in (1, 2)]
    assert [one["series_sha256"] for one in after["learnt_on"]] == known
    assert error_with(improved, scans, tmp_path / "1") < error_with(small_model, scans, tmp_path / "2")


def test_a_series_more_gives_the_same_bytes_with_other_threads(scans, small_model, improved, tmp_path):
    other = shutil.copytree(small_model, tmp_path / "other")
    learn([scans[2]["noisy"]], other, engine="numpy", add=True, workers=3)
    assert tree(other) == tree(improved)


def test_a_model_stays_as_it_is_if_a_series_more_is_refused(scans, small_model, tmp_path):
    before = tree(small_model)
    for series, options, code in [
        (scans[1]["noisy"], {}, "CTM_MODEL_KNOWS"),
        (scans[2]["clean"], {}, "CTM_NOISE_UNMEASURABLE"),
        (other_protocol(scans[2]["noisy"], tmp_path / "thick"), {}, "CTM_MODEL_PROTOCOLS"),
        (scans[2]["noisy"], {"groups": 30}, "CTM_CONFIG_VALUE"),
    ]:
        assert code_of(lambda: learn([series], small_model, engine="numpy", add=True, **options)) == code  # noqa: B023
    absent = tmp_path / "absent"
    assert code_of(lambda: learn([scans[2]["noisy"]], absent, engine="numpy", add=True)) == "CTM_INPUT_NOT_FOUND"
    assert not absent.exists()
    assert tree(small_model) == before


def other_protocol(folder, out):
    """Copy a series, as if it had another kernel."""
    import pydicom

    out.mkdir()
    for file in folder.iterdir():
        ds = pydicom.dcmread(file)
        ds.ConvolutionKernel = "B70f"
        ds.save_as(out / file.name)
    return out


def test_a_model_names_nobody(scans, model):
    source = read_series(scans[1]["noisy"])
    text = (model / "_ctmahout.json").read_text()
    learnt_on = json.loads(text)["layout"]["learnt_on"]
    assert [one["series_sha256"] for one in learnt_on] == [
        read_series(scans[seed]["noisy"]).fingerprint() for seed in (1, 2)
    ]
    assert learnt_on[0]["shape"] == list(source.shape)
    import pydicom

    ds = pydicom.dcmread(next(scans[1]["noisy"].rglob("*.dcm")))
    private = [ds.PatientName, ds.PatientID, ds.StudyInstanceUID, ds.SeriesInstanceUID, ds.StudyDate]
    for value in [str(v) for v in private if v] + [str(scans[1]["noisy"].parent), ds.SeriesDescription]:
        assert value not in text, value


def test_what_is_written_is_what_is_read(model):
    found = Model.read(model, read_manifest(model, "model"))
    assert len(found.passes) == 2
    arrays = found.arrays()
    assert arrays.keys() == read_manifest(model).layout["arrays"].keys()
    for one in found.passes:
        assert sum(len(mixture) for mixture, _ in one.regions) == len(one.shrinker)
        assert all(len(groups) for _, candidates in one.regions for groups in candidates.groups)


@pytest.mark.parametrize(("model_says", "own", "good"), [(-10.0, -11.0, True), (-11.0, -10.0, False), (-10, -10, True)])
def test_a_model_is_good_that_says_at_least_as_much(model_says, own, good):
    assert Fit(model_says, own).is_good == good


@pytest.fixture(scope="module")
def stranger(scans, tmp_path_factory):
    """A volume of stripes: no chest."""
    path = tmp_path_factory.mktemp("stranger") / "stripes.npz"
    z, y, x = np.mgrid[:8, :80, :80]
    clean = np.where((x + 2 * y + z) % 8 < 4, 0.0, 100.0)
    hu = clean + np.random.default_rng(0).normal(0, 15, clean.shape)
    np.savez(
        path,
        hu=hu.astype(np.float32),
        positions_mm=np.column_stack([np.zeros((8, 2)), np.arange(8.0)]),
        row_direction=np.array([1.0, 0, 0]),
        column_direction=np.array([0, 1.0, 0]),
        pixel_spacing_mm=np.ones(2),
    )
    return path


def test_a_series_of_another_kind_is_refused_or_learnt_from_itself(stranger, model, tmp_path, monkeypatch):
    assert code_of(denoise, stranger, tmp_path / "out", model=str(model)) == "CTM_MODEL_UNFIT"
    assert list(tmp_path.iterdir()) == []
    monkeypatch.setitem(EFFORTS, "fast", Effort((PassSpec(20, 25_000, 3, (2, 2)),), 3))
    found = denoise(
        stranger, tmp_path / "out", model=str(model), refit=True, engine="numpy", effort="fast", report=False
    )
    assert "model" not in found.run
    assert found.series[0].facts["noise_removed"] > 0


@pytest.mark.parametrize(
    "options",
    [
        {"strength": ("rank:3",)},
        {"strength": ("energy:0.2",)},
        {"strength": ("drop:10%",)},
        {"method": "slices", "strength": ("rank:3",)},
        {"method": "slices"},
    ],
)
def test_a_model_takes_no_strength_of_another_method(scans, model, tmp_path, options):
    assert code_of(denoise, scans[3]["noisy"], tmp_path / "out", model=str(model), **options) == "CTM_CONFIG_VALUE"
    assert list(tmp_path.iterdir()) == []


@pytest.fixture(scope="module")
def two_slices(tmp_path_factory):
    return write_phantom(tmp_path_factory.mktemp("two") / "scan", size=112, slices=2, dose=0.05, seed=4)["noisy"]


def test_a_model_on_two_slices_is_refused_or_learnt_from_them(two_slices, model, tmp_path, monkeypatch):
    assert code_of(denoise, two_slices, tmp_path / "out", model=str(model)) == "CTM_MODEL_PATCH"
    assert list(tmp_path.iterdir()) == []
    monkeypatch.setitem(EFFORTS, "fast", Effort((PassSpec(20, 25_000, 3, (2, 2)),), 3))
    options = {"engine": "numpy", "effort": "fast", "report": False}
    found = denoise(two_slices, tmp_path / "out", model=str(model), refit=True, **options)
    assert "model" not in found.run


def test_series_of_two_slices_are_not_learnt_from_among_thicker_ones(scans, two_slices, tmp_path):
    with pytest.raises(CtmahoutError, match="Series 2") as caught:
        learn([scans[1]["noisy"], two_slices], tmp_path / "m", **OPTIONS)
    assert caught.value.code == "CTM_INPUT_TOO_SMALL"
    assert list(tmp_path.iterdir()) == []


def test_learn_takes_one_path_refuses_none_and_no_option_in_silence(tmp_path):
    assert code_of(learn, [], tmp_path / "m", **OPTIONS) == "CTM_CONFIG_VALUE"
    assert code_of(learn, str(tmp_path / "nowhere"), tmp_path / "m", **OPTIONS) == "CTM_INPUT_NOT_FOUND"
    with pytest.raises(TypeError):
        learn([tmp_path], tmp_path / "m", Config(), groups=5)
    master = {"master": "spark://host:7077"}
    assert code_of(learn, [tmp_path / "a"], tmp_path / "m", **master) == "CTM_CONFIG_VALUE"  # no folder for executors
    assert list(tmp_path.iterdir()) == []


def test_a_scan_without_noise_is_nothing_to_learn_from(scans, tmp_path):
    assert code_of(learn, [scans[1]["clean"]], tmp_path / "m", **OPTIONS) == "CTM_NOISE_UNMEASURABLE"
    assert list(tmp_path.iterdir()) == []


def test_a_model_is_not_overwritten_and_not_put_into_a_source(scans, model, tmp_path):
    before = tree(model)
    assert code_of(learn, [scans[1]["noisy"]], model, **OPTIONS) == "CTM_OUTPUT_EXISTS"
    assert code_of(learn, [scans[1]["noisy"]], scans[1]["noisy"] / "m", **OPTIONS) == "CTM_OUTPUT_IS_INPUT"
    for work in (str(tmp_path / "nowhere"), "s3://bucket/work"):
        assert code_of(learn, [scans[1]["noisy"]], tmp_path / "m", work=work, **OPTIONS) == "CTM_CONFIG_VALUE"
    assert tree(model) == before


# -------------------------------------------------------------------------------------------------------------- damage


@pytest.fixture
def copy(model, tmp_path):
    return shutil.copytree(model, tmp_path / "model")


def used(scans, copy):
    return code_of(denoise, scans[3]["noisy"], copy.parent / "out", model=str(copy))


@pytest.mark.parametrize("array", ["pass1_telling_basis", "pass2_shrinking_mean", "pass1_telling_cell_groups"])
def test_one_flipped_bit_is_found(scans, copy, array):
    part = next((copy / "arrays" / array).glob("part-*"))
    data = bytearray(part.read_bytes())
    data[len(data) // 2] ^= 1
    part.write_bytes(data)
    assert used(scans, copy) in ("CTM_EXCHANGE_CORRUPT", "CTM_EXCHANGE_CHECKSUM")
    assert not (copy.parent / "out").exists()


CHANGES = {
    "no array": lambda layout: layout["arrays"].pop("pass1_telling_mean"),
    "no arrays": lambda layout: layout.pop("arrays"),
    "no passes": lambda layout: layout.pop("passes"),
    "passes of text": lambda layout: layout.update(passes="two"),
    "more passes": lambda layout: layout.update(passes=3),
    "no list": lambda layout: layout.pop("learnt_on"),
    "another method": lambda layout: layout.update(method="slices"),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=list(CHANGES))
def test_a_manifest_that_lacks_something_is_refused(scans, copy, change):
    file = copy / "_ctmahout.json"
    values = json.loads(file.read_text())
    change(values["layout"])
    file.write_text(json.dumps(values))
    assert used(scans, copy) == "CTM_EXCHANGE_MANIFEST"
    assert not (copy.parent / "out").exists()


def test_other_directories_are_no_model(scans, root, tmp_path):
    golden = root / "contract" / "v1" / "golden"
    for path, code in (
        (golden / "python-matrix-arrays", "CTM_EXCHANGE_KIND"),
        (golden / "python-factors", "CTM_EXCHANGE_KIND"),
        (golden / "python-model", "CTM_EXCHANGE_MANIFEST"),
        (root / "contract" / "v1" / "bad" / "not-committed", "CTM_EXCHANGE_NOT_COMMITTED"),
        (tmp_path / "nowhere", "CTM_INPUT_NOT_FOUND"),
    ):
        assert code_of(denoise, scans[3]["noisy"], tmp_path / "out", model=str(path)) == code, path
    assert list(tmp_path.iterdir()) == []
