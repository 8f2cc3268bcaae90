"""Requests to the API of a cluster, with time limits, patience and coded errors."""

from __future__ import annotations

import json
import re
import time
import weakref
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from ..errors import CtmahoutError, EngineError
from .cluster_access import access_error, connect_to_cluster

__all__ = ["KubernetesApi", "one_line", "refusal"]

# Limits of one request, in seconds: to connect, and between two bytes of the answer.
_REQUEST_S = (5.0, 15.0)
# How long an API may be away, in seconds; and while a driver is at work: longer than a control plane takes to restart.
_OUTAGE_S, _LONG_OUTAGE_S = 30.0, 300.0
# An API server that has just started refuses everybody until it has read the roles.
_ROLES_S = 30.0
_PAUSE_S = 1.0
_RBAC = 'is forbidden: User "'
# Of an API server that is there, about a webhook that is not.
_NO_WEBHOOK = "failed calling webhook"
_REFUSAL = re.compile(
    r'[\w./-]+(?: "[^"]*")? is forbidden: [^\n]*'
    r'|admission webhook "[^"]*" denied the request: [^\n]*'
    r"|Unauthorized\b[^\n]*"
)
_UNAVAILABLE = (429, 500, 502, 503, 504)
_REFUSED = (401, 403)


class KubernetesApi:
    """The API of a cluster, for one namespace.

    Parameters
    ----------
    master : str, optional
        Spark's master, ``k8s://https://HOST:PORT``; by default the cluster of the kubeconfig or of this pod.
    conf : mapping
        Spark's settings; namespace, context and credentials are read from the same ones as by spark-submit.

    Raises
    ------
    ConfigError
        As of `connect_to_cluster`.
    """

    def __init__(self, master: str | None, conf: Mapping[str, str]) -> None:
        self.namespace = conf.get("spark.kubernetes.namespace", "default")
        self._http, server = connect_to_cluster(master, conf)
        # Engines have no end of their own, and their connections are not to outlive them.
        weakref.finalize(self, self._http.close)
        self._master = master or server
        self._has_rights = False

    def request(
        self, method: str, path: str, body: Mapping[str, Any] | None = None, *, long_outage: bool = False
    ) -> bytes | None:
        """Return the answer to a request; None if the API does not have the object.

        What is temporary is waited for: an API that is away, and after a first success refused rights.

        Parameters
        ----------
        method : str
            GET, POST or DELETE.
        path : str
            Of the resource: ``/api/v1/...``.
        body : mapping, optional
            An object to be created.
        long_outage : bool
            Wait for five minutes, instead of half a minute, for an API that is away.

        Raises
        ------
        EngineError
            CTM_KUBERNETES_FORBIDDEN, CTM_KUBERNETES_ADMISSION, CTM_KUBERNETES_UNREACHABLE.
        ConfigError
            CTM_KUBERNETES_ACCESS: a credential plugin failed.
        """
        import httpx2
        import lightkube

        connect_s, read_s = _REQUEST_S
        # Of each kind of trouble, outage and refusal: a server that was away comes back without its roles.
        since = {False: time.monotonic()}
        outage_s = _LONG_OUTAGE_S if long_outage else _OUTAGE_S
        attempts = 0
        while True:
            attempts += 1
            cause: Exception | None = None
            error: CtmahoutError
            try:
                answer = self._http.request(method, path, json=body, timeout=httpx2.Timeout(read_s, connect=connect_s))
            except httpx2.HTTPError as e:
                temporary_s, refused, cause = outage_s, False, e
                error = self._unreachable(str(e) or type(e).__name__)
            # A credential plugin, of which each has its own ways of failing.
            except (lightkube.ConfigError, LookupError, OSError, TypeError, ValueError) as e:
                temporary_s, refused, cause = outage_s if self._has_rights else 0.0, False, e
                error = access_error(e)
            else:
                status = answer.status_code
                if answer.is_success or status == 404:
                    self._has_rights = True
                    return bytes(answer.content) if answer.is_success else None
                if status == 409 and attempts > 1:
                    return None  # an earlier attempt was carried out and its answer lost
                text, refused = _message(answer.text), status in _REFUSED
                temporary_s = self._patience_s(status, text, outage_s)
                if refused:
                    error = refusal(text, self.namespace) or self._forbidden(text)
                elif _NO_WEBHOOK in text:
                    error = EngineError("CTM_KUBERNETES_ADMISSION", namespace=self.namespace, detail=one_line(text))
                else:
                    error = self._unreachable(text or f"it answers with status {status}")
            if time.monotonic() - since.setdefault(refused, time.monotonic()) >= temporary_s:
                raise error from cause
            time.sleep(_PAUSE_S)

    def get(self, path: str, *, long_outage: bool = False) -> dict[str, Any] | None:
        """Return an object, None if there is none; see `request`."""
        return self._parsed(self.request("GET", path, long_outage=long_outage))

    def create(self, path: str, body: Mapping[str, Any]) -> dict[str, Any] | None:
        """Create an object and return it as it is now; None if it was there already, or cannot be; see `request`."""
        return self._parsed(self.request("POST", path, body))

    def _parsed(self, answer: bytes | None) -> dict[str, Any] | None:
        if answer is None:
            return None
        parsed: Any = None
        with suppress(ValueError):
            parsed = json.loads(answer)
        if not isinstance(parsed, dict):
            raise self._unreachable(f"it answers with {one_line(answer[:80].decode(errors='replace'))!r}")
        return parsed

    def _patience_s(self, status: int, text: str, outage_s: float) -> float:
        """Return for how many seconds such an answer may be temporary."""
        if status in _UNAVAILABLE:
            return outage_s
        if status in _REFUSED and self._has_rights and _lacks_right(status, text):
            return _ROLES_S
        return 0.0

    def _forbidden(self, text: str) -> EngineError:
        return EngineError("CTM_KUBERNETES_FORBIDDEN", namespace=self.namespace, detail=one_line(text))

    def _unreachable(self, text: str) -> EngineError:
        return EngineError("CTM_KUBERNETES_UNREACHABLE", master=self._master, detail=one_line(text))


def refusal(text: str, namespace: str) -> EngineError | None:
    """Return the error of the last refusal of an API server in a text; None if there is none.

    Kubernetes calls two things forbidden: an account without the right, CTM_KUBERNETES_FORBIDDEN, and an object that a
    quota, a limit range, pod security or a webhook does not admit, CTM_KUBERNETES_ADMISSION.
    """
    refusals = _REFUSAL.findall(text)
    if not refusals:
        return None
    # Java's client repeats the status after the message.
    detail = one_line(refusals[-1].partition(". Received status: ")[0])
    if _lacks_right(None, detail):
        return EngineError("CTM_KUBERNETES_FORBIDDEN", namespace=namespace, detail=detail)
    return EngineError("CTM_KUBERNETES_ADMISSION", namespace=namespace, detail=detail)


def _lacks_right(status: int | None, text: str) -> bool:
    return status == 401 or _RBAC in text or text.startswith("Unauthorized")


def _message(body: str) -> str:
    """Return what an API server says, without braces; of anything else, as a proxy, the whole."""
    with suppress(ValueError, TypeError, KeyError):
        return str(json.loads(body)["message"])
    return body


def one_line(text: str) -> str:
    """Return a text as one line of at most 600 characters, without a full stop at its end."""
    return " ".join(text.split())[:600].rstrip(".")
