"""A real browser, Debian's chromium without a window, driven through its own protocol by a pipe."""

import json
import shutil
import subprocess
import tempfile

# The protocol's descriptors are 3 and 4 (--remote-debugging-pipe); a shell puts our pipes there.
_OPTIONS = (
    "--headless --no-sandbox --disable-gpu --disable-dev-shm-usage --hide-scrollbars --no-first-run "
    "--disable-background-networking --disable-component-update --remote-debugging-pipe"
)
_NOWHERE = '--host-resolver-rules="MAP * ~NOTFOUND , EXCLUDE 127.0.0.1"'
_START = f'exec chromium {_OPTIONS} {_NOWHERE} --user-data-dir="$1" 3<&0 4>&1'


class Browser:
    """A page of a browser; `events` holds all that it told of the network, the console and its log."""

    def __init__(self, width, height=900, dark=False):
        self.folder = tempfile.mkdtemp(prefix="ctmahout-browser-")
        self.process = subprocess.Popen(
            ["sh", "-c", _START, "sh", self.folder],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        self.events, self.number, self.session, self.rest = [], 0, None, b""
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self.session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Network", "Runtime", "Log"):
            self.call(f"{domain}.enable")
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)
        scheme = [{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}]
        self.call("Emulation.setEmulatedMedia", features=scheme)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.stdin.close()
        self.process.stdout.close()
        try:
            self.process.wait(30)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        shutil.rmtree(self.folder, ignore_errors=True)

    def call(self, method, **parameters):
        """Send a command and return its answer; events that arrive before it are kept."""
        self.number += 1
        message = {"id": self.number, "method": method, "params": parameters}
        message |= {"sessionId": self.session} if self.session else {}
        self.process.stdin.write(json.dumps(message).encode() + b"\0")
        self.process.stdin.flush()
        while (answer := self._next()).get("id") != self.number:
            self.events.append(answer)
        assert "error" not in answer, answer
        return answer["result"]

    def _next(self):
        while b"\0" not in self.rest:
            more = self.process.stdout.read1(1 << 20)
            assert more, "the browser ended"
            self.rest += more
        message, _, self.rest = self.rest.partition(b"\0")
        return json.loads(message)

    def open(self, path):
        """Load a file, or the page at a URL, and wait until all of it is there."""
        self.call("Page.navigate", url=path if isinstance(path, str) else path.as_uri())
        self.value("new Promise(done => document.readyState == 'complete' ? done() : addEventListener('load', done))")
        self.value("Promise.all([...document.images].map(i => i.decode().catch(() => 0))).then(() => 0)")

    def value(self, expression):
        """Return what an expression has for a value in the page."""
        answer = self.call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    def told(self, *methods):
        """Return the parameters of the events of some kinds."""
        return [event["params"] for event in self.events if event.get("method") in methods]
