"""The web page of a node: what is in its queue, a retry button, metrics and health."""

from __future__ import annotations

import hmac
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import jinja2
import uvicorn
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import Request
from starlette.responses import FileResponse, HTMLResponse, PlainTextResponse, RedirectResponse, Response
from starlette.routing import Route

from ..dicom.identify import patient_of
from ..errors import ConfigError, OutputError
from .config import Page, is_loopback
from .metrics import exposition
from .node import Node
from .queue import Entry, Record

__all__ = ["application", "serve_page"]

_COOKIE = "ctmahout_token"
_START_S = 20.0
_MAX_ROWS = 200  # series of a state
# No script, nothing from elsewhere, in no frame; the report has scripts of its own.
_PAGE_POLICY = (
    "default-src 'none'; style-src 'unsafe-inline'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
)
_REPORT_POLICY = (
    "default-src 'none'; img-src data: blob:; style-src 'unsafe-inline'; script-src 'unsafe-inline'; "
    "font-src data:; frame-ancestors 'none'; base-uri 'none'"
)
_TEMPLATES = jinja2.Environment(loader=jinja2.FileSystemLoader(Path(__file__).parent), autoescape=True)


@contextmanager
def serve_page(node: Node, page: Page) -> Iterator[str]:
    """Serve the page of a node during the block; yields its address.

    Raises
    ------
    ConfigError
        CTM_CONFIG_VALUE: the token is too short. CTM_CONFIG_FILE: its file cannot be read.
    OutputError
        CTM_NODE_PORT.
    """
    config = uvicorn.Config(
        application(node, page, _token(page)),
        host=page.address,
        port=page.port,
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        limit_concurrency=50,
        timeout_keep_alive=5,
        h11_max_incomplete_event_size=1 << 14,
        timeout_graceful_shutdown=2,
        ssl_certfile=page.certificate,
        ssl_keyfile=page.key,
    )
    server = uvicorn.Server(config)
    listener = _listen(page)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, name="page", daemon=True)
    thread.start()
    end = time.monotonic() + _START_S
    while not server.started and thread.is_alive() and time.monotonic() < end:
        time.sleep(0.01)
    if not server.started:
        listener.close()
        raise ConfigError("CTM_NODE_CERTIFICATE", path=page.certificate, problem="https cannot be started with it")
    try:
        yield f"http{'s' if page.certificate else ''}://{page.address}:{listener.getsockname()[1]}/"
    finally:
        server.should_exit = True
        thread.join()
        listener.close()


def _listen(page: Page) -> socket.socket:
    family = socket.AF_INET6 if ":" in page.address else socket.AF_INET
    try:
        return socket.create_server((page.address, page.port), family=family)
    except OSError as e:
        problem = e.strerror or str(e)
        raise OutputError("CTM_NODE_PORT", address=f"{page.address}:{page.port}", problem=problem) from e


def application(node: Node, page: Page, token: str | None) -> Starlette:
    """Return the application. Without a token, visitors need none."""

    def guarded(handler: Any) -> Any:
        """Let a handler see visitors with the token only; what changes something must come from the page itself."""

        def guard(request: Request) -> Response:
            if token is not None and not _has_token(request, token):
                return _login(401)
            if request.method == "POST" and not _is_same_origin(request):
                return PlainTextResponse("This request does not come from the page.", 403)
            response: Response = handler(request)
            return response

        return guard

    def index(request: Request) -> Response:
        text = _TEMPLATES.get_template("page.html").render(**_content(node, page))
        return _private(HTMLResponse(text), _PAGE_POLICY)

    def retry(request: Request) -> Response:
        moved = node.queue.retry(request.path_params["key"])
        return RedirectResponse("/", 303) if moved else PlainTextResponse("It is not in quarantine.", 404)

    def report(request: Request) -> Response:
        entry = node.queue.find(request.path_params["key"])
        if entry is None or not (entry.run / "report.html").is_file():
            return PlainTextResponse("There is no report.", 404)
        return _private(FileResponse(entry.run / "report.html", media_type="text/html"), _REPORT_POLICY)

    def metrics(request: Request) -> Response:
        return Response(
            exposition(node.counters, node.queue.counts), media_type="text/plain; version=0.0.4; charset=utf-8"
        )

    def login(request: Request) -> Response:
        return _login(200)

    async def enter(request: Request) -> Response:
        value = (await request.body())[:1024].decode("utf-8", "replace").partition("token=")[2]
        if token is None or not hmac.compare_digest(value.strip().encode(), token.encode()):
            return _login(401)
        response = RedirectResponse("/", 303)
        response.set_cookie(
            _COOKIE, token, httponly=True, samesite="strict", secure=page.certificate is not None, max_age=86400
        )
        return response

    def health(request: Request) -> Response:
        return PlainTextResponse("ok")

    def ready(request: Request) -> Response:
        return PlainTextResponse("ready") if node.is_ready else PlainTextResponse("not ready", 503)

    routes = [
        Route("/", guarded(index)),
        Route("/retry/{key}", guarded(retry), methods=["POST"]),
        Route("/report/{key}", guarded(report)),
        Route("/metrics", guarded(metrics)),
        Route("/login", login),
        Route("/login", enter, methods=["POST"]),
        Route("/healthz", health),
        Route("/readyz", ready),
    ]
    # On loopback, a page elsewhere could otherwise read this one under a name of its own that points here.
    hosts = ["localhost", "127.0.0.1", "[::1]", page.address] if is_loopback(page.address) else ["*"]
    return Starlette(routes=routes, middleware=[Middleware(TrustedHostMiddleware, allowed_hosts=hosts)])


def _token(page: Page) -> str | None:
    if page.token_file is None:
        return None
    try:
        token = page.token_file.read_text(encoding="ascii").strip()
    except (OSError, ValueError) as e:
        raise ConfigError("CTM_NODE_TOKEN", path=page.token_file, problem=type(e).__name__) from None
    if len(token) < 16 or not token.isalnum():
        raise ConfigError("CTM_NODE_TOKEN", path=page.token_file, problem="it is too short, or has other characters")
    return token


def _has_token(request: Request, token: str) -> bool:
    bearer = request.headers.get("authorization", "").removeprefix("Bearer ")
    return any(
        hmac.compare_digest(value.encode("utf-8", "replace"), token.encode())
        for value in (bearer, request.cookies.get(_COOKIE, ""))
    )


def _is_same_origin(request: Request) -> bool:
    """Return whether a browser's request comes from this page; programs send no Origin."""
    origin = request.headers.get("origin")
    return origin is None or urlsplit(origin).netloc == request.headers.get("host")


def _login(status: int) -> Response:
    return _private(HTMLResponse(_TEMPLATES.get_template("login.html").render(), status), _PAGE_POLICY)


def _private(response: Response, policy: str) -> Response:
    response.headers["Content-Security-Policy"] = policy
    response.headers["Cache-Control"] = "no-store"
    response.headers["X-Content-Type-Options"] = "nosniff"
    response.headers["Referrer-Policy"] = "same-origin"
    return response


def _content(node: Node, page: Page) -> dict[str, Any]:
    """Return what the page shows."""
    queue = node.queue
    rows = {
        state: [row for entry in queue.entries(state) if (row := _row(entry, page))]
        for state in ("receiving", "waiting", "sending", "quarantine", "done")
    }
    rows["done"].reverse()
    rate = _seconds_per_image([row["record"] for row in rows["done"]])
    running = []
    for row in [row for row in rows["waiting"] if queue.is_running(row["key"])]:
        rows["waiting"].remove(row)
        if (progress := node.progress.get(row["key"])) is None:
            continue
        elapsed = time.time() - progress.since
        left = max(0.0, rate * row["record"].images - elapsed) if rate else None
        running.append(row | {"phase": progress.phase, "share": _share(progress), "elapsed": elapsed, "left": left})
    counts = {"running": len(running)} | {state: len(entries) for state, entries in rows.items()}
    return {
        "title": node.config.title,
        "problem": queue.refusal(),
        "counts": counts,
        "running": running,
        "patients": page.patients,
        "hidden": {state: len(entries) - _MAX_ROWS for state, entries in rows.items() if len(entries) > _MAX_ROWS},
        **{state: entries[:_MAX_ROWS] for state, entries in rows.items()},
    }


def _row(entry: Entry, page: Page) -> dict[str, Any] | None:
    try:
        record = entry.record()
        files = sorted(entry.images.iterdir()) if entry.images.is_dir() else []
    except OSError:  # it has moved on meanwhile
        return None
    return {
        "key": entry.key,
        "record": record,
        "images": record.images or len(files),
        "received": time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(record.received)),
        "deliveries": {name: _delivery_text(delivery) for name, delivery in record.deliveries.items()},
        "has_report": (entry.run / "report.html").is_file(),
        "patient": patient_of(files[0]) if page.patients and files else "",
    }


def _delivery_text(delivery: dict[str, Any]) -> str:
    if delivery["sent"]:
        return "sent"
    if delivery["failed"]:
        return "given up"
    return f"try {delivery['tries'] + 1}" + (f": {delivery['message']}" if delivery["message"] else "")


def _seconds_per_image(records: list[Record]) -> float:
    timed = [record for record in records if record.seconds and record.images][:20]
    return sum(r.seconds for r in timed) / sum(r.images for r in timed) if timed else 0.0


def _share(progress: Any) -> str:
    return f"{progress.done} of {progress.total}" if progress.total > 1 else ""
