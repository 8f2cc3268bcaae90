"""A node over a long time: its memory and its file handles stay what they are."""

import contextlib
import os
import socket
import statistics
import time
from pathlib import Path

import pytest
from dicom_node import LOOPBACK, NodeProcess, configuration, storage, store, wait_until
from dicom_slices import Slices

pytestmark = pytest.mark.usefixtures("archives")


def usage(node):
    """Return memory, MiB, and file handles of a node and of its child processes together."""
    pid = node.process.pid
    children = []
    for task in Path(f"/proc/{pid}/task").iterdir():
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # a thread that has ended since
            children += (task / "children").read_text().split()
    memory = handles = 0
    for process in (pid, *children):
        text = Path(f"/proc/{process}/status").read_text()
        memory += next(int(line.split()[1]) for line in text.splitlines() if line.startswith("VmRSS:")) / 1024
        handles += sum(1 for _ in Path(f"/proc/{process}/fd").iterdir())
    return memory, handles


def send_one(node, ct_slice, folder, number):
    """Send a series of its own, with a stranger and a broken connection beside it, and wait until it is done."""

    def edit(ds, i):
        ds.SeriesInstanceUID, ds.SeriesNumber = f"1.2.3.{number}", number
        ds.SOPInstanceUID = ds.file_meta.MediaStorageSOPInstanceUID = f"1.2.3.{number}.{i + 1}"

    port = node.values["port"]
    files = sorted(Slices(ct_slice, 64).write(folder, edit, 6).iterdir())
    with contextlib.suppress(OSError), socket.create_connection((LOOPBACK, port), 10) as connection:
        connection.sendall(b"\x01\x00\x00\x00\x00\x40" + bytes(32))
    assert not store(port, files[0], calling="STRANGER")
    assert store(port, *files)
    wait_until(node.is_idle, 300)


def soak(ct_slice, tmp_path, minutes):
    archive = tmp_path / "archive"
    with storage(archive) as port:
        # Long enough that a machine that is busy does not cut a series in two.
        values = configuration(tmp_path, port, silence_s=2.0, keep_days=0, limits={"free_mib": 1, "idle_s": 2.0})
        with NodeProcess(tmp_path, values) as node:
            end, samples = time.monotonic() + 60 * minutes, []
            while time.monotonic() < end or len(samples) < 15:
                send_one(node, ct_slice, tmp_path / "in", len(samples))
                samples.append(usage(node))
                for file in archive.iterdir():
                    file.unlink()
            # A third to warm up; then a third is compared with the last.
            third = len(samples) // 3
            early, late = samples[third : 2 * third], samples[2 * third :]
            (memory, later_memory), (handles, later_handles) = (
                [statistics.median(sample[k] for sample in part) for part in (early, late)] for k in (0, 1)
            )
            assert later_memory < 1.04 * memory + 4, samples
            assert later_handles <= handles + 1, samples
            assert not node.series("quarantine")
            assert node.stop() == 0


@pytest.mark.release
@pytest.mark.timeout(24 * 3600)
def test_memory_and_handles_stay_flat(ct_slice, tmp_path):
    """Two hours, or SOAK_MINUTES."""
    soak(ct_slice, tmp_path, float(os.environ.get("SOAK_MINUTES", "120")))
