"""Simulated series as DICOM: a volume in HU goes in, a folder of CT images comes out."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

import numpy as np
from pydicom.dataset import Dataset
from pydicom.valuerep import DSfloat

from ..dicom.derive import contributing_equipment, file_meta, set_times
from ..dicom.files import Progress, parallel_map, tick_of
from ..dicom.header import CT_IMAGE
from ..dicom.uids import deterministic_uid
from ..dicom.write import WrittenSeries, is_ctmahout_series, save
from ..storage.atomic import atomic_dir
from ..volume import Volume

__all__ = ["write_synthetic"]

_INTERCEPT = -1024
_RANGE = -32768, 32767


def write_synthetic(
    volume: Volume,
    out: str | Path,
    *,
    description: str,
    key: str,
    study_key: str,
    series_number: int,
    software_version: str = "",
    overwrite: bool = False,
    timestamp: datetime | None = None,
    progress: Progress | None = None,
    workers: int | None = None,
) -> WrittenSeries:
    """Write a simulated CT series; its attributes say that neither a patient nor a scanner was involved.

    Stored values are signed 16 bit, slope 1, intercept -1024: HU rounded to nearest. Values out of range are
    clipped and counted. Padding is written as the lowest value and declared in PixelPaddingValue.

    Parameters
    ----------
    volume : Volume
        Its source is not used.
    out : path
        A new folder, which appears when all slices are written.
    description : str
        SeriesDescription, up to 64 characters.
    key : str
        Everything that the values depend on; the UIDs are derived from it.
    study_key : str
        Series with the same study key share study and frame of reference.
    series_number : int
    software_version : str
    overwrite, timestamp, progress, workers
        As for `write_series`.

    Raises
    ------
    OutputError
        CTM_OUTPUT_EXISTS, CTM_OUTPUT_UNWRITABLE.
    ValueError
        The volume has values that are not finite.
    """
    if not np.isfinite(volume.hu).all():
        raise ValueError("the volume holds values that are not finite")
    when = timestamp or datetime.now().astimezone()
    series_uid = deterministic_uid("synthetic series", study_key, str(series_number), key)

    def write(z: int) -> int:
        ds = Dataset()
        _set_identity(ds, study_key, series_uid, z)
        ds.SeriesDescription = description[:64]
        ds.SeriesNumber = series_number
        ds.InstanceNumber = z + 1
        _set_geometry(ds, volume, z)
        set_times(ds, when)
        equipment = contributing_equipment(software_version, when, "Simulation of a CT scan")
        equipment.ManufacturerModelName = "ctmahout phantom"  # differs from that of denoised series
        ds.ContributingEquipmentSequence = [equipment]
        clipped = _set_pixels(ds, volume, z)
        ds.file_meta = file_meta(ds.SOPInstanceUID)
        ds.preamble = b"\0" * 128
        save(ds, partial / f"slice-{z + 1:04d}.dcm")
        return clipped

    with atomic_dir(Path(out), overwrite=overwrite, is_replaceable=is_ctmahout_series) as partial:
        counts = parallel_map(write, range(len(volume.hu)), workers=workers, tick=tick_of(progress, "write"))
    clipped = sum(counts)
    warnings = (f"{clipped} voxels did not fit the stored range and were clipped.",) if clipped else ()
    return WrittenSeries(Path(out), series_uid, len(counts), clipped, warnings)


def _set_identity(ds: Dataset, study_key: str, series_uid: str, z: int) -> None:
    """Set the patient, study, series and equipment modules."""
    ds.SOPClassUID = CT_IMAGE
    ds.SOPInstanceUID = deterministic_uid("synthetic instance", series_uid, str(z))
    ds.StudyInstanceUID = deterministic_uid("synthetic study", study_key)
    ds.FrameOfReferenceUID = deterministic_uid("synthetic frame of reference", study_key)
    ds.SeriesInstanceUID = series_uid
    ds.SpecificCharacterSet = "ISO_IR 100"
    # ORIGINAL would claim measured data, PRIMARY an examination (PS3.3 C.7.6.1.1.2).
    ds.ImageType = ["DERIVED", "SECONDARY", "AXIAL", "SIMULATED"]
    ds.Modality = "CT"
    ds.PatientName, ds.PatientID = "PHANTOM^CTMAHOUT", "PHANTOM"
    ds.Manufacturer, ds.ManufacturerModelName = "ctmahout", "phantom"
    ds.StudyDescription, ds.StudyID = "Simulated, no patient", "PHANTOM"
    # An unpaired body part: paired ones require Laterality.
    ds.BodyPartExamined, ds.PatientPosition = "WHOLEBODY", "HFS"
    ds.QualityControlImage, ds.BurnedInAnnotation = "YES", "NO"
    ds.DerivationDescription = "Simulated by ctmahout; no scanner and no patient was involved."
    for keyword in (
        "StudyDate",  # empty, as StudyTime: the series of a study are written at different times
        "StudyTime",
        "PatientBirthDate",
        "PatientSex",
        "AccessionNumber",
        "ReferringPhysicianName",
        "PositionReferenceIndicator",
        "KVP",
        "AcquisitionNumber",
    ):
        setattr(ds, keyword, None)


def _set_geometry(ds: Dataset, volume: Volume, z: int) -> None:
    """Set the image plane module."""
    geometry = volume.geometry
    orientation = [*geometry.row_direction, *geometry.column_direction]
    ds.ImagePositionPatient = [_ds(v) for v in geometry.positions_mm[z]]
    ds.ImageOrientationPatient = [_ds(v) for v in orientation]
    ds.PixelSpacing = [_ds(v) for v in geometry.pixel_spacing_mm]
    ds.SliceThickness = _ds(thickness) if (thickness := geometry.thickness_mm or geometry.spacing_mm) else None
    ds.SliceLocation = _ds(geometry.slice_positions_mm[z])


def _ds(value: float) -> DSfloat:
    return DSfloat(float(value) + 0.0, auto_format=True)


def _set_pixels(ds: Dataset, volume: Volume, z: int) -> int:
    """Set the image pixel module; return the number of clipped voxels."""
    ds.SamplesPerPixel, ds.PhotometricInterpretation = 1, "MONOCHROME2"
    ds.Rows, ds.Columns = volume.shape[1:]
    ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 16, 16, 15, 1
    ds.RescaleSlope, ds.RescaleIntercept, ds.RescaleType = 1, _INTERCEPT, "HU"
    ds.WindowCenter, ds.WindowWidth = 40, 400
    values = np.rint(volume.hu[z].astype(np.float64) - _INTERCEPT)
    low, high = _RANGE
    clipped = (values < low) | (values > high)
    stored = np.clip(values, low, high).astype("<i2")
    if volume.padding is not None:
        clipped &= ~volume.padding[z]
        stored[volume.padding[z]] = low
        ds.add_new("PixelPaddingValue", "SS", low)
    ds.PixelData = stored.tobytes()
    ds["PixelData"].VR = "OW"
    return int(np.count_nonzero(clipped))
