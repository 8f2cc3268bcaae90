"""Headers of CT slices: the attributes that ordering, checking and writing need, without pixels."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset, FileDataset

from ..errors import InputError
from ..volume import Volume
from .archive import open_file
from .frames import sop_class_of
from .issues import Issue
from .pixel_format import PixelFormat, decimal_values, pixel_format, text_of
from .uids import deterministic_uid

__all__ = [
    "CT_IMAGE",
    "MODEL",
    "PHASES",
    "SliceHeader",
    "SourceSeries",
    "check_size",
    "file_sha256",
    "header_of",
    "is_denoised",
    "kernel_of",
]

CT_IMAGE = "1.2.840.10008.5.1.4.1.1.2"

MODEL = "ctmahout"
"""ManufacturerModelName in ContributingEquipmentSequence, which identifies output of ctmahout."""

_LOSSY_SYNTAXES = ("1.2.840.10008.1.2.4.50", "1.2.840.10008.1.2.4.51")
# Attributes that distinguish images of one position, such as contrast phases or cardiac phases; most specific first.
PHASES = (
    "TemporalPositionIdentifier",
    "NominalPercentageOfCardiacPhase",
    "TriggerTime",
    "NominalCardiacTriggerDelayTime",
    "TemporalPositionTimeOffset",
    "AcquisitionNumber",
    "AcquisitionDateTime",
    "AcquisitionTime",
    "StackID",
    "ConvolutionKernel",
    "ImageType",
)
# Real files have unit vectors of 3 decimals, none of 2.
_UNIT_TOLERANCE = 1e-3
# From the finest micro-CT to far more than any image of a person.
_SPACING_MM = (1e-3, 100.0)
_MAX_THICKNESS_MM = 1000.0


@dataclass(frozen=True)
class SliceHeader:
    """Header of a slice: a few hundred bytes instead of a dataset.

    Attributes
    ----------
    path : Path
    size, mtime_ns : int
        Of the file when it was scanned, to detect a later change.
    without_preamble : bool
        The file has no preamble (PS3.10 7.1).
    sop_uid : str
        SOPInstanceUID, or one generated from the file's content or the frame's number.
    has_sop_uid : bool
        The file has a SOPInstanceUID.
    frame : int or None
        Index of the frame in a multi-frame image, from 0.
    pixels_at : int or None, bytes
        Offset of the pixels in the file if they can be read without decoding: one frame, native, little endian.
    sop_class : str
        SOPClassUID of the file.
    file_uid : str
        SOPInstanceUID of the file, shared by all frames of a multi-frame image.
    study_uid, series_uid, frame_of_reference_uid, series_number : str
        As in the file; empty if absent.
    patient : str
        Hash of PatientID and PatientName.
    description : str
        SeriesDescription; to select a series, never for a message.
    phases : tuple of str
        The values of `PHASES`, empty where absent.
    transfer_syntax : str
        UID.
    position_mm : tuple of float, mm
        ImagePositionPatient.
    orientation : tuple of float
        ImageOrientationPatient: two unit vectors of three components.
    pixel_spacing_mm : tuple of float, mm
        Distance between rows, distance between columns.
    thickness_mm : float or None, mm
        SliceThickness.
    kernel : str
        ConvolutionKernel.
    manufacturer, scanner : str
        Manufacturer and ManufacturerModelName; empty if absent.
    pixels : PixelFormat
        Format of the stored values.
    lossy : bool
        The pixels were compressed with loss at some time.
    has_overlay_in_pixels : bool
        An overlay is stored in unused bits of the pixels (retired, but still found).
    overlay_bits : int
        Mask of the bits that such overlays declare.
    denoised : bool
        The slice was written by ctmahout.
    burned_in : bool
        BurnedInAnnotation is YES.
    utc_offset : str
        TimezoneOffsetFromUTC.
    issues : tuple of Issue
    """

    path: Path
    size: int
    mtime_ns: int
    without_preamble: bool
    sop_uid: str
    has_sop_uid: bool
    frame: int | None
    pixels_at: int | None
    sop_class: str
    file_uid: str
    study_uid: str
    series_uid: str
    series_number: str
    frame_of_reference_uid: str
    patient: str = field(repr=False)
    description: str = field(repr=False)
    phases: tuple[str, ...] = field(repr=False)
    transfer_syntax: str
    position_mm: tuple[float, float, float]
    orientation: tuple[float, ...]
    pixel_spacing_mm: tuple[float, float]
    thickness_mm: float | None
    kernel: str
    manufacturer: str
    scanner: str
    pixels: PixelFormat
    lossy: bool
    has_overlay_in_pixels: bool
    overlay_bits: int
    denoised: bool
    burned_in: bool
    utc_offset: str
    issues: tuple[Issue, ...]

    @property
    def normal(self) -> NDArray[np.float64]:
        """Unit normal of the slice, ndarray of shape (3,)."""
        return np.cross(self.orientation[:3], self.orientation[3:])

    @property
    def slice_position_mm(self) -> float:
        """Position along the normal, mm."""
        return float(np.array(self.position_mm) @ self.normal)


@dataclass(frozen=True)
class SourceSeries:
    """The series that a volume was read from, as writing a derived series needs it.

    Attributes
    ----------
    root : Path
        The path given to `read_series`; nothing is ever written there.
    slices : tuple of SliceHeader
        In the order of the volume.
    """

    root: Path
    slices: tuple[SliceHeader, ...]


def kernel_of(volume: Volume) -> str:
    """Return the ConvolutionKernel of the series that a volume was read from; empty if there is none."""
    source = volume.source
    return source.slices[0].kernel if isinstance(source, SourceSeries) and source.slices else ""


def file_sha256(path: Path) -> str:
    """Return the SHA-256 of a file."""
    with open_file(path) as stream:
        return hashlib.sha256(stream.read()).hexdigest()


def header_of(
    ds: FileDataset,
    path: Path,
    stamp: tuple[int, int],
    *,
    without_preamble: bool = False,
    frame: int | None = None,
) -> SliceHeader:
    """Return the validated header of a CT image.

    Parameters
    ----------
    ds : FileDataset
        Single-frame image, or a frame as `frame_of` returns it. Pixels are not needed.
    path : Path
    stamp : tuple of int
        Size (bytes) and modification time (ns) of the file.
    without_preamble : bool
    frame : int, optional

    Raises
    ------
    InputError
        CTM_GEOMETRY_INVALID, CTM_ATTRIBUTE_INVALID: not even lenient reading can use such a slice.
    """
    issues: list[Issue] = []
    if without_preamble:
        problem = "it has no preamble, which every DICOM file begins with"
        issues.append(InputError("CTM_INPUT_UNREADABLE", file=path, problem=problem))
    identity = {k: text_of(ds, k) for k in ("SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID")}
    issues += [InputError("CTM_UID_MISSING", file=path, attribute=k) for k, uid in identity.items() if not uid]
    position, orientation, spacing = _plane(ds, path)
    pixels, pixel_issues = pixel_format(ds, path)
    issues += pixel_issues
    issues += _source_issues(ds)
    groups = {tag.group for tag in ds.keys() if 0x6000 <= tag.group <= 0x60FF}  # noqa: SIM118 - these are tags
    overlay = any((group, 0x3000) not in ds for group in groups)
    if overlay:
        issues.append("An overlay in unused bits of the pixels is not kept.")
    syntax = str(ds.file_meta.TransferSyntaxUID)
    lossy = text_of(ds, "LossyImageCompression") == "01" or syntax in _LOSSY_SYNTAXES
    if lossy:
        issues.append("The source was compressed with loss; its artefacts cannot be told from anatomy or noise.")
    thickness = _thickness(ds, issues)
    uid = identity["SOPInstanceUID"]
    return SliceHeader(
        path=path,
        size=stamp[0],
        mtime_ns=stamp[1],
        without_preamble=without_preamble,
        sop_uid=_slice_uid(uid, path, frame),
        has_sop_uid=bool(uid),
        frame=frame,
        pixels_at=None,
        sop_class=sop_class_of(ds),
        file_uid=uid,
        study_uid=identity["StudyInstanceUID"],
        series_uid=identity["SeriesInstanceUID"],
        series_number=text_of(ds, "SeriesNumber"),
        frame_of_reference_uid=text_of(ds, "FrameOfReferenceUID"),
        patient=hashlib.sha256(repr([text_of(ds, k) for k in ("PatientID", "PatientName")]).encode()).hexdigest(),
        description=text_of(ds, "SeriesDescription"),
        phases=tuple(text_of(ds, keyword) if keyword in ds else "" for keyword in PHASES),
        transfer_syntax=syntax,
        position_mm=position,
        orientation=orientation,
        pixel_spacing_mm=spacing,
        thickness_mm=thickness,
        kernel=text_of(ds, "ConvolutionKernel"),
        manufacturer=text_of(ds, "Manufacturer"),
        scanner=text_of(ds, "ManufacturerModelName"),
        pixels=pixels,
        lossy=lossy,
        has_overlay_in_pixels=overlay,
        overlay_bits=_overlay_bits(ds, groups),
        denoised=is_denoised(ds),
        burned_in=_is_burned_in(ds),
        utc_offset=text_of(ds, "TimezoneOffsetFromUTC"),
        issues=tuple(issues),
    )


def _slice_uid(uid: str, path: Path, frame: int | None) -> str:
    """Return a unique identifier of a slice, also for a file without a UID and for each frame of a file."""
    if frame is None:
        return uid or deterministic_uid("content", file_sha256(path))
    return deterministic_uid("frame", uid or file_sha256(path), str(frame))


def is_denoised(ds: Dataset) -> bool:
    """Return whether an image was written by ctmahout."""
    return any(
        text_of(item, "ManufacturerModelName") == MODEL for item in ds.get("ContributingEquipmentSequence") or []
    )


def _plane(ds: FileDataset, path: Path) -> tuple[tuple[float, float, float], tuple[float, ...], tuple[float, float]]:
    """Return position (mm), orientation and pixel spacing (mm) of a slice (PS3.3 C.7.6.2)."""
    x, y, z = decimal_values(ds, "ImagePositionPatient", 3, path)
    orientation = decimal_values(ds, "ImageOrientationPatient", 6, path)
    row, column = np.array(orientation[:3]), np.array(orientation[3:])
    deviation = max(abs(np.linalg.norm(row) - 1), abs(np.linalg.norm(column) - 1), abs(row @ column))
    if deviation > _UNIT_TOLERANCE:
        raise _invalid_geometry(path, "ImageOrientationPatient", orientation, "two unit vectors at a right angle")
    between_rows, between_columns = decimal_values(ds, "PixelSpacing", 2, path)
    if not _SPACING_MM[0] <= min(between_rows, between_columns) <= max(between_rows, between_columns) <= _SPACING_MM[1]:
        expected = f"two numbers between {_SPACING_MM[0]:g} and {_SPACING_MM[1]:g}"
        raise _invalid_geometry(path, "PixelSpacing", (between_rows, between_columns), expected)
    return (x, y, z), orientation, (between_rows, between_columns)


def _invalid_geometry(path: Path, attribute: str, values: Sequence[float], expected: str) -> InputError:
    text = "\\".join(f"{v:g}" for v in values)
    return InputError("CTM_GEOMETRY_INVALID", file=path, attribute=attribute, given=text, expected=expected)


def _is_burned_in(ds: Dataset) -> bool:
    return text_of(ds, "BurnedInAnnotation") == "YES"


def _source_issues(ds: FileDataset) -> list[Issue]:
    """Return warnings about the origin of an image that matter for denoising it."""
    issues: list[Issue] = []
    image_type = [part.strip() for part in text_of(ds, "ImageType").split("\\")]
    if is_denoised(ds):
        issues.append("The source was already denoised by ctmahout.")
    elif "SIMULATED" in image_type[3:]:
        issues.append("The source is simulated.")
    elif image_type[0] == "DERIVED":
        issues.append("The source is itself a derived image.")
    if len(image_type) < 3:
        issues.append("ImageType is absent or incomplete in the source; it is complete in what is written.")
    if _is_burned_in(ds):
        issues.append("BurnedInAnnotation is YES: text in the pixels is denoised like anatomy.")
    return issues


def _thickness(ds: Dataset, issues: list[Issue]) -> float | None:
    """Return SliceThickness in mm; None if it is absent or implausible. Some scanners write 0 for absent."""
    text = text_of(ds, "SliceThickness")
    try:
        thickness = float(text)
    except ValueError:
        return None
    if 0 <= thickness <= _MAX_THICKNESS_MM:
        return thickness
    issues.append(f"SliceThickness is {thickness:g} mm, which no slice has; it is taken for unknown.")
    return None


def _overlay_bits(ds: Dataset, groups: Iterable[int]) -> int:
    """Return a mask of the pixel bits that hold overlays (PS3.3 C.9.2, retired)."""
    bits = 0
    for group in groups:
        allocated, position = (getattr(ds.get((group, element)), "value", None) for element in (0x0100, 0x0102))
        in_pixels = (group, 0x3000) not in ds and allocated == ds.BitsAllocated
        if in_pixels and isinstance(position, int) and 0 <= position < 16:
            bits |= 1 << position
    return bits


def check_size(header: SliceHeader, frames: int, length: int) -> None:
    """Refuse native pixels of more bytes than the header says: Rows, Columns or NumberOfFrames are wrong.

    Parameters
    ----------
    header : SliceHeader
    frames : int
    length : int, bytes

    Raises
    ------
    InputError
        CTM_ATTRIBUTE_INVALID.
    """
    expected = frames * header.pixels.size
    if length > expected + expected % 2:
        rows, columns = header.pixels.rows, header.pixels.columns
        image = f"{rows} x {columns} pixels" if frames == 1 else f"{frames} frames of {rows} x {columns} pixels"
        raise InputError(
            "CTM_ATTRIBUTE_INVALID",
            file=header.path,
            attribute="PixelData",
            given=f"{length} bytes long",
            expected=f"{expected} for {image}",
        )
