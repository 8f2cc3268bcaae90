"""The output folder: its list of series, and what of it is known here if it is in a store."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from ...errors import InputError, OutputError
from ...storage import Location, Uri, local_copy, upload_on_success
from ...storage.locks import remove_stale
from ..outcome import RUN
from .records import STUDY, Study

__all__ = ["begin", "is_study", "known_output", "note", "upload"]


@contextmanager
def known_output(output: Location) -> Iterator[Path]:
    """Give the output folder or, of one in a store, a copy of what tells what is in it: the list and run manifests."""
    with ExitStack() as stack:
        try:
            folder = stack.enter_context(local_copy(output, _tells))
        except InputError as e:
            if e.code != "CTM_INPUT_NOT_FOUND":
                raise
            yield Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="ctmahout-")))
            return
        if isinstance(output, Uri) and not is_study(folder):
            raise OutputError("CTM_OUTPUT_EXISTS", path=output)
        yield folder


def _tells(name: str) -> bool:
    return name == STUDY or (name.count("/") == 1 and name.endswith(f"/{RUN}"))


def begin(output: Location, known: Path) -> None:
    """Make the output folder, or take that of an earlier run and clear away what a killed one left."""
    try:
        if known.is_symlink() or (known.exists() and (not known.is_dir() or any(known.iterdir()))):
            if not is_study(known):
                raise OutputError("CTM_OUTPUT_EXISTS", path=output)
            remove_stale(known.absolute(), "series-*")
            return
        known.mkdir(parents=True, exist_ok=True)
    except OSError as e:
        raise OutputError("CTM_OUTPUT_UNWRITABLE", path=output, problem=e.strerror or e) from e
    note(Study(output, ()), known)


def is_study(folder: Path) -> bool:
    try:
        return bool(json.loads((folder / STUDY).read_text(encoding="utf-8"))["kind"] == "study")
    except (OSError, ValueError, KeyError, TypeError):
        return False


def note(study: Study, known: Path) -> None:
    """Write the list anew, whole or not at all."""
    beside = known / f".{STUDY}.partial"
    try:
        beside.write_text(json.dumps(study.as_dict(), indent=1) + "\n", encoding="utf-8")
        beside.replace(known / STUDY)
    except OSError as e:
        raise OutputError("CTM_OUTPUT_UNWRITABLE", path=study.path, problem=e.strerror or e) from e
    upload(study.path, known, STUDY)


def upload(output: Location, known: Path, name: str) -> None:
    """Copy a file of the output folder to the store, if it is in one."""
    if isinstance(output, Uri):
        with upload_on_success(output / name, overwrite=True) as file:
            shutil.copyfile(known / name, file)
