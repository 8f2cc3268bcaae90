"""A real Kubernetes of one node: etcd, its control plane, containerd, kubelet and kube-proxy, as processes of this one.

Runs in the namespaces that `run.sh` makes, where programs find their usual places empty and nothing else has a network.
"""

import json
import os
import shutil
import signal
import ssl
import subprocess
import threading
import time
import urllib.request
from contextlib import suppress
from pathlib import Path

CONFIG = Path(__file__).with_name("node")
STATE = Path("/var/lib/kubernetes")
NAME, ADDRESS, SERVICES = "node", "10.78.0.1", "10.96.0.0/24"
MASTER = f"https://{ADDRESS}:6443"
# The API server signs its own certificate, with an authority that stands behind it in the same file.
AUTHORITY = STATE / "apiserver.crt"
KUBECONFIG = STATE / "kubeconfig"
ADMIN = "an-admin-of-this-node-only"


def wait(condition, seconds=60, pause=0.25):
    """Wait until a condition is met, and return what it gave last."""
    deadline = time.monotonic() + seconds
    while not (met := condition()) and time.monotonic() < deadline:
        time.sleep(pause)
    return met


class Process:
    """A program of the node, with its log."""

    def __init__(self, logs, name, *command):
        self.log, self.name, self._command = logs / f"{name}.log", name, command
        self._process = None

    def start(self):
        # A session of its own: Ctrl-C in the terminal is for the tests.
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(self._command, stdout=log, stderr=log, start_new_session=True)

    def check(self):
        if (code := self._process.poll()) is not None:
            raise RuntimeError(f"{self.name} ended with {code}: {self.log}\n{self.log.read_text()[-2000:]}")

    def kill(self):
        """End it as a power cut does."""
        self._process.kill()
        self._process.wait()

    def stop(self):
        self._process.terminate()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self.kill()

    def signal(self, number):
        self._process.send_signal(number)


class Node:
    """The node, from its start to its end; `build` is the folder of `run.sh` with programs, images and logs."""

    def __init__(self, build):
        self._images, self._logs = build / "images.tar", build / "logs"
        self._processes = []
        self._ends = threading.Event()
        # The same commands for every start: a server that comes back finds its certificate and its data.
        self.api_server = Process(
            self._logs,
            "kube-apiserver",
            "kube-apiserver",
            f"--advertise-address={ADDRESS}",
            "--etcd-servers=http://127.0.0.1:2379",
            f"--service-cluster-ip-range={SERVICES}",
            f"--cert-dir={STATE}",
            f"--token-auth-file={STATE / 'tokens.csv'}",
            "--authorization-mode=Node,RBAC",
            f"--service-account-signing-key-file={STATE / 'accounts.key'}",
            f"--service-account-key-file={STATE / 'accounts.key'}",
            "--service-account-issuer=https://kubernetes.default.svc",
            "--endpoint-reconciler-type=master-count",
            "--kubelet-preferred-address-types=InternalIP",
            f"--audit-policy-file={CONFIG / 'audit.yaml'}",
            f"--audit-log-path={self._logs / 'audit.log'}",
        )

    def __enter__(self):
        try:
            self._prepare()
            self._start_control_plane()
            self._start_node()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        """End all, pods first."""
        self._ends.set()
        with suppress(Exception):
            self.kubectl("delete", "pods", "--all", "--all-namespaces", "--force", "--grace-period=0", "--timeout=20s")
        for process in reversed(self._processes):
            process.stop()
        # Each pod has a shim, which outlives containerd.
        for folder in Path("/proc").glob("[0-9]*"):
            with suppress(OSError):
                if b"containerd-shim" in (folder / "cmdline").read_bytes():
                    os.kill(int(folder.name), signal.SIGKILL)

    def kubectl(self, *args, input=None, warnings_are_errors=False):
        """Run kubectl as an administrator and return what it prints."""
        command = ["kubectl", "--kubeconfig", KUBECONFIG, f"--warnings-as-errors={str(warnings_are_errors).lower()}", *args]
        process = subprocess.run(command, input=input, capture_output=True, text=True, check=False, timeout=120)
        if process.returncode != 0:
            raise RuntimeError(f"kubectl {' '.join(map(str, args))}: {process.stderr}")
        return process.stdout

    def get(self, *args):
        """Objects, or one, as they are in JSON."""
        found = json.loads(self.kubectl("get", *args, "--output", "json"))
        return found.get("items", found)

    def apply(self, *documents, namespace, options=()):
        """Apply objects to a namespace, by the server's rules: unknown fields are errors."""
        text = json.dumps({"apiVersion": "v1", "kind": "List", "items": documents})
        return self.kubectl("apply", "-f", "-", "-n", namespace, "--validate=strict", *options, input=text)

    def is_ready(self):
        """Whether the API server answers that it is ready."""
        with suppress(OSError):
            return self._read("/readyz") == b"ok"
        return False

    def _read(self, path):
        context = ssl.create_default_context(cafile=str(AUTHORITY))
        request = urllib.request.Request(MASTER + path, headers={"Authorization": f"Bearer {ADMIN}"})
        with urllib.request.urlopen(request, context=context, timeout=5) as answer:
            return answer.read()

    def requests(self, account):
        """Verb, resource and code of every request of a service account, from the audit log."""
        lines = (self._logs / "audit.log").read_text().splitlines()
        events = [json.loads(line) for line in lines]
        return {
            (event["verb"], _resource(event["objectRef"]), event["responseStatus"]["code"])
            for event in events
            if event["user"]["username"] == account and "objectRef" in event
        }

    def _prepare(self):
        STATE.mkdir()
        self._logs.mkdir(exist_ok=True)
        for log in self._logs.glob("*.log"):
            log.unlink()
        subprocess.run(["openssl", "genrsa", "-out", STATE / "accounts.key", "2048"], check=True, capture_output=True)
        (STATE / "tokens.csv").write_text(f'{ADMIN},admin,admin,"system:masters"\n')
        cluster = {"server": MASTER, "certificate-authority": str(AUTHORITY)}
        config = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "here", "cluster": cluster}],
            "users": [{"name": "admin", "user": {"token": ADMIN}}],
            "contexts": [{"name": "here", "context": {"cluster": "here", "user": "admin"}}],
            "current-context": "here",
        }
        KUBECONFIG.write_text(json.dumps(config))
        Path("/run/cni").mkdir()
        shutil.copy(CONFIG / "network.conflist", "/run/cni")
        # The bridge of the pods, which the network's plugin would make with the first pod: kubelet wants its address.
        for words in ("link add pods type bridge", f"address add {ADDRESS}/24 dev pods", "link set pods up"):
            subprocess.run(["ip", *words.split()], check=True)
        Path("/proc/sys/net/ipv4/ip_forward").write_text("1")
        for group in _control_groups():
            group.mkdir(exist_ok=True)

    def _start_control_plane(self):
        # Go names a program of a module's version 3 after the folder above.
        self._start("etcd", "server", "--data-dir=/var/lib/etcd", "--unsafe-no-fsync")
        self.api_server.start()
        self._processes.append(self.api_server)
        assert wait(self.is_ready, 120), self.api_server.log.read_text()[-2000:]
        self._start(
            "kube-controller-manager",
            "kube-controller-manager",
            f"--kubeconfig={KUBECONFIG}",
            f"--service-account-private-key-file={STATE / 'accounts.key'}",
            f"--root-ca-file={AUTHORITY}",
            "--controllers=*,-nodeipam",
            "--leader-elect=false",
        )
        self._start("kube-scheduler", "kube-scheduler", f"--kubeconfig={KUBECONFIG}", "--leader-elect=false")

    def _start_node(self):
        self._start("containerd", "containerd", "--config", str(CONFIG / "containerd.toml"))
        assert wait(lambda: subprocess.run(["ctr", "version"], capture_output=True).returncode == 0)
        subprocess.run(["ctr", "--namespace", "k8s.io", "images", "import", self._images], check=True, capture_output=True)
        self._start(
            "kubelet",
            "kubelet",
            f"--config={CONFIG / 'kubelet.yaml'}",
            f"--kubeconfig={KUBECONFIG}",
            f"--hostname-override={NAME}",
            f"--node-ip={ADDRESS}",
        )
        self._start(
            "kube-proxy",
            "kube-proxy",
            f"--kubeconfig={KUBECONFIG}",
            f"--hostname-override={NAME}",
            "--proxy-mode=iptables",
            "--cluster-cidr=10.78.0.0/24",
            "--conntrack-max-per-core=0",
        )
        hosts = Path("/run/hosts")
        hosts.touch()
        names = self._start(
            "dnsmasq",
            "dnsmasq",
            "--keep-in-foreground",
            "--user=root",
            "--no-resolv",
            "--no-hosts",
            "--local=/cluster.local/",
            "--bind-interfaces",
            f"--listen-address={ADDRESS}",
            f"--addn-hosts={hosts}",
            "--pid-file=",
        )
        threading.Thread(target=self._name_services, args=(hosts, names), daemon=True).start()
        assert wait(self._node_is_ready, 120), "the node does not become ready: look at build/k8s/logs/kubelet.log"

    def _start(self, name, *command):
        process = Process(self._logs, name, *command)
        process.start()
        self._processes.append(process)
        return process

    def _node_is_ready(self):
        for process in self._processes:
            process.check()
        nodes = self.get("nodes")
        conditions = nodes[0]["status"].get("conditions", []) if nodes else []
        return any(c["type"] == "Ready" and c["status"] == "True" for c in conditions)

    def _name_services(self, hosts, names):
        """Keep the names of services where dnsmasq reads them, in the place of CoreDNS."""
        while not self._ends.wait(0.3):
            # An API server that is away has no new services.
            with suppress(OSError):
                slices = json.loads(self._read("/apis/discovery.k8s.io/v1/endpointslices"))["items"]
                services = json.loads(self._read("/api/v1/services"))["items"]
                text = "".join(sorted(_lines(services, slices)))
                if text != hosts.read_text():
                    hosts.write_text(text)
                    names.signal(signal.SIGHUP)


def _lines(services, slices):
    """Lines of a hosts file: services by their address, those without one by the addresses of their pods."""
    for service in services:
        name, namespace = service["metadata"]["name"], service["metadata"]["namespace"]
        addresses = [service["spec"].get("clusterIP")]
        if addresses == ["None"]:
            label = "kubernetes.io/service-name"
            addresses = [
                address
                for part in slices
                if part["metadata"]["namespace"] == namespace and part["metadata"]["labels"].get(label) == name
                for endpoint in part["endpoints"] or ()
                for address in endpoint["addresses"]
            ]
        for address in addresses:
            yield f"{address} {name}.{namespace}.svc.cluster.local\n"


def _resource(reference):
    return "/".join(filter(None, [reference["resource"], reference.get("subresource")]))


def _control_groups():
    """The node's own control group: one, or of version 1 one for each controller."""
    top = Path("/sys/fs/cgroup")
    if (top / "cgroup.controllers").exists():
        return [top / "ctmahout-k8s"]
    return [folder / "ctmahout-k8s" for folder in top.iterdir() if (folder / "tasks").exists()]
