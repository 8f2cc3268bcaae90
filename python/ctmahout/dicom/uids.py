"""Identifiers that are made, not drawn: the same input and options give the same UIDs, on a retry as on a rerun."""

from __future__ import annotations

import uuid

__all__ = ["IMPLEMENTATION_CLASS_UID", "made_uid"]

_NAMESPACE = uuid.UUID("5f0f4b6c-6f0e-5c36-9d0c-3c9d7f2a8e11")


def made_uid(*parts: str) -> str:
    """Return a UID that follows from these parts: "2.25." and a UUID of version 5 as a number (PS3.5 B.2)."""
    return f"2.25.{uuid.uuid5(_NAMESPACE, chr(0).join(parts)).int}"


IMPLEMENTATION_CLASS_UID = made_uid("ctmahout", "implementation")
