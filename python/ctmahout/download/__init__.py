"""Archives of images from elsewhere: over HTTP, from The Cancer Imaging Archive, and unpacked safely."""

from .archive import unpack
from .http import Connection, Tick, connected, without_secrets
from .tcia import TCIA, Series

__all__ = ["TCIA", "Connection", "Series", "Tick", "connected", "unpack", "without_secrets"]
