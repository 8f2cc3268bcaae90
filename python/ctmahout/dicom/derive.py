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
from .uids import IMPLEMENTATION_CLASS_UID, made_uid

__all__ = ["Derivation", "SeriesFacts", "contributing_equipment", "derive", "facts_of", "file_meta", "set_times"]


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
    private : str
        "drop" or "keep": what becomes of private attributes. Some hold numbers of the source's pixels, untrue of ours.
    deidentified : bool
        Take out what tells whose image it is: see `deidentify`.
    shows : str
        Value 4 of ImageType.
    window : tuple of float, HU, optional
        Centre and width to show it with: the source's, if not given.
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
class SeriesFacts:
    """What all slices of a derived series share.

    Attributes
    ----------
    series_uid, frame_of_reference_uid, study_uid : str
        The two latter for a source that has none.
    when : datetime
        In the source's time zone if both are known.
    references : RawDataElement or None
        ReferencedSeriesSequence, encoded once: as data sets it would be n items in each of n slices. None if the
        source has no valid identifiers.
    """

    series_uid: str
    frame_of_reference_uid: str
    study_uid: str
    when: datetime
    references: RawDataElement | None


def facts_of(slices: Sequence[SliceHeader], derivation: Derivation, when: datetime) -> SeriesFacts:
    """Return what all slices of a derived series share; the same for the same source and derivation.

    Every slice of the result depends on every slice of the source and on each option: so do all identifiers.
    """
    first = slices[0]
    identity = [first.study_uid, first.series_uid, *(h.sop_uid for h in slices)]
    options = [derivation.image_type_value2, derivation.series_suffix, str(derivation.series_number_offset)]
    # Named only where they are asked for: else identifiers of earlier versions would be others.
    options += ["private"] * (derivation.private == "keep") + ["de-identified"] * derivation.deidentified
    # An invalid identifier, as some de-identify, would make the reference invalid, too.
    known = UID(first.series_uid).is_valid and all(UID(h.file_uid).is_valid for h in slices)
    return SeriesFacts(
        series_uid=made_uid("series", *identity, derivation.key, *options),
        frame_of_reference_uid=made_uid("frame of reference", *identity),
        study_uid=made_uid("study", *identity),
        when=_in_zone(when, first.utc_offset),
        references=_references(slices) if known else None,
    )


def _references(slices: Sequence[SliceHeader]) -> RawDataElement:
    """Return the source series and all its slices (PS3.3 C.12.2, Common Instance Reference)."""
    series = Dataset()
    instances = {h.file_uid: h for h in slices}.values()  # a multi-frame image once
    series.ReferencedInstanceSequence = DicomSequence([_reference(h) for h in instances])
    series.SeriesInstanceUID = slices[0].series_uid
    whole = Dataset()
    whole.ReferencedSeriesSequence = DicomSequence([series])
    stream = DicomBytesIO()
    stream.is_implicit_VR, stream.is_little_endian = False, True
    write_dataset(stream, whole)
    value = stream.getvalue()[12:]  # after tag, VR and length
    return RawDataElement(Tag("ReferencedSeriesSequence"), "SQ", len(value), value, 0, False, True)


def _in_zone(when: datetime, utc_offset: str) -> datetime:
    """Return a time in the zone that TimezoneOffsetFromUTC gives: it holds for all times of a file (PS3.3 C.12.1.1)."""
    match = re.fullmatch(r"([+-])(\d\d)(\d\d)", utc_offset)
    if match is None or when.tzinfo is None:
        return when
    sign, hours, minutes = match.groups()
    offset = timedelta(hours=int(hours), minutes=int(minutes))
    return when.astimezone(timezone(-offset if sign == "-" else offset)) if offset < timedelta(days=1) else when


_VRS = frozenset(VR)

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

# What frames of Enhanced CT have and single-frame CT has not.
_ENHANCED = (
    "PixelPresentation",
    "VolumetricProperties",
    "VolumeBasedCalculationTechnique",
    "ContentQualification",
    "PresentationLUTShape",
    "StackID",
    "TemporalPositionTimeOffset",
    "NominalCardiacTriggerDelayTime",
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
    _clean(ds, private=derivation.private == "keep" and not derivation.deidentified)
    for keyword in (*_UNTRUE, *(_ENHANCED if header.frame is not None else ())):
        if keyword in ds:
            delattr(ds, keyword)
    _drop_overlays_in_pixels(ds)
    _correct_padding(ds)
    ds.SOPClassUID = CT_IMAGE
    ds.SOPInstanceUID = made_uid("instance", facts.series_uid, header.sop_uid)
    ds.SeriesInstanceUID = facts.series_uid
    for keyword, value in (
        ("StudyInstanceUID", facts.study_uid),
        ("FrameOfReferenceUID", facts.frame_of_reference_uid),
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
    # AXIAL means any cross-section, a reformat as well (PS3.3 C.8.2.1.1.1); value 4 is free.
    ds.ImageType = ["DERIVED", derivation.image_type_value2, "AXIAL", derivation.shows]
    if derivation.window is not None:
        for keyword in ("VOILUTSequence", "VOILUTFunction", "WindowCenterWidthExplanation"):
            if keyword in ds:
                delattr(ds, keyword)
        ds.WindowCenter, ds.WindowWidth = derivation.window
    _describe_series(ds, derivation)
    set_times(ds, facts.when)
    _say_how(ds, header, derivation, facts)
    _make_explicit(ds)
    if derivation.deidentified:
        deidentify(ds, _ascii(derivation.description)[:1024])
        ds.SeriesDescription = derivation.series_suffix
    elif facts.references is not None:
        ds[facts.references.tag] = facts.references
    ds.file_meta = file_meta(ds.SOPInstanceUID)
    ds.preamble = b"\0" * 128


def _make_explicit(ds: FileDataset) -> None:
    """Have the dataset as it will be written, so that encoded elements in it are written as they are."""
    if ds.original_encoding != (False, True):
        for _ in ds:  # decodes what is still in the source's encoding
            pass
        correct_ambiguous_vr(ds, True)
        ds.set_original_encoding(False, True, ds.original_character_set)


def _clean(ds: Dataset, *, private: bool) -> None:
    """Remove illegal and group length elements at every depth, and private ones unless they are wanted.

    The others stay undecoded, byte for byte.
    """
    for tag in list(ds.keys()):
        # Groups that files do not have (PS3.5 7.1, 7.5; PS3.7): they come of damage.
        if (tag.is_private and not private) or tag.element == 0 or tag.group < 8 or tag.group == 0xFFFE:
            del ds[tag]
            continue
        vr = ds.get_item(tag).VR
        if vr is not None and vr not in _VRS:
            raise ValueError(f"unknown VR in {tag}")
        if vr in ("SQ", "UN", None) and ds[tag].VR == "SQ":
            for item in ds[tag].value:
                _clean(item, private=private)


def _drop_overlays_in_pixels(ds: Dataset) -> None:
    """An overlay without data of its own lies in unused bits of the pixels, which are not kept."""
    groups = {tag.group for tag in ds.keys() if 0x6000 <= tag.group <= 0x60FF}  # noqa: SIM118
    for group in groups:
        if (group, 0x3000) not in ds:
            for tag in [t for t in list(ds.keys()) if t.group == group]:
                del ds[tag]


def _correct_padding(ds: Dataset) -> None:
    """Give padding the VR that goes with the pixels: some write signed values as unsigned."""
    signed = bool(ds.PixelRepresentation)
    for keyword in ("PixelPaddingValue", "PixelPaddingRangeLimit"):
        value = ds.get(keyword)
        if isinstance(value, int):
            del ds[keyword]
            ds.add_new(keyword, "SS" if signed else "US", as_stored(value, signed=signed))


def _describe_series(ds: Dataset, derivation: Derivation) -> None:
    room = 64 - len(derivation.series_suffix) - 1  # VR LO
    text = text_of(ds, "SeriesDescription").replace("\\", " ")
    description = f"{text[:room].rstrip()} {derivation.series_suffix}".strip()
    if description == text:  # the suffix was there, and cutting made room for it again
        description = f"{text[: room - 1].rstrip()} {derivation.series_suffix}".strip()
    ds.SeriesDescription = description
    try:
        number = int(text_of(ds, "SeriesNumber") or 0)
    except ValueError:
        number = 0
    number += derivation.series_number_offset
    ds.SeriesNumber = number if -(2**31) <= number < 2**31 else derivation.series_number_offset  # VR IS


def set_times(ds: Dataset, when: datetime) -> None:
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


def _say_how(ds: Dataset, header: SliceHeader, derivation: Derivation, facts: SeriesFacts) -> None:
    """Say what was done, by what, from which images."""
    before = str(ds.get("DerivationDescription") or "")
    now = _ascii(derivation.description)  # whatever the source's character set is
    text = f"{before}; {now}" if before else now
    ds.DerivationDescription = text if len(text) <= 1024 else now[:1024]  # VR ST
    # CID 7203 has no code for the removal of noise; this is its nearest.
    codes = list(ds.get("DerivationCodeSequence") or [])
    ds.DerivationCodeSequence = DicomSequence([*codes, _code("113087", "Smoothing")])
    for keyword in ("SourceImageSequence", "ReferencedSeriesSequence"):
        if keyword in ds:
            delattr(ds, keyword)
    if facts.references is not None:
        source = _reference(header)
        if header.frame is not None:
            source.ReferencedFrameNumber = header.frame + 1
        source.SpatialLocationsPreserved = "YES"
        source.PurposeOfReferenceCodeSequence = DicomSequence(
            [_code("121322", "Source image for image processing operation")]
        )
        ds.SourceImageSequence = DicomSequence([source])
    present = list(ds.get("ContributingEquipmentSequence") or [])
    equipment = contributing_equipment(derivation.software_version, facts.when, "Image-space noise reduction")
    ds.ContributingEquipmentSequence = DicomSequence([*present, equipment])


def contributing_equipment(software_version: str, when: datetime, description: str) -> Dataset:
    """Return the item that names this software (PS3.3 C.12.1)."""
    equipment = Dataset()
    equipment.PurposeOfReferenceCodeSequence = DicomSequence([_code("109102", "Processing Equipment")])
    equipment.Manufacturer = "ctmahout"
    equipment.ManufacturerModelName = MODEL
    equipment.SoftwareVersions = software_version or "unknown"
    equipment.ContributionDateTime = when.strftime("%Y%m%d%H%M%S%z")
    equipment.ContributionDescription = description
    return equipment


def file_meta(sop_uid: str) -> FileMetaDataset:
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = CT_IMAGE
    meta.MediaStorageSOPInstanceUID = sop_uid
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.ImplementationClassUID = IMPLEMENTATION_CLASS_UID
    meta.ImplementationVersionName = "CTMAHOUT"
    return meta
