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
