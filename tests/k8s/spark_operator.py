"""The Kubeflow Spark Operator on the node: its controller and its webhooks.

Its chart runs them as pods with a Spark beside them. Here they are processes like the control plane, with Spark of this
machine and an administrator's rights: what the operator itself may do is not tested.
"""

import os
import socket
from pathlib import Path

from helpers import wait
from node import ADDRESS, KUBECONFIG, Process

_NAMESPACE, _NAME, _PORT = "spark-operator", "spark-operator-webhook", 9443
_APPLICATIONS = ("sparkoperator.k8s.io", "v1beta2", "sparkapplications", ("CREATE", "UPDATE"))
_PODS = ("", "v1", "pods", ("CREATE",))
_LAUNCHED = {"objectSelector": {"matchLabels": {"sparkoperator.k8s.io/launched-by-spark-operator": "true"}}}


class SparkOperator:
    """The operator, while it is needed."""

    def __init__(self, node, definitions, spark_home):
        self._node, self._definitions = node, definitions
        certificates = Path("/run/spark-operator")
        certificates.mkdir()
        environment = {
            **os.environ,
            "KUBECONFIG": str(KUBECONFIG),
            "SPARK_HOME": spark_home,
            "KUBERNETES_SERVICE_HOST": ADDRESS,
            "KUBERNETES_SERVICE_PORT": "6443",
        }
        webhooks = f"""
            webhook start --webhook-cert-dir={certificates} --webhook-port={_PORT}
            --webhook-secret-namespace={_NAMESPACE} --webhook-svc-namespace={_NAMESPACE} --webhook-svc-name={_NAME}
            --health-probe-bind-address=127.0.0.1:8082
        """
        controller = "controller start --enable-ui-service=false --health-probe-bind-address=127.0.0.1:8081"
        options = {"program": "operator", "environment": environment}
        self._webhooks = Process("spark-operator-webhook", webhooks, **options)
        self._controller = Process("spark-operator-controller", controller, **options)

    def __enter__(self):
        # Too large for what `apply` notes in an object; the server's own apply notes it elsewhere.
        self._node.kubectl("apply", "--server-side", "-f", self._definitions)
        assert wait(self._definitions_are_established), "the operator's definitions are not established"
        self._node.kubectl("create", "namespace", _NAMESPACE)
        self._node.apply(*_service(), *_webhooks(), namespace=_NAMESPACE)
        self._controller.start()
        self._webhooks.start()
        try:
            assert wait(self._is_ready, 120), self._webhooks.log.read_text()[-2000:]
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        for process in (self._controller, self._webhooks):
            process.stop()
        self._node.kubectl("delete", "mutatingwebhookconfiguration,validatingwebhookconfiguration", _NAME)

    def _definitions_are_established(self):
        # Not by `kubectl wait`, which fails on a definition that has no conditions yet.
        conditions = [definition["status"].get("conditions") or [] for definition in self._node.get("crds")]
        return all({"Established": "True"}.items() <= {c["type"]: c["status"] for c in of}.items() for of in conditions)

    def _is_ready(self):
        for process in (self._controller, self._webhooks):
            process.check()
        # The operator itself writes its authority into the configuration of the webhooks.
        return _listens() and all(_authority(found) for found in self._configurations())

    def _configurations(self):
        return self._node.get("mutatingwebhookconfiguration,validatingwebhookconfiguration")


def _authority(configuration):
    return all(hook["clientConfig"].get("caBundle") for hook in configuration["webhooks"])


def _listens():
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", _PORT)) == 0


def _service():
    """A service of a process: without a selector, with the address of the node."""
    metadata = {"name": _NAME}
    ports = [{"name": "webhook", "port": _PORT}]
    yield {"apiVersion": "v1", "kind": "Service", "metadata": metadata, "spec": {"ports": ports}}
    yield {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {**metadata, "labels": {"kubernetes.io/service-name": _NAME}},
        "addressType": "IPv4",
        "endpoints": [{"addresses": [ADDRESS]}],
        "ports": ports,
    }


def _webhooks():
    """What the operator is asked about, as its chart has it."""
    pods = _hook("mutate--v1-pod", _PODS) | _LAUNCHED
    path = "sparkoperator-k8s-io-v1beta2-sparkapplication"
    kinds = {
        "Mutating": [pods, _hook(f"mutate-{path}", _APPLICATIONS)],
        "Validating": [_hook(f"validate-{path}", _APPLICATIONS)],
    }
    for kind, hooks in kinds.items():
        yield {
            "apiVersion": "admissionregistration.k8s.io/v1",
            "kind": f"{kind}WebhookConfiguration",
            "metadata": {"name": _NAME},
            "webhooks": hooks,
        }


def _hook(path, target):
    group, version, resource, operations = target
    service = {"name": _NAME, "namespace": _NAMESPACE, "port": _PORT, "path": f"/{path}"}
    rule = {"apiGroups": [group], "apiVersions": [version], "resources": [resource], "operations": list(operations)}
    return {
        "name": f"{path}.sparkoperator.k8s.io",
        "admissionReviewVersions": ["v1"],
        "clientConfig": {"service": service},
        "sideEffects": "NoneOnDryRun",
        "failurePolicy": "Fail",
        "rules": [rule],
    }
