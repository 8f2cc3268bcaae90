"""What an orchestrator starts: its folders and options in the environment and in task.json."""

import json

import pydicom
import pytest
from dicom_slices import put
from helpers import refusal

from ctmahout.cli import main
from ctmahout.dicom import summarise
from ctmahout.workflows.module import denoise_task, read_task

QUICK = {"method": "slices", "engine": "numpy", "strength": ["rank:2"], "report": False}


@pytest.fixture
def folders(tmp_path, monkeypatch):
    """The folders of an orchestrator, both there before the module is started."""
    for name in ("in", "out"):
        (tmp_path / name).mkdir()
    for name in ("MERCURE_IN_DIR", "MERCURE_OUT_DIR", "HOLOSCAN_INPUT_PATH", "HOLOSCAN_OUTPUT_PATH"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path / "in", tmp_path / "out"


@pytest.fixture
def mercure(folders):
    """An environment as mercure has it."""
    return {f"{name}_DIR": str(folder) for name, folder in zip(("MERCURE_IN", "MERCURE_OUT"), folders, strict=True)}


def write(slices, folder, number, edit=None, n=4):
    """Write a series as mercure does: its UID and "#" before each name, and tags beside each file."""
    uid = f"1.2.3.{number}"

    def change(ds, i):
        ds.SeriesInstanceUID, ds.SeriesNumber = uid, number
        ds.SOPInstanceUID = ds.file_meta.MediaStorageSOPInstanceUID = f"{uid}.{i + 1}"
        if edit:
            edit(ds, i)

    slices.write(folder, change, n, name=f"{uid}#image-{{:04}}.dcm")
    for file in folder.glob(f"{uid}#*.dcm"):
        file.with_suffix(".tags").write_text(json.dumps({"SeriesInstanceUID": uid}))
    return uid


def task(folder, settings):
    values = {"id": "1", "info": {"uid_type": "series"}, "process": {"module_name": "ctmahout", "settings": settings}}
    (folder / "task.json").write_text(json.dumps(values))


def test_every_series_of_a_task_comes_out_as_mercure_sends_it_on(slices, folders, mercure):
    source, output = folders
    uids = {write(slices, source, number) for number in (1, 2)}
    write(slices, source, 3, n=1)  # a localizer
    task(source, QUICK | {"strength": ["rank:1", "rank:2"], "report": True})
    before = {file.name: file.read_bytes() for file in source.iterdir()}
    study = denoise_task(read_task(mercure))
    assert sorted(series.outcome for series in study.series) == ["done", "done", "skipped"]
    assert {file.name: file.read_bytes() for file in source.iterdir()} == before
    derived = {}
    for file in output.glob("*.dcm"):
        ds = pydicom.dcmread(file)
        assert file.name.partition("#")[0] == ds.SeriesInstanceUID
        derived.setdefault(ds.SeriesInstanceUID, []).append(ds.ReferencedSeriesSequence[0].SeriesInstanceUID)
    assert sorted(map(len, derived.values())) == [4] * 4
    assert sorted(origins[0] for origins in derived.values()) == sorted([*uids, *uids])
    assert len(summarise(output)) == 4
    result = json.loads((output / "result.json").read_text())
    assert sorted(row["outcome"] for row in result["series"]) == ["done", "done", "skipped"]
    done = [row for row in result["series"] if row["outcome"] == "done"]
    assert [[one["strength"] for one in row["results"]] for row in done] == [["rank:1", "rank:2"]] * 2
    assert {f.name for f in output.iterdir() if f.suffix != ".dcm"} == {
        "result.json",
        *(f"{row['folder']}.html" for row in done),
    }
    assert str(slices.model.PatientName) not in (output / "result.json").read_text()


def test_a_series_that_fails_leaves_nothing_of_the_others(slices, folders, mercure, monkeypatch, capsys):
    source, output = folders
    write(slices, source, 1)
    write(slices, source, 2, put(RescaleSlope=0))
    task(source, QUICK)
    for name, value in mercure.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(SystemExit) as ended:
        main(["module"])
    text = "".join(capsys.readouterr())
    assert ended.value.code == 3
    assert "[CTM_STUDY_INCOMPLETE]" in text
    assert str(output) in text
    assert list(output.iterdir()) == []


def test_a_package_has_other_names_and_a_file_of_options(slices, folders, tmp_path):
    source, output = folders
    write(slices, source / "deep" / "er", 1)
    (tmp_path / "app.toml").write_text('method = "slices"\nengine = "numpy"\nreport = false\nstrength = ["rank:1"]\n')
    environment = {
        "HOLOSCAN_INPUT_PATH": f"{source}/",
        "HOLOSCAN_OUTPUT_PATH": f"{output}/",
        "HOLOSCAN_CONFIG_PATH": str(tmp_path / "app.toml"),
        "CTMAHOUT_STRENGTH": "rank:3",
    }
    asked = read_task(environment)
    assert (asked.config.method, asked.config.strength) == ("slices", ("rank:3",))
    denoise_task(asked)
    assert len(list(output.glob("*#*.dcm"))) == 4
    assert read_task(environment | {"HOLOSCAN_CONFIG_PATH": "/nowhere/app.toml"}).config.method == "patches"


def test_mercures_folders_go_before_those_that_the_image_names(folders, mercure):
    asked = read_task(mercure | {"HOLOSCAN_INPUT_PATH": "/var/holoscan/input", "HOLOSCAN_OUTPUT_PATH": "/elsewhere"})
    assert (asked.source, asked.output) == folders


@pytest.mark.parametrize(
    ("text", "code", "words"),
    [
        ("{", "CTM_CONFIG_FILE", "task.json"),
        ('{"process": [{"settings": {}}, {}]}', "CTM_CONFIG_VALUE", "process"),
        ('{"process": {"settings": "strength=auto"}}', "CTM_CONFIG_VALUE", "settings"),
        ('{"process": {"settings": {"strenght": "auto"}}}', "CTM_CONFIG_UNKNOWN_KEY", "strength"),
        ('{"process": {"settings": {"series": "1"}}}', "CTM_CONFIG_UNKNOWN_KEY", "task.json"),
        ('{"process": {"settings": {"effort": "little"}}}', "CTM_CONFIG_VALUE", "effort"),
        ("[]", "CTM_CONFIG_VALUE", "process"),
    ],
)
def test_a_wrong_task_is_refused(folders, mercure, text, code, words):
    (folders[0] / "task.json").write_text(text)
    error = refusal(read_task, mercure)
    assert error.code == code
    assert words in error.message + error.hint


@pytest.mark.parametrize("text", ["{}", '{"process": {}}', '{"process": {"settings": null}}'])
def test_a_task_may_have_no_settings(folders, mercure, text):
    (folders[0] / "task.json").write_text(text)
    assert read_task(mercure).config.method == "patches"


def test_folders_that_are_not_there(folders, mercure, tmp_path, slices):
    assert refusal(read_task, {}).code == "CTM_CONFIG_VALUE"
    absent = str(tmp_path / "absent")
    assert refusal(denoise_task, read_task(mercure | {"MERCURE_OUT_DIR": absent})).code == "CTM_OUTPUT_UNWRITABLE"
    assert refusal(denoise_task, read_task(mercure | {"MERCURE_IN_DIR": absent})).code == "CTM_INPUT_NOT_FOUND"
    assert refusal(denoise_task, read_task(mercure)).code in ("CTM_INPUT_EMPTY", "CTM_INPUT_NO_CT")
    write(slices, folders[0], 1)
    both = {"MERCURE_IN_DIR": str(folders[0]), "MERCURE_OUT_DIR": str(folders[0])}
    task(folders[0], QUICK)
    assert refusal(denoise_task, read_task(both)).code == "CTM_OUTPUT_IS_INPUT"
    assert not list(folders[0].glob(".ctmahout-*"))
