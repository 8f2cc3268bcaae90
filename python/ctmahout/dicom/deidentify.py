"""De-identified output by the Basic Application Level Confidentiality Profile (PS3.15 Annex E).

The profile lists attributes to remove. This module lists those to keep, so unknown attributes are removed as well.
"""

from __future__ import annotations

from pydicom.dataset import Dataset
from pydicom.sequence import Sequence as DicomSequence
from pydicom.tag import Tag

from .pixel_format import text_of
from .uids import deterministic_uid

__all__ = ["deidentify"]

# Acquisition, storage and geometry of the image: not on the profile's list, or written by ctmahout. Of equipment and
# dates only those that ctmahout wrote are kept.
_KEYWORDS = """
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
_TAGS = frozenset(map(Tag, _KEYWORDS.split()))
# Type 2 in a CT image: required, may be empty.
_EMPTY_KEYWORDS = "PatientBirthDate PatientSex StudyDate StudyTime StudyID AccessionNumber ReferringPhysicianName"


def deidentify(ds: Dataset, description: str) -> None:
    """Remove all attributes of a derived image that may identify the patient. Pixels are not examined.

    Images of one study stay together: its new identifiers are one-way hashes of the original ones.

    Parameters
    ----------
    ds : Dataset
        From `derive`: the last items of ContributingEquipmentSequence and DerivationCodeSequence are those of ctmahout.
    description : str
        The new DerivationDescription: the source's may contain names.
    """
    study = text_of(ds, "StudyInstanceUID")
    frame_of_reference = text_of(ds, "FrameOfReferenceUID")
    for tag in list(ds.keys()):
        if tag not in _TAGS:
            del ds[tag]
    ds.StudyInstanceUID = deterministic_uid("de-identified study", study)
    ds.FrameOfReferenceUID = deterministic_uid("de-identified frame of reference", frame_of_reference)
    ds.PatientName = "ANONYMOUS"
    ds.PatientID = f"ANON-{deterministic_uid('de-identified patient', study)[-12:]}"
    for keyword in _EMPTY_KEYWORDS.split():
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
