"""Send images to an archive by DICOM C-STORE (PS3.4 B); needs the extra ``send``."""

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
from .files import Progress, silence_pydicom, tick_of

__all__ = ["SentImages", "send"]

# Success, and success with a warning (PS3.4 table B.2-1).
_ACCEPTED = (0x0000, 0xB000, 0xB006, 0xB007)
_TIMEOUT_S = 60


@dataclass(frozen=True)
class SentImages:
    """Images that an archive accepted.

    Attributes
    ----------
    images : int
    warnings : int
        Number of these accepted with a warning, such as changed attributes.
    """

    images: int
    warnings: int


@silence_pydicom()
def send(
    folder: str | Path | Uri,
    host: str,
    port: int,
    *,
    called: str = "ANY-SCP",
    calling: str = "CTMAHOUT",
    progress: Progress | None = None,
) -> SentImages:
    """Send all DICOM files below a folder over one association, each in its own transfer syntax.

    Parameters
    ----------
    folder : path or URI
    host : str
    port : int
    called, calling : str
        Application entity titles of the archive and of this sender (VR AE: 1 to 16 characters).
    progress : callable, optional
        Called with ("send", images done, images).

    Raises
    ------
    InputError
        CTM_INPUT_NOT_FOUND, CTM_INPUT_NO_CT: no DICOM file.
    OutputError
        CTM_SEND_FAILED: the archive cannot be reached, or rejected an image; those accepted before stay there.
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
        return _send(_dicom_files(images), host, port, pynetdicom.AE(ae_title=calling), called, progress)


def _send(files: list[Path], host: str, port: int, entity: Any, called: str, progress: Progress | None) -> SentImages:
    entity.acse_timeout = entity.dimse_timeout = entity.network_timeout = entity.connection_timeout = _TIMEOUT_S
    contexts: dict[tuple[str, str], None] = {}
    for file in files:
        meta = read_file_meta_info(file)
        contexts[str(meta.MediaStorageSOPClassUID), str(meta.TransferSyntaxUID)] = None
    for sop_class, syntax in contexts:
        entity.add_requested_context(sop_class, syntax)
    address = f"{host}:{port}"
    association = entity.associate(host, port, ae_title=called)
    if not association.is_established:
        # pynetdicom does not distinguish the two.
        problem = "it does not answer, or refuses what it is offered"
        raise OutputError("CTM_SEND_FAILED", where=address, problem=problem, taken=0, count=len(files))
    try:
        return _store(association, files, address, tick_of(progress, "send"))
    finally:
        if association.is_established:
            association.release()


def _dicom_files(path: Path) -> list[Path]:
    if not path.exists():
        raise InputError("CTM_INPUT_NOT_FOUND", path=path)
    files = [Path(folder) / name for folder, _, names in os.walk(path) for name in names] if path.is_dir() else [path]
    images = [file for file in sorted(files) if _is_dicom(file)]
    if not images:
        raise InputError("CTM_INPUT_NO_CT", path=path, found=f"{len(files)} no DICOM file")
    return images


def _is_dicom(file: Path) -> bool:
    if not file.is_file():
        return False
    with file.open("rb") as stream:
        return stream.read(132)[128:] == b"DICM"


def _store(association: Any, files: list[Path], address: str, tick: Callable[[int, int], None] | None) -> SentImages:
    warnings = 0
    for index, file in enumerate(files):
        try:
            status = association.send_c_store(dcmread(file))
            code = status.get("Status") if status else None
        except (ValueError, RuntimeError) as e:  # the context was not accepted, or the association has ended
            code, problem = None, f"it takes no such images ({type(e).__name__})"
        else:
            problem = f"it answers with status 0x{code:04X}" if code is not None else "the connection broke"
        if code not in _ACCEPTED:
            raise OutputError("CTM_SEND_FAILED", where=address, problem=problem, taken=index, count=len(files))
        warnings += code != 0
        if tick:
            tick(index + 1, len(files))
    return SentImages(len(files), warnings)
