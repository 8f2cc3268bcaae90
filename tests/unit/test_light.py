"""The core alone: no Spark, no JVM, and no module that only POSIX or Linux has."""

import json
import os
import subprocess
import sys

import pytest

HIDDEN = ("pyspark", "py4j", "jpype", "fcntl", "resource")

# Denoises a small series with engine numpy, then asks for what needs Spark.
PROGRAM = """
import json, os, sys
from pathlib import Path

hidden = sys.argv[1].split(",")

class WithoutHidden:
    def __init__(self, finder):
        self.finder = finder

    def __getattr__(self, name):
        return getattr(self.finder, name)

    def find_spec(self, name, path=None, target=None):
        return None if name.partition(".")[0] in hidden else self.finder.find_spec(name, path, target)

for name in hidden:
    sys.modules.pop(name, None)
sys.meta_path[:] = [WithoutHidden(finder) for finder in sys.meta_path]
for name in ("sched_getaffinity", "sysconf", "O_NOFOLLOW"):
    delattr(os, name)

import numpy as np
import ctmahout
from ctmahout.engines.session import default_driver_memory
from ctmahout.engines.workers import Threads

folder = Path(sys.argv[2])
codes = {}
for engine in ("py4j", "jpype", "submit"):
    try:
        ctmahout.connect(engine)
        codes[engine] = "none"
    except ctmahout.CtmahoutError as e:
        codes[engine] = f"{e.code} {e.hint}"
random = np.random.default_rng(0)
volume = random.normal(40, 20, (6, 48, 48)).astype(np.float32)
ctmahout.write_array(ctmahout.Volume.of_array(volume, spacing_mm=(1, 1, 1)), folder / "scan.npz")
for _ in range(2):
    ctmahout.denoise(
        folder / "scan.npz", folder / "out", engine="numpy", method="slices", strength="rank:1", overwrite=True
    )
run = json.loads((folder / "out" / "run.json").read_text())
left = sorted(path.name for path in folder.iterdir())
print(json.dumps({"codes": codes, "peak": run["python_peak_mib"], "threads": Threads().count, "left": left,
                  "memory": default_driver_memory(), "loaded": [name for name in hidden if name in sys.modules]}))
"""


@pytest.fixture(scope="module")
def answer(tmp_path_factory):
    folder = tmp_path_factory.mktemp("light")
    words = [sys.executable, "-c", PROGRAM, ",".join(HIDDEN), str(folder)]
    run = subprocess.run(words, capture_output=True, text=True, timeout=300)
    assert run.returncode == 0, run.stderr[-3000:]
    return json.loads(run.stdout.splitlines()[-1])


def test_a_series_is_denoised_and_written_whole(answer):
    assert answer["left"] == ["out", "scan.npz"]
    assert answer["loaded"] == []
    assert answer["peak"] is None


def test_what_needs_spark_names_the_extra(answer):
    codes = {engine: said.split()[0] for engine, said in answer["codes"].items()}
    assert codes == {"py4j": "CTM_SPARK_MISSING", "jpype": "CTM_EXTRA_MISSING", "submit": "CTM_SPARK_MISSING"}
    assert all("ctmahout[spark]" in said for said in answer["codes"].values())


def test_cores_and_memory_are_those_of_any_system(answer):
    assert answer["threads"] == os.cpu_count()
    assert answer["memory"].endswith("m")
