"""Several slices in one file, several files in an archive, several volumes in one series."""

import bz2
import gzip
import io
import lzma
import shutil
import tarfile
import zipfile

import numpy as np
import pydicom
import pytest
from dicom_slices import DERIVATION, WHEN, enhanced, put, raw
from helpers import code_of

from ctmahout.dicom import pixels, read_series, summarise, write_series
from ctmahout.errors import CtmahoutError

# ------------------------------------------------------------------------------------------------------- multi-frame


@pytest.mark.parametrize("syntax", [None, "1.2.840.10008.1.2.5", "1.2.840.10008.1.2.4.80"])
@pytest.mark.parametrize("legacy", [False, True])
def test_row_40_frames_are_slices(slices, tmp_path, legacy, syntax):
    file = enhanced(slices, tmp_path / "in" / "multi.dcm", legacy=legacy, syntax=syntax)
    volume = read_series(file)
    assert volume.warnings == ()
    assert volume.geometry.slice_positions_mm.tolist() == [0, 8, 16, 24]
    for i, plane in enumerate(volume.hu):
        assert np.array_equal(plane, np.roll(slices.pixels, i) - np.float32(1024 + i))
    written = write_series(volume, tmp_path / "out", derivation=DERIVATION, timestamp=WHEN)
    files = sorted((tmp_path / "out").iterdir())
    assert written.slices == len(files) == 4
    for i, file in enumerate(files):
        ds = pydicom.dcmread(file)
        assert ds.SOPClassUID == "1.2.840.10008.5.1.4.1.1.2"
        assert np.array_equal(ds.pixel_array, np.roll(slices.pixels, i))
        assert ds.RescaleIntercept == -1024 - i
        assert ds.ImagePositionPatient == [0, 0, 8 * i]
        assert ds.InstanceNumber == 4 - i  # the frame's number
        assert (ds.ConvolutionKernel, ds.SliceThickness) == ("B70f", slices.model.SliceThickness)
        assert ds.get("Exposure") == (100 + i if legacy else slices.model.get("Exposure"))
        (image,) = ds.SourceImageSequence
        assert image.ReferencedSOPInstanceUID == "1.2.3.99"
        assert image.ReferencedSOPClassUID == f"1.2.840.10008.5.1.4.1.1.2.{2 if legacy else 1}"
        assert image.ReferencedFrameNumber == 4 - i
        (instance,) = ds.ReferencedSeriesSequence[0].ReferencedInstanceSequence
        assert instance.ReferencedSOPInstanceUID == "1.2.3.99"
        gone = ("NumberOfFrames", "PerFrameFunctionalGroupsSequence", "SharedFunctionalGroupsSequence", "StackID")
        assert not any(keyword in ds for keyword in (*gone, "PixelPresentation"))
    assert np.array_equal(read_series(tmp_path / "out").hu, volume.hu)


def test_a_multi_frame_file_is_read_once_for_all_of_its_frames(slices, tmp_path, monkeypatch):
    file = enhanced(slices, tmp_path / "in" / "multi.dcm")
    read, reads = pixels.open_dataset, []
    monkeypatch.setattr(pixels, "open_dataset", lambda *a, **k: reads.append(a) or read(*a, **k))
    volume = read_series(file, workers=3)
    assert len(reads) == 1
    write_series(volume, tmp_path / "out", derivation=DERIVATION, workers=3)
    assert len(reads) == 2  # nothing is kept in memory between reading and writing


def test_row_40_the_real_ones(real_ct, tmp_path):
    folder = real_ct / "legacy_converted_enhanced"
    assert code_of(read_series, folder / "mf.dcm") == "CTM_ATTRIBUTE_INVALID"  # its RescaleType is US
    several = read_series(folder / "mf.dcm", lenient=True)
    single = [pydicom.dcmread(f) for f in sorted(folder.iterdir()) if f.name != "mf.dcm"]
    single.sort(key=lambda ds: ds.ImagePositionPatient[2])
    assert several.shape == (3, 38, 23)
    for z, ds in enumerate(single):
        assert np.array_equal(several.hu[z], ds.pixel_array)
        assert several.geometry.positions_mm[z].tolist() == list(map(float, ds.ImagePositionPatient))
    write_series(several, tmp_path / "out", derivation=DERIVATION)
    # A map of blood flow in colours: values above 99 are indices into a palette, no HU.
    assert (
        code_of(read_series, real_ct / "pydicom_zoo" / "eCT_Supplemental.dcm", lenient=True) == "CTM_ATTRIBUTE_INVALID"
    )


FRAMES = {
    "no groups": (put(PerFrameFunctionalGroupsSequence=None), "CTM_GEOMETRY_INVALID"),
    "no shared groups": (put(SharedFunctionalGroupsSequence=None), "CTM_GEOMETRY_INVALID"),
    "a frame too many": (put(NumberOfFrames=5), "CTM_GEOMETRY_INVALID"),
    "a frame too few": (put(NumberOfFrames=3), "CTM_GEOMETRY_INVALID"),
    "no frames": (put(NumberOfFrames=0), "CTM_GEOMETRY_INVALID"),
    "colour": (lambda ds, i: put(PixelPresentation="COLOR")(_shared(ds), i), "CTM_ATTRIBUTE_INVALID"),
    "no position": (lambda ds, i: put(PlanePositionSequence=None)(_frame(ds), i), "CTM_GEOMETRY_INVALID"),
    "no rescale": (lambda ds, i: put(PixelValueTransformationSequence=None)(_frame(ds), i), "CTM_ATTRIBUTE_INVALID"),
    "pixels short": (lambda ds, i: put(PixelData=ds.PixelData[:-2])(ds, i), "CTM_PIXELS_UNREADABLE"),
}


def _frame(ds):
    return ds.PerFrameFunctionalGroupsSequence[2]


def _shared(ds):
    return ds.SharedFunctionalGroupsSequence[0].CTImageFrameTypeSequence[0]


@pytest.mark.parametrize("case", FRAMES)
def test_row_40_frames_that_do_not_make_a_volume(slices, tmp_path, case):
    edit, code = FRAMES[case]
    assert code_of(read_series, enhanced(slices, tmp_path / "in.dcm", edit=edit)) == code


def test_row_40_a_file_that_changes_between_reading_and_writing(slices, tmp_path):
    file = enhanced(slices, tmp_path / "in" / "multi.dcm")
    volume = read_series(file)
    file.write_bytes(file.read_bytes() + b"\0\0")
    with pytest.raises(CtmahoutError) as e:
        write_series(volume, tmp_path / "out", derivation=DERIVATION)
    assert e.value.code == "CTM_SOURCE_CHANGED"
    assert not (tmp_path / "out").exists()


# ---------------------------------------------------------------------------------------------------------- archives

TAR = {".tar": lambda b: b, ".tar.gz": gzip.compress, ".tgz": gzip.compress}
TAR |= {".tar.bz2": bz2.compress, ".tar.xz": lzma.compress}


def packed(folder, archive):
    """Put a folder into an archive, by its suffix."""
    if archive.name.lower().endswith(".zip"):
        with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as z:
            for file in sorted(folder.rglob("*")):
                z.write(file, file.relative_to(folder.parent))
        return archive
    plain = io.BytesIO()
    with tarfile.open(fileobj=plain, mode="w") as tar:
        tar.add(folder, f"./{folder.name}")
    suffix = next(s for s in sorted(TAR, key=len, reverse=True) if archive.name.endswith(s))
    archive.write_bytes(TAR[suffix](plain.getvalue()))
    return archive


@pytest.mark.parametrize("suffix", [".zip", ".ZIP", *TAR])
def test_row_36_archives_are_read_like_folders(slices, tmp_path, suffix):
    folder = slices.write(tmp_path / "study")
    (folder / "notes.txt").write_text("not an image")
    truth = read_series(folder)
    archive = packed(folder, tmp_path / f"given{suffix}")
    shutil.rmtree(folder)
    before = sorted(tmp_path.rglob("*"))
    volume = read_series(archive)
    assert np.array_equal(volume.hu, truth.hu)
    assert "1 no DICOM file" in volume.warnings[0]
    write_series(volume, tmp_path / "out", derivation=DERIVATION)
    assert np.array_equal(read_series(tmp_path / "out").hu, truth.hu)
    shutil.rmtree(tmp_path / "out")
    assert sorted(tmp_path.rglob("*")) == before
    # Within a folder, with another part of the same series beside it.
    slices.write(tmp_path / "beside", n=6)
    for i in range(4):
        (tmp_path / "beside" / f"slice-{i:02d}.dcm").unlink()
    assert read_series(tmp_path).shape == (6, 16, 16)


@pytest.mark.parametrize("suffix", [".zip", ".tar", ".tar.gz"])
def test_row_36_37_damaged_archives(slices, tmp_path, suffix):
    archive = packed(slices.write(tmp_path / "study"), tmp_path / f"a{suffix}")
    data = archive.read_bytes()
    whole = data.rstrip(b"\0") if suffix == ".tar" else data
    member = data.index(b"slice-02.dcm") - len("./study/") if suffix == ".tar" else 1
    for length in (0, len(whole) // 10, len(whole) // 2, len(whole) * 9 // 10, member):
        archive.write_bytes(data[:length])
        with pytest.raises(CtmahoutError) as e:
            read_series(archive)
        assert e.value.code in ("CTM_INPUT_UNREADABLE", "CTM_PIXELS_UNREADABLE", "CTM_INPUT_NO_CT"), length
        assert "a.tar" in str(e.value) or "a.zip" in str(e.value)
    archive.write_bytes(data)
    with pytest.raises(CtmahoutError) as e:
        volume = read_series(archive)
        archive.write_bytes(data + b"\0" * 1024)
        write_series(volume, tmp_path / "out", derivation=DERIVATION)
    assert e.value.code == "CTM_SOURCE_CHANGED"


def test_row_36_encrypted_archives(slices, tmp_path):
    archive = packed(slices.write(tmp_path / "study"), tmp_path / "a.zip")
    data = bytearray(archive.read_bytes())
    for header, flags in ((b"PK\3\4", 6), (b"PK\1\2", 8)):
        at = -1
        while (at := data.find(header, at + 1)) >= 0:
            data[at + flags] |= 1
    archive.write_bytes(data)
    with pytest.raises(CtmahoutError) as e:
        read_series(archive)
    assert (e.value.code, e.value.fields["problem"]) == ("CTM_INPUT_UNREADABLE", "it is encrypted")


def test_row_36_members_with_odd_names(slices, tmp_path):
    folder = slices.write(tmp_path / "study")
    names = ["/abs.dcm", "../up.dcm", "./a//b.dcm", "c/../d.dcm"]
    with tarfile.open(tmp_path / "odd.tar", "w") as tar:
        for name, file in zip(names, sorted(folder.iterdir()), strict=True):
            info = tarfile.TarInfo(name)
            info.size = file.stat().st_size
            tar.addfile(info, io.BytesIO(file.read_bytes()))
        link = tarfile.TarInfo("link.dcm")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        tar.addfile(link)
    inner = packed(folder, tmp_path / "inner.zip")
    with zipfile.ZipFile(tmp_path / "outer.zip", "w") as z:
        z.write(inner, "inner.zip")
    before = sorted(tmp_path.rglob("*"))
    assert np.array_equal(read_series(tmp_path / "odd.tar").hu, read_series(folder).hu)
    assert code_of(read_series, tmp_path / "outer.zip") == "CTM_INPUT_NO_CT"
    assert code_of(read_series, tmp_path / "odd.tar" / "no.dcm") == "CTM_INPUT_NOT_FOUND"
    assert sorted(tmp_path.rglob("*")) == before


# ---------------------------------------------------------------------------------------- several volumes in one series


def phased(slices, folder, keyword="TriggerTime", phases=3, lost=()):
    for phase in range(phases):
        for i in range(4):
            if (phase, i) in lost:
                continue
            ds = slices.slice(i)
            ds.SOPInstanceUID = ds.file_meta.MediaStorageSOPInstanceUID = f"1.2.4.{phase}.{i + 1}"
            setattr(ds, keyword, str(100 * phase + 20))
            ds.PixelData = (np.roll(slices.pixels, i) + phase).tobytes()
            folder.mkdir(parents=True, exist_ok=True)
            slices.save(ds, folder / f"{phase}-{i}.dcm")
    return folder


@pytest.mark.parametrize("keyword", ["TriggerTime", "TemporalPositionIdentifier", "AcquisitionNumber"])
def test_phases_are_series_of_their_own_when_asked_for(slices, tmp_path, keyword):
    folder = phased(slices, tmp_path / "in", keyword)
    for lenient in (False, True):
        assert code_of(read_series, folder, lenient=lenient) == "CTM_SLICE_DUPLICATE"
    with pytest.raises(CtmahoutError) as e:
        read_series(folder, split=True)
    assert e.value.code == "CTM_SERIES_AMBIGUOUS"
    assert f"{keyword} 2 of 3" in e.value.message
    first = read_series(folder, split=True, series="[1]")
    uids = set()
    for phase in range(3):
        volume = read_series(folder, split=True, series=f"[{phase + 1}]")
        assert np.array_equal(volume.hu, first.hu + phase)
        uids.add(write_series(volume, tmp_path / f"out-{phase}", derivation=DERIVATION).series_uid)
    assert len(uids) == 3
    assert [s.part for s in summarise(folder, split=True)] == [f"{keyword} {n} of 3" for n in (1, 2, 3)]


def test_phases_that_are_not_complete_stay_refused(slices, tmp_path):
    folder = phased(slices, tmp_path / "in", lost=[(1, 2)])
    assert code_of(read_series, folder, split=True) == "CTM_SLICE_DUPLICATE"
    # AcquisitionNumber that varies within one volume, as in helical scans, splits nothing.
    helical = slices.write(tmp_path / "helical", lambda ds, i: put(AcquisitionNumber=i // 2)(ds, i))
    assert read_series(helical, split=True).shape[0] == 4


def test_phases_among_frames(slices, tmp_path):
    file = enhanced(slices, tmp_path / "in.dcm", phases=2)
    assert code_of(read_series, file) == "CTM_SLICE_DUPLICATE"
    first, second = (read_series(file, split=True, series=f"[{n}]") for n in (1, 2))
    assert np.array_equal(second.hu, first.hu + 1)


def test_repeated_places_of_a_real_bolus_scan(ct_data):
    found = summarise(ct_data / "geometry_notavolume_001", split=True)
    assert [(s.slices, s.part) for s in found] == [(1, f"AcquisitionNumber {n} of 3") for n in (1, 2, 3)]


def test_row_21_orientations_are_series_of_their_own_when_asked_for(slices, tmp_path):
    def edit(ds, i):
        ds.ImageOrientationPatient = [0, 1, 0, 0, 0, -1]
        ds.ImagePositionPatient = [8 * i, 0, 0]

    folder = slices.write(tmp_path / "in", n=8)
    slices.write(folder, edit, n=8, only=range(5, 8))
    assert code_of(read_series, folder, lenient=True) == "CTM_SERIES_MIXED"
    assert read_series(folder, split=True, series="rule:most-slices").shape[0] == 5
    assert read_series(folder, split=True, series="[2]").shape[0] == 3
    assert [s.part for s in summarise(folder, split=True)] == [f"stack {n} of 2" for n in (1, 2)]


def test_a_series_by_description_and_by_rule(slices, tmp_path):
    folder = tmp_path / "in"
    slices.write(folder / "a", put(SeriesInstanceUID="1.2.1", SeriesDescription="Chest 5.0 B40f"))
    slices.write(folder / "b", put(SeriesInstanceUID="1.2.2", SeriesDescription="Chest 1.0 B70f"), n=6)
    slices.write(
        folder / "c", put(SeriesInstanceUID="1.2.3", SeriesDescription=None, ImagePositionPatient=[0, 0, 1]), n=1
    )
    for given, n in (("description:*b70F", 6), ("description:chest 5*", 4), ("rule:most-slices", 6)):
        assert len(read_series(folder, series=given).hu) == n
    assert code_of(read_series, folder, series="rule:thinnest") == "CTM_SERIES_AMBIGUOUS"  # both have 8 mm
    assert code_of(read_series, folder, series="description:chest*") == "CTM_SERIES_AMBIGUOUS"
    for given in ("description:", "description:spine", "rule:best", "rule:", "Chest"):
        assert code_of(read_series, folder, series=given) == "CTM_SERIES_UNKNOWN"
    with pytest.raises(CtmahoutError) as e:
        read_series(folder)
    assert "Chest" not in str(e.value)


def test_a_series_by_its_folder_in_a_study_is_the_same_wherever_it_lies(slices, tmp_path):
    for place, names in (("one", "ab"), ("other", "ba")):
        for name, n in zip(names, (4, 6), strict=True):
            slices.write(tmp_path / place / name, put(SeriesInstanceUID=f"1.2.{n}", SeriesNumber=n), n=n)
    one, other = ({s.folder: s for s in summarise(tmp_path / place)} for place in ("one", "other"))
    assert len(one) == 2
    assert one.keys() == other.keys()
    for folder, info in one.items():
        assert folder.startswith(f"series-{info.slices}-")
        assert len(read_series(tmp_path / "other", series=folder).hu) == info.slices
    assert code_of(read_series, tmp_path / "one", series=folder + "0") == "CTM_SERIES_UNKNOWN"


def test_pixels_of_frames_are_read_as_any_decoder_reads_them(slices, tmp_path):
    file = enhanced(slices, tmp_path / "in.dcm", n=3)
    whole = raw(file)
    volume = read_series(file)
    for z, header in enumerate(volume.source.slices):
        assert np.array_equal(volume.hu[z], whole[header.frame] + np.float32(header.pixels.intercept))


@pytest.mark.parametrize("keyword", ["PatientID", "StudyInstanceUID"])
def test_row_35_patients_and_studies_under_one_uid_are_series_of_their_own_when_asked_for(slices, tmp_path, keyword):
    folder = slices.write(tmp_path / "in", put(**{keyword: "1.2.3"}), n=6, only=[4, 5])
    assert code_of(read_series, folder) == "CTM_SERIES_MIXED"
    first, second = (read_series(folder, split=True, series=f"[{n}]") for n in (1, 2))
    assert (len(first.hu), len(second.hu)) == (4, 2)
    uids = {write_series(v, tmp_path / f"out-{len(v.hu)}", derivation=DERIVATION).series_uid for v in (first, second)}
    assert len(uids) == 2
