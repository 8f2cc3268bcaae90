"""The main job as a user runs it: the installed command, real series, real Spark and Mahout."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pydicom
import pytest
from helpers import tree

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


CHEST = "chest_pair_sharp_B70f"  # of twelve slices
SLICES = ("--method", "slices")
STRENGTHS = ("--strength", "auto", "--strength", "rank:3", "--strength", "rank:12", "--timestamp", TIME)
# What uses one of the runs that several tests look at: each of pytest's workers would make its own.
looks_at_a_run = pytest.mark.xdist_group("e2e")


@pytest.fixture(scope="module")
def whole(ct_data, tmp_path_factory):
    """The chest by one command, at three strengths: the folder, and the command's answer."""
    out = tmp_path_factory.mktemp("whole") / "out"
    return out, ctmahout("denoise", ct_data / CHEST, out, *SLICES, *STRENGTHS, "--json")


@pytest.fixture(scope="module")
def in_one_session(ct_data, tmp_path_factory):
    """Runs of a process with a session of its own: one for each number of partitions, one for each algorithm."""
    folder = tmp_path_factory.mktemp("session")
    code = f"""
from ctmahout import connect, denoise
how = dict(method="slices", timestamp={TIME!r})
with connect("py4j") as door:
    for n in (1, 2, 8):
        out = {str(folder)!r} + f"/{{n}}"
        denoise({str(ct_data / "chest_pair_smooth_B40f")!r}, out, session=door.session, partitions=n,
                strength=("rank:3",), report=False, **how)
    for algorithm in ("exact", "dspca"):
        denoise({str(ct_data / CHEST)!r}, {str(folder)!r} + "/" + algorithm, session=door.session,
                algorithm=algorithm, strength=("rank:12", "rank:3"), **how)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    return folder


def gives_back(source, result):
    """Check that a series of full rank is its source, but for identifiers."""
    before, after = datasets(source), datasets(result)
    assert len(after) == len(before)
    for b, a in zip(before, after, strict=True):
        assert a.ImagePositionPatient == b.ImagePositionPatient
        assert np.array_equal(a.pixel_array, b.pixel_array)
        assert a.file_meta.MediaStorageSOPInstanceUID == a.SOPInstanceUID != b.get("SOPInstanceUID")
        assert a.SeriesInstanceUID != b.SeriesInstanceUID
        if b.StudyInstanceUID:  # the JPEG 2000 series has none; --lenient makes one
            assert a.StudyInstanceUID == b.StudyInstanceUID
    assert len({a.StudyInstanceUID for a in after}) == 1
    assert all(a.StudyInstanceUID for a in after)
    assert len({a.SOPInstanceUID for a in after}) == len(after)


@pytest.mark.spark
@looks_at_a_run
def test_full_rank_gives_the_source_back_bit_for_bit(ct_data, whole):
    gives_back(ct_data / CHEST, whole[0] / "rank-12")


# By whatever decomposes: the chest goes through Spark.
@pytest.mark.parametrize(
    "name", ["j2k_series_no_sopclass", pytest.param("lowdose_pet_ct_STS_003", marks=pytest.mark.release)]
)
def test_full_rank_gives_other_sources_back_bit_for_bit(ct_data, tmp_path, name):
    source = ct_data / name
    n = len(datasets(source))
    lenient = ["--lenient"] if name == "j2k_series_no_sopclass" else []
    options = [*SLICES, "--engine", "numpy", "--strength", f"rank:{n}", "--no-report", *lenient]
    ctmahout("denoise", source, tmp_path / "out", *options)
    gives_back(source, tmp_path / "out" / f"rank-{n}")


@pytest.mark.spark
@looks_at_a_run
@pytest.mark.parametrize("engine", ["py4j", "numpy"])
def test_every_algorithm_gives_the_source_back_and_is_told(ct_data, in_one_session, tmp_path, engine):
    source = ct_data / CHEST
    before = datasets(source)
    made = in_one_session
    if engine == "numpy":
        made = tmp_path
        for algorithm in ("exact", "dspca"):
            strengths = ["--strength", "rank:12", "--strength", "rank:3"]
            ctmahout(
                "denoise", source, made / algorithm, *SLICES, "--algorithm", algorithm, "--engine", engine, *strengths
            )
    for algorithm in ("exact", "dspca"):
        out = made / algorithm
        for b, a in zip(before, datasets(out / "rank-12"), strict=True):
            assert np.array_equal(a.pixel_array, b.pixel_array)
            assert f"{algorithm}" in a.DerivationDescription
        factors = json.loads((out / "run.json").read_text())["factors"]
        assert ("mahout" in factors["writer"]) == (engine == "py4j")
        assert factors["algorithm"] == factors["request"]["algorithm"] == algorithm
        assert factors["centring"] == ("columns" if algorithm == "dspca" else "none")
        assert f"<td>{algorithm}</td>" in (out / "report.html").read_text()
    # The slices' means are off the matrix already, so that both decompose the same one.
    for a, b in zip(datasets(made / "exact/rank-3"), datasets(made / "dspca/rank-3"), strict=True):
        assert np.abs(a.pixel_array.astype(int) - b.pixel_array).max() <= 1
        assert a.SOPInstanceUID != b.SOPInstanceUID


@pytest.mark.spark
def test_identifiers_that_are_absent_are_refused_unless_asked_for(ct_data, tmp_path):
    done = ctmahout("denoise", ct_data / "j2k_series_no_sopclass", tmp_path / "out", code=3)
    assert "[CTM_UID_MISSING]" in done.stderr
    assert "--lenient" in done.stderr
    assert not list(tmp_path.iterdir())


@pytest.mark.spark
@looks_at_a_run
def test_steps_one_by_one_and_a_second_run_give_the_same_bytes(ct_data, whole, tmp_path):
    source = ct_data / CHEST
    ctmahout("denoise", source, tmp_path / "second", *SLICES, *STRENGTHS, "--no-report")
    ctmahout("prepare", source, tmp_path / "matrix", *SLICES)
    ctmahout("dssvd", tmp_path / "matrix", tmp_path / "factors")
    ctmahout("reconstruct", source, tmp_path / "matrix", tmp_path / "factors", tmp_path / "steps", *STRENGTHS)
    first, second, steps = (tree(folder) for folder in (whole[0], tmp_path / "second", tmp_path / "steps"))
    images = [name for name in first if name.endswith(".dcm")]
    assert len(images) == 36
    for name in images:
        assert first[name] == second[name] == steps[name], name
    assert set(first) == {*second, "report.html"} == set(steps)


@pytest.mark.spark
@looks_at_a_run
def test_the_report_and_the_manifest_say_what_was_done_and_name_nobody(ct_data, whole):
    out, done = whole
    run = json.loads((out / "run.json").read_text())
    assert json.loads(done.stdout)["run"] == run
    assert run["factors"]["writer"]["mahout"] == "14.1"
    assert run["factors"]["groups"][0]["orthogonality_v"] < 1e-10
    names_nobody(ct_data / CHEST, out, done.stderr)


def names_nobody(source, out, said):
    """Check that report, manifest and what was said name neither patient nor study."""
    one = datasets(source)[0]
    text = (out / "report.html").read_text() + (out / "run.json").read_text() + said
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
    ctmahout("denoise", source, tmp_path / "out", *SLICES, "--engine", "numpy")


@pytest.mark.spark
@looks_at_a_run
def test_numpy_needs_no_java_and_agrees_to_a_rounding(ct_data, whole, tmp_path):
    options = [*SLICES, "--strength", "rank:3", "--no-report", "--engine", "numpy"]
    no_java = {"PATH": str(CTMAHOUT.parent), "HOME": str(tmp_path)}
    ctmahout("denoise", ct_data / CHEST, tmp_path / "numpy", *options, env=no_java)
    for a, b in zip(datasets(whole[0] / "rank-3"), datasets(tmp_path / "numpy/rank-3"), strict=True):
        difference = np.abs(a.pixel_array.astype(int) - b.pixel_array)
        assert difference.max() <= 1
        assert np.mean(difference > 0) < 1e-3


@pytest.mark.spark
@looks_at_a_run
def test_row_53_partitions_change_no_byte(in_one_session):
    one, two, eight = (tree(in_one_session / str(n) / "rank-3") for n in (1, 2, 8))
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
    changed = {name for name in before.keys() | after.keys() if before.get(name) != after.get(name)}
    assert changed <= {"study.json", "results.parquet"}  # which say that series were kept
