"""What a real Kubernetes refuses or ends is told in its own words, with a code; nothing is left."""

import signal

import pytest
from helpers import wait
from namespace import LONG

pytestmark = pytest.mark.k8s


def quota(namespace, **hard):
    spec = {"hard": {key.replace("_", "."): value for key, value in hard.items()}}
    namespace.apply({"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "q"}, "spec": spec})
    # Its controller counts first what is there.
    assert wait(lambda: "used" in namespace.get("resourcequota", "q").get("status", {}))


@pytest.fixture
def refused(namespace, row):
    """Runs the command, and returns code and message of its error."""

    def run(*options, **conf):
        code, told = namespace.run("/data/m", "/data/none", *options, **conf)
        assert code == 5, told
        row(f"{told['error']['code']}: {told['error']['message'][:300]}")
        return told["error"]["code"], told["error"]["message"]

    return run


def test_a_quota_too_small_for_the_driver(namespace, refused):
    quota(namespace, limits_memory="1Gi")
    code, message = refused()
    assert code == "CTM_KUBERNETES_ADMISSION"
    assert "exceeded quota: q" in message


def test_a_quota_that_wants_limits(namespace, refused):
    quota(namespace, limits_cpu="4")
    code, message = refused()
    assert code == "CTM_KUBERNETES_ADMISSION"
    assert "must specify limits.cpu" in message


def test_a_quota_that_executors_do_not_fit(namespace, refused):
    quota(namespace, pods="1")
    code, message = refused()
    assert code == "CTM_KUBERNETES_EXECUTORS"
    assert "exceeded quota: q" in message


def test_a_driver_out_of_memory(refused):
    touch = {"spark.driver.extraJavaOptions": "-Xms700m -XX:+AlwaysPreTouch", "spark.driver.memoryOverhead": "1m"}
    code, message = refused(**touch)
    assert code == "CTM_KUBERNETES_MEMORY"
    assert "701Mi" in message


def test_executors_out_of_memory(refused):
    touch = {"spark.executor.extraJavaOptions": "-Xms512m -XX:+AlwaysPreTouch", "spark.executor.memoryOverhead": "1m"}
    code, message = refused(**touch, **{"spark.executor.maxNumFailures": "1"})
    assert code == "CTM_KUBERNETES_EXECUTORS"
    assert "137 (OOMKilled" in message


def test_an_image_that_is_not_there(refused):
    code, message = refused("--image", "localhost/nobody:none")
    assert code == "CTM_KUBERNETES_IMAGE"
    assert "localhost/nobody:none" in message


def test_a_launcher_without_the_role(namespace, refused):
    namespace.kubectl("delete", "rolebinding", "ctmahout-launcher")
    code, message = refused()
    assert code == "CTM_KUBERNETES_FORBIDDEN"
    assert "ctmahout-launcher" in message


def test_a_driver_without_the_role(namespace, refused):
    namespace.kubectl("delete", "rolebinding", "ctmahout")
    code, message = refused()
    assert code == "CTM_KUBERNETES_FORBIDDEN"
    assert f"system:serviceaccount:{namespace.name}:ctmahout" in message


def test_no_node_has_room(refused):
    code, message = refused("--start-timeout", "10", "--driver-memory", "500g")
    assert code == "CTM_KUBERNETES_PENDING"
    assert "Insufficient memory" in message


def test_a_claim_that_is_not_there(refused):
    volume = "spark.kubernetes.driver.volumes.persistentVolumeClaim.data.options.claimName"
    code, message = refused("--start-timeout", "10", **{volume: "none"})
    assert code == "CTM_KUBERNETES_PENDING"
    assert 'persistentvolumeclaim "none" not found' in message


@pytest.mark.parametrize("moment", ["as soon as the driver pod is there", "in mid job"])
def test_ctrl_c(namespace, data, moment):
    process = namespace.start("/data/m", "/data/stopped", *LONG)
    namespace.driver()
    if moment == "in mid job":
        namespace.mid_job(process)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=120)
    assert process.returncode == 130
    assert namespace.pods("driver") == []
    assert not (data / "stopped").exists()
