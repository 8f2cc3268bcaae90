"""Settings of object stores from the environment variables that AWS's tools read."""

from __future__ import annotations

import os
from urllib.parse import urlsplit

from ..errors import ConfigError

__all__ = ["endpoint", "region", "unsigned", "web_identity"]


def endpoint() -> str | None:
    """Return the URL of an S3-compatible store, without user and password; None for AWS.

    Raises
    ------
    ConfigError
        CTM_CONFIG_VALUE: not an http or https URL.
    """
    for variable in ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL"):
        if url := os.environ.get(variable):
            parts = urlsplit(url)
            host = parts.netloc.rpartition("@")[2]
            if parts.scheme not in ("http", "https") or not host:
                raise ConfigError(
                    "CTM_CONFIG_VALUE",
                    source="environment",
                    key=variable,
                    value="something else",
                    expected="a URL such as https://HOST:PORT",
                )
            return f"{parts.scheme}://{host}"
    return None


def region() -> str:
    """Return the region for which requests to an `endpoint` are signed."""
    return os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION") or "us-east-1"


def unsigned() -> bool:
    """Return whether requests are sent without credentials, as for public buckets."""
    return os.environ.get("AWS_NO_SIGN_REQUEST", "").lower() in ("1", "true", "yes")


def web_identity() -> bool:
    """Return whether credentials come from the token of the pod's service account."""
    return "AWS_WEB_IDENTITY_TOKEN_FILE" in os.environ
