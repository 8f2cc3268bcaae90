"""The Kubeflow Spark Operator itself, with its webhooks: the application that we ship, and `--engine operator`."""

import json
import re
import signal
from pathlib import Path

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
    with SparkOperator(node, build / "crds", str(Path(pyspark.__file__).parent)) as running:
        yield running


@pytest.fixture
def namespace(operator, new_namespace):
    return new_namespace("spark-operator")


def test_the_application_that_we_ship(namespace, is_right):
    """As it is, but for the image, the request, and smaller pods."""
    file = DEPLOY / "spark-operator" / "dssvd.yaml"
    shipped = yaml.safe_load(re.sub(r"REGISTRY/ctmahout:\S+", namespace.image, file.read_text()))
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


def test_ctrl_c_and_the_operator(namespace):
    process = namespace.start("/data/m", "/data/stopped-operator", *LONG, engine="operator")
    namespace.mid_job(process)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=120)
    assert process.returncode == 130
    assert namespace.pods("driver") == []
    assert namespace.get("sparkapplications") == []
