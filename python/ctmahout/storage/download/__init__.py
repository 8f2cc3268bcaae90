"""Download archives of images: over HTTP, or from The Cancer Imaging Archive; and unpack them safely."""

from .http import Connection, Tick, open_connection, without_secrets
from .tcia import TCIA, Series
from .unpack import unpack

__all__ = ["TCIA", "Connection", "Series", "Tick", "open_connection", "unpack", "without_secrets"]
