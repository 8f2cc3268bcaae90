"""What the environment says of object stores: the variables that AWS's own tools read."""

from __future__ import annotations

import os
from urllib.parse import urlsplit

from ..errors import ConfigError

__all__ = ["endpoint", "region", "unsigned", "web_identity"]


def endpoint() -> str | None:
    """Return the URL of an S3-compatible store, None for AWS's own; what might be a secret in it is left out.

    Raises
    ------
    ConfigError
        CTM_CONFIG_VALUE: it is no URL of http or https.
    """
    for variable in ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL"):
        if given := os.environ.get(variable):
            parts = urlsplit(given)
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
    """Return the region that requests to a store of an `endpoint` are signed for."""
    return os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION") or "us-east-1"


def unsigned() -> bool:
    """Tell whether requests go out without credentials, as public buckets want them; GDAL reads this, too."""
    return os.environ.get("AWS_NO_SIGN_REQUEST", "").lower() in ("1", "true", "yes")


def web_identity() -> bool:
    """Tell whether credentials come for a token of the pod's service account."""
    return "AWS_WEB_IDENTITY_TOKEN_FILE" in os.environ
