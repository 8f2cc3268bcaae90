"""Measure DataFrame to factors beside spark.ml's PCA, MLlib's computeSVD and scikit-learn: part of ``make bench``.

Three tables of vectors in Parquet: dense, sparse, and many groups. Each way is `table.py` in a process of its own, on
one core. With --data, tables and what was measured stay in that folder, and a run that was ended goes on.
"""

from __future__ import annotations

import argparse
import json
import signal
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import page
import pyarrow as pa
import pyarrow.parquet as pq
import runs
from matrices import harmonic
from numpy.typing import NDArray
from page import Column, Section, Target
from runs import Measured
from table import SOME_GROUPS

GROUPS = 1000
K = {"dense": 50, "sparse": 50, "groups": 10}
ROWS = 1_000_000
COLUMNS = {"dense": 200, "sparse": 5000, "groups": 50}
FILLED = 50  # values of a sparse row
_STEP = 50_000

# In the dense table the algorithm that computes s to ten digits, as MLlib does, is what `auto` takes.
WAYS: dict[str, list[tuple[str, str, dict[str, Any]]]] = {
    "dense": [
        ("ctmahout, auto (exact)", "dssvd", {"algorithm": "auto"}),
        ("ctmahout, dssvd, q = 1", "dssvd", {"q": 1}),
        ("scikit-learn randomized_svd, q = 1", "sklearn", {"q": 1}),
        ("MLlib computeSVD", "mllib", {}),
        ("ctmahout StochasticPCA, q = 1", "pca", {"q": 1}),
        ("spark.ml PCA", "spark.ml", {}),
    ],
    "sparse": [
        ("ctmahout, dssvd, q = 1", "dssvd", {"q": 1}),
        ("ctmahout, dssvd, q = 4", "dssvd", {"q": 4}),
        ("scikit-learn randomized_svd, q = 1", "sklearn", {"q": 1}),
        ("scikit-learn randomized_svd, q = 4", "sklearn", {"q": 4}),
        ("MLlib computeSVD", "mllib", {}),
        ("ctmahout StochasticPCA, q = 1", "pca", {"q": 1}),
    ],
    "groups": [
        ("ctmahout, dssvd, q = 1", "dssvd", {"q": 1}),
        ("scikit-learn randomized_svd, q = 1", "sklearn", {"q": 1}),
        (f"MLlib computeSVD, {SOME_GROUPS} groups times {GROUPS // SOME_GROUPS}", "mllib", {}),
    ],
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="small: tries all of it, and publishes nothing")
    parser.add_argument("--rows", type=int, default=ROWS, help="of each table")
    parser.add_argument("--limit", type=float, default=900, help="seconds after which a way is ended")
    parser.add_argument("--data", type=Path, help="a folder that keeps tables and results, instead of a temporary one")
    parser.add_argument("--out", type=Path, default=page.DOCS, help="where numbers.md and numbers.json go")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    with tempfile.TemporaryDirectory(prefix="ctmahout-bench-") as temporary:
        section = measure(options.data or Path(temporary), 20_000 if options.quick else options.rows, options.limit)
    print(page.markdown(section.to_dict()) if options.quick else page.publish(section, options.out), flush=True)


def measure(data: Path, count: int, limit_s: float) -> Section:
    """Measure every way of every table."""
    rows: list[dict[str, Any]] = []
    targets: list[Target] = []
    versions: dict[str, str] = {}
    for case, ways in WAYS.items():
        folder = data / f"{case}-{count}"
        if not folder.exists():
            with tempfile.TemporaryDirectory(dir=data) as unfinished:
                write(Path(unfinished, case), case, count)
                Path(unfinished, case).rename(folder)
        found: dict[str, Measured] = {}
        for title, who, more in ways:
            print(f"{case}: {title} ...", file=sys.stderr, flush=True)
            answer = folder / f"{title}.json"
            if not answer.exists():
                measured = runs.table(who, case, folder, k=K[case], limit_s=limit_s, **more)
                answer.write_text(json.dumps(measured.answer))
            measured = Measured(json.loads(answer.read_text()))
            print(f"  {measured.answer.get('runs')} {measured.refused or ''}", file=sys.stderr, flush=True)
            found[title] = several(measured) if who == "mllib" and case == "groups" else measured
            package, _, version = measured.answer.get("package", "").partition(" ")
            if version:
                versions[package] = version
        exact = known(case, count, found)
        shape = f"{count:,} x {COLUMNS[case]:,}"
        for title, measured in found.items():
            error = None if "PCA" in title else relative_error(measured.answer.get("s"), exact)
            rows.append({**measured.row(what=case, shape=shape, who=title), "error": error})
        targets += targets_of(case, found)
    return Section(
        "dataframes",
        "DataFrame to factors, one core",
        "s and V of a column of vectors of spark.ml in uncompressed Parquet, k = 50, p = 15: dense with "
        f"singular values 1/i; sparse with {FILLED} values a row, columns of falling size; {GROUPS:,} groups, "
        "k = 10. One run each, pinned to one core, after one over some of the rows. MLlib's rows are cached. "
        "scikit-learn has its matrix in memory as float64, and computes U too. CPU seconds are those of "
        "Python and the JVM, compiler and garbage collector included. Where the load is more than one, wall "
        "seconds say nothing. The error of s is the largest relative one, of the sparse table against "
        "MLlib's. spark.ml's PCA of the sparse table is left out: it would decompose a covariance of 5,000 x "
        "5,000 on the driver.",
        [
            Column("what", "table"),
            Column("shape", "rows x columns"),
            Column("who", ""),
            Column("cpu_s", "CPU s", ".1f"),
            Column("wall_s", "wall s", ".1f"),
            Column("peak_mib", "peak MiB", ",.0f"),
            Column("error", "error of s", ".0e"),
            Column("refused", ""),
        ],
        rows,
        targets,
        versions,
    )


def targets_of(case: str, found: dict[str, Measured]) -> list[Target]:
    """Return what is wanted of a table, by the cost of the first row of ours."""
    (ours, first), *_ = found.items()
    mllib = next(m for title, m in found.items() if title.startswith("MLlib"))
    sklearn = found["scikit-learn randomized_svd, q = 1"]
    like = found["ctmahout, dssvd, q = 1"]
    wanted = {"dense": 8.0, "sparse": 3.0, "groups": 8.0}[case]
    nearer = found.get("ctmahout, dssvd, q = 4")
    both = {ours: first} | ({"ctmahout, dssvd, q = 4": nearer} if nearer else {})
    return [
        *(
            Target(f"{case}: MLlib's CPU against that of {who}", ratio(mllib, one), wanted, "at least", " times")
            for who, one in both.items()
        ),
        Target(f"{case}: CPU of dssvd against scikit-learn's, q = 1", ratio(like, sklearn), 1.5, unit=" times"),
    ]


def ratio(a: Measured, b: Measured) -> float | None:
    """Return how many times the CPU seconds of b those of a are."""
    return a.cpu_s / b.cpu_s if a.cpu_s is not None and b.cpu_s else None


def several(measured: Measured) -> Measured:
    """Return what all groups would have cost."""
    times = GROUPS // SOME_GROUPS
    return Measured(
        measured.answer
        | {"runs": [{key: value * times for key, value in run.items()} for run in measured.answer.get("runs", [])]}
    )


def known(case: str, rows: int, found: dict[str, Measured]) -> NDArray[np.float64]:
    """Return the singular values to compare with: those of the dense matrix are known."""
    if case == "dense":
        return harmonic(rows, COLUMNS[case]).s[: K[case]]
    if case == "groups":
        blocks = (np.linalg.svd(group, compute_uv=False)[: K[case]] for group in grouped(rows))
        return np.concatenate(list(blocks))
    return np.array(next(m for title, m in found.items() if title.startswith("MLlib")).answer.get("s", []))


def relative_error(s: list[float] | None, exact: NDArray[np.float64]) -> float | None:
    """Return the largest relative error of what both have."""
    count = min(len(s or []), len(exact))
    return float(np.abs(np.array(s[:count]) / exact[:count] - 1).max()) if s and count else None


def grouped(rows: int) -> Iterator[NDArray[np.float64]]:
    """Yield the rows of each group."""
    random = np.random.default_rng(1)
    for _ in range(GROUPS):
        yield random.standard_normal((rows // GROUPS, COLUMNS["groups"])) * np.geomspace(10, 0.1, COLUMNS["groups"])


def sparse_rows(rows: int) -> Iterator[tuple[NDArray[np.int32], NDArray[np.float64]]]:
    """Yield columns and values of some rows at a time: the same number in each row, spread over all columns."""
    random = np.random.default_rng(2)
    wide = COLUMNS["sparse"] // FILLED
    for start in range(0, rows, _STEP):
        shape = (min(_STEP, rows - start), FILLED)
        places = (np.arange(FILLED) * wide + random.integers(0, wide, shape)).astype(np.int32)
        # Sizes fall as those of words do, and the columns are shuffled.
        rank = (places * 1237) % COLUMNS["sparse"]
        yield places, random.standard_exponential(shape) * (1 + rank) ** -0.7


def write(folder: Path, case: str, rows: int) -> None:
    """Write a table as vectors of spark.ml in Parquet, and as scikit-learn reads it."""
    folder.mkdir()
    n = COLUMNS[case]
    vector = pa.struct(
        [
            ("type", pa.int8()),
            ("size", pa.int32()),
            ("indices", pa.list_(pa.int32())),
            ("values", pa.list_(pa.float64())),
        ]
    )
    schema = pa.schema([("g", pa.int32()), ("features", vector)])

    def batch(first: int, values: NDArray[np.float64], places: NDArray[np.int32] | None = None) -> pa.Table:
        count, width = values.shape
        offsets = np.arange(count + 1, dtype=np.int32) * width
        nothing = pa.array([None] * count, pa.list_(pa.int32()))
        indices = nothing if places is None else pa.ListArray.from_arrays(offsets, places.ravel())
        sizes = pa.array([None] * count, pa.int32()) if places is None else pa.array(np.full(count, n, np.int32))
        form = pa.array(np.full(count, 1 if places is None else 0, np.int8))
        vectors = pa.StructArray.from_arrays(
            [form, sizes, indices, pa.ListArray.from_arrays(offsets, values.ravel())], fields=list(vector)
        )
        groups = (first + np.arange(count)) // (rows // GROUPS)
        return pa.table([pa.array(groups.astype(np.int32)), vectors], schema=schema)

    with pq.ParquetWriter(folder / "rows.parquet", schema, compression="none", use_dictionary=False) as file:
        at = 0
        if case == "sparse":
            import scipy.sparse

            parts = list(sparse_rows(rows))
            for places, values in parts:
                file.write_table(batch(at, values, places), row_group_size=_STEP)
                at += len(values)
            indices, data = (np.concatenate([part[i] for part in parts]).ravel() for i in (0, 1))
            matrix = scipy.sparse.csr_matrix((data, indices, np.arange(rows + 1) * FILLED), shape=(rows, n))
            scipy.sparse.save_npz(folder / "rows.npz", matrix, compressed=False)
            return
        blocks = grouped(rows) if case == "groups" else (b.astype(np.float64) for _, b in harmonic(rows, n).blocks())
        out = np.lib.format.open_memmap(folder / "rows.npy", mode="w+", dtype=np.float64, shape=(rows, n))
        for block in blocks:
            file.write_table(batch(at, block), row_group_size=_STEP)
            out[at : at + len(block)] = block
            at += len(block)
        out.flush()


if __name__ == "__main__":
    main()
