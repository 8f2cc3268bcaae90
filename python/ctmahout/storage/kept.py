"""Results of long work, kept in a folder: a run that was killed goes on from there."""

from __future__ import annotations

import hashlib
import json
import os
import pickle
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

from ..errors import OutputError
from .atomic import atomic_file

__all__ = ["Kept", "resumable_folder"]

Item = TypeVar("Item", bound=tuple[Any, ...])
Result = TypeVar("Result")


@dataclass(frozen=True, eq=False)
class Kept(Generic[Item, Result]):
    """Calls a function of numbered items; the result of each is kept in a file, which a later call returns.

    What is returned has been through the file in any case, so that a run which goes on has the bytes of one that was
    never stopped: rounding depends on the order of arrays in memory.

    Attributes
    ----------
    function : callable
        Of a tuple that begins with a number.
    folder : Path
        One of `resumable_folder`: files are trusted.
    name : str
        Of the files.
    """

    function: Callable[[Item], Result]
    folder: Path
    name: str

    def __call__(self, item: Item) -> Result:
        file = self.folder / f"{self.name}-{item[0]}.pickle"
        if not file.exists():
            value = pickle.dumps(self.function(item), protocol=5)
            with atomic_file(file, overwrite=True, is_replaceable=lambda _: True) as partial:
                partial.write_bytes(value)
        result: Result = pickle.loads(file.read_bytes())
        return result


@contextmanager
def resumable_folder(work: Path | None, about: Mapping[str, Any]) -> Iterator[Path]:
    """Make a folder to work in; it is removed when all is done, and stays in `work` when something interferes.

    Parameters
    ----------
    work : Path or None
        Where it is made; None: in the system's folder of temporary files, and it never stays.
    about : mapping
        JSON values that tell what is worked on: the same ones find the same folder again.

    Raises
    ------
    OutputError
        CTM_OUTPUT_UNWRITABLE: the folder belongs to somebody else, whose files are not trusted.
    """
    if work is None:
        with tempfile.TemporaryDirectory(prefix="ctmahout-") as folder:
            yield Path(folder)
        return
    key = hashlib.sha256(json.dumps(about, sort_keys=True, default=str).encode()).hexdigest()[:16]
    path = work / f"ctmahout-{key}"
    try:
        path.mkdir(mode=0o700, exist_ok=True)
    except OSError as e:
        raise OutputError("CTM_OUTPUT_UNWRITABLE", path=path, problem=e.strerror or e) from None
    if hasattr(os, "getuid") and path.stat().st_uid != os.getuid():
        raise OutputError("CTM_OUTPUT_UNWRITABLE", path=path, problem="it belongs to another user")
    yield path
    shutil.rmtree(path, ignore_errors=True)
