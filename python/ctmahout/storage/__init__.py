"""Where data lies: a path here, or a prefix of an object store. The steps themselves only know paths.

`fetched` and `stored` stand around a step: an input is copied here for as long as the step takes, an output is written
here and then copied to its store, its manifest last. A path passes through both of them untouched.
"""

from __future__ import annotations

from .location import Location, Uri, hadoop_name, located, refuse_overlap
from .transfer import beside, fetched, remove, stored

__all__ = [
    "Location",
    "Uri",
    "beside",
    "fetched",
    "hadoop_name",
    "located",
    "refuse_overlap",
    "remove",
    "stored",
]
