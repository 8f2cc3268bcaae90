"""Measure the main job as a user runs it: part of ``make bench``.

The run of the pipeline that ctmahout began with: 301 slices of 512 x 512, k = 245, p = 15, q = 1, from DICOM to DICOM;
the same with all components; and method patches, with its two passes. Phases are those of the run manifest; memory is
the peak resident size of each process as the kernel counts it (VmHWM).
"""

from __future__ import annotations

import argparse
import json
import platform
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import page

CTMAHOUT = Path(sys.executable).with_name("ctmahout")
PHASES = ("read", "start", "prepare", "refine", "dssvd", "reconstruct", "write", "measure")


@dataclass
class Peaks:
    """Peak resident memory by kind of process, in MiB, sampled while a process and its children live."""

    python: int = 0
    java: int = 0
    _ended: threading.Event = field(default_factory=threading.Event)

    def watch(self, pid: int) -> None:
        while not self._ended.wait(0.1):
            for child in [pid, *_descendants(pid)]:
                try:
                    status = Path(f"/proc/{child}/status").read_text()
                except OSError:
                    continue
                values = dict(line.split(":", 1) for line in status.splitlines() if ":" in line)
                if "VmHWM" not in values:
                    continue
                kind = "java" if values["Name"].strip() == "java" else "python"
                setattr(self, kind, max(getattr(self, kind), int(values["VmHWM"].split()[0]) // 1024))

    def stop(self) -> None:
        self._ended.set()


def _descendants(pid: int) -> list[int]:
    found = []
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        try:
            children = [int(c) for c in task.read_text().split()]
        except OSError:
            continue
        for child in children:
            found += [child, *_descendants(child)]
    return found


def measured(*arguments: object) -> tuple[dict[str, Any], float, Peaks]:
    """Run a verb with --json; return its answer, wall seconds and peaks."""
    start = time.perf_counter()
    process = subprocess.Popen([CTMAHOUT, *map(str, arguments), "--json"], stdout=subprocess.PIPE, text=True)
    peaks = Peaks()
    watcher = threading.Thread(target=peaks.watch, args=(process.pid,))
    watcher.start()
    out, _ = process.communicate()
    peaks.stop()
    watcher.join()
    if process.returncode:
        sys.exit(f"{' '.join(map(str, arguments))} failed with exit code {process.returncode}")
    return json.loads(out), time.perf_counter() - start, peaks


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=512)
    parser.add_argument("--slices", type=int, default=301)
    parser.add_argument("-k", type=int, default=245)
    parser.add_argument("--series", type=Path, help="this series, instead of a phantom")
    parser.add_argument("--out", type=Path, default=page.DOCS, help="where numbers.md and numbers.json go")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="ctmahout-bench-") as folder:
        series = options.series
        if series is None:
            print(f"Simulating {options.slices} slices of {options.size} x {options.size} ...", flush=True)
            subprocess.run(
                [
                    CTMAHOUT,
                    "phantom",
                    f"{folder}/phantom",
                    "--size",
                    str(options.size),
                    "--slices",
                    str(options.slices),
                ],
                check=True,
            )
            series = Path(folder) / "phantom" / "noisy"
        rows: list[dict[str, Any]] = []
        for name, how in (
            (f"slices, k = {options.k}", ["--method", "slices", "-k", options.k]),
            ("slices, all components", ["--method", "slices"]),
            ("patches", ["--method", "patches"]),
        ):
            out = Path(folder) / "out"
            print(f"Denoising, {name} ...", flush=True)
            answer, seconds, peaks = measured("denoise", series, out, *how, "-p", 15, "-q", 1)
            run = answer["run"]
            rows.append(
                {
                    "run": name,
                    "seconds": seconds,
                    **(phases := {phase: run["phases_s"].get(phase, 0.0) for phase in PHASES}),
                    "rest": seconds - sum(phases.values()),
                    "jvm_s": run["factors"]["timings_s"],
                    "python_peak_mib": peaks.python,
                    "jvm_peak_mib": peaks.java,
                    "orthogonality_v": max(group["orthogonality_v"] for group in run["factors"]["groups"]),
                    "shape": run["source"]["shape"],
                    "writer": run["factors"]["writer"],
                }
            )
            shutil.rmtree(out)
    print(page.publish(section(rows), options.out))


def section(rows: list[dict[str, Any]]) -> page.Section:
    """Return the page's section about the main job."""
    z, y, x = rows[0]["shape"]
    writer = rows[0]["writer"]
    columns = [
        page.Column("run", ""),
        page.Column("seconds", "all", ".1f"),
        *(page.Column(phase, phase, ".1f") for phase in (*PHASES, "rest")),
        page.Column("python_peak_mib", "Python MiB"),
        page.Column("jvm_peak_mib", "JVM MiB"),
        page.Column("orthogonality_v", "\\|V'V - I\\|", ".0e"),
    ]
    return page.Section(
        "pipeline",
        "The main job",
        f"`ctmahout denoise`, DICOM to DICOM with report, {z} slices of {y} x {x}, p = 15, q = 1. Seconds of wall "
        "time; `start` is Spark's, `measure` what the report says, the rest Python's start and the report's pictures. "
        "Peak resident memory of each process.",
        columns,
        rows,
        targets=[
            page.Target("patches: wall time", rows[-1]["seconds"], 480, "below", " s"),
            page.Target("patches: peak of Python", rows[-1]["python_peak_mib"], 4096, "at most", " MiB"),
            page.Target("patches: peak of the JVM", rows[-1]["jvm_peak_mib"], 3072, "at most", " MiB"),
        ],
        versions={"Spark": writer["spark"], "Java": writer["java"], "Python": platform.python_version()},
    )


if __name__ == "__main__":
    main()
