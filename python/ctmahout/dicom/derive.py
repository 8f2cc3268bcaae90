"""The attributes of a derived CT image (PS3.3 C.7.6.1 General Image, C.8.2.1 CT Image, C.12.1 SOP Common)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.sequence import Sequence as DicomSequence
from pydicom.uid import ExplicitVRLittleEndian

from .find import CT_IMAGE
from .headers import SliceHeader
from .uids import IMPLEMENTATION_CLASS_UID, made_uid

__all__ = ["Derivation", "SeriesFacts", "derive", "facts_of"]

MODEL = "ctmahout"


@dataclass(frozen=True)
class Derivation:
    """What was done to a series.

    Attributes
    ----------
    description : str
        For DerivationDescription: algorithm, parameters, version.
    key : str
        All that the pixels depend on besides the source: parameters and version. It goes into the UIDs.
    series_suffix : str
        Added to SeriesDescription.
    image_type_value2 : str
        "SECONDARY" (made after the examination), or "PRIMARY" for archives that drop the former.
    series_number_offset : int
        Added to SeriesNumber.
    software_version : str
    """

    description: str
    key: str
    series_suffix: str = "DENOISED"
    image_type_value2: str = "SECONDARY"
    series_number_offset: int = 9000
    software_version: str = ""


@dataclass(frozen=True)
class SeriesFacts:
    """What all slices of a derived series share."""

    series_uid: str
    frame_of_reference_uid: str
    study_uid: str
    when: datetime
    source_reference: DicomSequence | None


def facts_of(slices: Sequence[SliceHeader], derivation: Derivation, when: datetime) -> SeriesFacts:
    """Return the identifiers of a derived series; the same for the same source and derivation."""
    identity = [slices[0].series_uid, *(h.sop_uid for h in slices)]
    reference = None
    if slices[0].series_uid and not any(h.made_uid for h in slices):
        item = Dataset()
        item.SeriesInstanceUID = slices[0].series_uid
        item.ReferencedInstanceSequence = DicomSequence([_reference(h.sop_uid) for h in slices])
        reference = DicomSequence([item])
    return SeriesFacts(
        series_uid=made_uid("series", *identity, derivation.key),
        frame_of_reference_uid=made_uid("frame of reference", *identity),
        study_uid=made_uid("study", *identity),
        when=when,
        source_reference=reference,
    )


# Describe the source's pixels, its file or its storage, and would be untrue of ours.
_UNTRUE = (
    "SmallestImagePixelValue",
    "LargestImagePixelValue",
    "SmallestPixelValueInSeries",
    "LargestPixelValueInSeries",
    "IconImageSequence",
    "PixelDataProviderURL",
    "DigitalSignaturesSequence",
    "MACParametersSequence",
    "DataSetTrailingPadding",
    "PlanarConfiguration",
    "InstanceCreatorUID",
    "ExtendedOffsetTable",
    "ExtendedOffsetTableLengths",
    "NumberOfFrames",
)

# Type 2 in a CT image: must be there, may be empty.
_TYPE_2 = (
    "PatientName",
    "PatientID",
    "PatientBirthDate",
    "PatientSex",
    "StudyDate",
    "StudyTime",
    "StudyID",
    "AccessionNumber",
    "ReferringPhysicianName",
    "Manufacturer",
    "PositionReferenceIndicator",
    "InstanceNumber",
    "SliceThickness",
    "KVP",
    "AcquisitionNumber",
    "SeriesNumber",
)


def derive(ds: FileDataset, header: SliceHeader, derivation: Derivation, facts: SeriesFacts) -> None:
    """Turn the dataset of a source slice into that of a derived one, its pixels aside."""
    _remove_private(ds)
    for keyword in _UNTRUE:
        if keyword in ds:
            delattr(ds, keyword)
    _drop_overlays_in_pixels(ds)
    _correct_padding(ds)
    sop_uid = made_uid("instance", header.sop_uid, derivation.key)
    ds.SOPClassUID = CT_IMAGE
    ds.SOPInstanceUID = sop_uid
    ds.SeriesInstanceUID = facts.series_uid
    for keyword, value in (
        ("StudyInstanceUID", facts.study_uid),
        ("FrameOfReferenceUID", facts.frame_of_reference_uid),
        ("Modality", "CT"),
    ):
        if not ds.get(keyword):
            setattr(ds, keyword, value)
    for keyword in _TYPE_2:
        if keyword not in ds:
            setattr(ds, keyword, None)
    plane = [str(v).strip() for v in ds.get("ImageType") or []][2:3]
    ds.ImageType = ["DERIVED", derivation.image_type_value2, *(plane or ["AXIAL"]), "DENOISED"]
    _describe_series(ds, derivation)
    _set_times(ds, facts.when)
    _say_how(ds, header, derivation, facts)
    ds.file_meta = _file_meta(sop_uid)
    ds.preamble = b"\0" * 128


def _remove_private(ds: Dataset) -> None:
    """Remove private and group length elements at every depth; what else there is stays undecoded, byte for byte."""
    for tag in list(ds.keys()):
        if tag.is_private or tag.element == 0:
            del ds[tag]
        elif ds.get_item(tag).VR in ("SQ", "UN", None) and ds[tag].VR == "SQ":
            for item in ds[tag].value:
                _remove_private(item)


def _drop_overlays_in_pixels(ds: Dataset) -> None:
    """An overlay without data of its own lies in unused bits of the pixels, which are not kept."""
    groups = {tag.group for tag in ds.keys() if 0x6000 <= tag.group <= 0x60FF}  # noqa: SIM118
    for group in groups:
        if (group, 0x3000) not in ds:
            for tag in [t for t in list(ds.keys()) if t.group == group]:
                del ds[tag]


def _correct_padding(ds: Dataset) -> None:
    """Padding of signed pixels that was written as unsigned gets the VR that goes with the pixels."""
    for keyword in ("PixelPaddingValue", "PixelPaddingRangeLimit"):
        value = ds.get(keyword)
        if isinstance(value, int):
            del ds[keyword]
            signed = bool(ds.PixelRepresentation)
            number = value - 65536 if signed and value > 32767 else value + 65536 if not signed and value < 0 else value
            ds.add_new(keyword, "SS" if signed else "US", number)


def _describe_series(ds: Dataset, derivation: Derivation) -> None:
    text = str(ds.get("SeriesDescription") or "")
    room = 64 - len(derivation.series_suffix) - 1  # VR LO
    ds.SeriesDescription = f"{text[:room].rstrip()} {derivation.series_suffix}".strip()
    try:
        number = int(ds.get("SeriesNumber") or 0)
    except (TypeError, ValueError):
        number = 0
    number += derivation.series_number_offset
    ds.SeriesNumber = str(number if number < 2**31 else derivation.series_number_offset)


def _set_times(ds: Dataset, when: datetime) -> None:
    for date, time in (
        ("SeriesDate", "SeriesTime"),
        ("ContentDate", "ContentTime"),
        ("InstanceCreationDate", "InstanceCreationTime"),
    ):
        setattr(ds, date, when.strftime("%Y%m%d"))
        setattr(ds, time, when.strftime("%H%M%S"))


def _code(value: str, meaning: str) -> Dataset:
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = value, "DCM", meaning
    return item


def _reference(sop_uid: str) -> Dataset:
    item = Dataset()
    item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = CT_IMAGE, sop_uid
    return item


def _say_how(ds: Dataset, header: SliceHeader, derivation: Derivation, facts: SeriesFacts) -> None:
    """Say what was done, by what, from which images."""
    before = str(ds.get("DerivationDescription") or "")
    text = f"{before}; {derivation.description}" if before else derivation.description
    ds.DerivationDescription = text if len(text) <= 1024 else derivation.description[:1024]  # VR ST
    # CID 7203 has no code for the removal of noise; this is its nearest.
    codes = list(ds.get("DerivationCodeSequence") or [])
    ds.DerivationCodeSequence = DicomSequence([*codes, _code("113087", "Smoothing")])
    for keyword in ("SourceImageSequence", "ReferencedSeriesSequence"):
        if keyword in ds:
            delattr(ds, keyword)
    if facts.source_reference is not None:
        source = _reference(header.sop_uid)
        source.SpatialLocationsPreserved = "YES"
        source.PurposeOfReferenceCodeSequence = DicomSequence(
            [_code("121322", "Source image for image processing operation")]
        )
        ds.SourceImageSequence = DicomSequence([source])
        ds.ReferencedSeriesSequence = facts.source_reference
    equipment = Dataset()
    equipment.PurposeOfReferenceCodeSequence = DicomSequence([_code("109102", "Processing Equipment")])
    equipment.Manufacturer = "ctmahout"
    equipment.ManufacturerModelName = MODEL
    equipment.SoftwareVersions = derivation.software_version or "unknown"
    equipment.ContributionDateTime = facts.when.strftime("%Y%m%d%H%M%S")
    equipment.ContributionDescription = "Image-space noise reduction"
    present = list(ds.get("ContributingEquipmentSequence") or [])
    ds.ContributingEquipmentSequence = DicomSequence([*present, equipment])


def _file_meta(sop_uid: str) -> FileMetaDataset:
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = CT_IMAGE
    meta.MediaStorageSOPInstanceUID = sop_uid
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.ImplementationClassUID = IMPLEMENTATION_CLASS_UID
    meta.ImplementationVersionName = "CTMAHOUT"
    return meta
