"""One fingerprint for a folder of files."""

from __future__ import annotations

import hashlib
from pathlib import Path

__all__ = ["sha256_of_files"]


def sha256_of_files(folder: Path) -> str:
    """Return the SHA-256 of the list of the files' SHA-256, as sha256sum prints it, sorted by name."""
    names = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    return hashlib.sha256("".join(f"{_sha256(folder / name)}  {name}\n" for name in names).encode()).hexdigest()


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        digest = hashlib.sha256()
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()
