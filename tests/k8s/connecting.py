"""Decomposes the matrix of the tests as a table, on a server of Spark Connect: ADDRESS. Prints the singular values."""

import json
import sys

from pyspark.sql import SparkSession

import ctmahout

spark = SparkSession.builder.remote(sys.argv[1]).getOrCreate()
factors = ctmahout.dssvd(spark.read.parquet("/data/m"), column="values", id="row", k=20, p=5, q=20)
sys.stdout.write(json.dumps(factors.s.tolist()) + "\n")
