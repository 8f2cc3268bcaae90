"""Measure how many series a node denoises in an hour: part of ``make bench``.

`ctmahout serve` in a process of its own, simulated series by C-STORE, one after the other. CPU seconds are those of
the node and of the process that denoises, after a first series: so they hold on a loaded machine.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import page
import pydicom
from page import Column, Section

from ctmahout import learn
from ctmahout.dicom import send
from ctmahout.workflows.phantom import write_phantom

SIZES = ((128, 24), (256, 24), (512, 24))
COLUMNS = [
    Column("size", "series"),
    Column("way", ""),
    Column("cpu_s", "CPU s a series", ".0f"),
    Column("per_hour", "series an hour per core", ".0f"),
    Column("wall_s", "wall s", ".0f"),
    Column("peak_mib", "memory, MiB"),
]
WAYS: dict[str, dict[str, Any]] = {
    "a model": {},
    "own groups, effort fast": {"engine": "numpy", "effort": "fast"},
    "own groups, effort normal": {"engine": "numpy"},
}
TICKS = os.sysconf("SC_CLK_TCK")


def processes(pid: int) -> list[int]:
    """Return a process and its children."""
    found = [pid]
    for task in Path(f"/proc/{pid}/task").iterdir():
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # a thread that has ended since
            found += map(int, (task / "children").read_text().split())
    return found


def used(pid: int) -> tuple[float, float]:
    """Return the CPU seconds of a node and its children so far, and their largest memory together, MiB."""
    cpu = memory = 0.0
    for process in processes(pid):
        fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
        cpu += (int(fields[11]) + int(fields[12])) / TICKS
        lines = Path(f"/proc/{process}/status").read_text().splitlines()
        memory += next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:")) / 1024
    return cpu, memory


def renamed(source: Path, out: Path, number: int) -> Path:
    """Write a copy of a series under other UIDs."""
    out.mkdir(parents=True)
    for file in source.iterdir():
        ds = pydicom.dcmread(file)
        ds.SeriesInstanceUID += f".{number}"
        ds.SOPInstanceUID = ds.file_meta.MediaStorageSOPInstanceUID = ds.SOPInstanceUID[:50] + f".{number}"
        ds.save_as(out / file.name)
    return out


def measured(folder: Path, series: Path, options: dict[str, Any], times: int) -> dict[str, Any]:
    """Return the cost of a series, the mean of some after a first one."""
    folder.mkdir()
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    lines = [f'queue = "{folder}/queue"', f"port = {port}", "silence_s = 0.5", "[[peers]]", 'title = "BENCH"']
    lines += ["[[rules]]", 'name = "all"', "[rules.options]"]
    lines += [f"{key} = {json.dumps(value)}" for key, value in options.items()]
    (folder / "node.toml").write_text("\n".join(lines))
    words = [sys.executable, "-c", "from ctmahout.cli import main; main()", "serve", str(folder / "node.toml")]
    with (folder / "log").open("wb") as log:
        node = subprocess.Popen(words, stdout=log, stderr=log)
    try:
        start: tuple[float, float] = (0.0, 0.0)
        for number in range(times + 1):
            files = renamed(series, folder / "in" / str(number), number)
            while True:
                with socket.socket() as s:
                    if s.connect_ex(("127.0.0.1", port)) == 0:
                        break
                time.sleep(0.1)
            send(files, "127.0.0.1", port, called="CTMAHOUT", calling="BENCH")
            while sum(1 for _ in (folder / "queue" / "done").iterdir()) <= number:
                failed = list((folder / "queue" / "quarantine").glob("*/record.json"))
                if failed or node.poll() is not None:
                    raise RuntimeError(failed[0].read_text() if failed else (folder / "log").read_text())
                time.sleep(0.1)
            if number == 0:
                start = (used(node.pid)[0], time.perf_counter())
        cpu, memory = used(node.pid)
        cpu_s, wall_s = (cpu - start[0]) / times, (time.perf_counter() - start[1]) / times
        return {"cpu_s": cpu_s, "per_hour": 3600 / cpu_s, "wall_s": wall_s, "peak_mib": int(memory)}
    finally:
        node.terminate()
        node.wait()


def main() -> None:
    """Measure, and write the section."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--times", type=int, default=2, help="series of each kind, after the first")
    parser.add_argument("--quick", action="store_true", help="one small size; publish nothing")
    given = parser.parse_args()
    text = (
        "`ctmahout serve` with one series at a time: simulated chests by C-STORE, denoised with report, strength auto; "
        "by a model, or by the series' own groups with the engine numpy. CPU seconds of all of the node, the mean of "
        f"{given.times} series after a first one; an hour per core is 3600 s divided by them. Wall seconds depend on "
        "what else the machine does."
    )
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory(prefix="ctmahout-bench-") as name:
        for size, slices in ((96, 8),) if given.quick else SIZES:
            folder = Path(name, f"{size}-{slices}")
            series = Path(str(write_phantom(folder / "phantom", size=size, slices=slices)["noisy"]))
            learn([series], folder / "model", engine="numpy")
            for number, (way, options) in enumerate(WAYS.items()):
                values = options or {"model": str(folder / "model")}
                row = measured(folder / str(number), series, values, given.times)
                rows.append({"size": f"{slices} slices of {size} x {size}", "way": way, **row})
                print(json.dumps(rows[-1]), flush=True)
                if not given.quick:
                    page.publish(Section("node", "Series through a node", text, COLUMNS, rows))


if __name__ == "__main__":
    main()
