"""Images from elsewhere into a folder: ``ctmahout fetch``."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import urlsplit

from .._version import __version__
from ..errors import ConfigError, InputError
from ..storage import Location, Uri, is_dicomweb, parse_location, refuse_overlap, upload_on_success
from ..storage.atomic import atomic_dir
from ..storage.download import (
    IDC_INDEX,
    IDC_STORE,
    TCIA,
    Archive,
    ArchivedImages,
    Bucket,
    Connection,
    IdcSeries,
    Received,
    Series,
    Tick,
    open_connection,
)

__all__ = ["FETCH", "IDC_INDEX", "IDC_STORE", "TCIA", "Fetched", "fetch"]

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
        Of the archive that was sent; of a series that came as single images, of the list of their SHA-256 as the
        command sha256sum prints it, sorted by name.
    size_bytes : int
        What was sent.
    files : int
        Files that were received.
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
    idc_index: str = IDC_INDEX,
    idc_store: str = IDC_STORE,
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
        ``idc:`` and the SeriesInstanceUID of a series of the NCI Imaging Data Commons; ``tcia:`` and that of a public
        series of The Cancer Imaging Archive; an object-store prefix, s3://BUCKET/PREFIX or gs://BUCKET/PREFIX; a study
        or a series of a DICOMweb archive, dicomweb+https://HOST/ROOT/studies/UID/series/UID; or the http or https
        address of a zip or tar archive.
    output : path or URI
        The folder; it gets the images and ``fetch.json``.
    tcia : str, optional
        Address of another archive with TCIA's interface (NBIA Search API, v4 or v1).
    idc_index : str, optional
        Address or path of another index of the Imaging Data Commons: an ``idc_index.parquet`` of idc-index-data.
    idc_store : str, optional
        Address of its buckets, with ``{bucket}`` in the place of a name; read by S3's REST interface.
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
        CTM_FETCH_MOVED, CTM_FETCH_ARCHIVE, CTM_FETCH_TOO_LARGE, CTM_INPUT_NOT_FOUND, CTM_INPUT_NO_CT, CTM_STORAGE_READ.
    OutputError
        CTM_OUTPUT_EXISTS, CTM_OUTPUT_UNWRITABLE.

    Examples
    --------
    >>> fetch("https://example.org/chest.zip", "chest")    # doctest: +SKIP
    """
    if not isinstance(what, str):
        raise TypeError(f"expected tcia:UID or an address, not {type(what).__name__}")
    source = _source(what, tcia, idc_index, idc_store)
    output, limit = parse_location(output), int(limit_gib * (1 << 30))
    if isinstance(source, Bucket):
        refuse_overlap(output, source.uri)
    with (
        upload_on_success(output, overwrite=overwrite, is_replaceable=_is_fetched) as target,
        atomic_dir(target, overwrite=overwrite, is_replaceable=_is_fetched) as partial,
        open_connection() as connection,
    ):
        tick = None if progress is None else lambda done, total: progress("fetch", done, total)
        received = source.fetch(connection, partial, limit=limit, tick=tick)
        fetched = Fetched(output, source.source, **vars(received))
        _note(fetched, partial)
    return fetched


class _Source(Protocol):
    """Where images come from."""

    source: str

    def fetch(self, connection: Connection, folder: Path, *, limit: int, tick: Tick | None) -> Received:
        """Write the images to a folder."""


def _source(what: str, tcia: str, idc_index: str, idc_store: str) -> _Source:
    """Return what fetches, by the prefix of the name."""
    if what.startswith("tcia:"):
        return Series(what.removeprefix("tcia:"), tcia)
    if what.startswith("idc:"):
        return IdcSeries(what.removeprefix("idc:"), idc_index, idc_store)
    if what.startswith(("s3:", "s3a:", "gs:", "dicomweb+")):
        uri = parse_location(what)
        if isinstance(uri, Uri):
            return ArchivedImages(uri) if is_dicomweb(uri) else Bucket(uri)
    with suppress(ValueError):  # as in http://[
        parts = urlsplit(what)
        if parts.scheme in ("http", "https") and parts.hostname:
            return Archive(what)
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
