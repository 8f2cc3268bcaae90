"""`ctmahout dssvd` in cluster mode on a small Kubernetes whose pods are containers: answers, failures, leftovers."""

import json
import re
import signal
import threading
import time

import numpy as np
import pytest
from helpers import wait
from kube import admission
from kube.fixtures import site
from kube.kubelet import container

from ctmahout.engines import Request, connect
from ctmahout.errors import ConfigError, EngineError
from ctmahout.exchange import read_factors, write_matrix

pytestmark = pytest.mark.cluster

# Some seconds of work in twenty jobs, in nine tasks each.
# Fewer than half of the columns: else one pass would do. And not in a single task, for which it is small enough.
IN_MANY_TASKS = {"spark.ctmahout.groupInTask": "0"}
LONG = ("-k", "20", "-p", "5", "-q", "20", "--partitions", "9", "--conf", "=".join(*IN_MANY_TASKS.items()))
MARK = ("ctmahout", "patch", "pods")
TWO = {"spark.executor.instances": "2"}


@pytest.fixture(scope="module")
def small_kubernetes(podman, image, tmp_path_factory):
    folder = tmp_path_factory.mktemp("kube")
    # Pods run as a user of their own, and pytest's folders are closed to others.
    for parent in (folder, *folder.parents[:2]):
        parent.chmod(0o755)
    with site(podman, image, folder) as made:
        random = np.random.default_rng(3)
        A = random.standard_normal((60_000, 60), np.float32) * np.geomspace(100, 1, 60, dtype=np.float32)
        write_matrix(made.data / "m", [A], units="1", centring="none", layout={})
        yield made


@pytest.fixture
def kube(small_kubernetes, podman):
    """The cluster, in which each test leaves nothing."""
    roles = dict(small_kubernetes.cluster.roles)
    yield small_kubernetes
    small_kubernetes.cluster.roles = roles
    assert wait(lambda: small_kubernetes.cluster.store.names() == []), small_kubernetes.cluster.store.names()
    assert podman("ps", "-aq", "--filter", f"network={small_kubernetes.network}").stdout == ""
    assert list(small_kubernetes.data.glob("*.partial-*")) == []


@pytest.fixture(scope="module")
def local(small_kubernetes, tmp_path_factory):
    """The singular values of the same request on this machine."""
    target = tmp_path_factory.mktemp("local") / "f"
    with connect("submit", master="local[2]", conf=IN_MANY_TASKS) as engine:
        engine.run(Request(str(small_kubernetes.data / "m"), str(target), k=20, p=5, q=20, partitions=9))
    return read_factors(target).s


def at_work(kube, process):
    """The executors' pods that have finished a task."""
    assert process.poll() is None, process.communicate()
    return [pod for pod in kube.pods("executor") if b"Finished task" in kube.cluster.node.log(pod)]


def mid_job(kube, process, executors=1):
    """Wait until so many executors are at work, and return their pods."""
    assert wait(lambda: len(at_work(kube, process)) == executors, 240, pause=0.5)
    return kube.pods("executor")


def halted_in_mid_job(kube, process, podman, executors):
    """Stop the processes of so many executors, each after a task of its own, and return their pods.

    A fast machine would else be done before what is to happen in mid job has happened.
    """
    halted = {}

    def all_are():
        for pod in at_work(kube, process):
            if (name := pod["metadata"]["name"]) not in halted:
                assert podman("kill", "--signal", "STOP", container(pod)).returncode == 0
                halted[name] = pod
        return len(halted) == executors

    assert wait(all_are, 240)
    return list(halted.values())


def test_two_executors_and_one_of_them_killed_give_what_a_laptop_gives(kube, local, podman):
    # As plain spark-submit has it.
    conf = TWO | {"spark.kubernetes.executor.deleteOnTermination": "true"}
    process = kube.start(kube.data / "m", kube.data / "killed", *LONG, **conf)
    victim, other = halted_in_mid_job(kube, process, podman, executors=2)
    (driver,) = kube.pods("driver")
    for pod in (victim, driver):
        assert pod["metadata"]["labels"]["sidecar.istio.io/inject"] == "false"
        assert pod["metadata"]["annotations"]["sidecar.istio.io/inject"] == "false"
        assert pod["spec"]["securityContext"]["runAsNonRoot"] is True
        assert pod["spec"]["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert pod["spec"]["containers"][0]["securityContext"]["capabilities"]["drop"] == ["ALL"]
    assert podman("kill", container(victim)).returncode == 0
    known = {pod["metadata"]["name"] for pod in (victim, other)}
    assert wait(lambda: {pod["metadata"]["name"] for pod in kube.pods("executor")} - known), "it is not replaced"
    assert podman("kill", "--signal", "CONT", container(other)).returncode == 0
    said = process.communicate()
    assert process.returncode == 0, said
    np.testing.assert_allclose(read_factors(kube.data / "killed").s, local, rtol=1e-10)
    # The roles were enough; nor do they hold a right that was not needed, but one to mark executors that stay.
    assert kube.granted() - kube.cluster.used <= {MARK}, kube.granted() - kube.cluster.used


@pytest.mark.release
def test_a_driver_that_is_evicted_and_the_same_command_again(kube, local):
    target = kube.data / "f"
    process = kube.start(kube.data / "m", target, *LONG)
    mid_job(kube, process)
    kube.cluster.node.evict(kube.pods("driver")[0], "The node was low on resource: memory.")
    out, _ = process.communicate(timeout=100)
    error = json.loads(out)["error"]
    assert (process.returncode, error["code"]) == (5, "CTM_KUBERNETES_LOST")
    assert "Evicted: The node was low on resource: memory" in error["message"]
    # It was killed: what it was writing is there, and is no result.
    (left,) = kube.data.glob("f.partial-*")
    assert not target.exists()
    code, told = kube.run(kube.data / "m", target, *LONG)
    assert code == 0
    assert told["groups"][0]["rank"] == 20
    np.testing.assert_allclose(read_factors(target).s, local, rtol=1e-10)
    assert not left.exists()


def test_executors_that_cannot_start_end_the_driver(kube):
    no_java = {"spark.executor.extraJavaOptions": "-agentpath:/no/such.so", "spark.executor.maxNumFailures": "1"} | TWO
    code, told = kube.run(kube.data / "m", kube.data / "none", **no_java)
    assert (code, told["error"]["code"]) == (5, "CTM_KUBERNETES_EXECUTORS"), told
    assert re.search(r"\d ended with exit code 1 \(Error\)", told["error"]["message"]), told
    assert MARK in kube.cluster.used


@pytest.mark.release
def test_one_node_is_drained_and_another_one_cut_off(kube, local, podman):
    conf = TWO | {f"spark.storage.decommission.{key}enabled": "true" for key in ("", "rddBlocks.", "shuffleBlocks.")}
    conf |= {"spark.decommission.enabled": "true", "spark.executor.heartbeatInterval": "1s"}
    conf |= {"spark.network.timeout": "15s", "spark.network.timeoutInterval": "3s"}
    process = kube.start(kube.data / "m", kube.data / "cut-off", *LONG, **conf)
    drained, cut_off = mid_job(kube, process, executors=2)
    assert podman("network", "disconnect", kube.network, container(cut_off)).returncode == 0
    threading.Thread(target=kube.cluster.delete, args=("pods", "default", drained["metadata"]["name"])).start()
    said = b""
    while process.poll() is None:
        log = kube.cluster.node.log(drained)
        said = log if b"ecommission" in log else said
        time.sleep(0.2)
    told = process.communicate()
    assert process.returncode == 0, told
    assert b"Decommission executor" in said
    np.testing.assert_allclose(read_factors(kube.data / "cut-off").s, local, rtol=1e-10)


def test_client_mode_in_a_pod_of_a_restricted_namespace(kube, local):
    kube.cluster.admission = [admission.restricted]
    conf = {key: value for key, value in kube.settings().items() if "executor" in key}
    chosen = [part for item in conf.items() for part in ("--conf", "=".join(item))]
    where = ["--engine", "submit", "--master", f"k8s://{kube.inside}", "--image", kube.image, "--driver-memory", "700m"]
    target = kube.data / "client"
    kube.pod("notebook-0", "ctmahout", "ctmahout", "dssvd", kube.data / "m", target, *LONG, *where, *chosen)

    def ended():
        pod = kube.cluster.store.get("pods", "default", "notebook-0")
        return pod if pod["status"]["phase"] in ("Succeeded", "Failed") else None

    driver = wait(ended, 280, pause=0.5)
    assert driver["status"]["phase"] == "Succeeded", kube.cluster.node.log(driver).decode()[-4000:]
    kube.cluster.admission = []
    np.testing.assert_allclose(read_factors(target).s, local, rtol=1e-10)
    # Whatever it leaves goes with its pod.
    kube.cluster.delete("pods", "default", "notebook-0")


def test_ctrl_c_leaves_nothing_and_the_next_run_is_free(kube):
    process = kube.start(kube.data / "m", kube.data / "stopped", *LONG)
    mid_job(kube, process)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=100)
    assert process.returncode == 130
    assert kube.pods("driver") == []
    assert not (kube.data / "stopped").exists()


def test_a_driver_that_is_deleted_from_outside(kube):
    process = kube.start(kube.data / "m", kube.data / "deleted", *LONG)
    mid_job(kube, process)
    kube.cluster.delete("pods", "default", kube.pods("driver")[0]["metadata"]["name"])
    out, _ = process.communicate(timeout=100)
    assert process.returncode == 5
    assert "CTM_KUBERNETES_LOST" in out


def test_a_bad_matrix_is_the_same_error_as_through_every_engine(kube):
    bad = kube.data / "bad"
    write_matrix(bad, [np.ones((50, 4), np.float32)], units="1", centring="none", layout={})
    next(bad.glob("part-*")).write_bytes(b"PAR1 and no more")
    code, told = kube.run(bad, kube.data / "none")
    assert code == 4
    assert told["error"]["code"] == "CTM_EXCHANGE_CORRUPT"
    assert ("ctmahout", "create", "pods") in kube.cluster.used  # the driver said so, not this process


def test_a_driver_out_of_its_limit_is_told_with_the_limit(kube):
    touch = {"spark.driver.extraJavaOptions": "-Xms700m -XX:+AlwaysPreTouch", "spark.driver.memoryOverhead": "1m"}
    code, told = kube.run(kube.data / "m", kube.data / "none", **touch)
    assert code == 5
    assert told["error"]["code"] == "CTM_KUBERNETES_MEMORY"
    assert "701Mi" in told["error"]["message"]
    assert "memoryOverheadFactor" in told["error"]["hint"]


def test_an_image_that_is_not_there(kube):
    code, told = kube.run(kube.data / "m", kube.data / "none", "--image", "localhost/nobody:none")
    assert (code, told["error"]["code"]) == (5, "CTM_KUBERNETES_IMAGE")
    assert "localhost/nobody:none" in told["error"]["message"]


@pytest.mark.parametrize("account", ["ctmahout-launcher", "ctmahout"])
def test_an_account_without_the_role(kube, account):
    kube.cluster.roles = {name: rules for name, rules in kube.cluster.roles.items() if name != account}
    code, told = kube.run(kube.data / "m", kube.data / "none")
    assert (code, told["error"]["code"]) == (5, "CTM_KUBERNETES_FORBIDDEN")
    assert account in told["error"]["message"]
    assert "deploy/k8s" in told["error"]["hint"]


def test_a_pod_that_no_node_has_room_for(kube):
    conf = {"spark.kubernetes.authenticate.submission.oauthToken": "ctmahout-launcher", "spark.driver.memory": "500g"}
    with (
        connect(
            "submit", master=kube.master, deploy_mode="cluster", image=kube.image, conf=conf, start_timeout=2
        ) as engine,
        pytest.raises(EngineError, match="Insufficient memory") as caught,
    ):
        engine.run(Request(str(kube.data / "m"), str(kube.data / "none")))
    assert caught.value.code == "CTM_KUBERNETES_PENDING"


def test_an_api_that_is_not_there(image):
    with (
        connect("submit", master="k8s://http://127.0.0.1:9", deploy_mode="cluster", image=image) as engine,
        pytest.raises(EngineError) as caught,
    ):
        engine.run(Request("/m", "/f"))
    assert caught.value.code == "CTM_KUBERNETES_UNREACHABLE"


@pytest.mark.parametrize(("engine", "master", "given"), [("submit", "local[1]", "i"), ("submit", "k8s://x", None)])
def test_cluster_mode_needs_a_cluster_and_an_image(engine, master, given):
    with pytest.raises(ConfigError) as caught:
        connect(engine, master=master, deploy_mode="cluster", image=given)
    assert caught.value.code == "CTM_CONFIG_VALUE"
