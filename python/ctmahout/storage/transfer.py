"""Temporary local copies of objects, and the upload of an output once it is complete."""

from __future__ import annotations

import shutil
import tempfile
import uuid
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import CtmahoutError, InputError, OutputError
from .location import Location, Uri, is_dicomweb

if TYPE_CHECKING:
    from .store import Store

__all__ = ["children", "local_copy", "remove", "siblings", "upload_on_success"]

# A manifest marks an output as complete, so it is uploaded last (contract/v1/README.md, "Writing, and who may read").
_MANIFESTS = frozenset({"_ctmahout.json", "fetch.json", "run.json", "study.json"})
# Exists during an upload. One left by a killed process marks an output that may be replaced.
_UPLOAD_MARKER = "_ctmahout.partial"


@contextmanager
def local_copy(location: Location, include: Callable[[str], bool] | None = None) -> Iterator[Path]:
    """Yield a temporary local copy of the object or objects at a URI, for the duration of the block.

    A local path is yielded unchanged.

    Parameters
    ----------
    location : Path or Uri
    include : callable, optional
        Returns whether to copy an object, from its name relative to the URI. By default all objects are copied.

    Raises
    ------
    InputError
        CTM_INPUT_NOT_FOUND. CTM_INPUT_UNFINISHED: the upload is incomplete. CTM_STORAGE_READ. Of a study or a series
        in a DICOMweb archive: CTM_FETCH_*.
    ConfigError
        CTM_LOCATION_INVALID.
    """
    if isinstance(location, Path):
        yield location
        return
    with tempfile.TemporaryDirectory(prefix="ctmahout-") as folder, _local_path(folder, location) as local:
        if is_dicomweb(location):
            from .dicomweb import retrieve

            local.mkdir()
            retrieve(location, local)
        else:
            _download(location, local, include)
        yield local


@contextmanager
def upload_on_success(
    location: Location, *, overwrite: bool, is_replaceable: Callable[[Path], bool] = Path.is_file
) -> Iterator[Path]:
    """Yield a local path for an output, and upload it to the URI when the block succeeds.

    A local path is yielded unchanged; writing it atomically is left to the caller. On any error, and on Ctrl-C, nothing
    is left in the store.

    Parameters
    ----------
    location : Path or Uri
    overwrite : bool
        Replace an existing output when the new one is complete.
    is_replaceable : callable
        Returns whether ctmahout wrote an existing output; others are never replaced. Called with a file, or with a
        folder of the top-level names, of which only manifests have content. By default a single object may be replaced.

    Raises
    ------
    OutputError
        CTM_OUTPUT_EXISTS: raised before the block, or after it if the output appeared meanwhile. CTM_STORAGE_WRITE.
    ConfigError
        CTM_LOCATION_INVALID.
    """
    if isinstance(location, Path):
        yield location
        return
    _refuse_existing(location, overwrite=overwrite, is_replaceable=is_replaceable)
    with tempfile.TemporaryDirectory(prefix="ctmahout-") as folder:
        with _local_path(folder, location) as local:
            yield local
        _refuse_existing(location, overwrite=overwrite, is_replaceable=is_replaceable)
        _upload(local, location)


def siblings(location: Location, kind: str) -> set[Location]:
    """Return the locations beside this one called NAME.kind-*; an empty set if the store cannot be listed."""
    if isinstance(location, Path):
        return set(location.parent.glob(f"{location.name}.{kind}-*"))
    from .store import Store

    with suppress(CtmahoutError, OSError):
        parent = Uri(location.scheme, location.bucket, location.key.rpartition("/")[0])
        return {parent / name for name in Store.open(parent).prefixes() if name.startswith(f"{location.name}.{kind}-")}
    return set()


def children(location: Location, *, writing: bool = False) -> list[str]:
    """Return the names of what lies directly in a folder or below a URI, in no order.

    Parameters
    ----------
    location : Path or Uri
    writing : bool
        Something is to be written there: a bucket that does not answer, or is not there, is CTM_STORAGE_WRITE.

    Raises
    ------
    InputError
        CTM_INPUT_NOT_FOUND: no such folder, or nothing below the URI. CTM_INPUT_UNREADABLE, CTM_STORAGE_READ.
    OutputError
        CTM_STORAGE_WRITE.
    """
    if isinstance(location, Path):
        try:
            return [path.name for path in location.iterdir()]
        except FileNotFoundError:
            raise InputError("CTM_INPUT_NOT_FOUND", path=location) from None
        except OSError as e:
            raise InputError("CTM_INPUT_UNREADABLE", file=location, problem=e.strerror or e) from None
    from .store import Store, translate_errors

    with translate_errors("CTM_STORAGE_WRITE" if writing else "CTM_STORAGE_READ", location):
        store = Store.open(location)
        names = store.children()
        if writing and not names and not store.bucket_exists():
            raise OSError("there is no such bucket")
    if not names:
        raise InputError("CTM_INPUT_NOT_FOUND", path=location)
    return names


def remove(location: Location) -> None:
    """Remove a folder, or all objects below a prefix. Failures are ignored."""
    if isinstance(location, Path):
        shutil.rmtree(location, ignore_errors=True)
        return
    from .store import Store

    with suppress(CtmahoutError, OSError):
        Store.open(location).delete_all()


@contextmanager
def _local_path(folder: str, uri: Uri) -> Iterator[Path]:
    """Yield the path for a URI in a temporary folder; errors raised in the block name the URI instead."""
    local = Path(folder) / uri.name
    try:
        yield local
    except CtmahoutError as e:
        e.rename(str(local), str(uri))
        raise


def _download(uri: Uri, local: Path, include: Callable[[str], bool] | None) -> None:
    from .store import Store, for_each, translate_errors

    with translate_errors("CTM_STORAGE_READ", uri):
        store = Store.open(uri)
        if uri.key and store.is_object():
            store.download("", local)
            return
        names = store.names()
        if not names:
            raise InputError("CTM_INPUT_NOT_FOUND", path=uri)
        if _is_incomplete(names):
            raise InputError("CTM_INPUT_UNFINISHED", path=uri)
        local.mkdir()
        selected = [name for name in names if name != _UPLOAD_MARKER and (include is None or include(name))]
        for name in selected:
            # Any key is valid, so refuse those that would lead outside the folder.
            if not all(part not in ("", ".", "..") for part in name.split("/")):
                raise OSError(f"the key {name!r} is no path")
            (local / name).parent.mkdir(parents=True, exist_ok=True)
        for_each(lambda name: store.download(name, local / name), selected)


def _is_incomplete(names: Collection[str]) -> bool:
    return _UPLOAD_MARKER in names and not _MANIFESTS & set(names)


def _refuse_existing(uri: Uri, *, overwrite: bool, is_replaceable: Callable[[Path], bool]) -> None:
    from .store import Store, translate_errors

    with translate_errors("CTM_STORAGE_WRITE", uri):
        store = Store.open(uri)
        names = [uri.name] if uri.key and store.is_object() else store.names()
        if not names and not store.bucket_exists():
            raise OSError("there is no such bucket")
        if not names or _is_incomplete(names):
            return
        if not (overwrite and _is_replaceable_output(store, names, is_replaceable)):
            raise OutputError("CTM_OUTPUT_EXISTS", path=uri)


def _is_replaceable_output(store: Store, names: list[str], is_replaceable: Callable[[Path], bool]) -> bool:
    with tempfile.TemporaryDirectory(prefix="ctmahout-") as folder:
        local = Path(folder) / store.uri.name
        if names == [store.uri.name] and store.is_object():
            local.touch()
            return is_replaceable(local)
        local.mkdir()
        for name in names:
            top, slash, _ = name.partition("/")
            if slash:
                (local / top).mkdir(exist_ok=True)
            elif top in _MANIFESTS:
                store.download(top, local / top)
            else:
                (local / top).touch()
        return is_replaceable(local)


def _upload(local: Path, uri: Uri) -> None:
    from .store import Store, translate_errors

    with translate_errors("CTM_STORAGE_WRITE", uri):
        store = Store.open(uri)
        if local.is_file():
            store.upload(local)
            return
        missing = store.missing_prefixes()
        upload_id = uuid.uuid4().hex.encode()
        started = False
        try:
            store.put(_UPLOAD_MARKER, upload_id)
            old = set(store.names()) - {_UPLOAD_MARKER}
            started = True
            _replace(store, local, old, upload_id)
        except BaseException as e:
            with suppress(OSError):
                if not isinstance(e, OutputError):  # raised if another process is uploading to the same URI
                    store.delete_all() if started else store.delete(_UPLOAD_MARKER)
                    store.delete_if_empty(missing)
            raise
        store.delete(_UPLOAD_MARKER)


def _replace(store: Store, local: Path, old: set[str], upload_id: bytes) -> None:
    """Upload all files, manifests last. Old manifests are deleted first: from then on the old output is incomplete."""
    from .store import for_each

    files = {path.relative_to(local).as_posix() for path in local.rglob("*") if path.is_file()}
    for_each(store.delete, _MANIFESTS & old)
    for_each(lambda name: store.upload(local / name, name), sorted(files - _MANIFESTS))
    for_each(store.delete, old - files - _MANIFESTS)
    if store.get(_UPLOAD_MARKER) != upload_id:
        raise OutputError("CTM_OUTPUT_EXISTS", path=store.uri)
    for_each(lambda name: store.upload(local / name, name), files & _MANIFESTS)
