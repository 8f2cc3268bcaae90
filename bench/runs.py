"""Starts what is measured, each in processes of its own, on cores that are given, and reads what they print.

Our own side runs by spark-submit with the very settings that ctmahout gives its sessions. CPU seconds of a JVM are
those of all its threads, its compiler and garbage collector included.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from ctmahout.engines.jars import Jar, Spark, find_jar, find_spark
from ctmahout.engines.java import find_java
from ctmahout.engines.session import spark_settings

__all__ = ["Line", "Measured", "find_lines", "mllib", "ours", "pooled", "rival", "table"]

BENCH = Path(__file__).resolve().parent
ROOT = BENCH.parent
_PREFIX = "BENCH "


@dataclass(frozen=True)
class Measured:
    """What a process printed of one task: its runs after warming up, and what it knows of the result."""

    answer: dict[str, Any]

    def median(self, key: str) -> float | None:
        """Return the middle one of the runs, None if there is none."""
        values = self._of_runs(key)
        return median(values) if values else None

    def total(self, key: str) -> float | None:
        """Return the sum over all runs, None if there is none."""
        values = self._of_runs(key)
        return sum(values) if values else None

    def _of_runs(self, key: str) -> list[float]:
        return [run[key] for run in self.answer.get("runs", []) if key in run]

    @property
    def cpu_s(self) -> float | None:
        """Return CPU seconds of a run."""
        return self.median("cpu_s")

    @property
    def wall_s(self) -> float | None:
        """Return wall seconds of a run."""
        return self.median("wall_s")

    @property
    def refused(self) -> str | None:
        """Return what was said instead of a result, None if there is a result."""
        return self.answer.get("error")

    def row(self, **more: Any) -> dict[str, Any]:
        """Return the row of a table: `more`, then what was measured."""
        keys = ("cpu_s", "wall_s", "jobs", "shuffle_bytes", "leaked_rdds")
        kept = {k: v for k, v in self.answer.items() if k not in ("s", "error")}
        # Of an error of ours the code is enough for a table.
        refused = self.refused and self.refused.partition("] ")[0].removeprefix("[")[:60]
        return {**more, **{key: self.median(key) for key in keys}, **kept, "refused": refused}


def pooled(measured: Sequence[Measured]) -> Measured:
    """Return what several processes measured of one task as if one had; what is not of a run is the worst of theirs."""
    if refused := next((m for m in measured if m.refused is not None), None):
        return refused
    numbers = {key for key, value in measured[0].answer.items() if isinstance(value, int | float)}
    answer = measured[0].answer | {key: max(m.answer[key] for m in measured) for key in numbers}
    return Measured(answer | {"runs": [run for m in measured for run in m.answer["runs"]]})


@dataclass(frozen=True)
class Line:
    """A Spark to measure on, its ctmahout jar and the jar of the measurements."""

    name: str
    spark: Spark
    jar: Jar
    bench: Path

    @property
    def bin(self) -> Path:
        """Return the folder of the commands of its environment."""
        return self.spark.home.parents[3] / "bin"


def find_lines(names: Sequence[str], jars: Path | None) -> list[Line]:
    """Return the Sparks of these lines that `make` has installed, with the jars built for them."""
    lines = []
    for name in names:
        homes = sorted(ROOT.glob(f".venv-spark{name.replace('.', '')}/lib/python3*/site-packages/pyspark"))
        if not homes:
            sys.exit(f"There is no Spark {name} in .venv-spark{name.replace('.', '')}; make bench installs it")
        spark = find_spark(homes[-1])
        given = sorted(jars.glob(f"ctmahout-spark{name}_*.jar")) if jars else []
        if jars and not given:
            sys.exit(f"There is no ctmahout-spark{name}_*.jar in {jars}")
        built = sorted(BENCH.glob(f"jvm/target/scala-{spark.scala}/ctmahout-bench_{spark.scala}-*.jar"))
        if not built:
            sys.exit(f'The measurements for Scala {spark.scala} are not built: ./sbt "+bench/package"')
        lines.append(Line(name, spark, find_jar(given[-1] if given else None, spark=spark), built[-1]))
    return lines


def ours(
    line: Line,
    main: str,
    tasks: list[dict[str, Any]],
    *,
    cores: Sequence[int] = (0,),
    memory: str = "4g",
    enter: Callable[[], None] | None = None,
) -> list[Measured]:
    """Measure tasks one after the other in one JVM.

    Parameters
    ----------
    line : Line
    main : str
        "Decompose" or "BridgeRequest": what the tasks are for.
    tasks : list of dict
        As these read them.
    cores : sequence of int
        The cores that the JVM may use, and as many threads of Spark.
    memory : str
        Heap of the JVM.
    enter : callable, optional
        Called in the new process before anything else.
    """
    with tempfile.TemporaryDirectory(prefix="ctmahout-bench-") as folder:
        file = Path(folder, "tasks.json")
        file.write_text(json.dumps(tasks))
        settings = spark_settings(line.spark, line.jar, master=f"local[{len(cores)}]", driver_memory=memory)
        command = [str(line.spark.home / "bin" / "spark-submit")]
        command += [part for item in settings.items() for part in ("--conf", "=".join(item))]
        command += ["--class", f"org.ctmahout.bench.{main}", str(line.bench), str(file)]
        environment = {
            "SPARK_HOME": str(line.spark.home),
            "JAVA_HOME": str(find_java(line.spark.version).home),
            "SPARK_LOCAL_DIRS": folder,  # what a killed JVM has spilled goes with it
        }
        measured = _measured(command, cores, environment, enter)
    # What killed a JVM is not its fault alone: the tasks that it did not come to have no figures.
    return measured + [Measured({"error": "the process ended"}) for _ in tasks[len(measured) :]]


def rival(
    name: str,
    matrix: Path,
    *,
    k: int,
    q: int = 0,
    u: bool = True,
    warm: int,
    runs: int,
    cores: Sequence[int] = (0,),
) -> Measured:
    """Measure one of `rivals.py` on these cores."""
    python = ROOT / ".venv-bench" / "bin" / "python"
    command = [python, BENCH / "rivals.py", name, matrix, "--k", k, "--q", q, "--warm", warm, "--runs", runs]
    return _one(_measured([*map(str, command), *([] if u else ["--no-u"])], cores, {}))


def mllib(line: Line, matrix: Path, *, k: int, warm: int, runs: int) -> Measured:
    """Measure MLlib's computeSVD with U on one core, from a matrix directory."""
    command = [line.bin / "python", BENCH / "mllib.py", matrix, "--k", k, "--warm", warm, "--runs", runs]
    return _one(_measured([str(part) for part in command], (0,), {}))


def table(who: str, case: str, folder: Path, *, limit_s: float, **options: Any) -> Measured:
    """Measure one way of `table.py` on one core; a way that takes longer than the limit is ended."""
    python = ROOT / ".venv-bench" / "bin" / "python" if who == "sklearn" else Path(sys.executable)
    command = [python, BENCH / "table.py", who, case, folder]
    command += [word for key, value in options.items() for word in (f"--{key}", value)]
    try:
        return _one(_measured([str(word) for word in command], (0,), {}, limit_s=limit_s))
    except subprocess.TimeoutExpired:
        return Measured({"error": f"not done after {limit_s:.0f} s"})


def _one(measured: list[Measured]) -> Measured:
    return measured[0] if measured else Measured({"error": "the process ended"})


def _measured(
    command: list[str],
    cores: Sequence[int],
    environment: dict[str, str],
    enter: Callable[[], None] | None = None,
    limit_s: float | None = None,
) -> list[Measured]:
    cpus = sorted(os.sched_getaffinity(0))
    pinned = ["taskset", "-c", ",".join(str(cpus[core]) for core in cores), *command]
    threads = {f"{library}_NUM_THREADS": str(len(cores)) for library in ("OMP", "OPENBLAS", "MKL")}
    # A kernel named for old libraries slows down the numpy of today.
    kept = {key: value for key, value in os.environ.items() if key not in ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE")}
    done = subprocess.run(
        pinned,
        capture_output=True,
        text=True,
        env={**kept, **threads, **environment},
        preexec_fn=enter,
        check=False,
        timeout=limit_s,
    )
    if done.returncode:
        print(f"{' '.join(command[:1])} ... ended with {done.returncode}:\n{done.stderr[-2000:]}", file=sys.stderr)
    return list(_answers(done.stdout.splitlines()))


def _answers(lines: Iterable[str]) -> Iterable[Measured]:
    for line in lines:
        if line.startswith(_PREFIX):
            measured = Measured(json.loads(line.removeprefix(_PREFIX)))
            if measured.refused is not None:
                print(f"refused: {measured.refused}", file=sys.stderr)
            yield measured
