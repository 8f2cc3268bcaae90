"""An archive for tests: Debian's Orthanc with its DICOMweb plugin, a process of the test with a folder of its own."""

import json
import shutil
import socket
import socketserver
import ssl
import subprocess
import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import requests
from helpers import free_port

PLUGIN = Path("/usr/share/orthanc/plugins/libOrthancDicomWeb.so")
USER, PASSWORD = "radiographer", "a-password-that-is-told-to-nobody"


def is_installed():
    return shutil.which("Orthanc") is not None and PLUGIN.exists()


@dataclass(frozen=True)
class Orthanc:
    """A running archive, as somebody sees it who is not ctmahout: by Orthanc's own interface."""

    url: str
    options: dict

    @property
    def uri(self):
        """What a user gives to ctmahout."""
        return f"dicomweb+{self.url}/dicom-web"

    def add(self, *folders):
        """Put all files of folders into it."""
        for folder in folders:
            for file in sorted(folder.rglob("*.dcm")):
                self.post(file)

    def post(self, file):
        requests.post(f"{self.url}/instances", file.read_bytes(), **self.options).raise_for_status()

    def files(self, series_uid):
        """Return the files of a series, as they are stored."""
        query = {"Level": "Series", "Query": {"SeriesInstanceUID": series_uid}}
        found = requests.post(f"{self.url}/tools/find", json=query, **self.options).json()
        instances = [i for one in found for i in self._get(f"series/{one}").json()["Instances"]]
        return [self._get(f"instances/{i}/file").content for i in instances]

    def derived(self):
        """Return the number of images of each derived series, by the UID of its source, of which there is one each."""
        images = {}
        for series in self._get("series?expand").json():
            tags = self._get(f"instances/{series['Instances'][0]}/simplified-tags").json()
            for source in tags.get("ReferencedSeriesSequence", ()):
                assert source["SeriesInstanceUID"] not in images
                images[source["SeriesInstanceUID"]] = len(series["Instances"])
        return images

    def count(self):
        return len(self._get("instances").json())

    def clear(self):
        for patient in self._get("patients").json():
            requests.delete(f"{self.url}/patients/{patient}", **self.options).raise_for_status()

    def _get(self, path):
        return requests.get(f"{self.url}/{path}", **self.options)


@contextmanager
def running(folder, *, password=False):
    """Run an archive on a free port, if asked for with a password."""
    port = free_port()
    settings = {
        "StorageDirectory": str(folder / "db"),
        "IndexDirectory": str(folder / "db"),
        "HttpPort": port,
        "DicomServerEnabled": False,
        "RemoteAccessAllowed": False,
        "AuthenticationEnabled": password,
        "RegisteredUsers": {USER: PASSWORD},
        "OverwriteInstances": True,
        "Plugins": [str(PLUGIN)],
        "DicomWeb": {"Enable": True, "Root": "/dicom-web/"},
    }
    (folder / "orthanc.json").write_text(json.dumps(settings))
    archive = Orthanc(f"http://localhost:{port}", {"auth": (USER, PASSWORD)} if password else {})
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(["Orthanc", str(folder / "orthanc.json")], stdout=log, stderr=log)
        try:
            for _ in range(300):
                try:
                    requests.get(f"{archive.url}/system", timeout=5, **archive.options).raise_for_status()
                    break
                except requests.ConnectionError:
                    assert process.poll() is None, (folder / "log").read_text()
                    time.sleep(0.05)
            yield archive
        finally:
            process.terminate()
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


@contextmanager
def behind_tls(archive, certificate, authorities=None):
    """Give the same archive behind a TLS endpoint: Debian 12's Orthanc (1.10.1) crashes at its first request by TLS.

    With authorities, clients need a certificate of these.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    if authorities:
        context.load_verify_locations(authorities)
        context.verify_mode = ssl.CERT_REQUIRED
    port = urlsplit(archive.url).port

    class Endpoint(socketserver.BaseRequestHandler):
        def handle(self):
            try:
                client = context.wrap_socket(self.request, server_side=True)
            except OSError:  # a client that does not trust the certificate
                return
            with client, socket.create_connection(("127.0.0.1", port)) as upstream:
                back = threading.Thread(target=pipe, args=(upstream, client))
                back.start()
                pipe(client, upstream)
                back.join()

    class Server(socketserver.ThreadingTCPServer):
        daemon_threads = True

    with Server(("127.0.0.1", 0), Endpoint) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield Orthanc(f"https://localhost:{server.server_address[1]}", archive.options)
        finally:
            server.shutdown()
            thread.join()


def pipe(source, target):
    """Copy what comes from one socket to another, until either ends."""
    try:
        while data := source.recv(1 << 16):
            target.sendall(data)
        target.shutdown(socket.SHUT_WR)
    except OSError:
        pass
