"""A model store: a folder, or a prefix of an object store, with a model directory for each model.

A model's name is the SHA-256 of its manifest, which has the checksums of all that is in it. So a name always means
the same model, adding one twice is adding it once, and damage shows. A listing finds what there is: there is no index
that two writers could overwrite. A model appears under its name when it is complete.
"""

from __future__ import annotations

import re
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from ..errors import ConfigError, CtmahoutError, ExchangeError, InputError, OutputError
from ..storage import Location, children, local_copy, upload_on_success
from ..storage.atomic import atomic_dir
from .arrays import read_arrays
from .manifest import NAME, Manifest, is_manifest, read_manifest
from .models import write_model

__all__ = ["DamagedModel", "StoredModel", "add_model", "is_damage", "list_models", "open_model", "refuse_no_store"]

_NAME = re.compile(r"[0-9a-f]{64}")
_THREADS = 16
_DAMAGE_CODES = ("CTM_INPUT_NOT_FOUND", "CTM_INPUT_UNFINISHED", "CTM_INPUT_UNREADABLE")


@dataclass(frozen=True)
class StoredModel:
    """A model of a store, by its manifest.

    Attributes
    ----------
    name : str
        SHA-256 of the manifest.
    manifest : Manifest
    """

    name: str
    manifest: Manifest


@dataclass(frozen=True)
class DamagedModel:
    """A model that cannot be read.

    Attributes
    ----------
    name : str
    error : CtmahoutError
    """

    name: str
    error: CtmahoutError


def list_models(store: Location) -> tuple[list[StoredModel], list[DamagedModel]]:
    """List the models of a store by name: those whose manifest can be read, and the others.

    Only manifests are read. What has not the name of a model is ignored: it may be one that is being written.

    Raises
    ------
    InputError
        CTM_INPUT_NOT_FOUND: there is no such folder, or nothing below the URI. CTM_STORAGE_READ.
    ConfigError
        CTM_MODEL_STORE: this is a model and not a store.
    """
    names = children(store)
    if NAME in names:
        raise ConfigError("CTM_MODEL_STORE", path=store)
    with ThreadPoolExecutor(_THREADS) as pool:
        entries = list(pool.map(lambda name: _read(store, name), sorted(filter(_NAME.fullmatch, names))))
    return (
        [entry for entry in entries if isinstance(entry, StoredModel)],
        [entry for entry in entries if isinstance(entry, DamagedModel)],
    )


def _read(store: Location, name: str) -> StoredModel | DamagedModel:
    try:
        with local_copy(store / name, is_manifest) as folder:
            return StoredModel(name, _manifest(folder, name))
    except CtmahoutError as e:
        if not is_damage(e):
            raise
        return DamagedModel(name, e)


def is_damage(e: CtmahoutError) -> bool:
    """Return whether an error is that of one model, damaged or removed meanwhile, and not of the whole store."""
    return isinstance(e, ExchangeError) or e.code in _DAMAGE_CODES


@contextmanager
def open_model(store: Location, name: str) -> Iterator[tuple[Path, Manifest]]:
    """Yield the local path of a model, and its manifest.

    Raises
    ------
    InputError, ExchangeError
        As of `local_copy` and `read_manifest`. CTM_EXCHANGE_MANIFEST: the manifest has not the digest `name`.
    """
    with local_copy(store / name) as folder:
        yield folder, _manifest(folder, name)


def _manifest(folder: Path, name: str) -> Manifest:
    manifest = read_manifest(folder, "model")
    if manifest.sha256 != name:
        problem = "it is not the one that gave the model its name"
        raise ExchangeError("CTM_EXCHANGE_MANIFEST", path=folder, problem=problem)
    return manifest


def add_model(store: Location, arrays: Mapping[str, NDArray[Any]], layout: Mapping[str, Any]) -> Manifest:
    """Write a model into a store, under its name; one that is there already stays, unless it is damaged.

    Parameters
    ----------
    store : Path or Uri
        Need not be there.
    arrays, layout
        As of `write_model`.

    Raises
    ------
    OutputError
        CTM_OUTPUT_UNWRITABLE, CTM_STORAGE_WRITE. CTM_OUTPUT_EXISTS: another process is uploading the same model.
    """
    with tempfile.TemporaryDirectory(prefix="ctmahout-") as folder:
        model = Path(folder) / "model"
        manifest = write_model(model, arrays, layout)
        place = store / manifest.sha256
        try:
            _copy(model, place, overwrite=False)
        except OutputError as e:
            if e.code != "CTM_OUTPUT_EXISTS":
                raise
            if not _is_whole(store, manifest.sha256):
                _copy(model, place, overwrite=True)
    return manifest


def refuse_no_store(store: Location) -> None:
    """Raise the error of a place that can be no store, before hours of work.

    Raises
    ------
    ConfigError
        CTM_MODEL_STORE: it is a model.
    OutputError
        CTM_OUTPUT_UNWRITABLE: it is a file, or cannot be listed. CTM_STORAGE_WRITE: the bucket does not answer.
    """
    try:
        names = children(store, writing=True)
    except InputError as e:
        if e.code == "CTM_INPUT_NOT_FOUND":
            return
        raise OutputError("CTM_OUTPUT_UNWRITABLE", path=store, problem=e.fields["problem"]) from e
    if NAME in names:
        raise ConfigError("CTM_MODEL_STORE", path=store)


def _copy(model: Path, place: Location, *, overwrite: bool) -> None:
    with (
        upload_on_success(place, overwrite=overwrite, is_replaceable=_is_model) as target,
        atomic_dir(target, overwrite=overwrite, is_replaceable=_is_model) as partial,
    ):
        shutil.copytree(model, partial, dirs_exist_ok=True)


def _is_model(path: Path) -> bool:
    """Return whether a folder was written by `add_model`, whatever has become of it."""
    return _NAME.fullmatch(path.name) is not None


def _is_whole(store: Location, name: str) -> bool:
    try:
        with open_model(store, name) as (folder, manifest):
            read_arrays(folder, manifest)
    except CtmahoutError as e:
        if not is_damage(e):
            raise
        return False
    return True
