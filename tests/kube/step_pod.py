"""The pod that Kubeflow Pipelines 2.16 and later make of a step, as far as an admission and the step see it.

Read in their sources, none of which runs here: security contexts in Kubeflow's compiler for Argo
(argocompiler/security_context.go), `executor` in its workflow-controller-configmap, containers in workflowpod.go of
Argo 3.7.
"""

_BARRED = {
    "allowPrivilegeEscalation": False,
    "capabilities": {"drop": ["ALL"]},
    "seccompProfile": {"type": "RuntimeDefault"},
}
_ARGO = _BARRED | {"runAsNonRoot": True, "runAsUser": 65532}
_LAUNCHER = _BARRED | {"runAsNonRoot": True}
_SCRATCH = ("/kfp-launcher", "/gcs", "/s3", "/minio", "/.local", "/.cache", "/.config")


def step_pod(name, settings, image, command, claim=None):
    """Return the pod of a step with the settings of `kfp.kubernetes`; what Argo and Kubeflow add to it does nothing."""
    asked = settings.get("securityContext", {})
    user = {"runAsUser": int(asked["runAsUser"])} if "runAsUser" in asked else {}
    root = {"runAsNonRoot": asked["runAsNonRoot"]} if "runAsNonRoot" in asked else {}
    scratch = {path: f"scratch-{number}" for number, path in enumerate(_SCRATCH)}
    volumes = [{"name": volume, "emptyDir": {}} for volume in scratch.values()]
    mounts = [{"name": volume, "mountPath": path} for path, volume in scratch.items()]
    if claim is not None:
        volumes.append({"name": "claim", "persistentVolumeClaim": {"claimName": claim}})
        mounts += [{"name": "claim", "mountPath": mount["mountPath"]} for mount in settings.get("pvcMount", ())]
    main = {"name": "main", "image": image, "command": command, "volumeMounts": mounts}
    main["securityContext"] = _BARRED | user | root

    def added(name, security):
        return {"name": name, "image": image, "command": ["true"], "securityContext": security}

    spec = {
        "securityContext": {"seccompProfile": {"type": "RuntimeDefault"}},
        "initContainers": [added("init", _ARGO), added("kfp-launcher", _LAUNCHER)],
        "containers": [added("wait", _ARGO), main],
        "volumes": volumes,
        "restartPolicy": "Never",
    }
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name} | settings["podMetadata"], "spec": spec}
