"""Receive images: an SCP of Verification and CT storage (PS3.4 A, B), which trusts nobody.

Associations of peers in, images in the queue out. An image is acknowledged when it is on the disk.
"""

from __future__ import annotations

import logging
import socket
import ssl
import threading
import time
from functools import partial
from typing import Any
from weakref import WeakKeyDictionary

from pynetdicom import AE, evt
from pynetdicom.sop_class import Verification
from pynetdicom.transport import RequestHandler, ThreadedAssociationServer

from ..dicom import decoders
from ..dicom.identify import identify
from ..errors import OutputError
from .config import NodeConfig
from .guard import Guard
from .metrics import Counters
from .queue import Full, ImageConflict, Queue
from .tls import server_context

__all__ = ["STORED_CLASSES", "Receiver", "accepted_syntaxes"]

STORED_CLASSES = {
    "1.2.840.10008.5.1.4.1.1.2": "CT Image Storage",
    "1.2.840.10008.5.1.4.1.1.2.1": "Enhanced CT Image Storage",
    "1.2.840.10008.5.1.4.1.1.2.2": "Legacy Converted Enhanced CT Image Storage",
}
"""What is accepted, by SOP class UID."""

# Unpacks to anything in memory while its header is read.
_DEFLATED = "1.2.840.10008.1.2.1.99"
# Status codes of C-STORE (PS3.4 B.2.3, PS3.7 C).
_SUCCESS, _OUT_OF_RESOURCES, _WRONG_CLASS, _NOT_UNDERSTOOD, _DUPLICATE = 0x0000, 0xA700, 0xA900, 0xC000, 0x0111
# Rejections of an association: result, source, reason (PS3.8 9.3.4).
_UNKNOWN_CALLING, _CONGESTION = (1, 1, 3), (2, 3, 1)
_MAX_PDU = 1 << 17
# An A-ASSOCIATE-RQ may be longer than the PDUs that we accept after it.
_MAX_RECEIVED_PDU = 1 << 20
_CHUNK = 1 << 16

_log = logging.getLogger("ctmahout.node")


def accepted_syntaxes() -> list[str]:
    """Return the transfer syntaxes that this installation decodes, but deflated."""
    return [decoder.syntax for decoder in decoders() if decoder.available and decoder.syntax != _DEFLATED]


class Receiver:
    """The SCP of a node.

    Parameters
    ----------
    config : NodeConfig
    queue : Queue
    counters : Counters

    Raises
    ------
    OutputError
        CTM_NODE_PORT: the port cannot be opened.
    """

    def __init__(self, config: NodeConfig, queue: Queue, counters: Counters) -> None:
        self._config = config
        self._queue = queue
        self._counters = counters
        self._lock = threading.Lock()
        self._series: WeakKeyDictionary[Any, set[str]] = WeakKeyDictionary()  # by association
        entity = AE(ae_title=config.title)
        entity.require_called_aet = True
        entity.require_calling_aet = [peer.title for peer in config.peers]
        entity.maximum_associations = config.limits.associations
        entity.maximum_pdu_size = _MAX_PDU
        entity.acse_timeout = entity.dimse_timeout = entity.network_timeout = config.limits.idle_s
        entity.add_supported_context(Verification)
        for sop_class in STORED_CLASSES:
            entity.add_supported_context(sop_class, accepted_syntaxes())
        handlers = [
            (evt.EVT_REQUESTED, self._check_request),
            (evt.EVT_REJECTED, lambda event: counters.count("rejected associations", "title or limit")),
            (evt.EVT_C_ECHO, self._echo),
            (evt.EVT_C_STORE, self._store),
            (evt.EVT_RELEASED, self._release),
        ]
        context = server_context(config.tls) if config.tls else None
        try:
            self._server = entity.make_server(
                (config.address, config.port), ssl_context=context, evt_handlers=handlers, server_class=_Server
            )
        except OSError as e:
            problem = e.strerror or str(e)
            raise OutputError("CTM_NODE_PORT", address=f"{config.address}:{config.port}", problem=problem) from e
        self.guard = self._server.guard = Guard(config, counters)
        entity._servers.append(self._server)
        self._entity = entity
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.1,), name="receiver", daemon=True)

    @property
    def port(self) -> int:
        """The port that it listens on."""
        return int(self._server.server_address[1])

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Accept nothing more, and abort what is going on: what was acknowledged is on the disk."""
        self._server.shutdown()
        for association in self._server.active_associations:
            if association.is_established:
                association.abort()
            elif association.dul.socket.socket is not None:
                self._server.shutdown_request(association.dul.socket.socket)
        self._thread.join()

    def _check_request(self, event: Any) -> None:
        """Reject an association before it is negotiated: of a stranger, or while there is no room."""
        association = event.assoc
        title, address = association.requestor.primitive.calling_ae_title, association.requestor.address
        if not any(peer.title == title.strip() and peer.has_address(address) for peer in self._config.peers):
            self._reject(association, _UNKNOWN_CALLING, "unknown sender")
        elif reason := self._queue.refusal():
            _log.warning("association of %s rejected: %s", title.strip(), reason)
            self._reject(association, _CONGESTION, "no room")

    def _reject(self, association: Any, reason: tuple[int, int, int], label: str) -> None:
        self._counters.count("rejected associations", label)
        association.acse.send_reject(*reason)
        association.kill()

    def _echo(self, event: Any) -> int:
        event.assoc.dul.socket.budget.release()
        return _SUCCESS

    def _store(self, event: Any) -> int:
        """Handle C-STORE; returns the status."""
        status = self._kept(event)
        event.assoc.dul.socket.budget.release()
        # While the disk was busy the sender was waiting for us, not idle.
        event.assoc.dul._idle_timer.restart()
        self._counters.count("images", "accepted" if status == _SUCCESS else f"refused 0x{status:04X}")
        return status

    def _kept(self, event: Any) -> int:
        data = event.encoded_dataset()
        identifiers = identify(data)
        if identifiers is None:
            return _NOT_UNDERSTOOD
        request = event.request
        same = (identifiers.sop_class, identifiers.sop_uid) == (
            str(request.AffectedSOPClassUID),
            str(request.AffectedSOPInstanceUID),
        )
        if not same or not identifiers.series_uid or not identifiers.study_uid:
            return _WRONG_CLASS
        sender = event.assoc.requestor.ae_title.strip()
        try:
            key = self._queue.store(identifiers.study_uid, identifiers.series_uid, identifiers.sop_uid, data, sender)
        except Full as e:
            _log.warning("an image of %s was refused: %s", sender, e)
            return _OUT_OF_RESOURCES
        except ImageConflict:
            _log.warning("an image of %s was refused: there is another one with its UID", sender)
            return _DUPLICATE
        with self._lock:
            self._series.setdefault(event.assoc, set()).add(key)
        return _SUCCESS

    def _release(self, event: Any) -> None:
        """Take what an association brought as complete, unless another one still brings it."""
        if not self._config.complete_on_release:
            return
        with self._lock:
            keys = self._series.pop(event.assoc, set())
            others = set().union(*(k for a, k in self._series.items() if a.is_established))
        self._queue.complete(keys - others)


class _Handler(RequestHandler):  # type: ignore[misc]
    """Starts an association with a socket that reads within limits."""

    def handle(self) -> None:
        idle_s = self.server.ae.network_timeout
        self.request.settimeout(idle_s)
        if isinstance(self.request, ssl.SSLSocket):
            try:
                self.request.do_handshake()
            except OSError:
                self.server.shutdown_request(self.request)
                return
        super().handle()

    def _create_association(self) -> Any:
        association = super()._create_association()
        connection = association.dul.socket
        connection.budget = self.server.guard.budget(association)
        # pynetdicom's would wait for ever, and for as many bytes as the other side announces.
        connection.recv = partial(_receive, connection, idle_s=self.server.ae.network_timeout)
        return association


def _receive(connection: Any, size: int, *, idle_s: float) -> bytearray:
    """Read a number of bytes within a time; fewer if the connection ends.

    Raises
    ------
    OSError
        The other side is too slow, or sends too much.
    """
    if size > _MAX_RECEIVED_PDU:
        raise OSError("a PDU is too long")
    connection.budget.take(size)
    data, end = bytearray(), time.monotonic() + idle_s
    while len(data) < size:
        if time.monotonic() > end:
            raise TimeoutError
        part = connection.socket.recv(min(_CHUNK, size - len(data)))
        if not part:
            break
        data += part
    return data


class _Server(ThreadedAssociationServer):  # type: ignore[misc]
    """Accepts connections; a TLS handshake happens in the connection's own thread, so that nobody blocks the others."""

    guard: Guard
    request_queue_size = 128

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **{**options, "request_handler": _Handler})
        self._starting: set[threading.Thread] = set()

    def get_request(self) -> tuple[socket.socket, Any]:
        connection, address = self.socket.accept()
        if self.ssl_context:
            connection = self.ssl_context.wrap_socket(connection, server_side=True, do_handshake_on_connect=False)
        return connection, address

    def verify_request(self, request: Any, client_address: Any) -> bool:
        return self.guard.accepts(client_address[0], len(self.active_associations) + len(self._starting))

    def process_request(self, request: Any, client_address: Any) -> None:
        def run() -> None:
            try:
                self.process_request_thread(request, client_address)
            finally:
                self._starting.discard(thread)

        thread = threading.Thread(target=run, name="connection", daemon=True)
        self._starting.add(thread)
        thread.start()

    def handle_error(self, request: Any, client_address: Any) -> None:
        self.guard.note_error()
