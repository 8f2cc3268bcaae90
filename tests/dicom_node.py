"""A node as its users have it, Orthanc as its archive, dcmtk as its senders, and a relay that stops on request."""

import contextlib
import json
import os
import select
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request

from helpers import free_port

LOOPBACK = "127.0.0.1"
OPTIONS = {"method": "slices", "engine": "numpy", "strength": ["rank:2"], "report": False}


def wait_until(condition, seconds=120.0, step=0.02):
    """Return the first true value of a condition."""
    end = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < end, f"not within {seconds} s"
        time.sleep(step)
    return value


def is_listening(port):
    with socket.socket() as s:
        return s.connect_ex((LOOPBACK, port)) == 0


def toml(table, path=""):
    """Return a table as TOML."""
    plain = {k: v for k, v in table.items() if not _is_table(v)}
    lines = [f"[{path}]"] if path and plain else []
    lines += [f"{key} = {json.dumps(value)}" for key, value in plain.items()]
    for key, value in table.items():
        name = f"{path}.{key}" if path else key
        if isinstance(value, dict):
            lines.append(toml(value, name))
        elif _is_table(value):
            for item in value:
                lines += [f"[[{name}]]", toml({k: v for k, v in item.items() if not isinstance(v, dict)})]
                lines += [toml(v, f"{name}.{k}") for k, v in item.items() if isinstance(v, dict)]
    return "\n".join(lines)


def _is_table(value):
    return isinstance(value, dict) or (isinstance(value, list) and value and isinstance(value[0], dict))


def configuration(folder, destination, **changes):
    """Return the values of a node's file: one rule, one destination on loopback."""
    values = {
        "queue": str(folder / "queue"),
        "port": free_port(),
        "silence_s": 0.4,
        "wait_s": 0.2,
        "peers": [{"title": "SCANNER"}],
        "destinations": [
            {
                "name": "archive",
                "title": "ARCHIVE",
                "host": LOOPBACK,
                "port": destination,
                "tries": 1000,
                "wait_s": 0.1,
                "longest_wait_s": 0.5,
                "timeout_s": 10,
            }
        ],
        "rules": [{"name": "all", "send_to": ["archive"], "options": OPTIONS}],
        "limits": {"free_mib": 1},
    }
    return values | changes


class NodeProcess:
    """`ctmahout serve` in a process of its own."""

    def __init__(self, folder, values):
        self.folder, self.values = folder, values
        self.file, self.queue = folder / "node.toml", folder / "queue"
        self.file.write_text(toml(values))
        self.process = None

    def start(self):
        words = [sys.executable, "-c", "from ctmahout.cli import main; main()", "serve", str(self.file)]
        log = (self.folder / "node.log").open("ab")
        self.process = subprocess.Popen(words, stderr=log, stdout=log, stdin=subprocess.DEVNULL)
        log.close()
        wait_until(lambda: self.process.poll() is not None or is_listening(self.values["port"]))
        assert self.process.poll() is None, self.log()
        return self

    def log(self):
        return (self.folder / "node.log").read_text()

    def kill(self):
        self.process.kill()
        self.process.wait()

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(30)

    def __enter__(self):
        return self.start()

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.kill()

    def series(self, state):
        return [path for path in (self.queue / state).glob("*-*") if len(path.name) > 33]

    def records(self, state):
        records = []
        for path in self.series(state):
            with contextlib.suppress(FileNotFoundError):
                records.append(json.loads((path / "record.json").read_text()))
        return records

    def is_idle(self):
        return not any(self.series(state) for state in ("receiving", "waiting", "sending"))


def store(port, *files, calling="SCANNER", called="CTMAHOUT", options=()):
    """Send files by dcmtk; returns whether all were acknowledged."""
    words = ["storescu", "-R", *options, "-aet", calling, "-aec", called, LOOPBACK, str(port), *map(str, files)]
    run = subprocess.run(words, capture_output=True, text=True, timeout=120)
    return run.returncode == 0 and "E:" not in run.stdout + run.stderr


@contextlib.contextmanager
def storage(folder, *options, port=None):
    """Run dcmtk's storage server, which takes uncompressed images only; yields its port."""
    port = port or free_port()
    folder.mkdir(exist_ok=True)
    words = ["storescp", "-od", str(folder), "-fe", ".dcm", "+B", *map(str, options), str(port)]
    server = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        wait_until(lambda: is_listening(port))
        yield port
    finally:
        server.terminate()
        server.wait()


class Orthanc:
    """Debian's Orthanc on ports of its own."""

    def __init__(self, folder, **settings):
        self.dicom, self.http = free_port(), free_port()
        self.mover = free_port()
        folder.mkdir()
        values = {
            "StorageDirectory": str(folder / "storage"),
            "IndexDirectory": str(folder / "storage"),
            "DicomAet": "ARCHIVE",
            "DicomPort": self.dicom,
            "HttpPort": self.http,
            "RemoteAccessAllowed": False,
            "AuthenticationEnabled": False,
            "Plugins": [],
            "DicomModalities": {"mover": ["MOVER", LOOPBACK, self.mover]},
            "DicomServerEnabled": True,
            **settings,
        }
        self.file = folder / "orthanc.json"
        self.file.write_text(json.dumps(values))

    def __enter__(self):
        binary = shutil.which("Orthanc", path=f"{os.environ['PATH']}:/usr/sbin")
        self.process = subprocess.Popen([binary, str(self.file)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        wait_until(lambda: self.process.poll() is not None or (is_listening(self.http) and is_listening(self.dicom)))
        return self

    def __exit__(self, *_):
        self.process.terminate()
        self.process.wait()

    def get(self, path, body=None):
        request = urllib.request.Request(f"http://{LOOPBACK}:{self.http}{path}", body)
        with urllib.request.urlopen(request, timeout=30) as answer:
            return json.load(answer)

    def series(self):
        """Return the number of images of each series by its UID."""
        known = [self.get(f"/series/{name}") for name in self.get("/series")]
        return {s["MainDicomTags"]["SeriesInstanceUID"]: len(s["Instances"]) for s in known}

    def images(self, folder):
        """Write every image to a folder; returns the files by series UID."""
        files = {}
        for name in self.get("/series"):
            series = self.get(f"/series/{name}")
            uid = series["MainDicomTags"]["SeriesInstanceUID"]
            for number, instance in enumerate(series["Instances"]):
                file = folder / f"{name[:8]}-{number}.dcm"
                with urllib.request.urlopen(f"http://{LOOPBACK}:{self.http}/instances/{instance}/file") as answer:
                    file.write_bytes(answer.read())
                files.setdefault(uid, []).append(file)
        return files


class Relay:
    """A TCP relay before an archive, which can stop before the nth answer of C-STORE."""

    def __init__(self, target):
        self.target, self.port = target, free_port()
        self.stop_before = None
        self.stopped = threading.Event()
        self.ended = threading.Event()

    def __enter__(self):
        self.server = socket.create_server((LOOPBACK, self.port))
        self.server.settimeout(0.1)
        self.thread = threading.Thread(target=self._serve)
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.ended.set()
        self.thread.join()
        self.server.close()

    def _serve(self):
        pairs = []
        while not self.ended.is_set():
            with contextlib.suppress(TimeoutError):
                client, _ = self.server.accept()
                pairs.append(threading.Thread(target=self._relay, args=(client,)))
                pairs[-1].start()
        for pair in pairs:
            pair.join()

    def _relay(self, client):
        answers, rest = 0, b""
        with client, socket.create_connection((LOOPBACK, self.target)) as archive:
            while not self.ended.is_set():
                ready, _, _ = select.select([client, archive], [], [], 0.1)
                for source in ready:
                    try:
                        data = source.recv(1 << 16)
                        if source is client:
                            archive.sendall(data)
                        else:
                            rest += data
                            while len(rest) >= 6 and len(rest) >= (size := 6 + int.from_bytes(rest[2:6], "big")):
                                answers += rest[0] == 4
                                if answers == self.stop_before:
                                    self.stopped.set()
                                    self._hold(client)
                                    return
                                client.sendall(rest[:size])
                                rest = rest[size:]
                    except OSError:
                        return
                    if not data:
                        return

    def _hold(self, client):
        """Keep silent until the other side has gone."""
        with contextlib.suppress(OSError):
            while not self.ended.is_set():
                if select.select([client], [], [], 0.1)[0] and not client.recv(1 << 16):
                    return
