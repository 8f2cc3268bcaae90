"""What was received, and one fingerprint for many files."""

from __future__ import annotations

import hashlib
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

__all__ = ["Received", "received_files"]


@dataclass(frozen=True)
class Received:
    """What was received.

    Attributes
    ----------
    sha256 : str
        Of the archive; of single files, of the list of their SHA-256 as sha256sum prints it, sorted by name.
    size_bytes : int
        What was sent.
    files : int
    """

    sha256: str
    size_bytes: int
    files: int


def received_files(folder: Path, names: Collection[str]) -> Received:
    """Return what was received as single files: `names`, relative to `folder`."""
    listing = "".join(f"{_sha256(folder / name)}  {name}\n" for name in sorted(names))
    size = sum((folder / name).stat().st_size for name in names)
    return Received(hashlib.sha256(listing.encode()).hexdigest(), size, len(names))


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()
