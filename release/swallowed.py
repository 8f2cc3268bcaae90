"""For griffe, which compares the names of two releases: parameters that a function would swallow are compared, too.

A function that takes `**options` accepts any keyword, so griffe passes over one that is gone, or has another name. The
options themselves are fields of `Config`, which griffe compares.
"""

from __future__ import annotations

from typing import Any

import griffe


class Swallowed(griffe.Extension):  # type: ignore[misc]  # of a package that is not installed here
    """Takes `**options` off each function that is read."""

    def on_function(self, *, func: griffe.Function, **_: Any) -> None:
        """Leave the parameters that have a name."""
        func.parameters = griffe.Parameters(
            *(parameter for parameter in func.parameters if parameter.kind is not griffe.ParameterKind.var_keyword)
        )
