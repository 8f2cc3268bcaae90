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
from urllib.request import urlopen

import numpy as np
import pyspark
import pytest
from helpers import free_port, missing, tree

import ctmahout
from ctmahout.exchange import read_manifest
from ctmahout.workflows.phantom import write_phantom

pytestmark = [pytest.mark.spark, pytest.mark.xdist_group("connect")]

TIME = "2026-01-31T12:00:00+00:00"
ROOT = Path(__file__).resolve().parents[2]
HERE = Path(__file__).parent
HOME = Path(pyspark.__path__[0])
# Spark 4 brings the server along; that of 3.5 comes from `make .venv-spark35/connect/ready`.
IS_OLD = pyspark.__version__.startswith("3.")
SERVER = [*HOME.glob("jars/spark-connect_*.jar"), *Path(sys.prefix, "connect").glob("*.jar")]
# A client that has no Spark of its own: the core and its extra `connect`. Spark 3.5 has no such package.
CLIENT = Path(sys.executable if IS_OLD else os.environ.get("CTMAHOUT_TEST_CONNECT", ROOT / ".venv-connect/bin/python"))


def start(folder, jars):
    """Start a server; return its process, its address and that of its page, when it answers."""
    port, page = free_port(), free_port()
    settings = {
        "spark.connect.grpc.binding.port": port,
        "spark.driver.bindAddress": "127.0.0.1",
        "spark.driver.host": "127.0.0.1",
        "spark.ui.port": page,
        "spark.sql.warehouse.dir": folder / "warehouse",
        # Which Spark 4 has by itself: other products, other bits.
        "spark.driver.extraJavaOptions": "--add-modules=jdk.incubator.vector",
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
                return process, f"sc://127.0.0.1:{port}", f"http://127.0.0.1:{page}"
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
def server(jar, tmp_path_factory):
    """Address, page and folder of a server; the folder is the one that it runs in."""
    for there, target in ((SERVER, ".venv-spark35/connect/ready"), (CLIENT.exists(), ".venv-connect/ready")):
        if not there:
            missing(f"Spark Connect needs a server and a client: make {target}")
    folder = tmp_path_factory.mktemp("server")
    process, address, page = start(folder, [jar.path, *(SERVER if IS_OLD else [])])
    yield address, page, folder
    stop(process)


def client(*arguments, **more):
    """Run the client's Python; return what it printed last, as JSON."""
    done = subprocess.run([CLIENT, *map(str, arguments)], capture_output=True, text=True, timeout=300, **more)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
    return json.loads(done.stdout.splitlines()[-1])


@pytest.fixture(scope="module")
def answer(server, matrix, tmp_path_factory):
    """What the client printed, and its folder."""
    folder = tmp_path_factory.mktemp("connect")
    np.save(folder / "a.npy", matrix)
    return client(HERE / "connecting.py", server[0], folder), folder


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


# ------------------------------------------------------------------------------------ directories that both see


@pytest.fixture(scope="module")
def both(server, tmp_path_factory):
    """The folder of what a client of the server has written, and that of the engine in the process."""
    folder = tmp_path_factory.mktemp("both")
    write_phantom(folder / "scan", size=96, slices=6, dose=0.05)
    script, scan = HERE / "denoising.py", folder / "scan" / "noisy"
    client(script, server[0], scan, folder / "there")
    subprocess.run([sys.executable, script, "local[2]", scan, folder / "here"], check=True, timeout=300)
    command = [CLIENT.with_name("ctmahout"), "denoise", scan, folder / "by-master", "--master", server[0]]
    subprocess.run([*command, "--effort", "fast", "--no-report", "--timestamp", TIME], check=True, timeout=300)
    return folder


def test_the_server_writes_the_values_of_the_engine_in_the_process(both):
    here, there = (read_manifest(both / where / "factors", "factors") for where in ("here", "there"))
    # Checksums of all values; the names of files have numbers of Spark's tasks.
    assert here.groups == there.groups
    assert here.request == there.request


@pytest.mark.parametrize("what", ["denoised/auto", "model"])
def test_what_is_made_of_them_has_the_same_bytes(both, what):
    assert tree(both / "here" / what) == tree(both / "there" / what) != {}


def test_a_master_is_as_good_as_a_session(both):
    assert tree(both / "by-master" / "auto") == tree(both / "there" / "denoised" / "auto")
    assert [path.name for path in both.glob("by-master.*")] == []


def test_an_array_goes_through_a_folder_that_the_server_sees(answer, matrix):
    expected = np.linalg.svd(matrix, compute_uv=False)[:5]
    np.testing.assert_allclose(answer[0]["of an array"], expected, rtol=1e-10)
    assert answer[0]["left"] == ["a.npy", "client", "found.npz", "matrix", "table.parquet"]


@pytest.mark.parametrize(
    ("what", "code", "words"),
    [
        ("flipped bit", "CTM_EXCHANGE_CORRUPT", "cannot be read as Parquet"),
        ("nowhere", "CTM_INPUT_NOT_FOUND", "nowhere does not exist"),
        ("not seen there", "CTM_CONNECT_STORAGE", "unseen/matrix as this process: the server says: "),
        ("not seen here", "CTM_CONNECT_STORAGE", "elsewhere as this process: the server has written the factors"),
        ("spread", "CTM_SPARK_CONNECT", "To spread work over executors needs a classic Spark session"),
    ],
)
def test_what_a_server_cannot_do_has_a_code(answer, what, code, words):
    assert answer[0]["codes"][what][0] == code
    assert words in answer[0]["codes"][what][1]


def test_ctrl_c_leaves_no_job_on_the_server(server, many, tmp_path):
    address, page, _ = server
    told = client(HERE / "interrupted.py", address, many, tmp_path)
    assert (told["raised"], told["left"], told["next"]) == ("KeyboardInterrupt", [], 0)
    assert told["seconds"] < 60
    with urlopen(f"{page}/api/v1/applications") as applications:
        jobs = f"{page}/api/v1/applications/{json.load(applications)[0]['id']}/jobs"
    with urlopen(jobs) as text:
        states = [job["status"] for job in json.load(text) if job.get("jobGroup", "").startswith("ctmahout-")]
    assert "FAILED" in states
    assert "RUNNING" not in states


def test_an_interrupt_ends_the_call_and_not_the_session(answer):
    assert (answer[0]["interrupted"], answer[0]["alive"]) == (True, 3)
