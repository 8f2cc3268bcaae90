"""What would fill a node: an instance of 2 GB, a flood of associations, a disk that is really full."""

import os
import shutil
import socket
import subprocess
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pydicom
import pytest
from dicom_node import LOOPBACK, NodeProcess, configuration, storage, store, wait_until
from helpers import free_port

CT = "1.2.840.10008.5.1.4.1.1.2"
MIB = 1 << 20

pytestmark = pytest.mark.usefixtures("archives")


def status(process, key):
    """Return a number of /proc/PID/status: Threads, or VmHWM and VmRSS in MiB."""
    lines = Path(f"/proc/{process.pid}/status").read_text().splitlines()
    (value,) = (line.split()[1] for line in lines if line.startswith(f"{key}:"))
    return int(value) if key == "Threads" else int(value) / 1024


def descriptors(process):
    return sum(1 for _ in Path(f"/proc/{process.pid}/fd").iterdir())


def instance_of_2_gb(slice_file, file):
    """Write a CT image of 32768 x 32768 pixels; it takes no room on the disk, for it has a hole."""
    ds = pydicom.dcmread(slice_file)
    ds.Rows = ds.Columns = 32768
    ds.SOPInstanceUID = ds.file_meta.MediaStorageSOPInstanceUID = "1.2.3.2"
    for keyword in [element.keyword for element in ds if element.tag > 0x7FE00010]:
        delattr(ds, keyword)
    ds.PixelData = bytes(2)
    ds.save_as(file, enforce_file_format=True)
    with file.open("r+b") as stream:
        stream.seek(-6, os.SEEK_END)  # the length of the pixels, and the two bytes
        stream.write((2 << 30).to_bytes(4, "little"))
        stream.truncate(stream.tell() + (2 << 30))
    return file


@pytest.mark.parametrize("limit", [48, pytest.param(512, marks=pytest.mark.release)])
def test_an_instance_of_2_gb_is_refused_in_bounded_memory(tmp_path, ct_slice, series, limit):
    file = instance_of_2_gb(ct_slice, tmp_path / "large.dcm")
    assert file.stat().st_size > 2 << 30
    limits = {"free_mib": 1, "image_mib": limit}
    with NodeProcess(tmp_path, configuration(tmp_path, free_port(), silence_s=600, limits=limits)) as node:
        before = status(node.process, "VmHWM")
        assert not store(node.values["port"], file)
        # What was received, and a copy of it.
        assert status(node.process, "VmHWM") - before < 2 * limit + 32
        assert not list(node.queue.rglob("*.dcm"))
        assert store(node.values["port"], *series(1))
        assert len(list(node.queue.glob("receiving/*/images/*"))) == 4


def association_request():
    """Return the bytes of an A-ASSOCIATE-RQ for CT images (PS3.8 9.3.2)."""

    def item(kind, value):
        return bytes([kind, 0]) + len(value).to_bytes(2, "big") + value

    context = b"\x01\x00\x00\x00" + item(0x30, CT.encode()) + item(0x40, b"1.2.840.10008.1.2")
    user = item(0x51, (16384).to_bytes(4, "big")) + item(0x52, b"1.2.3.4")
    items = item(0x10, b"1.2.840.10008.3.1.1.1") + item(0x20, context) + item(0x50, user)
    body = b"\x00\x01\x00\x00" + b"CTMAHOUT".ljust(16) + b"SCANNER".ljust(16) + bytes(32) + items
    return b"\x01\x00" + len(body).to_bytes(4, "big") + body


def request_association(port):
    """Ask for an association; returns its connection and "accepted", the reason of a rejection, or "closed"."""
    connection = socket.create_connection((LOOPBACK, port), 30)
    try:
        connection.sendall(association_request())
        answer = connection.recv(10)
    except ConnectionError:
        answer = b""
    if answer[:1] == b"\x02":
        return connection, "accepted"
    return connection, tuple(answer[7:10]) if answer[:1] == b"\x03" else "closed"


@pytest.mark.release
def test_a_flood_of_associations_is_bounded_and_the_next_good_series_passes(tmp_path, series):
    limits = {"free_mib": 1, "associations": 4, "connections_per_minute": 10**6, "idle_s": 2.0}
    most = {"threads": 0, "descriptors": 0}
    ended = threading.Event()

    def watch(process):
        while not ended.wait(0.02):
            most["threads"] = max(most["threads"], status(process, "Threads"))
            most["descriptors"] = max(most["descriptors"], descriptors(process))

    with NodeProcess(tmp_path, configuration(tmp_path, free_port(), silence_s=600, limits=limits)) as node:
        port, process = node.values["port"], node.process
        assert store(port, *series(1))
        threads, handles, memory = status(process, "Threads"), descriptors(process), status(process, "VmRSS")
        watcher = threading.Thread(target=watch, args=(process,))
        watcher.start()
        with ThreadPoolExecutor(24) as pool:
            flood = list(pool.map(lambda _: request_association(port), range(400)))  # none is released
        ended.set()
        watcher.join()
        answers = [answer for _, answer in flood]
        assert {"accepted", (2, 3, 2), "closed"} >= set(answers) > {"accepted"}
        assert most["threads"] <= threads + 2 * 2 * 4 + 8
        assert most["descriptors"] <= handles + 3 * 2 * 4 + 16
        wait_until(lambda: store(port, *series(2)), 60, 0.5)  # silent associations are closed
        for connection, _ in flood:
            connection.close()
        wait_until(lambda: descriptors(process) <= handles + 2, 60)
        assert status(process, "VmRSS") - memory < 48
        assert len(list(node.queue.glob("receiving/*/images/*"))) == 8


@contextmanager
def small_disk(folder, mib):
    """Mount a file system of its own size in memory."""
    folder.mkdir()
    words = ["mount", "-t", "tmpfs", "-o", f"size={mib}m", "tmpfs", str(folder)]
    if shutil.which("mount") is None or subprocess.run(words, capture_output=True).returncode:
        pytest.skip("a full disk needs the right to mount one")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def fill(folder, left):
    """Write a file that leaves some bytes free."""
    file = folder / "filler"
    with file.open("wb") as stream:
        stream.write(bytes(max(0, shutil.disk_usage(folder).free - left)))
    return file


def enlarge(ds, i):
    ds.Rows = ds.Columns = 256
    ds.PixelData = bytes([i + 1]) * (2 * 256 * 256)


def test_a_full_disk_refuses_keeps_what_it_acknowledged_and_goes_on_when_there_is_room(tmp_path, series):
    files = series(1, 8, enlarge)  # 128 KiB each
    with small_disk(tmp_path / "disk", 24) as disk, storage(tmp_path / "archive") as archive:
        (disk / "queue").mkdir()
        values = configuration(
            tmp_path, archive, queue=str(disk / "queue"), silence_s=3.0, tries=10**6, limits={"free_mib": 0}
        )
        node = NodeProcess(tmp_path, values)
        node.queue = disk / "queue"
        with node:
            filler = fill(disk, 600 << 10)
            assert not store(values["port"], *files)
            kept = list(node.queue.glob("*/*/images/*.dcm"))
            assert 1 <= len(kept) <= 4
            assert {pydicom.dcmread(f).PixelData for f in kept} <= {pydicom.dcmread(f).PixelData for f in files}
            assert not list((node.queue / "incoming").iterdir())
            filler.unlink()
            wait_until(lambda: store(values["port"], *files), 30, 0.3)
            filler = fill(disk, 64 << 10)  # and now there is no room for the result
            wait_until(lambda: any(r["code"] for r in node.records("waiting")), 120)
            assert node.process.poll() is None
            filler.unlink()
            wait_until(lambda: node.is_idle() and len(node.records("done")) == 1, 120)
            assert not node.series("quarantine")
        assert len(list((tmp_path / "archive").glob("*.dcm"))) == 8


def test_the_port_is_still_open_after_a_full_disk(tmp_path, series):
    """A node that cannot even write a record answers, and says why it refuses."""
    with small_disk(tmp_path / "disk", 4) as disk:
        values = configuration(tmp_path, free_port(), queue=str(disk / "queue"), limits={"free_mib": 0})
        node = NodeProcess(tmp_path, values)
        node.queue = disk / "queue"
        with node:
            filler = fill(disk, 0)
            for _ in range(3):
                assert not store(values["port"], *series(1))
            with socket.create_connection((LOOPBACK, values["port"]), 10):
                pass
            filler.unlink()
            wait_until(lambda: store(values["port"], *series(1)), 30, 0.3)
