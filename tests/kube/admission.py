"""What an API server refuses although the account has the right, in the words of Kubernetes 1.34.

Each is, or returns, a check of a new object: kind and object in, the reason out, None where there is none. It may
change the object, as a mutating webhook does.
"""

import re

_UNITS = {"Ki": 2**10, "Mi": 2**20, "Gi": 2**30, "": 1}


def restricted(kind, found):
    """The pod security standard "restricted", as the label of a namespace enforces it."""
    if kind != "pods":
        return None
    pod = found["spec"].get("securityContext") or {}
    containers = [*(found["spec"].get("initContainers") or ()), *found["spec"]["containers"]]
    own = {container["name"]: container.get("securityContext") or {} for container in containers}
    kinds = ("RuntimeDefault", "Localhost")
    checks = {
        "allowPrivilegeEscalation != false ({who} must set securityContext.allowPrivilegeEscalation=false)": {
            name for name, set_ in own.items() if set_.get("allowPrivilegeEscalation") is not False
        },
        'unrestricted capabilities ({who} must set securityContext.capabilities.drop=["ALL"])': {
            name for name, set_ in own.items() if "ALL" not in (set_.get("capabilities") or {}).get("drop", ())
        },
        "runAsNonRoot != true (pod or {who} must set securityContext.runAsNonRoot=true)": {
            name for name, set_ in own.items() if not (pod | set_).get("runAsNonRoot")
        },
        "seccompProfile (pod or {who} must set securityContext.seccompProfile.type to "
        '"RuntimeDefault" or "Localhost")': {
            name for name, set_ in own.items() if (pod | set_).get("seccompProfile", {}).get("type") not in kinds
        },
    }
    faults = [text.replace("{who}", _named(own, names)) for text, names in checks.items() if names]
    return f'violates PodSecurity "restricted:latest": {", ".join(faults)}' if faults else None


def _named(order, names):
    listed = ", ".join(f'"{name}"' for name in order if name in names)
    return f"container{'s' if len(names) > 1 else ''} {listed}"


def quota(memory=None, cpu_limits=False, role="driver"):
    """A ResourceQuota `q` on limits.memory, or on limits.cpu, which each pod must then name."""

    def check(kind, found):
        if kind != "pods" or (found["metadata"].get("labels") or {}).get("spark-role") != role:
            return None
        container = found["spec"]["containers"][0]
        limits = (container.get("resources") or {}).get("limits") or {}
        if cpu_limits and "cpu" not in limits:
            return f"failed quota: q: must specify limits.cpu for: {container['name']}"
        if memory and _bytes(limits["memory"]) > _bytes(memory):
            bounds = f"used: limits.memory=0, limited: limits.memory={memory}"
            return f"exceeded quota: q, requested: limits.memory={limits['memory']}, {bounds}"
        return None

    return check


# As the operator's own webhook has them (internal/webhook/sparkconf_validator.go).
_ACCOUNT = "configure the service account via the CRD spec instead"
_DENIED = {
    "spark.kubernetes.authenticate.driver.serviceAccountName": _ACCOUNT,
    "spark.kubernetes.authenticate.executor.serviceAccountName": _ACCOUNT,
    "spark.master": "this value is managed by the operator",
    "spark.kubernetes.driver.master": "this value is managed by the operator",
    "spark.kubernetes.container.image": "use the image field on the CRD instead",
    "spark.kubernetes.driver.container.image": "use the image field on the CRD instead",
    "spark.kubernetes.executor.container.image": "use the image field on the CRD instead",
}


def operators_webhook(kind, found):
    """The validating webhook of the Kubeflow Spark Operator."""
    if kind != "sparkapplications":
        return None
    for key in found["spec"].get("sparkConf") or {}:
        if key in _DENIED:
            webhook = 'admission webhook "validate-sparkapplication.sparkoperator.k8s.io" denied the request: '
            return f'{webhook}sparkConf key "{key}" is not allowed: {_DENIED[key]}'
    return None


def webhook_that_is_away(kind, found):
    """The operator's webhook while its pod is not there."""
    if kind != "sparkapplications":
        return None
    webhook = 'failed calling webhook "mutate-sparkoperator-k8s-io-v1beta2-sparkapplication.sparkoperator.k8s.io"'
    return f"Internal error occurred: {webhook}: failed to call webhook: dial tcp 10.96.0.164:9443: connection refused"


def _bytes(text):
    number, unit = re.fullmatch(r"(\d+)(\w*)", text).groups()
    return int(number) * _UNITS[unit]


def kueue(kind, found):
    """Kueue's webhook: what bears the name of a queue is held until the queue admits it. Refuses nothing."""
    labels = found["metadata"].get("labels") or {}
    if "kueue.x-k8s.io/queue-name" in labels:
        if kind == "sparkapplications":
            found["spec"]["suspend"] = True
        # Not the pods of what it has admitted as a whole.
        elif kind == "pods" and "sparkoperator.k8s.io/launched-by-spark-operator" not in labels:
            found["spec"]["schedulingGates"] = [{"name": "kueue.x-k8s.io/admission"}]


def before_pod_templates(kind, found):
    """A resource definition of an old operator, which drops what it does not know. Refuses nothing."""
    if kind == "sparkapplications":
        for role in ("driver", "executor"):
            found["spec"][role].pop("template", None)
