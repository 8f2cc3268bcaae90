"""Download a series of The Cancer Imaging Archive by its public REST interface (NBIA Search API, v4 or v1)."""

from __future__ import annotations

import csv
import hashlib
import re
from contextlib import suppress
from pathlib import Path

from ...errors import ConfigError, InputError
from .archive import receive
from .http import Connection, Tick
from .received import Received

__all__ = ["TCIA", "Series"]

TCIA = "https://services.cancerimagingarchive.net/nbia-api/services/v4"
"""The public interface. Other archives offer the same one, or its predecessor v1."""

_CHECKSUMS = "md5hashes.csv"
# Where the number of images is found. v1 has both queries; of v4, users report that the second takes long.
_COUNTS = (("getSeries", "ImageCount"), ("getSeriesSize", "ObjectCount"))


class Series:
    """One series of an archive with the NBIA interface.

    Parameters
    ----------
    uid : str
        SeriesInstanceUID.
    base : str
        URL of the interface.

    Raises
    ------
    ConfigError
        CTM_FETCH_SOURCE: not a UID.
    """

    def __init__(self, uid: str, base: str = TCIA) -> None:
        if not re.fullmatch(r"[0-9]+(\.[0-9]+)+", uid) or len(uid) > 64:
            raise ConfigError("CTM_FETCH_SOURCE", given=f"tcia:{uid}")
        self.source = f"tcia:{uid}"
        self._base = base.rstrip("/")
        self._query = {"SeriesInstanceUID": uid}
        self._images = 0

    def fetch(self, connection: Connection, folder: Path, *, limit: int, tick: Tick | None = None) -> Received:
        """Write the images to a folder.

        The archive makes the zip while it sends it, so a connection that breaks means to begin again.

        Raises
        ------
        InputError
            CTM_FETCH_NOT_FOUND, CTM_FETCH_INCOMPLETE, and those of `Connection` and `unpack`.
        """
        self._images = self._count(connection)
        if not self._images:
            problem = "the archive has no public series of this UID"
            raise InputError("CTM_FETCH_NOT_FOUND", source=self.source, problem=problem)
        url = f"{self._base}/getImageWithMD5Hash"
        received = receive(
            lambda file: connection.download(url, self._query, file, limit=limit, tick=tick),
            folder,
            source=self.source,
            limit=limit,
        )
        self._check(folder)
        return received

    def _count(self, connection: Connection) -> int:
        """Return the number of images of the series; 0 if the archive does not have it."""
        for query, name in _COUNTS:
            rows = connection.json(f"{self._base}/{query}", self._query)
            if not rows:
                return 0
            with suppress(LookupError, TypeError, ValueError):
                return int(rows[0][name])
        problem = "it tells no number of images"
        raise InputError("CTM_FETCH_UNAVAILABLE", source=self.source, problem=problem)

    def _check(self, folder: Path) -> None:
        """Check the unpacked images against their number and the archive's list of checksums, and remove the list.

        Needed because an archive that fails while sending may still end its zip properly.

        Raises
        ------
        InputError
            CTM_FETCH_INCOMPLETE.
        """
        checksums = folder / _CHECKSUMS
        if not checksums.is_file():
            raise self._incomplete("no list of checksums, which ends a series", "one")
        with checksums.open(encoding="utf-8", errors="replace", newline="") as file:
            rows = list(csv.DictReader(file))
        checksums.unlink()
        if len(rows) != self._images:
            raise self._incomplete(f"{len(rows)} images", str(self._images))
        for row in rows:
            image, checksum = folder / str(row.get("Filename")), (row.get("MD5Hash") or "").strip().lower()
            if not image.is_file():
                raise self._incomplete("fewer images than its list has", str(self._images))
            if checksum and checksum != hashlib.md5(image.read_bytes(), usedforsecurity=False).hexdigest():
                raise self._incomplete("an image with another checksum than its list has", "the same")

    def _incomplete(self, content: str, expected: str) -> InputError:
        return InputError("CTM_FETCH_INCOMPLETE", source=self.source, given=content, expected=expected)
