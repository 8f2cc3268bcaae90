"""Decomposes a small matrix through one engine, whose Java logs each class that it loads: ENGINE LOG."""

import sys
import tempfile
from pathlib import Path

import numpy as np

from ctmahout.engines import Request, connect
from ctmahout.exchange import write_matrix


def main(name, log):
    conf = {"spark.driver.extraJavaOptions": f"-Xlog:class+load:file={log}"}
    with tempfile.TemporaryDirectory() as folder, connect(name, master="local[2]", conf=conf) as engine:
        matrix, factors = Path(folder, "matrix"), Path(folder, "factors")
        A = np.random.default_rng(0).standard_normal((300, 4))
        write_matrix(matrix, [A], dtype="float64", units="1", centring="none", layout={})
        engine.run(Request(str(matrix), str(factors)))
    sys.stdout.write("null\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
