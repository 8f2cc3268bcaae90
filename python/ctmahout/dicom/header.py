"""The light header of one CT slice: what ordering, checking and writing need, without its pixels."""

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
from .pixel_format import PixelFormat, numbers, pixel_format, text_of
from .uids import made_uid

__all__ = [
    "CT_IMAGE",
    "MODEL",
    "PHASES",
    "SliceHeader",
    "SourceSeries",
    "check_size",
    "digest",
    "header_of",
    "is_denoised",
    "kernel_of",
]

CT_IMAGE = "1.2.840.10008.5.1.4.1.1.2"

MODEL = "ctmahout"
"""ManufacturerModelName in ContributingEquipmentSequence, by which our own output is known."""

_LOSSY_ALWAYS = ("1.2.840.10008.1.2.4.50", "1.2.840.10008.1.2.4.51")
# What tells apart the passes over one place: times of a contrast agent, phases of a heart; the most telling first.
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
# Unit vectors to 3 decimals are found in the field, with 2 they are not.
_UNIT_TOLERANCE = 1e-3
# From the finest of micro-CT to what would be no image of a person any more.
_SPACING_MM = (1e-3, 100.0)
_THICKEST_MM = 1000.0


@dataclass(frozen=True)
class SliceHeader:
    """What is kept of a file: a few hundred bytes instead of a dataset.

    Attributes
    ----------
    path : Path
    size, mtime_ns : int
        Of the file when it was listed; a change since is noticed.
    headless : bool
        The file has no preamble (PS3.10 7.1).
    sop_uid : str
        SOPInstanceUID, or one made from the file's content or the frame's number.
    has_sop_uid : bool
        The file has a SOPInstanceUID.
    frame : int or None
        Which frame of a multi-frame image, from 0.
    sop_class : str
        SOPClassUID of the file, as found.
    pixels_at : int or None
        Where in the file the pixels begin, if they lie there as they are: one frame, native, little endian.
    file_uid : str
        SOPInstanceUID of the file, as found: all frames of one share it.
    study_uid, series_uid, frame_of_reference_uid, series_number : str
        As found; empty if absent.
    patient : str
        Tells patients apart without naming them.
    description : str
        SeriesDescription; for choosing a series, never for a message.
    phases : tuple of str
        The values of `PHASES`, empty where absent.
    position_mm, orientation : tuple of float
        ImagePositionPatient and ImageOrientationPatient.
    pixel_spacing_mm : tuple of float
        Distance between rows, distance between columns.
    pixels : PixelFormat
        How stored values become HU.
    lossy : bool
        The pixels were compressed with loss at some time.
    has_overlay_in_pixels : bool
        An overlay lies in unused bits of the pixels (retired, but found).
    overlay_bits : int
        The bits that such overlays say they have.
    denoised : bool
        The slice was written by ctmahout.
    burned_in : bool
        BurnedInAnnotation is YES.
    utc_offset : str
        TimezoneOffsetFromUTC.
    doubts : tuple of Doubt
    """

    path: Path
    size: int
    mtime_ns: int
    headless: bool
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
    pixels: PixelFormat
    lossy: bool
    has_overlay_in_pixels: bool
    overlay_bits: int
    denoised: bool
    burned_in: bool
    utc_offset: str
    doubts: tuple[Issue, ...]

    @property
    def normal(self) -> NDArray[np.float64]:
        """Unit normal of the slice, ndarray of shape (3,)."""
        return np.cross(self.orientation[:3], self.orientation[3:])

    @property
    def along_mm(self) -> float:
        """Position along the normal."""
        return float(np.array(self.position_mm) @ self.normal)


@dataclass(frozen=True)
class SourceSeries:
    """The series that a volume was read from: what writing a derived series needs.

    Attributes
    ----------
    root : Path
        What was given to `read_series`; nothing is ever written there.
    slices : tuple of SliceHeader
        In the order of the volume.
    """

    root: Path
    slices: tuple[SliceHeader, ...]


def kernel_of(volume: Volume) -> str:
    """Return the ConvolutionKernel of the series that a volume was read from; empty if there is none."""
    source = volume.source
    return source.slices[0].kernel if isinstance(source, SourceSeries) and source.slices else ""


def digest(path: Path) -> str:
    """Return the SHA-256 of a file."""
    with open_file(path) as stream:
        return hashlib.sha256(stream.read()).hexdigest()


def header_of(
    ds: FileDataset, path: Path, stamp: tuple[int, int], *, headless: bool = False, frame: int | None = None
) -> SliceHeader:
    """Return the light header of a CT image, everything in it checked.

    Raises
    ------
    InputError
        CTM_GEOMETRY_INVALID, CTM_ATTRIBUTE_INVALID: no reading, however lenient, can use such a slice.
    """
    doubts: list[Issue] = []
    if headless:
        problem = "it has no preamble, which every DICOM file begins with"
        doubts.append(InputError("CTM_INPUT_UNREADABLE", file=path, problem=problem))
    identity = {k: text_of(ds, k) for k in ("SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID")}
    doubts += [InputError("CTM_UID_MISSING", file=path, attribute=k) for k, uid in identity.items() if not uid]
    position, orientation, spacing = _place(ds, path)
    pixels, found = pixel_format(ds, path)
    doubts += found
    doubts += _said_of_itself(ds)
    groups = {tag.group for tag in ds.keys() if 0x6000 <= tag.group <= 0x60FF}  # noqa: SIM118 - these are tags
    overlay = any((group, 0x3000) not in ds for group in groups)
    if overlay:
        doubts.append("An overlay in unused bits of the pixels is not kept.")
    syntax = str(ds.file_meta.TransferSyntaxUID)
    lossy = text_of(ds, "LossyImageCompression") == "01" or syntax in _LOSSY_ALWAYS
    if lossy:
        doubts.append("The source was compressed with loss; its artefacts cannot be told from anatomy or noise.")
    thickness = _thickness(ds, doubts)
    uid = identity["SOPInstanceUID"]
    return SliceHeader(
        path=path,
        size=stamp[0],
        mtime_ns=stamp[1],
        headless=headless,
        sop_uid=_own_uid(uid, path, frame),
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
        pixels=pixels,
        lossy=lossy,
        has_overlay_in_pixels=overlay,
        overlay_bits=_overlay_bits(ds, groups),
        denoised=is_denoised(ds),
        burned_in=_is_burned_in(ds),
        utc_offset=text_of(ds, "TimezoneOffsetFromUTC"),
        doubts=tuple(doubts),
    )


def _own_uid(uid: str, path: Path, frame: int | None) -> str:
    """Return what identifies a slice, where its file has no identifier or shares it among frames."""
    if frame is None:
        return uid or made_uid("content", digest(path))
    return made_uid("frame", uid or digest(path), str(frame))


def is_denoised(ds: Dataset) -> bool:
    """Tell whether an image was written by ctmahout."""
    return any(
        text_of(item, "ManufacturerModelName") == MODEL for item in ds.get("ContributingEquipmentSequence") or []
    )


def _place(ds: FileDataset, path: Path) -> tuple[tuple[float, float, float], tuple[float, ...], tuple[float, float]]:
    """Return position, orientation and pixel spacing (PS3.3 C.7.6.2)."""
    x, y, z = numbers(ds, "ImagePositionPatient", 3, path)
    orientation = numbers(ds, "ImageOrientationPatient", 6, path)
    row, column = np.array(orientation[:3]), np.array(orientation[3:])
    off = max(abs(np.linalg.norm(row) - 1), abs(np.linalg.norm(column) - 1), abs(row @ column))
    if off > _UNIT_TOLERANCE:
        raise _misplaced(path, "ImageOrientationPatient", orientation, "two unit vectors at a right angle")
    between_rows, between_columns = numbers(ds, "PixelSpacing", 2, path)
    if not _SPACING_MM[0] <= min(between_rows, between_columns) <= max(between_rows, between_columns) <= _SPACING_MM[1]:
        expected = f"two numbers between {_SPACING_MM[0]:g} and {_SPACING_MM[1]:g}"
        raise _misplaced(path, "PixelSpacing", (between_rows, between_columns), expected)
    return (x, y, z), orientation, (between_rows, between_columns)


def _misplaced(path: Path, attribute: str, values: Sequence[float], expected: str) -> InputError:
    given = "\\".join(f"{v:g}" for v in values)
    return InputError("CTM_GEOMETRY_INVALID", file=path, attribute=attribute, given=given, expected=expected)


def _is_burned_in(ds: Dataset) -> bool:
    return text_of(ds, "BurnedInAnnotation") == "YES"


def _said_of_itself(ds: FileDataset) -> list[Issue]:
    """Return what a source says of itself that its user should know before denoising it."""
    doubts: list[Issue] = []
    image_type = [part.strip() for part in text_of(ds, "ImageType").split("\\")]
    if is_denoised(ds):
        doubts.append("The source was already denoised by ctmahout.")
    elif "SIMULATED" in image_type[3:]:
        doubts.append("The source is simulated.")
    elif image_type[0] == "DERIVED":
        doubts.append("The source is itself a derived image.")
    if len(image_type) < 3:
        doubts.append("ImageType is absent or incomplete in the source; it is complete in what is written.")
    if _is_burned_in(ds):
        doubts.append("BurnedInAnnotation is YES: text in the pixels is denoised like anatomy.")
    return doubts


def _thickness(ds: Dataset, doubts: list[Issue]) -> float | None:
    """Return SliceThickness in mm, None if it is absent or cannot be one; 0 stands for absent in the field."""
    text = text_of(ds, "SliceThickness")
    try:
        thickness = float(text)
    except ValueError:
        return None
    if 0 <= thickness <= _THICKEST_MM:
        return thickness
    doubts.append(f"SliceThickness is {thickness:g} mm, which no slice has; it is taken for unknown.")
    return None


def _overlay_bits(ds: Dataset, groups: Iterable[int]) -> int:
    """Return the bits of the pixels that overlays lie in (PS3.3 C.9.2, until it was retired)."""
    bits = 0
    for group in groups:
        allocated, position = (getattr(ds.get((group, element)), "value", None) for element in (0x0100, 0x0102))
        lies_in_pixels = (group, 0x3000) not in ds and allocated == ds.BitsAllocated
        if lies_in_pixels and isinstance(position, int) and 0 <= position < 16:
            bits |= 1 << position
    return bits


def check_size(header: SliceHeader, frames: int, length: int) -> None:
    """Refuse native pixels whose element holds more than the header says: Rows, Columns or frames are wrong.

    Raises
    ------
    InputError
        CTM_ATTRIBUTE_INVALID.
    """
    expected = frames * header.pixels.size
    if length > expected + expected % 2:
        rows, columns = header.pixels.rows, header.pixels.columns
        of = f"{rows} x {columns} pixels" if frames == 1 else f"{frames} frames of {rows} x {columns} pixels"
        raise InputError(
            "CTM_ATTRIBUTE_INVALID",
            file=header.path,
            attribute="PixelData",
            given=f"{length} bytes long",
            expected=f"{expected} for {of}",
        )
