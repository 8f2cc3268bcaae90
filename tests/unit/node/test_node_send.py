"""Sending on: an archive that is away, refuses, is slow, full or another one; and both ways by TLS."""

import json
import shutil
import socket
import subprocess
import time

import pydicom
import pytest
from dicom_node import LOOPBACK, OPTIONS, configuration, storage, store, wait_until
from helpers import free_port
from pynetdicom import AE, evt

pytestmark = [
    pytest.mark.usefixtures("archives"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]

RLE = {"compression": "rle"}


@pytest.fixture(scope="module")
def written(tmp_path_factory, ct_slice):
    """A queue with a series that is denoised and not sent."""
    from dicom_node import toml
    from dicom_slices import Slices

    from ctmahout.node import NodeConfig
    from ctmahout.node.node import Node

    folder = tmp_path_factory.mktemp("written")
    rules = [{"name": "all", "send_to": ["archive"], "options": OPTIONS | RLE}]
    values = configuration(folder, free_port(), port=0, rules=rules)
    (folder / "node.toml").write_text(toml(values))
    files = sorted(Slices(ct_slice, 32).write(folder / "in").iterdir())
    with Node(NodeConfig.load(folder / "node.toml")) as node:
        assert store(node.receiver.port, *files)
        wait_until(lambda: node.queue.entries("sending"), 120)
    return folder / "queue"


@pytest.fixture
def sender(written, node, tmp_path):
    """Makes a node with that queue and one destination."""

    def make(port, **changes):
        shutil.copytree(written, tmp_path / "queue")
        (file,) = (tmp_path / "queue" / "sending").glob("*/record.json")
        record = json.loads(file.read_text())
        record["deliveries"]["archive"].update(tries=0, due=0.0, code="", message="")
        file.write_text(json.dumps(record))
        destination = configuration(tmp_path, port)["destinations"][0] | changes
        return node(destinations=[destination])

    return make


def derived(queue):
    return {ds.SOPInstanceUID: ds for ds in map(pydicom.dcmread, queue.rglob("run/*/*.dcm"))}


def received(folder):
    return {ds.SOPInstanceUID: ds for ds in map(pydicom.dcmread, folder.iterdir())}


def delivery(node, state):
    """Return the delivery of the only series."""
    (entry,) = node.queue.entries(state)
    return entry.record().deliveries["archive"]


def test_an_archive_that_was_away_gets_the_series_uncompressed_if_it_wants_that(sender, written, tmp_path):
    port = free_port()
    with sender(port) as n:
        wait_until(lambda: delivery(n, "sending")["tries"] >= 2)
        assert "cannot be reached (connection refused)" in delivery(n, "sending")["message"]
        with storage(tmp_path / "archive", port=port):
            wait_until(lambda: n.queue.entries("done"))
    sent, images = received(tmp_path / "archive"), derived(written)
    assert sent.keys() == images.keys()
    for uid, image in images.items():
        assert image.file_meta.TransferSyntaxUID == "1.2.840.10008.1.2.5"
        assert sent[uid].file_meta.TransferSyntaxUID == "1.2.840.10008.1.2.1"
        assert (sent[uid].pixel_array == image.pixel_array).all()


def test_an_archive_that_accepts_the_syntax_gets_it(sender, written, tmp_path):
    with storage(tmp_path / "archive", "+xr") as port, sender(port) as n:
        wait_until(lambda: n.queue.entries("done"))
    assert {ds.file_meta.TransferSyntaxUID for ds in received(tmp_path / "archive").values()} == {"1.2.840.10008.1.2.5"}


def test_after_the_last_try_it_is_in_quarantine_and_a_retry_sends_it(sender, tmp_path):
    port = free_port()
    with storage(tmp_path / "refusing", "--refuse", port=port), sender(port, tries=2) as n:
        wait_until(lambda: n.queue.entries("quarantine"))
        (entry,) = n.queue.entries("quarantine")
        record = entry.record()
        assert (record.code, record.deliveries["archive"]["tries"]) == ("CTM_SEND_FAILED", 2)
        # A peer that closes at once may reset the connection before its rejection is read.
        refusals = ("it rejects the association", "it accepts the connection, but no association")
        assert record.message.startswith(tuple(f"{LOOPBACK}:{port} accepted 0 of 4 images: {why}" for why in refusals))
    with node_again(n) as n, storage(tmp_path / "archive", port=port):
        assert n.queue.retry(entry.key)
        wait_until(lambda: n.queue.entries("done"))
        assert not n.queue.retry(entry.key)
    assert len(received(tmp_path / "archive")) == 4


def node_again(node):
    """Return a node with the configuration and the queue of one that was stopped."""
    return type(node)(node.config)


def test_a_silent_archive_blocks_neither_the_receiver_nor_the_next_try(sender, series):
    with socket.create_server((LOOPBACK, 0)) as silent, sender(silent.getsockname()[1], timeout_s=0.5) as n:
        begin = time.monotonic()
        assert store(n.receiver.port, *series(2))
        assert time.monotonic() - begin < 5
        wait_until(lambda: delivery(n, "sending")["tries"] >= 1, 20)
        assert "no association" in delivery(n, "sending")["message"]


def test_a_full_archive_is_named_and_tried_again(sender):
    statuses = [0x0000, 0xA700] + [0x0000] * 6
    seen = []

    def answer(event):
        seen.append(event.request.AffectedSOPInstanceUID)
        return statuses.pop(0)

    entity = AE(ae_title="ARCHIVE")
    entity.add_supported_context("1.2.840.10008.5.1.4.1.1.2")
    server = entity.start_server((LOOPBACK, 0), block=False, evt_handlers=[(evt.EVT_C_STORE, answer)])
    try:
        with sender(server.server_address[1], wait_s=0.5) as n:
            wait_until(lambda: delivery(n, "sending")["tries"] == 1)
            message = delivery(n, "sending")["message"]
            wait_until(lambda: n.queue.entries("done"))
    finally:
        server.shutdown()
    assert "accepted 1 of 4 images: it answers with status 0xA700 (out of resources)" in message
    assert seen[2:] == sorted(set(seen), key=seen[2:].index)  # all of them again, under the same UIDs
    assert len(seen) == 6


@pytest.fixture(scope="module")
def certificates(tmp_path_factory):
    """Two authorities, each its own certificate for localhost."""
    folder = tmp_path_factory.mktemp("certificates")
    for name in ("right", "wrong"):
        words = "openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=localhost"
        words += " -addext subjectAltName=DNS:localhost,IP:127.0.0.1"
        pair = ["-keyout", folder / f"{name}.key", "-out", folder / f"{name}.pem"]
        subprocess.run([*words.split(), *pair], check=True, capture_output=True)
    return folder


def test_tls_is_verified_unless_told_otherwise(sender, certificates, tmp_path):
    key, pem = certificates / "right.key", certificates / "right.pem"
    client = {"certificate": str(pem), "key": str(key)}
    with storage(tmp_path / "archive", "+tls", key, pem, "+cf", pem) as port:
        with sender(port, tls=client | {"authorities": str(certificates / "wrong.pem")}) as n:
            wait_until(lambda: delivery(n, "sending")["tries"] >= 1)
            assert "its certificate cannot be verified" in delivery(n, "sending")["message"]
        assert not list((tmp_path / "archive").iterdir())
        shutil.rmtree(tmp_path / "queue")
        with sender(port, tls=client | {"authorities": str(pem)}) as n:
            wait_until(lambda: n.queue.entries("done"))
    assert len(received(tmp_path / "archive")) == 4


def test_receiving_by_tls_asks_for_the_senders_certificate(node, series, certificates):
    right, wrong = ([certificates / f"{name}.key", certificates / f"{name}.pem"] for name in ("right", "wrong"))
    tls = {"certificate": str(right[1]), "key": str(right[0]), "authorities": str(right[1])}
    trust = ["+cf", str(right[1])]
    with node(silence_s=600, tls=tls, limits={"idle_s": 2.0, "free_mib": 1}) as n:
        with socket.create_connection((LOOPBACK, n.receiver.port)):  # says nothing, and blocks nobody
            begin = time.monotonic()
            assert store(n.receiver.port, *series(1), options=["+tls", *map(str, right), *trust])
            assert time.monotonic() - begin < 2
        assert not store(n.receiver.port, *series(2), options=["+tls", *map(str, wrong), *trust])
        assert not store(n.receiver.port, *series(2))
        assert len(list(n.queue.root.glob("receiving/*/images/*"))) == 4
