"""Small CT series made from a real slice, whole or spoilt in one way."""

import copy
import warnings
from datetime import datetime, timezone

import numpy as np
import pydicom
from pydicom.uid import ExplicitVRLittleEndian

from ctmahout.dicom import Derivation

WHEN = datetime(2026, 1, 31, 12, 0, tzinfo=timezone.utc)
DERIVATION = Derivation("Nothing done, by a test.", "test 1", software_version="0.0")
NAME = "slice-{:02d}.dcm"
# What no message may hold.
PATIENT = {"PatientName": "Zebedee^Quentin", "PatientID": "ZQ-4711", "PatientBirthDate": "19330303"}


def quietly(function, *args, **kwargs):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return function(*args, **kwargs)


def raw(file):
    """Return the stored values of a file by pydicom alone."""
    return quietly(lambda: pydicom.dcmread(file).pixel_array)


class Slices:
    """Makes series of small slices, cut from a real one."""

    def __init__(self, file, size=16):
        self.model = pydicom.dcmread(file)
        self.pixels = self.model.pixel_array[250 : 250 + size, 250 : 250 + size].copy()
        self.model.Rows = self.model.Columns = size
        self.model.PixelData = self.pixels.tobytes()
        for keyword, value in PATIENT.items():
            setattr(self.model, keyword, value)

    def slice(self, i, step=8.0):
        ds = copy.deepcopy(self.model)
        ds.SOPInstanceUID = ds.file_meta.MediaStorageSOPInstanceUID = f"1.2.3.{i + 1}"
        ds.InstanceNumber = i + 1
        ds.ImagePositionPatient = [0, 0, step * i]
        pixels = np.roll(self.pixels, i)
        ds.PixelData = pixels.tobytes()
        return ds

    def write(self, folder, edit=None, n=4, *, only=None, name=NAME, **how):
        """Write n slices; edit(ds, i) changes those in `only`, or all."""
        folder.mkdir(parents=True, exist_ok=True)
        for i in range(n):
            ds = self.slice(i)
            if edit is not None and (only is None or i in only):
                quietly(edit, ds, i)
            self.save(ds, folder / name.format(i), **how)
        return folder

    @staticmethod
    def save(ds, path, **how):
        if how:
            quietly(ds.save_as, path, **how)
        else:
            ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
            quietly(ds.save_as, path, implicit_vr=False, little_endian=True)


def tree(folder):
    return {f.name: f.read_bytes() for f in sorted(folder.iterdir())}


def names(folder):
    return sorted(f.name for f in folder.iterdir())


def datasets(folder):
    return [pydicom.dcmread(f) for f in sorted(folder.iterdir())]


def text(keyword, value):
    """Return an edit that puts any bytes at all into an attribute."""

    def edit(ds, i):
        tag = pydicom.tag.Tag(keyword)
        vr = pydicom.datadict.dictionary_VR(tag)
        data = value.encode() + b" " * (len(value) % 2)
        ds[tag] = pydicom.dataelem.RawDataElement(tag, vr, len(data), data, 0, False, True)

    return edit


def put(**values):
    """Return an edit that sets attributes; None removes one."""

    def edit(ds, i):
        for keyword, value in values.items():
            if value is None:
                if keyword in ds:
                    delattr(ds, keyword)
            else:
                setattr(ds, keyword, value)

    return edit


def eight_rows(ds, i):
    """Make a slice half as high."""
    ds.Rows, ds.PixelData = 8, ds.PixelData[: 8 * ds.Columns * 2]


def enhanced(slices, path, n=4, *, phases=1, legacy=False, edit=None, syntax=None):
    """Write n slices as frames of one Enhanced CT image, each `phases` times; the rescale differs frame by frame."""
    ds = slices.slice(0)
    ds.SOPClassUID = ds.file_meta.MediaStorageSOPClassUID = f"1.2.840.10008.5.1.4.1.1.2.{2 if legacy else 1}"
    ds.SOPInstanceUID = ds.file_meta.MediaStorageSOPInstanceUID = "1.2.3.99"
    shared = pydicom.Dataset()
    shared.PixelMeasuresSequence = [_moved(ds, "PixelSpacing", "SliceThickness")]
    shared.PlaneOrientationSequence = [_moved(ds, "ImageOrientationPatient")]
    shared.CTReconstructionSequence = [_moved(ds, "ConvolutionKernel")]
    kind = pydicom.Dataset()
    kind.FrameType, kind.PixelPresentation = ["ORIGINAL", "PRIMARY", "VOLUME", "NONE"], "MONOCHROME"
    shared.CTImageFrameTypeSequence = [kind]
    frames, pixels = [], []
    for phase in range(phases):
        for i in reversed(range(n)):
            frame, content, values = pydicom.Dataset(), pydicom.Dataset(), pydicom.Dataset()
            frame.PlanePositionSequence = [_moved(slices.slice(i), "ImagePositionPatient")]
            content.StackID, content.InStackPositionNumber, content.TemporalPositionIndex = "1", i + 1, phase + 1
            frame.FrameContentSequence = [content]
            values.RescaleSlope, values.RescaleIntercept, values.RescaleType = "1", str(-1024 - i), "HU"
            frame.PixelValueTransformationSequence = [values]
            if legacy:
                frame.UnassignedPerFrameConvertedAttributesSequence = [pydicom.Dataset()]
                frame.UnassignedPerFrameConvertedAttributesSequence[0].Exposure = str(100 + i)
            frames.append(frame)
            pixels.append(np.roll(slices.pixels, i) + phase)
    for keyword in ("RescaleSlope", "RescaleIntercept", "RescaleType", "ImagePositionPatient", "SliceLocation"):
        put(**{keyword: None})(ds, 0)
    ds.ImageType, ds.PixelPresentation, ds.NumberOfFrames = kind.FrameType, "MONOCHROME", n * phases
    ds.SharedFunctionalGroupsSequence, ds.PerFrameFunctionalGroupsSequence = [shared], frames
    ds.PixelData = np.array(pixels, "<u2").tobytes()
    if edit is not None:
        quietly(edit, ds, 0)
    path.parent.mkdir(parents=True, exist_ok=True)
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    if syntax:
        quietly(ds.compress, syntax, generate_instance_uid=False)
    quietly(ds.save_as, path, enforce_file_format=True)
    return path


def _moved(ds, *keywords):
    item = pydicom.Dataset()
    for keyword in keywords:
        item[keyword] = ds[keyword]
        delattr(ds, keyword)
    return item
