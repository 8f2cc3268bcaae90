"""The report as DICOM: what others think of it, what can be read back, and whom it names."""

import shutil
import subprocess
import sys

import numpy as np
import pydicom
import pytest
from dicom_slices import PATIENT, Slices, datasets, tree
from helpers import refusal

import ctmahout
from ctmahout.dicom.documents import QUANTITIES, SITES
from ctmahout.report import measurements
from ctmahout.workflows.convert import convert

pytestmark = pytest.mark.usefixtures("extras")

HOW = {"method": "slices", "engine": "numpy", "timestamp": "2026-01-31T12:00:00+00:00", "dicom_report": True}


def edit(ds, i):
    """Make it a slice with tissues: soft tissue in lung, with noise."""
    y, x = np.mgrid[:96, :96]
    hu = np.where(np.hypot(y - 48, x - 48) < 30, 50.0, -800.0) + np.random.default_rng(i).normal(0, 20, (96, 96))
    slope, intercept = float(ds.RescaleSlope), float(ds.RescaleIntercept)
    ds.PixelData = np.round((hu - intercept) / slope).astype(np.uint16).tobytes()
    ds.SpecificCharacterSet, ds.PatientName = "ISO_IR 100", "Zebedee^Quentïn"
    ds.StudyDescription, ds.AccessionNumber, ds.StudyID = "Thorax", "ACC-815", "S-99"


@pytest.fixture(scope="module")
def run(ct_slice, tmp_path_factory):
    folder = tmp_path_factory.mktemp("documents")
    Slices(ct_slice, 96).write(folder / "in", edit, 5)
    done = ctmahout.denoise(folder / "in", folder / "out", strength=("rank:1", "rank:3"), report=False, **HOW)
    yield folder, done
    shutil.rmtree(folder)


def documents(folder):
    return [pydicom.dcmread(folder / "dicom-report" / name) for name in ("measurements.dcm", "report.dcm")]


def judged(tool, *files):
    done = subprocess.run([tool, *files], capture_output=True, text=True, check=False)
    return [line for line in (done.stdout + done.stderr).splitlines() if line.startswith("Error")]


def test_validators_find_nothing_wrong(run, dicom_tools):
    folder, _ = run
    files = sorted((folder / "out").rglob("*.dcm"))
    assert len(files) == 12
    assert [judged("dciodvfy", "-new", file) for file in files[:2]] == [[], []]
    sources = sorted((folder / "in").iterdir())
    assert judged("dcentvfy", *sources, *files) == judged("dcentvfy", *sources)


def test_highdicom_reads_the_measurements_back_and_the_images_they_were_made_on(run):
    from highdicom.sr import srread

    folder, done = run
    report = srread(folder / "out" / "dicom-report" / "measurements.dcm")
    groups = report.content.get_image_measurement_groups()
    numbers = done.run["numbers"]
    expected = {"before": (folder / "in", numbers["before"])}
    expected |= {s.strength: (s.path, numbers["after"][s.strength]) for s in done.series}
    assert {group.tracking_identifier for group in groups} == set(expected)
    images = set()
    for group in groups:
        path, values = expected[group.tracking_identifier]
        cited = {item.ReferencedSOPSequence[0].ReferencedSOPInstanceUID for item in group.source_images}
        assert cited == {ds.SOPInstanceUID for ds in datasets(path)}
        images |= cited
        found = {
            (m.name.value, m.derivation and m.derivation.value, tuple(s.value.value for s in m.finding_sites)): m.value
            for m in group.get_measurements()
        }
        wanted = {}
        for one in measurements(values):
            name, _, derivation = QUANTITIES[one.quantity]
            site = (SITES[one.tissue].value,) if one.tissue else ()
            wanted[name.value, derivation and derivation.value, site] = one.value
        assert found == wanted
        assert found["112031", "386136009", ("87784001",)] == values["noise_sd_hu"]["soft"] > 1
    assert {evidence[2] for evidence in report.get_evidence()} == images
    assert len(images) == 15


def test_the_pdf_is_a_pdf_with_numbers_and_pictures(run, tmp_path):
    folder, done = run
    _, document = documents(folder / "out")
    file = tmp_path / "report.pdf"
    file.write_bytes(document.EncapsulatedDocument[: document.EncapsulatedDocumentLength])
    text, listed = (
        subprocess.run(words, capture_output=True, text=True, check=True).stdout
        for words in (["pdftotext", "-layout", file, "-"], ["pdfimages", "-list", file])
    )
    assert "not for diagnosis" in text
    for name, numbers in {"before": done.run["numbers"]["before"], **done.run["numbers"]["after"]}.items():
        (line,) = (line for line in text.splitlines() if line.strip().startswith(f"{name}: Noise SD"))
        assert f"{numbers['noise_sd_hu']['soft']:.2f}" in line
    assert listed.count("jpeg") == 54
    assert document.MIMETypeOfEncapsulatedDocument == "application/pdf"


def test_it_is_in_the_study_of_the_series_and_says_no_more_of_the_patient(run):
    folder, _ = run
    source, derived = datasets(folder / "in")[0], datasets(folder / "out" / "rank-1")[0]
    series = {derived.SeriesInstanceUID, source.SeriesInstanceUID}
    for ds in documents(folder / "out"):
        assert ds.StudyInstanceUID == source.StudyInstanceUID
        assert ds.SeriesInstanceUID not in series
        series.add(ds.SeriesInstanceUID)
        for keyword in (*PATIENT, "StudyDescription", "AccessionNumber", "StudyID", "SpecificCharacterSet"):
            assert ds.get(keyword) == source.get(keyword), keyword
        assert (ds.ContentDate, ds.ContentTime) == (derived.ContentDate, derived.ContentTime)
        content = [element.value for element in ds.iterall() if element.VR in ("LT", "UT", "LO", "ST", "SH")]
        assert "Quent" not in " ".join(map(str, content))
    assert b"Quent" not in documents(folder / "out")[1].EncapsulatedDocument
    keywords = {element.keyword for element in documents(folder / "out")[1]} & {e.keyword for e in source}
    beyond = {
        "PatientName",
        "PatientID",
        "PatientBirthDate",
        "PatientSex",
        "PatientAge",
        "PatientWeight",
        "PatientIdentityRemoved",
    }
    assert {k for k in keywords if k.startswith("Patient")} <= beyond


def test_the_same_run_gives_the_same_bytes_and_another_one_other_uids(run, tmp_path):
    folder, done = run
    again = ctmahout.denoise(folder / "in", tmp_path / "a", strength=("rank:1", "rank:3"), report=False, **HOW)
    assert tree(again.path / "dicom-report") == tree(done.path / "dicom-report")
    other = ctmahout.denoise(folder / "in", tmp_path / "b", strength=("rank:1",), report=False, **HOW)
    for ours, theirs in zip(documents(done.path), documents(other.path), strict=True):
        assert ours.SOPInstanceUID != theirs.SOPInstanceUID
        assert ours.SeriesInstanceUID != theirs.SeriesInstanceUID


def test_deidentified_it_names_nobody_and_no_source(run, tmp_path, dicom_tools):
    folder, _ = run
    done = ctmahout.denoise(folder / "in", tmp_path / "out", strength=("rank:2",), deidentify=True, **HOW)
    source, derived = datasets(folder / "in")[0], datasets(done.path / "rank-2")[0]
    for file, ds in zip(sorted((done.path / "dicom-report").iterdir()), documents(done.path), strict=True):
        content = file.read_bytes()
        for text in ("Quent", "ZQ-4711", "19330303", "Thorax", "ACC-815", "S-99"):
            assert text.encode() not in content
        for uid in (
            source.StudyInstanceUID,
            source.SeriesInstanceUID,
            *(d.SOPInstanceUID for d in datasets(folder / "in")),
        ):
            assert f"{uid}\0".encode() not in content
            assert f"{uid}".encode() + b"\x08" not in content
        assert (ds.StudyInstanceUID, ds.PatientID) == (derived.StudyInstanceUID, derived.PatientID)
        assert ds.PatientIdentityRemoved == "YES"
        assert judged("dciodvfy", "-new", file) == []
    assert judged("dcentvfy", *sorted(done.path.rglob("*.dcm"))) == []


def strange(ds, i):
    edit(ds, i)
    ds.PatientSex, ds.PatientBirthDate, ds.PatientAge = "X", "never", "old"
    ds.SeriesNumber = None


def test_a_patient_as_no_standard_has_it_is_copied_as_it_is(ct_slice, tmp_path):
    Slices(ct_slice, 96).write(tmp_path / "in", strange, 3)
    done = ctmahout.denoise(tmp_path / "in", tmp_path / "out", strength="rank:1", **HOW)
    for ds in documents(done.path):
        assert (ds.PatientSex, ds["PatientBirthDate"].value, ds.SeriesNumber > 9000) == ("X", "never", True)


def test_enhanced_images_are_referred_to_as_the_derived_images_do(ct_data, tmp_path):
    done = ctmahout.denoise(
        ct_data / "legacy_converted_enhanced", tmp_path / "out", strength="rank:1", lenient=True, series="1", **HOW
    )
    report, document = documents(done.path)
    derived = datasets(done.path / "rank-1")
    sources = derived[0].ReferencedSeriesSequence[0].ReferencedInstanceSequence
    expected = {(ds.SOPClassUID, ds.SOPInstanceUID) for ds in derived}
    expected |= {(item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID) for item in sources}
    for items in (evidence(report), document.SourceInstanceSequence):
        assert {(item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID) for item in items} == expected
        assert len(items) == len(expected)


def evidence(report):
    (study,) = report.CurrentRequestedProcedureEvidenceSequence
    return [item for series in study.ReferencedSeriesSequence for item in series.ReferencedSOPSequence]


def test_what_cannot_be_is_refused_before_the_work(run, tmp_path, monkeypatch):
    folder, _ = run
    convert(folder / "in", tmp_path / "a.npz")
    error = refusal(ctmahout.denoise, tmp_path / "a.npz", tmp_path / "out", strength="rank:1", **HOW)
    assert (error.code, error.fields["key"]) == ("CTM_CONFIG_VALUE", "dicom_report")
    for package in ("reportlab", "highdicom"):
        with monkeypatch.context() as patch:
            patch.setitem(sys.modules, package, None)
            error = refusal(ctmahout.denoise, tmp_path / "nowhere", tmp_path / "out", **HOW)
            assert (error.code, error.fields["package"]) == ("CTM_EXTRA_MISSING", package)
            assert "ctmahout[dicom-report]" in error.hint
    assert not (tmp_path / "out").exists()
