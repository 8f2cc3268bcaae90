"""CT series in the place of real ones, for where the folder of real CT files is not; see CONTRIBUTING.md.

Each has the name of a series of that folder, and what is awkward in it: bits, signs, padding, geometry, encoding,
attributes that are absent. Anatomy and noise are those of the phantom.
"""

import copy
import warnings
from pathlib import Path

import numpy as np
import pydicom
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import (
    CTImageStorage,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLSLossless,
    RLELossless,
    SecondaryCaptureImageStorage,
)

from ctmahout.phantom import make_phantom

_ROOT = "1.2.826.0.1.3680043.10.999"
_SIEMENS = {"Manufacturer": "SIEMENS", "ManufacturerModelName": "Sensation 10", "SoftwareVersions": "2007"}
_GE = {"Manufacturer": "GE MEDICAL SYSTEMS", "ManufacturerModelName": "Discovery ST", "SoftwareVersions": "05MW03.4"}
_COMMON = {
    "SpecificCharacterSet": "ISO_IR 100",
    "ImageType": ["ORIGINAL", "PRIMARY", "AXIAL"],
    "SOPClassUID": CTImageStorage,
    **dict.fromkeys(("StudyDate", "SeriesDate", "AcquisitionDate", "ContentDate"), "20070425"),
    **dict.fromkeys(("StudyTime", "SeriesTime", "AcquisitionTime", "ContentTime"), "173514.222221"),
    **dict.fromkeys(("AccessionNumber", "ReferringPhysicianName", "PatientBirthDate", "StudyID"), ""),
    "Modality": "CT",
    "StudyDescription": "Thorax",
    "PatientName": "Nobody",
    "PatientID": "0",
    "PatientSex": "F",
    "PatientIdentityRemoved": "YES",
    "DeidentificationMethod": "Never had one",
    "BodyPartExamined": "CHEST",
    "KVP": "120",
    "PatientPosition": "HFS",
    "AcquisitionNumber": "2",
    "ImageOrientationPatient": [1, 0, 0, 0, 1, 0],
    "PositionReferenceIndicator": "",
    "SamplesPerPixel": 1,
    "PhotometricInterpretation": "MONOCHROME2",
    "BitsAllocated": 16,
    "WindowCenter": "40",
    "WindowWidth": "400",
    "RescaleSlope": "1",
}
UNSIGNED_12 = {"BitsStored": 12, "HighBit": 11, "PixelRepresentation": 0, "RescaleIntercept": "-1024"}
SIGNED_16 = {"BitsStored": 16, "HighBit": 15, "PixelRepresentation": 1, "RescaleIntercept": "0.00000000000000"}


class _Folder:
    """Writes series; the same numbers whenever it does."""

    def __init__(self, root):
        self.root = root
        self.hu = make_phantom(size=160, slices=24, dose=0.05).noisy.hu
        # As large as a hospital's slices.
        self.large = np.kron(self.hu[:12, 16:144, 16:144], np.ones((1, 4, 4), np.float32))

    def datasets(self, name, hu, attributes, *, step=5.0, pixel=0.8, study=None):
        """Return the slices of a series, not yet in files."""
        number = sum(name.encode())
        for i, values in enumerate(hu):
            ds = Dataset()
            of_series = {
                "StudyInstanceUID": f"{_ROOT}.1.{study or number}",
                "SeriesInstanceUID": f"{_ROOT}.2.{number}",
                "FrameOfReferenceUID": f"{_ROOT}.4.{study or number}",
                "SeriesNumber": str(number % 97),
                "SeriesDescription": name,
                "SliceThickness": f"{step:g}",
                "PixelSpacing": [pixel, pixel],
            }
            of_slice = {
                "SOPInstanceUID": f"{_ROOT}.3.{number}.{i + 1}",
                "InstanceNumber": str(i + 1),
                "ImagePositionPatient": [-120.5, -130.25, 100 + step * i],
                "SliceLocation": f"{100 + step * i:g}",
                "Rows": values.shape[0],
                "Columns": values.shape[1],
            }
            for keyword, value in (_COMMON | of_series | of_slice | attributes).items():
                setattr(ds, keyword, value)
            stored = np.rint(values - float(ds.RescaleIntercept))
            signed = ds.PixelRepresentation == 1
            low, high = (-32768, 32767) if signed else (0, (1 << ds.BitsStored) - 1)
            ds.PixelData = np.clip(stored, low, high).astype("<i2" if signed else "<u2").tobytes()
            ds.file_meta = FileMetaDataset()
            ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
            ds.file_meta.MediaStorageSOPClassUID = ds.SOPClassUID
            ds.file_meta.MediaStorageSOPInstanceUID = ds.SOPInstanceUID
            yield ds

    def write(self, name, datasets, file="{:06d}.dcm", first=0, syntax=None):
        folder = self.root / name
        folder.mkdir(parents=True, exist_ok=True)
        for i, ds in enumerate(datasets, first):
            save(ds, folder / file.format(i), syntax)


def save(ds, path, syntax=None):
    """Write a data set in a transfer syntax."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if syntax in (JPEG2000Lossless, JPEGLSLossless, RLELossless):
            ds.compress(syntax, generate_instance_uid=False)
        elif syntax is not None:
            ds.file_meta.TransferSyntaxUID = syntax
        implicit, little = syntax == ImplicitVRLittleEndian, syntax != ExplicitVRBigEndian
        if not little:
            ds.PixelData = np.frombuffer(ds.PixelData, "<u2").byteswap().tobytes()
        ds.save_as(path, implicit_vr=implicit, little_endian=little, enforce_file_format="SOPClassUID" in ds)


def write_synthetic_ct(root: Path) -> None:
    """Write all series that there are into a new folder."""
    folder = _Folder(root)
    chest = UNSIGNED_12 | _SIEMENS
    for kernel, name, hu in (
        ("B70f", "chest_pair_sharp_B70f", folder.large),
        ("B40f", "chest_pair_smooth_B40f", 0.5 * folder.large + 0.5 * np.roll(folder.large, 1, axis=2)),
    ):
        pair = folder.datasets(name, hu, chest | {"ConvolutionKernel": kernel}, step=8.0, study=1)
        folder.write(name, map(_with_private, pair), "1-{:02d}.dcm", 12)
    for name, shape in (("lowdose_pet_ct_STS_003", (158, 154)), ("lowdose_pet_ct_STS_002", (143, 159))):
        hu = np.roll(folder.hu, 3 * len(name) + shape[0], axis=0)[:, : shape[0], : shape[1]]
        series = folder.datasets(name, hu, SIGNED_16 | _GE | {"ConvolutionKernel": "STANDARD"}, step=3.27)
        folder.write(name, series, syntax=ImplicitVRLittleEndian)
    name = "j2k_series_no_sopclass"
    folder.write(name, map(_without_sop, folder.datasets(name, folder.hu, chest, step=2.0)), syntax=JPEG2000Lossless)
    _write_study(folder)
    _write_geometries(folder)
    _write_encodings(folder)
    _write_zoos(folder)


def _with_private(ds):
    ds.private_block(0x0009, "SCANNERS CT DUMMY", create=True)
    ds.private_block(0x0019, "SCANNERS CT", create=True).add_new(0xB0, "DS", "18.8")
    for keyword in ("ReferencedImageSequence", "SourceImageSequence"):
        reference = Dataset()
        reference.ReferencedSOPClassUID, reference.ReferencedSOPInstanceUID = CTImageStorage, f"{_ROOT}.5"
        setattr(ds, keyword, [reference])
        ds[keyword].is_undefined_length = True  # as scanners write them
    return ds


def _without_sop(ds):
    del ds.SOPClassUID, ds.SOPInstanceUID
    ds.preamble = bytes(128)
    return ds


def _write_study(folder):
    """A localizer, three slices of 5 mm, and two pictures of a screen, as a scanner sends them."""
    name, attributes = "study_folder_localizer_sc", UNSIGNED_12 | {"Manufacturer": "Philips", "ConvolutionKernel": "UB"}
    slices = folder.datasets(name, folder.large[:3], attributes, pixel=0.451171875)
    folder.write(name, slices, "I1{:d}0", 1)
    localizer = {"ImageType": ["ORIGINAL", "PRIMARY", "LOCALIZER"], "ImageOrientationPatient": [1, 0, 0, 0, 0, -1]}
    other = {"SeriesInstanceUID": f"{_ROOT}.2.1", "SOPInstanceUID": f"{_ROOT}.3.1"}
    (scout,) = folder.datasets(name, folder.large[:1, :128], attributes | localizer | other)
    folder.write(name, [scout], "I10")
    for number in (10, 20):
        screen = copy.deepcopy(scout)
        screen.SOPClassUID = screen.file_meta.MediaStorageSOPClassUID = SecondaryCaptureImageStorage
        screen.SOPInstanceUID = screen.file_meta.MediaStorageSOPInstanceUID = f"{_ROOT}.3.9.{number}"
        screen.SeriesInstanceUID = f"{_ROOT}.2.9"
        folder.write(name, [screen], f"S4010_I{number}")


def _write_geometries(folder):
    three = folder.hu[:3]
    tilt = np.radians(-15)
    tilted = {"GantryDetectorTilt": "-15", "ImageOrientationPatient": [1, 0, 0, 0, np.cos(tilt), np.sin(tilt)]}
    name = "geometry_gantrytilting_001"
    folder.write(name, folder.datasets(name, three, UNSIGNED_12 | _SIEMENS | tilted), "IM-0001-{:04d}.dcm", 1)
    name = "geometry_notavolume_001"  # one place again and again, until the contrast medium arrives
    bolus = list(folder.datasets(name, three, UNSIGNED_12 | _SIEMENS))
    for i, ds in enumerate(bolus):
        ds.ImagePositionPatient, ds.SliceLocation, ds.AcquisitionNumber = [-139.25, -384.25, 61.5], "61.5", str(i + 1)
    folder.write(name, bolus, "{:03d}.dcm", 1)
    for name, attributes in (
        ("geometry_sliceincrement_001", SIGNED_16 | _GE),
        ("geometry_sliceincrement_002", UNSIGNED_12 | _SIEMENS),
    ):
        series = list(folder.datasets(name, three, attributes))
        # To six digits, and so no two distances are the same.
        series[2].ImagePositionPatient = [-120.5, -130.25, 109.999998]
        del series[0].KVP, series[1].KVP, series[2].KVP
        folder.write(name, series, "IM-0001-{:04d}.dcm", 1)


def _padded(folder, name, declared, border):
    """Return a slice whose corners hold no value, and the number that is declared for that."""
    attributes = SIGNED_16 | _GE | {"RescaleIntercept": "-1024"}
    (ds,) = folder.datasets(name, folder.large[:1], attributes)
    n = ds.Rows
    pixels = np.frombuffer(ds.PixelData, "<i2").reshape(n, n).copy()
    pixels[np.hypot(*(np.mgrid[:n, :n] - n / 2)) > n / 2] = border
    pixels[n // 2, n // 2] = 2278  # with the border it needs 13 bits
    ds.PixelData = pixels.tobytes()
    ds.add_new("PixelPaddingValue", "SS", declared)
    return ds


def _write_encodings(folder):
    """One slice in the encodings that pydicom and the wheel's codecs write; its padding is declared wrong."""
    name = "same_image_all_transfer_syntaxes"
    ds = _padded(folder, name, -32768, -2000)
    for suffix, syntax in (
        ("", ImplicitVRLittleEndian),
        ("_LittleEndianExplicitTransferSyntax", ExplicitVRLittleEndian),
        ("_LittleEndianImplicitTransferSyntax", ImplicitVRLittleEndian),
        ("_BigEndianExplicitTransferSyntax_1.2.840.10008.1.2.2.dcm", ExplicitVRBigEndian),
        ("_DeflatedExplicitVRLittleEndianTransferSyntax", DeflatedExplicitVRLittleEndian),
        ("_RLELosslessTransferSyntax", RLELossless),
        ("_JPEG2000LosslessOnlyTransferSyntax", JPEG2000Lossless),
        ("_JPEGLSLosslessTransferSyntax", JPEGLSLossless),
    ):
        (folder.root / name).mkdir(exist_ok=True)
        save(copy.deepcopy(ds), folder.root / name / f"CTImage.dcm{suffix}", syntax)


def _write_zoos(folder):
    """Single files: of pydicom's own, and two of other makers."""
    zoo = folder.root / "pydicom_zoo"
    zoo.mkdir()
    for name in ("693_J2KI.dcm", "CT_small.dcm", "J2K_pixelrep_mismatch.dcm"):
        (zoo / name).write_bytes(Path(pydicom.data.get_testdata_file(name, download=False)).read_bytes())
    padded = _padded(folder, "fodicom_zoo", -2000, -2000)
    padded["PixelPaddingValue"].VR, padded["PixelPaddingValue"].value = "US", 63536
    folder.write("fodicom_zoo", [padded], "GH1308.dcm")
    for scanner, border in (("CT1", -2000), ("CT2", 0)):
        for suffix, syntax in (("J2KR", JPEG2000Lossless), ("JLSL", JPEGLSLossless), ("RLE", RLELossless)):
            folder.write("wg04", [_padded(folder, scanner, border, border)], f"{scanner}_{suffix}", syntax=syntax)
    plane = {"ImageType": ["DERIVED", "SECONDARY", "REFORMATTED", "AVERAGE"], "RescaleType": "Houndsfield Unit"}
    name = "reformatted_coronal_sagittal"
    (ds,) = folder.datasets(
        name, folder.hu[:1], SIGNED_16 | _GE | plane | {"ImageOrientationPatient": [1, 0, 0, 0, 0, -1]}
    )
    folder.write(name, [ds], "19001231-076.dcm")
