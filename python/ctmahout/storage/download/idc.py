"""A series of the NCI Imaging Data Commons (IDC), from its public buckets, by the index that says where it lies.

Buckets hold a folder for each version of a series, ``<crdc_series_uuid>/<instance uuid>.dcm``, and never change one.
They are read without credentials by S3's REST interface. The index is a Parquet file with a row for each series:
``idc_index.parquet`` of the package idc-index-data.
"""

from __future__ import annotations

import hashlib
import re
import tempfile
import xml.etree.ElementTree as ET
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from threading import Lock
from typing import Any
from urllib.parse import quote, urlsplit

from pyarrow import ArrowException, parquet

from ...errors import ConfigError, InputError
from ..store import for_each
from .http import Connection, Tick
from .received import Received, received_files

__all__ = ["IDC_INDEX", "IDC_STORE", "IdcSeries"]

IDC_INDEX = "https://storage.googleapis.com/idc-index-data-artifacts/25.0.5/release_artifacts/idc_index.parquet"
"""The index of IDC version 25. Fixed: a later one may name a later version of a series."""

IDC_STORE = "https://{bucket}.s3.amazonaws.com"
"""The address of a bucket."""

_COLUMNS = ("series_aws_url", "instanceCount")
_INDEX_BYTES = 1 << 30
_PAGE = 1000  # objects in an answer; S3 gives no more
# An ETag that is an MD5: of an object that was not uploaded in parts.
_MD5 = re.compile(r"[0-9a-f]{32}")


@dataclass(frozen=True)
class _Object:
    key: str
    size: int
    etag: str

    @property
    def name(self) -> str:
        return PurePosixPath(self.key).name


class IdcSeries:
    """One series of the Imaging Data Commons.

    Parameters
    ----------
    uid : str
        SeriesInstanceUID.
    index : str
        Address or path of the index.
    store : str
        Address of a bucket, with ``{bucket}`` in the place of its name.

    Raises
    ------
    ConfigError
        CTM_FETCH_SOURCE: that is no UID. CTM_CONFIG_VALUE: the store's address names no bucket.
    """

    def __init__(self, uid: str, index: str = IDC_INDEX, store: str = IDC_STORE) -> None:
        if not re.fullmatch(r"[0-9]+(\.[0-9]+)+", uid) or len(uid) > 64:
            raise ConfigError("CTM_FETCH_SOURCE", given=f"idc:{uid}")
        if "{bucket}" not in store:
            raise ConfigError(
                "CTM_CONFIG_VALUE", source="options", key="idc-store", value=repr(store), expected=f"as in {IDC_STORE}"
            )
        self.source = f"idc:{uid}"
        self._uid, self._index, self._store = uid, index, store

    def fetch(self, connection: Connection, folder: Path, *, limit: int, tick: Tick | None = None) -> Received:
        """Write the images to a folder.

        Raises
        ------
        InputError
            CTM_FETCH_NOT_FOUND: the index has no such series. CTM_FETCH_MOVED: it is not where the index says.
            CTM_FETCH_INCOMPLETE: images are missing or damaged. CTM_FETCH_TOO_LARGE, and those of `Connection`.
        """
        bucket, prefix, count = self._place(connection)
        base = self._store.replace("{bucket}", bucket)
        objects = self._list(connection, base, prefix)
        if not objects:
            raise InputError("CTM_FETCH_MOVED", source=self.source, place=f"s3://{bucket}/{prefix}")
        if len(objects) != count:
            raise self._incomplete(f"{len(objects)} images", str(count))
        total = sum(o.size for o in objects)
        if total > limit:
            raise InputError("CTM_FETCH_TOO_LARGE", source=self.source, limit=limit)
        done, lock = 0, Lock()

        def copy(item: _Object) -> None:
            nonlocal done
            self._copy(connection, f"{base}/{quote(item.key)}", item, folder / item.name, limit)
            with lock:
                done += item.size
                if tick:
                    tick(done, total)

        for_each(copy, objects)
        return received_files(folder, [item.name for item in objects])

    def _place(self, connection: Connection) -> tuple[str, str, int]:
        """Return bucket, prefix and number of images, from the index."""
        if urlsplit(self._index).scheme not in ("http", "https"):
            path = Path(self._index)
            if not path.is_file():
                raise InputError("CTM_INPUT_NOT_FOUND", path=path)
            return self._row(path)
        with tempfile.NamedTemporaryFile(prefix="ctmahout-") as file:
            connection.download(self._index, {}, file, limit=_INDEX_BYTES)
            file.flush()
            return self._row(Path(file.name))

    def _row(self, index: Path) -> tuple[str, str, int]:
        try:
            filters = [("SeriesInstanceUID", "==", self._uid)]
            rows: list[dict[str, Any]] = parquet.read_table(index, columns=list(_COLUMNS), filters=filters).to_pylist()
        except (ArrowException, OSError, ValueError, KeyError) as e:
            problem = f"its index is no Parquet file with the columns SeriesInstanceUID, {', '.join(_COLUMNS)}"
            raise InputError("CTM_FETCH_UNAVAILABLE", source=self.source, problem=problem) from e
        if not rows:
            problem = "the index of the Imaging Data Commons has no series of this UID"
            raise InputError("CTM_FETCH_NOT_FOUND", source=self.source, problem=problem)
        match = re.fullmatch(r"s3://([^/]+)/(.+/)\*", str(rows[0]["series_aws_url"]))
        if match is None:
            problem = f"its index gives {rows[0]['series_aws_url']} as its place"
            raise InputError("CTM_FETCH_UNAVAILABLE", source=self.source, problem=problem)
        return match[1], match[2], int(rows[0]["instanceCount"])

    def _list(self, connection: Connection, base: str, prefix: str) -> list[_Object]:
        """Return the objects below a prefix (S3's ListObjectsV2)."""
        objects: list[_Object] = []
        token = ""
        while True:
            query = {"list-type": "2", "prefix": prefix, "max-keys": str(_PAGE)}
            answer = connection.text(base + "/", query | ({"continuation-token": token} if token else {}))
            try:
                page = ET.fromstring(answer)
                name = {"s3": page.tag[1:].partition("}")[0]}
                for item in page.iterfind("s3:Contents", name):
                    key, size, etag = (item.findtext(f"s3:{tag}", "", name) for tag in ("Key", "Size", "ETag"))
                    if key == prefix:  # an empty object that stands for the folder
                        continue
                    if key.removeprefix(prefix) in (".", "..") or "/" in key.removeprefix(prefix):
                        raise ValueError(key)
                    objects.append(_Object(key, int(size), etag.strip('"')))
                token = page.findtext("s3:NextContinuationToken", "", name)
            except (ET.ParseError, ValueError) as e:
                problem = "its answer is no list of objects"
                raise InputError("CTM_FETCH_UNAVAILABLE", source=self.source, problem=problem) from e
            if not token:
                return objects

    def _copy(self, connection: Connection, url: str, item: _Object, path: Path, limit: int) -> None:
        """Write an object to a new file, and check its size and its checksum."""
        with path.open("xb") as file:
            connection.download(url, {}, file, limit=limit)
        content = path.read_bytes()
        if len(content) != item.size:
            raise self._incomplete(f"an image of {len(content)} bytes", f"{item.size} bytes")
        if _MD5.fullmatch(item.etag) and hashlib.md5(content, usedforsecurity=False).hexdigest() != item.etag:
            raise self._incomplete("an image with another checksum than its bucket lists", "the same")

    def _incomplete(self, actual: str, expected: str) -> InputError:
        return InputError("CTM_FETCH_INCOMPLETE", source=self.source, given=actual, expected=expected)
