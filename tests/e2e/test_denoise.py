"""The main job as a user runs it: the installed command, real series, real Spark and Mahout."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pydicom
import pytest

CTMAHOUT = Path(sys.executable).with_name("ctmahout")
TIME = "2026-01-31T12:00:00+00:00"


def ctmahout(*arguments, code=0, **extra):
    done = subprocess.run(
        [CTMAHOUT, *map(str, arguments)], capture_output=True, text=True, timeout=300, check=False, **extra
    )
    assert done.returncode == code, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    return done


def datasets(folder):
    found = [pydicom.dcmread(f) for f in sorted(Path(folder).rglob("*")) if f.is_file() and f.name != "run.json"]
    return sorted((d for d in found if "PixelData" in d), key=lambda d: float(d.ImagePositionPatient[2]))


def some_of(series, n, folder):
    """A folder with the first n slices of a series."""
    folder.mkdir()
    for image in datasets(series)[:n]:
        shutil.copy(image.filename, folder)
    return folder


def tree(folder):
    return {str(f.relative_to(folder)): f.read_bytes() for f in sorted(Path(folder).rglob("*")) if f.is_file()}


SERIES = [
    "chest_pair_sharp_B70f",
    pytest.param("lowdose_pet_ct_STS_003", marks=pytest.mark.release),
    "j2k_series_no_sopclass",
]


@pytest.mark.spark
@pytest.mark.parametrize("name", SERIES)
def test_full_rank_gives_the_source_back_bit_for_bit(ct_data, tmp_path, name):
    source = ct_data / name
    n = len(datasets(source))
    lenient = ["--lenient"] if name == "j2k_series_no_sopclass" else []
    options = ["--method", "slices", "--strength", f"rank:{n}", "--no-report", *lenient]
    ctmahout("denoise", source, tmp_path / "out", *options)
    before, after = datasets(source), datasets(tmp_path / "out" / f"rank-{n}")
    assert len(after) == n
    for b, a in zip(before, after, strict=True):
        assert a.ImagePositionPatient == b.ImagePositionPatient
        assert np.array_equal(a.pixel_array, b.pixel_array)
        assert a.file_meta.MediaStorageSOPInstanceUID == a.SOPInstanceUID != b.get("SOPInstanceUID")
        assert a.SeriesInstanceUID != b.SeriesInstanceUID
        if b.StudyInstanceUID:  # the JPEG 2000 series has none; --lenient makes one
            assert a.StudyInstanceUID == b.StudyInstanceUID
    assert len({a.StudyInstanceUID for a in after}) == 1
    assert all(a.StudyInstanceUID for a in after)
    assert len({a.SOPInstanceUID for a in after}) == n


@pytest.mark.spark
@pytest.mark.parametrize("engine", ["py4j", "numpy"])
def test_every_algorithm_gives_the_source_back_and_is_told(ct_data, tmp_path, engine):
    source = ct_data / "chest_pair_sharp_B70f"
    before = datasets(source)
    for algorithm in ("exact", "dspca"):
        out = tmp_path / algorithm
        strengths = ["--method", "slices", "--strength", f"rank:{len(before)}", "--strength", "rank:3"]
        ctmahout("denoise", source, out, "--algorithm", algorithm, "--engine", engine, *strengths)
        after = datasets(out / f"rank-{len(before)}")
        for b, a in zip(before, after, strict=True):
            assert np.array_equal(a.pixel_array, b.pixel_array)
            assert f"{algorithm}" in a.DerivationDescription
        factors = json.loads((out / "run.json").read_text())["factors"]
        assert factors["algorithm"] == factors["request"]["algorithm"] == algorithm
        assert factors["centring"] == ("columns" if algorithm == "dspca" else "none")
        assert f"<td>{algorithm}</td>" in (out / "report.html").read_text()
    # The slices' means are off the matrix already, so that both decompose the same one.
    for a, b in zip(datasets(tmp_path / "exact/rank-3"), datasets(tmp_path / "dspca/rank-3"), strict=True):
        assert np.abs(a.pixel_array.astype(int) - b.pixel_array).max() <= 1
        assert a.SOPInstanceUID != b.SOPInstanceUID


@pytest.mark.spark
def test_identifiers_that_are_absent_are_refused_unless_asked_for(ct_data, tmp_path):
    done = ctmahout("denoise", ct_data / "j2k_series_no_sopclass", tmp_path / "out", code=3)
    assert "[CTM_UID_MISSING]" in done.stderr
    assert "--lenient" in done.stderr
    assert not list(tmp_path.iterdir())


@pytest.mark.spark
def test_steps_one_by_one_and_a_second_run_give_the_same_bytes(ct_data, tmp_path):
    source = ct_data / "chest_pair_sharp_B70f"
    strengths = ["--strength", "auto", "--strength", "rank:3", "--timestamp", TIME]
    for name in ("first", "second"):
        ctmahout("denoise", source, tmp_path / name, "--method", "slices", *strengths)
    ctmahout("prepare", source, tmp_path / "matrix", "--method", "slices")
    ctmahout("dssvd", tmp_path / "matrix", tmp_path / "factors")
    ctmahout("reconstruct", source, tmp_path / "matrix", tmp_path / "factors", tmp_path / "steps", *strengths)
    first, second, steps = (tree(tmp_path / name) for name in ("first", "second", "steps"))
    images = [name for name in first if name.endswith(".dcm")]
    assert len(images) == 24
    for name in images:
        assert first[name] == second[name] == steps[name], name
    assert set(first) == set(second) == set(steps)


@pytest.mark.spark
def test_the_report_and_the_manifest_say_what_was_done_and_name_nobody(ct_data, tmp_path):
    source = ct_data / "chest_pair_sharp_B70f"
    done = ctmahout("denoise", source, tmp_path / "out", "--json", "--effort", "fast")
    answer = json.loads(done.stdout)
    run = json.loads((tmp_path / "out" / "run.json").read_text())
    assert answer["run"] == run
    assert run["factors"]["writer"]["mahout"] == "14.1"
    assert run["factors"]["groups"][0]["orthogonality_v"] < 1e-10
    one = datasets(source)[0]
    text = (tmp_path / "out" / "report.html").read_text() + json.dumps(run) + done.stderr
    for secret in (one.PatientName, one.PatientID, one.StudyInstanceUID, one.SeriesInstanceUID, one.StudyDate):
        assert str(secret) not in text


@pytest.mark.spark
def test_a_stopped_run_leaves_nothing_and_can_be_run_again(ct_data, tmp_path):
    import signal
    import time

    source = some_of(ct_data / "lowdose_pet_ct_STS_003", 8, tmp_path / "source")
    for stop in (signal.SIGINT, signal.SIGTERM):
        for seconds in (1.5, 5.0):
            command = [CTMAHOUT, "denoise", source, tmp_path / "out", "--effort", "fast"]
            run = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
            time.sleep(seconds)
            run.send_signal(stop)
            out, err = run.communicate(timeout=60)
            if run.returncode == 0:  # it was quicker than the signal
                shutil.rmtree(tmp_path / "out")
                continue
            assert run.returncode == 130, out + err
            assert "Traceback" not in err
            assert list(tmp_path.iterdir()) == [source]
    ctmahout("denoise", source, tmp_path / "out", "--effort", "fast")


@pytest.mark.spark
def test_numpy_needs_no_java_and_agrees_to_a_rounding(ct_data, tmp_path):
    source = ct_data / "lowdose_pet_ct_STS_002"
    options = ["--method", "slices", "--strength", "rank:5", "--no-report"]
    ctmahout("denoise", source, tmp_path / "mahout", *options)
    no_java = {"PATH": str(CTMAHOUT.parent), "HOME": str(tmp_path)}
    ctmahout("denoise", source, tmp_path / "numpy", "--engine", "numpy", *options, env=no_java)
    for a, b in zip(datasets(tmp_path / "mahout/rank-5"), datasets(tmp_path / "numpy/rank-5"), strict=True):
        difference = np.abs(a.pixel_array.astype(int) - b.pixel_array)
        assert difference.max() <= 1
        assert np.mean(difference > 0) < 1e-3


@pytest.mark.spark
def test_row_53_partitions_change_no_byte(ct_data, tmp_path):
    # In one session, of a process of its own.
    code = f"""
from ctmahout import connect, denoise
with connect("py4j") as engine:
    for n in (1, 2, 8):
        out = {str(tmp_path)!r} + f"/{{n}}"
        denoise({str(ct_data / "chest_pair_smooth_B40f")!r}, out, session=engine.session, partitions=n,
                method="slices", strength=("rank:3",), timestamp={TIME!r}, report=False)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    one, two, eight = (tree(tmp_path / str(n) / "rank-3") for n in (1, 2, 8))
    assert len(one) == 12
    assert one == two == eight


@pytest.mark.spark
def test_a_study_in_one_session_says_what_became_of_each_series(ct_data, tmp_path):
    study = tmp_path / "study"
    for name in ("chest_pair_sharp_B70f", "chest_pair_smooth_B40f"):
        shutil.copytree(ct_data / name, study / name)
    shutil.copytree(ct_data / "geometry_notavolume_001", study / "bolus")
    options = ["--all-series", "--method", "slices", "--no-report", "--strength", "rank:3"]
    done = ctmahout("denoise", study, tmp_path / "out", *options, code=3)
    assert "[CTM_STUDY_INCOMPLETE]" in done.stderr
    assert "[CTM_SLICE_DUPLICATE]" in done.stdout
    series = json.loads((tmp_path / "out" / "study.json").read_text())["series"]
    assert sorted(s["outcome"] for s in series) == ["done", "done", "failed"]
    before = tree(tmp_path / "out")
    again = ctmahout("denoise", study, tmp_path / "out", *options, "--json", code=3)
    assert sorted(s["outcome"] for s in json.loads(again.stdout)["series"]) == ["failed", "kept", "kept"]
    after = tree(tmp_path / "out")
    assert {n: d for n, d in after.items() if n != "study.json"} == {
        n: d for n, d in before.items() if n != "study.json"
    }
