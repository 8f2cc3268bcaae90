"""Archives of images from elsewhere: over HTTP, from The Cancer Imaging Archive, and unpacked safely."""

from .http import Connection, Tick, connected, without_secrets
from .tcia import TCIA, Series
from .unpack import unpack

__all__ = ["TCIA", "Connection", "Series", "Tick", "connected", "unpack", "without_secrets"]
