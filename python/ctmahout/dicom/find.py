"""Which CT series a folder holds."""

from __future__ import annotations

import os
import stat
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from pydicom.dataset import FileDataset
from pydicom.errors import InvalidDicomError
from pydicom.filereader import read_file_meta_info
from pydicom.uid import UID, AllTransferSyntaxes, DeflatedExplicitVRLittleEndian
from pydicom.valuerep import VR

from ..errors import CtmahoutError, InputError
from .files import each, open_dataset
from .headers import SliceHeader, header_of
from .values import text_of

__all__ = ["CT_IMAGE", "Listing", "SeriesFiles", "list_folder"]

CT_IMAGE = "1.2.840.10008.5.1.4.1.1.2"
_DICOMDIR = "1.2.840.10008.1.3.10"
_MULTIFRAME = {
    "1.2.840.10008.5.1.4.1.1.2.1": "Enhanced CT",
    "1.2.840.10008.5.1.4.1.1.2.2": "Legacy Converted Enhanced CT",
}
_VRS = frozenset(VR)
# A file named so is meant to be a slice: if it is none, a slice is lost.
_DICOM_NAMES = (".dcm", ".dicom", ".ima")


@dataclass
class SeriesFiles:
    """The files of one SeriesInstanceUID: those that can be slices of a volume, and why the others cannot."""

    uid: str
    headers: list[SliceHeader] = field(default_factory=list)
    problems: list[CtmahoutError] = field(default_factory=list)


@dataclass
class Listing:
    """What was found in a folder.

    Attributes
    ----------
    series : list of SeriesFiles
        In the order found.
    unreadable : list of CtmahoutError
        Files too damaged to tell what they belong to.
    skipped : Counter
        Files that are no CT slices, by what they are.
    """

    series: list[SeriesFiles] = field(default_factory=list)
    unreadable: list[CtmahoutError] = field(default_factory=list)
    skipped: Counter[str] = field(default_factory=Counter)

    def skipped_text(self) -> str:
        return ", ".join(f"{count} {what}" for what, count in sorted(self.skipped.items()))


@dataclass(frozen=True)
class _Problem:
    series_uid: str
    error: CtmahoutError


def list_folder(path: Path, *, workers: int | None = None, tick: Callable[[int, int], None] | None = None) -> Listing:
    """Read the headers of all files below a folder; links to folders are not followed.

    Raises
    ------
    InputError
        CTM_INPUT_NOT_FOUND, CTM_INPUT_EMPTY.
    """
    if not path.exists():
        raise InputError("CTM_INPUT_NOT_FOUND", path=path)
    listing = Listing()
    files = [path] if path.is_file() else _files_below(path, listing)
    if not files and not listing.unreadable:
        raise InputError("CTM_INPUT_EMPTY", path=path)
    by_uid: dict[str, SeriesFiles] = {}
    for found in each(_look, files, workers=workers, tick=tick):
        if isinstance(found, str):
            listing.skipped[found] += 1
        elif isinstance(found, CtmahoutError):
            listing.unreadable.append(found)
        else:
            series = by_uid.setdefault(found.series_uid, SeriesFiles(found.series_uid))
            if isinstance(found, SliceHeader):
                series.headers.append(found)
            else:
                series.problems.append(found.error)
    listing.series = list(by_uid.values())
    return listing


def _files_below(path: Path, listing: Listing) -> list[Path]:
    def closed(e: OSError) -> None:
        # os.walk would leave such a folder out without a word.
        problem = f"the folder cannot be opened ({e.strerror})"
        listing.unreadable.append(InputError("CTM_INPUT_UNREADABLE", file=e.filename, problem=problem))

    files = []
    for folder, names, found in os.walk(path, onerror=closed):
        names.sort()
        files += [Path(folder) / name for name in sorted(found)]
    return files


def _look(file: Path) -> SliceHeader | _Problem | CtmahoutError | str:
    """Return the header of a CT slice, why a CT image cannot be used, why a file cannot be read, or what else it is."""
    try:
        status = file.stat()
        if not stat.S_ISREG(status.st_mode):
            return "special file"
        with file.open("rb") as stream:
            start = stream.read(132)
            stream.seek(0)
            headless = start[128:] != b"DICM"
            if headless and not _begins_like_dicom(start):
                return _no_dicom(file, start)
            ds = open_dataset(stream, pixels=False, headless=headless)
            if headless and not _is_ct(ds):
                return _no_dicom(file, start)
            return _judge(ds, file, status, stream, headless=headless)
    except CtmahoutError as e:
        return e
    except OSError as e:
        return InputError("CTM_INPUT_UNREADABLE", file=file, problem=e.strerror or type(e).__name__)
    except InvalidDicomError:
        return "no DICOM file"
    except Exception as e:  # pydicom raises many kinds on damaged headers
        return _damaged(file, e)


def _judge(
    ds: FileDataset, file: Path, status: os.stat_result, stream: BinaryIO, *, headless: bool
) -> SliceHeader | _Problem | str:
    if kind := _not_a_slice(ds):
        return kind
    uid = text_of(ds, "SeriesInstanceUID")
    try:
        frames = int(ds.get("NumberOfFrames") or 1)
        sop_class = _sop_class(ds)
        if sop_class in _MULTIFRAME or frames > 1:
            name = _MULTIFRAME.get(sop_class, "CT")
            raise InputError("CTM_MULTIFRAME_UNSUPPORTED", file=file, sop_class=name, frames=frames)
        if "TransferSyntaxUID" not in ds.file_meta:
            raise InputError("CTM_UID_MISSING", file=file, attribute="TransferSyntaxUID")
        _check_image(ds, file, stream)
        header = header_of(ds, file, status, headless=headless)
        _check_length(header, status.st_size - stream.tell())
        return header
    except CtmahoutError as e:
        return _Problem(uid, e)
    except Exception as e:
        return _Problem(uid, _damaged(file, e))


def _begins_like_dicom(start: bytes) -> bool:
    """Tell whether a file without preamble begins with an element of group 2 or 8, little endian."""
    return start[:2] in (b"\x02\0", b"\x08\0") and len(start) > 8 and start[3] == 0


def _is_ct(ds: FileDataset) -> bool:
    return _sop_class(ds) in (CT_IMAGE, *_MULTIFRAME) or (text_of(ds, "Modality") == "CT" and "Rows" in ds)


def _sop_class(ds: FileDataset) -> str:
    return text_of(ds, "SOPClassUID") or text_of(ds.file_meta, "MediaStorageSOPClassUID")


def _no_dicom(file: Path, start: bytes) -> CtmahoutError | str:
    if file.suffix.lower() in _DICOM_NAMES and not file.name.startswith("."):
        problem = "it is not a DICOM file" if start else "it is empty"
        return InputError("CTM_INPUT_UNREADABLE", file=file, problem=problem)
    return "no DICOM file" if start else "empty file"


def _not_a_slice(ds: FileDataset) -> str | None:
    """Return what a DICOM file is if it is no CT slice."""
    sop_class = _sop_class(ds)
    if sop_class == _DICOMDIR:
        return "DICOMDIR"
    if sop_class and sop_class != CT_IMAGE and sop_class not in _MULTIFRAME:
        return str(UID(sop_class).name)
    modality = text_of(ds, "Modality") or "CT"
    if modality != "CT":
        return f"{modality[:16]} image"
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
        whole = stream.read(4) in (b"\xe0\x7f\x10\0", b"\x7f\xe0\0\x10")
    if not whole:
        problem = "it holds no image, or ends within its header"
        raise InputError("CTM_INPUT_UNREADABLE", file=file, problem=problem)


def _check_length(header: SliceHeader, given: int) -> None:
    """Refuse a file that ends within its pixels. Compressed ones are found incomplete when they are decoded."""
    syntax = UID(header.transfer_syntax)
    if syntax not in AllTransferSyntaxes or syntax.is_compressed or syntax.is_deflated:
        return
    pixels = header.pixels
    given -= 4 if syntax.is_implicit_VR else 8
    expected = pixels.rows * pixels.columns * pixels.bits_allocated // 8
    if given < expected:
        problem = f"the file ends after {max(given, 0)} of {expected} bytes"
        raise InputError("CTM_PIXELS_UNREADABLE", file=header.path, problem=problem)


def _damaged(file: Path, e: Exception) -> InputError:
    """Return the error of a header that pydicom does not read; its text may quote a patient's data, its kind cannot."""
    try:
        syntax = UID(text_of(read_file_meta_info(file), "TransferSyntaxUID"))
    except Exception:
        syntax = UID("")
    if syntax and syntax not in AllTransferSyntaxes:
        return InputError("CTM_SYNTAX_UNSUPPORTED", file=file, syntax=str(syntax))
    return InputError("CTM_INPUT_UNREADABLE", file=file, problem=f"its header is damaged ({type(e).__name__})")


def labels(series: Sequence[SeriesFiles]) -> str:
    """Return a list of series for an error text, each with its number in brackets."""
    return "; ".join(f"[{number}] {_label(one)}" for number, one in enumerate(series, 1))


def _label(series: SeriesFiles) -> str:
    first = series.headers[0] if series.headers else None
    if first is None:
        return f"{len(series.problems)} files that cannot be used"
    parts = [
        f"SeriesNumber {first.series_number or '-'}",
        f"{len(series.headers)} slices",
        f"{first.pixels.rows} x {first.pixels.columns}",
    ]
    return ", ".join([*parts, f"kernel {first.kernel}"] if first.kernel else parts)
