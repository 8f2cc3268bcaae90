"""Images from elsewhere into a folder: ``ctmahout fetch``."""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Any
from urllib.parse import urlsplit

from .._version import __version__
from ..errors import ConfigError, InputError
from ..storage import Location, Uri, parse_location, upload_on_success
from ..storage.atomic import atomic_dir
from ..storage.download import TCIA, Connection, Series, Tick, open_connection, unpack, without_secrets

__all__ = ["FETCH", "TCIA", "Fetched", "fetch"]

FETCH = "fetch.json"
"""Where the images are from; by it the folder is known as ours."""


@dataclass(frozen=True)
class Fetched:
    """What was fetched.

    Attributes
    ----------
    path : Path or Uri
        The folder.
    source : str
        Where from, without anything secret.
    sha256 : str
        Of the archive that was sent.
    size_bytes : int
    files : int
        Files in it.
    """

    path: Location
    source: str
    sha256: str
    size_bytes: int
    files: int

    def as_dict(self) -> dict[str, Any]:
        """Return it as ``--json`` prints it."""
        return asdict(self) | {"path": str(self.path)}


def fetch(
    what: str,
    output: str | Path | Uri,
    *,
    tcia: str = TCIA,
    limit_gib: float = 32,
    overwrite: bool = False,
    progress: Callable[[str, int, int], None] | None = None,
) -> Fetched:
    """Fetch images into a new folder, which appears whole or not at all.

    A server that is busy is asked again, and a connection that breaks is resumed, or begun anew where the server cannot
    resume; both with growing pauses.

    Parameters
    ----------
    what : str
        ``tcia:`` and the SeriesInstanceUID of a public series of The Cancer Imaging Archive; or the http or https
        address of a zip or tar archive.
    output : path or URI
        The folder; it gets the images and ``fetch.json``.
    tcia : str, optional
        Address of another archive with TCIA's interface (NBIA Search API, v1).
    limit_gib : float, optional
        The most that is downloaded, and the most that comes out of the archive (GiB).
    overwrite : bool, optional
        Replace what an earlier `fetch` wrote.
    progress : callable, optional
        Called with ("fetch", bytes done, bytes in all or 0).

    Returns
    -------
    Fetched

    Raises
    ------
    ConfigError
        CTM_FETCH_SOURCE.
    InputError
        CTM_FETCH_NOT_FOUND, CTM_FETCH_FORBIDDEN, CTM_FETCH_CERTIFICATE, CTM_FETCH_UNAVAILABLE, CTM_FETCH_INCOMPLETE,
        CTM_FETCH_ARCHIVE, CTM_FETCH_TOO_LARGE.
    OutputError
        CTM_OUTPUT_EXISTS, CTM_OUTPUT_UNWRITABLE.
    """
    if not isinstance(what, str):
        raise TypeError(f"expected tcia:UID or an address, not {type(what).__name__}")
    archive_source = _source(what, tcia)
    output, limit = parse_location(output), int(limit_gib * (1 << 30))
    with (
        upload_on_success(output, overwrite=overwrite, is_replaceable=_is_fetched) as target,
        atomic_dir(target, overwrite=overwrite, is_replaceable=_is_fetched) as partial,
        # Without a name: nothing of it is left, however this process ends.
        tempfile.TemporaryFile(dir=partial) as archive,
    ):
        with open_connection() as connection:
            tick = None if progress is None else lambda done, total: progress("fetch", done, total)
            archive_source.download(connection, archive, limit=limit, tick=tick)
        files = unpack(archive, partial, source=archive_source.source, limit=limit)
        archive_source.check(partial)
        fetched = Fetched(output, archive_source.source, _sha256(archive), archive.tell(), files)
        _note(fetched, partial)
    return fetched


class _Address:
    """An archive at an http or https address."""

    def __init__(self, url: str) -> None:
        self._url, self.source = url, without_secrets(url)

    def download(self, connection: Connection, file: IO[bytes], *, limit: int, tick: Tick | None) -> None:
        connection.download(self._url, {}, file, limit=limit, tick=tick)

    def check(self, folder: Path) -> None:
        """Nothing more is known of what it should hold."""


def _source(what: str, tcia: str) -> Series | _Address:
    """Return what fetches. Each kind of place has its prefix; a bucket's (s3:, gs:) belongs here, too."""
    if what.startswith("tcia:"):
        return Series(what.removeprefix("tcia:"), tcia)
    with suppress(ValueError):  # as in http://[
        parts = urlsplit(what)
        if parts.scheme in ("http", "https") and parts.hostname:
            return _Address(what)
    raise ConfigError("CTM_FETCH_SOURCE", given=what.partition("?")[0].rpartition("@")[2])


def _is_fetched(folder: Path) -> bool:
    try:
        return bool(json.loads((folder / FETCH).read_text(encoding="utf-8"))["kind"] == "fetch")
    except (OSError, ValueError, KeyError, TypeError):
        return False


def _note(fetched: Fetched, folder: Path) -> None:
    if (folder / FETCH).exists():
        problem = f"it holds a file {FETCH}, which this command writes"
        raise InputError("CTM_FETCH_ARCHIVE", source=fetched.source, problem=problem)
    facts = {name: value for name, value in asdict(fetched).items() if name != "path"}
    note = {"kind": "fetch", "ctmahout": __version__} | facts
    (folder / FETCH).write_text(json.dumps(note, indent=1) + "\n", encoding="utf-8")


def _sha256(file: IO[bytes]) -> str:
    digest = hashlib.sha256()
    file.seek(0)
    while chunk := file.read(1 << 20):
        digest.update(chunk)
    return digest.hexdigest()
