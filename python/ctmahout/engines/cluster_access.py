"""Spark's settings, a kubeconfig or the account of this pod in, an HTTP client for the API of a cluster out.

lightkube knows what a kubeconfig means. What it would leave out is refused here: docs/adr/0049.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..errors import ConfigError

__all__ = ["access_error", "connect_to_cluster"]

_SUBMISSION = "spark.kubernetes.authenticate.submission."
# Spark's settings, and the fields of a kubeconfig's user that say the same.
_FILES = {"oauthTokenFile": "tokenFile", "clientCertFile": "client-certificate", "clientKeyFile": "client-key"}
_PATHS = ("certificate-authority", *_FILES.values())
# Fields that lightkube does not read. Without them it would be another server, or another user.
_NOT_READ = {
    "cluster": ("tls-server-name",),
    "user": ("auth-provider", "as", "as-uid", "as-groups", "as-user-extra"),
    "exec": ("provideClusterInfo",),
}
_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
_EXEC = "client.authentication.k8s.io/"


def connect_to_cluster(master: str | None, conf: Mapping[str, str]) -> tuple[Any, str]:
    """Return an HTTP client (``httpx2.Client``) for the API of a cluster, and the address of the API.

    Parameters
    ----------
    master : str, optional
        Spark's master, ``k8s://https://HOST:PORT``; by default the cluster of the kubeconfig or of this pod.
    conf : mapping
        Spark's settings. Context and credentials are read from the same ones as by spark-submit.

    Raises
    ------
    ConfigError
        CTM_EXTRA_MISSING: lightkube is not installed. CTM_KUBERNETES_ACCESS: address or credentials cannot be used.
    """
    try:
        import lightkube
        from httpx2 import InvalidURL
        from lightkube.config.client_adapter import Client, ConnectionParams
        from msgspec import MsgspecError
        from yaml import YAMLError
    except ImportError as e:
        raise ConfigError(
            "CTM_EXTRA_MISSING", what="Cluster mode on Kubernetes", package="lightkube", extra="kubernetes"
        ) from e
    # Of what is no kubeconfig, too; and a proxy may need a library for SOCKS.
    unusable = (AttributeError, ImportError, LookupError, OSError, TypeError, ValueError, YAMLError, MsgspecError)
    try:
        cluster, user = _kubeconfig(conf.get("spark.kubernetes.context")) or _account_of_pod() or ({}, {})
        cluster_setting, user_setting = _settings(master, conf)
        cluster |= cluster_setting
        user = user_setting or user
        if "server" not in cluster:
            raise ValueError("there is no --master, no context of a kubeconfig, and no account of a pod")
        _check(cluster=cluster, user=user, exec=user.get("exec") or {})
        parts = {"cluster": cluster, "user": _with_exec(user), "context": {"cluster": "it", "user": "it"}}
        named = {f"{kind}s": [{"name": "it", kind: part}] for kind, part in parts.items()}
        config = lightkube.KubeConfig.from_dict({"current-context": "it", **named}).get()
        return Client(config, ConnectionParams(proxy=cluster.get("proxy-url"))), cluster["server"]
    except (*unusable, lightkube.ConfigError, InvalidURL) as e:
        raise access_error(e) from e


def access_error(error: Exception) -> ConfigError:
    """Return CTM_KUBERNETES_ACCESS for an error."""
    detail = f"{error} is missing" if isinstance(error, LookupError) else str(error)
    return ConfigError("CTM_KUBERNETES_ACCESS", detail=" ".join(detail.split()).rstrip("."))


def _kubeconfig(context: str | None) -> tuple[dict[str, Any], dict[str, Any]] | None:
    """Return cluster and user of a context; None if there is no kubeconfig, or none that has a current context."""
    import yaml

    names = (os.environ.get("KUBECONFIG") or "~/.kube/config").split(os.pathsep)
    files = [file for file in (Path(name).expanduser().absolute() for name in names) if file.is_file()]
    documents = {file: yaml.safe_load(file.read_text(encoding="utf-8")) or {} for file in files}
    if context is None:
        context = next(filter(None, (document.get("current-context") for document in documents.values())), None)
        if context is None:
            return None
    chosen = _part(documents, "context", context)
    return (
        _part(documents, "cluster", chosen["cluster"]),
        _part(documents, "user", chosen["user"]) if chosen.get("user") else {},
    )


def _part(documents: Mapping[Path, Mapping[str, Any]], kind: str, name: str) -> dict[str, Any]:
    """Return a context, cluster or user of the first kubeconfig that has it; paths are relative to their file."""
    for file, document in documents.items():
        for entry in document.get(f"{kind}s") or ():
            if entry["name"] == name:
                part = entry[kind] or {}
                return part | {field: str(file.parent / part[field]) for field in _PATHS if part.get(field)}
    where = " and ".join(map(str, documents)) or "a kubeconfig that is not there"
    raise ValueError(f"there is no {kind} {name} in {where}")


def _account_of_pod() -> tuple[dict[str, Any], dict[str, Any]] | None:
    """Return cluster and user of the pod that this process runs in; None outside of one."""
    import lightkube

    try:
        config: Any = lightkube.KubeConfig.from_service_account(_ACCOUNT).get()
    except (lightkube.ConfigError, KeyError):
        return None
    cluster = {"server": config.cluster.server, "certificate-authority": config.cluster.certificate_auth}
    # The file, for Kubernetes writes another token into it from time to time.
    return cluster, {"tokenFile": config.user.token_file}


def _settings(master: str | None, conf: Mapping[str, str]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return what Spark's settings say of cluster and user."""
    submission = {key.removeprefix(_SUBMISSION): value for key, value in conf.items() if key.startswith(_SUBMISSION)}
    cluster: dict[str, Any] = {}
    user: dict[str, Any] = {}
    if master is not None:
        url = master.removeprefix("k8s://")
        cluster["server"] = url if "://" in url else f"https://{url}"
    if "caCertFile" in submission:
        cluster["certificate-authority"] = str(Path(submission["caCertFile"]).absolute())
    if "oauthToken" in submission:
        user["token"] = submission["oauthToken"]
    user |= {field: str(Path(submission[key]).absolute()) for key, field in _FILES.items() if key in submission}
    return cluster, user


def _check(**parts: Mapping[str, Any]) -> None:
    """Raise ValueError if there is what would be left out."""
    for name, part in parts.items():
        for field in _NOT_READ[name]:
            if part.get(field):
                raise ValueError(f"the kubeconfig's {name} has {field}, which is not supported")


def _with_exec(user: dict[str, Any]) -> dict[str, Any]:
    """Return a user whose credential plugin, if any, is told what it is asked for."""
    plugin = user.get("exec")
    if not plugin:
        return user
    version = plugin["apiVersion"]
    info = {"apiVersion": version, "kind": "ExecCredential", "spec": {"interactive": os.isatty(0)}}
    env = [*(plugin.get("env") or ()), {"name": "KUBERNETES_EXEC_INFO", "value": json.dumps(info)}]
    # In what lightkube reads of the answer, the token, v1 is as v1beta1; v1 itself it does not know.
    known = f"{_EXEC}v1beta1" if version == f"{_EXEC}v1" else version
    return user | {"exec": plugin | {"apiVersion": known, "env": env}}
