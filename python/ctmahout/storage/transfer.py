"""Objects come here for a step, and go back when it is done."""

from __future__ import annotations

import shutil
import tempfile
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import CtmahoutError, InputError, OutputError
from .location import Location, Uri

if TYPE_CHECKING:
    from .store import Store

__all__ = ["local_copy", "remove", "siblings", "upload_on_success"]

# By these an output is known as whole: they are copied last (contract/v1/README.md, "Writing, and who may read").
_LAST = frozenset({"_ctmahout.json", "fetch.json", "run.json", "study.json"})
# There while objects are on their way; left by a process that was killed, whose output another may take the place of.
_MARK = "_ctmahout.partial"


@contextmanager
def local_copy(location: Location, wanted: Callable[[str], bool] = bool) -> Iterator[Path]:
    """Give what lies at a URI as a file or folder here, for as long as the block lasts; a path is given as it is.

    Parameters
    ----------
    location : Path or Uri
    wanted : callable
        Tells by its name, relative to the URI, whether an object is copied; all are if not given.

    Raises
    ------
    InputError
        CTM_INPUT_NOT_FOUND, CTM_INPUT_UNFINISHED: its upload has not ended. CTM_STORAGE_READ.
    ConfigError
        CTM_LOCATION_INVALID.
    """
    if isinstance(location, Path):
        yield location
        return
    with tempfile.TemporaryDirectory(prefix="ctmahout-") as folder, _named(folder, location) as local:
        _download(location, local, wanted)
        yield local


@contextmanager
def upload_on_success(
    location: Location, *, overwrite: bool, is_replaceable: Callable[[Path], bool] = Path.is_file
) -> Iterator[Path]:
    """Give a path here for an output, and copy what was written there to the URI when the block ends well.

    A path is given as it is: whoever writes to it stages it. On any error, and on Ctrl-C, nothing is left in the store.

    Parameters
    ----------
    location : Path or Uri
    overwrite : bool
        Replace what is at the URI, once the new output is complete here.
    is_replaceable : callable
        Tells of a folder with the files at the top of what is there, of which only manifests have content, whether
        ctmahout wrote it; anything else is never replaced.

    Raises
    ------
    OutputError
        CTM_OUTPUT_EXISTS, before the block and after it. CTM_STORAGE_WRITE.
    ConfigError
        CTM_LOCATION_INVALID.
    """
    if isinstance(location, Path):
        yield location
        return
    _refuse_existing(location, overwrite=overwrite, is_replaceable=is_replaceable)
    with tempfile.TemporaryDirectory(prefix="ctmahout-") as folder:
        with _named(folder, location) as local:
            yield local
        _refuse_existing(location, overwrite=overwrite, is_replaceable=is_replaceable)
        _upload(local, location)


def siblings(location: Location, what: str) -> set[Location]:
    """Return the places beside this one whose names begin with its own and ``.what-``, as far as they can be told."""
    if isinstance(location, Path):
        return set(location.parent.glob(f"{location.name}.{what}-*"))
    from .store import Store

    with suppress(CtmahoutError, OSError):
        parent = Uri(location.scheme, location.bucket, location.key.rpartition("/")[0])
        return {parent / name for name in Store.of(parent).folders() if name.startswith(f"{location.name}.{what}-")}
    return set()


def remove(location: Location) -> None:
    """Remove a folder, or a prefix and all below it; a failure to is no reason to report one."""
    if isinstance(location, Path):
        shutil.rmtree(location, ignore_errors=True)
        return
    from .store import Store

    with suppress(CtmahoutError, OSError):
        Store.of(location).clear()


@contextmanager
def _named(folder: str, uri: Uri) -> Iterator[Path]:
    """Give the path in a temporary folder that stands for a URI, and have errors speak of the URI."""
    local = Path(folder) / uri.name
    try:
        yield local
    except CtmahoutError as e:
        e.rename(str(local), str(uri))
        raise


def _download(uri: Uri, local: Path, wanted: Callable[[str], bool]) -> None:
    from .store import Store, each, told

    with told("CTM_STORAGE_READ", uri):
        store = Store.of(uri)
        if uri.key and store.file():
            store.download("", local)
            return
        names = store.names()
        if not names:
            raise InputError("CTM_INPUT_NOT_FOUND", path=uri)
        if _MARK in names and not _LAST & set(names):
            raise InputError("CTM_INPUT_UNFINISHED", path=uri)
        local.mkdir()
        chosen = [name for name in names if wanted(name) and name != _MARK]
        for name in chosen:
            # A key may be anything; a path must not lead out of the folder.
            if not all(part not in ("", ".", "..") for part in name.split("/")):
                raise OSError(f"the key {name!r} is no path")
            (local / name).parent.mkdir(parents=True, exist_ok=True)
        each(lambda name: store.download(name, local / name), chosen)


def _refuse_existing(uri: Uri, *, overwrite: bool, is_replaceable: Callable[[Path], bool]) -> None:
    from .store import Store, told

    with told("CTM_STORAGE_WRITE", uri):
        store = Store.of(uri)
        names = [uri.name] if uri.key and store.file() else store.names()
        if not names and not store.bucket():
            raise OSError("there is no such bucket")
        unfinished = _MARK in names and not _LAST & set(names)
        if names and not unfinished and not (overwrite and _looks_replaceable(store, names, is_replaceable)):
            raise OutputError("CTM_OUTPUT_EXISTS", path=uri)


def _looks_replaceable(store: Store, names: list[str], is_replaceable: Callable[[Path], bool]) -> bool:
    with tempfile.TemporaryDirectory(prefix="ctmahout-") as folder:
        local = Path(folder) / store.uri.name
        if names == [store.uri.name] and store.file():
            local.touch()
            return is_replaceable(local)
        local.mkdir()
        for name in names:
            top, below, _ = name.partition("/")
            if below:
                (local / top).mkdir(exist_ok=True)
            elif top in _LAST:
                store.download(top, local / top)
            else:
                (local / top).touch()
        return is_replaceable(local)


def _upload(local: Path, uri: Uri) -> None:
    from .store import Store, told

    with told("CTM_STORAGE_WRITE", uri):
        store = Store.of(uri)
        if local.is_file():
            store.upload(local)
            return
        missing = store.missing()
        mine = uuid.uuid4().hex.encode()
        began = False
        try:
            store.put(_MARK, mine)
            old = set(store.names()) - {_MARK}
            began = True
            _replace(store, local, old, mine)
        except BaseException as e:
            # Not what another process is about to put there.
            with suppress(OSError):
                if not isinstance(e, OutputError):
                    store.clear() if began else store.delete(_MARK)
                    store.forget(missing)
            raise
        store.delete(_MARK)


def _replace(store: Store, local: Path, old: set[str], mine: bytes) -> None:
    """Copy everything, manifests last; what was there before ceases to be whole before it ceases to be."""
    from .store import each

    files = {path.relative_to(local).as_posix() for path in local.rglob("*") if path.is_file()}
    each(store.delete, _LAST & old)
    each(lambda name: store.upload(local / name, name), sorted(files - _LAST))
    each(store.delete, old - files - _LAST)
    if store.get(_MARK) != mine:
        raise OutputError("CTM_OUTPUT_EXISTS", path=store.uri)
    each(lambda name: store.upload(local / name, name), files & _LAST)
