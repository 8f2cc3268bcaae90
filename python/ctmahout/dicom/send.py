"""Send images to an archive: by DICOM C-STORE (PS3.4 B), or by STOW-RS of DICOMweb (PS3.18 10.5).

C-STORE needs the extra ``send``, DICOMweb the extra ``dicomweb``.
"""

from __future__ import annotations

import os
import socket
import ssl
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydicom import dcmread
from pydicom.dataset import FileDataset
from pydicom.filereader import read_file_meta_info
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian

from ..errors import ConfigError, InputError, OutputError
from ..options import option_error
from ..storage import Uri, is_dicomweb, local_copy, parse_location
from .files import Progress, silence_pydicom, tick_of

__all__ = ["SentImages", "archive_of", "check_archive", "send", "series_in"]

# Success, and success with a warning (PS3.4 table B.2-1).
_ACCEPTED = (0x0000, 0xB000, 0xB006, 0xB007)
_OUT_OF_RESOURCES = range(0xA700, 0xA800)
_TIMEOUT_S = 60
# What every archive accepts (PS3.5 10.1), and the syntax next to it.
_UNCOMPRESSED = (ExplicitVRLittleEndian, ImplicitVRLittleEndian)
# At most 128 presentation contexts fit into an association (PS3.8 9.3.2.2).
_MAX_CONTEXTS = 128


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
    host: str | Uri,
    port: int | None = None,
    *,
    called: str = "ANY-SCP",
    calling: str = "CTMAHOUT",
    tls: ssl.SSLContext | None = None,
    timeout_s: float = _TIMEOUT_S,
    progress: Progress | None = None,
) -> SentImages:
    """Send all DICOM files below a folder.

    Each goes in its own transfer syntax; to a DICOM node over one association, and uncompressed if it refuses that.

    Parameters
    ----------
    folder : path or URI
    host : str or Uri
        Of a DICOM node; or a DICOMweb archive, ``dicomweb+https://HOST/ROOT``.
    port : int, optional
        Of the DICOM node.
    called, calling : str
        Application entity titles of the node and of this sender (VR AE: 1 to 16 characters).
    tls : ssl.SSLContext, optional
        To send to a DICOM node by TLS (PS3.15 B); of an archive, with further authorities or a certificate of ours.
    timeout_s : float, s
        For every answer of a DICOM node.
    progress : callable, optional
        Called with ("send", images done, images).

    Raises
    ------
    InputError
        CTM_INPUT_NOT_FOUND, CTM_INPUT_NO_CT: no DICOM file.
    OutputError
        CTM_SEND_FAILED: the archive cannot be reached, or rejected an image; those accepted before stay there.
        CTM_SEND_FORBIDDEN, CTM_SEND_CERTIFICATE: of DICOMweb.
    ConfigError
        CTM_EXTRA_MISSING: pynetdicom or dicomweb-client is not installed. CTM_CONFIG_VALUE. CTM_LOCATION_INVALID.
    """
    if (archive := archive_of(host)) is not None:
        with local_copy(parse_location(folder)) as images:
            return _send_by_stow(_dicom_files(images), archive, tls, progress)
    try:
        import pynetdicom
    except ImportError as e:
        raise ConfigError("CTM_EXTRA_MISSING", what="Sending", package="pynetdicom", extra="send") from e
    for key, title in (("called", called), ("calling", calling)):
        if not 1 <= len(title) <= 16 or not title.isascii() or not title.isprintable() or "\\" in title:
            expected = "1 to 16 printable ASCII characters, no backslash"
            raise option_error(key, title, expected, source="send")
    if port is None:
        raise option_error("port", None, "that of the DICOM node", source="send")
    entity = pynetdicom.AE(ae_title=calling)
    entity.acse_timeout = entity.dimse_timeout = entity.network_timeout = entity.connection_timeout = timeout_s
    with local_copy(parse_location(folder)) as images:
        return _send(_dicom_files(images), (str(host), port), entity, called, tls, progress)


def archive_of(host: str | Uri) -> Uri | None:
    """Return the DICOMweb archive that is meant; None for a host of a DICOM node."""
    if isinstance(host, Uri) or host.lower().startswith("dicomweb+"):
        location = parse_location(host)
        if is_dicomweb(location) and isinstance(location, Uri):
            return location
    return None


def check_archive(archive: Uri) -> None:
    """Raise the error that sending would end with, as far as the archive shows it before; those of `send`."""
    from ..storage.dicomweb import open_dicomweb

    with open_dicomweb(archive) as connection, _as_output_errors(archive, 0, None):
        connection.check()


def series_in(archive: Uri, folder: Path) -> Uri:
    """Return the location in an archive of the series in a folder, once it is sent."""
    ds = dcmread(_dicom_files(folder)[0], stop_before_pixels=True)
    root = Uri(archive.scheme, archive.bucket, archive.key.partition("studies/")[0].rstrip("/"))
    return root / "studies" / str(ds.StudyInstanceUID) / "series" / str(ds.SeriesInstanceUID)


def _send_by_stow(files: list[Path], archive: Uri, tls: ssl.SSLContext | None, progress: Progress | None) -> SentImages:
    from ..storage.dicomweb import open_dicomweb

    warnings, tick = 0, tick_of(progress, "send")
    with open_dicomweb(archive, tls=tls) as connection:
        for index, file in enumerate(files):
            # Each in a request of its own, so that it is known which were accepted.
            with _as_output_errors(archive, index, len(files)):
                warnings += connection.store(dcmread(file))
            if tick:
                tick(index + 1, len(files))
    return SentImages(len(files), warnings)


@contextmanager
def _as_output_errors(archive: Uri, taken: int, count: int | None) -> Iterator[None]:
    """Raise errors of an answer as those of an output."""
    try:
        yield
    except InputError as e:
        if e.code == "CTM_FETCH_FORBIDDEN":
            raise OutputError("CTM_SEND_FORBIDDEN", where=archive, status=e.fields["status"]) from e
        if e.code == "CTM_FETCH_CERTIFICATE":
            raise OutputError("CTM_SEND_CERTIFICATE", where=archive, problem=e.fields["problem"]) from e
        problem = e.fields.get("problem", "its answer broke off")
        count_text = "the" if count is None else count
        raise OutputError("CTM_SEND_FAILED", where=archive, problem=problem, taken=taken, count=count_text) from e


def _send(
    files: list[Path],
    peer: tuple[str, int],
    entity: Any,
    called: str,
    tls: ssl.SSLContext | None,
    progress: Progress | None,
) -> SentImages:
    contexts: dict[tuple[str, str], None] = {}
    for file in files:
        meta = read_file_meta_info(file)
        contexts[str(meta.MediaStorageSOPClassUID), str(meta.TransferSyntaxUID)] = None
    for sop_class in {sop_class: None for sop_class, _ in contexts}:
        contexts |= dict.fromkeys((sop_class, str(syntax)) for syntax in _UNCOMPRESSED)
    for sop_class, syntax in list(contexts)[:_MAX_CONTEXTS]:
        entity.add_requested_context(sop_class, syntax)
    host, port = peer
    address = f"{host}:{port}"
    association = entity.associate(host, port, ae_title=called, tls_args=(tls, host) if tls else None)
    if not association.is_established:
        problem = _rejection(association) or _connection_problem(peer, tls, entity.connection_timeout)
        raise OutputError("CTM_SEND_FAILED", where=address, problem=problem, taken=0, count=len(files))
    try:
        return _store(association, files, address, tick_of(progress, "send"))
    finally:
        if association.is_established:
            association.release()


def _rejection(association: Any) -> str:
    """Return why the archive rejected the association or what it was offered, or an empty text if it did not."""
    answer = association.acceptor.primitive
    if answer is None:
        return ""
    if association.is_rejected:
        return f"it rejects the association: {answer.reason_str.rstrip('.').lower()}"
    return "" if association.accepted_contexts else "it accepts no CT images"


def _connection_problem(peer: tuple[str, int], tls: ssl.SSLContext | None, timeout_s: float) -> str:
    """Return why there is no connection, which pynetdicom only logs."""
    try:
        with socket.create_connection(peer, timeout_s) as connection:
            if tls is None:
                return "it accepts the connection, but no association"
            with tls.wrap_socket(connection, server_hostname=peer[0]):
                return "it accepts the connection by TLS, but no association"
    except ssl.SSLCertVerificationError as e:
        return f"its certificate cannot be verified ({e.verify_message.rstrip('.')})"
    except ssl.SSLError as e:
        return f"TLS fails ({(e.reason or type(e).__name__).lower().replace('_', ' ')})"
    except OSError as e:
        return f"it cannot be reached ({(e.strerror or str(e) or type(e).__name__).lower()})"


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
    accepted = {(cx.abstract_syntax, cx.transfer_syntax[0]) for cx in association.accepted_contexts}
    for index, file in enumerate(files):
        try:
            status = association.send_c_store(_encoded(file, accepted))
            code = status.get("Status") if status else None
        except (ValueError, RuntimeError) as e:  # the context was not accepted, or the association has ended
            code, problem = None, f"it takes no such images ({type(e).__name__})"
        else:
            problem = _status_text(code)
        if code not in _ACCEPTED:
            raise OutputError("CTM_SEND_FAILED", where=address, problem=problem, taken=index, count=len(files))
        warnings += code != 0
        if tick:
            tick(index + 1, len(files))
    return SentImages(len(files), warnings)


def _encoded(file: Path, accepted: set[tuple[str, str]]) -> FileDataset:
    """Read a file, and decompress it if the archive refuses its transfer syntax. Its UIDs stay."""
    ds = dcmread(file)
    meta = ds.file_meta
    if (meta.MediaStorageSOPClassUID, meta.TransferSyntaxUID) not in accepted and meta.TransferSyntaxUID.is_compressed:
        ds.decompress(generate_instance_uid=False)
    return ds


def _status_text(code: int | None) -> str:
    if code is None:
        return "the connection broke"
    reason = " (out of resources)" if code in _OUT_OF_RESOURCES else ""
    return f"it answers with status 0x{code:04X}{reason}"
