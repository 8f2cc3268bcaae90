"""What one file is: a CT slice or several, something else, or why it cannot be used."""

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
from .archive import beginning, open_file, stamp
from .files import open_dataset
from .frames import MULTIFRAME, frame_of, frames_of, sop_class_of
from .header import CT_IMAGE, SliceHeader, check_size, header_of
from .pixel_format import text_of

__all__ = ["Look", "Problem", "look"]

_DICOMDIR = "1.2.840.10008.1.3.10"
_VRS = frozenset(VR)
_PIXEL_DATA = (b"\xe0\x7f\x10\0", b"\x7f\xe0\0\x10")  # its tag, little and big endian
_UNDEFINED = 0xFFFFFFFF  # length
_CHUNK = 1 << 20
# A file named so is meant to be a slice: if it is none, a slice is lost.
_DICOM_NAMES = (".dcm", ".dicom", ".ima")


@dataclass(frozen=True)
class Problem:
    """Why a CT image cannot be used, and which series it is of."""

    series_uid: str
    error: CtmahoutError


Look = list[SliceHeader] | Problem | CtmahoutError | str
"""Slices; or why it is none, by series or of none; or what else it is."""


def look(file: Path, limit: int) -> Look:
    """Return the headers of CT slices, why a CT image cannot be used, why a file cannot be read, or what else it is.

    Parameters
    ----------
    file : Path
    limit : int
        Bytes that a packed file, which is a member of an archive or a deflated image, may unpack to.
    """
    try:
        size = stamp(file)
        if file.exists() and not stat.S_ISREG(file.stat().st_mode):
            return "special file"
        start = beginning(file, 132)
        headless = start[128:] != b"DICM"
        if headless and not _begins_like_dicom(start):
            return _no_dicom(file, start)
        with open_file(file, limit) as stream:
            if _unpacked_size(stream, 0 if headless else 132, limit) > limit:
                raise too_large(file, limit)
            ds = open_dataset(stream, pixels=False, headless=headless)
            if headless and not _is_ct(ds):
                return _no_dicom(file, start)
            return _judge(ds, file, size, stream, headless=headless)
    except CtmahoutError as e:
        return e
    except OSError as e:
        return InputError("CTM_INPUT_UNREADABLE", file=file, problem=e.strerror or "it is damaged")
    except InvalidDicomError:
        return "no DICOM file"
    except Exception as e:  # pydicom raises many kinds on damaged headers
        return _damaged(file, e)


def _judge(
    ds: FileDataset, file: Path, size: tuple[int, int], stream: BinaryIO, *, headless: bool
) -> list[SliceHeader] | Problem | str:
    if kind := _not_a_slice(ds):
        return kind
    uid = text_of(ds, "SeriesInstanceUID")
    try:
        frames = frames_of(ds)
        several = sop_class_of(ds) in MULTIFRAME
        if frames < 1:
            raise InputError(
                "CTM_ATTRIBUTE_INVALID", file=file, attribute="NumberOfFrames", given=frames, expected="1 or more"
            )
        if frames > 1 and not several:
            raise InputError("CTM_MULTIFRAME_UNSUPPORTED", file=file, frames=frames)
        if "TransferSyntaxUID" not in ds.file_meta:
            raise InputError("CTM_UID_MISSING", file=file, attribute="TransferSyntaxUID")
        _check_image(ds, file, stream)
        if several:
            _check_groups(ds, file, frames)
            headers = [header_of(frame_of(ds, i), file, size, headless=headless, frame=i) for i in range(frames)]
        else:
            headers = [header_of(ds, file, size, headless=headless)]
        _check_length(headers[0], frames, size[0], stream)
        if not several:
            headers = [replace(headers[0], pixels_at=_plain_pixels_at(headers[0], stream))]
        return headers
    except CtmahoutError as e:
        return Problem(uid, e)
    except Exception as e:
        return Problem(uid, _damaged(file, e))


def _unpacked_size(stream: BinaryIO, meta_at: int, limit: int) -> int:
    """Return the size of a deflated data set, as far as is needed to compare it with a limit; 0 of any other.

    pydicom unpacks all of it in memory, before it looks at the first element.
    """
    stream.seek(meta_at)
    size = 0
    with suppress(Exception):  # damage is told of when the header is read
        meta = read_dataset(stream, False, True, stop_when=lambda tag, vr, length: tag >> 16 != 2)
        if meta.get("TransferSyntaxUID") == DeflatedExplicitVRLittleEndian:
            unpacker = zlib.decompressobj(-zlib.MAX_WBITS)
            while size <= limit and (packed := unpacker.unconsumed_tail or stream.read(_CHUNK)):
                size += len(unpacker.decompress(packed, _CHUNK))
    stream.seek(0)
    return size


def _begins_like_dicom(start: bytes) -> bool:
    """Tell whether a file without preamble begins with an element of group 2 or 8, little endian."""
    return start[:2] in (b"\x02\0", b"\x08\0") and len(start) > 8 and start[3] == 0


def _is_ct(ds: FileDataset) -> bool:
    return sop_class_of(ds) in (CT_IMAGE, *MULTIFRAME) or (text_of(ds, "Modality") == "CT" and "Rows" in ds)


def _check_groups(ds: FileDataset, file: Path, frames: int) -> None:
    groups = len(ds.get("PerFrameFunctionalGroupsSequence") or [])
    if groups != frames or frames < 1:
        raise InputError(
            "CTM_GEOMETRY_INVALID",
            file=file,
            attribute="PerFrameFunctionalGroupsSequence",
            given=f"{groups} items",
            expected=f"one for each of {frames} frames",
        )


def _no_dicom(file: Path, start: bytes) -> CtmahoutError | str:
    if file.suffix.lower() in _DICOM_NAMES and not file.name.startswith("."):
        problem = "it is not a DICOM file" if start else "it is empty"
        return InputError("CTM_INPUT_UNREADABLE", file=file, problem=problem)
    return "no DICOM file" if start else "empty file"


def _not_a_slice(ds: FileDataset) -> str | None:
    """Return what a DICOM file is if it is no CT slice."""
    sop_class = sop_class_of(ds)
    if sop_class == _DICOMDIR:
        return "DICOMDIR"
    if sop_class and sop_class != CT_IMAGE and sop_class not in MULTIFRAME:
        name = str(UID(sop_class).name)
        # One that is not in the standard may be anything, also a part of the header that damage put there.
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


def _check_image(ds: FileDataset, file: Path, stream: BinaryIO) -> None:
    """Refuse a file that ends before its pixels begin: pydicom reads as far as it gets, without a word."""
    # By the VR pydicom knows how to write an element back; damaged headers have others.
    if any(
        item.VR is not None and item.VR not in _VRS for item in map(ds.get_item, list(ds.keys())) if item is not None
    ):
        raise InputError("CTM_INPUT_UNREADABLE", file=file, problem="its header is damaged (unknown VR)")
    whole = "Rows" in ds and "Columns" in ds
    if whole and ds.file_meta.TransferSyntaxUID != DeflatedExplicitVRLittleEndian:
        # Reading stopped before the pixels: the next element is theirs, or there is none.
        whole = stream.read(4) in _PIXEL_DATA
    if not whole:
        problem = "it holds no image, or ends within its header"
        raise InputError("CTM_INPUT_UNREADABLE", file=file, problem=problem)


def _check_length(header: SliceHeader, frames: int, file_size: int, stream: BinaryIO) -> None:
    """Refuse a file that ends within its pixels, or has others than it says; the stream stands behind their tag.

    Compressed ones are found incomplete when they are decoded.
    """
    syntax = UID(header.transfer_syntax)
    if syntax not in AllTransferSyntaxes or syntax.is_compressed or syntax.is_deflated:
        return
    start = stream.tell()
    head = stream.read(4 if syntax.is_implicit_VR else 8)
    given, expected = file_size - start - len(head), frames * header.pixels.size
    if given < expected:
        problem = f"the file ends after {max(given, 0)} of {expected} bytes"
        raise InputError("CTM_PIXELS_UNREADABLE", file=header.path, problem=problem)
    length = int.from_bytes(head[-4:], "little" if syntax.is_little_endian else "big")
    if length < _UNDEFINED and (syntax.is_implicit_VR or head[:2] in (b"OW", b"OB")):
        check_size(header, frames, length)
        stream.seek(start + len(head) + length)
        if stream.read(4) in _PIXEL_DATA:
            raise InputError(
                "CTM_ATTRIBUTE_INVALID", file=header.path, attribute="PixelData", given="there twice", expected="one"
            )
    stream.seek(start)


def _plain_pixels_at(header: SliceHeader, stream: BinaryIO) -> int | None:
    """Return where the pixels begin if nothing has to be decoded; the stream stands behind their tag."""
    explicit = header.transfer_syntax == ExplicitVRLittleEndian
    if not explicit and header.transfer_syntax != ImplicitVRLittleEndian:
        return None
    rest = stream.read(8 if explicit else 4)
    length = int.from_bytes(rest[-4:], "little")
    sound = not explicit or rest[:4] in (b"OW\0\0", b"OB\0\0")
    return stream.tell() if sound and header.pixels.size <= length < _UNDEFINED else None


def _damaged(file: Path, e: Exception) -> InputError:
    """Return the error of a header that pydicom does not read; its text may quote a patient's data, its kind cannot."""
    try:
        with open_file(file) as stream:
            syntax = UID(text_of(read_file_meta_info(stream), "TransferSyntaxUID"))
    except Exception:
        syntax = UID("")
    if syntax and syntax not in AllTransferSyntaxes:
        shown = str(syntax) if syntax.is_valid else "that is no identifier"
        return InputError("CTM_SYNTAX_UNSUPPORTED", file=file, syntax=shown)
    return InputError("CTM_INPUT_UNREADABLE", file=file, problem=f"its header is damaged ({type(e).__name__})")
