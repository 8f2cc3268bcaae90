"""Bad input of every kind: its code, its exit code, nothing written, no traceback."""

import json
import shutil
import subprocess
import sys
import zipfile
from contextlib import redirect_stderr, redirect_stdout
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from io import StringIO
from pathlib import Path
from threading import Thread

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ctmahout.cli import main

CTMAHOUT = Path(sys.executable).with_name("ctmahout")


def in_a_process(*arguments, env=None):
    """Run the command as a user does."""
    return subprocess.run([CTMAHOUT, *arguments], capture_output=True, text=True, timeout=120, check=False, env=env)


def here(*arguments):
    """Run the command in this process: what is refused does not depend on it, and a process takes seconds to start."""
    out, err = StringIO(), StringIO()
    with redirect_stdout(out), redirect_stderr(err), pytest.raises(SystemExit) as ended:
        main([*arguments])
    return subprocess.CompletedProcess(arguments, ended.value.code, out.getvalue(), err.getvalue())


def refused(*arguments, code, exit_code, run=here):
    done = run(*map(str, arguments))
    assert done.returncode == exit_code, done.stdout + done.stderr
    assert f"[{code}]" in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stderr.count("\n") >= 2, "a sentence and what to do next"
    return done


@pytest.fixture
def series(ct_data, tmp_path):
    """A copy of a real series to spoil."""
    return Path(shutil.copytree(ct_data / "chest_pair_sharp_B70f", tmp_path / "series"))


def test_empty_folder(tmp_path):
    (tmp_path / "in").mkdir()
    for run in (here, in_a_process):
        refused("denoise", tmp_path / "in", tmp_path / "out", code="CTM_INPUT_EMPTY", exit_code=3, run=run)
    assert not (tmp_path / "out").exists()


def test_folder_that_does_not_exist(tmp_path):
    refused("denoise", tmp_path / "in", tmp_path / "out", code="CTM_INPUT_NOT_FOUND", exit_code=3)


def test_not_dicom(tmp_path):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "notes.txt").write_text("not an image")
    refused("denoise", tmp_path / "in", tmp_path / "out", code="CTM_INPUT_NO_CT", exit_code=3)
    (tmp_path / "in" / "slice.dcm").write_text("meant to be an image")
    refused("denoise", tmp_path / "in", tmp_path / "out", code="CTM_INPUT_UNREADABLE", exit_code=3)


def test_two_series(ct_data, series, tmp_path):
    shutil.copytree(ct_data / "chest_pair_smooth_B40f", series / "other")
    done = refused("denoise", series, tmp_path / "out", code="CTM_SERIES_AMBIGUOUS", exit_code=3)
    assert "--series" in done.stderr
    refused("denoise", series, tmp_path / "out", "--series", "77", code="CTM_SERIES_UNKNOWN", exit_code=3)


def test_missing_slice(series, tmp_path):
    sorted(series.iterdir())[5].unlink()
    refused("denoise", series, tmp_path / "out", code="CTM_SLICE_MISSING", exit_code=3)
    assert not (tmp_path / "out").exists()


def test_output_exists_and_is_not_touched(series, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine.txt").write_text("mine")
    for extra in ([], ["--overwrite"]):
        refused("denoise", series, tmp_path / "out", *extra, code="CTM_OUTPUT_EXISTS", exit_code=6)
    assert (tmp_path / "out" / "mine.txt").read_text() == "mine"


def test_output_in_the_input(series):
    before = sorted(series.rglob("*"))
    refused("denoise", series, series / "out", code="CTM_OUTPUT_IS_INPUT", exit_code=6)
    assert sorted(series.rglob("*")) == before


def test_no_java(series, tmp_path):
    env = {"PATH": str(CTMAHOUT.parent), "HOME": str(tmp_path)}
    run = partial(in_a_process, env=env)
    done = refused("denoise", series, tmp_path / "out", code="CTM_JAVA_MISSING", exit_code=5, run=run)
    assert "--engine numpy" in done.stderr
    assert not (tmp_path / "out").exists()


@pytest.mark.spark
def test_jar_of_the_wrong_scala_line(series, tmp_path):
    import pyspark

    other = "3.5.1" if pyspark.__version__.startswith("4") else "4.0.1"
    found = subprocess.run([CTMAHOUT, "jar", "--spark", other], capture_output=True, text=True, check=True)
    jar = found.stdout.strip()
    assert zipfile.is_zipfile(jar)
    for engine in ("py4j", "jpype", "submit"):
        arguments = ("denoise", series, tmp_path / "out", "--engine", engine, "--jar", jar)
        refused(*arguments, code="CTM_JAR_MISMATCH", exit_code=5, run=in_a_process)


@pytest.mark.spark
def test_nan_in_a_matrix(tmp_path):
    values = pa.array([[1.0, 2.0], [float("nan"), 1.0], [0.0, 1.0]], pa.list_(pa.field("element", pa.float32(), False)))
    columns = {"group": pa.array([0] * 3, pa.int32()), "row": pa.array([0, 1, 2], pa.int64()), "values": values}
    schema = pa.schema([pa.field(name, column.type, nullable=False) for name, column in columns.items()])
    (tmp_path / "matrix").mkdir()
    pq.write_table(pa.table(columns, schema=schema), tmp_path / "matrix" / "part-0.parquet", write_page_checksum=True)
    manifest = {
        "kind": "matrix",
        "exchange_version": "1.0",
        "dtype": "float32",
        "groups": [{"group": 0, "rows": 3, "columns": 2, "checksum": "0" * 16}],
        "writer": {"name": "test", "version": "1"},
    }
    (tmp_path / "matrix" / "_ctmahout.json").write_text(json.dumps(manifest))
    for engine in ("numpy", "py4j"):
        arguments = ("dssvd", tmp_path / "matrix", tmp_path / "factors", "--engine", engine)
        done = refused(*arguments, code="CTM_EXCHANGE_NOT_FINITE", exit_code=4, run=in_a_process)
        assert "row 1 of group 0" in done.stderr
        assert [p.name for p in tmp_path.iterdir()] == ["matrix"]


def test_usage(tmp_path):
    for arguments in (
        ["denoise"],
        ["no-such-verb"],
        ["denoise", "a", "b", "--engine", "abacus"],
        ["denoise", "a", "b", "-k", "x"],
    ):
        done = here(*arguments)
        assert done.returncode == 2
        assert "Traceback" not in done.stderr
    refused("denoise", tmp_path, tmp_path / "o", "--strength", "rank:0", code="CTM_CONFIG_VALUE", exit_code=2)
    refused("denoise", tmp_path, tmp_path / "o", "-k", "0", code="CTM_CONFIG_VALUE", exit_code=2)


class Served(SimpleHTTPRequestHandler):
    def log_message(self, *args):
        """Say nothing: stderr is the command's."""


def test_fetching(tmp_path):
    served = tmp_path / "served"
    served.mkdir()
    with zipfile.ZipFile(served / "scan.zip", "w") as archive:
        archive.writestr("slice.dcm", "an image")
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Served, directory=str(served))) as server:
        Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}).start()
        try:
            at, out = f"127.0.0.1:{server.server_port}", tmp_path / "out"
            done = refused("fetch", f"http://me:s3cret@{at}/x?k=s3cret", out, code="CTM_FETCH_NOT_FOUND", exit_code=3)
            assert f"http://{at}/x" in done.stderr
            assert "s3cret" not in done.stderr
            assert not out.exists()
            done = here("fetch", f"http://{at}/scan.zip", str(out), "--json")
            assert done.returncode == 0, done.stderr
        finally:
            server.shutdown()
    assert json.loads(done.stdout)["source"] == f"http://{at}/scan.zip"
    assert sorted(p.name for p in out.iterdir()) == ["fetch.json", "slice.dcm"]
    refused("fetch", "tcia:not a uid", tmp_path / "other", code="CTM_FETCH_SOURCE", exit_code=2)


def test_errors_as_json(tmp_path):
    done = refused("denoise", tmp_path / "in", tmp_path / "o", "--json", code="CTM_INPUT_NOT_FOUND", exit_code=3)
    error = json.loads(done.stdout)["error"]
    assert error["code"] == "CTM_INPUT_NOT_FOUND"
    assert error["exit_code"] == 3


@pytest.mark.parametrize(
    "verb",
    [
        *("denoise", "fetch", "prepare", "dssvd", "refine", "reconstruct", "inspect", "doctor", "warm-up"),
        *("compare", "phantom", "jar"),
    ],
)
def test_every_verb_explains_itself_at_once(verb):
    done = here(verb, "--help")
    assert done.returncode == 0
    assert "--json" in done.stdout


def test_importing_the_package_loads_nothing_heavy():
    heavy = ("numpy", "pydicom", "pyarrow", "pyspark", "py4j", "jpype")
    code = f"import sys, ctmahout; print([m for m in {heavy} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
