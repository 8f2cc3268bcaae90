"""The page of a node, in a real browser and by hand: what it shows, who may see it, what it lets do."""

import json
import shutil
import socket
import urllib.error
import urllib.request

import pytest
from browser import Browser
from dicom_node import configuration, toml, wait_until
from dicom_slices import PATIENT, Slices
from helpers import code_of

from ctmahout.errors import InputError
from ctmahout.node import NodeConfig
from ctmahout.node.node import Node
from ctmahout.node.page import serve_page
from ctmahout.node.queue import Queue, Record

pytestmark = [
    pytest.mark.usefixtures("extras"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]

TOKEN = "a" * 24


@pytest.fixture
def served(tmp_path, ct_slice):
    """Makes a node with a series in quarantine and one that is done, and serves its page."""
    files = sorted(Slices(ct_slice, 32).write(tmp_path / "in").iterdir())
    contexts = []

    def serve(**page):
        values = configuration(
            tmp_path, 9, port=0, rules=[{"name": "nothing", "kernel": "Q"}], page={"port": 0, **page}
        )
        (tmp_path / "node.toml").write_text(toml(values))
        config = NodeConfig.load(tmp_path / "node.toml")
        queue = Queue(config.queue, config.limits)
        bad, good = (
            queue.store("1", series, f"{series}.{i}", file.read_bytes(), "<b>CT</b>")
            for i, series in enumerate(("1.1", "1.2"))
            for file in files[:1]
        )
        error = InputError("CTM_SLICE_MISSING", step="1.0", gaps="<script>alert(1)</script> 3 mm are missing")
        queue.quarantine(queue.find(bad), Record(sender="<b>CT</b>", received=1e9, images=4), error)
        entry = queue.find(good)
        entry.run.mkdir()
        (entry.run / "report.html").write_text("<!doctype html><title>A report</title>")
        queue.archive(entry, Record(sender="CT2", received=2e9, images=8, seconds=4.0), "sent")
        queue.close()
        node = Node(config)
        contexts.append(node)
        node.__enter__()
        page = serve_page(node, config.page)
        contexts.append(page)
        return node, page.__enter__(), bad, good

    yield serve
    for context in reversed(contexts):
        context.__exit__(None, None, None)
    shutil.rmtree(tmp_path / "queue", ignore_errors=True)


def get(url, *, method="GET", body=None, **headers):
    """Return status and text of an answer."""
    request = urllib.request.Request(url, body, {k.replace("_", "-"): v for k, v in headers.items()}, method=method)
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as e:
        return e.code, e.read().decode()


def test_a_browser_shows_the_queue_and_a_click_retries(served, chromium):
    node, url, _, _ = served()
    with Browser(1000) as browser:
        browser.open(url)
        text = browser.value("document.body.innerText")
        for words in ("[CTM_SLICE_MISSING]", "<script>alert(1)</script> 3 mm are missing", "<b>CT</b>", "sent"):
            assert words in text
        assert not [value for value in PATIENT.values() if value in text]
        assert browser.value("document.querySelectorAll('script, img, link').length") == 0
        assert browser.value("document.documentElement.scrollWidth <= innerWidth")
        counts = browser.value("document.querySelector('.counts').innerText").split()
        assert " ".join(counts) == "0 receiving 0 waiting 0 running 0 sending 1 done 1 quarantine"
        # Back to quarantine, with the reason of today: there is no rule for it.
        browser.value("document.querySelector('button').click()")
        wait_until(lambda: "CTM_NODE_NO_RULE" in [e.record().code for e in node.queue.entries("quarantine")])
        browser.open(url)
        assert "[CTM_NODE_NO_RULE]" in browser.value("document.body.innerText")
        browser.value("document.querySelector('#done ~ div a').click()")
        wait_until(lambda: browser.value("document.title") == "A report")
        wrong = [e["entry"]["text"] for e in browser.told("Log.entryAdded") if e["entry"]["level"] == "error"]
        assert [text for text in wrong if "favicon" not in json.dumps(text) and "404" not in text] == []
        browser.call("Emulation.setDeviceMetricsOverride", width=390, height=800, deviceScaleFactor=1, mobile=False)
        browser.open(url)
        assert browser.value("document.documentElement.scrollWidth <= innerWidth")


def test_patients_are_shown_if_asked_for(served):
    _, url, _, _ = served(patients=True)
    assert "Zebedee^Quentin ZQ-4711" in get(url)[1]


def test_health_and_metrics(served):
    node, url, _, _ = served()
    assert get(url + "healthz") == (200, "ok")
    assert get(url + "readyz") == (200, "ready")
    status, text = get(url + "metrics")
    assert status == 200
    assert 'ctmahout_series{state="quarantine"} 1.0' in text
    assert "# TYPE ctmahout_images_total counter" in text
    node._stop.set()
    assert get(url + "readyz")[0] == 503


def test_another_page_can_neither_read_nor_retry(served):
    node, url, bad, _ = served()
    assert get(url, Host="evil.example")[0] == 400
    assert get(f"{url}retry/{bad}", method="POST", body=b"", Origin="http://evil.example")[0] == 403
    assert get(f"{url}retry/{bad}")[0] == 405
    assert node.queue.find(bad).record().code == "CTM_SLICE_MISSING"
    for path in ("report/..%2f..%2fqueue.json", "report/../queue.json", "report/" + "0" * 32 + "-1", "queue.json"):
        assert get(url + path)[0] == 404


def test_beyond_loopback_there_is_a_token(served, tmp_path):
    (tmp_path / "token").write_text(TOKEN + "\n")
    node, url, bad, good = served(token_file="token")
    for path in ("", "metrics", f"report/{good}"):
        status, text = get(url + path)
        assert status == 401
        assert "CTM_" not in text
        assert get(url + path, Authorization=f"Bearer {TOKEN[:-1]}")[0] == 401
        assert get(url + path, Authorization=f"Bearer {TOKEN}")[0] == 200
        assert get(url + path, Cookie=f"ctmahout_token={TOKEN}")[0] == 200
    assert get(f"{url}retry/{bad}", method="POST", body=b"")[0] == 401
    assert node.queue.find(bad).record().code == "CTM_SLICE_MISSING"
    assert get(url + "login", method="POST", body=b"token=wrong")[0] == 401
    assert get(url + "healthz")[0] == 200


def test_a_browser_logs_in_with_the_token(served, chromium, tmp_path):
    (tmp_path / "token").write_text(TOKEN)
    _, url, _, _ = served(token_file="token")
    with Browser(800) as browser:
        browser.open(url)
        assert "Quarantine" not in browser.value("document.body.innerText")
        browser.value(f"document.querySelector('input').value = '{TOKEN}'; document.querySelector('form').submit()")
        wait_until(lambda: "Quarantine" in browser.value("document.body ? document.body.innerText : ''"))


@pytest.mark.parametrize("text", ["short", "with spaces and more than 16", None])
def test_a_bad_token_is_refused(tmp_path, text):
    if text is not None:
        (tmp_path / "token").write_text(text)
    values = configuration(tmp_path, 9, port=0, page={"port": 0, "token_file": "token"})
    (tmp_path / "node.toml").write_text(toml(values))
    config = NodeConfig.load(tmp_path / "node.toml")
    node = Node(config)
    assert code_of(serve_page(node, config.page).__enter__) == "CTM_NODE_TOKEN"


def test_a_busy_port_of_the_page(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as other:
        values = configuration(tmp_path, 9, port=0, page={"port": other.getsockname()[1]})
        (tmp_path / "node.toml").write_text(toml(values))
        config = NodeConfig.load(tmp_path / "node.toml")
        assert code_of(serve_page(Node(config), config.page).__enter__) == "CTM_NODE_PORT"
