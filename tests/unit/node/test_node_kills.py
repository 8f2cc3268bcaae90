"""kill -9 of a node at every state of a series: afterwards each series is in the archive exactly once."""

import random
import shutil
import time

import pytest
from dicom_node import NodeProcess, Orthanc, Relay, configuration, store, wait_until
from dicom_slices import Slices


@pytest.fixture
def archive(archives, tmp_path):
    with Orthanc(tmp_path / "orthanc") as orthanc, Relay(orthanc.dicom) as relay:
        yield orthanc, relay


def write(ct_slice, folder, number, n=5):
    """Write a small series of its own."""

    def edit(ds, i):
        ds.SeriesInstanceUID, ds.SeriesNumber = f"1.2.3.{number}", number
        ds.SOPInstanceUID = ds.file_meta.MediaStorageSOPInstanceUID = f"1.2.3.{number}.{i + 1}"

    return sorted(Slices(ct_slice, 32).write(folder / str(number), edit, n).iterdir())


def test_a_series_survives_a_kill_at_every_state(archive, ct_slice, tmp_path):
    orthanc, relay = archive
    files = write(ct_slice, tmp_path, 1)
    node = NodeProcess(tmp_path, configuration(tmp_path, relay.port, silence_s=1.0))
    with node:  # receiving: what was acknowledged is there after the kill, and the sender sends again
        assert store(node.values["port"], *files[:2])
        node.kill()
        (folder,) = node.series("receiving")
        assert len(list((folder / "images").iterdir())) == 2
    relay.stop_before = 1
    with node:  # complete
        assert store(node.values["port"], *files)
        wait_until(lambda: node.series("waiting"), step=0.002)
        node.kill()
    with node:  # running
        wait_until(lambda: list(node.queue.glob("waiting/*/run.partial-*")), step=0.002)
        node.kill()
        assert orthanc.series() == {}
    with node:  # written, and the archive has the first image, which is not known here
        wait_until(lambda: node.series("sending"), step=0.002)
        assert relay.stopped.wait(120)
        node.kill()
        (written,) = node.series("sending")
        before = {f.name: f.read_bytes() for f in written.rglob("*.dcm")}
    for answers in (3, 5):  # half sent; sent, and the last answer not seen
        relay.stop_before = answers
        relay.stopped.clear()
        with node:
            assert relay.stopped.wait(120)
            wait_until(lambda n=answers: list(orthanc.series().values()) == [n])
            node.kill()
            assert {f.name: f.read_bytes() for f in written.rglob("*.dcm")} == before
    relay.stop_before = None
    with node:
        wait_until(node.is_idle)
        assert list(orthanc.series().values()) == [len(files)]
        (record,) = node.records("done")
        assert (record["outcome"], record["code"]) == ("sent", "")
        assert store(node.values["port"], *files)  # once more: all of it is known
        time.sleep(1.5)
        assert node.is_idle()
        assert node.stop() == 0
    assert list(orthanc.series().values()) == [len(files)]
    assert not list(node.queue.rglob("*.dcm"))


def random_kills(archive, ct_slice, tmp_path, kills, series, seed, longest_s):
    """Kill a node at random times while series come in; the sender sends again until it is answered."""
    orthanc, relay = archive
    choose = random.Random(seed)
    node = NodeProcess(tmp_path, configuration(tmp_path, relay.port, tries=10**6))
    unsent = [write(ct_slice, tmp_path / "in", number) for number in range(1, series + 1)]
    for _ in range(kills):
        with node:
            end = time.monotonic() + choose.uniform(0.0, longest_s)
            if unsent and store(node.values["port"], *unsent[0]):
                unsent.pop(0)
            time.sleep(max(0.0, end - time.monotonic()))
            node.kill()
    with node:
        for files in unsent:
            assert store(node.values["port"], *files)
        wait_until(lambda: node.is_idle() and len(node.records("done")) == series, 300)
        assert not node.series("quarantine")
    assert sorted(orthanc.series().values()) == [5] * series
    shutil.rmtree(tmp_path / "in")


def test_random_kills(archive, ct_slice, tmp_path):
    random_kills(archive, ct_slice, tmp_path, kills=12, series=3, seed=1, longest_s=2.5)


@pytest.mark.release
@pytest.mark.timeout(3600)
def test_200_random_kills(archive, ct_slice, tmp_path):
    random_kills(archive, ct_slice, tmp_path, kills=200, series=40, seed=2, longest_s=8.0)
