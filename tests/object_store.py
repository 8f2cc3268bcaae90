"""An S3 store for tests: moto's server, a process that speaks HTTP, and what lies in it as others see it."""

import os
import subprocess
import sys
import time
import xml.etree.ElementTree as ET
from contextlib import contextmanager
from dataclasses import dataclass
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from select import select
from socket import MSG_PEEK, create_server
from threading import Thread
from urllib.error import URLError
from urllib.parse import quote, urlsplit
from urllib.request import Request, urlopen

SECRETS = {"AWS_ACCESS_KEY_ID": "AKIAQUITEPUBLICNAME0", "AWS_SECRET_ACCESS_KEY": "a-secret-that-must-be-told-to-nobody"}

# By anybody.
_SIGNED = "AWS4-HMAC-SHA256 Credential=ANY/20260101/us-east-1/s3/aws4_request, SignedHeaders=host, Signature=0"


def cli(*args, bucket, **options):
    """Start the command in a process that knows the bucket's store; all it prints comes from `communicate`."""
    return subprocess.Popen(
        [sys.executable, "-c", "from ctmahout.cli import main; main()", *map(str, args)],
        env={**os.environ, **bucket.environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        **options,
    )


@contextmanager
def server(python):
    """Give the URL of a store that is empty; `python` has moto."""
    with create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    url = f"http://127.0.0.1:{port}"
    command = [str(python), "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        for _ in range(300):
            try:
                urlopen(f"{url}/moto-api/", timeout=5).close()
                break
            except (URLError, ConnectionError):
                assert process.poll() is None, "moto's server has ended"
                time.sleep(0.1)
        yield url
    finally:
        process.kill()
        process.wait()


@dataclass(frozen=True)
class Bucket:
    """A bucket, as somebody sees it who is not ctmahout: moto believes every request."""

    name: str
    endpoint: str

    @property
    def environment(self):
        """What a user sets."""
        return {"AWS_ENDPOINT_URL": self.endpoint, "AWS_REGION": "us-east-1", **SECRETS}

    def uri(self, key=""):
        return f"s3://{self.name}/{key}"

    def keys(self, prefix=""):
        """All keys, those of empty objects that stand for folders among them."""
        found, more = [], "&"
        while more:
            listing = ET.fromstring(self._ask("GET", "", f"?list-type=2&prefix={quote(prefix)}{more}"))
            names = {"s3": listing.tag[1:].partition("}")[0]}
            found += [item.text for item in listing.iterfind("s3:Contents/s3:Key", names)]
            token = listing.findtext("s3:NextContinuationToken", namespaces=names)
            more = token and f"&continuation-token={quote(token)}"
        return sorted(found)

    def files(self, prefix):
        """The names below a prefix but for those empty objects."""
        return sorted(key.removeprefix(f"{prefix}/") for key in self.keys(f"{prefix}/") if not key.endswith("/"))

    def create(self):
        self._ask("PUT", "", content=b"")

    def get(self, key):
        return self._ask("GET", key)

    def put(self, key, content=b"", acl="private"):
        self._ask("PUT", key, content=content, acl=acl)

    def delete(self, key):
        self._ask("DELETE", key)

    def upload(self, folder, prefix):
        for path in folder.rglob("*"):
            if path.is_file():
                self.put(f"{prefix}/{path.relative_to(folder).as_posix()}", path.read_bytes())

    def download(self, prefix, folder):
        for name in self.files(prefix):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(self.get(f"{prefix}/{name}"))

    def _ask(self, method, key, query="", content=None, acl="private"):
        # Of what urllib says without being told, a form, moto would read nothing.
        headers = {"Content-Type": "application/octet-stream", "Authorization": _SIGNED, "x-amz-acl": acl}
        request = Request(f"{self.endpoint}/{self.name}/{quote(key)}{query}", content, headers, method=method)
        with urlopen(request, timeout=60) as answer:
            return answer.read()


@contextmanager
def gate(endpoint, rule):
    """Give the URL of a way to a store that is not always open.

    `rule` gets method and path of each request; it returns None to let it pass, or a status and the code of S3's error;
    it may take its time.
    """

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def answer(self):
            content = self.content()
            refusal = rule(self.command, self.path)
            if self.hung_up():  # meanwhile: what the store has not heard of does not happen
                self.close_connection = True
                return
            if refusal:
                status, code = refusal
                self.reply(status, {}, f"<Error><Code>{code}</Code><Message>told so</Message></Error>".encode())
                return
            store = HTTPConnection(urlsplit(endpoint).netloc, timeout=60)
            headers = {k: v for k, v in self.headers.items() if k.lower() not in ("transfer-encoding", "expect")}
            store.request(self.command, self.path, content, headers)
            got = store.getresponse()
            self.reply(got.status, dict(got.getheaders()), got.read())
            store.close()

        do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = answer  # noqa: N815 - the names that http.server looks for

        def hung_up(self):
            readable, _, _ = select([self.connection], [], [], 0)
            return bool(readable) and self.connection.recv(1, MSG_PEEK) == b""

        def content(self):
            if self.headers.get("Transfer-Encoding", "") != "chunked":
                return self.rfile.read(int(self.headers.get("Content-Length", 0)))
            parts = []
            while size := int(self.rfile.readline(), 16):
                parts.append(self.rfile.read(size))
                self.rfile.readline()
            self.rfile.readline()
            return b"".join(parts)

        def reply(self, status, headers, content):
            self.send_response_only(status)
            length = headers.get("Content-Length") if self.command == "HEAD" else None
            for name, value in headers.items():
                if name.lower() not in ("content-length", "transfer-encoding", "connection"):
                    self.send_header(name, value)
            self.send_header("Content-Length", length or str(len(content)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(content)

        def log_message(self, *args):
            pass

    class Server(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, request, client_address):
            """Keep quiet of those who hang up."""

    with Server(("127.0.0.1", 0), Handler) as way:
        thread = Thread(target=way.serve_forever, daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{way.server_port}"
        finally:
            way.shutdown()
            thread.join()
