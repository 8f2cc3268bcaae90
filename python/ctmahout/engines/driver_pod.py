"""The settings of a driver that runs in this pod, in Spark's client mode: the pod's address and name."""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping
from pathlib import Path

from ..errors import CtmahoutError
from .kubernetes_api import KubernetesApi
from .pods import Pods

__all__ = ["driver_pod_settings"]

# Kubernetes mounts it into every pod that may ask its API.
_NAMESPACE = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")
_WILDCARDS = ("0.0.0.0", "::", "[::]")
_BIND = "spark.driver.bindAddress"


def driver_pod_settings(master: str, conf: Mapping[str, str]) -> dict[str, str]:
    """Return where executors find a driver in the place of this process, and in a pod also who owns them.

    Parameters
    ----------
    master : str
        ``k8s://https://HOST:PORT``.
    conf : mapping
        The user's settings, which override these.
    """
    settings = {}
    # Spark 4.3 gives executors the address that the driver binds to, and this one is their own.
    if conf.get(_BIND) in _WILDCARDS:
        settings["spark.kubernetes.executor.useDriverPodIP"] = "false"
    address = _address()
    if address is None:
        return settings
    # Host names of pods are known to their own pod only.
    settings |= {"spark.driver.host": address, _BIND: address}
    if _is_this_pod(socket.gethostname(), master, conf):
        # Kubernetes removes executors with their owner, however the driver ends.
        settings["spark.kubernetes.driver.pod.name"] = socket.gethostname()
    return settings


def _address() -> str | None:
    """Return the address of this pod in the network of its cluster; None outside of Kubernetes."""
    host, port = os.environ.get("KUBERNETES_SERVICE_HOST"), os.environ.get("KUBERNETES_SERVICE_PORT", "443")
    if host is None:
        return None
    try:
        (family, kind, protocol, _, target), *_ = socket.getaddrinfo(host, int(port), type=socket.SOCK_DGRAM)
        with socket.socket(family, kind, protocol) as route:
            route.connect(target)  # chooses the interface, and sends nothing
            return str(route.getsockname()[0])
    except (OSError, ValueError):
        return None


def _is_this_pod(name: str, master: str, conf: Mapping[str, str]) -> bool:
    """Return whether a pod of this name is in the executors' namespace; Spark fails if it names one that is not."""
    try:
        namespace = _NAMESPACE.read_text(encoding="utf-8").strip()
        return namespace == conf.get("spark.kubernetes.namespace", "default") and (
            Pods(KubernetesApi(master, conf)).get(name) is not None
        )
    except (OSError, CtmahoutError):  # no account, no client, no right
        return False
