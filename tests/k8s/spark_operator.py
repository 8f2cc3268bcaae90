"""The Kubeflow Spark Operator on the node: its controller and its webhooks.

Its chart runs them as pods with a Spark beside them. Here they are processes like the control plane, with Spark of this
machine, but with the accounts and the rules of the chart.
"""

import json
import os
import re
import socket
from contextlib import suppress
from pathlib import Path

import yaml
from helpers import wait
from node import ADDRESS, KUBECONFIG, Process

_NAMESPACE = _NAME_OF_CHART = "spark-operator"
_NAME, _PORT = "spark-operator-webhook", 9443
_APPLICATIONS = ("sparkoperator.k8s.io", "v1beta2", "sparkapplications", ("CREATE", "UPDATE"))
_PODS = ("", "v1", "pods", ("CREATE",))
_LEAST = {
    "type": "Scala",
    "sparkVersion": "4.0.1",
    "mainApplicationFile": "local:///none",
    "driver": {},
    "executor": {},
}
# What stands in the chart's rbac.yaml beside the rules for the namespaces of applications.
_RULES = {
    "controller": (("", "nodes", "get"), ("apiextensions.k8s.io", "customresourcedefinitions", "get")),
    "webhook": (
        ("", "events", "create", "update", "patch"),
        ("", "secrets", "get", "create", "update"),
        *(
            ("admissionregistration.k8s.io", f"{kind}webhookconfigurations", "get", "list", "watch", "update")
            for kind in ("mutating", "validating")
        ),
    ),
}
# What Spark 4.3's submission makes, and the chart does not allow for.
NEWER_SPARK = "spark-operator-newer-spark"
_NETWORK_POLICIES = ("networking.k8s.io", "networkpolicies", "create", "patch")
_LAUNCHED = {"objectSelector": {"matchLabels": {"sparkoperator.k8s.io/launched-by-spark-operator": "true"}}}


class SparkOperator:
    """The operator, while it is needed."""

    def __init__(self, node, chart, spark_home):
        self._node, self._chart = node, chart
        folder = Path("/run/spark-operator")
        certificates = folder / "certificates"
        certificates.mkdir(parents=True)
        self._configurations_of = {component: folder / component for component in _RULES}

        def options(component):
            environment = {
                "KUBECONFIG": str(self._configurations_of[component]),
                "SPARK_HOME": spark_home,
                "KUBERNETES_SERVICE_HOST": ADDRESS,
                "KUBERNETES_SERVICE_PORT": "6443",
            }
            return {"program": "operator", "environment": os.environ | environment}

        webhooks = f"""
            webhook start --webhook-cert-dir={certificates} --webhook-port={_PORT}
            --webhook-secret-namespace={_NAMESPACE} --webhook-svc-namespace={_NAMESPACE} --webhook-svc-name={_NAME}
            --health-probe-bind-address=127.0.0.1:8082
        """
        controller = "controller start --enable-ui-service=false --health-probe-bind-address=127.0.0.1:8081"
        self._webhooks = Process("spark-operator-webhook", webhooks, **options("webhook"))
        self._controller = Process("spark-operator-controller", controller, **options("controller"))

    def __enter__(self):
        # Too large for what `apply` notes in an object; the server's own apply notes it elsewhere.
        self._node.kubectl("apply", "--server-side", "-f", self._chart / "crds")
        assert wait(self._definitions_are_established), "the operator's definitions are not established"
        self._node.kubectl("create", "namespace", _NAMESPACE)
        self._node.apply(*_service(), *_webhooks(), namespace=_NAMESPACE)
        for component, file in self._configurations_of.items():
            account = f"{_NAME_OF_CHART}-{component}"
            self._node.apply(*_account(account, _rules(self._chart, component)), namespace=_NAMESPACE)
            file.write_text(self._configuration(account))
        self.allow_network_policies()
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
        # Written here whatever TMPDIR says.
        Path("/tmp/spark/executor-pod-template.yaml").unlink(missing_ok=True)

    def allow_network_policies(self):
        """Let the operator's Spark make network policies."""
        role = _role(NEWER_SPARK, [_rule(*_NETWORK_POLICIES)], f"{_NAME_OF_CHART}-controller")
        self._node.apply(*role, namespace=_NAMESPACE)
        assert wait(self._may_make_network_policies)

    def refuse_network_policies(self):
        """Leave the operator the rights of its chart alone."""
        self._node.kubectl("delete", "clusterrolebinding", NEWER_SPARK)
        assert wait(lambda: not self._may_make_network_policies())

    def _may_make_network_policies(self):
        # An API server knows roles and bindings some moments late.
        account = f"--as=system:serviceaccount:{_NAMESPACE}:{_NAME_OF_CHART}-controller"
        with suppress(RuntimeError):  # its answer is no
            return self._node.kubectl("auth", "can-i", "patch", "networkpolicies.networking.k8s.io", account)
        return False

    def _configuration(self, account):
        """A kubeconfig with a token of a service account."""
        config = json.loads(KUBECONFIG.read_text())
        token = self._node.kubectl("-n", _NAMESPACE, "create", "token", account, "--duration=3h").strip()
        config["users"][0]["user"] = {"token": token}
        return json.dumps(config)

    def _definitions_are_established(self):
        # Not by `kubectl wait`, which fails on a definition that has no conditions yet.
        conditions = [definition["status"].get("conditions") or [] for definition in self._node.get("crds")]
        return all({"Established": "True"}.items() <= {c["type"]: c["status"] for c in of}.items() for of in conditions)

    def _is_ready(self):
        for process in (self._controller, self._webhooks):
            process.check()
        # The operator itself writes its authority into the configuration of the webhooks.
        return _listens() and all(_authority(found) for found in self._configurations()) and self._is_asked()

    def _is_asked(self):
        """Whether the API server reaches the webhooks: authority and way to the service come to it late."""
        application = {"apiVersion": "sparkoperator.k8s.io/v1beta2", "kind": "SparkApplication"}
        application |= {"metadata": {"name": "asked"}, "spec": _LEAST}
        with suppress(RuntimeError):
            return self._node.kubectl(
                "-n", _NAMESPACE, "apply", "--dry-run=server", "-f", "-", input=json.dumps(application)
            )
        return False

    def _configurations(self):
        return self._node.get("mutatingwebhookconfiguration,validatingwebhookconfiguration")


def _rules(chart, component):
    """The rules of a component of the operator, from its chart."""
    text = (chart / "templates" / component / "_helpers.tpl").read_text()
    helper = re.search(rf'define "spark-operator.{component}.policyRules" -}}}}\n(.*?)\n?{{{{-', text, re.DOTALL)
    return [*yaml.safe_load(helper[1]), *(_rule(*rule) for rule in _RULES[component])]


def _rule(group, resource, *verbs):
    return {"apiGroups": [group], "resources": [resource], "verbs": list(verbs)}


def _account(name, rules):
    yield {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": name}}
    yield from _role(name, rules, name)


def _role(name, rules, account):
    api = {"apiVersion": "rbac.authorization.k8s.io/v1", "metadata": {"name": name}}
    yield api | {"kind": "ClusterRole", "rules": rules}
    role = {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": name}
    subject = {"kind": "ServiceAccount", "name": account, "namespace": _NAMESPACE}
    yield api | {"kind": "ClusterRoleBinding", "roleRef": role, "subjects": [subject]}


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
