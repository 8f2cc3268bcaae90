"""A real Kubernetes of one node: etcd, its control plane, containerd, kubelet and kube-proxy, as processes of this one.

Runs in the namespaces that `run.sh` makes, where programs find their usual places empty and nothing else has a network.
"""

import json
import os
import signal
import ssl
import subprocess
import threading
import urllib.request
from contextlib import suppress
from pathlib import Path

from helpers import wait

LOGS, STATE = Path("/var/log"), Path("/var/lib/kubernetes")
# Files of the folder `node` beside this one.
CONFIG = Path("/run/node")
NAME, ADDRESS, PODS, SERVICES = "node", "10.78.0.1", "10.78.0.0/24", "10.96.0.0/24"
MASTER = f"https://{ADDRESS}:6443"
# The API server signs its own certificate, with an authority that stands behind it in the same file.
AUTHORITY = STATE / "apiserver.crt"
KUBECONFIG = STATE / "kubeconfig"
ADMIN = "an-admin-of-this-node-only"
HOSTS = Path("/run/hosts")

ETCD = "--data-dir=/var/lib/etcd --unsafe-no-fsync"
API_SERVER = f"""
    --advertise-address={ADDRESS} --service-cluster-ip-range={SERVICES} --cert-dir={STATE}
    --etcd-servers=http://127.0.0.1:2379 --endpoint-reconciler-type=master-count
    --kubelet-preferred-address-types=InternalIP
    --authorization-mode=Node,RBAC --token-auth-file={STATE}/tokens.csv
    --service-account-issuer=https://kubernetes.default.svc
    --service-account-signing-key-file={STATE}/accounts.key --service-account-key-file={STATE}/accounts.key
    --audit-policy-file={CONFIG}/audit.yaml --audit-log-path={LOGS}/audit.log
"""
CONTROLLERS = f"""
    --kubeconfig={KUBECONFIG} --leader-elect=false --controllers=*,-nodeipam
    --root-ca-file={AUTHORITY} --service-account-private-key-file={STATE}/accounts.key
"""
SCHEDULER = f"--kubeconfig={KUBECONFIG} --leader-elect=false"
KUBELET = f"""
    --config={CONFIG}/kubelet.yaml --kubeconfig={KUBECONFIG} --hostname-override={NAME} --node-ip={ADDRESS}
"""
PROXY = f"""
    --kubeconfig={KUBECONFIG} --hostname-override={NAME} --proxy-mode=iptables --cluster-cidr={PODS}
    --conntrack-max-per-core=0
"""
# In the place of CoreDNS.
NAMES = f"""
    --keep-in-foreground --user=root --pid-file= --no-resolv --no-hosts --bind-interfaces --listen-address={ADDRESS}
    --local=/cluster.local/ --addn-hosts={HOSTS}
"""


class Process:
    """A program of the node, with its log; one that ended, or was killed, can be started again."""

    def __init__(self, name, arguments, program=None, environment=None):
        self.log, self.name = LOGS / f"{name}.log", name
        self._command, self._environment = [program or name, *arguments.split()], environment
        self._process = None

    def start(self):
        # A session of its own: Ctrl-C in the terminal is for the tests.
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                self._command, stdout=log, stderr=log, env=self._environment, start_new_session=True
            )

    def check(self):
        if (code := self._process.poll()) is not None:
            raise RuntimeError(f"{self.name} ended with {code}: {self.log.read_text()[-2000:]}")

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
    """The node, from its start to its end, with the images of an archive."""

    def __init__(self, images):
        self._images = images
        self._processes = []
        self._ends = threading.Event()
        self.api_server = Process("kube-apiserver", API_SERVER)

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
        with suppress(RuntimeError, subprocess.TimeoutExpired):
            self.kubectl("delete", "pods", "--all", "--all-namespaces", "--force", "--grace-period=0", "--timeout=20s")
        for process in reversed(self._processes):
            process.stop()

    def kubectl(self, *args, input=None, warnings_are_errors=False):
        """Run kubectl as an administrator and return what it prints."""
        options = ["--kubeconfig", KUBECONFIG, *(["--warnings-as-errors"] if warnings_are_errors else [])]
        process = subprocess.run(
            ["kubectl", *options, *args], input=input, capture_output=True, text=True, check=False, timeout=120
        )
        if process.returncode != 0:
            raise RuntimeError(f"kubectl {' '.join(map(str, args))}: {process.stderr}")
        return process.stdout

    def get(self, *args):
        """Objects, or one, as they are in JSON."""
        found = json.loads(self.kubectl("get", *args, "--output", "json"))
        return found.get("items", found)

    def apply(self, *documents, namespace):
        """Apply objects to a namespace; a field that the server does not know is an error."""
        text = json.dumps({"apiVersion": "v1", "kind": "List", "items": documents})
        return self.kubectl("apply", "-f", "-", "-n", namespace, "--validate=strict", input=text)

    def requests(self, account):
        """Verb, resource and code of every request of a service account, from the audit log."""
        events = [json.loads(line) for line in (LOGS / "audit.log").read_text().splitlines()]
        return {
            (event["verb"], _resource(event["objectRef"]), event["responseStatus"]["code"])
            for event in events
            if event["user"]["username"] == account and "objectRef" in event
        }

    def _prepare(self):
        STATE.mkdir()
        HOSTS.touch()
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
        # The bridge of the pods, which the network's plugin would make with the first pod: kubelet wants its address.
        bridge = ("link add pods type bridge", f"address add {ADDRESS}/24 dev pods", "link set pods up")
        # Services have rules of iptables only, and those come after a route.
        for words in (*bridge, f"route add {SERVICES} dev pods"):
            subprocess.run(["ip", *words.split()], check=True)
        Path("/proc/sys/net/ipv4/ip_forward").write_text("1")
        for group in _control_groups():
            group.mkdir(exist_ok=True)

    def _start_control_plane(self):
        # Go calls a program of a module's third version as the folder above.
        self._start(Process("etcd", ETCD, program="server"))
        self._start(self.api_server)
        assert wait(self._answers, 120), self.api_server.log.read_text()[-2000:]
        self._start(Process("kube-controller-manager", CONTROLLERS))
        self._start(Process("kube-scheduler", SCHEDULER))

    def _start_node(self):
        self._start(Process("containerd", f"--config={CONFIG}/containerd.toml"))
        assert wait(lambda: subprocess.run(["ctr", "version"], capture_output=True).returncode == 0)
        import_images = ["ctr", "--namespace", "k8s.io", "images", "import", self._images]
        subprocess.run(import_images, check=True, capture_output=True)
        self._start(Process("kubelet", KUBELET))
        self._start(Process("kube-proxy", PROXY))
        names = Process("dnsmasq", NAMES)
        self._start(names)
        threading.Thread(target=self._name_services, args=(names,), daemon=True).start()
        assert wait(self._is_ready, 120), (LOGS / "kubelet.log").read_text()[-2000:]

    def _start(self, process):
        process.start()
        self._processes.append(process)

    def _answers(self):
        with suppress(OSError):
            return self._read("/readyz") == b"ok"
        return False

    def _read(self, path):
        context = ssl.create_default_context(cafile=str(AUTHORITY))
        request = urllib.request.Request(MASTER + path, headers={"Authorization": f"Bearer {ADMIN}"})
        with urllib.request.urlopen(request, context=context, timeout=5) as answer:
            return answer.read()

    def _is_ready(self):
        for process in self._processes:
            process.check()
        nodes = self.get("nodes")
        conditions = nodes[0]["status"].get("conditions", []) if nodes else []
        return any(c["type"] == "Ready" and c["status"] == "True" for c in conditions)

    def _name_services(self, names):
        """Keep the names of services where dnsmasq reads them."""
        while not self._ends.wait(0.3):
            # An API server that is away has no new services.
            with suppress(OSError):
                slices = json.loads(self._read("/apis/discovery.k8s.io/v1/endpointslices"))["items"]
                services = json.loads(self._read("/api/v1/services"))["items"]
                text = "".join(sorted(_lines(services, slices)))
                if text != HOSTS.read_text():
                    HOSTS.write_text(text)
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


def kill_in_pod(pod, words):
    """Kill a process of a pod, as the kernel does: that with these words in its command."""
    uid = pod["metadata"]["uid"]
    for folder in Path("/proc").glob("[0-9]*"):
        # Others come and go.
        with suppress(OSError):
            group, command = (folder / "cgroup").read_text(), (folder / "cmdline").read_bytes()
            if uid in group and words in command:
                os.kill(int(folder.name), signal.SIGKILL)


def _resource(reference):
    return "/".join(filter(None, [reference["resource"], reference.get("subresource")]))


def _control_groups():
    """The node's own control group: one, or of version 1 one for each controller."""
    top = Path("/sys/fs/cgroup")
    if (top / "cgroup.controllers").exists():
        return [top / "ctmahout-k8s"]
    return [folder / "ctmahout-k8s" for folder in top.iterdir() if (folder / "tasks").exists()]
