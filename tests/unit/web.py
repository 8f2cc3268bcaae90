"""A web server of our own that misbehaves on request, and an archive with TCIA's interface."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import ssl
import threading
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

__all__ = ["Tcia", "Web", "served"]


class Web:
    """Serves `files`; each request first takes one of `faults`, which may answer in its place.

    Attributes
    ----------
    files : dict of str to bytes
    faults : list of callables
        They get the handler, and return true when they have answered.
    ranges : bool
        Whether parts of a file can be asked for.
    seen : list of (str, dict)
        Paths and headers of all requests.
    """

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.faults: list[Callable[[BaseHTTPRequestHandler], bool]] = []
        self.ranges = True
        self.seen: list[tuple[str, dict[str, str]]] = []
        self.url = ""

    def receive(self, handler: BaseHTTPRequestHandler, body: bytes) -> None:
        """Answer a post."""
        handler.send_error(405)

    def answer(self, handler: BaseHTTPRequestHandler) -> None:
        body = self.files.get(urlsplit(handler.path).path)
        if body is None:
            handler.send_error(404)
            return
        tag = f'"{hashlib.sha256(body).hexdigest()[:8]}"'
        start = 0
        if self.ranges and handler.headers.get("If-Range") == tag:
            start = int(handler.headers["Range"].removeprefix("bytes=").removesuffix("-"))
        handler.send_response(206 if start else 200)
        handler.send_header("Content-Length", str(len(body) - start))
        if self.ranges:
            handler.send_header("ETag", tag)
        if start:
            handler.send_header("Content-Range", f"bytes {start}-{len(body) - 1}/{len(body)}")
        handler.end_headers()
        # What a fault left of the body: the length that was told stays.
        handler.wfile.write(body[start : getattr(handler, "stop", None)])
        if getattr(handler, "stop", None) is not None:
            handler.close_connection = True


class Tcia(Web):
    """NBIA's Search API, v4 or v1, with one series: zips are made while they are sent, without a length.

    Attributes
    ----------
    images : dict of str to bytes
    count : int
        The number of images, in the answers to getSeriesSize and, if `counts_in_series`, to getSeries.
    hashes : dict of str to str
    """

    def __init__(self, uid: str, folder: Path) -> None:
        super().__init__()
        self.uid = uid
        self.images = {f"{n:08}.dcm": file.read_bytes() for n, file in enumerate(sorted(folder.iterdir()), 1)}
        self.count = len(self.images)
        self.hashes = {name: hashlib.md5(data).hexdigest() for name, data in self.images.items()}
        self.list_hashes = True
        self.counts_in_series = True

    def answer(self, handler: BaseHTTPRequestHandler) -> None:
        asked = urlsplit(handler.path)
        known = parse_qs(asked.query).get("SeriesInstanceUID") == [self.uid]
        if asked.path == "/v4/getSeries":
            series = {"SeriesInstanceUID": self.uid} | ({"ImageCount": self.count} if self.counts_in_series else {})
            self._send(handler, json.dumps([series] if known else []).encode())
        elif asked.path == "/v4/getSeriesSize":
            size = {"TotalSizeInBytes": f"{sum(map(len, self.images.values()))}.000000", "ObjectCount": self.count}
            self._send(handler, json.dumps([size] if known else []).encode())
        elif asked.path == "/v4/getImageWithMD5Hash" and known:
            self._send(handler, self.zipped())
        else:
            handler.send_error(400)

    def zipped(self) -> bytes:
        made = io.BytesIO()
        with zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("LICENSE", "CC BY 3.0")
            for name, data in self.images.items():
                archive.writestr(name, data)
            if self.list_hashes:
                text = io.StringIO()
                csv.writer(text).writerows([("Filename", "MD5Hash"), *self.hashes.items()])
                archive.writestr("md5hashes.csv", text.getvalue())
        return made.getvalue()

    def _send(self, handler: BaseHTTPRequestHandler, body: bytes) -> None:
        handler.send_response(200)
        handler.send_header("Transfer-Encoding", "chunked")
        handler.end_headers()
        part = body[: getattr(handler, "stop", None)]
        handler.wfile.write(b"%x\r\n%s\r\n" % (len(part), part))
        if getattr(handler, "stop", None) is not None:
            handler.close_connection = True
        else:
            handler.wfile.write(b"0\r\n\r\n")


@contextmanager
def served(web: Web, certificate: Path | None = None, clients: Path | None = None) -> Iterator[Web]:
    """Run it at a free port; `certificate` holds key and certificate, `clients` the authority for those of clients."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            web.seen.append((self.path, dict(self.headers)))
            self.stop: int | None = None
            if not (web.faults and web.faults.pop(0)(self)):
                web.answer(self)

        def do_POST(self) -> None:
            web.receive(self, self.rfile.read(int(self.headers["Content-Length"])))

        def log_message(self, *args: object) -> None:
            pass

    class Server(ThreadingHTTPServer):
        def handle_error(self, request: object, client: object) -> None:
            pass  # a client that went away, or does not trust us

    server = Server(("127.0.0.1", 0), Handler)
    if certificate:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate)
        if clients:
            context.load_verify_locations(clients)
            context.verify_mode = ssl.CERT_REQUIRED
        server.socket = context.wrap_socket(server.socket, server_side=True)
    web.url = f"http{'s' if certificate else ''}://localhost:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield web
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
