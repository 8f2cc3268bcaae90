"""Denoising in the child: its end, its time limit, its reasons; and the series after it."""

import pytest
from dicom_node import OPTIONS, store, wait_until

pytestmark = [
    pytest.mark.usefixtures("archives"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]


def rules(**options):
    return [{"name": "all", "options": OPTIONS | options}]


def test_a_series_that_ends_the_child_goes_to_quarantine_and_the_next_is_denoised_warm(node, series):
    with node(rules=rules(), tries=1, complete_on_release=True) as n:
        (child,) = n._children
        assert store(n.receiver.port, *series(1))
        wait_until(lambda: child._process and child._process.pid)
        child._process.kill()
        wait_until(lambda: n.queue.entries("quarantine"))
        (entry,) = n.queue.entries("quarantine")
        record = entry.record()
        assert (record.code, record.message) == (
            "CTM_NODE_RUN",
            "The process that denoised the series was ended by SIGKILL.",
        )
        assert len(list(entry.images.iterdir())) == 4
        assert not entry.run.exists()
        for number in (2, 3):
            assert store(n.receiver.port, *series(number))
            wait_until(lambda number=number: len(n.queue.entries("done")) == number - 1)
        seconds = [entry.record().seconds for entry in n.queue.entries("done")]
        assert seconds[1] < seconds[0] / 2  # nothing was started or imported
        assert {entry.record().outcome for entry in n.queue.entries("done")} == {"kept"}
        assert len(list(n.queue.root.glob("done/*/run/rank-2/*.dcm"))) == 8


def test_a_series_that_takes_too_long_is_tried_again_and_given_up(node, series):
    limits = {"run_minutes": 0.01, "free_mib": 1}
    with node(rules=rules(), tries=2, limits=limits, complete_on_release=True) as n:
        assert store(n.receiver.port, *series(1))
        wait_until(lambda: n.queue.entries("quarantine"))
        record = n.queue.entries("quarantine")[0].record()
        assert (record.code, record.tries) == ("CTM_NODE_RUN", 2)
        assert "took longer than 0.01 minutes" in record.message


def test_a_node_that_ended_during_every_try_gives_up(node, series):
    with node(rules=rules(), tries=2, complete_on_release=True) as n:
        assert store(n.receiver.port, *series(1))
        entry = wait_until(lambda: n.queue.entries("waiting"))[0]
    record = n.queue.find(entry.key).record()
    assert record.tries == 0  # a node that is stopped in order does not count
    record.tries = 2
    n.queue.write(n.queue.find(entry.key), record)
    with type(n)(n.config) as n:
        wait_until(lambda: n.queue.entries("quarantine"))
        record = n.queue.entries("quarantine")[0].record()
    assert (record.code, record.message) == (
        "CTM_NODE_TRIES",
        "The node ended during each of 2 tries to denoise the series.",
    )


@pytest.mark.parametrize("unmatched", ["quarantine", "skip"])
def test_a_series_without_a_rule_is_kept_or_skipped(node, series, unmatched):
    other = [{"name": "sharp", "kernel": "Q*", "options": OPTIONS}]
    with node(rules=other, unmatched=unmatched, complete_on_release=True) as n:
        assert store(n.receiver.port, *series(1))
        state = {"quarantine": "quarantine", "skip": "done"}[unmatched]
        (entry,) = wait_until(lambda: n.queue.entries(state))
        record = entry.record()
        assert (record.code, record.outcome) == {
            "quarantine": ("CTM_NODE_NO_RULE", ""),
            "skip": ("", "skipped"),
        }[unmatched]
        wait_until(lambda: len(list(entry.path.rglob("*.dcm"))) == {"quarantine": 4, "skip": 0}[unmatched])


def test_late_images_are_kept_with_their_reason(node, series):
    files = series(1)
    with node(silence_s=600, complete_on_release=True) as n:
        assert store(n.receiver.port, *files[:3])
        entry = wait_until(lambda: n.queue.entries("waiting"))[0]
        wait_until(lambda: n.queue.is_running(entry.key))
        assert store(n.receiver.port, *files[3:])
        (late,) = wait_until(lambda: n.queue.entries("quarantine"))
        record = late.record()
        assert record.code == "CTM_NODE_LATE"
        assert record.message == "1 images came after their series was denoised, without 3 others of it."
        assert len(list(late.images.iterdir())) == 1
