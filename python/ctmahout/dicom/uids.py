"""Deterministic UIDs: the same input and options give the same identifiers, in a retry and in a later run."""

from __future__ import annotations

import uuid

__all__ = ["IMPLEMENTATION_CLASS_UID", "deterministic_uid"]

_NAMESPACE = uuid.UUID("5f0f4b6c-6f0e-5c36-9d0c-3c9d7f2a8e11")


def deterministic_uid(*parts: str) -> str:
    """Return the UID of these parts: "2.25." followed by a UUID of version 5 as an integer (PS3.5 B.2)."""
    return f"2.25.{uuid.uuid5(_NAMESPACE, chr(0).join(parts)).int}"


IMPLEMENTATION_CLASS_UID = deterministic_uid("ctmahout", "implementation")
