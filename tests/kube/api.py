"""A small Kubernetes API: what Spark and a launcher ask of one, with rights by service account. No TLS, one node."""

import json
import threading
import time
import urllib.parse
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from .store import Store, json_patch, merge, selector

KINDS = {
    "pods": "Pod",
    "services": "Service",
    "configmaps": "ConfigMap",
    "persistentvolumeclaims": "PersistentVolumeClaim",
    "networkpolicies": "NetworkPolicy",
    "sparkapplications": "SparkApplication",
}


# How long a deleted pod can still be seen after its end. A poll a second must meet it, as it does on a real cluster.
LINGER_S = 1.2


class Cluster:
    """An API on a port of its own, and its node.

    `node` makes the node of a store; `roles` has the rules of each account's Role; a token is its name. Each check of
    `admission` is asked about each new object; one with a reason is refused.
    """

    def __init__(self, node, roles):
        self.store = Store()
        self.roles = roles
        self.node = node(self.store)
        self.admission = []
        self.used = set()
        self.answers = threading.Event()  # cleared: requests are taken and not answered
        self.answers.set()
        self._without_rights_until = 0.0
        self._server = ThreadingHTTPServer(("0.0.0.0", 0), type("Bound", (Handler,), {"cluster": self}))
        self._server.daemon_threads = True
        self.port = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    def close(self):
        self.answers.set()
        for pod in self.store.list("pods", "default"):
            self.node.stop(pod)
            self.node.remove(pod)
        self._server.shutdown()
        self._server.server_close()

    def add(self, kind, namespace, found):
        """Add an object, and start it if it is a pod."""
        if kind == "pods":
            found["status"] = {"phase": "Pending"}
        made = self.store.put(kind, namespace, found)
        if kind == "pods":
            self.node.start(made)
        return made

    def restart(self, seconds=2.0):
        """Know no role for some seconds, as an API server that has just started."""
        self._without_rights_until = time.monotonic() + seconds

    def may(self, account, verb, resource):
        return time.monotonic() > self._without_rights_until and any(
            resource in rule["resources"] and verb in rule["verbs"] for rule in self.roles.get(account, ())
        )

    def delete(self, kind, namespace, name):
        """Delete an object, and what it owns: a pod once its container has ended."""
        found = self.store.get(kind, namespace, name)
        if found is None:
            return None
        if kind == "pods":
            if "deletionTimestamp" in found["metadata"]:
                return found
            stamp = {"deletionTimestamp": "2026-01-01T00:00:00Z"}
            found = self.store.change(kind, namespace, name, lambda o: o["metadata"].update(stamp))
            threading.Thread(target=self._end, args=(found,), daemon=True).start()
        else:
            self._forget(kind, namespace, name)
        return found

    def _end(self, pod):
        self.node.stop(pod)
        time.sleep(LINGER_S)
        self.node.remove(pod)
        self._forget("pods", pod["metadata"]["namespace"], pod["metadata"]["name"])

    def _forget(self, kind, namespace, name):
        for owned in self.store.remove(kind, namespace, name):
            self.delete(*owned)


class Handler(BaseHTTPRequestHandler):
    """One request: /api/v1/namespaces/NAMESPACE/KIND[/NAME[/log]], or /apis/GROUP/VERSION/namespaces/...."""

    protocol_version = "HTTP/1.1"
    cluster: Cluster

    def _handle(self):
        self.cluster.answers.wait()
        path, _, query = self.path.partition("?")
        self.query = dict(urllib.parse.parse_qsl(query))
        group, _, place = path.partition("/namespaces/")
        parts = place.split("/")
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if len(parts) < 2 or parts[1] not in KINDS:
            return self._refuse(404, "NotFound", f"no {path} here")
        self.version = group.removeprefix("/apis/").removeprefix("/api/")
        namespace, kind, name = parts[0], parts[1], parts[2] if len(parts) > 2 else None
        resource = "/".join([kind, *parts[3:]])
        verb = self._verb(name)
        account = (self.headers.get("Authorization") or "").removeprefix("Bearer ") or "system:anonymous"
        applied = "apply-patch" in self.headers.get("Content-Type", "")
        makes = applied and self.cluster.store.get(kind, namespace, name) is None
        # To apply what is not there yet takes the right to create it, too.
        for needed in [verb, "create"] if makes else [verb]:
            if not self.cluster.may(account, needed, resource):
                return self._refuse(403, "Forbidden", self._no_right(account, needed, namespace, resource, name))
            self.cluster.used.add((account, needed, resource))
        # Who asked may have gone away, a watcher above all.
        with suppress(BrokenPipeError, ConnectionResetError):
            getattr(self, "_" + verb)(kind, namespace, name, resource, body)
        return None

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = _handle  # noqa: N815

    def _no_right(self, account, verb, namespace, resource, name):
        user = f"system:serviceaccount:{namespace}:{account}"
        group = self.version.rpartition("/")[0]
        which = f'{resource.split("/")[0]} "{name}"' if name else resource
        wish = f'cannot {verb} resource "{resource}" in API group "{group}" in the namespace "{namespace}"'
        return f'{which} is forbidden: User "{user}" {wish}'

    def _verb(self, name):
        if self.command == "GET":
            return "watch" if self.query.get("watch") in ("true", "1") else "get" if name else "list"
        verbs = {
            "POST": "create",
            "PUT": "update",
            "PATCH": "patch",
            "DELETE": "delete" if name else "deletecollection",
        }
        return verbs[self.command]

    def _get(self, kind, namespace, name, resource, body):
        found = self.cluster.store.get(kind, namespace, name)
        if found is None:
            return self._refuse(404, "NotFound", f'{kind} "{name}" not found')
        if resource == "pods/log":
            log = self.cluster.node.log(found)
            if log is None:
                where = f"https://node:10250/containerLogs/{namespace}/{name}/spark"
                return self._refuse(500, "InternalError", f'Get "{where}": dial tcp 10.0.0.1:10250: i/o timeout')
            return self._send(200, log, "text/plain")
        return self._answer(kind, found)

    def _list(self, kind, namespace, name, resource, body):
        store = self.cluster.store
        items = store.list(kind, namespace, selector(self.query))
        meta = {"resourceVersion": str(len(store.events))}
        shown = {"apiVersion": self.version, "kind": KINDS[kind] + "List", "metadata": meta, "items": items}
        self._send(200, json.dumps(shown).encode())

    def _watch(self, kind, namespace, name, resource, body):
        if "Upgrade" in self.headers:
            # Not 101: then Spark's client gives up on a WebSocket and asks for lines.
            return self._send(200, b"")
        store, matches = self.cluster.store, selector(self.query)
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        at = int(self.query.get("resourceVersion") or 0)
        while True:
            with store.changed:
                if not store.changed.wait_for(lambda at=at: len(store.events) > at, timeout=60):
                    self.wfile.write(b"0\r\n\r\n")
                    return None
                new, at = store.events[at:], len(store.events)
            for which, what, found in new:
                if which == kind and found["metadata"]["namespace"] == namespace and matches(found):
                    line = json.dumps({"type": what, "object": self._whole(kind, found)}).encode() + b"\n"
                    self.wfile.write(f"{len(line):x}\r\n".encode() + line + b"\r\n")

    def _create(self, kind, namespace, name, resource, body):
        found = json.loads(body)
        if self.cluster.store.get(kind, namespace, found["metadata"].get("name")):
            return self._refuse(409, "AlreadyExists", f'{kind} "{found["metadata"]["name"]}" already exists')
        for check in self.cluster.admission:
            if reason := check(kind, found):
                if reason.startswith("Internal error occurred"):
                    return self._refuse(500, "InternalError", reason)
                which = f'{kind} "{found["metadata"].get("name") or found["metadata"].get("generateName")}"'
                message = reason if reason.startswith("admission webhook") else f"{which} is forbidden: {reason}"
                return self._refuse(403, "Forbidden", message)
        return self._answer(kind, self.cluster.add(kind, namespace, found), 201)

    def _update(self, kind, namespace, name, resource, body):
        return self._answer(kind, self.cluster.store.put(kind, namespace, json.loads(body)))

    def _patch(self, kind, namespace, name, resource, body):
        patch = json.loads(body)
        change = json_patch if "json-patch" in self.headers["Content-Type"] else merge
        made = self.cluster.store.change(kind, namespace, name, lambda found: change(found, patch))
        if made is None and "apply-patch" in self.headers["Content-Type"]:
            made = self.cluster.add(kind, namespace, patch)
        if made is None:
            return self._refuse(404, "NotFound", f'{kind} "{name}" not found')
        return self._answer(kind, made)

    def _delete(self, kind, namespace, name, resource, body):
        found = self.cluster.delete(kind, namespace, name)
        if found is None:
            return self._refuse(404, "NotFound", f'{kind} "{name}" not found')
        return self._answer(kind, found)

    def _deletecollection(self, kind, namespace, name, resource, body):
        for found in self.cluster.store.list(kind, namespace, selector(self.query)):
            self.cluster.delete(kind, namespace, found["metadata"]["name"])
        self._send(200, b'{"kind": "Status", "apiVersion": "v1", "status": "Success"}')

    def _whole(self, kind, found):
        return {"apiVersion": self.version, "kind": KINDS[kind], **found}

    def _answer(self, kind, found, code=200):
        self._send(code, json.dumps(self._whole(kind, found)).encode())

    def _refuse(self, code, reason, message):
        status = {"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": reason, "code": code}
        self._send(code, json.dumps(status | {"message": message}).encode())

    def _send(self, code, body, kind="application/json"):
        self.send_response(code)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass
