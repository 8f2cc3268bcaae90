"""Spark Connect: a client without Spark has a table decomposed by a server in another process."""

import importlib.metadata
import json
import os
import signal
import socket
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import numpy as np
import pyspark
import pytest
from helpers import free_port

import ctmahout

pytestmark = [pytest.mark.spark, pytest.mark.xdist_group("connect")]

ROOT = Path(__file__).resolve().parents[2]
HERE = Path(__file__).parent
HOME = Path(pyspark.__path__[0])
# Spark 4 brings the server along; that of 3.5 comes from `make .venv-spark35/connect/ready`.
IS_OLD = pyspark.__version__.startswith("3.")
SERVER = [*HOME.glob("jars/spark-connect_*.jar"), *Path(sys.prefix, "connect").glob("*.jar")]
# A client that has no Spark of its own: the core and its extra `connect`. Spark 3.5 has no such package.
CLIENT = Path(sys.executable if IS_OLD else os.environ.get("CTMAHOUT_TEST_CONNECT", ROOT / ".venv-connect/bin/python"))


def start(folder, jars):
    """Start a server; return its process and address, when it answers."""
    port = free_port()
    settings = {
        "spark.connect.grpc.binding.port": port,
        "spark.driver.bindAddress": "127.0.0.1",
        "spark.driver.host": "127.0.0.1",
        "spark.ui.enabled": "false",
        "spark.sql.warehouse.dir": folder / "warehouse",
    }
    conf = [word for key, value in settings.items() for word in ("--conf", f"{key}={value}")]
    # What start-connect-server.sh runs, which pyspark 3.5 does not have.
    main = ["--class", "org.apache.spark.sql.connect.service.SparkConnectServer", "--master", "local[2]"]
    with (folder / "server.log").open("wb") as log:
        process = subprocess.Popen(
            [HOME / "bin" / "spark-submit", *main, "--jars", ",".join(map(str, jars)), *conf],
            env={**os.environ, "SPARK_HOME": str(HOME)},
            cwd=folder,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    for _ in range(600):
        with socket.socket() as s:
            if s.connect_ex(("127.0.0.1", port)) == 0:
                return process, f"sc://127.0.0.1:{port}"
        if process.poll() is not None:
            break
        time.sleep(0.2)
    stop(process)
    pytest.fail((folder / "server.log").read_text()[-3000:])


def stop(process):
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


@pytest.fixture(scope="module")
def matrix():
    random = np.random.default_rng(2)
    return random.standard_normal((300, 8)) * np.geomspace(50, 1, 8)


@pytest.fixture(scope="module")
def answer(jar, matrix, tmp_path_factory):
    """What the client printed, and its folder."""
    for there, target in ((SERVER, ".venv-spark35/connect/ready"), (CLIENT.exists(), ".venv-connect/ready")):
        if not there and os.environ.get("CI") == "true":
            pytest.fail(f"make {target}")
        if not there:
            pytest.skip(f"Spark Connect needs a server and a client: make {target}")
    folder = tmp_path_factory.mktemp("connect")
    np.save(folder / "a.npy", matrix)
    process, address = start(folder, [jar.path, *(SERVER if IS_OLD else [])])
    try:
        client = subprocess.run(
            [CLIENT, HERE / "connecting.py", address, folder], capture_output=True, text=True, timeout=180
        )
    finally:
        stop(process)
    assert client.returncode == 0, client.stdout[-2000:] + client.stderr[-4000:]
    return json.loads(client.stdout.splitlines()[-1]), folder


def test_the_factors_are_those_of_an_array(answer, matrix):
    with np.load(answer[1] / "found.npz") as found:
        s, v, u = found["s"], found["v"], found["u"]
    # With as many directions as columns the result is exact, whatever the projection.
    expected = ctmahout.dssvd(matrix, k=5, p=3, u=True, engine="numpy")
    np.testing.assert_allclose(s, expected.s, rtol=1e-10)
    np.testing.assert_allclose(v, expected.v, atol=1e-10)
    np.testing.assert_allclose(u, expected.u, atol=1e-10)


def test_u_is_a_dataframe_like_any_other(answer):
    assert (answer[0]["joined"], answer[0]["u of groups"]) == (10, 300)


def test_groups(answer, matrix):
    for g, s in answer[0]["groups"].items():
        np.testing.assert_allclose(s, np.linalg.svd(matrix[int(g) :: 2], compute_uv=False), rtol=1e-10)
    assert sorted(answer[0]["groups"]) == ["0", "1"]


@pytest.mark.spark4  # 3.5 has no client without a Spark of its own
def test_the_client_has_no_spark(answer):
    assert answer[0]["installed"] == []
    assert answer[0]["version"] == importlib.metadata.version("pyspark")


@pytest.mark.parametrize(
    ("what", "code", "words"),
    [
        ("k", "CTM_DATAFRAME_RANK", "99 components"),
        ("column", "CTM_DATAFRAME_COLUMN", "no column named b"),
        ("nan", "CTM_DATAFRAME_NOT_FINITE", "The row with i 7 has NaN or infinity in column a[0]"),
        ("query", "CTM_ENGINE_FAILED", "my own words"),
        ("estimator", "CTM_ML_CONNECT", "TruncatedSVD needs a classic Spark session"),
    ],
)
def test_errors_arrive_with_code_and_words(answer, what, code, words):
    assert answer[0]["codes"][what][0] == code
    assert words in answer[0]["codes"][what][1]


def test_an_interrupt_ends_the_call_and_not_the_session(answer):
    assert (answer[0]["interrupted"], answer[0]["alive"]) == (True, 3)
