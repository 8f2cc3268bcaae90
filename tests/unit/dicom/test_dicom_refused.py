"""Awkward and bad input: handled, told, or refused by a code; never silently wrong (numbers: design, section 5)."""

import numpy as np
import pydicom
import pytest
from dicom_outcomes import accepted, refused
from dicom_slices import DERIVATION, put, quietly, text
from helpers import existing

from ctmahout.dicom import decoders, read_series, summarise, write_series
from ctmahout.errors import CtmahoutError

ATTRIBUTES = {
    "14 slope 0": put(RescaleSlope=0),
    "14 slope negative": put(RescaleSlope=-1),
    "14 slope too fine for float32": put(RescaleSlope="0.0000001"),
    "14 slope missing": put(RescaleSlope=None),
    "14 slope empty": text("RescaleSlope", ""),
    "14 two slopes": text("RescaleSlope", "1\\1"),
    "14 slope is no number": text("RescaleSlope", "one"),
    "14 intercept missing": put(RescaleIntercept=None),
    "14 intercept nan": text("RescaleIntercept", "nan"),
    "14 slope absurd": put(RescaleSlope="1e30"),
    "14 slope beyond float32": text("RescaleSlope", "1e300"),
    "14 intercept absurd": put(RescaleIntercept="1e7"),
    "14 HU absurd": put(RescaleSlope="900", RescaleIntercept="0"),
    "15 Modality LUT": put(ModalityLUTSequence=[pydicom.Dataset()]),
    "17 HighBit": put(HighBit=15),
    "17 BitsStored above BitsAllocated": put(BitsStored=17, HighBit=16),
    "17 BitsAllocated 32": put(BitsAllocated=32),
    "17 BitsStored missing": put(BitsStored=None),
    "42 MONOCHROME1": put(PhotometricInterpretation="MONOCHROME1"),
    "42 no PhotometricInterpretation": put(PhotometricInterpretation=None),
}


GEOMETRY = {
    "33 no position": put(ImagePositionPatient=None),
    "33 position empty": text("ImagePositionPatient", ""),
    "33 position nan": text("ImagePositionPatient", "0\\0\\nan"),
    "33 position infinite": text("ImagePositionPatient", "0\\0\\inf"),
    "33 comma decimals": text("ImagePositionPatient", "0,5\\0,5\\8,0"),
    "33 two values": text("ImagePositionPatient", "0\\8"),
    "33 no orientation": put(ImageOrientationPatient=None),
    "34 not at a right angle": put(ImageOrientationPatient=[1, 0, 0, 0.1, 1, 0]),
    "34 not of unit length": put(ImageOrientationPatient=[2, 0, 0, 0, 1, 0]),
    "34 zero": put(ImageOrientationPatient=[0, 0, 0, 0, 0, 0]),
    "33 no PixelSpacing": put(PixelSpacing=None),
    "33 PixelSpacing 0": put(PixelSpacing=[0, 0]),
    "33 PixelSpacing too fine": put(PixelSpacing=["1e-5", "1e-5"]),
    "33 PixelSpacing too wide": put(PixelSpacing=["0.7", "1e6"]),
}


@pytest.mark.parametrize("lenient", [False, True])
@pytest.mark.parametrize("case", [*ATTRIBUTES, *GEOMETRY])
def test_row_14_15_17_33_34_42_what_would_make_values_or_places_guesswork_is_always_refused(
    slices, tmp_path, case, lenient
):
    edit = ATTRIBUTES.get(case) or GEOMETRY[case]
    slices.write(tmp_path / "in", edit, only=[2])
    error = refused(tmp_path / "in", lenient=lenient)
    assert error.code == ("CTM_ATTRIBUTE_INVALID" if case in ATTRIBUTES else "CTM_GEOMETRY_INVALID")
    assert error.fields["file"].name == "slice-02.dcm"
    assert error.exit_code == 3


def broken_start(path):
    data = path.read_bytes()
    item = data.index(b"\xfe\xff\x00\xe0")  # of the first sequence
    path.write_bytes(data[: item + 12])


def cut(*, share=None, bytes_off=0):
    def edit(path):
        data = path.read_bytes()
        path.write_bytes(data[: int(len(data) * share) if share else len(data) - bytes_off])

    return edit


DAMAGED = {
    "37 empty": lambda path: path.write_bytes(b""),
    "37 text": lambda path: path.write_text("Zebedee was here. " * 100),
    "37 PNG": lambda path: path.write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(1000)),
    "37 ends in its header": broken_start,
    "37 one byte short": cut(bytes_off=1),
    "37 half the pixels": cut(bytes_off=256),
    "43 no pixels": lambda path: _without_pixels(path),
    "38 no preamble": lambda path: path.write_bytes(path.read_bytes()[132:]),
    "51 unreadable": lambda path: (path.unlink(), path.symlink_to("gone.dcm")),
}


def _without_pixels(path):
    ds = pydicom.dcmread(path)
    del ds.PixelData
    ds.save_as(path)


@pytest.mark.parametrize("case", DAMAGED)
def test_row_37_38_43_51_damaged_files_are_refused_by_name_or_left_out_when_lenient(slices, tmp_path, case):
    slices.write(tmp_path / "in")
    DAMAGED[case](tmp_path / "in" / "slice-03.dcm")
    error = refused(tmp_path / "in")
    assert error.code in ("CTM_INPUT_UNREADABLE", "CTM_PIXELS_UNREADABLE")
    assert error.fields["file"].name == "slice-03.dcm"
    if case.startswith("38"):
        assert accepted(tmp_path / "in", "no preamble", lenient=True).shape == (4, 16, 16)
    else:
        assert accepted(tmp_path / "in", "Left out: ", lenient=True).shape == (3, 16, 16)


def test_row_38_headless_slices_are_read_and_written_when_asked_for(slices, tmp_path):
    sound = read_series(slices.write(tmp_path / "sound"))
    slices.write(tmp_path / "in")
    for i, file in enumerate(sorted((tmp_path / "in").iterdir())):
        data = file.read_bytes()
        # Half of them without meta information, too.
        meta = data.index(b"\x08\0\x05\0") if i % 2 else 132
        file.write_bytes(data[meta:])
    volume = accepted(tmp_path / "in", "no preamble", lenient=True)
    assert np.array_equal(volume.hu, sound.hu)
    write_series(volume, tmp_path / "out", derivation=DERIVATION)
    assert np.array_equal(read_series(tmp_path / "out").hu, sound.hu)


def test_row_6_a_broken_codestream(slices, tmp_path):
    def compress(ds, i):
        ds.compress("1.2.840.10008.1.2.4.80", generate_instance_uid=False)

    slices.write(tmp_path / "in", compress, enforce_file_format=True)
    file = tmp_path / "in" / "slice-01.dcm"
    data = bytearray(file.read_bytes())
    at = data.index(b"\xff\xd8\xff")
    data[at : at + 60] = bytes(60)
    file.write_bytes(data)
    error = refused(tmp_path / "in")
    assert error.code == "CTM_PIXELS_UNREADABLE"
    assert error.fields["file"].name == "slice-01.dcm"
    volume = accepted(tmp_path / "in", "Left out: ", lenient=True)
    assert volume.geometry.slice_positions_mm == pytest.approx([0, 16, 24])
    assert any("unevenly spaced" in w for w in volume.warnings)
    rest = read_series(slices.write(tmp_path / "rest"))
    assert np.array_equal(volume.hu, rest.hu[[0, 2, 3]])


@pytest.mark.parametrize("name", ["CT1_JPLL", "CT1_JLSL", "CT1_J2KR", "CT1_RLE"])
def test_row_37_compressed_pixels_that_are_cut_off(ct_data, tmp_path, name):
    # gdcm and openjpeg fill up what is missing, without a word.
    data = existing(ct_data / "wg04" / name).read_bytes()
    for share in (0.3, 0.9):
        kept = int(len(data) * share)
        for rest in (b"", bytes(len(data) - kept)):
            (tmp_path / name).write_bytes(data[:kept] + rest)
            error = refused(tmp_path / name)
            assert error.code in ("CTM_PIXELS_UNREADABLE", "CTM_INPUT_UNREADABLE"), share


@pytest.mark.parametrize("name", ["CT1_JPLL", "CT1_JLSL", "CT1_J2KR", "CT1_RLE"])
@pytest.mark.parametrize("edit", [put(Rows=256), put(Columns=1024), put(BitsAllocated=8, BitsStored=8, HighBit=7)])
def test_row_37_compressed_pixels_that_the_header_does_not_describe(ct_data, tmp_path, name, edit):
    # gdcm ends the process on some of these.
    ds = quietly(pydicom.dcmread, existing(ct_data / "wg04" / name))
    quietly(edit, ds, 0)
    quietly(ds.save_as, tmp_path / name)
    assert refused(tmp_path / name).code == "CTM_PIXELS_UNREADABLE"


def test_damage_that_shows_only_when_a_slice_is_written_again(slices, tmp_path):
    def edit(ds, i):
        tag = pydicom.tag.Tag("RequestAttributesSequence")
        data = b"\x40\x00\x07\x00XX\x04\x00none"
        item = b"\xfe\xff\x00\xe0" + len(data).to_bytes(4, "little") + data
        ds[tag] = pydicom.dataelem.RawDataElement(tag, "SQ", len(item), item, 0, False, True)

    slices.write(tmp_path / "in", edit, only=[1])
    volume = read_series(tmp_path / "in")
    with pytest.raises(CtmahoutError) as e:
        write_series(volume, tmp_path / "out", derivation=DERIVATION)
    assert e.value.code == "CTM_INPUT_UNREADABLE"
    assert e.value.fields["file"].name == "slice-01.dcm"
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("syntax", ["1.2.840.113619.5.2", "1.2.840.10008.1.2.4.110", "1.2.3.4"])
def test_row_3_syntaxes_that_nothing_decodes(slices, tmp_path, syntax):
    slices.write(tmp_path / "in")
    for file in (tmp_path / "in").iterdir():
        meta = pydicom.dcmread(file).file_meta
        data = file.read_bytes()
        given = b"1.2.840.10008.1.2.1\0"
        assert meta.TransferSyntaxUID == "1.2.840.10008.1.2.1"
        assert len(syntax) <= 24
        padded = syntax.encode().ljust(len(syntax) + len(syntax) % 2, b"\0")
        grown = len(padded) - len(given)
        data = data.replace(len(given).to_bytes(2, "little") + given, len(padded).to_bytes(2, "little") + padded, 1)
        old = meta[0x00020000].value
        group = b"\x02\0\0\0UL\x04\0"
        data = data.replace(group + old.to_bytes(4, "little"), group + (old + grown).to_bytes(4, "little"), 1)
        file.write_bytes(data)
    error = refused(tmp_path / "in")
    assert error.code == "CTM_SYNTAX_UNSUPPORTED"
    assert syntax in error.message
    assert "gdcmconv" in error.hint


def test_row_4_a_decoder_that_is_not_installed(slices, tmp_path, monkeypatch):
    def compress(ds, i):
        ds.compress("1.2.840.10008.1.2.4.80", generate_instance_uid=False)

    slices.write(tmp_path / "in", compress, only=[3], enforce_file_format=True)
    from pydicom.pixels import get_decoder

    decoder = get_decoder("1.2.840.10008.1.2.4.80")
    monkeypatch.setattr(decoder, "_available", {})
    monkeypatch.setattr("ctmahout.dicom.read.read_hu", lambda *a, **k: pytest.fail("pixels were read"))
    error = refused(tmp_path / "in")
    assert error.code == "CTM_DECODER_MISSING"
    assert error.hint == "pip install pyjpegls"
    missing = [d for d in decoders() if not d.available]
    assert "1.2.840.10008.1.2.4.80" in {d.syntax for d in missing}


def test_all_decoders_are_installed_here():
    assert [d.name for d in decoders() if not d.available] == []


def test_row_12_13_rescale_of_every_slice_is_its_own(slices, tmp_path):
    def edit(ds, i):
        ds.RescaleSlope, ds.RescaleIntercept = str(1 + i / 2), str(-1000 - i)

    volume = accepted(slices.write(tmp_path / "in", edit))
    for i, plane in enumerate(volume.hu):
        assert np.array_equal(plane, np.roll(slices.pixels, i) * (1 + i / 2) - 1000 - i)


def test_row_16_rescale_type(slices, tmp_path):
    slices.write(tmp_path / "US", put(RescaleType="US"))
    error = refused(tmp_path / "US")
    assert (error.code, error.fields["attribute"]) == ("CTM_ATTRIBUTE_INVALID", "RescaleType")
    accepted(tmp_path / "US", "RescaleType is US", lenient=True)
    slices.write(tmp_path / "in", put(RescaleType="Houndsfield Unit"))
    accepted(tmp_path / "in", "Houndsfield")


@pytest.mark.parametrize("signed", [False, True])
def test_row_17_bits_above_bits_stored(slices, tmp_path, signed):
    def stored(high_bits):
        def edit(ds, i):
            pixels = np.frombuffer(ds.PixelData, "<u2").copy()
            pixels[40:60] |= 0x800
            pixels |= high_bits(pixels)
            ds.PixelData = pixels.tobytes()
            ds.PixelRepresentation = int(signed)

        return edit

    def overlay(ds, i):
        stored(lambda p: (p & 1) << 15)(ds, i)
        declare_overlay(ds, 15)

    zero = accepted(slices.write(tmp_path / "zero", stored(lambda p: np.uint16(0))))
    assert (zero.hu.min() < -1024) == signed
    if signed:
        sign = accepted(slices.write(tmp_path / "sign", stored(lambda p: (p >> 11) * np.uint16(0xF000))))
        assert np.array_equal(sign.hu, zero.hu)
    assert np.array_equal(accepted(slices.write(tmp_path / "overlay", overlay), "An overlay").hu, zero.hu)
    write_series(read_series(tmp_path / "overlay"), tmp_path / "out", derivation=DERIVATION)
    assert np.array_equal(read_series(tmp_path / "out").hu, zero.hu)
    assert 0x60000010 not in pydicom.dcmread(tmp_path / "out" / "slice-0001.dcm")
    # Without an overlay nothing says whether these bits are rubbish or BitsStored is wrong.
    slices.write(tmp_path / "rubbish", stored(lambda p: p << 12))
    for lenient in (False, True):
        error = refused(tmp_path / "rubbish", lenient=lenient)
        assert (error.code, error.fields["attribute"]) == ("CTM_ATTRIBUTE_INVALID", "BitsStored")


def declare_overlay(ds, bit):
    for element, value in ((0x10, 16), (0x11, 16), (0x100, 16), (0x102, bit)):
        ds.add_new(0x60000000 + element, "US", value)


@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize("bit", [None, 14, 15])
def test_row_17_bits_stored_too_small_is_refused_beside_an_overlay_as_without_one(slices, tmp_path, signed, bit):
    def edit(ds, i):
        ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 10, 9, int(signed)
        if bit is not None:
            ds.PixelData = (np.frombuffer(ds.PixelData, "<u2") | (i % 2) << bit).astype("<u2").tobytes()
            declare_overlay(ds, bit)

    slices.write(tmp_path / "in", edit)
    for lenient in (False, True):
        error = refused(tmp_path / "in", lenient=lenient)
        assert (error.code, error.fields["attribute"]) == ("CTM_ATTRIBUTE_INVALID", "BitsStored")


@pytest.mark.parametrize("syntax", ["1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.1.99"])
def test_row_37_pixel_data_longer_than_the_image_is_refused(slices, tmp_path, syntax):
    def edit(ds, i):
        ds.Rows = 8
        ds.file_meta.TransferSyntaxUID = syntax

    slices.write(tmp_path / "in", edit, implicit_vr=syntax == "1.2.840.10008.1.2", little_endian=True)
    for lenient in (False, True):
        error = refused(tmp_path / "in", lenient=lenient)
        assert (error.code, error.fields["attribute"]) == ("CTM_ATTRIBUTE_INVALID", "PixelData")
        assert "512 bytes" in error.message
        assert "8 x 16" in error.message


def test_row_37_one_byte_of_padding_is_no_other_image(slices, tmp_path):
    def odd(ds, i):
        ds.BitsAllocated = ds.BitsStored = 8
        ds.HighBit, ds.Rows, ds.Columns, ds.RescaleSlope = 7, 15, 15, "8"
        ds.PixelData = bytes(range(225)) + b"\0"
        ds["PixelData"].VR = "OB"

    accepted(slices.write(tmp_path / "in", odd), "8 bits")


def test_row_37_pixel_data_that_is_there_twice_is_refused(slices, tmp_path):
    slices.write(tmp_path / "in")
    file = tmp_path / "in" / "slice-01.dcm"
    data = file.read_bytes()
    element = data[data.index(b"\xe0\x7f\x10\0OW") :]
    file.write_bytes(data + element[:12] + bytes(len(element) - 12))
    for lenient in (False, True):
        error = refused(tmp_path / "in", lenient=lenient)
        assert (error.code, error.fields["attribute"]) == ("CTM_ATTRIBUTE_INVALID", "PixelData")


def test_row_33_a_thickness_that_none_has_is_unknown_and_said(slices, tmp_path):
    for value in ("-5", "1e30"):
        volume = accepted(slices.write(tmp_path / value, put(SliceThickness=value)), "SliceThickness is")
        assert volume.geometry.thickness_mm is None
        assert volume.geometry.overlap == 0


def test_row_39_oddities_of_the_encoding(slices, tmp_path):
    folder = slices.write(tmp_path / "in")
    for file in folder.iterdir():
        file.write_bytes(file.read_bytes() + b"rubbish after the end")
    sound = read_series(slices.write(tmp_path / "sound"))

    def edit(ds, i):
        ds.add_new(0x00080000, "UL", 1000)
        text("StudyDescription", "CHEST\0")(ds, i)
        ds.add_new(0x00091001, "OB", b"\0\1\2\3")
        ds.OtherPatientIDsSequence = [pydicom.Dataset()]
        ds["OtherPatientIDsSequence"].is_undefined_length = True

    for path in (folder, slices.write(tmp_path / "odd", edit)):
        volume = accepted(path)
        assert np.array_equal(volume.hu, sound.hu)
        write_series(volume, tmp_path / f"{path.name}-out", derivation=DERIVATION)
        for file in (tmp_path / f"{path.name}-out").iterdir():
            assert not any(e.tag.is_private for e in pydicom.dcmread(file).iterall())


def test_row_41_frames_that_nothing_places_are_refused(slices, tmp_path):
    for frames, code in ((4, "CTM_MULTIFRAME_UNSUPPORTED"), (-1, "CTM_ATTRIBUTE_INVALID")):
        folder = slices.write(tmp_path / str(frames), put(NumberOfFrames=frames), only=[0])
        for lenient in (False, True):
            assert refused(folder, lenient=lenient).code == code


@pytest.mark.parametrize("name", ["CT1_JPLL", "CT1_JLSL", "CT1_J2KR"])
@pytest.mark.parametrize("share", [0.3, 0.9])
def test_row_37_a_codestream_cut_off_within_a_whole_file(ct_data, tmp_path, name, share):
    ds = quietly(pydicom.dcmread, existing(ct_data / "wg04" / name))
    frame = pydicom.encaps.get_frame(ds.PixelData, 0, number_of_frames=1)
    ds.PixelData = pydicom.encaps.encapsulate([frame[: int(len(frame) * share)]])
    quietly(ds.save_as, tmp_path / name)
    error = refused(tmp_path / name)
    assert error.code == "CTM_PIXELS_UNREADABLE"
    assert "cut off" in error.message


@pytest.mark.parametrize("name", ["CT1_JPLL", "CT1_JLSL", "CT1_J2KR", "CT1_RLE"])
def test_row_17_a_codestream_with_more_bits_than_the_header_says(ct_data, tmp_path, name):
    ds = quietly(pydicom.dcmread, existing(ct_data / "wg04" / name))
    quietly(put(BitsStored=12, HighBit=11), ds, 0)
    quietly(ds.save_as, tmp_path / name)
    # Its values, -2000 to 2278, need 13 bits: cut to 12 they would be others.
    error = refused(tmp_path / name)
    assert (error.code, error.fields["attribute"]) == ("CTM_ATTRIBUTE_INVALID", "BitsStored")


def test_row_37_short_files_are_told_from_their_headers(slices, tmp_path):
    slices.write(tmp_path / "in")
    cut(bytes_off=1)(tmp_path / "in" / "slice-02.dcm")
    (series,) = summarise(tmp_path / "in")
    assert any("ends after 511 of 512 bytes" in doubt for doubt in series.doubts)


def test_row_10_padding_of_unsigned_pixels_that_was_written_as_signed(slices, tmp_path):
    def edit(ds, i):
        pixels = np.full((16, 16), 1024, "<u2")
        pixels[:, :3] = 63536
        ds.PixelData = pixels.tobytes()
        ds.BitsStored, ds.HighBit = 16, 15
        ds.add_new("PixelPaddingValue", "SS", -2000)

    volume = accepted(slices.write(tmp_path / "in", edit), "PixelPaddingValue stands for 62512 HU")
    assert volume.padding[:, :, :3].all()
    assert not volume.padding[:, :, 3:].any()
    write_series(volume, tmp_path / "out", derivation=DERIVATION)
    ds = pydicom.dcmread(tmp_path / "out" / "slice-0001.dcm")
    assert (ds.PixelPaddingValue, ds["PixelPaddingValue"].VR) == (63536, "US")
