"""Awkward inputs by the rows of docs/inputs.md, made from a real slice or real as they are."""

import shutil
from pathlib import Path

import numpy as np
import pydicom
from dicom_slices import DERIVATION, WHEN, eight_rows, enhanced, put, text

from ctmahout.dicom import read_series, write_series

SAME = "same_image_all_transfer_syntaxes"

CASES = []


def case(row, what):
    def add(make):
        CASES.append((row, what, make))
        return make

    return add


def real(row, what, name):
    CASES.append((row, what, lambda w: w.data / name))


def spoilt(row, what, edit, *, only=(2,), n=4):
    CASES.append((row, what, lambda w: w.slices.write(w.folder / "IN", edit, n=n, only=only)))


def encoding(row, what, part):
    CASES.append((row, what, lambda w: next((w.data / SAME).glob(f"CTImage.dcm_{part}*"))))


class Workspace:
    def __init__(self, data, folder, slices):
        self.data, self.folder, self.slices = data, folder, slices

    def file(self, i):
        return self.folder / "IN" / f"slice-{i:02d}.dcm"


for name in ("LittleEndianI", "LittleEndianE", "BigEndian", "Deflated", "RLE", "JPEGProcess14T", "JPEGProcess14SV1"):
    encoding(1, name.removesuffix("T"), name)
for name in ("JPEGLSLossless", "JPEG2000LosslessOnly"):
    encoding(1, name, name)
for name in ("JPEGProcess1T", "JPEGLSLossy", "JPEG2000T"):
    encoding(2, name.removesuffix("T"), name)
for name in ("JPEGProcess2_4", "JPEGProcess6_8", "JPEGProcess10_12"):
    encoding(3, name, name)


def private_syntax(row, what, syntax):
    @case(row, what)
    def make(w):
        w.slices.write(w.folder / "IN", n=1)
        data = w.file(0).read_bytes()
        padded = syntax.ljust(20, "\0").encode()
        w.file(0).write_bytes(data.replace(b"1.2.840.10008.1.2.1\0", padded, 1))
        return w.folder / "IN"


private_syntax(3, "a private transfer syntax (GE)", "1.2.840.113619.5.2")
private_syntax(3, "no transfer syntax of the standard", "1.2.3.4.5.6.7.8.9.10")
real(5, "a real file of fo-dicom", "fodicom_zoo/D_CLUNIE_CT1_RLE_FRAGS.dcm")


@case(6, "a JPEG-LS codestream with 60 bytes zeroed")
def _(w):
    def compress(ds, i):
        ds.compress("1.2.840.10008.1.2.4.80", generate_instance_uid=False)

    w.slices.write(w.folder / "IN", compress, enforce_file_format=True)
    data = bytearray(w.file(3).read_bytes())
    at = data.index(b"\xff\xd8\xff")
    data[at : at + 60] = bytes(60)
    w.file(3).write_bytes(data)
    return w.folder / "IN"


real(7, "13 bits, signed in the header, unsigned in the codestream", "pydicom_zoo/J2K_pixelrep_mismatch.dcm")
real(7, "14 bits in a codestream of 16", "pydicom_zoo/693_J2KR.dcm")
real(8, "GE, 16 bits signed, -2000 declared", "wg04/CT1_RLE")
encoding(9, "-32768 declared, the border is -2000", "LittleEndianE")
real(10, "63536 for -2000", "fodicom_zoo/GH1308.dcm")
real(11, "Siemens, nothing outside the circle is marked", "chest_pair_smooth_B40f")
real(12, 'intercept "0.00000000000000"', "lowdose_pet_ct_STS_003")


@case(13, "slopes 1 to 2.5, intercepts -1000 to -1003")
def _(w):
    def edit(ds, i):
        ds.RescaleSlope, ds.RescaleIntercept = str(1 + i / 2), str(-1000 - i)

    return w.slices.write(w.folder / "IN", edit)


spoilt(14, "slope 0", put(RescaleSlope=0))
spoilt(14, "slope 1e30", put(RescaleSlope="1e30"))
spoilt(14, "intercept 1e7", put(RescaleIntercept="1e7"))
spoilt(14, "slope missing", put(RescaleSlope=None))
spoilt(14, "slope empty", text("RescaleSlope", ""))
spoilt(14, "two slopes", text("RescaleSlope", "1\\1"))
spoilt(14, "intercept missing", put(RescaleIntercept=None))
spoilt(15, "ModalityLUTSequence", put(ModalityLUTSequence=[pydicom.Dataset()]))
spoilt(16, "US", put(RescaleType="US"), only=None)
spoilt(16, "MGML, as in material maps", put(RescaleType="MGML"), only=None)
spoilt(16, "Houndsfield Unit", put(RescaleType="Houndsfield Unit"), only=None)
spoilt(17, "HighBit 15 with BitsStored 12", put(HighBit=15))
spoilt(17, "BitsStored 17", put(BitsStored=17, HighBit=16))
spoilt(17, "BitsAllocated 32", put(BitsAllocated=32))


@case(17, "rubbish above BitsStored, and no overlay")
def _(w):
    def edit(ds, i):
        pixels = np.frombuffer(ds.PixelData, "<u2").copy()
        pixels |= pixels << 12
        ds.PixelData = pixels.tobytes()

    return w.slices.write(w.folder / "IN", edit)


@case(17, "12 bits in all slices, BitsStored 10, and an overlay declared in bit 15")
def _(w):
    def edit(ds, i):
        ds.BitsStored, ds.HighBit = 10, 9
        for element, value in ((0x10, 16), (0x11, 16), (0x100, 16), (0x102, 15)):
            ds.add_new(0x60000000 + element, "US", value)

    return w.slices.write(w.folder / "IN", edit)


spoilt(18, "12 and 16 bits", put(BitsStored=16, HighBit=15))


@case(19, "a colour page and a secondary capture")
def _(w):
    w.slices.write(w.folder / "IN")
    page = put(SamplesPerPixel=3, PhotometricInterpretation="RGB")
    w.slices.write(w.folder / "IN", page, n=1, name="page")
    return w.slices.write(w.folder / "IN", put(SOPClassUID="1.2.840.10008.5.1.4.1.1.7"), n=1, name="capture")


real(20, "a real study folder: axial, localizer, secondary captures", "study_folder_localizer_sc")
spoilt(21, "one coronal slice among axial ones", put(ImageOrientationPatient=[1, 0, 0, 0, 0, -1]))
real(22, "real reformats, one file", "reformatted_coronal_sagittal/19001231-076.dcm")
spoilt(23, "8 rows among slices of 16", eight_rows)
spoilt(23, "PixelSpacing 0.7 among others", put(PixelSpacing=[0.7, 0.7]))
real(24, "a real tilted series", "geometry_gantrytilting_001")
spoilt(25, "one slice of four 0.2 mm off its place", put(ImagePositionPatient=[0, 0, 16.2]))
real(25, "a real series, steps of 5 mm to 2e-6", "geometry_sliceincrement_001")


@case(25, "SliceThickness 4 and 8, even steps")
def _(w):
    return w.slices.write(w.folder / "IN", lambda ds, i: put(SliceThickness=4 if i < 2 else 8)(ds, i))


def without(*lost):
    def make(w):
        w.slices.write(w.folder / "IN", n=8)
        for i in lost:
            w.file(i).unlink()
        return w.folder / "IN"

    return make


case(26, "one of 8 in the middle")(without(4))
case(26, "the second")(without(1))
case(26, "the first or the last: nothing tells")(without(0, 7))


@case(27, "a file twice")
def _(w):
    w.slices.write(w.folder / "IN")
    shutil.copy(w.file(1), w.folder / "IN" / "again.dcm")
    return w.folder / "IN"


spoilt(27, "two slices of one SOPInstanceUID", put(SOPInstanceUID="1.2.3.1"))
spoilt(27, "two slices in one place", put(ImagePositionPatient=[0, 0, 0]))
real(27, "a real bolus scan: three times one place", "geometry_notavolume_001")
for what, number in {"reversed": lambda i: 9 - i, "all 1": lambda i: 1, "absent": lambda i: None}.items():
    edit = lambda ds, i, number=number: put(InstanceNumber=number(i))(ds, i)  # noqa: E731
    spoilt(28, f"InstanceNumber {what}", edit, only=None)
spoilt(29, "per slice", lambda ds, i: put(FrameOfReferenceUID=f"1.2.3.{i}")(ds, i), only=None)
spoilt(29, "absent", put(FrameOfReferenceUID=None), only=None)
real(30, "a real series without SOP class and instance", "j2k_series_no_sopclass")
spoilt(30, "no SeriesInstanceUID", put(SeriesInstanceUID=None), only=None)
spoilt(31, "absent", put(ImageType=None), only=None)
spoilt(31, "two values", put(ImageType=["ORIGINAL", "PRIMARY"]), only=None)
spoilt(32, "KVP, Manufacturer, PatientBirthDate", put(KVP=None, Manufacturer=None, PatientBirthDate=None), only=None)
spoilt(33, "no ImagePositionPatient", put(ImagePositionPatient=None))
spoilt(33, "nan", text("ImagePositionPatient", "0\\0\\nan"))
spoilt(33, "comma decimals", text("ImagePositionPatient", "0,5\\0,5\\8,0"))
spoilt(33, "two values", text("ImagePositionPatient", "0\\8"))
spoilt(33, "PixelSpacing 0", put(PixelSpacing=[0, 0]))
spoilt(33, "PixelSpacing 1e-5", put(PixelSpacing=["1e-5", "1e-5"]), only=None)
spoilt(33, "SliceThickness -5", put(SliceThickness=-5), only=None)
spoilt(34, "not at a right angle", put(ImageOrientationPatient=[1, 0, 0, 0.1, 1, 0]))
spoilt(34, "not of unit length", put(ImageOrientationPatient=[2, 0, 0, 0, 1, 0]))


@case(35, "two series")
def _(w):
    w.slices.write(w.folder / "IN" / "a", put(SeriesInstanceUID="1.2.1", SeriesNumber=2))
    w.slices.write(w.folder / "IN" / "b", put(SeriesInstanceUID="1.2.2", SeriesNumber=7), n=5)
    return w.folder / "IN"


spoilt(35, "two studies under one SeriesInstanceUID", put(StudyInstanceUID="1.2.3"))
spoilt(35, "two patients under one SeriesInstanceUID", put(PatientID="1"))


@case(36, "sub-folders, .DS_Store, ._ files, a PDF, an empty file, a link to its own folder")
def _(w):
    folder = w.slices.write(w.folder / "IN" / "deep" / "er", name="{}")
    (folder / ".DS_Store").write_bytes(bytes(4096))
    (folder / "._0.dcm").write_bytes(b"\0\x05\x16\x07" + bytes(200))
    (folder / "report.pdf").write_bytes(b"%PDF-1.4 " + bytes(200))
    (folder / "nothing").touch()
    (folder / "loop").symlink_to(folder)
    return w.folder / "IN"


@case(36, "a zip archive")
def _(w):
    w.slices.write(w.folder / "made")
    return Path(shutil.make_archive(str(w.folder / "IN"), "zip", w.folder / "made"))


@case(36, "a tar.gz archive in a folder")
def _(w):
    w.slices.write(w.folder / "made")
    shutil.make_archive(str(w.folder / "IN" / "study"), "gztar", w.folder / "made")
    return w.folder / "IN"


@case(36, "an empty folder")
def _(w):
    (w.folder / "IN").mkdir()
    return w.folder / "IN"


@case(36, "a folder without images")
def _(w):
    (w.folder / "IN").mkdir()
    (w.folder / "IN" / "report.pdf").write_bytes(b"%PDF-1.4")
    return w.folder / "IN"


def damaged(row, what, edit):
    @case(row, what)
    def make(w):
        w.slices.write(w.folder / "IN")
        edit(w.file(3))
        return w.folder / "IN"


def _after_meta(data):
    return data[data.index(b"\x08\0\x05\0") :]


damaged(37, "empty", lambda f: f.write_bytes(b""))
damaged(37, "text named .dcm", lambda f: f.write_text("not an image " * 100))
damaged(37, "ends within its header", lambda f: f.write_bytes(f.read_bytes()[:700]))
damaged(37, "one byte short", lambda f: f.write_bytes(f.read_bytes()[:-1]))
damaged(37, "half of its pixels", lambda f: f.write_bytes(f.read_bytes()[:-256]))
spoilt(37, "half of the rows said, all pixels there", put(Rows=8), only=None)
damaged(38, "preamble missing", lambda f: f.write_bytes(f.read_bytes()[132:]))
damaged(38, "preamble and meta information missing", lambda f: f.write_bytes(_after_meta(f.read_bytes())))
damaged(39, "rubbish after the end", lambda f: f.write_bytes(f.read_bytes() + b"rubbish after the end"))


@case(39, "group lengths, NUL padding, binary private attributes, sequences of undefined length")
def _(w):
    def edit(ds, i):
        ds.add_new(0x00080000, "UL", 1000)
        text("StudyDescription", "CHEST\0")(ds, i)
        ds.add_new(0x00091001, "OB", b"\0\1\2\3")
        ds.OtherPatientIDsSequence = [pydicom.Dataset()]
        ds["OtherPatientIDsSequence"].is_undefined_length = True

    return w.slices.write(w.folder / "IN", edit)


case(40, "Enhanced CT, 4 frames, each with its own intercept")(lambda w: enhanced(w.slices, w.folder / "IN.dcm"))
case(40, "Legacy Converted Enhanced CT, JPEG-LS")(
    lambda w: enhanced(w.slices, w.folder / "IN.dcm", legacy=True, syntax="1.2.840.10008.1.2.4.80")
)
real(40, "a real Legacy Converted Enhanced CT, RescaleType US", "legacy_converted_enhanced/mf.dcm")
real(40, "a real Enhanced CT: a map in colours", "pydicom_zoo/eCT_Supplemental.dcm")
spoilt(41, "NumberOfFrames 4", put(NumberOfFrames=4))
spoilt(42, "one slice of it", put(PhotometricInterpretation="MONOCHROME1"))
spoilt(43, "one MR image", put(Modality="MR", SOPClassUID="1.2.840.10008.5.1.4.1.1.4"), only=[3])
real(43, "a real CT file without pixels", "fodicom_zoo/GH223.dcm")
spoilt(44, "one slice, to be read", None, n=1)
real(45, "158 x 154", "lowdose_pet_ct_STS_003")


def flat(row, what, value, padded):
    def edit(ds, i):
        ds.PixelData = np.full((16, 16), value, "<u2").tobytes()
        if padded:
            ds.add_new("PixelPaddingValue", "US", value)

    spoilt(row, what, edit)


flat(46, "a constant slice", 1024, False)
flat(46, "a slice of padding", 0, True)


@case(47, "metal: 4095 stored in 12 bits")
def _(w):
    def edit(ds, i):
        pixels = np.frombuffer(ds.PixelData, "<u2").copy()
        pixels[:20] = 4095
        ds.PixelData = pixels.tobytes()

    return w.slices.write(w.folder / "IN", edit)


spoilt(48, "an unknown SpecificCharacterSet", text("SpecificCharacterSet", "ISO_IR 999"), only=None)
spoilt(48, "a SeriesDescription of 64 characters", put(SeriesDescription="x" * 64), only=None)
spoilt(49, "2147483647", text("SeriesNumber", "2147483647"), only=None)
spoilt(49, "1e3", text("SeriesNumber", "1e3"), only=None)


@case(54, "denoised once, given again")
def _(w):
    write_series(
        read_series(w.slices.write(w.folder / "source")), w.folder / "IN", derivation=DERIVATION, timestamp=WHEN
    )
    return w.folder / "IN"


@case(55, "spaces, other scripts, 200 characters")
def _(w):
    return w.slices.write(w.folder / "IN" / "1.000000-P4P113 Gated 40.0B Ünïcode 胸部" / ("x" * 200))
