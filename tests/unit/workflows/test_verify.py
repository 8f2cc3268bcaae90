"""``ctmahout verify``: what a run may differ by, and what it may not."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
from click.testing import CliRunner
from scipy import ndimage

import ctmahout
from ctmahout.cli.verbs import ctmahout as command
from ctmahout.errors import CtmahoutError
from ctmahout.files import read_array, write_array
from ctmahout.workflows import verify as module
from ctmahout.workflows.phantom import write_phantom

OPTIONS = {
    "method": "slices",
    "strength": "rank:3",
    "engine": "numpy",
    "report": False,
    "timestamp": "2026-01-31T12:00:00+00:00",
}


def denoise(volume, folder, name="volume.npz", **options):
    """A run of a volume; a cheap method, since what is compared does not depend on it."""
    write_array(replace(volume, source=None), folder / name)
    ctmahout.denoise(folder / name, folder / "out", **OPTIONS | options)
    return folder / "out"


@pytest.fixture(scope="module")
def volume(phantom):
    noisy = phantom.noisy
    positions = noisy.geometry.positions_mm[:6]
    return replace(noisy, hu=noisy.hu[:6], geometry=replace(noisy.geometry, positions_mm=positions))


@pytest.fixture(scope="module")
def run(volume, tmp_path_factory):
    return denoise(volume, tmp_path_factory.mktemp("run"))


@pytest.fixture(scope="module")
def expected(run, tmp_path_factory):
    path = tmp_path_factory.mktemp("expected") / "expectation.json"
    ctmahout.write_expectation(run, path, about="a phantom")
    return path


def code_of(function, *arguments, **options):
    with pytest.raises(CtmahoutError) as e:
        function(*arguments, **options)
    return e.value.code


def call(*arguments):
    return CliRunner().invoke(command, ["verify", *map(str, arguments)])


def test_a_run_reproduces_itself(run, expected):
    found = ctmahout.verify(run, expected)
    assert (found.verdict, found.changed_slices, found.slices, found.notes) == ("identical", 0, 6, ())
    measures = " ".join(check.measure for check in found.checks)
    for part in ("source: mean of lung", "rank:3: noise SD in soft", "rank:3: width of strong edges", "block", "order"):
        assert part in measures
    assert ctmahout.verify(run, run).verdict == "identical"


# ---------------------------------------------------------------------------------------------------- planted changes


def edited(change):
    """The result itself is changed: what a writer, a viewer or a disk might do."""

    def plant(run, volume, folder):
        shutil.copytree(run, folder / "out")
        (file,) = (folder / "out").rglob("*.npz")
        result = read_array(file)
        file.unlink()
        write_array(replace(result.with_hu(change(result.hu.copy())), source=None), file)
        return folder / "out"

    return plant


def source(change):
    """The series that is denoised is another one."""
    return lambda run, volume, folder: denoise(volume.with_hu(change(volume.hu.copy())), folder)


def options(**changes):
    return lambda run, volume, folder: denoise(volume, folder, **changes)


def swapped(hu):
    hu[[2, 3]] = hu[[3, 2]]
    return hu


def lost(hu):
    hu[4, 70:80, 80:90] -= 100
    return hu


def dithered(hu):
    return np.rint(hu) + np.random.default_rng(0).uniform(-0.6, 0.6, hu.shape).astype(np.float32)


def blurred(sigma):
    return lambda hu: ndimage.gaussian_filter(hu, (0, sigma, sigma))


# Name, how it is planted, the verdict, and what is told of it.
PLANTED = {
    "another seed": (options(seed=7), "identical", "seed is 7, expected 0."),
    "more oversampling": (options(p=25), "identical", "p is 25, expected 15."),
    "another algorithm": (options(algorithm="exact"), "identical", "algorithm is exact, expected dssvd."),
    "one thread": (options(workers=1), "identical", ""),
    "voxels off by rounding": (edited(dithered), "equivalent", ""),
    "another strength": (options(strength="rank:2"), "different", "strength"),
    "a swapped slice": (edited(swapped), "different", "3 is 4, 4 is 3"),
    "a wider kernel": (source(blurred(0.6)), "different", "source: noise SD"),
    "a result smoothed once more": (edited(blurred(0.6)), "different", "SD of slice"),
    "less noise": (source(lambda hu: hu + (blurred(1)(hu) - hu) * np.float32(0.2)), "different", "source: noise SD"),
    "an offset of 1 HU": (edited(lambda hu: hu + 1), "different", "mean of all blocks"),
    "a scale of 1.005": (edited(lambda hu: hu * np.float32(1.005)), "different", "SD of slice"),
    "a detail lost": (edited(lost), "different", "in slice 5"),
    "left for right": (edited(lambda hu: hu[:, :, ::-1]), "different", "mean of block"),
}


@pytest.mark.parametrize("name", PLANTED)
def test_planted_changes(run, volume, expected, tmp_path, name):
    plant, verdict, told = PLANTED[name]
    found = ctmahout.verify(plant(run, volume, tmp_path), expected)
    failed = [f"{check.measure} {check.actual}" for check in found.failures]
    assert found.verdict == verdict, (failed, found.changed_slices)
    assert bool(failed) == (verdict == "different")
    assert told in " ".join([*failed, *found.notes])


def test_a_region_that_is_not_measured_on_one_side_is_a_difference(run, expected, tmp_path):
    changed = json.loads(expected.read_text())
    changed["before"]["mean_hu"]["lung"] = None
    (tmp_path / "e.json").write_text(json.dumps(changed))
    (failure,) = ctmahout.verify(run, tmp_path / "e.json").failures
    assert (failure.measure, failure.expected) == ("source: mean of lung, HU", None)


# ------------------------------------------------------------------------------------------- the command and its files


def test_the_command(run, volume, expected, tmp_path):
    answer = call(run, expected)
    assert answer.exit_code == 0
    assert "Reproduced: all 6 slices have the expected values." in answer.stdout
    other = edited(swapped)(run, volume, tmp_path)
    answer = call(other, expected)
    assert answer.exception.code == "CTM_NOT_REPRODUCED"
    assert "order of the slices" in answer.stdout
    answer = call(other, expected, "--json")
    assert (answer.exit_code, json.loads(answer.stdout)["verdict"]) == (3, "different")
    answer = call(other, "--write", tmp_path / "own.json")
    assert answer.exit_code == 0, answer.output
    assert call(other, tmp_path / "own.json").exit_code == 0
    assert call(other, "--write", tmp_path / "own.json").exception.code == "CTM_OUTPUT_EXISTS"
    assert call(other, "--write", tmp_path / "own.json", "--overwrite", "--json").exit_code == 0
    assert call(other, expected, "--write", tmp_path / "own.json").exit_code == 2
    assert call().exit_code == 2


def test_a_dicom_series(tmp_path):
    noisy = write_phantom(tmp_path / "phantom", size=32, slices=3)["noisy"]
    ctmahout.denoise(noisy, tmp_path / "a", **OPTIONS)
    ctmahout.denoise(noisy, tmp_path / "b", **OPTIONS | {"compression": "rle", "deidentify": True, "maps": True})
    found = ctmahout.verify(tmp_path / "b", tmp_path / "a")
    assert (found.verdict, found.slices) == ("identical", 3)


def test_what_is_no_run_and_no_expectation(run, expected, tmp_path):
    def is_refused(code, given, wanted=expected):
        assert code_of(ctmahout.verify, given, wanted) == code

    def changed(place, name, **changes):
        (tmp_path / name).mkdir(exist_ok=True)
        target = tmp_path / name / place.name
        target.write_text(json.dumps(json.loads(place.read_text()) | changes))
        return target

    is_refused("CTM_INPUT_NOT_FOUND", tmp_path / "nowhere")
    is_refused("CTM_INPUT_NOT_FOUND", run, tmp_path / "nowhere.json")
    is_refused("CTM_RUN_INVALID", tmp_path)
    is_refused("CTM_RUN_INVALID", changed(run / "run.json", "kind", kind="study").parent)
    is_refused("CTM_RUN_INVALID", changed(run / "run.json", "numbers", numbers={}).parent)
    is_refused("CTM_EXPECTATION_INVALID", run, run / "run.json")
    is_refused("CTM_EXPECTATION_INVALID", run, changed(expected, "version", version=2))
    is_refused("CTM_EXPECTATION_INVALID", run, changed(expected, "series", series={"rank:3": {"slices": [{}]}}))
    (tmp_path / "text").write_text("not JSON")
    is_refused("CTM_EXPECTATION_INVALID", run, tmp_path / "text")
    (tmp_path / "kind" / "run.json").write_text("[]")
    is_refused("CTM_RUN_INVALID", tmp_path / "kind")


def test_the_expectations_that_ctmahout_has(run, root):
    with pytest.raises(CtmahoutError, match="phantom") as e:
        ctmahout.verify(run)
    assert e.value.code == "CTM_EXPECTATION_UNKNOWN"
    files = sorted((root / "python" / "ctmahout" / "expected").glob("*.json"))
    assert len(files) >= 2
    for file in files:
        expectation = json.loads(file.read_text())
        assert expectation["about"]
        assert module._known(run, expectation)[0] == file.name
        assert module._compare(expectation, expectation, file.name).verdict == "identical"


@pytest.mark.release
def test_the_phantom_is_reproduced(tmp_path):
    noisy = write_phantom(tmp_path / "phantom", size=128, slices=12, seed=0)["noisy"]
    ctmahout.denoise(noisy, tmp_path / "out", engine="numpy", effort="fast", report=False)
    assert not ctmahout.verify(tmp_path / "out").failures


@pytest.mark.release
def test_the_real_series_is_reproduced(ct_data, tmp_path):
    ctmahout.denoise(ct_data / "chest_pair_sharp_B70f", tmp_path / "out", engine="numpy", report=False)
    assert not ctmahout.verify(tmp_path / "out").failures
