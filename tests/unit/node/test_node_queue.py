"""The queue alone: generations of a series, what is known and what is refused, and what a stop leaves behind."""

import hashlib
import os
import time

import pytest
from helpers import code_of

from ctmahout.errors import InputError
from ctmahout.node.config import Limits
from ctmahout.node.queue import Full, ImageConflict, Queue, Record


@pytest.fixture
def queue(tmp_path):
    queue = Queue(tmp_path / "queue", Limits(free_mib=1))
    yield queue
    queue.close()


def put(queue, *numbers, series="1.2", text="image"):
    """Store images; returns the series' key."""
    keys = {queue.store("1", series, f"1.2.{n}", f"{text} {n}".encode(), "SCANNER") for n in numbers}
    (key,) = keys
    return key


def admit(queue, key):
    entry = queue.find(key)
    assert queue.admit(entry, entry.record(), 0.0)
    return queue.find(key)


def finish(queue, key, deliveries=("archive",)):
    """Do as if a series had been denoised."""
    admit(queue, key)
    entry, record = queue.take()
    (entry.run / "auto").mkdir(parents=True)
    (entry.run / "auto" / "1.dcm").write_bytes(b"derived")
    record.deliveries = {name: {"sent": 0.0, "failed": False, "tries": 0, "due": 0.0} for name in deliveries}
    queue.finish(entry, record)
    return queue.find(key)


def test_an_image_is_kept_once_and_one_with_its_uid_and_other_content_refused(queue):
    key = put(queue, 1, 2)
    assert put(queue, 1) == key
    with pytest.raises(ImageConflict):
        put(queue, 1, text="other")
    assert sorted(f.read_bytes() for f in queue.find(key).images.iterdir()) == [b"image 1", b"image 2"]
    assert not list((queue.root / "incoming").iterdir())


@pytest.mark.parametrize("state", ["waiting", "quarantine"])
def test_an_image_of_a_complete_series_reopens_it_until_it_is_denoised(queue, state):
    key = put(queue, 1)
    entry = admit(queue, key)
    if state == "quarantine":
        queue.quarantine(entry, entry.record(), InputError("CTM_NODE_NO_RULE", sender="SCANNER"))
    assert queue.find(key).state == state
    assert put(queue, 2) == key
    assert queue.find(key).state == "receiving"
    assert queue.find(key).record().code == ""
    assert len(list(queue.find(key).images.iterdir())) == 2


def test_images_that_come_while_a_series_is_denoised_wait_for_the_rest_of_it(queue):
    key = put(queue, 1, 2)
    admit(queue, key)
    entry, _ = queue.take()
    assert put(queue, 1) == key  # known: acknowledged, and nothing else
    late = put(queue, 3)
    assert (key[-2:], late[-2:]) == ("-1", "-2")
    assert [f.read_bytes() for f in queue.find(late).images.iterdir()] == [b"image 3"]
    assert queue.missing_names(queue.find(late)) == 2
    assert put(queue, 1, 2) == late  # the whole series once more
    assert queue.missing_names(queue.find(late)) == 0
    assert len(list(entry.images.iterdir())) == 2


def test_what_may_be_half_sent_is_never_computed_again(queue):
    entry = finish(queue, key := put(queue, 1, 2))
    queue.quarantine(entry, entry.record(), InputError("CTM_NODE_NO_RULE", sender="SCANNER"))
    assert put(queue, 1) == key
    assert put(queue, 3)[-2:] == "-2"
    assert queue.find(key).state == "quarantine"
    assert (queue.find(key).run / "auto" / "1.dcm").exists()


def test_a_series_that_is_done_is_known_without_its_images(queue):
    entry = finish(queue, key := put(queue, 1, 2))
    queue.archive(entry, entry.record(), "sent")
    done = queue.find(key)
    assert done.state == "done"
    assert not list(done.path.rglob("*.dcm"))
    assert put(queue, 1, 2) == key
    with pytest.raises(ImageConflict):
        put(queue, 1, text="other")
    assert queue.counts()["receiving"] == 0
    assert set(done.names().values()) == {hashlib.sha256(f"image {n}".encode()).hexdigest() for n in (1, 2)}
    queue.prune(3600)
    assert queue.find(key)
    queue.prune(-1)
    assert queue.find(key) is None
    assert put(queue, 1) == key


def test_a_result_that_goes_nowhere_stays(queue):
    entry = finish(queue, key := put(queue, 1), deliveries=())
    queue.archive(entry, entry.record(), "kept")
    assert [f.read_bytes() for f in queue.find(key).path.rglob("*.dcm")] == [b"derived"]


def test_a_try_counts_before_it_is_made(queue):
    key = put(queue, 1)
    admit(queue, key)
    for tries in (1, 2):
        entry, record = queue.take()
        assert queue.take() is None  # it is running
        assert queue.find(key).record().tries == record.tries == tries
        queue.put_back(entry, record)
    record.due = time.time() + 60
    queue.put_back(entry, record)
    assert queue.take() is None


def test_a_start_forgets_what_was_not_acknowledged_and_nothing_else(tmp_path):
    queue = Queue(tmp_path / "queue", Limits(free_mib=1))
    key, other = put(queue, 1), put(queue, 1, series="1.3")
    entry = finish(queue, other)
    record = entry.record()
    record.outcome = "sent"
    queue.write(entry, record)
    entry.path.rename(queue.root / "done" / other)  # killed before its images were removed
    (queue.root / "incoming" / "half.dcm").write_bytes(b"half")
    (queue.root / "incoming" / "folder" / "images").mkdir(parents=True)
    queue.close()
    queue = Queue(tmp_path / "queue", Limits(free_mib=1))
    assert not list((queue.root / "incoming").iterdir())
    assert queue.silent(3600) == []  # silence begins anew
    assert [entry.key for entry in queue.silent(0)] == [key]
    assert not list(queue.find(other).path.rglob("*.dcm"))
    queue.close()


def test_a_queue_has_one_node_and_a_folder_of_others_is_left_alone(queue, tmp_path):
    assert code_of(Queue, queue.root, Limits()) == "CTM_NODE_BUSY"
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("x")
    assert code_of(Queue, tmp_path / "mine", Limits()) == "CTM_OUTPUT_EXISTS"
    assert [path.name for path in (tmp_path / "mine").iterdir()] == ["thesis.txt"]
    assert code_of(Queue, tmp_path / "mine" / "thesis.txt" / "queue", Limits()) == "CTM_OUTPUT_UNWRITABLE"


def test_a_queue_waits_for_the_children_of_a_killed_node(tmp_path, monkeypatch):
    import fcntl

    Queue(tmp_path / "queue", Limits()).close()
    monkeypatch.setattr("ctmahout.node.queue._ORPHANS_S", 0.2)
    handle = os.open(tmp_path / "queue" / ".children", os.O_RDWR)
    fcntl.flock(handle, fcntl.LOCK_SH)
    assert code_of(Queue, tmp_path / "queue", Limits()) == "CTM_NODE_BUSY"
    os.close(handle)
    Queue(tmp_path / "queue", Limits()).close()


def test_a_failed_write_keeps_nothing_of_the_image(queue, monkeypatch):
    def fail(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", fail)
    with pytest.raises(Full, match="No space left"):
        put(queue, 1)
    assert not list(queue.root.glob("*/*/images/*"))
    assert not list((queue.root / "incoming").iterdir())


def test_retry_goes_back_to_where_it_failed(queue):
    unmatched, run = put(queue, 1, series="1.3"), put(queue, 1, series="1.4")
    error = InputError("CTM_NODE_NO_RULE", sender="SCANNER")
    queue.quarantine(queue.find(unmatched), Record(), error)
    entry = admit(queue, run)
    queue.quarantine(entry, Record(rule="all", tries=3), error)
    sent = finish(queue, put(queue, 1, series="1.5"))
    queue.quarantine(sent, sent.record(), error)
    assert [queue.retry(key) for key in (unmatched, run, sent.key)] == [True] * 3
    assert [queue.find(key).state for key in (unmatched, run, sent.key)] == ["receiving", "waiting", "sending"]
    assert queue.find(run).record().tries == 0
    assert [entry.key for entry in queue.silent(3600)] == [unmatched]
    assert not queue.retry("../../etc")
    assert not queue.retry("0" * 32 + "-1")
