"""The identifiers of an image that was received, before it is a file."""

from __future__ import annotations

from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

from .files import open_dataset, silence_pydicom
from .pixel_format import text_of

__all__ = ["Identifiers", "identify", "patient_of"]


@dataclass(frozen=True)
class Identifiers:
    """The UIDs of an image.

    Attributes
    ----------
    study_uid, series_uid, sop_uid, sop_class : str
        Empty where there is none.
    """

    study_uid: str
    series_uid: str
    sop_uid: str
    sop_class: str


@silence_pydicom()
def identify(data: bytes) -> Identifiers | None:
    """Return the identifiers of a file in memory, or None if its header cannot be read.

    Parameters
    ----------
    data : bytes
        A file with meta information (PS3.10 7.1).
    """
    try:
        ds = open_dataset(BytesIO(data), pixels=False)
        keywords = ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID", "SOPClassUID")
        return Identifiers(*(text_of(ds, keyword) for keyword in keywords))
    except Exception:  # pydicom raises exceptions of many types on damaged data
        return None


@silence_pydicom()
def patient_of(file: Path) -> str:
    """Return PatientName and PatientID of a file, for people; empty if they cannot be read."""
    try:
        ds = open_dataset(file, pixels=False)
        return " ".join(filter(None, (text_of(ds, "PatientName"), text_of(ds, "PatientID"))))
    except Exception:  # pydicom raises exceptions of many types on damaged data
        return ""
