"""What the tests of the engines share: a matrix, and Python processes of their own, for a process has one JVM only."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyspark
import pytest

from ctmahout.engines import find_jar
from ctmahout.errors import EngineError
from ctmahout.exchange import write_matrix

HERE = Path(__file__).parent

# What these fixtures make takes long, and each of pytest's workers would make its own.
SHARED = ("through", "cluster", "undisturbed", "warmed_up")


# Of tests for one line of Spark, the mark of the other line.
OTHER_LINE = "spark4" if pyspark.__version__.startswith("3.") else "spark35"


# First of all: xdist reads the groups in this hook too, and comes before us if the command line names this folder.
@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config, items):
    other = [item for item in items if item.get_closest_marker(OTHER_LINE)]
    if other:
        config.hook.pytest_deselected(items=other)
        items[:] = [item for item in items if item not in other]
    for item in items:
        for name in SHARED:
            if name in item.fixturenames:
                item.add_marker(pytest.mark.xdist_group(name))


@pytest.fixture(scope="session", autouse=True)
def jar():
    """The jar for this Spark; without it there is nothing to test."""
    try:
        return find_jar()
    except EngineError as e:
        if os.environ.get("CI") == "true":
            pytest.fail(str(e))
        pytest.skip(str(e))


@pytest.fixture(scope="session")
def python():
    """Runs a script of this folder, and returns what it printed last, as JSON."""

    def run(script, *args, environment=None, fine=True, timeout=300):
        process = subprocess.run(
            [sys.executable, str(HERE / script), *map(str, args)],
            capture_output=True,
            text=True,
            timeout=timeout,
            env={**os.environ, **(environment or {})},
        )
        if fine:
            assert process.returncode == 0, process.stdout[-2000:] + process.stderr[-4000:]
        return json.loads(process.stdout.splitlines()[-1])

    return run


@pytest.fixture(scope="session")
def matrices(tmp_path_factory):
    """A folder of matrix directories, and the arrays in them by name."""
    folder = tmp_path_factory.mktemp("matrices")
    random = np.random.default_rng(5)

    def made(s, m, n):
        U = np.linalg.qr(random.standard_normal((m, len(s))))[0]
        V = np.linalg.qr(random.standard_normal((n, len(s))))[0]
        return (U * s) @ V.T

    arrays = {
        "plain": (100 * made(0.7 ** np.arange(24), 3000, 24)).astype(np.float32),
        "double": made(np.geomspace(1, 1e-8, 12), 400, 12),
        "deficient": (random.integers(-9, 9, (900, 5)) @ random.integers(-9, 9, (5, 30))).astype(np.float32),
        "zero": np.zeros((40, 3), np.float32),
        "column": random.standard_normal((50, 1)).astype(np.float32),
        "square": random.standard_normal((9, 9)),
        "shifted": (made(np.geomspace(90, 4, 10), 1500, 10) + random.uniform(-50, 50, 10)).astype(np.float32),
    }
    for name, A in arrays.items():
        write_matrix(folder / name, [A], dtype=A.dtype.name, units="1", centring="none", layout={})
    return folder, arrays


@pytest.fixture(scope="session")
def many(tmp_path_factory):
    """A directory of 20,000 small matrices: ten seconds of work for two cores, in a JVM that is warm."""
    path = tmp_path_factory.mktemp("many") / "m"
    random = np.random.default_rng(0)
    groups = [random.standard_normal((60, 12)) for _ in range(20_000)]
    write_matrix(path, groups, units="1", centring="none", layout={})
    return path
