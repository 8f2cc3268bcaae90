"""Runs a verb of ctmahout as a step of Kubeflow Pipelines, and hands on what it answers as the step's outputs.

Usage: step.py [--report FILE] EXECUTOR_INPUT VERB ARGUMENTS...

What may pass is tried again here: Kubeflow does not retry steps in a loop. `pipeline.py` writes this text into the
pipeline, so that any image with ctmahout in it will do.
"""

import argparse
import contextlib
import hashlib
import io
import json
import os
import signal
import sys
import time
from pathlib import Path

from ctmahout.cli import main
from ctmahout.storage import local_copy, parse_location

ATTEMPTS, PAUSE_S = 3, 30
ATTEMPT = "STEP_ATTEMPT"
# What may be otherwise next time. The others, a bad file or a missing right, are as they are.
MAY_PASS = {
    "CTM_ENGINE_FAILED",
    "CTM_FETCH_INCOMPLETE",
    "CTM_FETCH_UNAVAILABLE",
    "CTM_KUBERNETES_EXECUTORS",
    "CTM_KUBERNETES_LOST",
    "CTM_KUBERNETES_UNREACHABLE",
    "CTM_STORAGE_READ",
    "CTM_STORAGE_WRITE",
}


def run(arguments):
    """Run a verb and return its answer; it ends this process if it fails, or begins it anew."""
    said = io.StringIO()
    try:
        with contextlib.redirect_stdout(said):
            main([*arguments, "--json"])
    except SystemExit as e:
        if e.code:
            begin_anew(said.getvalue())
            raise
    return json.loads(said.getvalue())


def begin_anew(answer):
    """Put a fresh process in the place of this one, with the same number, if the error may pass; else return."""
    try:
        code = json.loads(answer)["error"]["code"]
    except (ValueError, KeyError, TypeError):
        return
    attempt = int(os.environ.get(ATTEMPT, "1"))
    if code not in MAY_PASS or attempt == ATTEMPTS:
        return
    pause_s = PAUSE_S * 2 ** (attempt - 1)
    sys.stderr.write(f"{code}: tried again in {pause_s} s, attempt {attempt + 1} of {ATTEMPTS}\n")
    sys.stderr.flush()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    time.sleep(pause_s)
    os.environ[ATTEMPT] = str(attempt + 1)
    os.execv(sys.executable, sys.orig_argv)


def series(answer):
    """Return what the loop over series goes over: names that say nothing of a patient."""
    found = [one["folder"] for one in answer["series"] if not one["denoised"]]
    if not found:  # a loop over nothing would succeed
        sys.exit("\n".join(["No CT series to denoise.", *answer["notes"]]))
    return found


def refines(answer):
    """Tell whether a matrix is that of a pass which another one follows."""
    return 0 < answer["layout"].get("pass", 0) < answer["layout"].get("passes", 0)


def digest(answer):
    """Return the hash of what a step has written: by it Kubeflow's cache knows the input of the step that follows."""
    return hashlib.sha256(json.dumps(answer, sort_keys=True).encode()).hexdigest()


def metrics(tree, name=""):
    """Return the numbers of a tree by name, floats as Kubeflow has them; curves are left to the report."""
    if isinstance(tree, dict):
        return {k: v for key, below in tree.items() for k, v in metrics(below, f"{name}_{key}".strip("_")).items()}
    return {name: float(tree)} if isinstance(tree, (int, float)) else {}


def file_outputs(places, answer, report):
    """Write the outputs that Kubeflow expects of this step."""
    for name, place in places.get("parameters", {}).items():
        value = {"series": series, "refines": refines, "digest": digest}[name](answer)
        file = Path(place["outputFile"])
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(value if isinstance(value, str) else json.dumps(value), encoding="utf-8")
    if report is not None:
        report.parent.mkdir(parents=True, exist_ok=True)
        with local_copy(parse_location(answer["report"])) as file:
            report.write_bytes(file.read_bytes())
    if "metrics" in places.get("artifacts", {}):
        (artifact,) = places["artifacts"]["metrics"]["artifacts"]
        artifact["metadata"] = metrics(answer["run"]["numbers"]["after"])
        file = Path(places["outputFile"])
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps({"artifacts": {"metrics": {"artifacts": [artifact]}}}), encoding="utf-8")


parser = argparse.ArgumentParser()
parser.add_argument("--report", type=Path)
parser.add_argument("executor_input", type=json.loads)
parser.add_argument("verb", nargs=argparse.REMAINDER)
given = parser.parse_args()
# Lists cannot stand in a command: every value becomes an option of its own.
lists = {
    k: v for k, v in given.executor_input.get("inputs", {}).get("parameterValues", {}).items() if isinstance(v, list)
}
options = [part for name, values in lists.items() for value in values for part in (f"--{name}", value)]
if given.verb[:2] != ["fetch", ""]:  # nothing to fetch: the scans are there
    file_outputs(given.executor_input.get("outputs", {}), run([*given.verb, *options]), given.report)
