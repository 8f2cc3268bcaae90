"""Denoises a cohort on executors through interrupts and losses: SOURCE OUTPUT MASTER EVENTS."""

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

from ctmahout import denoise_study
from ctmahout.engines import spark_builder
from ctmahout.engines.executors import Executors
from ctmahout.errors import CtmahoutError

OPTIONS = {"method": "slices", "strength": ("rank:3",), "report": False, "timestamp": "2026-01-31T12:00:00+00:00"}


def executors(session):
    """Return the process numbers of a session's executors."""
    listed = subprocess.run(["ps", "-ww", "-eo", "pid=,args="], capture_output=True, text=True, check=True).stdout
    mine = [line for line in listed.splitlines() if session.sparkContext.applicationId in line]
    return [int(line.split()[0]) for line in mine if "CoarseGrainedExecutorBackend" in line and "java" in line]


def main(source, output, master, events):
    source, output = Path(source), Path(output)
    log = {"spark.eventLog.enabled": "true", "spark.eventLog.compress": "false", "spark.eventLog.dir": events}
    session = spark_builder(master, **log).getOrCreate()
    spread = {**OPTIONS, "spread": True, "engine": "numpy", "session": session}
    told = {}

    def stop(series):
        if series.outcome == "done":  # the bad one may come first
            raise KeyboardInterrupt

    def kill(series):
        if series.outcome != "done" or "killed" in told:
            return
        end = time.monotonic() + 60
        while not (running := executors(session)):  # one may be on its way, in the place of another
            assert time.monotonic() < end
            time.sleep(0.1)
        told["killed"] = running[0]
        os.kill(told["killed"], signal.SIGKILL)

    try:
        try:
            denoise_study(source, output, on_series=stop, **spread)
        except KeyboardInterrupt:
            told["active"] = len(session.sparkContext.statusTracker().getActiveJobsIds())
        for name, options in (("killed and gone on with", {"on_series": kill}), ("again", {})):
            done = denoise_study(source, output, **spread, **options)
            told[name] = Counter(f"{series.outcome} {series.code}".strip() for series in done.series)
        one = [sorted(source.iterdir())[0]]
        for name, options in (("mahout in a task", {"spread": True}), ("mahout here", {})):
            denoise_study(one, output.parent / name, **OPTIONS, session=session, **options)
        told["each"] = {}
        for item, result in Executors(session).each(eval, ["1 + 1", "__import__('os')._exit(1)", "3 * 3"], str):
            told["each"][item] = result.code if isinstance(result, CtmahoutError) else result
    finally:
        session.stop()
    sys.stdout.write(json.dumps(told) + "\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
