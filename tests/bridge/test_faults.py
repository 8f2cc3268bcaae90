"""What can go wrong around a door: Ctrl-C, a jar that is not there, a cluster, a JVM that dies, memory."""

import json
import os
import signal
import socket
import subprocess
import sys
import time

import numpy as np
import pytest

from ctmahout.engine import Request, connect, find_java
from ctmahout.engine.jars import find_spark
from ctmahout.errors import CtmahoutError
from ctmahout.exchange import read_factors, write_matrix

pytestmark = pytest.mark.spark


@pytest.fixture(scope="module")
def many(tmp_path_factory):
    """A directory of 400 small matrices: some minutes of work, however fast the machine is."""
    path = tmp_path_factory.mktemp("many") / "m"
    random = np.random.default_rng(0)
    groups = [random.standard_normal((60, 12)) for _ in range(400)]
    write_matrix(path, groups, units="1", centring="none", layout={})
    return path


@pytest.mark.parametrize("door", ["py4j", "user", "jpype", "submit"])
def test_ctrl_c_stops_the_run_and_the_next_answer_is_its_own(python, many, tmp_path, door):
    told = python("interrupted.py", door, many, tmp_path)
    assert told["raised"] == "KeyboardInterrupt"
    assert told["seconds"] < 60
    assert told["left"] == []
    assert told["next"] == 0
    if door != "user":  # there it is PySpark's own
        assert told["handler"]
    if door == "user":
        assert told["session"] == 5


def test_a_jvm_that_is_killed_is_an_error_and_no_hang(many, tmp_path, monkeypatch):
    script = """
import os, signal, sys, threading, time
from pathlib import Path
from ctmahout.engine import Request, connect
from ctmahout.errors import EngineError
door = connect("py4j", master="local[1]")
def kill():
    while not list(Path(sys.argv[2]).parent.glob("f.partial-*")):
        time.sleep(0.1)
    os.kill(door._own._gateway.proc.pid, signal.SIGKILL)
threading.Thread(target=kill, daemon=True).start()
try:
    door.run(Request(sys.argv[1], sys.argv[2]))
except EngineError as e:
    sys.stdout.write(e.code + chr(10))
door.close()
with connect("py4j", master="local[1]") as door:    # and this process can go on
    sys.stdout.write(str(door.run(Request(sys.argv[1], sys.argv[2] + "2", groups=(1,)))["groups"][0]["group"]))
"""
    run = subprocess.run(
        [sys.executable, "-c", script, str(many), str(tmp_path / "f")], capture_output=True, text=True, timeout=200
    )
    assert run.stdout.split() == ["CTM_ENGINE_FAILED", "1"], run.stderr


@pytest.mark.parametrize("engine", ["py4j", "jpype", "submit"])
def test_too_little_memory_is_said_so(tmp_path, engine):
    write_matrix(tmp_path / "m", [np.ones((5000, 5000), np.float32)], units="1", centring="none", layout={})
    script = """
import sys
from ctmahout.engine import Request, connect
from ctmahout.errors import CtmahoutError
with connect(sys.argv[1], master="local[1]", driver_memory="480m") as door:
    try:
        door.run(Request(sys.argv[2], sys.argv[3]))
    except CtmahoutError as e:
        sys.stdout.write(e.code)
"""
    args = [engine, str(tmp_path / "m"), str(tmp_path / "f")]
    run = subprocess.run([sys.executable, "-c", script, *args], capture_output=True, text=True, timeout=200)
    assert run.stdout == "CTM_ENGINE_MEMORY", run.stderr[-3000:]
    assert [path.name for path in tmp_path.iterdir()] == ["m"]


def test_a_master_that_is_not_there(tmp_path, matrices):
    with connect("submit", master="spork://nowhere:1") as door, pytest.raises(CtmahoutError) as caught:
        door.run(Request(str(matrices[0] / "plain"), str(tmp_path / "f")))
    assert caught.value.code == "CTM_ENGINE_FAILED"
    assert "Master must" in caught.value.message  # Spark's own words


def test_a_session_without_the_jar(python):
    told = python("invisible.py", "nowhere", "local[1]")
    assert told["code"] == "CTM_JAR_INVISIBLE"
    assert "on the driver" in told["message"]
    assert "spark.jars" in told["hint"]
    assert ".jar" in told["hint"]
    assert told["alive"] == 3


# ---------------------------------------------------------------------------------------------------- a real cluster


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    """A standalone master and a worker with 2 cores, from the installed pyspark."""
    spark = find_spark()
    folder = tmp_path_factory.mktemp("cluster")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    url = f"spark://127.0.0.1:{port}"
    java = [str(find_java().path), "-cp", str(spark.home / "jars" / "*"), "-Xmx512m"]
    common = ["--host", "127.0.0.1", "--webui-port", "0"]
    module = "org.apache.spark.deploy"
    commands = [
        [*java, f"{module}.master.Master", *common, "--port", str(port)],
        [*java, f"{module}.worker.Worker", *common, "--cores", "2", "--memory", "2g", "--work-dir", str(folder), url],
    ]
    environment = {
        **os.environ,
        "SPARK_HOME": str(spark.home),
        "SPARK_LOCAL_IP": "127.0.0.1",
        "SPARK_SCALA_VERSION": spark.scala,
    }
    processes = []
    try:
        for number, command in enumerate(commands):
            log = (folder / f"{number}.log").open("wb")
            processes.append(subprocess.Popen(command, stdout=log, stderr=log, env=environment, start_new_session=True))
            log.close()
            wait_for(folder / f"{number}.log", "Successfully registered" if number else "I have been elected leader")
        yield url
    finally:
        for process in reversed(processes):
            os.killpg(process.pid, signal.SIGTERM)
            process.wait(30)


def wait_for(log, text):
    deadline = time.monotonic() + 90
    while text not in log.read_text(errors="replace"):
        assert time.monotonic() < deadline, log.read_text(errors="replace")
        time.sleep(0.2)


CLUSTER = {"spark.driver.host": "127.0.0.1", "spark.driver.bindAddress": "127.0.0.1", "spark.executor.memory": "512m"}


@pytest.mark.parametrize("engine", ["submit", "py4j"])
def test_a_cluster_gives_what_a_laptop_gives(cluster, matrices, tmp_path, engine):
    script = """
import json, sys
from ctmahout.engine import Request, connect
engine, master, source, target, conf = sys.argv[1:]
with connect(engine, master=master, conf=json.loads(conf)) as door:
    door.run(Request(source, target, k=8, q=2, p=6, partitions=3, want=("s", "v", "u")))
"""

    args = [engine, cluster, str(matrices[0] / "plain"), str(tmp_path / "f"), json.dumps(CLUSTER)]
    subprocess.run([sys.executable, "-c", script, *args], check=True, timeout=200)
    found = read_factors(tmp_path / "f")
    exact = np.linalg.svd(matrices[1]["plain"].astype(np.float64), compute_uv=False)
    np.testing.assert_allclose(found.s, exact[:8], rtol=1e-6)
    assert found.u.shape == (3000, 8)
    assert found.manifest.to_dict()["application_id"].startswith("app-")


@pytest.mark.parametrize(("what", "where"), [("driver only", "on the executors"), ("both", "")])
def test_a_session_on_a_cluster_with_the_jar_in_some_places(python, cluster, what, where):
    told = python("invisible.py", what, cluster)
    assert told["code"] == ("CTM_JAR_INVISIBLE" if where else "none")
    assert where in told.get("message", "")
    assert told["alive"] == 3
