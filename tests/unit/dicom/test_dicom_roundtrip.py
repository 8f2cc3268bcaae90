"""What is read and written without a change is the source, pixel for pixel."""

from pathlib import Path

import numpy as np
import pydicom
import pytest
from dicom_slices import DERIVATION, WHEN, Slices, put, quietly, raw
from helpers import existing
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ctmahout.dicom import read_series, summarise, write_series
from ctmahout.errors import CtmahoutError
from ctmahout.volume import Volume

SERIES = [
    "chest_pair_sharp_B70f",
    "chest_pair_smooth_B40f",
    "lowdose_pet_ct_STS_003",
    "lowdose_pet_ct_STS_002",
    "j2k_series_no_sopclass",
    "study_folder_localizer_sc",
    "geometry_gantrytilting_001",
    "geometry_sliceincrement_002",
]
SAME = "same_image_all_transfer_syntaxes"
LOSSLESS = ["", "BigEndian", "Deflated", "RLE", "LittleEndianE", "LittleEndianI"]
LOSSLESS += ["JPEG2000LosslessOnly", "JPEGLSLossless", "JPEGProcess14SV1", "JPEGProcess14T"]
LOSSY = {"JPEG2000Transfer": 5, "JPEGLSLossy": 1, "JPEGProcess1T": 560}
KEPT = [
    "ImagePositionPatient",
    "ImageOrientationPatient",
    "PixelSpacing",
    "SliceThickness",
    "SpacingBetweenSlices",
    "SliceLocation",
    "RescaleSlope",
    "RescaleIntercept",
    "RescaleType",
    "StudyInstanceUID",
    "PatientID",
    "PatientName",
    "StudyDate",
    "AcquisitionTime",
    "KVP",
    "InstanceNumber",
    "WindowCenter",
    "ConvolutionKernel",
    "Manufacturer",
    "PixelRepresentation",
    "Rows",
    "Columns",
]


def one_of(ct_data, part):
    found = sorted((ct_data / SAME).glob(f"CTImage.dcm_{part}*" if part else "CTImage.dcm"))
    assert len(found) <= 1, part
    return existing(found[0] if found else ct_data / SAME / part)


def there_and_back(source, out, **options):
    volume = read_series(source, **options)
    written = write_series(volume, out, derivation=DERIVATION, timestamp=WHEN)
    files = sorted(out.iterdir())
    assert [f.name for f in files] == [f"slice-{i + 1:04d}.dcm" for i in range(written.slices)]
    assert written.slices == len(volume.hu)
    assert written.clipped == 0
    return volume, written, files


def bytes_of(ds, keyword):
    """Return a value as it stands in the file, trailing spaces aside."""
    item = ds.get_item(keyword)
    return None if item is None else item.value.rstrip(b" \0") if isinstance(item.value, bytes) else item.value


@pytest.mark.parametrize("name", SERIES)
def test_row_11_12_24_25_45_real_series_come_back_bit_for_bit(ct_data, tmp_path, name):
    volume, written, files = there_and_back(ct_data / name, tmp_path / "out", lenient=name.startswith("j2k"))
    for z, (header, file) in enumerate(zip(volume.source.slices, files, strict=True)):
        stored = raw(file)
        assert stored.dtype.itemsize == 2
        assert np.array_equal(stored, raw(header.path))
        before, after = pydicom.dcmread(header.path), pydicom.dcmread(file)
        for keyword in KEPT:
            value = bytes_of(before, keyword)
            if value:  # in one of them StudyInstanceUID is there, and empty
                assert bytes_of(after, keyword) == value, keyword
        assert after.SeriesInstanceUID == written.series_uid != before.get("SeriesInstanceUID")
        hu = stored * float(after.RescaleSlope) + float(after.RescaleIntercept)
        assert np.array_equal(volume.hu[z], hu.astype(np.float32))
    again = read_series(tmp_path / "out")
    assert np.array_equal(again.hu, volume.hu)
    assert np.array_equal(again.geometry.positions_mm, volume.geometry.positions_mm)
    assert "The source was already denoised by ctmahout." in again.warnings


@pytest.mark.parametrize("part", [*LOSSLESS, *LOSSY])
def test_row_1_2_9_every_encoding_of_one_image(ct_data, tmp_path, part):
    volume, _, files = there_and_back(one_of(ct_data, part), tmp_path / "out")
    truth = read_series(one_of(ct_data, ""))
    assert np.abs(volume.hu - truth.hu).max() <= LOSSY.get(part, 0)
    assert np.array_equal(raw(files[0]), raw(volume.source.slices[0].path))
    assert np.array_equal(read_series(files[0]).hu, volume.hu)
    after = pydicom.dcmread(files[0])
    assert (after.get("LossyImageCompression") == "01") is (part in LOSSY)
    assert any("loss" in w for w in volume.warnings) is (part in LOSSY)
    assert after.BitsAllocated == 16
    assert after.file_meta.TransferSyntaxUID == "1.2.840.10008.1.2.1"
    if part in LOSSLESS:
        # Declared is -32768, the border is -2000: -3024 HU.
        assert volume.padding is not None
        assert volume.hu[volume.padding].max() == volume.hu.min() == -3024
        assert any("constant border" in w for w in volume.warnings)
        assert pydicom.dcmread(files[0]).PixelPaddingValue == -32768


@pytest.mark.parametrize("part", ["JPEGProcess6_8", "JPEGProcess10_12", "JPEGProcess2_4"])
def test_row_3_encodings_that_nothing_here_decodes(ct_data, part):
    with pytest.raises(CtmahoutError) as e:
        read_series(one_of(ct_data, part))
    assert e.value.code == "CTM_SYNTAX_UNSUPPORTED"
    assert "dcmdjpeg" in e.value.hint
    assert "1.2.840.10008.1.2.4.5" in e.value.message


@pytest.mark.parametrize("name", ["pydicom_zoo", "wg04", "fodicom_zoo", "reformatted_coronal_sagittal"])
def test_row_5_31_45_each_file_of_the_zoos_is_read_exactly_or_refused(ct_data, tmp_path, name):
    refused = {}
    for file in sorted((ct_data / name).iterdir()):
        try:
            volume, _, files = there_and_back(file, tmp_path / file.name, lenient=True)
        except CtmahoutError as e:
            refused[file.name] = e.code
            continue
        assert np.array_equal(raw(files[0]), raw(file)), file
        assert np.array_equal(read_series(tmp_path / file.name, lenient=True).hu, volume.hu)
    expected = {
        "eCT_Supplemental.dcm": "CTM_ATTRIBUTE_INVALID",
        "GH223.dcm": "CTM_INPUT_NO_CT",  # a localizer without pixels
    }
    assert refused == {file: code for file, code in expected.items() if (ct_data / name / file).exists()}


def test_row_10_padding_written_with_the_wrong_vr(ct_data, tmp_path):
    volume, _, files = there_and_back(ct_data / "fodicom_zoo" / "GH1308.dcm", tmp_path / "out")
    assert pydicom.dcmread(volume.source.slices[0].path).PixelPaddingValue == 63536
    assert np.array_equal(volume.padding[0], raw(files[0]) == -2000)
    after = pydicom.dcmread(files[0])
    assert after.PixelPaddingValue == -2000
    assert after["PixelPaddingValue"].VR == "SS"


def test_row_7_signs_and_bits_that_codestream_and_header_disagree_on(ct_data):
    volume = read_series(ct_data / "pydicom_zoo" / "J2K_pixelrep_mismatch.dcm")
    assert (volume.hu.min(), volume.hu.max()) == (-2000, 1896)


def test_row_8_padding_stays_whatever_becomes_of_the_values(ct_data, tmp_path):
    source = one_of(ct_data, "RLE")
    volume = read_series(source)
    written = write_series(volume.with_hu(volume.hu * 0 + 40), tmp_path / "out", derivation=DERIVATION)
    stored = raw(tmp_path / "out" / "slice-0001.dcm")
    assert np.array_equal(stored == -2000, volume.padding[0])
    assert set(np.unique(stored)) == {-2000, 40 + 1024}
    assert written.clipped == 0


def test_row_19_20_the_folder_of_a_study_has_one_series_of_slices(ct_data):
    found = summarise(ct_data / "study_folder_localizer_sc")
    assert [(s.slices, s.rows, s.columns, s.kernel) for s in found] == [(3, 512, 512, "UB")]
    assert found.skipped == {"Secondary Capture Image Storage": 2, "localizer": 1}
    assert found[0].spacing_mm == pytest.approx((5, 0.451171875, 0.451171875))
    assert found[0].doubts == ()


# Slopes with which no value lies beyond 100,000 HU: those are refused.
formats = st.sampled_from([8, 12, 13, 14, 16]).flatmap(
    lambda bits: st.tuples(
        st.just(bits),
        st.booleans(),
        st.floats(0.01, min(40, 90_000 / (1 << bits))).map(lambda v: float(f"{v:.6g}")),
        st.integers(-8192, 100),
    )
)


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(formats=st.lists(formats, min_size=3, max_size=3), seed=st.integers(0, 2**32), implicit=st.booleans())
def test_any_format_slice_by_slice_comes_back(ct_data, tmp_path_factory, formats, seed, implicit):
    slices = Slices(ct_data / "chest_pair_sharp_B70f" / "1-12.dcm")
    random = np.random.default_rng(seed)
    folder: Path = tmp_path_factory.mktemp("formats")
    expected = []
    for i, (bits, signed, slope, intercept) in enumerate(formats):
        ds = slices.slice(i)
        low, high = (-(1 << bits - 1), (1 << bits - 1) - 1) if signed else (0, (1 << bits) - 1)
        stored = random.integers(low, high, (16, 16), endpoint=True)
        stored[0, :2] = low, high
        ds.PixelData = stored.astype("<i2" if signed else "<u2").tobytes()
        ds.BitsStored, ds.HighBit, ds.PixelRepresentation = bits, bits - 1, int(signed)
        ds.RescaleSlope, ds.RescaleIntercept = str(slope), str(intercept)
        quietly(put(SmallestImagePixelValue=None, LargestImagePixelValue=None), ds, i)
        ds.file_meta.TransferSyntaxUID = "1.2.840.10008.1.2" if implicit else "1.2.840.10008.1.2.1"
        quietly(ds.save_as, folder / f"{i}.dcm", implicit_vr=implicit, little_endian=True)
        expected.append(stored)
    volume: Volume
    volume, _, files = there_and_back(folder, folder.parent / f"{folder.name}-out")
    for i, file in enumerate(files):
        ds = pydicom.dcmread(file)
        assert np.array_equal(ds.pixel_array, expected[i])
        assert (ds.BitsStored, bool(ds.PixelRepresentation)) == formats[i][:2]
        assert np.allclose(volume.hu[i], expected[i] * formats[i][2] + formats[i][3], rtol=1e-6)
