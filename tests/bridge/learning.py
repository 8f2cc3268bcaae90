"""Learns a model by threads and by Spark's executors, and puts it in the place of a matrix: SOURCES OUTPUT."""

import json
import sys
from pathlib import Path

from pyspark import SparkContext

from ctmahout.engines import Request, connect, spark_builder
from ctmahout.errors import CtmahoutError
from ctmahout.workflows.learn import learn


class ReadOnlyPython(SparkContext):
    """A context whose Python cannot be set: a user's session stays as it is, also while a job runs."""

    pythonExec = property(lambda self: "python3")  # noqa: N815 - PySpark's name


def main(sources, output):
    sources, output = sorted(Path(sources).glob("*/noisy")), Path(output)
    session = spark_builder("local[2]").getOrCreate()
    session.sparkContext.__class__ = ReadOnlyPython
    told = {}
    try:
        for name, options in {"threads": {"workers": 2}, "executors": {"session": session}}.items():
            told[name] = learn(sources, output / name, groups=24, **options).sha256
        with connect("py4j", session=session) as engine:
            try:
                engine.run(Request(str(output / "threads"), str(output / "factors")))
            except CtmahoutError as e:
                told["as a matrix"] = e.code
    finally:
        session.stop()
    sys.stdout.write(json.dumps(told) + "\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
