"""Measure what the start of Spark costs, before and after ``ctmahout warm-up``: part of ``make bench``.

Each run is a process of its own, which decomposes one small matrix. CPU seconds are those of the process and of all
that it starts.
"""

from __future__ import annotations

import argparse
import os
import resource
import subprocess
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

import page
import runs
from matrices import harmonic, write_groups
from page import Column, Section
from runs import Line

ENGINES = ("py4j", "jpype", "submit")
COLUMNS = [
    Column("who", ""),
    Column("engine", "engine"),
    Column("cache", ""),
    Column("wall_s", "wall s", ".1f"),
    Column("cpu_s", "CPU s", ".1f"),
]


def ctmahout(line: Line, cache: Path, *arguments: object) -> dict[str, float]:
    """Run the command of a Spark's environment with a cache of its own, and return what that cost."""
    environment = {**os.environ, "XDG_CACHE_HOME": str(cache)}
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    command = [str(line.bin / "ctmahout"), *map(str, arguments)]
    subprocess.run(command, check=True, capture_output=True, env=environment)
    wall, after = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
    return {"wall_s": wall, "cpu_s": after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime}


def measured(line: Line, folder: Path, times: int) -> list[dict[str, Any]]:
    """Return a row for each engine, cold and warm by turns."""
    matrix = folder / "matrix"
    caches = {"as installed": folder / f"cold-{line.name}", "after warm-up": folder / f"warm-{line.name}"}
    ctmahout(line, caches["after warm-up"], "warm-up")
    rows = []
    for engine in ENGINES:
        found: dict[str, list[dict[str, float]]] = {name: [] for name in caches}
        for _ in range(times):
            for name, cache in caches.items():
                found[name].append(
                    ctmahout(line, cache, "dssvd", matrix, folder / "factors", "--engine", engine, "--overwrite")
                )
        for name, each in found.items():
            middle = {key: median(run[key] for run in each) for key in ("wall_s", "cpu_s")}
            rows.append({"who": f"Spark {line.spark.version}", "engine": engine, "cache": name, **middle, "runs": each})
    return rows


def main() -> None:
    """Measure, and write the section."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--lines", nargs="+", default=["4", "3.5"], help="of Spark")
    parser.add_argument("--times", type=int, default=5)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="ctmahout-bench-") as folder:
        write_groups(Path(folder, "matrix"), [harmonic(20_000, 60)])
        rows = [row for line in runs.find_lines(given.lines, None) for row in measured(line, Path(folder), given.times)]
    text = (
        "`ctmahout dssvd` of a matrix of 20,000 x 60, from the shell's prompt and back to it: medians of "
        f"{given.times} processes, which take turns."
    )
    print(page.publish(Section("start", "The start of Spark", text, COLUMNS, rows)))


if __name__ == "__main__":
    main()
