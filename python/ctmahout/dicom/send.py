"""Send a series to an archive: DICOM C-STORE (PS3.4 B), with the extra ``send``."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydicom import dcmread
from pydicom.filereader import read_file_meta_info

from ..errors import ConfigError, InputError, OutputError
from ..options import option_error
from ..storage import Uri, local_copy, parse_location
from .files import Progress, quiet, tick_of

__all__ = ["Sent", "send"]

# Statuses of a service that took the object: success, or with a warning (PS3.4 table B.2-1).
_TAKEN = (0x0000, 0xB000, 0xB006, 0xB007)
_TIMEOUT_S = 60


@dataclass(frozen=True)
class Sent:
    """What an archive took.

    Attributes
    ----------
    images : int
    warnings : int
        How many of them it took with a warning: it changed something in them.
    """

    images: int
    warnings: int


@quiet()
def send(
    folder: str | Path | Uri,
    host: str,
    port: int,
    *,
    called: str = "ANY-SCP",
    calling: str = "CTMAHOUT",
    progress: Progress | None = None,
) -> Sent:
    """Send all DICOM files below a folder over one association, each in the transfer syntax that it has.

    Parameters
    ----------
    folder : path or URI
    host, port : str, int
        Of the archive.
    called, calling : str
        Application entity titles, of the archive and of ours (VR AE: 1 to 16 characters).
    progress : callable, optional
        Called with ("send", images done, images).

    Raises
    ------
    InputError
        CTM_INPUT_NOT_FOUND, CTM_INPUT_NO_CT: no DICOM file.
    OutputError
        CTM_SEND_FAILED: the archive cannot be reached, or did not take all of them; what it took it keeps.
    ConfigError
        CTM_EXTRA_MISSING: pynetdicom is not installed. CTM_CONFIG_VALUE.
    """
    try:
        import pynetdicom
    except ImportError as e:
        raise ConfigError("CTM_EXTRA_MISSING", what="Sending", package="pynetdicom", extra="send") from e
    for key, title in (("called", called), ("calling", calling)):
        if not 1 <= len(title) <= 16 or not title.isascii() or not title.isprintable() or "\\" in title:
            expected = "1 to 16 printable ASCII characters, no backslash"
            raise option_error(key, title, expected, source="send")
    with local_copy(parse_location(folder)) as images:
        return _send(_files(images), host, port, pynetdicom.AE(ae_title=calling), called, progress)


def _send(files: list[Path], host: str, port: int, entity: Any, called: str, progress: Progress | None) -> Sent:
    entity.acse_timeout = entity.dimse_timeout = entity.network_timeout = entity.connection_timeout = _TIMEOUT_S
    kinds: dict[tuple[str, str], None] = {}
    for file in files:
        meta = read_file_meta_info(file)
        kinds[str(meta.MediaStorageSOPClassUID), str(meta.TransferSyntaxUID)] = None
    for sop_class, syntax in kinds:
        entity.add_requested_context(sop_class, syntax)
    where = f"{host}:{port}"
    association = entity.associate(host, port, ae_title=called)
    if not association.is_established:
        # pynetdicom does not tell the two apart.
        problem = "it does not answer, or refuses what it is offered"
        raise OutputError("CTM_SEND_FAILED", where=where, problem=problem, taken=0, count=len(files))
    try:
        return _store(association, files, where, tick_of(progress, "send"))
    finally:
        if association.is_established:
            association.release()


def _files(folder: Path) -> list[Path]:
    if not folder.exists():
        raise InputError("CTM_INPUT_NOT_FOUND", path=folder)
    below = [Path(at) / name for at, _, names in os.walk(folder) for name in names] if folder.is_dir() else [folder]
    files = [file for file in sorted(below) if _is_dicom(file)]
    if not files:
        raise InputError("CTM_INPUT_NO_CT", path=folder, found=f"{len(below)} no DICOM file")
    return files


def _is_dicom(file: Path) -> bool:
    if not file.is_file():
        return False
    with file.open("rb") as stream:
        return stream.read(132)[128:] == b"DICM"


def _store(association: Any, files: list[Path], where: str, tick: Callable[[int, int], None] | None) -> Sent:
    warnings = 0
    for done, file in enumerate(files):
        try:
            status = association.send_c_store(dcmread(file))
            code = status.get("Status") if status else None
        except (ValueError, RuntimeError) as e:  # no context of that kind was accepted, or the association is gone
            code, problem = None, f"it takes no such images ({type(e).__name__})"
        else:
            problem = f"it answers with status 0x{code:04X}" if code is not None else "the connection broke"
        if code not in _TAKEN:
            raise OutputError("CTM_SEND_FAILED", where=where, problem=problem, taken=done, count=len(files))
        warnings += code != 0
        if tick:
            tick(done + 1, len(files))
    return Sent(len(files), warnings)
