"""Step dssvd on an S3 store: Spark reads and writes it by Hadoop's own connector."""

import json
import signal
import threading
from pathlib import Path

import numpy as np
import pytest
from helpers import refusal
from object_store import SECRETS, Bucket, cli, gate

from ctmahout.engines import Request, connect
from ctmahout.errors import CtmahoutError
from ctmahout.exchange import read_all_factors, write_matrix

pytestmark = pytest.mark.spark
WANT = ("s", "v", "u")


@pytest.fixture(scope="module")
def connector(s3a_jars):
    """The settings that give Spark the connector, and a size of groups from which on the cluster decomposes them."""
    return {"spark.driver.extraClassPath": f"{s3a_jars}/*", "spark.ctmahout.groupInTask": "60k"}


@pytest.fixture(scope="module")
def groups():
    """Two matrices that are decomposed in tasks, and one by the cluster."""
    random = np.random.default_rng(3)
    return [random.standard_normal((rows, 12)) * np.geomspace(1, 1e-3, 12) for rows in (400, 4000, 500)]


@pytest.fixture(scope="module")
def store(s3_server, groups, tmp_path_factory):
    """A bucket with their directory, behind a gate whose rule each test may set: `store.rules[:] = [rule]`."""
    inner = Bucket("ct-s3a", s3_server)
    inner.create()
    folder = tmp_path_factory.mktemp("store") / "m"
    write_matrix(folder, groups, dtype="float64", units="1", centring="none", layout={})
    inner.upload(folder, "m")
    rules = []
    with gate(s3_server, lambda method, path: rules[0](method, path) if rules else None) as endpoint:
        yield inner, rules, Bucket(inner.name, endpoint)


@pytest.fixture(scope="module")
def engine(store, connector):
    """Spark of this process, behind the gate."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in store[2].environment.items():
            patch.setenv(name, value)
        with connect("py4j", master="local[2]", conf=connector) as opened:
            yield opened


@pytest.fixture
def ask(engine, store):
    """Runs a request, and forgets the rule."""
    bucket, rules, _ = store

    def run(source="m", output="f", rule=None, **options):
        rules[:] = [rule] if rule else []
        try:
            return engine.run(Request(bucket.uri(source), bucket.uri(output), want=WANT, q=1, **options))
        finally:
            rules.clear()

    return run


def code_of(ask, *args, **options):
    e = refusal(ask, *args, **options)
    assert not [secret for secret in SECRETS.values() if secret in str(e)]
    return e.code


def singular_values(bucket, prefix, tmp_path):
    bucket.download(prefix, tmp_path / prefix)
    return read_all_factors(tmp_path / prefix)


def is_right(found, groups):
    for factors, A in zip(found, groups, strict=True):
        np.testing.assert_allclose(factors.s, np.linalg.svd(A, compute_uv=False), rtol=1e-10)
        np.testing.assert_allclose((factors.u * factors.s) @ factors.v.T, A, atol=1e-10)


def test_factors_are_right_and_all_there_is(ask, engine, store, groups, tmp_path):
    bucket = store[0]
    manifest = ask()
    assert json.loads(bucket.get("f/_ctmahout.json")) == manifest
    is_right(singular_values(bucket, "f", tmp_path), groups)
    assert {key.partition("/")[0] for key in bucket.keys("")} == {"m", "f"}
    assert not [name for name in bucket.files("f") if not name.endswith(".parquet") and name != "_ctmahout.json"]
    told = [json.dumps(manifest), *map(str, engine.session.sparkContext.getConf().getAll())]
    assert not [text for text in told for secret in SECRETS.values() if secret in text]
    assert code_of(ask) == "CTM_OUTPUT_EXISTS"
    ask(k=3, overwrite=True)
    assert [f.rank for f in singular_values(bucket, "f", tmp_path / "again")] == [3, 3, 3]


def test_a_store_that_asks_to_slow_down_is_asked_again(ask, store, groups, tmp_path):
    seen = {}

    def twice(method, path):
        seen[method, path] = seen.get((method, path), 0) + 1
        return (503, "SlowDown") if seen[method, path] <= 2 and "part-" in path else None

    ask(output="slow", rule=twice)
    assert max(seen.values()) >= 3
    is_right(singular_values(store[0], "slow", tmp_path), groups)


def test_what_cannot_be_read_is_told_as_what_it_is(ask, engine, store):
    bucket = store[0]
    assert code_of(ask, source="nowhere", output="none") == "CTM_INPUT_NOT_FOUND"
    refused = (403, "AccessDenied")
    assert code_of(ask, output="none", rule=lambda method, path: refused) == "CTM_STORAGE_READ"
    rows = "part-00000.parquet"
    # Who may read the manifest but not the rows: a task hears of it.
    told = code_of(ask, output="none", rule=lambda method, path: refused if rows in path else None)
    assert told == "CTM_STORAGE_READ"
    for name in bucket.files("m"):
        content = bytearray(bucket.get(f"m/{name}"))
        if name == rows:
            content[len(content) // 2] ^= 1
        bucket.put(f"flipped/{name}", bytes(content))
    assert code_of(ask, source="flipped", output="none") in ("CTM_EXCHANGE_CORRUPT", "CTM_EXCHANGE_CHECKSUM")
    with pytest.raises(CtmahoutError) as e:
        engine.run(Request("s3://no-such-bucket-anywhere/m", bucket.uri("none")))
    assert e.value.code in ("CTM_INPUT_NOT_FOUND", "CTM_STORAGE_READ")
    assert bucket.files("none") == []


@pytest.mark.parametrize("what", ["/u/", "/s/", "half/v/part"])
def test_a_failure_in_mid_write_leaves_nothing(ask, store, what):
    """In a task, on the driver, and when what was written is copied to its place."""
    bucket = store[0]

    def full(method, path):
        return (403, "AccessDenied") if method in ("PUT", "POST") and what in path else None

    assert code_of(ask, output="half", rule=full) == "CTM_OUTPUT_UNWRITABLE"
    assert [key for key in bucket.keys("half") if not key.endswith("/")] == []


def test_ctrl_c_in_mid_write_leaves_nothing_and_the_next_run_is_right(store, connector, groups, tmp_path):
    bucket, rules, outside = store
    reached, open_again = threading.Event(), threading.Event()

    def halt(method, path):
        if method in ("PUT", "POST") and "/v/part" in path and "halt" in path and not open_again.is_set():
            reached.set()
            open_again.wait(60)

    settings = [part for item in connector.items() for part in ("--conf", "=".join(item))]
    command = ["dssvd", bucket.uri("m"), bucket.uri("halt"), "--engine", "submit", "--master", "local[2]", *settings]
    rules[:] = [halt]
    process = cli(*command, bucket=outside)
    try:
        assert reached.wait(200), process.communicate(timeout=5)[0]
        assert bucket.keys("halt.partial-")
        process.send_signal(signal.SIGINT)
        threading.Timer(1, open_again.set).start()
        out, _ = process.communicate(timeout=120)
    finally:
        rules.clear()
        open_again.set()
        process.kill()
    assert process.returncode == 130, out
    assert [key for key in bucket.keys("halt") if not key.endswith("/")] == []
    process = cli(*command, bucket=outside)
    out, _ = process.communicate(timeout=200)
    assert process.returncode == 0, out
    assert not [secret for secret in SECRETS.values() if secret in out]
    for factors, A in zip(singular_values(bucket, "halt", Path(tmp_path)), groups, strict=True):
        np.testing.assert_allclose(factors.s, np.linalg.svd(A, compute_uv=False), rtol=1e-10)
