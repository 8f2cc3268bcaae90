"""A file from an http or https address: tried again after a pause, resumed where the server can, whole or refused."""

from __future__ import annotations

import json
import ssl
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from io import BytesIO
from typing import IO, Any
from urllib.parse import urlsplit

import requests
from requests.adapters import HTTPAdapter
from urllib3 import Retry
from urllib3.exceptions import MaxRetryError

from ...errors import InputError

__all__ = ["Connection", "Tick", "connected", "without_secrets"]

Tick = Callable[[int, int], None]

# A piece that breaks off is lost.
_CHUNK = 1 << 16
# Until it is connected, and between two pieces of an answer: an archive may have to gather a series first.
_TIMEOUTS_S = (10, 120)
_BACKOFF_S = 1.0
_LONGEST_ANSWER = 1 << 20
# Images of a bucket are copied many at once.
_CONNECTIONS = 16


def without_secrets(url: str) -> str:
    """Return an address without user, password, query and fragment: where tokens are."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"


@contextmanager
def connected() -> Iterator[Connection]:
    """Give a connection for several requests. Proxies, ``~/.netrc`` and REQUESTS_CA_BUNDLE are honoured."""
    with requests.Session() as session:
        for scheme in ("http://", "https://"):
            session.mount(scheme, HTTPAdapter(max_retries=_patience(), pool_maxsize=_CONNECTIONS))
        yield Connection(session)


class Connection:
    """Asks servers, and says why not in errors of ours.

    Every method raises `InputError`: CTM_FETCH_NOT_FOUND, CTM_FETCH_FORBIDDEN, CTM_FETCH_CERTIFICATE, and
    CTM_FETCH_UNAVAILABLE once all tries are used up.
    """

    def __init__(self, session: requests.Session) -> None:
        self._session = session

    def json(self, url: str, parameters: dict[str, str]) -> Any:
        """Return what a service answers; None if it answers nothing."""
        try:
            return json.loads(self.text(url, parameters) or "null")
        except ValueError as e:
            problem = "its answer is not JSON"
            raise InputError("CTM_FETCH_UNAVAILABLE", source=without_secrets(url), problem=problem) from e

    def text(self, url: str, parameters: dict[str, str]) -> bytes:
        """Return the bytes of an answer of at most a MiB."""
        file = BytesIO()
        self.download(url, parameters, file, limit=_LONGEST_ANSWER)
        return file.getvalue()

    def download(
        self,
        url: str,
        parameters: dict[str, str],
        file: IO[bytes],
        *,
        limit: int,
        tick: Tick | None = None,
    ) -> None:
        """Write what an address holds to an empty file.

        Parameters
        ----------
        url : str
        parameters : dict
            The query.
        file : binary file
        limit : int
            Bytes that it may have.
        tick : callable, optional
            Called with bytes so far and bytes in all, 0 if that is not known.

        Raises
        ------
        InputError
            CTM_FETCH_TOO_LARGE, and what the class names.
        """
        source = without_secrets(url)
        patience, furthest, version = _patience(), 0, ""
        while True:
            with self.answer(url, parameters, _from(file.tell(), version)) as response:
                version = _version(response)
                if not _continues(response, file.tell()):
                    file.seek(0)
                    file.truncate()
                try:
                    _receive(response, file, source, limit, tick)
                    return
                except requests.RequestException as e:
                    # A long file may break often, as long as it gets on.
                    patience = _patience() if file.tell() > furthest else patience
                    furthest = max(furthest, file.tell())
                    try:
                        patience = patience.increment("GET", error=e)
                    except MaxRetryError:
                        problem = f"the connection broke after {file.tell()} bytes, again and again"
                        raise InputError("CTM_FETCH_UNAVAILABLE", source=source, problem=problem) from e
            patience.sleep()

    @contextmanager
    def answer(
        self, url: str, parameters: dict[str, str], headers: dict[str, str] | None = None
    ) -> Iterator[requests.Response]:
        """Give the answer to a GET, its body still to be read."""
        source = without_secrets(url)
        # Compressed on the way, a length or a range would not be the file's.
        asked = {"Accept-Encoding": "identity"} | (headers or {})
        try:
            response = self._session.get(url, params=parameters, headers=asked, stream=True, timeout=_TIMEOUTS_S)
        except requests.RequestException as e:
            raise _no_answer(source, e) from e
        with response:
            status = f"{response.status_code} {response.reason}"
            if response.status_code in (401, 403, 407):
                raise InputError("CTM_FETCH_FORBIDDEN", source=source, status=status)
            if response.status_code in (404, 410):
                raise InputError("CTM_FETCH_NOT_FOUND", source=source, problem=f"the server says {status}")
            if not response.ok and response.status_code != 416:
                raise InputError("CTM_FETCH_UNAVAILABLE", source=source, problem=f"the server says {status}")
            yield response


class _Patience(Retry):
    """A certificate does not become better by asking again."""

    def increment(
        self,
        method: str | None = None,
        url: str | None = None,
        response: Any = None,
        error: Exception | None = None,
        _pool: Any = None,
        _stacktrace: Any = None,
    ) -> Any:
        if _cause(error, ssl.SSLCertVerificationError):
            raise MaxRetryError(_pool, str(url), error) from error
        return super().increment(method, url, response, error, _pool, _stacktrace)


def _patience() -> _Patience:
    return _Patience(
        total=5, backoff_factor=_BACKOFF_S, status_forcelist=(429, 500, 502, 503, 504), raise_on_status=False
    )


def _receive(response: requests.Response, file: IO[bytes], source: str, limit: int, tick: Tick | None) -> None:
    if response.status_code == 416:  # it became shorter meanwhile
        raise requests.ConnectionError
    length = response.headers.get("Content-Length", "")
    total = file.tell() + int(length) if length.isdecimal() else 0
    for chunk in response.iter_content(_CHUNK):
        if max(total, file.tell() + len(chunk)) > limit:
            raise InputError("CTM_FETCH_TOO_LARGE", source=source, limit=limit)
        file.write(chunk)
        if tick:
            tick(file.tell(), total)


def _version(response: requests.Response) -> str:
    """Return what tells one state of a file from another; empty if a part of it is of no use later."""
    if response.status_code == 416 or "Content-Encoding" in response.headers:
        return ""
    tag = response.headers.get("ETag", "")
    return response.headers.get("Last-Modified", "") if not tag or tag.startswith("W/") else tag


def _from(start: int, version: str) -> dict[str, str]:
    return {"Range": f"bytes={start}-", "If-Range": version} if start and version else {}


def _continues(response: requests.Response, start: int) -> bool:
    return response.status_code == 206 and response.headers.get("Content-Range", "").startswith(f"bytes {start}-")


def _no_answer(source: str, e: Exception) -> InputError:
    # Not the exception's own words: they hold the whole address.
    if untrusted := _cause(e, ssl.SSLCertVerificationError):
        return InputError("CTM_FETCH_CERTIFICATE", source=source, problem=untrusted.verify_message)
    if isinstance(e, requests.Timeout) or _cause(e, TimeoutError):
        problem = "it does not answer in time"
    else:
        cause = _cause(e, OSError)
        problem = (cause.strerror if cause else None) or type(e).__name__
    return InputError("CTM_FETCH_UNAVAILABLE", source=source, problem=problem)


def _cause(e: BaseException | None, kind: type[Any]) -> Any:
    """Return the deepest exception of a kind that led to this one."""
    found = None
    while e is not None:
        found = e if isinstance(e, kind) else found
        e = e.__cause__ or e.__context__
    return found
