"""Download images: archives over HTTP, object stores, DICOMweb, series of TCIA and the Imaging Data Commons."""

from .archive import Archive
from .bucket import Bucket
from .dicomweb import ArchivedImages
from .http import Connection, Tick, open_connection
from .idc import IDC_INDEX, IDC_STORE, IdcSeries
from .received import Received
from .tcia import TCIA, Series
from .unpack import unpack

__all__ = [
    "IDC_INDEX",
    "IDC_STORE",
    "TCIA",
    "Archive",
    "ArchivedImages",
    "Bucket",
    "Connection",
    "IdcSeries",
    "Received",
    "Series",
    "Tick",
    "open_connection",
    "unpack",
]
