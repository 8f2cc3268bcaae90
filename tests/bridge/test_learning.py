"""A model learnt on the executors: Python workers of Spark, the same functions, the same bytes."""

import pytest
from helpers import tree

from ctmahout.workflows.phantom import write_phantom

pytestmark = pytest.mark.spark


def test_executors_and_threads_learn_the_same_model(python, tmp_path):
    for seed in (1, 2):
        write_phantom(tmp_path / "scans" / str(seed), size=112, slices=8, dose=0.05, seed=seed)
    told = python("learning.py", tmp_path / "scans", tmp_path / "out")
    assert told["executors"] == told["threads"]
    assert tree(tmp_path / "out" / "executors") == tree(tmp_path / "out" / "threads")
    assert told["as a matrix"] == "CTM_EXCHANGE_KIND"
    assert not (tmp_path / "out" / "factors").exists()
