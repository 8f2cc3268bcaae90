"""Connects to a session whose jar is missing somewhere, or wrong: WHAT MASTER."""

import json
import sys

from pyspark.sql import SparkSession

from ctmahout import dssvd
from ctmahout.engines import connect, find_jar
from ctmahout.errors import CtmahoutError
from ctmahout.ml import TruncatedSVD

what, master = sys.argv[1:]
builder = SparkSession.builder.master(master).config("spark.ui.enabled", "false")
builder = builder.config("spark.driver.bindAddress", "127.0.0.1").config("spark.driver.host", "127.0.0.1")
if what == "driver only":
    builder = builder.config("spark.driver.extraClassPath", str(find_jar().path))
if what == "both":
    builder = builder.config("spark.jars", str(find_jar().path))
session = builder.config("spark.executor.memory", "512m").getOrCreate()
told = {}
try:
    connect("py4j", session=session).close()
    told["code"] = "none"
except CtmahoutError as e:
    told |= e.as_dict()
try:
    frame = session.createDataFrame([([float(i), 1.0],) for i in range(9)], "features array<double>")
    told["s"] = dssvd(frame).s.tolist()
except CtmahoutError as e:
    told["of a DataFrame"] = e.code, e.message
try:
    TruncatedSVD(k=1).fit(frame)
except CtmahoutError as e:
    told["of an estimator"] = e.code
told["alive"] = session.range(3).count()
session.stop()
sys.stdout.write(json.dumps(told) + "\n")
