"""The methods: how a volume becomes matrices, and how their factors become a volume again.

=========  =========================================================================================================
method     what the columns are
=========  =========================================================================================================
patches    voxels of a small patch, one matrix for each group of patches that look alike: takes noise out
slices     slices of the series, as in the pipeline of 2020: for repeated acquisitions, and as a reference
=========  =========================================================================================================
"""

from __future__ import annotations

from ..exchange import Manifest
from .method import Method, Progress, Result
from .patches.run import ModelRun, PatchesMethod
from .slices.run import SlicesMethod

__all__ = ["Method", "ModelRun", "Progress", "Result", "get_method", "method_that_wrote"]

_METHODS: dict[str, Method] = {"patches": PatchesMethod(), "slices": SlicesMethod()}


def get_method(name: str) -> Method:
    """Return the method of this name, one of `ctmahout.options.METHODS`."""
    return _METHODS[name]


def method_that_wrote(matrix: Manifest) -> Method:
    """Return the method that wrote a matrix; those of other writers are taken for ``slices``, which looks closer."""
    return _METHODS.get(str(matrix.layout.get("method")), _METHODS["slices"])
