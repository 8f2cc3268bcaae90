"""Whole runs on awkward input, without Spark: a series that is hardly one, and every series of a study."""

import json
import subprocess
import sys

import numpy as np
import pydicom
import pytest
from dicom_slices import put
from helpers import code_of, tree

from ctmahout import Config, denoise
from ctmahout.cli import main
from ctmahout.dicom import read_series, summarise
from ctmahout.exchange import read_manifest
from ctmahout.workflows.results import RESULTS
from ctmahout.workflows.study import STUDY, denoise_study

HOW = {"method": "slices", "engine": "numpy", "report": False, "timestamp": "2026-01-31T12:00:00+00:00"}


def test_row_44_few_slices(slices, tmp_path):
    one, two = (slices.write(tmp_path / f"in-{n}", n=n) for n in (1, 2))
    assert code_of(denoise, one, tmp_path / "out", **HOW) == "CTM_INPUT_TOO_SMALL"
    assert code_of(denoise, two, tmp_path / "out", k=3, **HOW) == "CTM_RANK_RANGE"
    assert not (tmp_path / "out").exists()
    denoise(two, tmp_path / "out", strength=("rank:2",), **HOW)
    assert np.array_equal(read_series(tmp_path / "out" / "rank-2").hu, read_series(two).hu)


def test_row_46_flat_series_stay_as_they_are(slices, tmp_path):
    def flat(padded):
        def edit(ds, i):
            ds.PixelData = np.full((16, 16), 0 if padded else 1024, "<u2").tobytes()
            if padded:
                ds.add_new("PixelPaddingValue", "US", 0)

        return edit

    nothing = slices.write(tmp_path / "padding", flat(True))
    assert code_of(denoise, nothing, tmp_path / "out", **HOW) == "CTM_INPUT_TOO_SMALL"
    for name, edit, only in (("zero", flat(False), None), ("one flat", flat(False), [1]), ("one", flat(True), [1])):
        source = slices.write(tmp_path / name, edit, only=only)
        result = denoise(source, tmp_path / f"{name}-out", strength=("auto", "rank:4"), **HOW)
        volume = read_series(tmp_path / f"{name}-out" / "rank-4")
        assert np.array_equal(volume.hu, read_series(source).hu)
        assert all(np.isfinite(read_series(s.path).hu).all() for s in result.series)


def test_row_47_a_real_series_is_not_clipped(ct_data, tmp_path):
    source = ct_data / "chest_pair_sharp_B70f"
    result = denoise(source, tmp_path / "out", strength=("rank:3",), **HOW)
    assert result.series[0].clipped == 0
    assert any("became signed" in w for w in result.run["warnings"])
    after = read_series(tmp_path / "out" / "rank-3")
    assert after.hu.min() < -1024 == read_series(source).hu.min()


def test_row_52_large_series_in_little_memory(ct_data, tmp_path):
    # In a process of its own: its peak is that of nothing else. 304 slices are 159 MB on disk, 319 MB as HU.
    code = f"""
import resource, shutil, sys
from pathlib import Path
import pydicom
sys.path.insert(0, {str(tmp_path)!r})
from ctmahout.dicom import Derivation, read_series, write_series
ds = pydicom.dcmread({str(ct_data / "chest_pair_sharp_B70f" / "1-12.dcm")!r})
folder = Path({str(tmp_path / "in")!r})
folder.mkdir()
for i in range(304):
    ds.SOPInstanceUID = ds.file_meta.MediaStorageSOPInstanceUID = f"1.2.3.{{i + 1}}"
    ds.ImagePositionPatient = [0, 0, i]
    ds.save_as(folder / f"{{i}}.dcm")
volume = read_series(folder)
assert volume.shape == (304, 512, 512)
written = write_series(volume, {str(tmp_path / "out")!r}, derivation=Derivation("By a test.", "test"))
assert (written.slices, written.clipped) == (304, 0)
status = Path("/proc/self/status")
if status.exists():  # ru_maxrss of a new process counts the one that started it, too
    print(next(line for line in status.read_text().splitlines() if line.startswith("VmHWM")).split()[1])
else:
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr
    unit = 1 << 10 if sys.platform == "linux" else 1
    assert int(done.stdout) * unit < 1 << 30


def study(slices, folder):
    """Two good series, a bad one, a single slice, and a localizer."""
    slices.write(folder / "a", put(SeriesInstanceUID="1.2.1", SeriesNumber=2))
    slices.write(folder / "b", put(SeriesInstanceUID="1.2.2", SeriesNumber=3), n=5)
    slices.write(folder / "c", put(SeriesInstanceUID="1.2.3", SeriesNumber=4), n=6)
    (folder / "c" / "slice-02.dcm").unlink()
    slices.write(folder / "d", put(SeriesInstanceUID="1.2.4", SeriesNumber=5), n=1)
    slices.write(folder / "e", put(ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"]), n=1)
    return folder


def outcomes(done):
    return [(s.slices, s.outcome, s.code) for s in done.series]


def test_row_35_every_series_of_a_study(slices, tmp_path):
    source = study(slices, tmp_path / "in")
    told = []
    done = denoise_study(source, tmp_path / "out", on_series=told.append, **HOW)
    assert outcomes(done) == [
        (4, "done", ""),
        (5, "done", ""),
        (5, "failed", "CTM_SLICE_MISSING"),
        (1, "skipped", ""),
    ]
    assert (done.failed, tuple(told)) == (1, done.series)
    assert json.loads((tmp_path / "out" / STUDY).read_text())["series"][2]["code"] == "CTM_SLICE_MISSING"
    folders = [s.folder for s in done.series if s.outcome == "done"]
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == sorted([*folders, STUDY, RESULTS])
    assert folders[0].startswith("series-2-")
    for s, n in zip(folders, (4, 5), strict=True):
        assert read_series(tmp_path / "out" / s / "auto").shape[0] == n
    # What a study's own output is, the next run does not denoise again.
    (tmp_path / "out").rename(source / "earlier")
    assert [s.outcome for s in denoise_study(source, tmp_path / "new", **HOW).series].count("skipped") == 3


def test_a_study_goes_on_where_it_stopped(slices, tmp_path):
    source = study(slices, tmp_path / "in")
    out = tmp_path / "out"

    def stop(series):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        denoise_study(source, out, on_series=stop, **HOW)
    (left,) = [p for p in out.iterdir() if p.is_dir()]
    before = tree(left)
    (out / "series-9-aaaaaaaa.partial-01234567").mkdir()
    (out / "series-9-aaaaaaaa.partial-01234567" / ".claim").touch()  # as a killed run leaves it
    done = denoise_study(source, out, **HOW)
    assert [s.outcome for s in done.series] == ["kept", "done", "failed", "skipped"]
    assert tree(left) == before
    assert not list(out.glob("*.partial-*"))
    # The missing slice comes; nothing else is done again.
    slices.write(source / "c", put(SeriesInstanceUID="1.2.3", SeriesNumber=4), n=6)
    again = denoise_study(source, out, workers=1, **HOW)
    assert [s.outcome for s in again.series] == ["kept", "kept", "done", "skipped"]
    assert again.failed == 0
    whole = denoise_study(source, tmp_path / "at once", **HOW)
    images = {name: data for name, data in tree(out).items() if name.endswith(".dcm")}
    assert images == {n: d for n, d in tree(tmp_path / "at once").items() if n.endswith(".dcm")}
    assert [s.folder for s in whole.series] == [s.folder for s in again.series]


def test_other_options_are_another_run(slices, tmp_path):
    source = slices.write(tmp_path / "in")
    denoise_study(source, tmp_path / "out", **HOW)
    assert [s.code for s in denoise_study(source, tmp_path / "out", q=0, **HOW).series] == ["CTM_OUTPUT_EXISTS"]
    assert [s.outcome for s in denoise_study(source, tmp_path / "out", q=0, overwrite=True, **HOW).series] == ["done"]
    assert [s.outcome for s in denoise_study(source, tmp_path / "out", q=0, **HOW).series] == ["kept"]


def test_a_run_with_a_model_is_another_run(slices, tmp_path):
    source = slices.write(tmp_path / "in")
    (series,) = denoise_study(source, tmp_path / "out", **HOW).series
    file = tmp_path / "out" / series.folder / "run.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"model": {"sha256": "0" * 64}}))
    assert [s.code for s in denoise_study(source, tmp_path / "out", **HOW).series] == ["CTM_OUTPUT_EXISTS"]


def test_a_study_s_output_is_refused_as_any_other(slices, tmp_path):
    source = slices.write(tmp_path / "in")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "letter.txt").write_text("not ours")
    for out, options, code in (
        ("in/out", {}, "CTM_OUTPUT_IS_INPUT"),
        ("full", {}, "CTM_OUTPUT_EXISTS"),
        ("full/letter.txt", {}, "CTM_OUTPUT_EXISTS"),
        ("out", {"series": "1"}, "CTM_CONFIG_VALUE"),
        ("out", {"work": "w"}, "CTM_CONFIG_VALUE"),
    ):
        assert code_of(denoise_study, source, tmp_path / out, **HOW, **options) == code
    (tmp_path / "none").mkdir()
    assert code_of(denoise_study, tmp_path / "none", tmp_path / "out", **HOW) == "CTM_INPUT_EMPTY"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["full", "in", "none"]
    with pytest.raises(TypeError):
        denoise_study(source, tmp_path / "out", Config(), **HOW)


def test_phases_are_series_of_a_study(slices, tmp_path):
    for phase in range(2):
        slices.write(
            tmp_path / "in" / str(phase),
            lambda ds, i, phase=phase: put(SOPInstanceUID=f"1.2.4.{phase}.{i + 1}", TriggerTime=str(phase))(ds, i),
        )
    assert [s.code for s in denoise_study(tmp_path / "in", tmp_path / "out", **HOW).series] == ["CTM_SLICE_DUPLICATE"]
    done = denoise_study(tmp_path / "in", tmp_path / "out", split=True, **HOW)
    assert outcomes(done) == [(4, "done", ""), (4, "done", "")]
    uids = {pydicom.dcmread(f).SeriesInstanceUID for f in (tmp_path / "out").rglob("*.dcm")}
    assert len(uids) == 2
    assert len(summarise(tmp_path / "out")) == 2


def test_headers_of_a_study_are_read_once(slices, tmp_path, monkeypatch):
    from ctmahout.dicom import scan

    looked, classify = [], scan.classify

    def counting(file, limit):
        looked.append(file)
        return classify(file, limit)

    monkeypatch.setattr(scan, "classify", counting)
    source = study(slices, tmp_path / "in")

    def late(series):  # a file that changes meanwhile is read anew, and refused as it is refused otherwise
        if series.number == 1:
            (source / "b" / "slice-01.dcm").write_bytes(b"not an image any more")

    done = denoise_study(source, tmp_path / "out", on_series=late, **HOW)
    assert [s.code for s in done.series[:2]] == ["", "CTM_INPUT_UNREADABLE"]
    assert len(looked) == len(set(looked)) + 1
    read_series(source, series="1.2.1", lenient=True)
    assert len(looked) == 2 * len(set(looked)) + 1


def test_a_file_that_cannot_be_read_is_told_even_if_every_series_is_skipped(slices, tmp_path, capsys):
    source = slices.write(tmp_path / "in", n=1)
    (source / "broken.dcm").write_bytes(b"no image")
    arguments = ["denoise", str(source), str(tmp_path / "out"), "--all-series", "--engine", "numpy"]
    for lenient, code in (([], 3), (["--lenient"], 0)):
        with pytest.raises(SystemExit) as e:
            main([*arguments, *lenient])
        assert e.value.code == code
        said = capsys.readouterr()
        assert "skipped" in said.out
        assert "broken.dcm" in said.err
        assert ("CTM_STUDY_UNREADABLE" in said.err) == (code == 3)
    study = json.loads((tmp_path / "out" / STUDY).read_text())
    assert study["unreadable_files"] == 1
    assert "broken" not in json.dumps(study)


@pytest.mark.parametrize("run", [{}, {"config": None}, {"config": [1]}, {"model": "m"}])
def test_a_run_manifest_of_somebody_else_does_not_stop_a_study(slices, tmp_path, run):
    source = slices.write(tmp_path / "in")
    (series,) = denoise_study(source, tmp_path / "out", **HOW).series
    (tmp_path / "out" / series.folder / "run.json").write_text(json.dumps({"kind": "run"} | run))
    (again,) = denoise_study(source, tmp_path / "out", **HOW).series
    assert (again.outcome, again.code) == ("failed", "CTM_OUTPUT_EXISTS")
    (over,) = denoise_study(source, tmp_path / "out", overwrite=True, **HOW).series
    assert over.outcome == "done"


def test_the_model_of_a_study_is_looked_at_once(slices, tmp_path, monkeypatch, root):
    from ctmahout.workflows.study import earlier as module

    source = study(slices, tmp_path / "in")
    done = denoise_study(source, tmp_path / "out", **HOW)
    for series in done.series:
        file = tmp_path / "out" / series.folder / "run.json"
        if file.exists():
            file.write_text(json.dumps(json.loads(file.read_text()) | {"model": {"sha256": "0" * 64}}))
    read = []
    model = root / "contract" / "v1" / "golden" / "python-model"
    monkeypatch.setattr(module, "read_manifest", lambda *a: read.append(a) or read_manifest(*a))
    denoise_study(source, tmp_path / "out", model=str(model), engine="numpy", report=False)
    assert len(read) == 1
