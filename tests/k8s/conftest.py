"""What the tests on a real Kubernetes share: the node, a matrix on a volume, and a namespace for each test.

They run by `make k8s` only, as root, and fail where something is missing. Each test says what it saw, by `row`; the
table of all stands at the end.
"""

import itertools
import os
from pathlib import Path

import numpy as np
import pytest
from helpers import wait
from namespace import Namespace
from node import Node

from ctmahout.engines import Request, connect
from ctmahout.exchange import read_factors, write_matrix

_numbers = itertools.count(1)


def pytest_terminal_summary(terminalreporter):
    """The table of acceptance: test, outcome, seconds, and what was seen."""
    reports = [r for kind in ("passed", "failed", "error") for r in terminalreporter.stats.get(kind, ())]
    terminalreporter.section("as seen on a real Kubernetes")
    for report in reports:
        if report.when == "call":
            name = report.nodeid.rpartition("::")[2].removeprefix("test_").replace("_", " ")
            seen = dict(report.user_properties).get("seen", "")
            terminalreporter.line(f"| {name} | {report.outcome} | {report.duration:.0f} s | {seen} |")


@pytest.fixture(scope="session")
def build():
    """The folder of `run.sh`: programs, images, logs."""
    if "K8S_BUILD" not in os.environ:
        pytest.fail("there is no node: these tests run by `make k8s`")
    return Path(os.environ["K8S_BUILD"])


@pytest.fixture(scope="session")
def node(build):
    """The node, ready."""
    with Node(build / "images.tar") as started:
        yield started


@pytest.fixture(scope="session")
def image():
    return os.environ["K8S_IMAGE"]


@pytest.fixture(scope="session")
def data(tmp_path_factory):
    """The folder behind every claim, `/data` in pods: with a matrix that takes some seconds, in many tasks."""
    folder = tmp_path_factory.mktemp("data")
    folder.chmod(0o777)
    random = np.random.default_rng(3)
    A = random.standard_normal((60_000, 60), np.float32) * np.geomspace(100, 1, 60, dtype=np.float32)
    write_matrix(folder / "m", [A], units="1", centring="none", layout={})
    return folder


@pytest.fixture(scope="session")
def local(data, tmp_path_factory):
    """The singular values of the request of the tests, by Spark on this machine."""
    target = tmp_path_factory.mktemp("local") / "f"
    conf = {"spark.ctmahout.groupInTask": "0"}
    with connect("submit", master="local[2]", conf=conf) as engine:
        engine.run(Request(str(data / "m"), str(target), k=20, p=5, q=20, partitions=9))
    return read_factors(target).s


@pytest.fixture
def new_namespace(node, image, data):
    """Makes namespaces; nothing of a run is left in them, and they are removed."""
    made = []

    def make(*roles, **options):
        made.append(Namespace(node, f"imaging-{next(_numbers)}", image, data, *roles, **options))
        return made[-1]

    yield make
    left = [wait_until_empty(namespace) for namespace in made]
    for namespace in made:
        namespace.remove()
    assert not any(left), left


@pytest.fixture
def namespace(new_namespace):
    """A restricted namespace with the roles and the claim that we ship."""
    return new_namespace()


def wait_until_empty(namespace):
    """What is left in a namespace: what a driver owned goes some seconds after it, or minutes after an outage."""
    wait(lambda: not namespace.left(), 180)
    return namespace.left()


@pytest.fixture
def is_right(data, local, row):
    """Checks factors, by their name, against those of this machine."""

    def check(name):
        s = read_factors(data / name).s
        np.testing.assert_allclose(s, local, rtol=1e-10)
        row(f"right, largest difference {np.abs(s - local).max():.1g}")

    return check


@pytest.fixture
def row(record_property):
    """Notes what was seen, for the table."""
    return lambda seen: record_property("seen", seen)
