"""A report as DICOM: measurements and a PDF in, a structured report and an encapsulated PDF out, in the series' study.

The structured report is a Measurement Report (PS3.16 TID 1500) as a Comprehensive SR (PS3.3 A.35.3), the PDF an
Encapsulated PDF (PS3.3 A.45.1). Needs the extra ``dicom-report``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence as DicomSequence
from pydicom.sr.coding import Code
from pydicom.uid import UID, EncapsulatedPDFStorage, ExplicitVRLittleEndian

from .._version import __version__
from ..errors import ConfigError
from .files import silence_pydicom
from .header import CT_IMAGE, MODEL, SourceSeries
from .pixel_format import text_of
from .uids import IMPLEMENTATION_CLASS_UID, deterministic_uid
from .write import save

__all__ = ["QUANTITIES", "SITES", "Measurement", "check_extra", "write_documents"]

_SCHEME = "99CTMAHOUT"
_HU, _PERCENT, _ONE = (
    Code(value, "UCUM", meaning)
    for value, meaning in (("[hnsf'U]", "Hounsfield unit"), ("%", "Percent"), ("1", "no units"))
)
_ATTENUATION = Code("112031", "DCM", "Attenuation Coefficient")

# What can be measured: concept name, unit, and derivation (PS3.16 CID 7464) if there is one.
QUANTITIES: Mapping[str, tuple[Code, Code, Code | None]] = {
    "Noise SD": (_ATTENUATION, _HU, Code("386136009", "SCT", "Standard Deviation")),
    "Mean": (_ATTENUATION, _HU, Code("373098007", "SCT", "Mean")),
    "Noise removed": (Code("noise-removed", _SCHEME, "Fraction of the noise SD removed"), _PERCENT, None),
    "Shift of the mean": (Code("mean-shift", _SCHEME, "Shift of the mean"), _HU, None),
    "Shift near borders": (Code("border-shift", _SCHEME, "Shift of the mean near borders"), _HU, None),
    "Sharpness of edges": (Code("edge-sharpness", _SCHEME, "Edge width before divided by after"), _ONE, None),
    "Residual and edges": (Code("edges-in-residual", _SCHEME, "Correlation of residual and edges"), _ONE, None),
    "Residual and structure": (
        Code("structure-in-residual", _SCHEME, "Correlation of residual and structure"),
        _ONE,
        None,
    ),
}
SITES = {
    "lung": Code("39607008", "SCT", "Lung"),
    "fat": Code("55603005", "SCT", "Adipose tissue"),
    "soft": Code("87784001", "SCT", "Soft tissue"),
    "bone": Code("272673000", "SCT", "Bone"),
}
_UIDS = ("SOPClassUID", "StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID")
_IDENTITY = (
    "PatientID",
    "PatientName",
    "PatientBirthDate",
    "PatientSex",
    "AccessionNumber",
    "StudyID",
    "StudyDate",
    "StudyTime",
    "ReferringPhysicianName",
)


@dataclass(frozen=True)
class Measurement:
    """A number of the report.

    Attributes
    ----------
    quantity : str
        A key of `QUANTITIES`, which has its unit.
    value : float
    tissue : str
        A key of `SITES`; empty for the whole image.
    """

    quantity: str
    value: float
    tissue: str = ""


def check_extra() -> None:
    """Raise CTM_EXTRA_MISSING if a package that writing documents needs is not installed."""
    for package in ("highdicom", "reportlab"):
        try:
            __import__(package)
        except ImportError as e:
            raise ConfigError(
                "CTM_EXTRA_MISSING", what="The report as DICOM", package=package, extra="dicom-report"
            ) from e


@silence_pydicom()
def write_documents(
    out: Path,
    source: SourceSeries,
    derived: Mapping[str, Path],
    *,
    before: Sequence[Measurement],
    after: Mapping[str, Sequence[Measurement]],
    pdf: bytes,
    series_number_offset: int = 9000,
) -> tuple[Path, Path]:
    """Write the report of a run as two DICOM files, each a series of its own in the study of the derived series.

    Patient, study, times and character set are those of the derived images, so nothing is in them that is not in those.
    UIDs depend on those of the derived series alone.

    Parameters
    ----------
    out : Path
        A new folder.
    source : SourceSeries
        It is referred to if the derived series are in its study, as they are unless they were de-identified.
    derived : mapping of str to Path
        The folders of the derived series by strength.
    before : sequence of Measurement
        Of the source.
    after : mapping of str to sequence of Measurement
        Of each derived series.
    pdf : bytes
    series_number_offset : int
        Added to SeriesNumber of the derived series, once and twice.

    Returns
    -------
    tuple of Path
        The structured report, and the PDF.

    Raises
    ------
    ConfigError
        CTM_EXTRA_MISSING.
    """
    check_extra()
    images = {strength: _images(folder) for strength, folder in derived.items()}
    first = dcmread(next(iter(derived.values())) / "slice-0001.dcm", stop_before_pixels=True)
    sources = _source_images(source, text_of(first, "StudyInstanceUID"))
    key = [text_of(part[0], "SeriesInstanceUID") for part in images.values()]
    groups = [_group("before", key, before, sources)]
    groups += [_group(strength, key, after[strength], part) for strength, part in images.items()]
    evidence = [*(image for part in images.values() for image in part), *sources]
    documents = (_structured_report(key, groups, evidence), _encapsulated_pdf(key, pdf, evidence))
    out.mkdir()
    paths = (out / "measurements.dcm", out / "report.dcm")
    for times, (document, path) in enumerate(zip(documents, paths, strict=True), 1):
        _identify(document, first, times * series_number_offset)
        save(document, path)
    return paths


def _images(folder: Path) -> list[Dataset]:
    """Return the identifiers of the images of a series."""
    images = (dcmread(file, specific_tags=list(_UIDS)) for file in sorted(folder.glob("slice-*.dcm")))
    return [_image(*(text_of(image, uid) for uid in _UIDS)) for image in images]


def _image(*uids: str) -> Dataset:
    """Return the identifiers of an image as highdicom wants them; the patient is written later, see `_identify`."""
    ds = Dataset()
    for keyword, value in zip((*_UIDS, *_IDENTITY), (*uids, *[None] * len(_IDENTITY)), strict=True):
        setattr(ds, keyword, value)
    return ds


def _source_images(source: SourceSeries, study_uid: str) -> list[Dataset]:
    """Return the identifiers of the source's images, none of a multi-frame image twice; none of another study."""
    images = {}
    for header in source.slices:
        uids = (header.study_uid, header.series_uid, header.file_uid)
        if header.study_uid != study_uid or not all(UID(uid).is_valid for uid in uids):
            return []
        images[header.file_uid] = _image(header.sop_class or CT_IMAGE, *uids)
    return list(images.values())


def _group(name: str, key: Sequence[str], measurements: Sequence[Measurement], images: Sequence[Dataset]) -> Any:
    """Return the measurements of a series (TID 1501), with the images that they were made on."""
    from highdicom import sr

    return sr.MeasurementsAndQualitativeEvaluations(
        tracking_identifier=sr.TrackingIdentifier(deterministic_uid("measurements", name, *key), name),
        algorithm_id=sr.AlgorithmIdentification("ctmahout report", __version__),
        measurements=[_measurement(one) for one in measurements],
        source_images=[sr.SourceImageForMeasurementGroup(image.SOPClassUID, image.SOPInstanceUID) for image in images],
    )


def _measurement(one: Measurement) -> Any:
    """Return a measurement (TID 300)."""
    from highdicom import sr

    name, unit, derivation = QUANTITIES[one.quantity]
    sites = [sr.FindingSite(SITES[one.tissue])] if one.tissue else None
    return sr.Measurement(name=name, value=one.value, unit=unit, derivation=derivation, finding_sites=sites)


def _structured_report(key: Sequence[str], groups: Sequence[Any], evidence: Sequence[Dataset]) -> Any:
    from highdicom import sr
    from highdicom.coding_schemes import CodingSchemeIdentificationItem

    observer = sr.ObserverContext(
        Code("121007", "DCM", "Device"),
        sr.DeviceObserverIdentifyingAttributes(IMPLEMENTATION_CLASS_UID, MODEL, "ctmahout", MODEL),
    )
    content = sr.MeasurementReport(
        observation_context=sr.ObservationContext(observer_device_context=observer),
        procedure_reported=Code("25045-6", "LN", "CT unspecified body region"),
        imaging_measurements=groups,
    )
    return sr.ComprehensiveSR(
        evidence=evidence,
        content=content,
        series_instance_uid=deterministic_uid("structured report series", *key),
        sop_instance_uid=deterministic_uid("structured report", *key),
        series_number=1,
        instance_number=1,
        manufacturer="ctmahout",
        is_complete=True,
        coding_schemes=[
            CodingSchemeIdentificationItem(_SCHEME, "Measures of ctmahout", responsible_organization="ctmahout")
        ],
        series_description="ctmahout measurements",
    )


def _encapsulated_pdf(key: Sequence[str], pdf: bytes, evidence: Sequence[Dataset]) -> Any:
    """Return an Encapsulated PDF, for which highdicom has what is common to all objects."""
    from highdicom.base import SOPClass

    document = SOPClass(
        study_instance_uid=evidence[0].StudyInstanceUID,
        series_instance_uid=deterministic_uid("encapsulated report series", *key),
        series_number=1,
        sop_instance_uid=deterministic_uid("encapsulated report", *key),
        sop_class_uid=EncapsulatedPDFStorage,
        instance_number=1,
        modality="DOC",
        manufacturer="ctmahout",
        transfer_syntax_uid=ExplicitVRLittleEndian,
        series_description="ctmahout report",
    )
    document.ConversionType = "WSD"
    document.AcquisitionDateTime = None
    document.BurnedInAnnotation = "NO"
    document.DocumentTitle = "ctmahout report"
    document.ConceptNameCodeSequence = DicomSequence()
    document.MIMETypeOfEncapsulatedDocument = "application/pdf"
    document.EncapsulatedDocumentLength = len(pdf)
    document.EncapsulatedDocument = pdf + bytes(len(pdf) % 2)
    items = []
    for image in evidence:
        item = Dataset()
        item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = image.SOPClassUID, image.SOPInstanceUID
        items.append(item)
    document.SourceInstanceSequence = DicomSequence(items)
    return document


_FROM_IMAGES = (
    "SpecificCharacterSet",
    "TimezoneOffsetFromUTC",
    "InstanceCreationDate",
    "InstanceCreationTime",
    "SeriesDate",
    "SeriesTime",
    "ContentDate",
    "ContentTime",
    "PatientIdentityRemoved",
    "DeidentificationMethod",
    "DeidentificationMethodCodeSequence",
    "LongitudinalTemporalInformationModified",
)


def _identify(document: Any, image: Dataset, offset: int) -> None:
    """Write patient, study, series number and times of a derived image into a document, and who made it."""
    document.copy_patient_and_study_information(image)
    for keyword in _FROM_IMAGES:
        if keyword in image:
            document[keyword] = image[keyword]
    document.SeriesNumber = min(int(text_of(image, "SeriesNumber")) + offset, 2**31 - 1)
    document.ManufacturerModelName, document.SoftwareVersions = MODEL, __version__
    document.ContributingEquipmentSequence = DicomSequence(image.ContributingEquipmentSequence[-1:])
    document.file_meta.ImplementationClassUID = IMPLEMENTATION_CLASS_UID
    document.file_meta.ImplementationVersionName = "CTMAHOUT"
