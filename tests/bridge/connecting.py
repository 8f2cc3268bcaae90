"""Decomposes a table on a server of Spark Connect, and prints what came of it: REMOTE FOLDER.

FOLDER has a.npy; the server reads the table table.parquet beside it. It runs where there is no Spark.
"""

import importlib.util
import json
import os
import signal
import sys
import threading
import warnings
from pathlib import Path

import numpy as np
from pyspark.sql import SparkSession
from pyspark.sql import functions as f

import ctmahout
from ctmahout import denoise_volume, factorise
from ctmahout.errors import CtmahoutError
from ctmahout.exchange import write_matrix

remote, folder = sys.argv[1], Path(sys.argv[2])
warnings.simplefilter("ignore")
spark = SparkSession.builder.remote(remote).getOrCreate()
A = np.load(folder / "a.npy")


def code_of(call, *arguments, **options):
    try:
        call(*arguments, **options)
    except CtmahoutError as e:
        return e.code, e.message
    return "none", ""


def code(**options):
    return code_of(ctmahout.dssvd, **options)


table = spark.createDataFrame(
    [(i, i % 2, [float(x) for x in row]) for i, row in enumerate(A)], "i int, g int, a array<double>"
)
table.write.mode("overwrite").parquet(str(folder / "table.parquet"))
table = spark.read.parquet(str(folder / "table.parquet"))
answer = {"installed": [name for name in ("py4j", "jpype") if importlib.util.find_spec(name)], "version": spark.version}

found = ctmahout.dssvd(table, column="a", id="i", k=5, p=3, seed=7, u=True)
u = np.array([row["u"] for row in found.u.orderBy("i").collect()])
np.savez(folder / "found.npz", s=found.s, v=found.v, u=u)
answer["joined"] = int(found.u.join(table, "i").where("i < 10").count())
found.unpersist()
grouped = ctmahout.dssvd(table, column="a", id="i", group="g", u=True)
answer["groups"] = {g: grouped[g].s.tolist() for g in grouped}
answer["u of groups"] = int(grouped.u.count())

nan = table.withColumn("a", f.when(f.col("i") == 7, f.array(*[f.lit(float("nan"))] * A.shape[1])).otherwise(f.col("a")))
answer["codes"] = {
    "k": code(matrix=table, column="a", k=99),
    "column": code(matrix=table, column="b"),
    "nan": code(matrix=nan, column="a", id="i"),
    "query": code(matrix=spark.sql("SELECT array(double(raise_error('my own words'))) AS a"), column="a"),
}

try:
    from ctmahout.ml import TruncatedSVD

    TruncatedSVD(k=2)
except CtmahoutError as e:
    answer["codes"]["estimator"] = e.code, e.message

# Directories: what the server sees of a process's own is another one.
bad = Path(__file__).parents[2] / "contract" / "v1" / "bad" / "flipped-bit"
write_matrix(folder / "matrix", [A], units="1", centring="none", layout={})
(folder / "client").mkdir()
os.chdir(folder / "client")
write_matrix("unseen/matrix", [A], units="1", centring="none", layout={})
unseen, elsewhere = Path("/proc/self/cwd/unseen/matrix"), Path("/proc/self/cwd/elsewhere")
answer["codes"] |= {
    "flipped bit": code_of(factorise, bad, folder / "none", session=spark),
    "nowhere": code(matrix=folder / "nowhere", session=spark),
    "not seen there": code_of(factorise, unseen, folder / "none", session=spark),
    "not seen here": code_of(factorise, folder / "matrix", elsewhere, session=spark),
    "spread": code_of(
        denoise_volume, np.zeros((4, 64, 64)), spacing_mm=(1, 1, 1), engine="py4j", spread=True, session=spark
    ),
}
answer["left"] = sorted(path.name for path in folder.iterdir())
answer["of an array"] = ctmahout.dssvd(A, k=5, p=3, session=spark).s.tolist()

# Ctrl-C while the query that the table comes from would take minutes.
nap = "CAST(reflect('java.lang.Thread', 'sleep', 300L) IS NULL AS double)"
slow = spark.sql(f"SELECT array(CAST(id AS double), {nap}) AS a FROM range(0, 4000, 1, 2)")
threading.Timer(6, lambda: os.kill(os.getpid(), signal.SIGINT)).start()
try:
    ctmahout.dssvd(slow, column="a")
    answer["interrupted"] = False
except KeyboardInterrupt:
    answer["interrupted"] = True
answer["alive"] = int(spark.range(3).count())
spark.stop()
sys.stdout.write(json.dumps(answer) + "\n")
