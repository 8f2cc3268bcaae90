"""The Kubeflow Spark Operator itself, with its webhooks: what we ship for it, and `--engine operator`."""

import json
import os
import re
import shutil
import signal
import subprocess
from pathlib import Path

import numpy as np
import pyspark
import pytest
import yaml
from helpers import wait
from kube.fixtures import DEPLOY
from namespace import LONG
from spark_operator import SparkOperator

pytestmark = pytest.mark.k8s


@pytest.fixture(scope="module")
def operator(node, build):
    with SparkOperator(node, build / "chart", str(Path(pyspark.__file__).parent)) as running:
        yield running


@pytest.fixture
def namespace(operator, new_namespace):
    return new_namespace("spark-operator")


def manifest(name, image):
    """A manifest that we ship, with the image of the tests."""
    text = (DEPLOY / "spark-operator" / name).read_text()
    return yaml.safe_load(re.sub(r"REGISTRY/ctmahout:\S+", image, text))


def test_the_application_that_we_ship(namespace, is_right):
    """As it is, but for the image, the request, and smaller pods."""
    shipped = manifest("dssvd.yaml", namespace.image)
    spec = shipped["spec"]
    for role, memory in (("driver", "700m"), ("executor", "512m")):
        spec[role] |= {"memory": memory, "cores": 1, "coreRequest": "500m"}
    spec["dynamicAllocation"] |= {"initialExecutors": 1, "maxExecutors": 1}
    request = {"input": "/data/m", "output": "/data/shipped", "k": 20, "p": 5, "q": 20, "partitions": 9}
    spec["arguments"][1] = json.dumps(request)
    spec["sparkConf"]["spark.ctmahout.groupInTask"] = "0"
    namespace.apply(shipped)
    name = shipped["metadata"]["name"]

    def state():
        found = namespace.get("sparkapplication", name).get("status", {}).get("applicationState", {})
        return found if found.get("state") in ("COMPLETED", "FAILED") else None

    assert wait(state, 400, pause=1) == {"state": "COMPLETED"}, namespace.kubectl("logs", f"{name}-driver")[-4000:]
    is_right("shipped")
    namespace.kubectl("delete", "sparkapplication", name)


def test_the_engine_operator(namespace, node, is_right):
    code, _ = namespace.run("/data/m", "/data/operator", *LONG, engine="operator")
    assert code == 0
    is_right("operator")
    requests = node.requests(f"system:serviceaccount:{namespace.name}:ctmahout-applications")
    assert requests
    assert [request for request in requests if request[2] in (401, 403)] == []


def test_an_image_that_the_operator_cannot_have(namespace, row):
    code, told = namespace.run("/data/m", "/data/none", "--image", "localhost/nobody:none", engine="operator")
    row(told["error"]["message"][:300])
    assert (code, told["error"]["code"]) == (5, "CTM_KUBERNETES_IMAGE")


def test_a_bad_matrix_and_the_operator(namespace, data, row):
    shutil.copytree(data / "m", data / "bad")
    part = next((data / "bad").glob("*.parquet"))
    content = bytearray(part.read_bytes())
    content[len(content) // 2] ^= 1
    part.write_bytes(content)
    code, told = namespace.run("/data/bad", "/data/none", engine="operator")
    row(f"{told['error']['code']}: {told['error']['message'][:300]}")
    assert (code, told["error"]["code"]) == (4, "CTM_EXCHANGE_CORRUPT")


def test_an_operator_without_the_right_that_its_spark_needs(namespace, operator, row):
    operator.refuse_network_policies()
    try:
        code, told = namespace.run("/data/m", "/data/none", engine="operator")
    finally:
        operator.allow_network_policies()
    row(f"{told['error']['code']}: {told['error']['message'][:300]}")
    assert (code, told["error"]["code"]) == (5, "CTM_KUBERNETES_FORBIDDEN")
    assert "networkpolicies" in told["error"]["message"]


def test_spark_connect(namespace, root, local, row):
    """The server that we ship, with smaller pods, and a client that has no Spark."""
    shipped = manifest("connect.yaml", namespace.image)
    spec = shipped["spec"]
    for role in ("server", "executor"):
        spec[role] |= {"memory": "700m", "cores": 1}
        (container,) = spec[role]["template"]["spec"]["containers"]
        container["resources"] = {"requests": {"cpu": "500m", "memory": "1200Mi"}}
    spec["dynamicAllocation"]["maxExecutors"] = 1
    namespace.apply(shipped)
    name = shipped["metadata"]["name"]

    def state():
        return namespace.get("sparkconnect", name).get("status", {}).get("state") == "Ready"

    assert wait(state, 300, pause=1), namespace.kubectl("logs", f"{name}-server")[-4000:]
    address = namespace.get("service", f"{name}-server")["spec"]["clusterIP"]
    python = os.environ.get("CTMAHOUT_TEST_CONNECT", root / ".venv-connect" / "bin" / "python")
    command = [python, Path(__file__).with_name("connecting.py"), f"sc://{address}:15002"]
    client = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert client.returncode == 0, client.stderr[-3000:] + namespace.kubectl("logs", f"{name}-server")[-3000:]
    s = np.array(json.loads(client.stdout.splitlines()[-1]))
    np.testing.assert_allclose(s, local, rtol=1e-10)
    row(f"right, largest difference {np.abs(s - local).max():.1g}")
    namespace.kubectl("delete", "sparkconnect", name)


def test_ctrl_c_and_the_operator(namespace):
    process = namespace.start("/data/m", "/data/stopped-operator", *LONG, engine="operator")
    namespace.mid_job(process)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=120)
    assert process.returncode == 130
    assert namespace.pods("driver") == []
    assert namespace.get("sparkapplications") == []
