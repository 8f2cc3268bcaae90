"""One way from a table to factors, measured in a process of its own: ``table.py WHO CASE FOLDER --k 50 --q 1``.

FOLDER has the table of `dataframes.py`: rows.parquet, and for scikit-learn the same rows as numpy or scipy save them,
which it has in memory before the clock starts. Each way has been through some of the rows before. Prints one line of
JSON, as `rivals.py` does; CPU seconds are those of this process and of its JVM, compiler and collector included.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

# Groups decomposed one by one where there is no other way; dataframes.py multiplies what they cost.
SOME_GROUPS = 20
_WARM_ROWS = 20_000
Way = Callable[[Any], list[float]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("who", choices=("dssvd", "pca", "spark.ml", "mllib", "sklearn"))
    parser.add_argument("case", choices=("dense", "sparse", "groups"))
    parser.add_argument("folder", type=Path)
    parser.add_argument("--k", type=int, required=True)
    parser.add_argument("--q", type=int, default=1)
    parser.add_argument("--algorithm", default="dssvd")
    options = parser.parse_args()
    answer = of_sklearn(options) if options.who == "sklearn" else of_spark(options)
    print("BENCH", json.dumps(answer))


def of_spark(options: argparse.Namespace) -> dict[str, Any]:
    """Return what a way on Spark costs and gives."""
    from pyspark.ml.linalg import VectorUDT
    from pyspark.sql.types import IntegerType, StructField, StructType

    import ctmahout

    spark = ctmahout.spark_builder("local[1]", driver_memory="7g").getOrCreate()
    jvm = Path("/proc", str(spark._jvm.java.lang.ProcessHandle.current().pid()))
    try:
        schema = StructType([StructField("g", IntegerType()), StructField("features", VectorUDT())])
        rows = spark.read.schema(schema).parquet(str(options.folder / "rows.parquet"))
        way = spark_way(options)
        way(rows.where(f"g < {SOME_GROUPS}") if options.case == "groups" else rows.limit(_WARM_ROWS))
        return measured(lambda: way(rows), jvm) | {"package": f"Spark {spark.version}"}
    finally:
        spark.stop()


def spark_way(options: argparse.Namespace) -> Way:
    """Return what decomposes a DataFrame and returns the singular values, or of PCA the shares of the variance."""
    k, q = options.k, options.q

    def dssvd(rows: Any) -> list[float]:
        import ctmahout

        if options.case == "groups":
            found = ctmahout.dssvd(rows, k=k, q=q, column="features", group="g", algorithm=options.algorithm)
            return [float(s) for g in sorted(found) for s in found[g].s]
        return [float(s) for s in ctmahout.dssvd(rows, k=k, q=q, column="features", algorithm=options.algorithm).s]

    def pca(rows: Any) -> list[float]:
        from ctmahout.ml import StochasticPCA

        return [float(x) for x in StochasticPCA(k=k, q=q).fit(rows).explainedVariance]

    def spark_ml(rows: Any) -> list[float]:
        from pyspark.ml.feature import PCA

        return [float(x) for x in PCA(k=k, inputCol="features", outputCol="p").fit(rows).explainedVariance]

    def mllib(rows: Any) -> list[float]:
        from pyspark.mllib.linalg.distributed import RowMatrix
        from pyspark.mllib.util import MLUtils

        def of(some: Any) -> list[float]:
            A = RowMatrix(MLUtils.convertVectorColumnsFromML(some.select("features")))
            vectors = A._java_matrix_wrapper._java_model.rows()
            vectors.cache()  # its iterations would read them again
            s = [float(x) for x in A.computeSVD(k).s]
            vectors.unpersist(True)
            return s

        if options.case == "groups":
            return [s for g in range(SOME_GROUPS) for s in of(rows.where(f"g = {g}"))]
        return of(rows)

    return {"dssvd": dssvd, "pca": pca, "spark.ml": spark_ml, "mllib": mllib}[options.who]


def of_sklearn(options: argparse.Namespace) -> dict[str, Any]:
    """Return what scikit-learn's randomized_svd costs and gives, without U as far as it can do without."""
    import numpy as np
    import scipy.sparse
    import sklearn
    from sklearn.utils.extmath import randomized_svd

    sparse = options.case == "sparse"
    A = scipy.sparse.load_npz(options.folder / "rows.npz") if sparse else np.load(options.folder / "rows.npy")

    def of(some: Any) -> list[float]:
        s = randomized_svd(some, options.k, n_oversamples=15, n_iter=options.q, random_state=0)[1]
        return [float(x) for x in s]

    groups = np.split(A, 1000) if options.case == "groups" else [A]
    of(A[:_WARM_ROWS])
    found = measured(lambda: [s for group in groups for s in of(group)])
    return found | {"package": f"scikit-learn {sklearn.__version__}"}


def measured(run: Callable[[], list[float]], jvm: Path | None = None) -> dict[str, Any]:
    """Return what one run costs and gives."""
    processes = [Path("/proc/self"), *([jvm] if jvm else [])]
    cpu, wall = sum(map(cpu_seconds, processes)), time.perf_counter()
    s = run()
    cost = {"cpu_s": sum(map(cpu_seconds, processes)) - cpu, "wall_s": time.perf_counter() - wall}
    return {"runs": [cost], "s": s, "peak_mib": sum(map(peak_mib, processes))}


def cpu_seconds(process: Path) -> float:
    """Return CPU seconds of a process, all its threads, so far."""
    fields = (process / "stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / float(os.sysconf("SC_CLK_TCK"))


def peak_mib(process: Path) -> int:
    """Return the peak resident memory of a process as the kernel counts it."""
    found = re.search(r"VmHWM:\s+(\d+) kB", (process / "status").read_text())
    return int(found[1]) // 1024 if found else 0


if __name__ == "__main__":
    main()
