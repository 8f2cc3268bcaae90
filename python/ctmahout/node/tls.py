"""TLS to receive and to send: version 1.2 or newer, certificates verified (PS3.15 B.9, B.10)."""

from __future__ import annotations

import ssl

from ..errors import ConfigError
from .config import Tls

__all__ = ["client_context", "server_context"]


def server_context(tls: Tls) -> ssl.SSLContext:
    """Return the context to receive by TLS 1.2 or newer; with authorities, senders need a certificate.

    Raises
    ------
    ConfigError
        CTM_NODE_CERTIFICATE.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    _load(context, tls)
    if tls.authorities:
        context.verify_mode = ssl.CERT_REQUIRED
    return context


def client_context(tls: Tls) -> ssl.SSLContext:
    """Return the context to send by TLS 1.2 or newer.

    Raises
    ------
    ConfigError
        CTM_NODE_CERTIFICATE.
    """
    context = ssl.create_default_context()
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    _load(context, tls)
    if not tls.verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


def _load(context: ssl.SSLContext, tls: Tls) -> None:
    file = tls.certificate
    try:
        if tls.certificate:
            context.load_cert_chain(tls.certificate, tls.key)
        if tls.authorities:
            file = tls.authorities
            context.load_verify_locations(tls.authorities)
    except (OSError, ssl.SSLError) as e:
        problem = e.strerror or type(e).__name__
        raise ConfigError("CTM_NODE_CERTIFICATE", path=file, problem=problem) from e
