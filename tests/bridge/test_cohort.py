"""A cohort on executors: interrupted, an executor killed, a bad series, and the bytes of the loop."""

import re
import subprocess
import sys
import time

import pytest
from cohort import OPTIONS
from helpers import free_port, tree
from many_series import write_many

from ctmahout import denoise_study, read_results
from ctmahout.engines.jars import find_spark

pytestmark = pytest.mark.spark


def images(folder):
    return {name: data for name, data in tree(folder).items() if name.endswith(".dcm")}


@pytest.fixture
def standalone(tmp_path):
    """A standalone Spark: a master, and a worker with two cores."""
    port = free_port()
    url = f"spark://127.0.0.1:{port}"
    start = [str(find_spark().home / "bin" / "spark-class")]
    master = [*start, "org.apache.spark.deploy.master.Master", "--host", "127.0.0.1", "--port", str(port)]
    worker = [*start, "org.apache.spark.deploy.worker.Worker", "--host", "127.0.0.1", "--cores", "2", "--memory", "3g"]
    logs = tmp_path / "standalone.log"
    with logs.open("wb") as log:
        daemons = [
            subprocess.Popen([*command, "--webui-port", "0"], cwd=tmp_path, stdout=log, stderr=log)
            for command in (master, [*worker, "--work-dir", str(tmp_path / "workers"), url])
        ]
        try:
            deadline = time.monotonic() + 120
            while "Successfully registered with master" not in logs.read_text(errors="replace"):
                assert time.monotonic() < deadline, logs.read_text(errors="replace")
                time.sleep(0.2)
            yield url
        finally:
            for daemon in daemons:
                daemon.kill()
                daemon.wait()


def check(python, tmp_path, count, master):
    """Denoise `count` series on a cluster, with everything that may happen, and by the loop."""
    source = write_many(tmp_path, count)
    (source / "2" / "slice-0003.dcm").unlink()
    for folder in ("out", "events"):
        (tmp_path / folder).mkdir()
    told = python(
        "cohort.py",
        source,
        tmp_path / "out" / "cohort",
        master,
        (tmp_path / "events").as_uri(),
        environment={"PYSPARK_PYTHON": sys.executable},
        timeout=1000 if count > 50 else 300,
    )
    assert told["active"] == 0
    assert told["killed"]
    first = told["killed and gone on with"]
    assert first["failed CTM_SLICE_UNEVEN"] == 1
    assert first["kept"] >= 1
    assert first["kept"] + first["done"] == count - 1
    assert told["again"] == {"kept": count - 1, "failed CTM_SLICE_UNEVEN": 1}
    assert not list((tmp_path / "out" / "cohort").glob("*.partial-*"))

    loop = denoise_study(source, tmp_path / "loop", engine="numpy", **OPTIONS)
    assert images(tmp_path / "out" / "cohort") == images(tmp_path / "loop")
    tables = [
        read_results(folder / "results.parquet").rows for folder in (tmp_path / "out" / "cohort", tmp_path / "loop")
    ]
    untimed = [[{k: v for k, v in row.items() if k not in ("seconds", "outcome")} for row in table] for table in tables]
    assert untimed[0] == untimed[1]
    assert [row["number"] for row in tables[0]] == [series.number for series in loop.series]

    assert told["each"] == {"1 + 1": 2, "__import__('os')._exit(1)": "CTM_ENGINE_FAILED", "3 * 3": 9}
    assert images(tmp_path / "out" / "mahout in a task") == images(tmp_path / "out" / "mahout here") != {}
    log = "".join(file.read_text(errors="replace") for file in (tmp_path / "events").rglob("*") if file.is_file())
    described = {int(number) for number in re.findall(rf"ctmahout: series (\d+) of {count}, series-", log)}
    assert described == set(range(1, count + 1))
    assert "ctmahout: series 1 of 1, series-" in log


def test_a_cohort_on_executors_is_that_of_the_loop(python, tmp_path):
    check(python, tmp_path, 8, "local-cluster[2,1,1024]")


@pytest.mark.release
@pytest.mark.timeout(1200)
def test_a_hundred_series_on_a_standalone_cluster(python, tmp_path, standalone):
    check(python, tmp_path, 100, standalone)


@pytest.mark.release
@pytest.mark.timeout(1200)
def test_a_hundred_series_on_executors(python, tmp_path):
    check(python, tmp_path, 100, "local-cluster[2,1,2048]")
