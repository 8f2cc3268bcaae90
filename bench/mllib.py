"""MLlib's computeSVD with U, cached, on one core, in a process of its own: ``mllib.py MATRIX_DIRECTORY --k 50``.

Runs under the Python whose Spark is to be measured. Prints one line of JSON, as `rivals.py` does; CPU seconds are those
of the JVM.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

import numpy as np
from pyspark.ml.functions import array_to_vector
from pyspark.mllib.linalg.distributed import RowMatrix
from pyspark.mllib.util import MLUtils
from pyspark.sql import SparkSession
from table import cpu_seconds, peak_mib


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("matrix", type=Path)
    parser.add_argument("--k", type=int, required=True)
    parser.add_argument("--warm", type=int, default=1)
    parser.add_argument("--runs", type=int, default=3)
    options = parser.parse_args()
    builder = SparkSession.builder.master("local[1]").config("spark.driver.memory", "6g")
    builder = builder.config("spark.ui.enabled", "false").config("spark.ui.showConsoleProgress", "false")
    builder = builder.config("spark.driver.bindAddress", "127.0.0.1")
    # As for our own side: Spark 4 does this by itself, 3.5 does not.
    builder = builder.config("spark.driver.extraJavaOptions", "--add-modules=jdk.incubator.vector")
    spark = builder.config("spark.driver.host", "127.0.0.1").getOrCreate()
    try:
        print("BENCH", json.dumps(measured(spark, options)))
    finally:
        spark.stop()


def measured(spark: SparkSession, options: argparse.Namespace) -> dict[str, Any]:
    """Return what the runs cost and gave."""
    jvm = Path("/proc", str(spark._jvm.java.lang.ProcessHandle.current().pid()))
    vectors = spark.read.parquet(str(options.matrix)).select(array_to_vector("values").alias("row"))
    A = RowMatrix(MLUtils.convertVectorColumnsFromML(vectors))
    rows = A._java_matrix_wrapper._java_model.rows()
    rows.cache()
    rows.count()
    runs = []
    for i in range(options.warm + options.runs):
        cpu, wall = cpu_seconds(jvm), time.perf_counter()
        svd = A.computeSVD(options.k, computeU=True)
        U = svd.U
        U._java_matrix_wrapper._java_model.rows().count()
        if i >= options.warm:
            runs.append({"cpu_s": cpu_seconds(jvm) - cpu, "wall_s": time.perf_counter() - wall})
    V = svd.V.toArray()
    return {
        "runs": runs,
        "peak_mib": peak_mib(jvm),
        "s": svd.s.toArray().tolist(),
        "orthogonality_u": from_identity(U.computeGramianMatrix().toArray()),
        "orthogonality_v": from_identity(V.T @ V),
        "package": f"MLlib {spark.version}",
    }


def from_identity(product: Any) -> float:
    """Return the largest entry of |product - I|."""
    return float(np.abs(product - np.eye(len(product))).max())


if __name__ == "__main__":
    main()
