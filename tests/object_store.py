"""An S3 store for tests: moto's server, a process that speaks HTTP, and what lies in it as others see it."""

import subprocess
import time
import xml.etree.ElementTree as ET
from contextlib import contextmanager
from dataclasses import dataclass
from socket import create_server
from urllib.error import URLError
from urllib.parse import quote
from urllib.request import Request, urlopen

SECRETS = {"AWS_ACCESS_KEY_ID": "AKIAQUITEPUBLICNAME0", "AWS_SECRET_ACCESS_KEY": "a-secret-that-must-be-told-to-nobody"}


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
        return {"AWS_ENDPOINT_URL": self.endpoint, "AWS_REGION": "eu-west-1", **SECRETS}

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

    def put(self, key, content=b""):
        self._ask("PUT", key, content=content)

    def delete(self, key):
        self._ask("DELETE", key)

    def upload(self, folder, prefix):
        for path in folder.rglob("*"):
            if path.is_file():
                self.put(f"{prefix}/{path.relative_to(folder).as_posix()}", path.read_bytes())

    def _ask(self, method, key, query="", content=None):
        # Of what urllib says without being told, a form, moto would read nothing.
        headers = {"Content-Type": "application/octet-stream"}
        request = Request(f"{self.endpoint}/{self.name}/{quote(key)}{query}", content, headers, method=method)
        with urlopen(request, timeout=60) as answer:
            return answer.read()
