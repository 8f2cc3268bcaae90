"""The receiver trusts nobody: strangers, floods, endless images, damaged bytes; and the next good series is kept."""

import contextlib
import gc
import random
import socket
import stat
import threading
import time
from io import BytesIO
from pathlib import Path

import pydicom
import pytest
from dicom_node import LOOPBACK, Relay, is_listening, store, wait_until
from pydicom.uid import ExplicitVRLittleEndian
from pynetdicom import AE
from pynetdicom.dimse_messages import C_STORE_RQ
from pynetdicom.dimse_primitives import C_STORE

# Threads of pynetdicom end with an exception, and leave sockets to the garbage collector, where a peer breaks the
# protocol: what must not stay, threads, descriptors and memory, is counted.
pytestmark = [
    pytest.mark.usefixtures("archives"),
    pytest.mark.filterwarnings("ignore:Invalid value for VR"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning"),
]

CT = "1.2.840.10008.5.1.4.1.1.2"
QUIET = {"silence_s": 600}  # nothing is denoised


def associate(port, *, title="SCANNER", called="CTMAHOUT"):
    entity = AE(ae_title=title)
    entity.add_requested_context(CT, ExplicitVRLittleEndian)
    entity.acse_timeout = entity.dimse_timeout = entity.network_timeout = 5
    return entity.associate(LOOPBACK, port, ae_title=called)


def reason(association):
    """Return result, source and reason of a rejection."""
    answer = association.acceptor.primitive
    return answer.result, answer.result_source, answer.diagnostic


def images(node):
    return sorted(node.queue.root.glob("*/*/images/*"))


def closes(connection, seconds=10):
    """Return whether the other side ends a connection."""
    connection.settimeout(seconds)
    try:
        while connection.recv(1 << 16):
            pass
    except ConnectionError:
        pass
    except TimeoutError:
        return False
    return True


def test_strangers_are_rejected_with_the_standard_reasons(node, series):
    files = series(1)
    with node(**QUIET) as n:
        assert reason(associate(n.receiver.port, title="STRANGER")) == (1, 1, 3)
        assert reason(associate(n.receiver.port, called="OTHER")) == (1, 1, 7)
        assert images(n) == []
        assert store(n.receiver.port, *files)
        assert len(images(n)) == 4


def test_a_known_title_at_another_address_is_a_stranger(node, series):
    peers = [{"title": "SCANNER", "address": "10.1.0.0/16"}, {"title": "ROUTER", "address": "127.0.0.0/8"}]
    with node(**QUIET, peers=peers) as n:
        assert reason(associate(n.receiver.port)) == (1, 1, 3)
        assert associate(n.receiver.port, title="ROUTER").is_established
    with node(**QUIET, peers=peers[:1]) as n, socket.create_connection((LOOPBACK, n.receiver.port)) as connection:
        assert closes(connection, 2)
        assert ("closed connections", "unknown address") in n.counters.items()


def test_a_flood_of_connections_is_bounded_and_passes(node, series):
    limits = {"associations": 2, "idle_s": 1.0, "free_mib": 1}
    with node(**QUIET, limits=limits) as n, contextlib.ExitStack() as stack:
        port, before = n.receiver.port, threading.active_count()
        first, second, third = (associate(port) for _ in range(3))
        assert (first.is_established, second.is_established, reason(third)) == (True, True, (2, 3, 2))
        for _ in range(60):
            stack.enter_context(socket.create_connection((LOOPBACK, port)))
            assert threading.active_count() < before + 20
        wait_until(lambda: n.counters.items().get(("closed connections", "too many connections"), 0) > 10, 10)
        wait_until(lambda: store(port, *series(1)), 30, 0.3)  # the silent ones are closed
        for association in (first, second):
            association.abort()
        assert len(images(n)) == 4


def test_connections_from_one_address_are_limited_by_the_minute(node):
    with node(**QUIET, limits={"connections_per_minute": 3, "free_mib": 1}) as n:
        accepted = [associate(n.receiver.port).is_established for _ in range(5)]
    assert accepted == [True, True, True, False, False]


def c_store_command():
    """Return the command of a C-STORE, by pynetdicom itself."""
    primitive = C_STORE()
    primitive.MessageID, primitive.Priority = 1, 2
    primitive.AffectedSOPClassUID, primitive.AffectedSOPInstanceUID = CT, "1.2.3"
    primitive.DataSet = BytesIO(bytes(16))
    message = C_STORE_RQ()
    message.primitive_to_message(primitive)
    return next(iter(message.encode_msg(1, 16384)))


def data_pdus(size):
    """Yield P-DATA-TF PDUs of a C-STORE whose data set never ends (PS3.8 9.3.5)."""
    fragment = b"\x01\x00" + bytes(size)
    item = len(fragment).to_bytes(4, "big") + fragment
    while True:
        yield b"\x04\x00" + len(item).to_bytes(4, "big") + item


@pytest.mark.parametrize("limits", [{"image_mib": 4}, {"image_mib": 2048, "memory_mib": 4}])
def test_an_image_without_end_is_cut_off_and_its_memory_is_free_again(node, series, limits):
    with node(**QUIET, limits={**limits, "free_mib": 1, "idle_s": 5.0}) as n:
        association = associate(n.receiver.port)
        association.dul.send_pdu(c_store_command())
        time.sleep(0.3)
        connection, sent = association.dul.socket.socket, 0
        with contextlib.suppress(OSError):
            for pdu in data_pdus(1 << 16):
                connection.sendall(pdu)
                sent += len(pdu)
                assert sent < 64 << 20, "it takes whatever comes"
        association.kill()
        assert sent < 32 << 20
        wait_until(lambda: n.receiver.guard.in_use == 0, 10)
        assert store(n.receiver.port, *series(1))


@pytest.mark.parametrize(
    "data",
    [
        b"\x01\x00\xff\xff\xff\xff",  # an association request of 4 GiB
        b"\x04\x00\x7f\xff\xff\xff",
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
        b"\x01\x00\x00\x00\x00\x04\x00\x01\x00\x00",
        b"\x16\x03\x01\x02\x00" + bytes(512),
    ],
    ids=["4 GiB", "2 GiB of data", "http", "short", "TLS"],
)
def test_bytes_of_no_association_end_the_connection(node, data):
    with node(**QUIET, limits={"idle_s": 1.0, "free_mib": 1}) as n:
        with socket.create_connection((LOOPBACK, n.receiver.port)) as connection:
            connection.sendall(data)
            assert closes(connection, 5)
        wait_until(lambda: n.receiver.guard.in_use == 0, 5)
        assert associate(n.receiver.port).is_established


def test_a_pdu_byte_by_byte_does_not_hold_a_thread_for_ever(node):
    n = node(**QUIET, limits={"idle_s": 1.0, "free_mib": 1})
    with n, socket.create_connection((LOOPBACK, n.receiver.port)) as connection:
        connection.sendall(b"\x01\x00\x00\x00\x10\x00")
        begin = time.monotonic()
        with contextlib.suppress(OSError):
            while time.monotonic() - begin < 10:
                connection.sendall(b"x")
                time.sleep(0.1)
        assert time.monotonic() - begin < 5


def test_a_slow_disk_does_not_end_an_association(node, series, monkeypatch):
    with node(**QUIET, limits={"idle_s": 0.5, "free_mib": 1}) as n:
        keep = n.queue.store

        def slow(*image):
            time.sleep(0.8)
            return keep(*image)

        monkeypatch.setattr(n.queue, "store", slow)
        assert store(n.receiver.port, *series(1))
        assert len(images(n)) == 4


class Recorder(Relay):
    """A relay that keeps what the sender sends."""

    def __init__(self, target):
        super().__init__(target)
        self.recorded = b""

    def _relay(self, client):
        with client, socket.create_connection((LOOPBACK, self.target)) as node:
            thread = threading.Thread(target=self._answers, args=(node, client))
            thread.start()
            with contextlib.suppress(OSError):
                while data := client.recv(1 << 16):
                    self.recorded += data
                    node.sendall(data)
            with contextlib.suppress(OSError):
                node.shutdown(socket.SHUT_WR)
            thread.join()

    def _answers(self, node, client):
        with contextlib.suppress(OSError):
            while data := node.recv(1 << 16):
                client.sendall(data)


def open_descriptors():
    gc.collect()
    return sum(1 for _ in Path("/proc/self/fd").iterdir())


def fuzz(node, series, cases):
    """Send a recorded association with damaged bytes, and then a good series."""
    choose = random.Random(0)
    with node(**QUIET, limits={"idle_s": 0.5, "free_mib": 1, "connections_per_minute": 10**6}) as n:
        with Recorder(n.receiver.port) as recorder:
            assert store(recorder.port, *series(1, 2))
        recorded, threads, descriptors = recorder.recorded, threading.active_count(), open_descriptors()
        for _ in range(cases):
            data = bytearray(recorded)
            for _ in range(choose.choice((1, 1, 3, 10))):
                at = choose.randrange(len(data)) if choose.random() < 0.3 else choose.randrange(min(len(data), 900))
                data[at] = choose.randrange(256)
            if choose.random() < 0.2:
                del data[choose.randrange(len(data)) :]
            with contextlib.suppress(OSError), socket.create_connection((LOOPBACK, n.receiver.port)) as connection:
                connection.sendall(data)
                connection.shutdown(socket.SHUT_WR)
                closes(connection, 3)
        wait_until(lambda: threading.active_count() <= threads + 2, 20)
        wait_until(lambda: open_descriptors() <= descriptors + 5, 20)
        wait_until(lambda: n.receiver.guard.in_use == 0, 5)
        assert store(n.receiver.port, *series(2, 2))
        kept = images(n)
        assert len(kept) >= 4
        for file in kept:  # what was acknowledged can be read back, at least its identifiers
            assert pydicom.dcmread(file, force=True).SOPInstanceUID
        assert not list((n.queue.root / "incoming").iterdir())


def test_damaged_associations(node, series):
    fuzz(node, series, 25)


@pytest.mark.release
def test_thousands_of_damaged_associations(node, series):
    fuzz(node, series, 5000)


def send(port, ds):
    """Send one image by pynetdicom; returns the status."""
    association = associate(port)
    try:
        return association.send_c_store(ds).Status
    finally:
        association.release()


def test_what_an_image_says_is_no_path_and_others_cannot_read_it(node, series, tmp_path):
    ds = pydicom.dcmread(series(1, 1)[0])
    outside = sorted(tmp_path.rglob("*"))
    with node(**QUIET) as n:
        for uid in ("../../../../evil", "/tmp/evil", "a/b", ".", "1.2.3\\..\\x"):
            ds.SeriesInstanceUID = uid
            assert send(n.receiver.port, ds) == 0
        assert len(images(n)) == 5
        for path in n.queue.root.rglob("*"):
            mode = stat.S_IMODE(path.stat().st_mode)
            assert mode == (0o700 if path.is_dir() else 0o600), path
    beyond = [p for p in tmp_path.rglob("*") if p not in outside and n.queue.root not in (p, *p.parents)]
    assert [p.name for p in beyond] == ["node.toml"]


def test_statuses_say_what_is_wrong_with_an_image(node, series):
    first, second, third = (pydicom.dcmread(f) for f in series(1, 3))
    with node(**QUIET, limits={"images": 2, "free_mib": 1}) as n:
        port = n.receiver.port
        assert send(port, first) == send(port, first) == 0
        changed = pydicom.dcmread(series(1, 1)[0])
        changed.PixelData = bytes(len(changed.PixelData))
        assert send(port, changed) == 0x0111
        assert send(port, second) == 0
        assert send(port, third) == 0xA700  # the series is full
        del first.SeriesInstanceUID
        assert send(port, first) == 0xA900
        assert len(images(n)) == 2
        assert {pydicom.dcmread(f).PixelData for f in images(n)} == {first.PixelData, second.PixelData}


def test_without_room_an_association_is_rejected_and_later_accepted(node, series, tmp_path):
    full = {"free_mib": 10**9}
    with node(**QUIET, limits=full) as n:
        assert reason(associate(n.receiver.port)) == (2, 3, 1)
        assert not n.is_ready
    with node(**QUIET, limits={"series": 1, "free_mib": 1}) as n:
        assert store(n.receiver.port, *series(1))
        wait_until(lambda: not store(n.receiver.port, *series(2)), 10)
        assert reason(associate(n.receiver.port)) == (2, 3, 1)
        assert len(images(n)) == 4
    with node(**QUIET) as n:
        assert store(n.receiver.port, *series(2))
        assert len(images(n)) == 8


def test_a_busy_port_is_an_error_of_ours(node, tmp_path):
    from helpers import refusal

    with socket.create_server((LOOPBACK, 0)) as other:
        port = other.getsockname()[1]
        (tmp_path / "a").mkdir()
        n = node(folder=tmp_path / "a", **QUIET)
        object.__setattr__(n.config, "port", port)
        error = refusal(n.__enter__)
    assert error.code == "CTM_NODE_PORT"
    assert not is_listening(port)
    assert (tmp_path / "a" / "queue" / "queue.json").exists()
