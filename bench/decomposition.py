"""Measure the decomposition side by side with its rivals, in one run: part of ``make bench``.

Ours on each Spark, numpy's same algorithm, scikit-learn, dask and MLlib get the same matrix, whose singular values are
known. Each runs in a process of its own, pinned to one core unless the section says otherwise, warm. CPU seconds of a
JVM count all its threads, those of its compiler and garbage collector, too. Sections and their targets go to
docs/numbers.md.
"""

from __future__ import annotations

import argparse
import itertools
import signal
import sys
import tempfile
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import limits
import matrices
import numpy as np
import page
import runs
from matrices import Tall, harmonic, relative_error
from page import Column, Section, Target
from runs import Line, Measured

from ctmahout.exchange import read_factors, read_manifest, write_matrix

K, P = 50, 15
POWERS = (0, 1, 2)
# Tasks, and what tables call them.
ON_TWO_CORES = {"q=1": "dssvd + U, q = 1", "exact + U": "exact + U"}
COLUMNS = 301

_COST = [
    Column("who", ""),
    Column("cpu_s", "CPU s", ".2f"),
    Column("wall_s", "wall s", ".2f"),
    Column("peak_mib", "peak MiB", ",.0f"),
]
_QUALITY = [
    Column("error", "error of s", ".0e"),
    Column("orthogonality_u", "\\|U'U - I\\|", ".0e"),
    Column("orthogonality_v", "\\|V'V - I\\|", ".0e"),
]
_SPARK = [
    Column("jobs", "Spark jobs", ".0f"),
    Column("shuffle_bytes", "shuffle bytes", ",.0f"),
    Column("leaked_rdds", "RDDs left", ".0f"),
]
_NOTE = [Column("refused", "")]


@dataclass
class Bench:
    """What is measured on, and what several sections use.

    Attributes
    ----------
    lines : list of Line
    data : Path
        Where matrices are, and stay if they are to be kept.
    quick : bool
        Small matrices and few runs: whether all of it works, not how fast it is.
    """

    lines: list[Line]
    data: Path
    quick: bool
    _in_memory: dict[str, dict[str, Measured]] = field(default_factory=dict)
    _rivals: dict[str, Measured] = field(default_factory=dict)

    @property
    def rows(self) -> int:
        """Return the rows of the matrix that most sections have."""
        return 1 << 14 if self.quick else 1 << 18

    @property
    def times(self) -> dict[str, int]:
        """Return how often a JVM does a task, before it is measured and then."""
        return {"warm": 2, "runs": 2} if self.quick else {"warm": 15, "runs": 7}

    @property
    def processes(self) -> int:
        """Return how many JVMs are asked: what Java's compiler makes of the same code differs by a third."""
        return 1 if self.quick else 3

    def npy(self, rows: int) -> Path:
        """Return the file of a matrix with singular values 1, 1/2, 1/3, ..."""
        path = self.data / f"harmonic-{rows}.npy"
        if not path.exists():
            say(f"Making a matrix of {rows:,} x {COLUMNS}")
            harmonic(rows, COLUMNS).save(self.data / "partial.npy").rename(path)
        return path

    def directory(self, name: str, groups: Iterable[Tall]) -> Path:
        """Return the matrix directory of this name with these groups."""
        path = self.data / name
        if not path.exists():
            say(f"Writing {name}")
            matrices.write_groups(path, groups)
        return path

    def harmonic_directory(self, rows: int) -> Path:
        """Return the directory of the matrix that `npy` has."""
        return self.directory(f"harmonic-{rows}", [harmonic(rows, COLUMNS)])

    def in_memory(self, line: Line, cores: tuple[int, ...] = (0,)) -> dict[str, Measured]:
        """Return what a decomposition costs of a matrix in memory: of ``q=0`` and so on, ``exact``, ``exact + U``.

        On several cores, of `ON_TWO_CORES` only.
        """
        key = f"{line.name} {cores}"
        if key not in self._in_memory:
            say(f"Spark {line.spark.version}: dssvd and exact in memory, {len(cores)} core(s)")
            base = {"matrix": str(self.npy(self.rows)), "k": K, "p": P, "q": 0, "u": True, **self.times}
            tasks = {dssvd(q): {**base, "algorithm": "dssvd", "q": q} for q in POWERS}
            tasks["exact"] = {**base, "algorithm": "exact", "u": False}
            tasks["exact + U"] = {**base, "algorithm": "exact"}
            if len(cores) > 1:
                tasks = {name: tasks[name] for name in ON_TWO_CORES}
            found = [runs.ours(line, "Decompose", list(tasks.values()), cores=cores) for _ in range(self.processes)]
            by_task = zip(tasks, zip(*found, strict=True), strict=True)
            self._in_memory[key] = {name: runs.pooled(measured) for name, measured in by_task}
        return self._in_memory[key]

    def rival(self, name: str, q: int = 0, *, u: bool = True) -> Measured:
        """Return what a rival's decomposition of the same matrix costs."""
        key = f"{name} {q} {u}"
        if key not in self._rivals:
            say(f"{name}, q = {q}")
            times: dict[str, Any] = {"warm": 1, "runs": 1 if self.quick else 5}
            self._rivals[key] = runs.rival(name, self.npy(self.rows), k=K, q=q, u=u, **times)
        return self._rivals[key]

    def known(self, rows: int | None = None) -> np.ndarray[Any, np.dtype[np.float64]]:
        """Return the first singular values of the matrix."""
        return harmonic(rows or self.rows, COLUMNS).s[:K]

    def row(self, who: str, measured: Measured, **more: Any) -> dict[str, Any]:
        """Return a row about the decomposition of the matrix."""
        answer = measured.answer
        error = relative_error(answer["s"], self.known()) if "s" in answer else None
        return {**measured.row(who=who, **more), "error": error}


def dssvd(q: int) -> str:
    """Return the name of dssvd with U and so many power iterations."""
    return f"q={q}"


def who(line: Line) -> str:
    """Return what tables call ctmahout on a Spark."""
    return f"ctmahout, Spark {line.spark.version}"


def say(text: str) -> None:
    """Tell whoever waits what is being done."""
    print(f"{text} ...", file=sys.stderr, flush=True)


def ratio(a: float | None, b: float | None) -> float | None:
    """Return a / b, None if one of them is not known."""
    return a / b if a is not None and b else None


def worst(figures: Iterable[float | None]) -> float | None:
    """Return the largest, not a number if one is none; None if one is not known or none is there."""
    values: list[float] = []
    for figure in figures:
        if figure is None:
            return None
        values.append(figure)
    return float(np.max(values)) if values else None


def of_spark(name: str, rows: list[dict[str, Any]], q: int) -> list[Target]:
    """Return the targets for what Spark does for dssvd."""
    return [
        Target(f"{name}, q = {q}: Spark jobs", worst(r.get("jobs") for r in rows), 6 + 2 * q),
        Target(f"{name}, q = {q}: shuffle bytes", worst(r.get("shuffle_bytes") for r in rows), 0),
        Target(f"{name}, q = {q}: RDDs left", worst(r.get("leaked_rdds") for r in rows), 0),
    ]


def versions(rows: list[dict[str, Any]]) -> dict[str, str]:
    """Return the versions that rows name."""
    found: dict[str, str] = {}
    for row in rows:
        if "spark" in row:
            found[f"Spark {row['spark']} on Java"] = row["java"]
        if "package" in row:
            package, _, version = row["package"].partition(" ")
            found[package] = f"{version} ({row['blas']})" if "blas" in row else version
    return found


def headline(bench: Bench) -> Section:
    """Ours against all rivals."""
    rows: list[dict[str, Any]] = []
    targets: list[Target] = []
    matrix = bench.harmonic_directory(bench.rows)
    say("MLlib")
    times = {"warm": 0, "runs": 1} if bench.quick else {"warm": 1, "runs": 2}
    mllib = runs.mllib(bench.lines[0], matrix, k=K, **times)
    for q in POWERS:
        own = {line.name: bench.in_memory(line)[dssvd(q)] for line in bench.lines}
        numpy, sklearn, dask = (bench.rival(name, q) for name in ("numpy", "sklearn", "dask"))
        ours = [bench.row(who(line), own[line.name], q=q) for line in bench.lines]
        rows += ours
        rows += [
            bench.row("numpy, same algorithm, float64", numpy, q=q),
            bench.row("scikit-learn randomized_svd, LU", sklearn, q=q),
            bench.row("dask svd_compressed, QR", dask, q=q),
        ]
        for row in rows[-len(ours) - 3 :]:
            row["ratio"] = ratio(row["cpu_s"], numpy.cpu_s)
        slowest = worst(m.cpu_s for m in own.values())
        name = f"dssvd + U, q = {q}"
        targets += [
            Target(f"{name}: CPU against numpy's", ratio(slowest, numpy.cpu_s), 1.3, unit=" times"),
            Target(f"{name}: CPU against scikit-learn's", ratio(slowest, sklearn.cpu_s), 1.0, "below", " times"),
            Target(f"{name}: MLlib's CPU against it", ratio(mllib.cpu_s, slowest), 8.0, "at least", " times"),
            *of_spark("dssvd + U", ours, q),
        ]
    rows.append(bench.row("MLlib computeSVD", mllib))
    return Section(
        "headline",
        "dssvd with U, in memory, one core",
        f"{bench.rows:,} x {COLUMNS} float32 with singular values 1/i, k = {K}, p = {P}; the matrix is in memory, "
        "everything is warm and pinned to one core. Medians of several runs, ours in three JVMs; of several Sparks the "
        "targets take the slower one. CPU seconds of a JVM include its compiler and garbage collector. The error of s "
        "is the largest relative one of the k, most of it the algorithm's. The peak is that of the process: a JVM has "
        "one for all its rows.",
        [Column("q", "q"), *_COST, Column("ratio", "CPU / numpy's", ".2f"), *_QUALITY, *_SPARK, *_NOTE],
        rows,
        targets,
        versions(rows),
    )


def exact(bench: Bench) -> Section:
    """The exact algorithm against the same in numpy."""
    rows: list[dict[str, Any]] = []
    targets: list[Target] = []
    for name, u in (("exact", False), ("exact + U", True)):
        own = {line.name: bench.in_memory(line)[name] for line in bench.lines}
        gram = bench.rival("gram", u=u)
        own_rows = [bench.row(who(line), own[line.name], what=name) for line in bench.lines]
        rows += [*own_rows, bench.row("numpy, A'A and eigh, float64", gram, what=name)]
        slowest = worst(m.cpu_s for m in own.values())
        targets.append(Target(f"{name}: CPU against numpy's", ratio(slowest, gram.cpu_s), 1.5, unit=" times"))
    return Section(
        "exact",
        "exact, in memory, one core",
        f'`"algorithm": "exact"`, the eigenvalues of A\'A, of the same matrix: {bench.rows:,} x {COLUMNS}, k = {K}.',
        [Column("what", ""), *_COST, *_QUALITY, *_SPARK, *_NOTE],
        rows,
        targets,
        versions(rows),
    )


def request(source: Path, target: Path, **more: Any) -> dict[str, Any]:
    """Return a request of contract/v1."""
    return {"input": str(source), "output": str(target), "p": P, "want": ["s", "v"], **more}


def described(measured: Measured, target: Path, groups: Iterable[tuple[int, Tall]]) -> Measured:
    """Add what a factors directory holds: the largest error of s, and |V'V - I|, of these groups."""
    if measured.refused is not None:
        return measured
    found = {group: read_factors(target, group) for group, _ in groups}
    errors = [relative_error(found[group].s.tolist(), tall.s[: found[group].rank]) for group, tall in groups]
    distances = [np.abs(f.v.T @ f.v - np.eye(f.rank)).max() for f in found.values()]
    more = {"error_of_s": max(errors), "orthogonality_v": float(max(distances))}
    return replace(measured, answer={**measured.answer, **more})


def request_row(measured: Measured, **more: Any) -> dict[str, Any]:
    """Return a row about a request."""
    return {**measured.row(**more), "error": measured.answer.get("error_of_s")}


def bridge(bench: Bench) -> Section:
    """Requests in a JVM that is warm."""
    rows: list[dict[str, Any]] = []
    source = bench.harmonic_directory(bench.rows)
    targets: list[Target] = []
    own: dict[str, list[dict[str, Any]]] = {}
    for line in bench.lines:
        say(f"Spark {line.spark.version}: Parquet to Parquet")
        asked = {f"dssvd, q = {q}": {"q": q} for q in POWERS} | {"exact": {"algorithm": "exact"}}
        target = {name: bench.data / f"factors-{number}" for number, name in enumerate(asked)}
        tasks = [{"request": request(source, target[n], k=K, **more), **bench.times} for n, more in asked.items()]
        for name, measured in zip(asked, runs.ours(line, "BridgeRequest", tasks), strict=True):
            measured = described(measured, target[name], [(0, harmonic(bench.rows, COLUMNS))])
            row = request_row(measured, what=name, who=who(line))
            rows.append(row)
            own.setdefault(name, []).append(row)
        for q in POWERS:
            cpu, memory = own[f"dssvd, q = {q}"][-1]["cpu_s"], bench.in_memory(line)[dssvd(q)].cpu_s
            if memory is not None:
                what = f"Spark {line.spark.version}, q = {q}: CPU, 1.5 times dssvd + U in memory and 1.5 s"
                targets.append(Target(what, cpu, 1.5 * memory + 1.5, "below", " s"))
    for q in POWERS:
        targets += of_spark("request", own[f"dssvd, q = {q}"], q)
    return Section(
        "bridge",
        "Parquet to Parquet, one core",
        f"A request to the bridge for s and V in a JVM that is warm: {bench.rows:,} x {COLUMNS} read, checked, "
        f"decomposed with k = {K}, and the factors written, with all checksums.",
        [Column("what", ""), *_COST, Column("error", "error of s", ".0e"), _QUALITY[2], *_SPARK, *_NOTE],
        rows,
        targets,
        versions(rows),
    )


def large(bench: Bench) -> Section:
    """Ten times the rows, in the memory of a small container."""
    rows: list[dict[str, Any]] = []
    targets: list[Target] = []
    heights = (bench.rows, 10 * bench.rows)
    asked: list[tuple[str, dict[str, Any]]] = [("dssvd, q = 1", {"q": 1}), ("exact", {"algorithm": "exact"})]
    for line, (name, more) in itertools.product(bench.lines, asked):
        # One core and two take turns: the speed of a machine that is shared changes within minutes.
        found: dict[int, list[list[Measured]]] = {1: [], 2: []}
        for cores in (1, 2) * bench.processes:
            say(f"Spark {line.spark.version}: {heights[1]:,} rows in 3 GiB, {name}, {cores} core(s)")
            found[cores].append(small_and_large(bench, line, heights, more, cores))
        wall: dict[tuple[int, int], float | None] = {}
        together: dict[tuple[int, int], float | None] = {}
        for cores, measured in found.items():
            for height, of_height in zip(heights, zip(*measured, strict=True), strict=True):
                pooled = runs.pooled(of_height)
                row = request_row(pooled, what=name, who=who(line), rows=height, cores=cores)
                wall[cores, height] = row["wall_s"]
                together[cores, height] = pooled.total("wall_s")
                rows.append(row)
        small, large_ = heights
        what = f"Spark {line.spark.version}, {name}: "
        times_the_small = ratio(wall[1, large_], wall[1, small])
        times_two_cores = ratio(together[1, large_], together[2, large_])
        targets += [
            Target(f"{what}wall time of ten times the rows", times_the_small, 11.0, unit=" times"),
            Target(f"{what}how much faster two cores do these", times_two_cores, 1.7, "at least", " times"),
        ]
    return Section(
        "large",
        "Ten times the rows in 3 GiB, one core and two",
        f"{heights[1]:,} x {COLUMNS} float32, {heights[1] * COLUMNS * 4 / (1 << 30):.1f} GiB, Parquet to Parquet for s "
        f"and V, k = {K}. The whole application is in a control group with a limit of 3 GiB, the kernel's cache of its "
        "files included; the heap has half of it. Medians over three JVMs, each of which does the small matrix first, "
        "and the large one once before it counts. How much faster two cores are is told of all runs together, which "
        "took turns.",
        [
            Column("what", ""),
            Column("rows", "rows", ",.0f"),
            Column("cores", "cores"),
            *_COST,
            Column("group_mib", "group's peak MiB", ",.0f"),
            Column("error", "error of s", ".0e"),
            *_SPARK,
            *_NOTE,
        ],
        rows,
        targets,
        versions(rows),
    )


def small_and_large(
    bench: Bench, line: Line, heights: tuple[int, int], more: dict[str, Any], cores: int
) -> list[Measured]:
    """Return what a matrix of each height costs in one JVM with 3 GiB, once it is warm."""
    limit = 3 << 30
    # The first run of the large one is not counted either: Java is still compiling, which takes as many CPU seconds on
    # two cores as on one, and so a larger part of the shorter run.
    times = ({"warm": 2, "runs": 3}, {"warm": 1, "runs": 2})
    targets = [bench.data / f"factors-{height}" for height in heights]
    tasks = [
        {"request": request(bench.harmonic_directory(height), target, k=K, **more), **often}
        for height, target, often in zip(heights, targets, times, strict=True)
    ]
    try:
        with limits.limited(limit) as group:
            # Half of the memory for the heap, as ctmahout takes in a container.
            memory = f"{limit // 2 >> 20}m"
            measured = runs.ours(line, "BridgeRequest", tasks, cores=range(cores), memory=memory, enter=group.enter)
            peak = group.peak_bytes() >> 20
    except limits.LimitError as e:
        return [Measured({"error": str(e)}) for _ in tasks]
    small, large_ = (
        described(m, target, [(0, harmonic(height, COLUMNS))])
        for m, target, height in zip(measured, targets, heights, strict=True)
    )
    return [small, replace(large_, answer={**large_.answer, "group_mib": peak})]


def wide(bench: Bench) -> Section:
    """As many columns and components as there may be."""
    rows: list[dict[str, Any]] = []
    targets: list[Target] = []
    height, width, k = (1 << 13, 1000, 85) if bench.quick else (1 << 15, 5000, 485)
    tall = harmonic(height, width)
    matrix = bench.data / "wide.npy"
    if not matrix.exists():
        say(f"Making a matrix of {height:,} x {width:,}")
        tall.save(bench.data / "partial.npy").rename(matrix)
    own: dict[int, list[Measured]] = {q: [] for q in (0, 1)}
    for line in bench.lines:
        say(f"Spark {line.spark.version}: {height:,} x {width:,}")
        base = {"matrix": str(matrix), "k": k, "p": P, "u": False, "algorithm": "dssvd", "warm": 0, "runs": 1}
        for q, measured in enumerate(runs.ours(line, "Decompose", [{**base, "q": q} for q in own], cores=(0, 1))):
            rows.append(measured.row(who=who(line), q=q))
            own[q].append(measured)
    targets.append(Target("\\|V'V - I\\|", worst(float(r.get("orthogonality_v", "nan")) for r in rows), 1e-12, "below"))
    for q, ours in own.items():
        say(f"numpy and scikit-learn: {height:,} x {width:,}, q = {q}")
        once: dict[str, Any] = {"k": k, "q": q, "u": False, "warm": 0, "runs": 1, "cores": (0, 1)}
        numpy, sklearn = (runs.rival(name, matrix, **once) for name in ("numpy", "sklearn"))
        rows.append(numpy.row(who="numpy, same algorithm, float64", q=q))
        rows.append(sklearn.row(who="scikit-learn randomized_svd, LU", q=q))
        cpu, wall = worst(m.cpu_s for m in ours), worst(m.wall_s for m in ours)
        targets.append(Target(f"q = {q}: CPU against numpy's", ratio(cpu, numpy.cpu_s), 1.3, unit=" times"))
        targets.append(Target(f"q = {q}: wall time against numpy's", ratio(wall, numpy.wall_s), 1.0, "below", " times"))
    return Section(
        "wide",
        "Many columns, two cores",
        f"{height:,} x {width:,} float32 in memory, singular values 1/i, k = {k}, p = {P}, s and V; the heap is of 4 "
        "GiB. Not warm: the first request of its kind, Java's compiling included.",
        [Column("q", "q"), *_COST, _QUALITY[2], *_SPARK, *_NOTE],
        rows,
        targets,
        versions(rows),
    )


def cores(bench: Bench) -> Section:
    """Two cores against one."""
    rows: list[dict[str, Any]] = []
    targets: list[Target] = []
    for line in bench.lines:
        for name, label in ON_TWO_CORES.items():
            one, two = (bench.in_memory(line, which)[name] for which in ((0,), (0, 1)))
            rows += [bench.row(who(line), m, what=label, cores=n) for n, m in ((1, one), (2, two))]
            what = f"Spark {line.spark.version}, {label}: one core's wall time against two cores'"
            targets.append(Target(what, ratio(one.wall_s, two.wall_s), 1.7, "at least", " times"))
    return Section(
        "cores",
        "Two cores against one",
        f"The same matrix of {bench.rows:,} x {COLUMNS} in memory, k = {K}, warm; medians over three JVMs.",
        [Column("what", ""), Column("cores", "cores"), *_COST, *_SPARK, *_NOTE],
        rows,
        targets,
        versions(rows),
    )


def groups(bench: Bench) -> Section:
    """Many matrices in one directory."""
    rows: list[dict[str, Any]] = []
    targets: list[Target] = []
    shapes = [(60, 40_000, 75, 15.0), (2_000, 2_000, 75, 30.0)]
    if bench.quick:
        shapes = [(6, 4_000, 75, 15.0), (50, 200, 75, 30.0)]
    for count, height, width, seconds in shapes:
        shape = f"{count:,} of {height:,} x {width}"
        source = bench.directory(f"groups-{count}", (harmonic(height, width, seed) for seed in range(count)))
        for line in bench.lines:
            say(f"Spark {line.spark.version}: {shape}")
            target = bench.data / f"factors-groups-{count}"
            task = {"request": request(source, target, q=1), "warm": 1, "runs": 1 if bench.quick else 3}
            (measured,) = runs.ours(line, "BridgeRequest", [task], cores=(0, 1))
            checked = [(group, harmonic(height, width, group)) for group in (0, count - 1)]
            measured = described(measured, target, checked)
            rows.append(request_row(measured, what=shape, who=who(line)))
            what = f"Spark {line.spark.version}, {shape}: wall time"
            targets.append(Target(what, measured.wall_s, seconds, "below", " s"))
    return Section(
        "groups",
        "Many matrices in one directory, two cores",
        "All groups of a matrix directory in one request, for s and V with all components, q = 1, in a JVM that is "
        "warm; float32. The error of s is that of the first and the last group.",
        [Column("what", "groups"), *_COST, Column("error", "error of s", ".0e"), _QUALITY[2], *_SPARK, *_NOTE],
        rows,
        targets,
        versions(rows),
    )


def group_limits(bench: Bench) -> Section:
    """Large groups that share the cores, and more groups than one would like to list."""
    rows: list[dict[str, Any]] = []
    targets: list[Target] = []
    few = (8, 120_000, 75)  # 72 MB as float64, each too large for a task
    many = (1_000 if bench.quick else 100_000, 12, 4)
    for count, height, width in (few, many):
        shape = f"{count:,} of {height:,} x {width}"
        source = bench.data / f"groups-{count}-{height}"
        kinds = [harmonic(height, width, seed) for seed in range(8)]
        if not source.exists():
            say(f"Writing {source.name}")
            # Eight matrices, again and again: to draw 100,000 takes longer than to decompose them.
            arrays = [np.concatenate([values for _, values in kind.blocks()]) for kind in kinds]
            about: dict[str, Any] = {"units": "none", "centring": "none", "layout": {"method": "bench"}}
            write_matrix(source, (arrays[group % 8] for group in range(count)), **about)
        for line in bench.lines:
            say(f"Spark {line.spark.version}: {shape}")
            target = bench.data / f"factors-{source.name}"
            task = {"request": request(source, target, q=1), "warm": 1, "runs": 1 if bench.quick else 3}
            (measured,) = runs.ours(line, "BridgeRequest", [task], cores=(0, 1), memory="1g")
            measured = described(measured, target, [(group, kinds[group % 8]) for group in (0, count - 1)])
            row = request_row(measured, what=shape, who=who(line))
            if measured.refused is None and measured.wall_s:
                seconds = (measured.median("task_s") or 0.0, measured.cpu_s or 0.0)
                row["task_share"], row["cpu_share"] = (100 * s / (2 * measured.wall_s) for s in seconds)
                row["read_s"] = read_manifest(target).timings_s["read"]
            rows.append(row)
            what = f"Spark {line.spark.version}, {shape}"
            if count == few[0]:
                targets.append(Target(f"{what}: cores busy", row.get("cpu_share"), 85, "at least", " %"))
            else:
                targets.append(Target(f"{what}: reading the footers", row.get("read_s"), 5, "below", " s"))
    return Section(
        "group-limits",
        "Large groups side by side, and many small ones, two cores",
        "As above, on a heap of 1 GiB. Cores are busy by the JVM's CPU seconds, of which other programs on the machine "
        "take some, and by the time that tasks run.",
        [
            Column("what", "groups"),
            *_COST,
            Column("cpu_share", "cores busy, %", ".0f"),
            Column("task_share", "in tasks, %", ".0f"),
            Column("read_s", "footers, s", ".2f"),
            Column("error", "error of s", ".0e"),
            *_SPARK,
            *_NOTE,
        ],
        rows,
        targets,
        versions(rows),
    )


def accuracy(bench: Bench) -> Section:
    """Matrices that are hard to decompose."""
    rows: list[dict[str, Any]] = []
    found = matrices.hard(1 << 12, COLUMNS)
    known: dict[str, np.ndarray[Any, np.dtype[np.float64]]] = {}
    paths: dict[str, Path] = {}
    for number, (name, (A, k)) in enumerate(found.items()):
        known[name] = np.asarray(np.linalg.svd(A, compute_uv=False)[:k], dtype=np.float64)
        paths[name] = bench.data / f"hard-{number}.npy"
        np.save(paths[name], A)
    for line in bench.lines:
        say(f"Spark {line.spark.version}: hard matrices")
        asked = list(itertools.product(found, ("dssvd", "exact")))
        once = {"p": P, "q": 1, "u": True, "warm": 0, "runs": 1}
        tasks = [
            {"matrix": str(paths[name]), "algorithm": algorithm, "k": found[name][1], **once}
            for name, algorithm in asked
        ]
        for (name, algorithm), measured in zip(asked, runs.ours(line, "Decompose", tasks), strict=True):
            s = [float(x) for x in measured.answer.get("s", [])]
            row = measured.row(what=name, who=f"{algorithm}, {who(line)}")
            missing = measured.refused is not None
            row |= {
                "error": float("nan") if missing else relative_error(s, known[name], above=1e-8),
                "rank": None if missing else len(s),
                "s1": float(known[name][0]),
            }
            rows.append(row)
    targets = []
    for name in found:
        of_name = [row for row in rows if row["what"] == name]
        targets.append(Target(f"{name}: error of s", worst(r["error"] for r in of_name), 1e-6, "below"))
        distances = [float(r.get(f"orthogonality_{x}", "nan")) for r in of_name for x in "uv"]
        targets.append(Target(f"{name}: \\|U'U - I\\| and \\|V'V - I\\|", worst(distances), 1e-12, "below"))
    return Section(
        "accuracy",
        "Hard matrices",
        f"{1 << 12:,} rows of float64, p = {P}, q = 1. The error of s is the largest relative one of the singular "
        "values above 1e-8 of the first, against LAPACK's; what was not found counts as 0, and NaN as infinity.",
        [
            Column("what", ""),
            Column("who", ""),
            Column("rank", "rank found"),
            Column("s1", "s1", ".3g"),
            *_QUALITY,
            *_NOTE,
        ],
        rows,
        targets,
        versions(rows),
    )


SECTIONS: dict[str, Callable[[Bench], Section]] = {
    "headline": headline,
    "exact": exact,
    "bridge": bridge,
    "large": large,
    "wide": wide,
    "cores": cores,
    "groups": groups,
    "group-limits": group_limits,
    "accuracy": accuracy,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=SECTIONS, default=list(SECTIONS), metavar="SECTION")
    parser.add_argument("--spark", default="4,3.5", help="the lines to measure on, the first with MLlib, too")
    parser.add_argument("--quick", action="store_true", help="small and few: tries all of it, and publishes nothing")
    parser.add_argument("--data", type=Path, help="a folder for the matrices, instead of a temporary one")
    parser.add_argument(
        "--keep", action="store_true", help="leave the matrices in --data, and use those that are there"
    )
    parser.add_argument("--jars", type=Path, help="a folder with ctmahout jars, instead of the installed ones")
    parser.add_argument("--out", type=Path, default=page.DOCS, help="where numbers.md and numbers.json go")
    options = parser.parse_args()
    if options.keep and not options.data:
        parser.error("--keep needs --data")
    # A kill ends what is being measured, too, and removes the matrices.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    lines = runs.find_lines(options.spark.split(","), options.jars)
    with ExitStack() as stack:
        if options.data:
            options.data.mkdir(parents=True, exist_ok=True)
        data = options.data
        if not options.keep:
            folder = tempfile.TemporaryDirectory(prefix="ctmahout-bench-", dir=options.data)
            data = Path(stack.enter_context(folder))
        bench = Bench(lines, data.absolute(), options.quick)
        for name in options.only:
            section = SECTIONS[name](bench)
            print(page.markdown(section.to_dict()) if options.quick else page.publish(section, options.out), flush=True)


if __name__ == "__main__":
    main()
