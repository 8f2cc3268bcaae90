"""A zip or tar archive at an http or https address, unpacked into a folder."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import IO

from .http import Connection, Tick, without_secrets
from .received import Received
from .unpack import unpack

__all__ = ["Archive", "receive"]


class Archive:
    """An archive at an http or https address.

    Attributes
    ----------
    source : str
        The address, without anything secret.
    """

    def __init__(self, url: str) -> None:
        self._url, self.source = url, without_secrets(url)

    def fetch(self, connection: Connection, folder: Path, *, limit: int, tick: Tick | None = None) -> Received:
        """Unpack the archive into a folder; errors as of `Connection` and `unpack`."""
        return receive(
            lambda file: connection.download(self._url, {}, file, limit=limit, tick=tick),
            folder,
            source=self.source,
            limit=limit,
        )


def receive(download: Callable[[IO[bytes]], None], folder: Path, *, source: str, limit: int) -> Received:
    """Have an archive written to a file, and unpack it into a folder."""
    # Without a name: nothing of it is left, however this process ends.
    with tempfile.TemporaryFile(dir=folder) as archive:
        download(archive)
        files = unpack(archive, folder, source=source, limit=limit)
        digest = hashlib.sha256()
        archive.seek(0)
        while chunk := archive.read(1 << 20):
            digest.update(chunk)
        return Received(digest.hexdigest(), archive.tell(), files)
