"""What is written: attributes, identifiers, whole or not at all."""

import errno
import os
import shutil
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import pydicom
import pytest
from dicom_outcomes import not_written
from dicom_slices import DERIVATION, PATIENT, WHEN, datasets, names, put, raw, text, tree

from ctmahout.dicom import Derivation, read_series, write_series
from ctmahout.errors import CtmahoutError
from ctmahout.phantom.dicom import write_synthetic
from ctmahout.volume import Geometry, Volume


def test_attributes_of_a_derived_slice(slices, tmp_path):
    def edit(ds, i):
        put(
            SmallestImagePixelValue=None,
            PlanarConfiguration=0,
            IconImageSequence=[pydicom.Dataset()],
            SeriesDescription="Thorax",
            SeriesNumber=3,
            DerivationDescription="Before.",
            LossyImageCompressionRatio="10",
        )(ds, i)
        ds.add_new("LargestImagePixelValue", "US", 4000)
        ds.add_new(0x00130010, "LO", "CTP")
        ds.add_new(0xFFFCFFFC, "OB", bytes(10))

    slices.write(tmp_path / "in", edit)
    written = write_series(read_series(tmp_path / "in"), tmp_path / "out", derivation=DERIVATION, timestamp=WHEN)
    before, after = datasets(tmp_path / "in"), datasets(tmp_path / "out")
    for i, (b, a) in enumerate(zip(before, after, strict=True)):
        assert a.file_meta.MediaStorageSOPInstanceUID == a.SOPInstanceUID != b.SOPInstanceUID
        assert a.SOPClassUID == a.file_meta.MediaStorageSOPClassUID == b.SOPClassUID
        assert a.file_meta.ImplementationVersionName == "CTMAHOUT"
        assert a.SeriesInstanceUID == written.series_uid
        assert all(uid.startswith("2.25.") and len(uid) <= 44 for uid in (a.SOPInstanceUID, a.SeriesInstanceUID))
        assert list(a.ImageType) == ["DERIVED", "SECONDARY", "AXIAL", "DENOISED"]
        assert (a.SeriesDescription, a.SeriesNumber) == ("Thorax DENOISED", 9003)
        assert a.DerivationDescription == "Before.; Nothing done, by a test."
        assert [c.CodeValue for c in a.DerivationCodeSequence] == ["113087"]
        (image,) = a.SourceImageSequence
        assert image.ReferencedSOPInstanceUID == b.SOPInstanceUID
        assert image.SpatialLocationsPreserved == "YES"
        assert image.PurposeOfReferenceCodeSequence[0].CodeValue == "121322"
        (series,) = a.ReferencedSeriesSequence
        assert series.SeriesInstanceUID == b.SeriesInstanceUID
        assert [r.ReferencedSOPInstanceUID for r in series.ReferencedInstanceSequence] == [
            f"1.2.3.{k + 1}" for k in range(4)
        ]
        (equipment,) = a.ContributingEquipmentSequence
        assert equipment.PurposeOfReferenceCodeSequence[0].CodeValue == "109102"
        assert (equipment.Manufacturer, equipment.SoftwareVersions) == ("ctmahout", "0.0")
        assert equipment.ContributionDateTime == "20260131120000+0000"
        assert a.SeriesDate == a.ContentDate == a.InstanceCreationDate == "20260131"
        assert a.SeriesTime == a.ContentTime == a.InstanceCreationTime == "120000"
        gone = ("LargestImagePixelValue", "PlanarConfiguration", "IconImageSequence", "DataSetTrailingPadding")
        assert not any(keyword in a for keyword in gone)
        assert a.LossyImageCompressionRatio == 10
        assert (a.Manufacturer, a.ConvolutionKernel) == ("SIEMENS", "B70f")
        assert a.InstanceNumber == i + 1
        assert not any(e.tag.is_private for e in a.iterall())
        for keyword, value in PATIENT.items():
            assert a[keyword].value == value


def test_only_the_table_of_attributes_differs(source, tmp_path):
    write_series(read_series(source), tmp_path / "out", derivation=DERIVATION, timestamp=WHEN)
    changed = {
        "ImageType SOPInstanceUID SeriesInstanceUID SeriesDescription SeriesNumber SeriesDate SeriesTime ContentDate",
        "ContentTime InstanceCreationDate InstanceCreationTime DerivationDescription DerivationCodeSequence",
        "SourceImageSequence ReferencedSeriesSequence ContributingEquipmentSequence SmallestImagePixelValue",
        "LargestImagePixelValue InstanceCreatorUID",
    }
    changed = set(" ".join(changed).split())
    for b, a in zip(datasets(source), datasets(tmp_path / "out"), strict=True):
        for tag in {*b.keys(), *a.keys()}:
            keyword = pydicom.datadict.keyword_for_tag(tag)
            if tag.is_private or keyword in changed:
                continue
            added = {"StudyID", "AccessionNumber", "PositionReferenceIndicator", "PatientBirthDate"}
            if tag not in b:
                assert keyword in added
                assert not a[tag].value
            else:
                assert a[tag].value == b[tag].value, keyword


def test_a_rerun_gives_the_same_bytes_and_another_run_other_identifiers(source, tmp_path):
    volume = read_series(source)
    runs = {
        "first": (DERIVATION, WHEN, 1),
        "again": (DERIVATION, WHEN, 5),
        "later": (DERIVATION, WHEN + timedelta(days=1), None),
        "other": (Derivation("Nothing done, by a test.", "test 2"), WHEN, None),
        "primary": (Derivation("Nothing done, by a test.", "test 1", image_type_value2="PRIMARY"), WHEN, None),
    }
    for name, (derivation, when, workers) in runs.items():
        write_series(volume, tmp_path / name, derivation=derivation, timestamp=when, workers=workers)
    assert tree(tmp_path / "first") == tree(tmp_path / "again")
    uids = {name: [(ds.SeriesInstanceUID, ds.SOPInstanceUID) for ds in datasets(tmp_path / name)] for name in runs}
    assert uids["first"] == uids["later"]
    assert not {*uids["first"]} & {*uids["other"]}
    assert not {*uids["first"]} & {*uids["primary"]}
    assert datasets(tmp_path / "primary")[0].ImageType[1] == "PRIMARY"


def test_a_part_of_a_series_gets_identifiers_of_its_own(source, tmp_path):
    write_series(read_series(source), tmp_path / "whole", derivation=DERIVATION)
    (source / "slice-03.dcm").unlink()
    write_series(read_series(source), tmp_path / "part", derivation=DERIVATION)
    whole, part = ({ds.SOPInstanceUID for ds in datasets(tmp_path / n)} for n in ("whole", "part"))
    assert not whole & part


def test_row_54_what_is_denoised_again_says_so(source, tmp_path):
    write_series(read_series(source), tmp_path / "once", derivation=DERIVATION)
    volume = read_series(tmp_path / "once")
    assert "The source was already denoised by ctmahout." in volume.warnings
    written = write_series(volume, tmp_path / "twice", derivation=DERIVATION)
    assert "The source was already denoised by ctmahout." in written.warnings
    once, twice = datasets(tmp_path / "once")[0], datasets(tmp_path / "twice")[0]
    assert len(twice.ContributingEquipmentSequence) == 2
    assert twice.SourceImageSequence[0].ReferencedSOPInstanceUID == once.SOPInstanceUID != twice.SOPInstanceUID
    assert twice.SeriesNumber == once.SeriesNumber + 9000


def test_a_description_of_64_characters_stays_another(slices, tmp_path):
    text_64 = "x" * 55 + " DENOISED"
    slices.write(tmp_path / "in", put(SeriesDescription=text_64))
    write_series(read_series(tmp_path / "in"), tmp_path / "out", derivation=DERIVATION)
    assert datasets(tmp_path / "out")[0].SeriesDescription == "x" * 54 + " DENOISED"


@pytest.mark.parametrize(
    "options",
    [
        {"series_suffix": ""},
        {"series_suffix": "x" * 33},
        {"series_suffix": "a\\b"},
        {"series_suffix": "é"},
        {"image_type_value2": "TERTIARY"},
        {"series_number_offset": 0},
    ],
)
def test_options_that_would_not_fit_are_refused(options):
    with pytest.raises(CtmahoutError) as e:
        Derivation("", "", **options)
    assert e.value.code == "CTM_CONFIG_VALUE"


# ------------------------------------------------------------------------------------------------------------- values


def test_values_are_rounded_to_the_nearest(slices, tmp_path):
    slices.write(tmp_path / "in", put(RescaleSlope="0.5"))
    volume = read_series(tmp_path / "in")
    noise = np.random.default_rng(0).uniform(-3, 3, volume.shape).astype(np.float32)
    hu = np.maximum(volume.hu + noise, -1024)
    write_series(volume.with_hu(hu), tmp_path / "out", derivation=DERIVATION)
    assert np.abs(read_series(tmp_path / "out").hu - hu).max() <= 0.25


def test_row_47_bits_are_added_before_anything_is_clipped(source, tmp_path):
    volume = read_series(source)
    hu = volume.hu.copy()
    hu[1, 0, 0], hu[2, 0, 0], hu[2, 0, 1] = 3072, 64511, 64512
    hu[3, 0, :3] = -1024.4, -1024.6, -9999
    written = write_series(volume.with_hu(hu), tmp_path / "out", derivation=DERIVATION)
    assert written.clipped == 3
    assert any("widened to 16" in w for w in written.warnings)
    assert any(w.startswith("3 voxels") for w in written.warnings)
    again = read_series(tmp_path / "out")
    assert [again.hu[1, 0, 0], again.hu[2, 0, 0], again.hu[2, 0, 1]] == [3072, 64511, 64511]
    assert again.hu[3, 0, :3].tolist() == [-1024, -1024, -1024]
    assert {(ds.BitsStored, ds.HighBit) for ds in datasets(tmp_path / "out")} == {(16, 15)}


def test_signed_values_are_widened_both_ways(slices, tmp_path):
    slices.write(tmp_path / "in", put(PixelRepresentation=1, RescaleIntercept="0"))
    volume = read_series(tmp_path / "in")
    hu = volume.hu.copy()
    hu[0, 0, :2] = -32768, 32767
    assert write_series(volume.with_hu(hu), tmp_path / "out", derivation=DERIVATION).clipped == 0
    assert read_series(tmp_path / "out").hu[0, 0, :2].tolist() == [-32768, 32767]


def test_values_that_are_no_numbers_are_never_written(source, tmp_path):
    volume = read_series(source)
    for value in (np.nan, np.inf):
        hu = volume.hu.copy()
        hu[3, 3, 3] = value
        with pytest.raises(ValueError, match="not finite"):
            write_series(volume.with_hu(hu), tmp_path / "out", derivation=DERIVATION)
    with pytest.raises(ValueError, match="shape"):
        write_series(volume.with_hu(volume.hu[:, 1:]), tmp_path / "out", derivation=DERIVATION)
    assert names(tmp_path) == ["in"]


# ------------------------------------------------------------------------------------------------ whole or not at all


def test_row_50_an_existing_output_is_kept_unless_ours_and_asked_for(source, tmp_path):
    volume = read_series(source)
    out = tmp_path / "out"
    write_series(volume, out, derivation=DERIVATION, timestamp=WHEN)
    first = tree(out)
    assert not_written(volume, out) == "CTM_OUTPUT_EXISTS"
    write_series(volume, out, derivation=DERIVATION, timestamp=WHEN + timedelta(1), overwrite=True)
    assert list(tree(out)) == list(first)
    assert tree(out) != first
    (out / "letter.txt").write_text("not ours")
    assert not_written(volume, out, overwrite=True) == "CTM_OUTPUT_EXISTS"
    (out / "letter.txt").unlink()
    shutil.copy(source / "slice-00.dcm", out)
    assert not_written(volume, out, overwrite=True) == "CTM_OUTPUT_EXISTS"
    file = tmp_path / "file"
    file.write_text("a file")
    assert not_written(volume, file, overwrite=True) == "CTM_OUTPUT_EXISTS"


def test_row_50_output_and_input_are_kept_apart(slices, tmp_path):
    slices.write(tmp_path / "in" / "series")
    volume = read_series(tmp_path / "in")
    (tmp_path / "link").symlink_to(tmp_path / "in")
    for out in ("in", "in/series", "in/series/out", "in/out", ".", "link/out"):
        assert not_written(volume, tmp_path / out, overwrite=True) == "CTM_OUTPUT_IS_INPUT"
    # A single file is an input, its folder is not.
    single = read_series(tmp_path / "in" / "series" / "slice-00.dcm")
    assert not_written(single, tmp_path / "in" / "series" / "slice-00.dcm") == "CTM_OUTPUT_IS_INPUT"
    write_series(single, tmp_path / "in" / "out", derivation=DERIVATION)


@pytest.mark.parametrize(
    "problem", [OSError(errno.ENOSPC, "No space left on device"), OSError(errno.EROFS, "Read-only")]
)
def test_row_50_a_full_disk_leaves_nothing(source, tmp_path, monkeypatch, problem):
    volume = read_series(source)
    _break_at_third(monkeypatch, problem)
    assert not_written(volume, tmp_path / "out") == "CTM_OUTPUT_UNWRITABLE"


@pytest.mark.parametrize("problem", [KeyboardInterrupt(), RuntimeError("a bug")])
def test_row_50_an_interrupt_leaves_nothing_and_the_old_output(source, tmp_path, monkeypatch, problem):
    volume = read_series(source)
    write_series(volume, tmp_path / "out", derivation=DERIVATION, timestamp=WHEN)
    before = tree(tmp_path / "out")
    _break_at_third(monkeypatch, problem)
    for out in ("new", "out"):
        with pytest.raises(type(problem)):
            write_series(volume, tmp_path / out, derivation=DERIVATION, overwrite=True)
    assert names(tmp_path) == ["in", "out"]
    assert tree(tmp_path / "out") == before


def _break_at_third(monkeypatch, problem):
    from ctmahout.dicom import write

    save = write.save

    def failing(ds, path):
        save(ds, path)
        if path.name == "slice-0003.dcm":
            raise problem

    monkeypatch.setattr(write, "save", failing)


@pytest.mark.parametrize("case", ["gone", "touched", "longer", "other"])
def test_row_51_a_source_that_changed_is_noticed(source, tmp_path, slices, case):
    volume = read_series(source)
    file = source / "slice-02.dcm"
    status = file.stat()
    if case == "gone":
        file.unlink()
    elif case == "touched":
        os.utime(file, ns=(0, 0))
    elif case == "longer":
        file.write_bytes(file.read_bytes() + b"\0\0")
    else:
        ds = slices.slice(2)
        ds.SOPInstanceUID = ds.file_meta.MediaStorageSOPInstanceUID = "1.2.3.9"
        slices.save(ds, file)
        os.utime(file, ns=(status.st_atime_ns, status.st_mtime_ns))
        assert file.stat().st_size == status.st_size
    with pytest.raises(CtmahoutError) as e:
        write_series(volume, tmp_path / "out", derivation=DERIVATION)
    assert e.value.code == "CTM_SOURCE_CHANGED"
    assert e.value.fields["file"] == file
    assert names(tmp_path) == ["in"]


def test_times_are_those_of_the_source_s_zone(slices, tmp_path):
    slices.write(tmp_path / "in", text("TimezoneOffsetFromUTC", "+0530"))
    write_series(read_series(tmp_path / "in"), tmp_path / "out", derivation=DERIVATION, timestamp=WHEN)
    ds = datasets(tmp_path / "out")[0]
    assert (ds.SeriesTime, ds.TimezoneOffsetFromUTC) == ("173000", "+0530")
    assert ds.ContributingEquipmentSequence[0].ContributionDateTime == "20260131173000+0530"


def test_the_caller_s_warnings_are_as_before(source, tmp_path, recwarn):
    import warnings

    before = list(warnings.filters)
    write_series(read_series(source), tmp_path / "out", derivation=DERIVATION)
    assert warnings.filters == before
    assert not recwarn.list


def test_a_volume_from_elsewhere_has_no_source(tmp_path):
    geometry = Geometry(np.zeros((1, 3)), np.array([1.0, 0, 0]), np.array([0, 1.0, 0]), (1.0, 1.0))
    with pytest.raises(TypeError, match="write_synthetic"):
        write_series(Volume(np.zeros((1, 4, 4), np.float32), geometry), tmp_path / "out", derivation=DERIVATION)


# --------------------------------------------------------------------------------------------------------- simulations


def phantom(shape=(5, 12, 10), seed=0):
    z = shape[0]
    positions = np.array([-1 / 3, 2.0, -1 / 7]) + np.outer(np.arange(z) * 1.25, [0, 0.8, 0.6])
    hu = np.random.default_rng(seed).normal(40, 200, shape).astype(np.float32)
    padding = np.zeros(shape, np.bool_)
    padding[:, 0, 0] = True
    return Volume(hu, Geometry(positions, np.array([1.0, 0, 0]), np.array([0, 0.6, -0.8]), (0.7, 0.7)), padding)


def test_a_simulated_series_is_plainly_one(tmp_path):
    volume = phantom()
    how = {"study_key": "study", "timestamp": WHEN}
    noisy = write_synthetic(volume, tmp_path / "noisy", description="noisy", key="n", series_number=1, **how)
    clean = write_synthetic(volume, tmp_path / "clean", description="clean", key="c", series_number=2, **how)
    again = write_synthetic(volume, tmp_path / "again", description="noisy", key="n", series_number=1, **how)
    assert tree(tmp_path / "noisy") == tree(tmp_path / "again")
    assert noisy.series_uid == again.series_uid != clean.series_uid
    both = [*datasets(tmp_path / "noisy"), *datasets(tmp_path / "clean")]
    assert len({ds.SOPInstanceUID for ds in both}) == 10
    assert len({(ds.StudyInstanceUID, ds.FrameOfReferenceUID) for ds in both}) == 1
    assert {(str(ds.PatientName), ds.PatientID) for ds in both} == {("PHANTOM^CTMAHOUT", "PHANTOM")}
    read = read_series(tmp_path / "noisy")
    assert read.warnings == ("The source is simulated.",)
    assert np.array_equal(read.padding, volume.padding)
    assert np.abs(read.hu - volume.hu)[~volume.padding].max() <= 0.5
    assert np.allclose(read.geometry.positions_mm, volume.geometry.positions_mm, atol=1e-9)
    assert np.allclose(read.geometry.normal, volume.geometry.normal)
    written = write_series(read, tmp_path / "out", derivation=DERIVATION)
    assert written.warnings == ()
    assert np.array_equal(raw(tmp_path / "out" / "slice-0001.dcm"), raw(tmp_path / "noisy" / "slice-0001.dcm"))


def test_simulated_values_that_do_not_fit_are_counted(tmp_path):
    volume = phantom()
    volume.hu[0, 5, :3] = 31743, 31744, -33793
    written = write_synthetic(
        volume, tmp_path / "out", description="x", key="k", study_key="s", series_number=1, timestamp=datetime.now()
    )
    assert written.clipped == 2
    assert read_series(Path(tmp_path / "out")).hu[0, 5, :3].tolist() == [31743, 31743, -33792]
    volume.hu[0, 0, 1] = np.nan
    with pytest.raises(ValueError, match="not finite"):
        write_synthetic(volume, tmp_path / "nan", description="x", key="k", study_key="s", series_number=1)
