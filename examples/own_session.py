"""Work in a Spark session of your own: decompose an array, then denoise a series. Usage: own_session.py SERIES OUT"""

import sys

import numpy as np

import ctmahout


def main(series: str, out: str) -> None:
    # Any session will do that was started with the jar; spark_builder() knows which settings that takes.
    spark = ctmahout.spark_builder("local[2]").appName("my study").getOrCreate()
    try:
        rng = np.random.default_rng(0)
        tall = rng.normal(size=(5000, 4)) @ rng.normal(size=(4, 30))
        factors = ctmahout.dssvd(tall, k=10, session=spark)
        print(f"rank {factors.rank} of a matrix made of 4 components")

        result = ctmahout.denoise(series, out, method="slices", strength=("auto", "rank:3"), session=spark)
        for written in result.series:
            print(f"{written.strength}: {written.kept}, in {written.path}")
    finally:
        spark.stop()


if __name__ == "__main__":
    main(*sys.argv[1:])
