"""De-identified output by the Basic Application Level Confidentiality Profile (PS3.15 Annex E).

The profile lists what must go. Here stands what may stay, and everything else goes: what nobody thought of as well.
"""

from __future__ import annotations

from pydicom.dataset import Dataset
from pydicom.sequence import Sequence as DicomSequence
from pydicom.tag import Tag

from .pixel_format import text_of
from .uids import made_uid

__all__ = ["deidentify"]

# How the image was made, how its pixels are stored and where it lies: none of it is on the profile's list, or it is
# ours. Of contributing equipment and dates only what this software wrote stays.
_KEPT = """
SpecificCharacterSet ImageType SOPClassUID SOPInstanceUID StudyInstanceUID SeriesInstanceUID FrameOfReferenceUID
InstanceCreationDate InstanceCreationTime SeriesDate SeriesTime ContentDate ContentTime Modality Manufacturer
ManufacturerModelName SoftwareVersions SeriesNumber AcquisitionNumber InstanceNumber BodyPartExamined PatientPosition
ScanOptions KVP DataCollectionDiameter ReconstructionDiameter DistanceSourceToDetector DistanceSourceToPatient
GantryDetectorTilt TableHeight RotationDirection ExposureTime XRayTubeCurrent Exposure FilterType GeneratorPower
FocalSpots ConvolutionKernel RevolutionTime SingleCollimationWidth TotalCollimationWidth TableSpeed
TableFeedPerRotation SpiralPitchFactor ExposureModulationType CTDIvol EstimatedDoseSaving SliceThickness
SpacingBetweenSlices ImagePositionPatient ImageOrientationPatient PositionReferenceIndicator SliceLocation Laterality
PatientOrientation PixelSpacing Rows Columns SamplesPerPixel PhotometricInterpretation BitsAllocated BitsStored HighBit
PixelRepresentation PixelPaddingValue PixelPaddingRangeLimit RescaleSlope RescaleIntercept RescaleType WindowCenter
WindowWidth VOILUTFunction LossyImageCompression LossyImageCompressionRatio LossyImageCompressionMethod
BurnedInAnnotation DerivationCodeSequence ContributingEquipmentSequence PixelData
"""
_TAGS = frozenset(map(Tag, _KEPT.split()))
# Type 2 in a CT image: must be there, may be empty.
_EMPTIED = "PatientBirthDate PatientSex StudyDate StudyTime StudyID AccessionNumber ReferringPhysicianName"


def deidentify(ds: Dataset, description: str) -> None:
    """Take out of a derived image all that may tell whose it is; pixels are not looked at.

    One study stays one, by identifiers made from its own, which nobody can turn back who does not have it.

    Parameters
    ----------
    ds : Dataset
        As `derive` made it, its last ContributingEquipmentSequence item and DerivationCodeSequence item ours.
    description : str
        DerivationDescription and SeriesDescription of the source may name anybody: this stands instead.
    """
    study = text_of(ds, "StudyInstanceUID")
    frame_of_reference = text_of(ds, "FrameOfReferenceUID")
    for tag in list(ds.keys()):
        if tag not in _TAGS:
            del ds[tag]
    ds.StudyInstanceUID = made_uid("de-identified study", study)
    ds.FrameOfReferenceUID = made_uid("de-identified frame of reference", frame_of_reference)
    ds.PatientName = "ANONYMOUS"
    ds.PatientID = f"ANON-{made_uid('de-identified patient', study)[-12:]}"
    for keyword in _EMPTIED.split():
        setattr(ds, keyword, None)
    ds.DerivationDescription = description
    ds.ContributingEquipmentSequence = DicomSequence(ds.ContributingEquipmentSequence[-1:])
    ds.DerivationCodeSequence = DicomSequence(ds.DerivationCodeSequence[-1:])
    ds.PatientIdentityRemoved = "YES"
    ds.LongitudinalTemporalInformationModified = "REMOVED"
    ds.DeidentificationMethod = "ctmahout: technical attributes kept, all others removed"
    method = Dataset()
    method.CodeValue, method.CodingSchemeDesignator = "113100", "DCM"
    method.CodeMeaning = "Basic Application Confidentiality Profile"
    ds.DeidentificationMethodCodeSequence = DicomSequence([method])
