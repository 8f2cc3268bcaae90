"""What can go wrong around an engine: Ctrl-C, a jar that is not there, a cluster, a JVM that dies, memory."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np
import pytest
from helpers import free_port

from ctmahout.engines import Request, connect, find_java
from ctmahout.engines.jars import find_spark
from ctmahout.errors import CtmahoutError
from ctmahout.exchange import read_factors, write_matrix

pytestmark = pytest.mark.spark


@pytest.mark.parametrize("engine", ["py4j", "user", "jpype", "submit"])
def test_ctrl_c_stops_the_run_and_the_next_answer_is_its_own(python, many, tmp_path, engine):
    told = python("interrupted.py", engine, many, tmp_path)
    assert told["raised"] == "KeyboardInterrupt"
    assert told["seconds"] < 60
    assert told["left"] == []
    assert told["next"] == 0
    if engine != "user":  # there it is PySpark's own
        assert told["handler"]
    if engine == "user":
        assert told["session"] == 5


def test_a_jvm_that_is_killed_is_an_error_and_no_hang(many, tmp_path, monkeypatch):
    script = """
import os, signal, sys, threading, time
from pathlib import Path
from ctmahout.storage.locks import hold
from ctmahout.engines import Request, connect
from ctmahout.errors import EngineError
engine = connect("py4j", master="local[1]")
def kill():
    while not list(Path(sys.argv[2]).parent.glob("f.partial-*/.claim")):
        time.sleep(0.1)
    os.kill(engine._started._gateway.proc.pid, signal.SIGKILL)
threading.Thread(target=kill, daemon=True).start()
try:
    engine.run(Request(sys.argv[1], sys.argv[2]))
except EngineError as e:
    sys.stdout.write(e.code + chr(10))
engine.close()
# And this process can go on; what the dead one left is cleared away, what another one writes is not.
ours = Path(sys.argv[2] + ".partial-00000000")
ours.mkdir()
with hold(ours), connect("py4j", master="local[1]") as engine:
    assert len(list(ours.parent.glob("f.partial-*"))) == 2
    sys.stdout.write(str(engine.run(Request(sys.argv[1], sys.argv[2], groups=(1,)))["groups"][0]["group"]))
"""
    run = subprocess.run(
        [sys.executable, "-c", script, str(many), str(tmp_path / "f")], capture_output=True, text=True, timeout=200
    )
    assert run.stdout.split() == ["CTM_ENGINE_FAILED", "1"], run.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["f", "f.partial-00000000"]
    assert not [path for path in (tmp_path / "f").iterdir() if path.name.startswith(".")]


@pytest.fixture(scope="module")
def wide(tmp_path_factory):
    """More than 512 MB are good for: 5,000 columns."""
    path = tmp_path_factory.mktemp("wide") / "m"
    write_matrix(path, [np.ones((5000, 5000), np.float32)], units="1", centring="none", layout={})
    return path


@pytest.mark.parametrize("engine", ["py4j", "jpype", "submit"])
def test_too_little_memory_is_said_so(tmp_path, wide, engine):
    script = """
import sys
from ctmahout.engines import Request, connect
from ctmahout.errors import CtmahoutError
with connect(sys.argv[1], master="local[1]", driver_memory="512m") as engine:
    try:
        engine.run(Request(sys.argv[2], sys.argv[3]))
    except CtmahoutError as e:
        sys.stdout.write(e.code)
"""
    args = [engine, str(wide), str(tmp_path / "f")]
    run = subprocess.run([sys.executable, "-c", script, *args], capture_output=True, text=True, timeout=200)
    assert run.stdout == "CTM_ENGINE_MEMORY", run.stderr[-3000:]
    assert list(tmp_path.iterdir()) == []


def test_a_master_that_is_not_there(tmp_path, matrices):
    with connect("submit", master="spork://nowhere:1") as engine, pytest.raises(CtmahoutError) as caught:
        engine.run(Request(str(matrices[0] / "plain"), str(tmp_path / "f")))
    assert caught.value.code == "CTM_ENGINE_FAILED"
    assert "Master must" in caught.value.message  # Spark's own words


def test_a_full_disk_under_spark_is_said_so(tmp_path, tall):
    small = tmp_path / "small"
    small.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=300k", "tmpfs", small], capture_output=True).returncode:
        (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)("no right to mount a small disk")
    conf = {"spark.local.dir": str(small)}
    try:
        with connect("submit", master="local[2]", conf=conf) as engine, pytest.raises(CtmahoutError) as caught:
            engine.run(Request(str(tall), str(tmp_path / "f"), k=20, partitions=5))
    finally:
        subprocess.run(["umount", small], check=True)
    assert caught.value.code == "CTM_ENGINE_FAILED"
    assert "No space left" in caught.value.message
    assert [path.name for path in tmp_path.iterdir()] == ["small"]


def test_a_session_without_the_jar(python):
    told = python("invisible.py", "nowhere", "local[1]")
    assert told["code"] == "CTM_JAR_INVISIBLE"
    assert "on the driver" in told["message"]
    assert "spark.jars" in told["hint"]
    assert ".jar" in told["hint"]
    assert told["of a DataFrame"][0] == "CTM_JAR_INVISIBLE"
    assert "on the driver" in told["of a DataFrame"][1]
    assert told["of an estimator"] == "CTM_JAR_INVISIBLE"
    assert told["alive"] == 3


# ---------------------------------------------------------------------------------------------------- a real cluster


@contextmanager
def standalone(folder, *workers):
    """A standalone master from the installed pyspark, and a worker for each host and its cores: URL and processes."""
    spark = find_spark()
    port = free_port()
    url = f"spark://127.0.0.1:{port}"
    java = [str(find_java().path), "-cp", str(spark.home / "jars" / "*"), "-Xmx512m"]
    module = "org.apache.spark.deploy"
    commands = [("127.0.0.1", [f"{module}.master.Master", "--port", str(port)])]
    commands += [
        (host, [f"{module}.worker.Worker", "--cores", str(cores), "--memory", "2g", "--work-dir", str(folder), url])
        for host, cores in workers
    ]
    processes = []
    try:
        for number, (host, (name, *arguments)) in enumerate(commands):
            environment = {
                **os.environ,
                "SPARK_HOME": str(spark.home),
                "SPARK_LOCAL_IP": host,
                "SPARK_SCALA_VERSION": spark.scala,
            }
            command = [*java, name, "--host", host, "--webui-port", "0", *arguments]
            log = (folder / f"{number}.log").open("wb")
            processes.append(subprocess.Popen(command, stdout=log, stderr=log, env=environment, start_new_session=True))
            log.close()
            wait_for(folder / f"{number}.log", "Successfully registered" if number else "I have been elected leader")
        yield url, processes
    finally:
        for process in reversed(processes):
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGTERM)
            process.wait(30)


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    """A master and a worker with 2 cores."""
    with standalone(tmp_path_factory.mktemp("cluster"), ("127.0.0.1", 2)) as (url, _):
        yield url


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
from ctmahout.engines import Request, connect
name, master, source, target, conf = sys.argv[1:]
with connect(name, master=master, conf=json.loads(conf)) as engine:
    engine.run(Request(source, target, k=8, q=2, p=6, partitions=3, want=("s", "v", "u")))
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
    of_dataframe = told.get("of a DataFrame", ("none", ""))
    assert of_dataframe[0] == told["code"], of_dataframe[1]
    assert where in of_dataframe[1]
    assert told["alive"] == 3


# Speculation copies a task to another host only, and 127.0.0.2 is one.
PAIR = [("127.0.0.1", 1), ("127.0.0.2", 1)]


def through_submit(url, source, target, disturb=None, **conf):
    """Decompose by spark-submit, and meanwhile `disturb`; give the events of what became of executors and tasks."""
    events = target.with_suffix(".events")
    events.mkdir()
    disturbed = []

    def later():
        # The first jobs read the rows and keep them; then the power iterations begin, a job each.
        deadline = time.monotonic() + 90
        while count(events, "SparkListenerJobEnd") < 4 and time.monotonic() < deadline:
            time.sleep(0.1)
        disturb()
        disturbed.append(bool(list(target.parent.glob(f"{target.name}.partial-*"))))

    thread = threading.Thread(target=later if disturb else lambda: disturbed.append(True))
    thread.start()
    settings = {
        "spark.driver.host": "127.0.0.1",
        "spark.driver.bindAddress": "127.0.0.1",
        "spark.executor.memory": "512m",
        "spark.executor.cores": "1",
        "spark.eventLog.enabled": "true",
        "spark.eventLog.dir": events.as_uri(),
        "spark.eventLog.compress": "false",
    }
    with connect("submit", master=url, conf=settings | conf) as engine:
        engine.run(Request(str(source), str(target), k=20, p=5, q=8, partitions=9, want=("s", "v", "u")))
    thread.join()
    assert disturbed == [True], "the run was over before it was disturbed"
    return lines(events, "SparkListenerExecutorRemoved"), lines(events, "SparkListenerTaskEnd")


def log(events):
    """Return the text of Spark's event log, also while it is being written."""
    files = [path for path in events.rglob("*") if path.is_file() and not path.name.startswith(".")]
    return "".join(path.read_text(errors="replace") for path in files)


def count(events, kind):
    """Return how many events of a kind there are; it is asked often, so nothing is parsed."""
    return log(events).count(f'"{kind}"')


def lines(events, kind):
    """Return the events of a kind."""
    return [json.loads(line) for line in log(events).splitlines() if f'"{kind}"' in line and line.endswith("}")]


def check_same(one, other):
    """Check that two factors directories hold the same bits."""
    one, other = read_factors(one), read_factors(other)
    for name in ("s", "v", "u"):
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name))
    assert one.manifest.groups[0].checksums == other.manifest.groups[0].checksums


@pytest.fixture(scope="module")
def tall(tmp_path_factory):
    """Too much for one task, and some seconds of work in ten jobs."""
    path = tmp_path_factory.mktemp("tall") / "m"
    A = np.random.default_rng(3).standard_normal((90_000, 100), np.float32)
    A *= np.geomspace(100, 1, 100, dtype=np.float32)
    write_matrix(path, [A], units="1", centring="none", layout={})
    return path


def executors_of(worker):
    """Return the processes that a worker has started."""
    return [int(p.parent.name) for p in Path("/proc").glob("[0-9]*/stat") if parent(p) == worker.pid]


def parent(stat):
    with suppress(OSError):
        return int(stat.read_text().rpartition(")")[2].split()[1])
    return None


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    """A cluster of two workers: its URL, and the second of them, which the last test may kill."""
    with standalone(tmp_path_factory.mktemp("pair"), *PAIR) as (url, (_, _, worker)):
        yield url, worker


@pytest.fixture(scope="module")
def undisturbed(pair, tall, tmp_path_factory):
    """The factors that two workers give when nothing happens."""
    folder = tmp_path_factory.mktemp("undisturbed")
    _, tasks = through_submit(pair[0], tall, folder / "f")
    assert {task["Task Info"]["Host"] for task in tasks} == {host for host, _ in PAIR}
    assert not any(task["Task Info"]["Failed"] or task["Task Info"]["Speculative"] for task in tasks)
    return folder / "f"


@pytest.mark.release
def test_tasks_that_are_done_twice_change_no_bit(pair, tall, undisturbed, tmp_path):
    url, worker = pair

    def stand_still():
        for _ in range(3):
            for number in executors_of(worker):
                os.kill(number, signal.SIGSTOP)
            time.sleep(1)
            for number in executors_of(worker):
                os.kill(number, signal.SIGCONT)
            time.sleep(0.3)

    speculation = {"interval": "50ms", "quantile": "0.3", "multiplier": "1.2"}
    conf = {"spark.speculation": "true"} | {f"spark.speculation.{key}": value for key, value in speculation.items()}
    # A copy would wait for three seconds to run where its rows are: beside the task, where everything stands still.
    conf["spark.locality.wait"] = "0"
    _, tasks = through_submit(url, tall, tmp_path / "f", stand_still, **conf)
    assert any(task["Task Info"]["Speculative"] for task in tasks)
    check_same(tmp_path / "f", undisturbed)


def test_a_worker_that_is_killed_in_mid_job_changes_no_bit(pair, tall, undisturbed, tmp_path):
    url, worker = pair

    def kill():
        assert executors_of(worker)
        os.killpg(worker.pid, signal.SIGKILL)

    lost, tasks = through_submit(url, tall, tmp_path / "f", kill)
    assert len(lost) >= 1
    hosts = [task["Task Info"]["Host"] for task in tasks if not task["Task Info"]["Failed"]]
    assert len(set(hosts)) == 2
    assert set(hosts[-9:]) == {"127.0.0.1"}  # which did the other's work as well
    check_same(tmp_path / "f", undisturbed)
