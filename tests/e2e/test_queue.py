"""Fifty series through one Spark application: killed in the middle, and gone on with."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pydicom
import pytest
from many_series import write_many

from ctmahout.dicom import read_series

pytestmark = pytest.mark.spark

CTMAHOUT = Path(sys.executable).with_name("ctmahout")
SERIES = 50


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """Fifty series of four slices, each with values of its own."""
    return write_many(tmp_path_factory.mktemp("study"), SERIES)


def command(study, out, events):
    # As many components as slices: each result is its source again, so none can be another's.
    arguments = "--all-series --method slices --strength rank:4 --no-report --master local[2]"
    events.mkdir(exist_ok=True)
    log = {"enabled": "true", "compress": "false", "dir": events.as_uri()}
    settings = [part for key, value in log.items() for part in ("--conf", f"spark.eventLog.{key}={value}")]
    return [CTMAHOUT, "denoise", study, out, *arguments.split(), *settings, "--json"]


def jobs(application):
    """Return how many jobs Spark's log of an application tells of."""
    logs = [f for f in application.rglob("*") if f.is_file() and not f.name.startswith(".")]
    return sum(f.read_text(errors="replace").count("SparkListenerJobStart") for f in logs or [application])


def finished(out):
    """Return the series that are there, with what a file that is written anew would not keep."""
    return {
        run.parent.name: (run.stat().st_ino, run.stat().st_mtime_ns)
        for run in out.glob("series-*/run.json")
        if "partial" not in run.parent.name
    }


def children(process):
    """Return the processes that a process has started."""
    listed = subprocess.run(["ps", "-o", "pid=", "--ppid", str(process.pid)], capture_output=True, text=True)
    return [int(number) for number in listed.stdout.split()]


@pytest.mark.release
def test_a_queue_of_fifty_is_killed_and_gone_on_with(study, tmp_path):
    out, events = tmp_path / "out", tmp_path / "events"
    killed = subprocess.Popen(command(study, out, events), stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    deadline = time.monotonic() + 120
    while len(finished(out)) < 15 or not list(out.glob("*.partial-*")):
        assert killed.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.001)
    spark = children(killed)
    killed.send_signal(signal.SIGKILL)
    killed.communicate()
    before = finished(out)
    assert 15 <= len(before) < SERIES
    # What it was at is there still, and is no result; nothing of Spark is.
    assert list(out.glob("*.partial-*"))
    for number in spark:
        while Path(f"/proc/{number}").exists():
            assert time.monotonic() < deadline
            time.sleep(0.01)

    done = json.loads(subprocess.run(command(study, out, events), capture_output=True, check=True).stdout)
    outcomes = [series["outcome"] for series in done["series"]]
    assert outcomes == ["kept"] * len(before) + ["done"] * (SERIES - len(before))
    after = finished(out)
    assert before.items() <= after.items()
    assert len(after) == SERIES
    assert sorted(p.name for p in out.iterdir()) == sorted([*after, "results.parquet", "study.json"])

    # One application for each run; a third run has nothing to do and starts none.
    applications = sorted(events.iterdir(), key=os.path.getmtime)
    assert len(applications) == 2
    assert jobs(applications[0]) >= len(before)
    assert jobs(applications[1]) >= SERIES - len(before)
    again = json.loads(subprocess.run(command(study, out, events), capture_output=True, check=True).stdout)
    assert {series["outcome"] for series in again["series"]} == {"kept"}
    assert len(list(events.iterdir())) == 2
    assert finished(out) == after

    files = [pydicom.dcmread(f, stop_before_pixels=True) for f in out.rglob("*.dcm")]
    assert len({ds.SOPInstanceUID for ds in files}) == len(files) == 4 * SERIES
    for series in out.glob("series-*"):
        number = series.name.split("-")[1]
        assert np.array_equal(read_series(series / "rank-4").hu, read_series(study / number).hu)
