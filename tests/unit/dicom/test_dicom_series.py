"""Which slices make a series, in what order, and what is told of them (numbers: rows of docs/inputs.md)."""

import os
import shutil

import numpy as np
import pydicom
import pytest
from dicom_outcomes import accepted, refused
from dicom_slices import DERIVATION, Slices, eight_rows, put, quietly, raw, text

from ctmahout.dicom import read_series, summarise, write_series
from ctmahout.dicom.files import parallel_map


def test_row_18_bits_stored_varies(slices, tmp_path):
    slices.write(tmp_path / "in", put(BitsStored=16, HighBit=15), only=[1])
    accepted(tmp_path / "in", "BitsStored or PixelRepresentation differs")


def test_row_19_20_36_43_what_is_no_slice_is_left_out_and_counted(slices, tmp_path, ct_data):
    folder = slices.write(tmp_path / "in" / "deep" / "er", name="{}")
    slices.write(folder, put(ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"]), n=1, name="IM{}")
    slices.write(folder, put(Modality="MR", SOPClassUID="1.2.840.10008.5.1.4.1.1.4"), n=1, name="MR{}")
    slices.write(folder, put(SOPClassUID="1.2.840.10008.5.1.4.1.1.88.67"), n=1, name="dose")
    slices.write(folder, put(SamplesPerPixel=3, PhotometricInterpretation="RGB"), n=1, name="page")
    slices.write(folder, put(SOPClassUID="1.2.840.10008.1.3.10"), n=1, name="DICOMDIR")
    (folder / ".DS_Store").write_bytes(bytes(4096))
    (folder / "._0.dcm").write_bytes(b"\0\x05\x16\x07" + bytes(200))
    (folder / "report.pdf").write_bytes(b"%PDF-1.4 " + bytes(200))
    (folder / "nothing").touch()
    (folder / "loop").symlink_to(folder)
    os.mkfifo(folder / "pipe")
    volume = accepted(tmp_path / "in", "Left out, for they are no CT slices: ")
    assert volume.shape == (4, 16, 16)
    assert summarise(tmp_path / "in").skipped == {
        "DICOMDIR": 1,
        "MR Image Storage": 1,
        "X-Ray Radiation Dose SR Storage": 1,
        "colour image": 1,
        "empty file": 1,
        "localizer": 1,
        "no DICOM file": 3,
        "special file": 1,
    }
    shutil.rmtree(tmp_path / "in")
    (tmp_path / "in").mkdir()
    assert refused(tmp_path / "in").code == "CTM_INPUT_EMPTY"
    assert refused(tmp_path / "gone").code == "CTM_INPUT_NOT_FOUND"
    (tmp_path / "in" / "report.pdf").write_bytes(b"%PDF-1.4")
    error = refused(tmp_path / "in")
    assert (error.code, error.fields["found"]) == ("CTM_INPUT_NO_CT", "1 no DICOM file")


@pytest.mark.parametrize(
    ("attribute", "edit"),
    [
        ("ImageOrientationPatient", put(ImageOrientationPatient=[1, 0, 0, 0, 0, -1])),
        ("ImageOrientationPatient", put(ImageOrientationPatient=[1, 0, 0, 0, 0.99985, 0.01745])),  # one degree
        ("Rows and Columns", eight_rows),
        ("PixelSpacing", put(PixelSpacing=[0.7, 0.7])),
    ],
)
def test_row_21_23_slices_that_do_not_belong_together(slices, tmp_path, attribute, edit):
    slices.write(tmp_path / "in", edit, only=[1])
    for lenient in (False, True):
        error = refused(tmp_path / "in", lenient=lenient)
        assert (error.code, error.fields["attribute"]) == ("CTM_SERIES_MIXED", attribute)
        assert error.fields["file"].name == "slice-01.dcm"
    assert any("CTM_SERIES_MIXED" in d for d in summarise(tmp_path / "in")[0].doubts)


def test_row_35_one_series_uid_of_two_studies_or_patients(slices, tmp_path):
    for keyword, shown in (("StudyInstanceUID", "StudyInstanceUID"), ("PatientID", "the patient")):
        folder = slices.write(tmp_path / keyword, put(**{keyword: "1.2.3"}), only=[3])
        error = refused(folder)
        assert (error.code, error.fields["attribute"]) == ("CTM_SERIES_MIXED", shown)
        accepted(folder, shown, lenient=True)


def test_slices_of_two_kernels_are_told(slices, tmp_path):
    accepted(slices.write(tmp_path / "in", put(ConvolutionKernel="B40f"), only=[0]), "ConvolutionKernel differs")


def test_row_22_reformats_are_told(slices, tmp_path):
    folder = slices.write(tmp_path / "in", put(ImageType=["DERIVED", "SECONDARY", "REFORMATTED", "AVERAGE"]))
    accepted(folder, "itself a derived image")


def test_row_24_tilt_is_kept_and_told(slices, tmp_path):
    def edit(ds, i):
        ds.ImagePositionPatient = [0, 2 * i, 8 * i]

    volume = accepted(slices.write(tmp_path / "in", edit), "stacked at 14.0 degrees")
    assert volume.geometry.positions_mm[3] == pytest.approx([0, 6, 24])


def test_slices_shifted_sideways_are_told(slices, tmp_path):
    def edit(ds, i):
        ds.ImagePositionPatient = [20, 0, 8 * i]

    accepted(slices.write(tmp_path / "in", edit, only=[1]), "shifted sideways")


@pytest.mark.parametrize(("lost", "n", "gap"), [([5], 12, "16.000 mm"), ([4, 5, 6], 12, "32.000 mm")])
def test_row_25_26_missing_slices(slices, tmp_path, lost, n, gap):
    slices.write(tmp_path / "in", n=n)
    for i in lost:
        (tmp_path / "in" / f"slice-{i:02d}.dcm").unlink()
    error = refused(tmp_path / "in")
    assert error.code == "CTM_SLICE_MISSING"
    assert gap in error.message
    assert f"between {8 * (lost[0] - 1):.2f} and {8 * (lost[-1] + 1):.2f}" in error.message
    assert accepted(tmp_path / "in", gap, lenient=True).shape[0] == n - len(lost)


def test_row_25_steps_that_differ_by_rounding_pass_and_by_more_do_not(slices, tmp_path):
    def wobble(mm):
        def edit(ds, i):
            ds.ImagePositionPatient = [0, 0, 8 * i + (mm if i == 2 else 0)]

        return edit

    accepted(slices.write(tmp_path / "rounded", wobble(0.05)))
    assert refused(slices.write(tmp_path / "uneven", wobble(0.2))).code == "CTM_SLICE_UNEVEN"


def test_row_27_copies_are_left_out_and_other_repeats_refused(slices, tmp_path, ct_data):
    folder = slices.write(tmp_path / "copy")
    shutil.copy(folder / "slice-01.dcm", folder / "again.dcm")
    assert accepted(folder, "1 files repeat another byte for byte").shape == (4, 16, 16)
    folder = slices.write(tmp_path / "uid", put(SOPInstanceUID="1.2.3.1"), only=[2])
    place = slices.write(tmp_path / "place", put(ImagePositionPatient=[0, 0, 0]), only=[2])
    for path, attribute in ((folder, "SOPInstanceUID"), (place, "ImagePositionPatient")):
        for lenient in (False, True):
            error = refused(path, lenient=lenient)
            assert (error.code, error.fields["attribute"]) == ("CTM_SLICE_DUPLICATE", attribute)
    assert refused(ct_data / "geometry_notavolume_001", lenient=True).code == "CTM_SLICE_DUPLICATE"


def test_row_28_neither_file_names_nor_instance_numbers_order_slices(slices, tmp_path):
    sound = read_series(slices.write(tmp_path / "sound", n=8))
    order = [5, 2, 7, 0, 3, 6, 1, 4]
    for case, number in {"reversed": lambda i: 8 - i, "equal": lambda i: 1, "none": lambda i: None}.items():
        folder = slices.write(tmp_path / case, lambda ds, i, number=number: put(InstanceNumber=number(i))(ds, i), n=8)
        for i, new in enumerate(order):
            (folder / f"slice-{i:02d}.dcm").rename(folder / f"{new}")
        volume = accepted(folder)
        assert np.array_equal(volume.hu, sound.hu)
        assert np.array_equal(volume.geometry.positions_mm, sound.geometry.positions_mm)
        write_series(volume, tmp_path / f"{case}-out", derivation=DERIVATION)
        assert np.array_equal(read_series(tmp_path / f"{case}-out").hu, sound.hu)


def test_row_29_frames_of_reference(slices, tmp_path):
    def edit(ds, i):
        ds.FrameOfReferenceUID = f"1.2.3.{i}"

    def written(name):
        write_series(read_series(tmp_path / name), tmp_path / f"{name}-out", derivation=DERIVATION)
        files = sorted((tmp_path / f"{name}-out").iterdir())
        return [pydicom.dcmread(f).FrameOfReferenceUID for f in files]

    accepted(slices.write(tmp_path / "each", edit), "FrameOfReferenceUID differs")
    assert written("each") == [f"1.2.3.{i}" for i in range(4)]
    accepted(slices.write(tmp_path / "none", put(FrameOfReferenceUID=None)), "FrameOfReferenceUID is absent")
    assert len(set(written("none"))) == 1


@pytest.mark.parametrize("keyword", ["SOPInstanceUID", "SOPClassUID", "SeriesInstanceUID", "StudyInstanceUID"])
def test_row_30_identifiers_absent(slices, tmp_path, keyword):
    folder = slices.write(tmp_path / "in", put(**{keyword: None}))
    error = refused(folder)
    assert (error.code, error.fields["attribute"]) == ("CTM_UID_MISSING", keyword)
    volume = accepted(folder, f"no {keyword}", lenient=True)
    uids = []
    for name in ("a", "b"):
        write_series(volume, tmp_path / name, derivation=DERIVATION)
        written = [pydicom.dcmread(f) for f in sorted((tmp_path / name).iterdir())]
        uids.append([ds.SOPInstanceUID for ds in written])
        assert all(ds.get(keyword) for ds in written)
    assert uids[0] == uids[1]
    assert len(set(uids[0])) == 4


def test_row_31_32_image_type_and_type_2_attributes_absent(slices, tmp_path):
    absent = ("KVP", "Manufacturer", "PatientBirthDate", "AccessionNumber", "StudyID", "PositionReferenceIndicator")
    for image_type in (None, ["ORIGINAL", "PRIMARY"]):
        folder = tmp_path / str(image_type)
        slices.write(folder, put(ImageType=image_type, **dict.fromkeys(absent)))
        volume = accepted(folder, "ImageType is absent or incomplete")
        write_series(volume, tmp_path / f"{image_type}-out", derivation=DERIVATION)
        ds = pydicom.dcmread(tmp_path / f"{image_type}-out" / "slice-0001.dcm")
        assert list(ds.ImageType) == ["DERIVED", "SECONDARY", "AXIAL", "DENOISED"]
        assert all(keyword in ds and not ds[keyword].value for keyword in absent)


@pytest.mark.parametrize("size", [1, 16, 61])
@pytest.mark.parametrize("n", [1, 2])
def test_row_44_45_46_small_and_flat_series(ct_data, tmp_path, size, n):
    slices = Slices(ct_data / "chest_pair_sharp_B70f" / "1-12.dcm", size)

    def flat(ds, i):
        ds.PixelData = np.full((size, size), 0, "<u2").tobytes()
        ds.add_new("PixelPaddingValue", "US", 0)

    volume = accepted(slices.write(tmp_path / "in", n=n))
    assert volume.shape == (n, size, size)
    write_series(volume, tmp_path / "out", derivation=DERIVATION)
    volume = accepted(slices.write(tmp_path / "flat", flat, n=n))
    assert volume.padding.all()
    write_series(volume.with_hu(volume.hu + 500), tmp_path / "flat-out", derivation=DERIVATION)
    assert not any(raw(f).any() for f in (tmp_path / "flat-out").iterdir())


def test_row_48_texts_in_other_scripts_keep_their_bytes(slices, tmp_path):
    cases = {
        "GB18030": ("GB18030", "胸部平扫".encode("gb18030")),
        "ISO_IR 192": ("ISO_IR 192", "胸部".encode() * 9),
        "kanji": ("\\ISO 2022 IR 87", b"\x1b$B6;It\x1b(B plain"),
        "unknown": ("ISO_IR 999", b"Thorax \xe9\xe8"),
        "none": ("", b"Thorax \xe9"),
        "64 characters": ("ISO_IR 100", b"x" * 64),
    }
    for name, (charset, description) in cases.items():
        # Placed into the file byte for byte: pydicom would encode them anew.
        stand_in, charset_stand_in = "@" * len(description), "#" * len(charset)

        def edit(ds, i, stand_in=stand_in, charset=charset_stand_in):
            text("PatientName", stand_in)(ds, i)
            text("SeriesDescription", stand_in)(ds, i)
            text("SpecificCharacterSet", charset)(ds, i)

        folder = slices.write(tmp_path / name, edit, n=1)
        file = folder / "slice-00.dcm"
        data = file.read_bytes().replace(stand_in.encode(), description)
        if charset:
            data = data.replace(charset_stand_in.encode(), charset.encode())
        file.write_bytes(data)
        volume = accepted(folder)
        write_series(volume, tmp_path / f"{name}-out", derivation=DERIVATION)
        before = quietly(pydicom.dcmread, folder / "slice-00.dcm")
        after = quietly(pydicom.dcmread, tmp_path / f"{name}-out" / "slice-0001.dcm")
        assert before.get_item("PatientName").value.rstrip() == after.get_item("PatientName").value.rstrip(), name
        written = after.get_item("SeriesDescription").value.rstrip()
        assert written.endswith(b" DENOISED"), name
        assert written.startswith(description[:55].rstrip()), (name, written)
        assert len(quietly(lambda after=after: after.SeriesDescription)) <= 64


@pytest.mark.parametrize(
    ("given", "expected"),
    [("2147483647", 9000), ("2147474647", 2147483647), ("", 9000), ("1e3", 9000), ("abc", 9000), ("7", 9007)],
)
def test_row_49_series_numbers(slices, tmp_path, given, expected):
    slices.write(tmp_path / "in", text("SeriesNumber", given))
    write_series(read_series(tmp_path / "in"), tmp_path / "out", derivation=DERIVATION)
    assert pydicom.dcmread(tmp_path / "out" / "slice-0001.dcm").SeriesNumber == expected


def test_row_55_long_and_odd_paths(slices, tmp_path):
    folder = slices.write(tmp_path / "1.000000-P4P113 Gated 40.0B-29543 Ünïcode 胸部" / ("x" * 200))
    write_series(read_series(folder), tmp_path / "out dir ü", derivation=DERIVATION)
    assert np.array_equal(read_series(tmp_path / "out dir ü").hu, read_series(folder).hu)


def test_choosing_a_series(slices, tmp_path):
    slices.write(tmp_path / "in" / "a", put(SeriesInstanceUID="1.2.1", SeriesNumber=2))
    slices.write(tmp_path / "in" / "b", put(SeriesInstanceUID="1.2.2", SeriesNumber=7), n=5)
    slices.write(tmp_path / "in" / "c", put(SeriesInstanceUID="1.2.3", SeriesNumber=7), n=6)
    path = tmp_path / "in"
    error = refused(path)
    assert (error.code, error.fields["count"]) == ("CTM_SERIES_AMBIGUOUS", 3)
    assert "[2] SeriesNumber 7, 5 slices, 16 x 16" in error.message
    for given, n in (("1.2.2", 5), ("1", 4), (1, 4), ("[2]", 5), (3, 6), ("1.2.3", 6)):
        assert len(read_series(path, series=given).hu) == n
    # 2 is a SeriesNumber and another one's place, 7 is the SeriesNumber of two: neither is guessed.
    for given in (2, "7"):
        assert refused(path, series=given).code == "CTM_SERIES_AMBIGUOUS"
    for given in ("4", "1.2", "", "[4]", "0", "-1"):
        assert refused(path, series=given).code == "CTM_SERIES_UNKNOWN"
    assert [(s.number, s.series_uid, s.slices) for s in summarise(path)] == [
        (1, "1.2.1", 4),
        (2, "1.2.2", 5),
        (3, "1.2.3", 6),
    ]


def test_progress_is_told_in_order(slices, tmp_path):
    told = []
    slices.write(tmp_path / "in")
    volume = read_series(tmp_path / "in", progress=lambda *a: told.append(a), workers=3)
    write_series(volume, tmp_path / "out", derivation=DERIVATION, progress=lambda *a: told.append(a))
    assert told == [(phase, i, 4) for phase in ("find", "read", "write") for i in (1, 2, 3, 4)]


def test_the_first_error_ends_the_work():
    begun = []

    def work(i):
        begun.append(i)
        if i == 1:
            raise RuntimeError("one")
        return i

    with pytest.raises(RuntimeError, match="one"):
        parallel_map(work, range(100_000), workers=2)
    assert len(begun) < 100_000
    assert parallel_map(lambda i: i * i, range(5), workers=3) == [0, 1, 4, 9, 16]


def test_row_52_sizes_that_no_memory_holds(slices, tmp_path):
    def edit(ds, i):
        ds.compress("1.2.840.10008.1.2.5", generate_instance_uid=False)
        ds.Rows = ds.Columns = 65535

    slices.write(tmp_path / "in", edit, n=60, enforce_file_format=True)
    error = refused(tmp_path / "in")
    assert error.code == "CTM_INPUT_TOO_LARGE"
    assert "60 slices of 65535 x 65535" in error.message


def test_pydicom_logs_nothing_of_what_is_read_and_written(slices, tmp_path, caplog):
    folder = slices.write(tmp_path / "in", text("StudyID", "Zebedee far too long for SH"))
    for i, file in enumerate(sorted(folder.iterdir())):
        file.write_bytes(file.read_bytes().replace(f"1.2.3.{i + 1}\0".encode(), f"1.2.A.{i + 1}\0".encode()))
    write_series(accepted(folder), tmp_path / "out", derivation=DERIVATION)
    assert [r for r in caplog.records if r.name.startswith("pydicom")] == []
    quietly(lambda: pydicom.dcmread(folder / "slice-00.dcm").StudyID)
    assert [r for r in caplog.records if r.name.startswith("pydicom")] != []  # as it was, when we are done


def two_steps(thicknesses):
    """Six slices 4 mm apart and five 8 mm apart, as heads are scanned."""
    places = [0, 4, 8, 12, 16, 20, 28, 36, 44, 52, 60]

    def edit(ds, i):
        ds.ImagePositionPatient = [0, 0, places[i]]
        ds.SliceThickness = thicknesses[0] if i < 6 else thicknesses[1]

    return edit


@pytest.mark.parametrize("thicknesses", [(4, 8), (4, 4)])
def test_row_26_a_scan_of_two_steps_lacks_no_slice_and_can_be_split(slices, tmp_path, thicknesses):
    folder = slices.write(tmp_path / "in", two_steps(thicknesses), n=11)
    error = refused(folder)
    assert error.code == "CTM_SLICE_UNEVEN"
    assert "--split" in error.hint
    assert "missing" not in str(error)
    found = summarise(folder, split=True)
    assert [(s.slices, s.spacing_mm[0]) for s in found] == [(6, 4), (5, 8)]
    name = "thickness" if thicknesses == (4, 8) else "step"
    assert [s.part for s in found] == [f"{name} 1 of 2", f"{name} 2 of 2"]
    volume = read_series(folder, split=True, series="[2]")
    assert volume.geometry.slice_positions_mm.tolist() == [28, 36, 44, 52, 60]


def test_row_26_split_does_not_hide_a_missing_slice(slices, tmp_path):
    folder = slices.write(tmp_path / "in", n=9)
    (folder / "slice-04.dcm").unlink()
    for split in (False, True):
        error = refused(folder, split=split)
        assert error.code == "CTM_SLICE_MISSING"
        assert "Fetch" in error.hint
    assert len(summarise(folder, split=True)) == 1
