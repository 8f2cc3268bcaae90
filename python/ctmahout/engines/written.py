"""Manifests of directories that a driver or a server reads and writes, where this process sees them."""

from __future__ import annotations

from typing import Any

from ..errors import CtmahoutError
from ..exchange import is_manifest, read_manifest
from ..storage import local_copy, parse_location
from .request import Request

__all__ = ["manifest_at", "written_manifest"]


def manifest_at(location: str, kind: str) -> dict[str, Any]:
    """Return the manifest of a directory of this kind ("matrix" or "factors") at a path or URI."""
    with local_copy(parse_location(location), is_manifest) as folder:
        return read_manifest(folder, kind).to_dict()


def written_manifest(request: Request) -> dict[str, Any] | None:
    """Return the manifest of the factors that a request has written; None if this process does not see them."""
    try:
        return manifest_at(request.output, "factors")
    except CtmahoutError as e:
        if e.code != "CTM_INPUT_NOT_FOUND":
            raise
        return None
