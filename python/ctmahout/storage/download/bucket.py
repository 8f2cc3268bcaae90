"""All objects below a prefix of an object store, with the credentials of the environment."""

from __future__ import annotations

import shutil
from pathlib import Path

from ...errors import InputError
from ..location import Uri
from ..transfer import local_copy
from .http import Connection, Tick
from .received import Received, received_files

__all__ = ["Bucket"]

# A folder that `fetch` wrote to a store has its own, about another source.
_NOTE = "fetch.json"


class Bucket:
    """What lies below a URI.

    Attributes
    ----------
    uri : Uri
    source : str
        The URI; it holds no secrets.
    """

    def __init__(self, uri: Uri) -> None:
        self.uri, self.source = uri, str(uri)

    def fetch(self, connection: Connection, folder: Path, *, limit: int, tick: Tick | None = None) -> Received:
        """Copy the objects into a folder.

        Raises
        ------
        InputError
            CTM_INPUT_NOT_FOUND, CTM_INPUT_UNFINISHED, CTM_STORAGE_READ, CTM_FETCH_TOO_LARGE.
        """
        with local_copy(self.uri, lambda name: name != _NOTE) as copy:
            files = [copy] if copy.is_file() else sorted(path for path in copy.rglob("*") if path.is_file())
            size = sum(path.stat().st_size for path in files)
            if size > limit:
                raise InputError("CTM_FETCH_TOO_LARGE", source=self.source, limit=limit)
            names = [path.name if path == copy else path.relative_to(copy).as_posix() for path in files]
            for path, name in zip(files, names, strict=True):
                (folder / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.move(path, folder / name)
        if tick:
            tick(size, size)
        return received_files(folder, names)
