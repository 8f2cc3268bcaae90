"""The node of a small Kubernetes: each pod becomes a container of podman, with its memory limit."""

import json
import re
import shutil
import subprocess
import threading
import time
from pathlib import Path

from .node import Node, place

_UNITS = {"Ki": 2**10, "Mi": 2**20, "Gi": 2**30, "Ti": 2**40, "": 1}
_CAPACITY = 64 * 2**30
_ACCOUNT = "/var/run/secrets/kubernetes.io/serviceaccount"


class Kubelet(Node):
    """Starts and watches containers.

    `podman` runs podman with arguments and returns a CompletedProcess; `network` is its name, `subnet` the first three
    numbers of its addresses; `claims` has the folder of each volume claim.
    """

    def __init__(self, store, podman, network, subnet, folder, claims=None):
        super().__init__(store)
        self.folder, self.claims = Path(folder), claims or {}
        self._podman, self._network, self._subnet = podman, network, subnet
        self._next = 9
        self._lock = threading.Lock()

    def start(self, pod):
        threading.Thread(target=self._live, args=(pod,), daemon=True).start()

    def stop(self, pod):
        """Stop a pod as a deletion does: its preStop hook, TERM, the time of grace, KILL."""
        grace = pod["metadata"].get("deletionGracePeriodSeconds", pod["spec"].get("terminationGracePeriodSeconds", 30))
        if hook := (pod["spec"]["containers"][0].get("lifecycle") or {}).get("preStop"):
            self._podman("exec", container(pod), "timeout", str(grace), *hook["exec"]["command"])
        self._podman("stop", "--ignore", "-t", str(grace), container(pod))

    def remove(self, pod):
        self._podman("rm", "-f", "--ignore", container(pod))
        shutil.rmtree(self.folder / container(pod), ignore_errors=True)

    def evict(self, pod, message):
        """Fail a pod, as a node does that needs its memory for others."""
        self.store.change("pods", *place(pod), lambda o: o["status"].update(reason="Evicted", message=message))
        self._podman("kill", container(pod))

    def log(self, pod):
        return subprocess.run(
            ["podman", "logs", container(pod)], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False
        ).stdout

    def _live(self, pod):
        spec = pod["spec"]["containers"][0]
        if memory(spec, "requests") > _CAPACITY:
            refused = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable"}
            self.report(
                pod, "Pending", conditions=[refused | {"message": "0/1 nodes are available: Insufficient memory."}]
            )
            return
        if self._podman("image", "exists", spec["image"]).returncode != 0:
            why = {"reason": "ImagePullBackOff", "message": f'Back-off pulling image "{spec["image"]}"'}
            self.report(pod, "Pending", {"waiting": why})
            return
        with self._lock:
            self._next += 1
            address = f"{self._subnet}.{self._next}"
        self.report(pod, "Pending", {"waiting": {"reason": "ContainerCreating"}}, podIP=address)
        mounts = self._mounts(pod, spec)
        if mounts is None:
            return
        run = self._podman(
            "run", "-d", *self._arguments(pod, spec, address), *mounts, spec["image"], *spec.get("args", ())
        )
        if run.returncode != 0:
            self.report(pod, "Pending", {"waiting": {"reason": "CreateContainerError", "message": run.stderr[-500:]}})
            return
        self.report(pod, "Running", {"running": {}})
        while True:
            self._podman("wait", container(pod))  # to ask again and again takes a sixth of a core
            seen = self._podman("inspect", "--format", "{{json .State}}", container(pod))
            if seen.returncode != 0:
                return  # it was deleted
            state = json.loads(seen.stdout)
            if state["Status"] in ("exited", "stopped"):
                starved = state["OOMKilled"] or self._starved(pod)
                self.report_end(pod, state["ExitCode"], "OOMKilled" if starved else None)
                return
            time.sleep(0.3)

    def _starved(self, pod):
        """Tell whether the kernel killed a process of this container: on cgroup v1 podman does not say so."""
        number = self._podman("inspect", "--format", "{{.Id}}", container(pod)).stdout.strip()
        said = subprocess.run(["dmesg"], capture_output=True, text=True, check=False).stdout
        return any("oom-kill:" in line and number in line for line in said.splitlines() if number)

    def _arguments(self, pod, spec, address):
        namespace, name = place(pod)
        arguments = ["--name", container(pod), "--hostname", name, "--network", self._network, "--ip", address]
        for service in self.store.list("services", namespace):
            for one in self.store.list("pods", namespace):
                wanted = service["spec"].get("selector") or {"": ""}
                if wanted.items() <= (one["metadata"].get("labels") or {}).items() and "podIP" in one.get("status", {}):
                    host = f"{service['metadata']['name']}.{namespace}.svc"
                    arguments += ["--add-host", f"{host}:{one['status']['podIP']}"]
        if limit := memory(spec, "limits"):
            arguments += ["--memory", str(limit), "--memory-swap", str(limit)]
        rights = pod["spec"].get("securityContext") or {}
        if "runAsUser" in rights:
            arguments += ["--user", f"{rights['runAsUser']}:{rights.get('runAsGroup', 0)}"]
        # podman's own folders for a read-only root would hide who writes beside the volumes.
        if (spec.get("securityContext") or {}).get("readOnlyRootFilesystem"):
            arguments += ["--read-only", "--read-only-tmpfs=false"]
        for capability in ((spec.get("securityContext") or {}).get("capabilities") or {}).get("drop", ()):
            arguments += ["--cap-drop", capability]
        for variable in spec.get("env", ()):
            field = variable.get("valueFrom", {}).get("fieldRef", {}).get("fieldPath")
            known = {"status.podIP": address, "metadata.name": name}
            arguments += ["--env", f"{variable['name']}={known[field] if field else variable.get('value', '')}"]
        return arguments

    def _mounts(self, pod, spec):
        """Make the folders of a pod's volumes; wait for config maps, as a node does. None: the pod is gone."""
        namespace, name = place(pod)
        folder = self.folder / container(pod)
        account = folder / "account"
        account.mkdir(parents=True)
        (account / "token").write_text(pod["spec"].get("serviceAccountName", "default"))
        (account / "namespace").write_text(namespace)
        mounts = ["-v", f"{account}:{_ACCOUNT}:ro"]
        sources = {volume["name"]: volume for volume in pod["spec"].get("volumes", ())}
        for mount in spec.get("volumeMounts", ()):
            source = sources.get(mount["name"], {})
            if "hostPath" in source:
                path = Path(source["hostPath"]["path"])
            elif "persistentVolumeClaim" in source:
                path = Path(self.claims[source["persistentVolumeClaim"]["claimName"]])
            else:
                path = folder / mount["name"]
                path.mkdir(exist_ok=True)
                path.chmod(0o777)
            if "configMap" in source:
                while (found := self.store.get("configmaps", namespace, source["configMap"]["name"])) is None:
                    if self.store.get("pods", namespace, name) is None:
                        return None
                    time.sleep(0.1)
                items = source["configMap"].get("items") or [
                    {"key": key, "path": key} for key in found.get("data") or {}
                ]
                for item in items:
                    (path / item["path"]).write_text(found["data"][item["key"]])
            mounts += ["-v", f"{path}:{mount['mountPath']}"]
        return mounts


def container(pod):
    return "kube-" + pod["metadata"]["uid"]


def memory(spec, kind):
    number, unit = re.fullmatch(r"(\d*)(\w*)", str(spec.get("resources", {}).get(kind, {}).get("memory", "0"))).groups()
    return int(number) * _UNITS[unit]
