"""`ctmahout dssvd` on a real Kubernetes: what this machine gives, whatever happens to pods, node and API server."""

import signal
import subprocess
import sys
import time
from collections import Counter

import pytest
from helpers import tree, wait
from many_series import write_many
from namespace import LONG
from node import kill_in_pod

from ctmahout import read_results

pytestmark = pytest.mark.k8s

TWO = {"spark.executor.instances": "2"}


def end(process):
    out, err = process.communicate(timeout=300)
    assert process.returncode == 0, out + err[-4000:]


def test_two_executors_in_a_restricted_namespace_with_our_roles(namespace, node, is_right):
    process = namespace.start("/data/m", "/data/two", *LONG, **TWO)
    namespace.mid_job(process, executors=2)
    end(process)
    is_right("two")
    # Gone when the command returns, not some time later.
    assert namespace.pods("driver") == []
    for account in ("ctmahout", "ctmahout-launcher"):
        requests = node.requests(f"system:serviceaccount:{namespace.name}:{account}")
        assert requests
        assert [request for request in requests if request[2] in (401, 403)] == []


def test_an_executor_is_deleted_in_mid_job(namespace, is_right):
    process = namespace.start("/data/m", "/data/executor-deleted", *LONG, **TWO)
    victim = namespace.mid_job(process, executors=2)[0]["metadata"]["name"]
    namespace.kubectl("delete", "pod", victim, "--wait=false")
    names = set()
    while process.poll() is None:
        names |= {pod["metadata"]["name"] for pod in namespace.pods("executor")}
        time.sleep(0.5)
    end(process)
    assert len(names) >= 3  # it was replaced
    is_right("executor-deleted")


def test_the_driver_is_deleted_and_the_same_command_again(namespace, is_right):
    process = namespace.start("/data/m", "/data/driver-deleted", *LONG)
    namespace.mid_job(process)
    namespace.kubectl("delete", "pod", namespace.driver()["metadata"]["name"], "--wait=false")
    out, _ = process.communicate(timeout=120)
    assert process.returncode == 5, out
    assert "CTM_KUBERNETES_LOST" in out
    assert "somebody deleted" in out
    code, _ = namespace.run("/data/m", "/data/driver-deleted", *LONG)
    assert code == 0
    is_right("driver-deleted")


def test_the_api_server_restarts_and_is_away_for_twelve_seconds(namespace, node, is_right):
    process = namespace.start("/data/m", "/data/restarted", *LONG)
    namespace.mid_job(process)
    for seconds in (0, 12):
        node.api_server.kill()
        time.sleep(seconds)
        node.api_server.start()
        time.sleep(5)
    end(process)
    is_right("restarted")


def test_the_drivers_process_is_killed_and_the_same_command_again(namespace, data, is_right, row):
    process = namespace.start("/data/m", "/data/killed", *LONG)
    namespace.mid_job(process)
    kill_in_pod(namespace.driver(), b"org.ctmahout.bridge.Main")
    out, _ = process.communicate(timeout=120)
    assert process.returncode == 5, out
    assert "CTM_KUBERNETES_LOST" in out
    assert list(data.glob("killed.partial-*"))
    code, _ = namespace.run("/data/m", "/data/killed", *LONG)
    assert code == 0
    is_right("killed")


@pytest.mark.parametrize("how", ["is away", "accepts and does not answer"])
def test_the_api_server(namespace, node, is_right, how):
    """For more than a minute, in mid job and beyond its end."""
    name = how.replace(" ", "-")
    process = namespace.start("/data/m", f"/data/{name}", *LONG)
    namespace.mid_job(process)
    if how == "is away":
        node.api_server.kill()
        time.sleep(62)
        node.api_server.start()
    else:
        node.api_server.signal(signal.SIGSTOP)
        time.sleep(75)
        node.api_server.signal(signal.SIGCONT)
    end(process)
    is_right(name)


def test_a_cordoned_node_is_waited_for(namespace, node, is_right):
    node.kubectl("cordon", "node")
    try:
        process = namespace.start("/data/m", "/data/cordoned", *LONG)
        assert namespace.driver()["status"]["phase"] == "Pending"
        time.sleep(20)
    finally:
        node.kubectl("uncordon", "node")
    end(process)
    is_right("cordoned")


def test_a_quota_that_fits(namespace, is_right):
    limits = {"default": {"cpu": "1"}, "defaultRequest": {"cpu": "100m"}, "type": "Container"}
    hard = {"limits.cpu": "4", "limits.memory": "6Gi", "pods": "4"}
    namespace.apply(
        {"apiVersion": "v1", "kind": "LimitRange", "metadata": {"name": "l"}, "spec": {"limits": [limits]}},
        {"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "q"}, "spec": {"hard": hard}},
    )
    code, _ = namespace.run("/data/m", "/data/quota", *LONG)
    assert code == 0
    is_right("quota")


def test_client_mode_in_a_pod(namespace, is_right):
    conf = {key: value for key, value in namespace.settings().items() if "executor" in key or "namespace" in key}
    chosen = [part for item in conf.items() for part in ("--conf", "=".join(item))]
    where = ["--engine", "submit", "--master", "k8s://https://kubernetes.default.svc", "--image", namespace.image]
    command = ["ctmahout", "dssvd", "/data/m", "/data/client", *LONG, *where, "--driver-memory", "700m", *chosen]
    namespace.pod("notebook-0", "ctmahout", *command)
    assert namespace.ended("notebook-0") == "Succeeded", namespace.kubectl("logs", "notebook-0")[-4000:]
    is_right("client")
    # Whatever it leaves goes with its pod.
    namespace.kubectl("delete", "pod", "notebook-0")


def test_a_cohort_by_executors(namespace, data, tmp_path, row):
    """Five series and a bad one, from a pod; the bytes of the loop on this machine."""
    source = write_many(data / "cohort", 6)
    (source / "2" / "slice-0003.dcm").unlink()
    conf = {key: value for key, value in namespace.settings().items() if "executor" in key or "namespace" in key}
    conf |= TWO | {"spark.executor.memoryOverhead": "1200m"}
    chosen = [part for item in conf.items() for part in ("--conf", "=".join(item))]
    where = ["--spread", "--master", "k8s://https://kubernetes.default.svc", "--image", namespace.image, *chosen]
    options = ["--all-series", "--method", "slices", "--strength", "rank:3", "--timestamp", "2026-01-31T12:00:00+00:00"]
    namespace.pod(
        "notebook-0", "ctmahout", "ctmahout", "denoise", "/data/cohort/in", "/data/cohort-out", *options, *where
    )
    executors = wait(lambda: len(namespace.pods("executor")) == 2, 120)
    namespace.ended("notebook-0")
    log = namespace.kubectl("logs", "notebook-0")
    assert executors, log[-4000:]
    results = read_results(data / "cohort-out" / "results.parquet").rows
    outcomes = Counter(" ".join(filter(None, [one["outcome"], one["code"]])) for one in results)
    row(f"{dict(outcomes)}")
    assert outcomes == {"done": 5, "failed CTM_SLICE_UNEVEN": 1}, log[-4000:]
    program = "from ctmahout.cli import main; main()"
    subprocess.run([sys.executable, "-c", program, "denoise", source, tmp_path / "loop", *options], check=False)
    there, here = (
        {name: content for name, content in tree(folder).items() if name.endswith(".dcm")}
        for folder in (data / "cohort-out", tmp_path / "loop")
    )
    assert there == here
    assert len(here) == 5 * 4
    namespace.kubectl("delete", "pod", "notebook-0")
