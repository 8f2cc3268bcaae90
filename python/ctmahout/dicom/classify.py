"""Classify one file: the headers of its CT slices, why it cannot be used, or what else it is."""

from __future__ import annotations

import re
import stat
import zlib
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO

from pydicom.dataset import FileDataset
from pydicom.errors import InvalidDicomError
from pydicom.filereader import read_dataset, read_file_meta_info
from pydicom.uid import (
    UID,
    AllTransferSyntaxes,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
)
from pydicom.valuerep import VR

from ..errors import CtmahoutError, InputError, too_large
from .archive import open_file, read_start, size_and_mtime
from .files import open_dataset
from .frames import MULTIFRAME, frame_count, frame_of, sop_class_of
from .header import CT_IMAGE, SliceHeader, check_size, header_of
from .pixel_format import text_of

__all__ = ["Classification", "UnusableImage", "classify"]

_DICOMDIR = "1.2.840.10008.1.3.10"
_VRS = frozenset(VR)
_PIXEL_DATA_TAGS = (b"\xe0\x7f\x10\0", b"\x7f\xe0\0\x10")  # little and big endian
_UNDEFINED_LENGTH = 0xFFFFFFFF
_CHUNK = 1 << 20
# With such a suffix a file that is not DICOM is a lost slice.
_DICOM_SUFFIXES = (".dcm", ".dicom", ".ima")


@dataclass(frozen=True)
class UnusableImage:
    """A CT image that cannot be used.

    Attributes
    ----------
    series_uid : str
    error : CtmahoutError
        Why it cannot be used.
    """

    series_uid: str
    error: CtmahoutError


Classification = list[SliceHeader] | UnusableImage | CtmahoutError | str
"""Slice headers; a CT image that cannot be used; the error of an unreadable file; or what else the file is."""


def classify(file: Path, limit: int) -> Classification:
    """Return what a file is. Errors are returned, not raised.

    Parameters
    ----------
    file : Path
    limit : int, bytes
        Largest unpacked size of a member of an archive or of a deflated image.
    """
    try:
        stamp = size_and_mtime(file)
        if file.exists() and not stat.S_ISREG(file.stat().st_mode):
            return "special file"
        start = read_start(file, 132)
        without_preamble = start[128:] != b"DICM"
        if without_preamble and not _looks_like_dicom(start):
            return _not_dicom(file, start)
        with open_file(file, limit) as stream:
            if _unpacked_size(stream, 0 if without_preamble else 132, limit) > limit:
                raise too_large(file, limit)
            ds = open_dataset(stream, pixels=False, without_preamble=without_preamble)
            if without_preamble and not _is_ct(ds):
                return _not_dicom(file, start)
            return _classify_dicom(ds, file, stamp, stream, without_preamble=without_preamble)
    except CtmahoutError as e:
        return e
    except OSError as e:
        return InputError("CTM_INPUT_UNREADABLE", file=file, problem=e.strerror or "it is damaged")
    except InvalidDicomError:
        return "no DICOM file"
    except Exception as e:  # on damaged headers pydicom raises exceptions of many types
        return _damaged_header(file, e)


def _classify_dicom(
    ds: FileDataset, file: Path, stamp: tuple[int, int], stream: BinaryIO, *, without_preamble: bool
) -> list[SliceHeader] | UnusableImage | str:
    if kind := _other_kind(ds):
        return kind
    uid = text_of(ds, "SeriesInstanceUID")
    try:
        frames = frame_count(ds)
        multiframe = sop_class_of(ds) in MULTIFRAME
        if frames < 1:
            raise InputError(
                "CTM_ATTRIBUTE_INVALID", file=file, attribute="NumberOfFrames", given=frames, expected="1 or more"
            )
        if frames > 1 and not multiframe:
            raise InputError("CTM_MULTIFRAME_UNSUPPORTED", file=file, frames=frames)
        if "TransferSyntaxUID" not in ds.file_meta:
            raise InputError("CTM_UID_MISSING", file=file, attribute="TransferSyntaxUID")
        _check_header_end(ds, file, stream)
        if multiframe:
            _check_functional_groups(ds, file, frames)
            headers = [
                header_of(frame_of(ds, i), file, stamp, without_preamble=without_preamble, frame=i)
                for i in range(frames)
            ]
        else:
            headers = [header_of(ds, file, stamp, without_preamble=without_preamble)]
        _check_length(headers[0], frames, stamp[0], stream)
        if not multiframe:
            headers = [replace(headers[0], pixels_at=_native_pixel_offset(headers[0], stream))]
        return headers
    except CtmahoutError as e:
        return UnusableImage(uid, e)
    except Exception as e:
        return UnusableImage(uid, _damaged_header(file, e))


def _unpacked_size(stream: BinaryIO, meta_offset: int, limit: int) -> int:
    """Return the unpacked size of a deflated data set, counted up to just above the limit; 0 for any other.

    pydicom unpacks the whole data set in memory before it reads the first element.
    """
    stream.seek(meta_offset)
    size = 0
    with suppress(Exception):  # damage is reported when the header is read
        meta = read_dataset(stream, False, True, stop_when=lambda tag, vr, length: tag >> 16 != 2)
        if meta.get("TransferSyntaxUID") == DeflatedExplicitVRLittleEndian:
            unpacker = zlib.decompressobj(-zlib.MAX_WBITS)
            while size <= limit and (packed := unpacker.unconsumed_tail or stream.read(_CHUNK)):
                size += len(unpacker.decompress(packed, _CHUNK))
    stream.seek(0)
    return size


def _looks_like_dicom(start: bytes) -> bool:
    """Return whether a file without preamble begins with an element of group 2 or 8, little endian."""
    return start[:2] in (b"\x02\0", b"\x08\0") and len(start) > 8 and start[3] == 0


def _is_ct(ds: FileDataset) -> bool:
    return sop_class_of(ds) in (CT_IMAGE, *MULTIFRAME) or (text_of(ds, "Modality") == "CT" and "Rows" in ds)


def _check_functional_groups(ds: FileDataset, file: Path, frames: int) -> None:
    groups = len(ds.get("PerFrameFunctionalGroupsSequence") or [])
    if groups != frames or frames < 1:
        raise InputError(
            "CTM_GEOMETRY_INVALID",
            file=file,
            attribute="PerFrameFunctionalGroupsSequence",
            given=f"{groups} items",
            expected=f"one for each of {frames} frames",
        )


def _not_dicom(file: Path, start: bytes) -> CtmahoutError | str:
    if file.suffix.lower() in _DICOM_SUFFIXES and not file.name.startswith("."):
        problem = "it is not a DICOM file" if start else "it is empty"
        return InputError("CTM_INPUT_UNREADABLE", file=file, problem=problem)
    return "no DICOM file" if start else "empty file"


def _other_kind(ds: FileDataset) -> str | None:
    """Return the kind of a DICOM file that is not a CT slice; None for a CT slice."""
    sop_class = sop_class_of(ds)
    if sop_class == _DICOMDIR:
        return "DICOMDIR"
    if sop_class and sop_class != CT_IMAGE and sop_class not in MULTIFRAME:
        name = str(UID(sop_class).name)
        # A value outside the standard is not quoted: damage may have put patient data there.
        return name if name != sop_class else "object of an unknown class"
    modality = text_of(ds, "Modality") or "CT"
    if modality != "CT":
        return f"{modality} image" if re.fullmatch("[A-Z]{2,8}", modality) else "image of an unknown modality"
    image_type = [part.strip() for part in text_of(ds, "ImageType").split("\\")]
    if "LOCALIZER" in image_type[2:]:
        return "localizer"
    if ds.get("SamplesPerPixel", 1) == 3:
        return "colour image"
    if not sop_class and "Rows" not in ds:
        return "DICOM file without an image"
    return None


def _check_header_end(ds: FileDataset, file: Path, stream: BinaryIO) -> None:
    """Refuse a file that ends before its pixels begin: pydicom silently reads a truncated header."""
    # pydicom cannot write an element of an unknown VR, which only damaged headers have.
    if any(
        item.VR is not None and item.VR not in _VRS for item in map(ds.get_item, list(ds.keys())) if item is not None
    ):
        raise InputError("CTM_INPUT_UNREADABLE", file=file, problem="its header is damaged (unknown VR)")
    complete = "Rows" in ds and "Columns" in ds
    if complete and ds.file_meta.TransferSyntaxUID != DeflatedExplicitVRLittleEndian:
        # Reading stopped before the pixels, so the next element is PixelData.
        complete = stream.read(4) in _PIXEL_DATA_TAGS
    if not complete:
        problem = "it holds no image, or ends within its header"
        raise InputError("CTM_INPUT_UNREADABLE", file=file, problem=problem)


def _check_length(header: SliceHeader, frames: int, file_size: int, stream: BinaryIO) -> None:
    """Refuse native pixels that are cut off, longer than the header says, or present twice.

    Compressed pixels are checked when they are decoded. The stream is just after the tag of PixelData, and stays there.
    """
    syntax = UID(header.transfer_syntax)
    if syntax not in AllTransferSyntaxes or syntax.is_compressed or syntax.is_deflated:
        return
    start = stream.tell()
    vr_and_length = stream.read(4 if syntax.is_implicit_VR else 8)
    remaining, expected = file_size - start - len(vr_and_length), frames * header.pixels.size
    if remaining < expected:
        problem = f"the file ends after {max(remaining, 0)} of {expected} bytes"
        raise InputError("CTM_PIXELS_UNREADABLE", file=header.path, problem=problem)
    length = int.from_bytes(vr_and_length[-4:], "little" if syntax.is_little_endian else "big")
    if length < _UNDEFINED_LENGTH and (syntax.is_implicit_VR or vr_and_length[:2] in (b"OW", b"OB")):
        check_size(header, frames, length)
        stream.seek(start + len(vr_and_length) + length)
        if stream.read(4) in _PIXEL_DATA_TAGS:
            raise InputError(
                "CTM_ATTRIBUTE_INVALID", file=header.path, attribute="PixelData", given="there twice", expected="one"
            )
    stream.seek(start)


def _native_pixel_offset(header: SliceHeader, stream: BinaryIO) -> int | None:
    """Return the offset of native little-endian pixels, else None. The stream is just after the tag of PixelData."""
    explicit = header.transfer_syntax == ExplicitVRLittleEndian
    if not explicit and header.transfer_syntax != ImplicitVRLittleEndian:
        return None
    vr_and_length = stream.read(8 if explicit else 4)
    length = int.from_bytes(vr_and_length[-4:], "little")
    valid_vr = not explicit or vr_and_length[:4] in (b"OW\0\0", b"OB\0\0")
    return stream.tell() if valid_vr and header.pixels.size <= length < _UNDEFINED_LENGTH else None


def _damaged_header(file: Path, e: Exception) -> InputError:
    """Return the error for a header that pydicom cannot read, by exception type: its text may quote patient data."""
    try:
        with open_file(file) as stream:
            syntax = UID(text_of(read_file_meta_info(stream), "TransferSyntaxUID"))
    except Exception:
        syntax = UID("")
    if syntax and syntax not in AllTransferSyntaxes:
        text = str(syntax) if syntax.is_valid else "that is no identifier"
        return InputError("CTM_SYNTAX_UNSUPPORTED", file=file, syntax=text)
    return InputError("CTM_INPUT_UNREADABLE", file=file, problem=f"its header is damaged ({type(e).__name__})")
