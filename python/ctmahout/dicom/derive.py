"""The attributes of a derived CT image (PS3.3 C.7.6.1 General Image, C.8.2.1 CT Image, C.12.1 SOP Common)."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from functools import partial

from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import correct_ambiguous_vr, write_dataset
from pydicom.sequence import Sequence as DicomSequence
from pydicom.tag import Tag
from pydicom.uid import UID, ExplicitVRLittleEndian
from pydicom.valuerep import VR

from ..options import option_error
from .deidentify import deidentify
from .header import CT_IMAGE, MODEL, SliceHeader
from .pixel_format import as_stored, text_of
from .uids import IMPLEMENTATION_CLASS_UID, deterministic_uid

__all__ = [
    "Derivation",
    "SharedAttributes",
    "contributing_equipment",
    "derive",
    "file_meta",
    "set_times",
    "shared_attributes",
]


@dataclass(frozen=True)
class Derivation:
    """How a series is derived from its source.

    Attributes
    ----------
    description : str
        Algorithm, parameters and version, for DerivationDescription.
    key : str
        Everything the pixels depend on besides the source, such as parameters and version. Part of the UIDs.
    series_suffix : str
        Appended to SeriesDescription: 1 to 32 printable ASCII characters.
    image_type_value2 : str
        Value 2 of ImageType: "SECONDARY", or "PRIMARY" for archives that reject secondary images.
    series_number_offset : int
        Added to SeriesNumber.
    software_version : str
    private : str
        "drop" or "keep" private attributes. Some describe the pixels of the source and do not hold for the result.
    deidentified : bool
        Remove attributes that may identify the patient: see `deidentify`.
    shows : str
        Value 4 of ImageType.
    window : tuple of float, HU, optional
        Centre and width of the display window; by default the source's.

    Raises
    ------
    ConfigError
        CTM_CONFIG_VALUE.
    """

    description: str
    key: str
    series_suffix: str = "DENOISED"
    image_type_value2: str = "SECONDARY"
    series_number_offset: int = 9000
    software_version: str = ""
    private: str = "drop"
    deidentified: bool = False
    shows: str = "DENOISED"
    window: tuple[float, float] | None = None

    def __post_init__(self) -> None:
        invalid = partial(option_error, source="derivation")
        suffix = self.series_suffix
        if not 1 <= len(suffix) <= 32 or not suffix.isascii() or not suffix.isprintable() or "\\" in suffix:
            raise invalid("series_suffix", suffix, "1 to 32 printable ASCII characters, no backslash")
        if self.image_type_value2 not in ("SECONDARY", "PRIMARY"):
            raise invalid("image_type", self.image_type_value2, "SECONDARY or PRIMARY")
        if self.private not in ("drop", "keep"):
            raise invalid("private", self.private, "drop or keep")
        if not 1 <= self.series_number_offset < 2**31:
            raise invalid("series_number_offset", self.series_number_offset, "1 to 2147483647")


@dataclass(frozen=True)
class SharedAttributes:
    """Attributes shared by all slices of a derived series.

    Attributes
    ----------
    series_uid : str
    frame_of_reference_uid, study_uid : str
        For a source without its own.
    when : datetime
        In the source's time zone if both zones are known.
    references : RawDataElement or None
        ReferencedSeriesSequence, encoded once, since n slices would hold n items each. None if the source has no valid
        UIDs.
    """

    series_uid: str
    frame_of_reference_uid: str
    study_uid: str
    when: datetime
    references: RawDataElement | None


def shared_attributes(slices: Sequence[SliceHeader], derivation: Derivation, when: datetime) -> SharedAttributes:
    """Return the shared attributes of a derived series; equal sources and derivations have equal UIDs.

    Each slice of the result depends on all slices of the source and on every option, and so do the UIDs.
    """
    first = slices[0]
    identity = [first.study_uid, first.series_uid, *(h.sop_uid for h in slices)]
    options = [derivation.image_type_value2, derivation.series_suffix, str(derivation.series_number_offset)]
    # Added only where set, so that UIDs of earlier versions stay the same.
    options += ["private"] * (derivation.private == "keep") + ["de-identified"] * derivation.deidentified
    # An invalid UID, as some de-identification tools write, would make the reference invalid as well.
    valid = UID(first.series_uid).is_valid and all(UID(h.file_uid).is_valid for h in slices)
    return SharedAttributes(
        series_uid=deterministic_uid("series", *identity, derivation.key, *options),
        frame_of_reference_uid=deterministic_uid("frame of reference", *identity),
        study_uid=deterministic_uid("study", *identity),
        when=_in_time_zone(when, first.utc_offset),
        references=_references(slices) if valid else None,
    )


def _references(slices: Sequence[SliceHeader]) -> RawDataElement:
    """Return the references to the source series and all its slices (PS3.3 C.12.2, Common Instance Reference)."""
    series = Dataset()
    instances = {h.file_uid: h for h in slices}.values()  # a multi-frame image once
    series.ReferencedInstanceSequence = DicomSequence([_reference(h) for h in instances])
    series.SeriesInstanceUID = slices[0].series_uid
    ds = Dataset()
    ds.ReferencedSeriesSequence = DicomSequence([series])
    stream = DicomBytesIO()
    stream.is_implicit_VR, stream.is_little_endian = False, True
    write_dataset(stream, ds)
    value = stream.getvalue()[12:]  # after tag, VR and length
    return RawDataElement(Tag("ReferencedSeriesSequence"), "SQ", len(value), value, 0, False, True)


def _in_time_zone(when: datetime, utc_offset: str) -> datetime:
    """Return a time in the zone of TimezoneOffsetFromUTC, which applies to all times of a file (PS3.3 C.12.1.1)."""
    match = re.fullmatch(r"([+-])(\d\d)(\d\d)", utc_offset)
    if match is None or when.tzinfo is None:
        return when
    sign, hours, minutes = match.groups()
    offset = timedelta(hours=int(hours), minutes=int(minutes))
    return when.astimezone(timezone(-offset if sign == "-" else offset)) if offset < timedelta(days=1) else when


_VRS = frozenset(VR)

# Describe the pixels or the file of the source and do not hold for the result.
_SOURCE_ONLY = (
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

# Attributes of Enhanced CT frames that single-frame CT does not have.
_ENHANCED_ONLY = (
    "PixelPresentation",
    "VolumetricProperties",
    "VolumeBasedCalculationTechnique",
    "ContentQualification",
    "PresentationLUTShape",
    "StackID",
    "TemporalPositionTimeOffset",
    "NominalCardiacTriggerDelayTime",
)

# Type 2 in a CT image: required, may be empty.
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


def derive(ds: FileDataset, header: SliceHeader, derivation: Derivation, shared: SharedAttributes) -> None:
    """Turn the dataset of a source slice, in place, into that of the derived slice, except for its pixels.

    Raises
    ------
    ValueError
        An element has an unknown VR.
    """
    _remove_elements(ds, keep_private=derivation.private == "keep" and not derivation.deidentified)
    for keyword in (*_SOURCE_ONLY, *(_ENHANCED_ONLY if header.frame is not None else ())):
        if keyword in ds:
            delattr(ds, keyword)
    _drop_overlays_in_pixels(ds)
    _correct_padding(ds)
    ds.SOPClassUID = CT_IMAGE
    ds.SOPInstanceUID = deterministic_uid("instance", shared.series_uid, header.sop_uid)
    ds.SeriesInstanceUID = shared.series_uid
    for keyword, value in (
        ("StudyInstanceUID", shared.study_uid),
        ("FrameOfReferenceUID", shared.frame_of_reference_uid),
        ("Modality", "CT"),
        ("SamplesPerPixel", 1),
    ):
        if not ds.get(keyword):
            setattr(ds, keyword, value)
    for keyword in _TYPE_2:
        if keyword not in ds:
            setattr(ds, keyword, None)
    if header.lossy:
        ds.LossyImageCompression = "01"
    # AXIAL means any cross-section, including reformats (PS3.3 C.8.2.1.1.1); value 4 is free.
    ds.ImageType = ["DERIVED", derivation.image_type_value2, "AXIAL", derivation.shows]
    if derivation.window is not None:
        for keyword in ("VOILUTSequence", "VOILUTFunction", "WindowCenterWidthExplanation"):
            if keyword in ds:
                delattr(ds, keyword)
        ds.WindowCenter, ds.WindowWidth = derivation.window
    _describe_series(ds, derivation)
    set_times(ds, shared.when)
    _describe_derivation(ds, header, derivation, shared)
    _convert_to_explicit_vr(ds)
    if derivation.deidentified:
        deidentify(ds, _ascii(derivation.description)[:1024])
        ds.SeriesDescription = derivation.series_suffix
    elif shared.references is not None:
        ds[shared.references.tag] = shared.references
    ds.file_meta = file_meta(ds.SOPInstanceUID)
    ds.preamble = b"\0" * 128


def _convert_to_explicit_vr(ds: FileDataset) -> None:
    """Convert the dataset to the encoding it is written in, so that encoded elements can be added to it."""
    if ds.original_encoding != (False, True):
        for _ in ds:  # decodes the elements still in the source's encoding
            pass
        correct_ambiguous_vr(ds, True)
        ds.set_original_encoding(False, True, ds.original_character_set)


def _remove_elements(ds: Dataset, *, keep_private: bool) -> None:
    """Remove illegal and group length elements at every depth, and by default private ones.

    All other elements stay undecoded, byte for byte.
    """
    for tag in list(ds.keys()):
        # Groups below 8 and 0xFFFE do not occur in valid data sets (PS3.5 7.1, 7.5; PS3.7).
        if (tag.is_private and not keep_private) or tag.element == 0 or tag.group < 8 or tag.group == 0xFFFE:
            del ds[tag]
            continue
        vr = ds.get_item(tag).VR
        if vr is not None and vr not in _VRS:
            raise ValueError(f"unknown VR in {tag}")
        if vr in ("SQ", "UN", None) and ds[tag].VR == "SQ":
            for item in ds[tag].value:
                _remove_elements(item, keep_private=keep_private)


def _drop_overlays_in_pixels(ds: Dataset) -> None:
    """Remove overlays without OverlayData: they are stored in unused bits of the pixels, which are overwritten."""
    groups = {tag.group for tag in ds.keys() if 0x6000 <= tag.group <= 0x60FF}  # noqa: SIM118
    for group in groups:
        if (group, 0x3000) not in ds:
            for tag in [t for t in list(ds.keys()) if t.group == group]:
                del ds[tag]


def _correct_padding(ds: Dataset) -> None:
    """Set the VR of padding to that of the pixels: some scanners write signed values as unsigned."""
    signed = bool(ds.PixelRepresentation)
    for keyword in ("PixelPaddingValue", "PixelPaddingRangeLimit"):
        value = ds.get(keyword)
        if isinstance(value, int):
            del ds[keyword]
            ds.add_new(keyword, "SS" if signed else "US", as_stored(value, signed=signed))


def _describe_series(ds: Dataset, derivation: Derivation) -> None:
    length = 64 - len(derivation.series_suffix) - 1  # VR LO
    text = text_of(ds, "SeriesDescription").replace("\\", " ")
    description = f"{text[:length].rstrip()} {derivation.series_suffix}".strip()
    if description == text:  # truncation replaced an earlier suffix by the same one
        description = f"{text[: length - 1].rstrip()} {derivation.series_suffix}".strip()
    ds.SeriesDescription = description
    try:
        number = int(text_of(ds, "SeriesNumber") or 0)
    except ValueError:
        number = 0
    number += derivation.series_number_offset
    ds.SeriesNumber = number if -(2**31) <= number < 2**31 else derivation.series_number_offset  # VR IS


def set_times(ds: Dataset, when: datetime) -> None:
    """Set the dates and times of series, content and instance creation."""
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


def _reference(header: SliceHeader) -> Dataset:
    item = Dataset()
    item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = header.sop_class or CT_IMAGE, header.file_uid
    return item


def _ascii(text: str) -> str:
    return text.encode("ascii", "replace").decode()


def _describe_derivation(ds: Dataset, header: SliceHeader, derivation: Derivation, shared: SharedAttributes) -> None:
    """Record the derivation, the software and the source images."""
    earlier = str(ds.get("DerivationDescription") or "")
    description = _ascii(derivation.description)  # valid in any SpecificCharacterSet
    text = f"{earlier}; {description}" if earlier else description
    ds.DerivationDescription = text if len(text) <= 1024 else description[:1024]  # VR ST
    # The nearest code in CID 7203, which has none for noise reduction.
    codes = list(ds.get("DerivationCodeSequence") or [])
    ds.DerivationCodeSequence = DicomSequence([*codes, _code("113087", "Smoothing")])
    for keyword in ("SourceImageSequence", "ReferencedSeriesSequence"):
        if keyword in ds:
            delattr(ds, keyword)
    if shared.references is not None:
        source = _reference(header)
        if header.frame is not None:
            source.ReferencedFrameNumber = header.frame + 1
        source.SpatialLocationsPreserved = "YES"
        source.PurposeOfReferenceCodeSequence = DicomSequence(
            [_code("121322", "Source image for image processing operation")]
        )
        ds.SourceImageSequence = DicomSequence([source])
    earlier_equipment = list(ds.get("ContributingEquipmentSequence") or [])
    equipment = contributing_equipment(derivation.software_version, shared.when, "Image-space noise reduction")
    ds.ContributingEquipmentSequence = DicomSequence([*earlier_equipment, equipment])


def contributing_equipment(software_version: str, when: datetime, description: str) -> Dataset:
    """Return the ContributingEquipmentSequence item of this software (PS3.3 C.12.1)."""
    equipment = Dataset()
    equipment.PurposeOfReferenceCodeSequence = DicomSequence([_code("109102", "Processing Equipment")])
    equipment.Manufacturer = "ctmahout"
    equipment.ManufacturerModelName = MODEL
    equipment.SoftwareVersions = software_version or "unknown"
    equipment.ContributionDateTime = when.strftime("%Y%m%d%H%M%S%z")
    equipment.ContributionDescription = description
    return equipment


def file_meta(sop_uid: str) -> FileMetaDataset:
    """Return the file meta information of a CT image in explicit VR little endian."""
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = CT_IMAGE
    meta.MediaStorageSOPInstanceUID = sop_uid
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.ImplementationClassUID = IMPLEMENTATION_CLASS_UID
    meta.ImplementationVersionName = "CTMAHOUT"
    return meta
