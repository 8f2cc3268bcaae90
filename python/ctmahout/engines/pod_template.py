"""The pods of drivers and executors: the project's own settings, and over them those of a file of the user's."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

from ..options import option_error

__all__ = ["FS_GROUP", "SECURITY", "pod_template"]

# Pod security standard "restricted"; 185 is the user of Spark's images and of ctmahout's.
_POD_SECURITY = {"runAsNonRoot": True, "runAsUser": 185, "seccompProfile": {"type": "RuntimeDefault"}}
_CONTAINER_SECURITY = {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}
SECURITY = _POD_SECURITY | _CONTAINER_SECURITY
# Volumes whose driver honours it are open to that user.
FS_GROUP = {"fsGroup": 185}


def pod_template(file: str | None) -> dict[str, Any]:
    """Return a template for the pods of drivers and executors, for ``spark.kubernetes.*.podTemplateFile``.

    Parameters
    ----------
    file : str, optional
        A Pod as YAML or JSON. Its values override the project's, one by one, and null removes one. Its first container
        is Spark's; more are added.

    Raises
    ------
    ConfigError
        CTM_CONFIG_VALUE: no such file, or no Pod in it.
    """
    template: dict[str, Any] = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {},
        "spec": {"securityContext": copy.deepcopy(_POD_SECURITY | FS_GROUP)},
    }
    container = {"name": "spark", "securityContext": copy.deepcopy(_CONTAINER_SECURITY)}
    pod = {} if file is None else _read(file)
    first, *others = (pod.get("spec") or {}).get("containers") or [{}]
    _merge(container, {key: value for key, value in first.items() if key != "name"})
    _merge(template, pod)
    template["spec"]["containers"] = [container, *others]
    return template


def _read(file: str) -> dict[str, Any]:
    expected = "a file with one Pod as YAML or JSON, whose containers, if any, are objects"
    try:
        text = Path(file).read_text(encoding="utf-8")
        pod = _parse(text)
    except (OSError, ValueError) as e:
        raise option_error("pod_template", file, expected) from e
    spec = pod.get("spec") if isinstance(pod, dict) else None
    if not isinstance(pod, dict) or pod.get("kind", "Pod") != "Pod" or not isinstance(spec or {}, dict):
        raise option_error("pod_template", file, expected)
    containers = (spec or {}).get("containers") or []
    if not isinstance(containers, list) or not all(isinstance(container, dict) for container in containers):
        raise option_error("pod_template", file, expected)
    return {key: value for key, value in pod.items() if value is not None}


def _parse(text: str) -> Any:
    try:
        import yaml  # comes with lightkube
    except ImportError:
        return json.loads(text)
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError as e:
        raise ValueError("not YAML") from e


def _merge(target: dict[str, Any], patch: dict[str, Any]) -> None:
    """Apply a JSON merge patch (RFC 7386)."""
    for key, value in patch.items():
        if value is None:
            target.pop(key, None)
        elif isinstance(value, dict) and isinstance(target.get(key), dict):
            _merge(target[key], value)
        else:
            target[key] = copy.deepcopy(value)
