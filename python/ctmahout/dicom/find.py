"""Which CT series a folder holds."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from pydicom import dcmread
from pydicom.dataset import FileDataset
from pydicom.errors import InvalidDicomError
from pydicom.uid import UID

from ..errors import CtmahoutError, InputError
from .headers import SliceHeader, header_of

__all__ = ["Listing", "SeriesInfo", "find_series", "list_folder"]

CT_IMAGE = "1.2.840.10008.5.1.4.1.1.2"
_MULTIFRAME = {
    "1.2.840.10008.5.1.4.1.1.2.1": "Enhanced CT",
    "1.2.840.10008.5.1.4.1.1.2.2": "Legacy Converted Enhanced CT",
}


@dataclass
class Listing:
    """What was found in a folder.

    Attributes
    ----------
    series : dict
        Headers of CT slices by SeriesInstanceUID, in the order found.
    skipped : Counter
        Files that are no CT slices, by what they are.
    problems : list of CtmahoutError
        CT slices that cannot be used.
    """

    series: dict[str, list[SliceHeader]] = field(default_factory=dict)
    skipped: Counter[str] = field(default_factory=Counter)
    problems: list[tuple[str, CtmahoutError]] = field(default_factory=list)

    def skipped_text(self) -> str:
        return ", ".join(f"{count} {what}" for what, count in sorted(self.skipped.items()))


@dataclass(frozen=True)
class SeriesInfo:
    """One CT series of a folder, without anything that names a patient.

    Attributes
    ----------
    number : int
        Its place in the list, from 1: what ``--series`` takes.
    spacing_mm : tuple of float
        Median step between slices, distance between rows, distance between columns.
    doubts : tuple of str
        Why reading it may be refused, or what reading it would warn about.
    """

    number: int
    series_uid: str
    series_number: str
    slices: int
    rows: int
    columns: int
    spacing_mm: tuple[float, float, float]
    thickness_mm: float | None
    kernel: str
    transfer_syntaxes: tuple[str, ...]
    doubts: tuple[str, ...]


def files_below(path: Path) -> Iterator[Path]:
    """Yield all files below a folder by name, each folder once, links to folders not followed."""
    for folder, names, files in os.walk(path):
        names.sort()
        for name in sorted(files):
            yield Path(folder) / name


def list_folder(path: Path, *, lenient: bool = False, workers: int | None = None) -> Listing:
    """Read the headers of all files below a folder.

    Raises
    ------
    InputError
        CTM_INPUT_NOT_FOUND, CTM_INPUT_EMPTY.
    """
    path = Path(path)
    if not path.exists():
        raise InputError("CTM_INPUT_NOT_FOUND", path=path)
    files = [path] if path.is_file() else list(files_below(path))
    if not files:
        raise InputError("CTM_INPUT_EMPTY", path=path)
    listing = Listing()
    with ThreadPoolExecutor(workers) as pool:
        for found in pool.map(lambda file: _look(file, lenient=lenient), files):
            if isinstance(found, SliceHeader):
                listing.series.setdefault(found.series_uid, []).append(found)
            elif isinstance(found, str):
                listing.skipped[found] += 1
            else:
                listing.problems.append(found)
    return listing


def _look(file: Path, *, lenient: bool) -> SliceHeader | str | tuple[str, CtmahoutError]:
    """Return the header of a CT slice, or what else the file is, or (series, why it cannot be used)."""
    try:
        with file.open("rb") as stream:
            start = stream.read(132)
        if not start:
            return "empty file"
        if start[128:] != b"DICM":
            return "no DICOM file"
        ds = dcmread(file, stop_before_pixels=True)
        if kind := _not_a_slice(ds):
            return kind
    except InvalidDicomError:
        return "no DICOM file"
    except Exception as e:  # pydicom raises many kinds on damaged headers
        return "", InputError("CTM_INPUT_UNREADABLE", file=file, problem=_first_line(e))
    uid = str(ds.get("SeriesInstanceUID", ""))
    try:
        sop_class = str(ds.get("SOPClassUID", "") or ds.file_meta.get("MediaStorageSOPClassUID", ""))
        frames = int(ds.get("NumberOfFrames", 1) or 1)
        if sop_class in _MULTIFRAME or frames > 1:
            name = _MULTIFRAME.get(sop_class, "CT")
            raise InputError("CTM_MULTIFRAME_UNSUPPORTED", file=file, sop_class=name, frames=frames)
        if not sop_class and not lenient:
            raise InputError("CTM_UID_MISSING", file=file, attribute="SOPClassUID")
        if "TransferSyntaxUID" not in ds.file_meta:
            raise InputError("CTM_UID_MISSING", file=file, attribute="TransferSyntaxUID")
        return header_of(ds, file, lenient=lenient)
    except CtmahoutError as e:
        return uid, e
    except Exception as e:
        return uid, InputError("CTM_INPUT_UNREADABLE", file=file, problem=_first_line(e))


def _not_a_slice(ds: FileDataset) -> str | None:
    """Return what a DICOM file is if it is no CT slice."""
    sop_class = str(ds.get("SOPClassUID", "") or ds.file_meta.get("MediaStorageSOPClassUID", ""))
    if sop_class == "1.2.840.10008.1.3.10":
        return "DICOMDIR"
    if sop_class and sop_class != CT_IMAGE and sop_class not in _MULTIFRAME:
        return UID(sop_class).name
    if str(ds.get("Modality", "CT")) != "CT":
        return f"{ds.Modality} image"
    if "Rows" not in ds:
        return "CT file without an image"
    image_type = [str(v).strip() for v in ds.get("ImageType") or []]
    if "LOCALIZER" in image_type[2:3]:
        return "localizer"
    return None


def _first_line(e: Exception) -> str:
    return (str(e).splitlines() or [type(e).__name__])[0].rstrip(".")


def find_series(path: Path, *, lenient: bool = False, workers: int | None = None) -> list[SeriesInfo]:
    """List the CT series of a folder and its sub-folders.

    Raises
    ------
    InputError
        CTM_INPUT_NOT_FOUND, CTM_INPUT_EMPTY.
    """
    from .geometry import ordered  # the check that reading makes

    listing = list_folder(path, lenient=lenient, workers=workers)
    found = []
    uids = [*listing.series, *dict.fromkeys(uid for uid, _ in listing.problems if uid not in listing.series)]
    for number, uid in enumerate(uids, 1):
        headers = listing.series.get(uid, [])
        doubts = [f"[{e.code}] {e.message}" for problem, e in listing.problems if problem == uid]
        steps = 0.0
        if headers:
            try:
                order, warnings = ordered(headers, lenient=lenient)
                doubts += warnings
                normal = np.cross(order[0].row_direction, order[0].column_direction)
                positions = np.array([h.position_mm for h in order]) @ normal
                steps = float(np.median(np.diff(positions))) if len(order) > 1 else 0.0
            except InputError as e:
                doubts.append(f"[{e.code}] {e.message}")
        first = headers[0] if headers else None
        found.append(
            SeriesInfo(
                number=number,
                series_uid=uid,
                series_number=first.series_number if first else "",
                slices=len(headers),
                rows=first.rows if first else 0,
                columns=first.columns if first else 0,
                spacing_mm=(steps, *first.pixel_spacing_mm) if first else (0.0, 0.0, 0.0),
                thickness_mm=first.thickness_mm if first else None,
                kernel=first.kernel if first else "",
                transfer_syntaxes=tuple(sorted({h.transfer_syntax for h in headers})),
                doubts=tuple(dict.fromkeys(doubts)),
            )
        )
    return found
