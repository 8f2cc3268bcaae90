"""What is said of a run beside its series."""

from types import SimpleNamespace

import numpy as np
import pytest

from ctmahout import dssvd
from ctmahout.workflows.outputs import Provenance


@pytest.mark.parametrize(("method", "told"), [("slices", True), ("patches", False)])
def test_fewer_directions_than_asked_for_are_a_warning_where_they_mean_something_to_a_reader(method, told):
    """Of hundreds of groups of patches some always have fewer; the manifest says which."""
    factors = dssvd(np.outer(np.arange(9.0), [1.0, 2.0]), engine="numpy")
    assert len(factors.warnings) == 1
    run = SimpleNamespace(label=method, seed=0, method=method, series_sha256="0" * 64)
    provenance = Provenance.of_factors(run, factors)
    assert provenance.warnings == (factors.warnings if told else ())
    assert provenance.manifest["factors"]["warnings"] == list(factors.warnings)
