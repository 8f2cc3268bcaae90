"""A slice in the place of a real one, where the folder of real CT files is not: as a scanner of 2007 wrote it."""

import numpy as np
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian

SIDE = 320  # tests cut squares of 64 at 250
# Of the length that a hospital's are: what cuts a header at a byte cuts this one where it would cut theirs.
_ROOT = "1.2.826.0.1.3680043.10.999.6655.2359.283973423081271"
_ATTRIBUTES = {
    "SpecificCharacterSet": "ISO_IR 100",
    "ImageType": ["ORIGINAL", "PRIMARY", "AXIAL", "CT_SOM5 SPI"],
    "SOPClassUID": CTImageStorage,
    "SOPInstanceUID": f"{_ROOT}.3",
    **dict.fromkeys(("StudyDate", "SeriesDate", "AcquisitionDate", "ContentDate"), "20070425"),
    **dict.fromkeys(("StudyTime", "SeriesTime", "AcquisitionTime", "ContentTime"), "173514.222221"),
    "AccessionNumber": "",
    "Modality": "CT",
    "Manufacturer": "SIEMENS",
    "ReferringPhysicianName": "",
    "StudyDescription": "Thorax^Routine (Adult)",
    "SeriesDescription": "Routine  8.0.0  B70f",
    "ManufacturerModelName": "Sensation 10",
    "PatientName": "Nobody",
    "PatientID": "0",
    "PatientBirthDate": "",
    "PatientSex": "F",
    "PatientAge": "053Y",
    "PatientIdentityRemoved": "YES",
    "DeidentificationMethod": "Never had one",
    "BodyPartExamined": "CHEST",
    "SliceThickness": "8",
    "KVP": "120",
    "SoftwareVersions": "2007",
    "ProtocolName": "ThoraxRoutine",
    "ReconstructionDiameter": "331",
    "GantryDetectorTilt": "0",
    "ExposureTime": "500",
    "XRayTubeCurrent": "184",
    "Exposure": "73",
    "ConvolutionKernel": "B70f",
    "PatientPosition": "HFS",
    "StudyInstanceUID": f"{_ROOT}.1",
    "SeriesInstanceUID": f"{_ROOT}.2",
    "StudyID": "",
    "SeriesNumber": "2",
    "AcquisitionNumber": "2",
    "InstanceNumber": "12",
    "ImagePositionPatient": [-173.1767578125, -294.1767578125, 224],
    "ImageOrientationPatient": [1, 0, 0, 0, 1, 0],
    "FrameOfReferenceUID": f"{_ROOT}.4",
    "PositionReferenceIndicator": "",
    "SliceLocation": "224",
    "SamplesPerPixel": 1,
    "PhotometricInterpretation": "MONOCHROME2",
    "Rows": SIDE,
    "Columns": SIDE,
    "PixelSpacing": [0.646484375, 0.646484375],
    "BitsAllocated": 16,
    "BitsStored": 12,
    "HighBit": 11,
    "PixelRepresentation": 0,
    "SmallestImagePixelValue": 0,
    "LargestImagePixelValue": 2618,
    "WindowCenter": [-600, 50],
    "WindowWidth": [1200, 350],
    "RescaleIntercept": "-1024",
    "RescaleSlope": "1",
    "WindowCenterWidthExplanation": ["WINDOW1", "WINDOW2"],
}


def write_stand_in(path):
    """Write the slice: tissue and noise, unsigned in 12 bits, with private attributes of a vendor; return its path."""
    ds = Dataset()
    for keyword, value in _ATTRIBUTES.items():
        setattr(ds, keyword, value)
    for keyword in ("ReferencedImageSequence", "SourceImageSequence"):
        reference = Dataset()
        reference.ReferencedSOPClassUID, reference.ReferencedSOPInstanceUID = CTImageStorage, f"{_ROOT}.{len(keyword)}"
        setattr(ds, keyword, [reference])
        ds[keyword].is_undefined_length = True  # as scanners write them
    ds.private_block(0x0009, "SCANNERS CT DUMMY", create=True)
    block = ds.private_block(0x0019, "SCANNERS CT", create=True)
    block.add_new(0xB0, "DS", "18.8")
    noise = np.random.default_rng(12).normal(0, 60, (SIDE, SIDE))
    tissue = np.where(np.hypot(*(np.mgrid[:SIDE, :SIDE] - SIDE / 2)) < 140, 1064, 24)
    ds.PixelData = np.clip(tissue + noise, 0, 2618).astype("<u2").tobytes()
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    ds.file_meta.MediaStorageSOPClassUID = CTImageStorage
    ds.file_meta.MediaStorageSOPInstanceUID = ds.SOPInstanceUID
    ds.save_as(path, enforce_file_format=True)
    return path
