"""Download a file over HTTP with retries, resuming it where the server can; an incomplete file is an error."""

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

__all__ = [
    "Connection",
    "Tick",
    "connection_error",
    "open_connection",
    "open_session",
    "status_error",
    "without_secrets",
]

Tick = Callable[[int, int], None]
"""Called with bytes done, and bytes in all or 0 if unknown."""

# Small, because the chunk in which a connection breaks is lost.
_CHUNK = 1 << 16
# To connect, and between two chunks: an archive may have to assemble a series first.
_TIMEOUTS_S = (10, 120)
_BACKOFF_S = 1.0
_MAX_ANSWER_SIZE = 1 << 20
# Images of a bucket are copied many at once.
_CONNECTIONS = 16


def without_secrets(url: str) -> str:
    """Return a URL without user, password, query and fragment, which may contain tokens."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"


@contextmanager
def open_connection() -> Iterator[Connection]:
    """Yield a connection for several requests."""
    with open_session() as session:
        yield Connection(session)


@contextmanager
def open_session(*, retry_posts: bool = False, tls: ssl.SSLContext | None = None) -> Iterator[requests.Session]:
    """Yield a session that tries again. Proxies, ``~/.netrc`` and REQUESTS_CA_BUNDLE are honoured.

    Parameters
    ----------
    retry_posts : bool
        Posts as well: to post twice what a server has is harmless.
    tls : ssl.SSLContext, optional
        With further authorities, or a certificate of our own. Certificates are verified whatever it says.
    """
    with requests.Session() as session:
        for scheme in ("http://", "https://"):
            policy = _retry_policy(retry_posts=retry_posts)
            session.mount(scheme, _Adapter(tls, max_retries=policy, pool_maxsize=_CONNECTIONS))
        yield session


class _Adapter(HTTPAdapter):
    """Connections with a TLS context of ours, direct ones and those by a proxy."""

    def __init__(self, tls: ssl.SSLContext | None, **options: Any) -> None:
        self._tls = tls
        super().__init__(**options)

    def init_poolmanager(self, *args: Any, **options: Any) -> None:
        super().init_poolmanager(*args, **options, ssl_context=self._tls)

    def proxy_manager_for(self, proxy: Any, **options: Any) -> Any:
        return super().proxy_manager_for(proxy, **options, ssl_context=self._tls)


class Connection:
    """HTTP requests with retries.

    Every method raises `InputError`: CTM_FETCH_NOT_FOUND, CTM_FETCH_FORBIDDEN, CTM_FETCH_CERTIFICATE, and
    CTM_FETCH_UNAVAILABLE after the last retry.
    """

    def __init__(self, session: requests.Session) -> None:
        self._session = session

    def json(self, url: str, parameters: dict[str, str]) -> Any:
        """Return the JSON response to a query; None if it is empty."""
        try:
            return json.loads(self.text(url, parameters) or "null")
        except ValueError as e:
            problem = "its answer is not JSON"
            raise InputError("CTM_FETCH_UNAVAILABLE", source=without_secrets(url), problem=problem) from e

    def text(self, url: str, parameters: dict[str, str]) -> bytes:
        """Return the bytes of an answer of at most a MiB."""
        file = BytesIO()
        self.download(url, parameters, file, limit=_MAX_ANSWER_SIZE)
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
        """Download a URL to an empty file.

        Parameters
        ----------
        url : str
        parameters : dict
            Query parameters.
        file : binary file
        limit : int, bytes
            Largest size.
        tick : callable, optional

        Raises
        ------
        InputError
            CTM_FETCH_TOO_LARGE, and the codes listed for the class.
        """
        source = without_secrets(url)
        retries, most_bytes, version = _retry_policy(), 0, ""
        while True:
            with self.get(url, parameters, _range_headers(file.tell(), version)) as response:
                version = _version(response)
                if not _is_continuation(response, file.tell()):
                    file.seek(0)
                    file.truncate()
                try:
                    _receive(response, file, source, limit, tick)
                    return
                except requests.RequestException as e:
                    # Retries are unlimited as long as each one makes progress.
                    retries = _retry_policy() if file.tell() > most_bytes else retries
                    most_bytes = max(most_bytes, file.tell())
                    try:
                        retries = retries.increment("GET", error=e)
                    except MaxRetryError:
                        problem = f"the connection broke after {file.tell()} bytes, again and again"
                        raise InputError("CTM_FETCH_UNAVAILABLE", source=source, problem=problem) from e
            retries.sleep()

    @contextmanager
    def get(
        self, url: str, parameters: dict[str, str], headers: dict[str, str] | None = None
    ) -> Iterator[requests.Response]:
        """Yield the response to a GET request, its body unread."""
        source = without_secrets(url)
        # With a content encoding, lengths and ranges would not be those of the file.
        headers = {"Accept-Encoding": "identity"} | (headers or {})
        try:
            response = self._session.get(url, params=parameters, headers=headers, stream=True, timeout=_TIMEOUTS_S)
        except requests.RequestException as e:
            raise connection_error(source, e) from e
        with response:
            error = status_error(source, response)
            if error is not None and response.status_code != 416:
                raise error
            yield response


class _RetryPolicy(Retry):
    """Retries of everything but invalid certificates."""

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


def _retry_policy(*, retry_posts: bool = False) -> _RetryPolicy:
    return _RetryPolicy(
        total=5,
        backoff_factor=_BACKOFF_S,
        status_forcelist=(429, 500, 502, 503, 504),
        raise_on_status=False,
        allowed_methods=None if retry_posts else Retry.DEFAULT_ALLOWED_METHODS,
    )


def _receive(response: requests.Response, file: IO[bytes], source: str, limit: int, tick: Tick | None) -> None:
    if response.status_code == 416:  # the file is shorter now than when the download began
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
    """Return the version of a file for If-Range; empty if the download cannot be resumed."""
    if response.status_code == 416 or "Content-Encoding" in response.headers:
        return ""
    tag = response.headers.get("ETag", "")
    return response.headers.get("Last-Modified", "") if not tag or tag.startswith("W/") else tag


def _range_headers(start: int, version: str) -> dict[str, str]:
    return {"Range": f"bytes={start}-", "If-Range": version} if start and version else {}


def _is_continuation(response: requests.Response, start: int) -> bool:
    return response.status_code == 206 and response.headers.get("Content-Range", "").startswith(f"bytes {start}-")


def status_error(source: str, response: requests.Response) -> InputError | None:
    """Return the error of an answer by its status; None if that is no error."""
    status = f"{response.status_code} {response.reason}"
    if response.status_code in (401, 403, 407):
        return InputError("CTM_FETCH_FORBIDDEN", source=source, status=status)
    if response.status_code in (404, 410):
        return InputError("CTM_FETCH_NOT_FOUND", source=source, problem=f"the server says {status}")
    if not response.ok:
        return InputError("CTM_FETCH_UNAVAILABLE", source=source, problem=f"the server says {status}")
    return None


def connection_error(source: str, e: Exception) -> InputError:
    """Return the error of a request without an answer, without the exception's own text, which has the full URL."""
    if certificate_error := _cause(e, ssl.SSLCertVerificationError):
        return InputError("CTM_FETCH_CERTIFICATE", source=source, problem=certificate_error.verify_message)
    if isinstance(e, requests.Timeout) or _cause(e, TimeoutError):
        problem = "it does not answer in time"
    else:
        cause = _cause(e, OSError)
        problem = (cause.strerror if cause else None) or type(e).__name__
    return InputError("CTM_FETCH_UNAVAILABLE", source=source, problem=problem)


def _cause(e: BaseException | None, exception_type: type[Any]) -> Any:
    """Return the innermost exception of a type among an exception and its causes, or None."""
    cause = None
    while e is not None:
        cause = e if isinstance(e, exception_type) else cause
        e = e.__cause__ or e.__context__
    return cause
