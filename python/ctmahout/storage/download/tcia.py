"""A series of The Cancer Imaging Archive, by its public REST interface (NBIA Search API, v4 or v1)."""

from __future__ import annotations

import csv
import hashlib
import re
from contextlib import suppress
from pathlib import Path

from ...errors import ConfigError, InputError
from .archive import receive
from .http import Connection, Tick

__all__ = ["TCIA", "Series"]

TCIA = "https://services.cancerimagingarchive.net/nbia-api/services/v4"
"""The public interface. Others offer the same one, or the earlier v1, for collections of theirs."""

_HASHES = "md5hashes.csv"
# Where the number of images is found. v1 has both queries; of v4, users report that the second takes long.
_COUNTS = (("getSeries", "ImageCount"), ("getSeriesSize", "ObjectCount"))


class Series:
    """One series of an archive that offers NBIA's interface.

    Parameters
    ----------
    uid : str
        SeriesInstanceUID.
    base : str
        Address of the interface.

    Raises
    ------
    ConfigError
        CTM_FETCH_SOURCE: that is no UID.
    """

    def __init__(self, uid: str, base: str = TCIA) -> None:
        if not re.fullmatch(r"[0-9]+(\.[0-9]+)+", uid) or len(uid) > 64:
            raise ConfigError("CTM_FETCH_SOURCE", given=f"tcia:{uid}")
        self.source = f"tcia:{uid}"
        self._base = base.rstrip("/")
        self._asked = {"SeriesInstanceUID": uid}
        self._images = 0

    def fetch(self, connection: Connection, folder: Path, *, limit: int, tick: Tick | None = None) -> tuple[str, int]:
        """Write the images to a folder; return SHA-256 and bytes of the zip that was sent.

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
            lambda file: connection.download(url, self._asked, file, limit=limit, tick=tick),
            folder,
            source=self.source,
            limit=limit,
        )
        self._check(folder)
        return received

    def _count(self, connection: Connection) -> int:
        """Return the number of images of the series; 0 if the archive does not have it."""
        for query, name in _COUNTS:
            rows = connection.json(f"{self._base}/{query}", self._asked)
            if not rows:
                return 0
            with suppress(LookupError, TypeError, ValueError):
                return int(rows[0][name])
        problem = "it tells no number of images"
        raise InputError("CTM_FETCH_UNAVAILABLE", source=self.source, problem=problem)

    def _check(self, folder: Path) -> None:
        """Hold the unpacked images against their number and the archive's checksums.

        The list of checksums is removed: it has said what it has to say.

        Raises
        ------
        InputError
            CTM_FETCH_INCOMPLETE. An archive that loses a file or the thread still ends its zip properly.
        """
        hashes = folder / _HASHES
        if not hashes.is_file():
            raise self._incomplete("no list of checksums, which ends a series", "one")
        with hashes.open(encoding="utf-8", errors="replace", newline="") as file:
            rows = list(csv.DictReader(file))
        hashes.unlink()
        if len(rows) != self._images:
            raise self._incomplete(f"{len(rows)} images", str(self._images))
        for row in rows:
            image, wanted = folder / str(row.get("Filename")), (row.get("MD5Hash") or "").strip().lower()
            if not image.is_file():
                raise self._incomplete("fewer images than its list has", str(self._images))
            if wanted and wanted != hashlib.md5(image.read_bytes(), usedforsecurity=False).hexdigest():
                raise self._incomplete("an image with another checksum than its list has", "the same")

    def _incomplete(self, given: str, expected: str) -> InputError:
        return InputError("CTM_FETCH_INCOMPLETE", source=self.source, given=given, expected=expected)
