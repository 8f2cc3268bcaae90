"""Local paths for data at any location, local or in an object store; output that appears complete or not at all.

`local_copy` yields a path for an input: a local path as it is, an object-store prefix as a temporary copy.
`upload_on_success` yields a path for an output, which is uploaded when the block succeeds, its manifest last.
"""

from __future__ import annotations

from .location import Location, Uri, hadoop_name, is_dicomweb, parse_location, refuse_overlap
from .transfer import children, local_copy, remove, siblings, upload_on_success

__all__ = [
    "Location",
    "Uri",
    "children",
    "hadoop_name",
    "is_dicomweb",
    "local_copy",
    "parse_location",
    "refuse_overlap",
    "remove",
    "siblings",
    "upload_on_success",
]
