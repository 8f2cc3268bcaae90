"""Download a series of The Cancer Imaging Archive by its public REST interface (NBIA Search API, v1)."""

from __future__ import annotations

import csv
import hashlib
import re
from pathlib import Path
from typing import IO

from ...errors import ConfigError, InputError
from .http import Connection, Tick

__all__ = ["TCIA", "Series"]

TCIA = "https://services.cancerimagingarchive.net/nbia-api/services/v1"
"""The public interface. Other archives offer the same one."""

_CHECKSUMS = "md5hashes.csv"


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

    def download(self, connection: Connection, file: IO[bytes], *, limit: int, tick: Tick | None = None) -> None:
        """Download the series as a zip file; parameters and errors as for `Connection.download`.

        The archive generates the zip while sending it, so a broken download cannot be resumed.
        """
        size = connection.json(f"{self._base}/getSeriesSize", self._query)
        try:
            self._images = int(size[0]["ObjectCount"]) if size else 0
        except (LookupError, TypeError, ValueError) as e:
            problem = "it tells no number of images"
            raise InputError("CTM_FETCH_UNAVAILABLE", source=self.source, problem=problem) from e
        if not self._images:
            problem = "the archive has no public series of this UID"
            raise InputError("CTM_FETCH_NOT_FOUND", source=self.source, problem=problem)
        connection.download(f"{self._base}/getImageWithMD5Hash", self._query, file, limit=limit, tick=tick)

    def check(self, folder: Path) -> None:
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
