"""Requests to the API of a cluster by the `kubernetes` client, with time limits, patience and coded errors."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

from ..errors import ConfigError, EngineError

__all__ = ["KubernetesApi", "one_line", "refusal"]

_SUBMISSION = "spark.kubernetes.authenticate.submission."
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
        CTM_EXTRA_MISSING: the kubernetes client is not installed.
    """

    def __init__(self, master: str | None, conf: Mapping[str, str]) -> None:
        try:
            import kubernetes
        except ImportError as e:
            raise ConfigError(
                "CTM_EXTRA_MISSING", what="Cluster mode on Kubernetes", package="kubernetes", extra="kubernetes"
            ) from e
        self.namespace = conf.get("spark.kubernetes.namespace", "default")
        settings = kubernetes.client.Configuration()
        context = conf.get("spark.kubernetes.context")
        try:
            kubernetes.config.load_kube_config(context=context, client_configuration=settings)
        except kubernetes.config.ConfigException:
            # Without a kubeconfig and a service account the settings below must suffice.
            with suppress(kubernetes.config.ConfigException):
                kubernetes.config.load_incluster_config(client_configuration=settings)
        if master is not None:
            url = master.removeprefix("k8s://")
            settings.host = url if "://" in url else f"https://{url}"
        self._master = master or settings.host
        if authority := conf.get(f"{_SUBMISSION}caCertFile"):
            settings.ssl_ca_cert = authority
        if token := conf.get(f"{_SUBMISSION}oauthToken"):
            settings.api_key = {"authorization": f"Bearer {token}"}
        settings.retries = False  # `request` tries again, and knows for how long
        client = kubernetes.client.ApiClient(settings)
        self.core = kubernetes.client.CoreV1Api(client)
        self.custom = kubernetes.client.CustomObjectsApi(client)
        self._api_exception: type[Exception] = kubernetes.client.ApiException
        self._has_rights = False

    def request(
        self, method: Callable[..., Any], *arguments: Any, long_outage: bool = False, **options: Any
    ) -> Any | None:
        """Return the answer to a request; None if the API does not have the object.

        What is temporary is waited for: an API that is away, and after a first success refused rights.

        Parameters
        ----------
        method : callable
            A method of `core` or `custom`.
        *arguments, **options
            Its own.
        long_outage : bool
            Wait for five minutes, instead of half a minute, for an API that is away.

        Raises
        ------
        EngineError
            CTM_KUBERNETES_FORBIDDEN, CTM_KUBERNETES_ADMISSION, CTM_KUBERNETES_UNREACHABLE.
        """
        from urllib3.exceptions import HTTPError

        # Of each kind of trouble, outage and refusal: a server that was away comes back without its roles.
        since = {False: time.monotonic()}
        outage_s = _LONG_OUTAGE_S if long_outage else _OUTAGE_S
        attempts = 0
        while True:
            attempts += 1
            try:
                answer = method(*arguments, _request_timeout=_REQUEST_S, **options)
                self._has_rights = True
                return answer
            except self._api_exception as e:
                status, text = getattr(e, "status", None), _message(e)
                if status == 404:
                    self._has_rights = True
                    return None
                if status == 409 and attempts > 1:
                    return None  # an earlier attempt was carried out and its answer lost
                temporary_s = self._patience_s(status, text, outage_s)
                if status in _REFUSED:
                    error = refusal(text, self.namespace) or self._forbidden(text)
                elif _NO_WEBHOOK in text:
                    error = EngineError("CTM_KUBERNETES_ADMISSION", namespace=self.namespace, detail=one_line(text))
                else:
                    error = self._unreachable(text)
                refused = status in _REFUSED
                cause: Exception = e
            except HTTPError as e:
                temporary_s, refused, error, cause = outage_s, False, self._unreachable(str(e)), e
            if time.monotonic() - since.setdefault(refused, time.monotonic()) >= temporary_s:
                raise error from cause
            time.sleep(_PAUSE_S)

    def _patience_s(self, status: int | None, text: str, outage_s: float) -> float:
        """Return for how many seconds such an answer may be temporary."""
        if status is None or status in _UNAVAILABLE:
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


def _message(error: Exception) -> str:
    """Return what an API server says, without headers and braces."""
    with suppress(ValueError, TypeError, KeyError):
        return str(json.loads(getattr(error, "body", None) or "")["message"])
    return str(error)


def one_line(text: str) -> str:
    """Return a text as one line of at most 600 characters, without a full stop at its end."""
    return " ".join(text.split())[:600].rstrip(".")
