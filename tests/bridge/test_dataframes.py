"""A DataFrame of a classic session: the factors are those of an array, and a row that cannot be in one is named."""

import json
import sys
from pathlib import Path

import numpy as np
import pyspark
import pytest
from helpers import code_of

import ctmahout
from ctmahout.errors import CtmahoutError

pytestmark = [
    pytest.mark.spark,
    pytest.mark.xdist_group("dataframes"),
    # PySpark 3.5 leaves the connection of each of its threads to the garbage collector.
    pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning"),
    pytest.mark.filterwarnings("ignore:Exception ignored in. <socket:pytest.PytestUnraisableExceptionWarning"),
]

GROUPS = 1000

# From `make .venv-spark35/delta/ready`. No Delta Lake is there for the newest Spark 4: that for 4.2 fails on 4.3.
IS_OLD = pyspark.__version__.startswith("3.")
DELTA = {
    "spark.sql.extensions": "io.delta.sql.DeltaSparkSessionExtension",
    "spark.sql.catalog.spark_catalog": "org.apache.spark.sql.delta.catalog.DeltaCatalog",
}


@pytest.fixture(scope="module")
def session(jar):
    """One session for the module, with the jar; its JVM ends with it."""
    conf = {"spark.sql.shuffle.partitions": "4"}
    if IS_OLD:
        path = ":".join(map(str, [jar.path, *Path(sys.prefix, "delta").glob("*.jar")]))
        conf |= {**DELTA, "spark.driver.extraClassPath": path}
    with ctmahout.connect("py4j", master="local[2]", conf=conf) as engine:
        yield engine.session


@pytest.fixture(scope="module")
def matrix():
    """A of graded spectrum, 600 x 12."""
    random = np.random.default_rng(11)
    U, V = (np.linalg.qr(random.standard_normal((size, 12)))[0] for size in (600, 12))
    return (U * np.geomspace(100, 1, 12)) @ V.T


@pytest.fixture(scope="module")
def frame(session, matrix):
    """The same matrix in each form that a DataFrame can have, with ids that are not row numbers."""
    rows = [(f"row {i}", *map(float, values), [float(x) for x in values]) for i, values in enumerate(matrix)]
    names = ", ".join(f"x{j} double" for j in range(12))
    frame = session.createDataFrame(rows, f"name string, {names}, features array<double>").repartition(3).cache()
    yield frame
    frame.unpersist()


def persistent(session):
    return session.sparkContext._jsc.getPersistentRDDs().size()


def check_same(found, expected, u=None, *, atol=1e-10):
    np.testing.assert_allclose(found.s, expected.s, rtol=1e-10)
    np.testing.assert_allclose(found.v, expected.v, atol=atol)
    assert (found.rank, found.rows, found.columns) == (expected.rank, expected.rows, expected.columns)
    assert found.squared_norm == pytest.approx(expected.squared_norm, rel=1e-12)
    assert found.algorithm == expected.algorithm
    if u is not None:
        np.testing.assert_allclose(u, expected.u, atol=atol)


def u_of(found, rows):
    """U as an array, by the ids of the rows."""
    values = {row[0]: row["u"] for row in found.u.collect()}
    assert len(values) == rows
    return np.array([values[f"row {i}"] for i in range(rows)])


@pytest.mark.parametrize("where", ["in a task", "on the cluster"])
@pytest.mark.parametrize(
    ("algorithm", "k", "q"), [("dssvd", 5, 1), ("dssvd", None, 0), ("exact", 4, 0), ("dspca", 6, 2), ("auto", 12, 1)]
)
def test_array_directory_and_dataframe_give_the_same_factors(session, matrix, frame, tmp_path, where, algorithm, k, q):
    from ctmahout.exchange import write_matrix

    request = {"k": k, "p": 3, "q": q, "algorithm": algorithm, "seed": 7, "u": True}
    write_matrix(tmp_path / "matrix", [matrix], dtype="float64", units="1", centring="none", layout={})
    session.conf.set("spark.ctmahout.groupInTask", "64m" if where == "in a task" else "0")
    try:
        of_array = ctmahout.dssvd(matrix, session=session, **request)
        of_directory = ctmahout.dssvd(tmp_path / "matrix", session=session, **request)
        found = ctmahout.dssvd(frame, column="features", id="name", **request)
        check_same(found, of_array, u_of(found, len(matrix)))
        check_same(found, of_directory, u_of(found, len(matrix)))
        of_columns = ctmahout.dssvd(frame, column=[f"x{j}" for j in range(12)], id="name", **request)
        check_same(of_columns, of_array, u_of(of_columns, len(matrix)))
        found.unpersist()
        of_columns.unpersist()
    finally:
        session.conf.unset("spark.ctmahout.groupInTask")
    assert persistent(session) == 1  # the frame itself


def test_vectors_and_floats_are_what_they_are_as_arrays(session, matrix):
    from pyspark.ml.linalg import Vectors

    sparse = np.where(np.abs(matrix) > 1, matrix, 0.0)
    vectors = [
        (Vectors.dense(row) if i % 2 else Vectors.sparse(12, {int(j): float(row[j]) for j in np.flatnonzero(row)}),)
        for i, row in enumerate(sparse)
    ]
    expected = ctmahout.dssvd(sparse, k=6, session=session)
    check_same(ctmahout.dssvd(session.createDataFrame(vectors, ["features"]), k=6), expected)
    single = matrix.astype(np.float32)
    floats = session.createDataFrame([([float(x) for x in row],) for row in single], "features array<float>")
    check_same(ctmahout.dssvd(floats, k=6), ctmahout.dssvd(single, k=6, session=session), atol=1e-7)
    whole = session.createDataFrame([([1, 2],), ([3, 4],), ([5, 6],)], "w array<int>")
    check_same(ctmahout.dssvd(whole, column="w"), ctmahout.dssvd(np.array([[1, 2], [3, 4], [5, 6]]), session=session))


@pytest.mark.parametrize("limit", ["64m", "0"])
def test_a_matrix_may_be_wider_than_tall(session, limit):
    A = np.random.default_rng(3).standard_normal((7, 40))
    frame = session.createDataFrame([(i, [float(x) for x in row]) for i, row in enumerate(A)], ARRAYS)
    U, s, Vt = np.linalg.svd(A, full_matrices=False)
    session.conf.set("spark.ctmahout.groupInTask", limit)
    try:
        for algorithm in ("dssvd", "exact"):
            found = ctmahout.dssvd(frame, column="a", id="i", algorithm=algorithm, u=True)
            u = np.array([row["u"] for row in found.u.orderBy("i").collect()])
            np.testing.assert_allclose(found.s, s, rtol=1e-10)
            np.testing.assert_allclose((u * found.s) @ found.v.T, A, atol=1e-9)
            np.testing.assert_allclose(np.abs(np.sum(found.v * Vt.T, axis=0)), 1, atol=1e-9)
            np.testing.assert_allclose(np.abs(np.sum(u * U, axis=0)), 1, atol=1e-9)
    finally:
        session.conf.unset("spark.ctmahout.groupInTask")


@pytest.mark.parametrize("parts", [(5,), (5, "g")], ids=["whose rows meet", "each in one partition"])
def test_a_thousand_groups(session, parts):
    random = np.random.default_rng(0)
    A = random.standard_normal((GROUPS, 12, 4)) * np.geomspace(8, 1, 4)
    A[17, :, 1] = A[17, :, 0]  # of rank 3
    rows = [(g, f"row {i}", [float(x) for x in A[g, i]]) for i in range(12) for g in range(GROUPS)]
    frame = session.createDataFrame(rows, "g long, name string, a array<double>").repartition(*parts)
    found = ctmahout.dssvd(frame, column="a", id="name", group="g", u=True)
    assert list(found) == list(range(GROUPS))
    u = {(row["g"], row["name"]): row["u"] for row in found.u.collect()}
    assert len(u) == 12 * GROUPS
    for g, exact in enumerate(np.linalg.svd(A, compute_uv=False)):
        one, rank = found[g], 3 if g == 17 else 4
        np.testing.assert_allclose(one.s, exact[:rank], rtol=1e-10)
        U = np.array([u[g, f"row {i}"] for i in range(12)])
        np.testing.assert_allclose((U * one.s) @ one.v.T, A[g], atol=1e-9)
        assert (one.group, one.rows, bool(one.warnings)) == (g, 12, g == 17)
    found.unpersist()


def test_groups_in_tasks_and_on_the_cluster_side_by_side(session):
    """Their limit lies between the two: the large one is decomposed by the cluster."""
    random = np.random.default_rng(1)
    sizes = {"large": 300, "small": 20}
    A = {g: random.standard_normal((m, 5)) for g, m in sizes.items()}
    rows = [(g, i, [float(x) for x in A[g][i]]) for g, m in sizes.items() for i in range(m)]
    frame = session.createDataFrame(rows, "g string, i int, a array<double>")
    session.conf.set("spark.ctmahout.groupInTask", str(100 * 5 * 8))
    try:
        found = ctmahout.dssvd(frame, column="a", id="i", group="g", u=True)
    finally:
        session.conf.unset("spark.ctmahout.groupInTask")
    for g in sizes:
        U = np.array([row["u"] for row in found.u.where(f"g = '{g}'").orderBy("i").collect()])
        np.testing.assert_allclose((U * found[g].s) @ found[g].v.T, A[g], atol=1e-10)
        np.testing.assert_allclose(U.T @ U, np.eye(5), atol=1e-10)


def test_a_query_that_gives_other_values_each_time_is_read_once(session):
    """What is decomposed is one matrix: its singular values are those of the rows that U belongs to."""
    random = ", ".join(["reflect('java.lang.Math', 'random')"] * 4)
    frame = session.sql(f"SELECT id, CAST(array({random}) AS array<double>) AS a FROM range(0, 500, 1, 3)")
    session.conf.set("spark.ctmahout.groupInTask", "0")
    try:
        found = ctmahout.dssvd(frame, column="a", id="id", u=True)
    finally:
        session.conf.unset("spark.ctmahout.groupInTask")
    u = np.array([row["u"] for row in found.u.orderBy("id").collect()])
    assert float(found.s @ found.s) == pytest.approx(found.squared_norm, rel=1e-12)
    np.testing.assert_allclose(u.T @ u, np.eye(4), atol=1e-12)


# --------------------------------------------------------------------------------------------------------------- errors

NAN, INFINITY = float("nan"), float("inf")
ARRAYS = "i int, a array<double>"


@pytest.mark.parametrize(
    ("rows", "schema", "options", "code", "words"),
    [
        ([], ARRAYS, {}, "CTM_DATAFRAME_EMPTY", ["no rows"]),
        ([(1, [1.0]), (7, None)], ARRAYS, {}, "CTM_DATAFRAME_NULL", ["Row 1 ", "column a."]),
        ([(1, [1.0]), (7, None)], ARRAYS, {"id": "i"}, "CTM_DATAFRAME_NULL", ["with i 7 "]),
        ([(1, [1.0, 2.0]), (7, [3.0, None])], ARRAYS, {}, "CTM_DATAFRAME_NULL", ["a[1]"]),
        ([(1, [1.0]), (None, [2.0])], ARRAYS, {"id": "i"}, "CTM_DATAFRAME_NULL", ["Row 1", "column i"]),
        ([(None, [1.0])], ARRAYS, {"group": "i"}, "CTM_DATAFRAME_NULL", ["Row 0", "column i"]),
        ([(1, [1.0, 2.0]), (7, [3.0])], ARRAYS, {"id": "i"}, "CTM_DATAFRAME_WIDTH", ["i 7", "1 ", "2."]),
        ([(1, [])], ARRAYS, {}, "CTM_DATAFRAME_WIDTH", ["Row 0", "has 0 values"]),
        ([(1, [1.0]), (7, [NAN])], "i int, a array<float>", {"id": "i"}, "CTM_DATAFRAME_NOT_FINITE", ["i 7", "a[0]"]),
        ([(1, [1.0, INFINITY])], ARRAYS, {}, "CTM_DATAFRAME_NOT_FINITE", ["Row 0", "a[1]"]),
        ([(7, [1.0]), (7, [2.0])], ARRAYS, {"id": "i"}, "CTM_DATAFRAME_DUPLICATE", ["i 7."]),
        ([(1, [1.0])], "i int, b array<double>", {}, "CTM_DATAFRAME_COLUMN", ["no column named a", "i, b"]),
        ([(1, ["x"])], "i int, a array<string>", {}, "CTM_DATAFRAME_TYPE", ["column a", "array<string>"]),
        ([(1, "x")], "i int, a string", {}, "CTM_DATAFRAME_TYPE", ["type string"]),
        ([(1, "x")], "a int, b string", {"column": ["a", "b"]}, "CTM_DATAFRAME_TYPE", ["column b", "numbers"]),
        ([(1, 2.0), (3, None)], "a int, b double", {"column": ["a", "b"]}, "CTM_DATAFRAME_NULL", ["Row 1", "column b"]),
        ([(1.0, [1.0])], "i double, a array<double>", {"id": "i"}, "CTM_DATAFRAME_TYPE", ["column i", "double"]),
        ([(1, [1.0, 2.0])], ARRAYS, {"k": 2}, "CTM_DATAFRAME_RANK", ["2 components", "1 rows"]),
        ([(1, [1.0])], ARRAYS, {"k": 2, "group": "i"}, "CTM_DATAFRAME_RANK", ["that of i 1"]),
        ([(1, [1.0])], ARRAYS, {"u": True}, "CTM_REQUEST_INVALID", ["u is True without an id"]),
        ([(1, [1.0])], ARRAYS, {"k": 0}, "CTM_REQUEST_INVALID", ["k is 0"]),
        ([(1, [1.0])], ARRAYS, {"algorithm": "svd"}, "CTM_REQUEST_INVALID", ["algorithm"]),
        ([(1, [1.0])], ARRAYS, {"column": []}, "CTM_REQUEST_INVALID", ["column is []"]),
        ([(1, [1.0])], ARRAYS, {"column": ["a", "A"]}, "CTM_REQUEST_INVALID", ["twice"]),
        ([(1, [1.0])], ARRAYS, {"engine": "numpy"}, "CTM_CONFIG_VALUE", ["engine", "a DataFrame"]),
    ],
)  # fmt: skip
def test_what_cannot_be_decomposed_is_named(session, rows, schema, options, code, words):
    frame = session.createDataFrame(rows, schema).coalesce(1)
    with pytest.raises(CtmahoutError) as caught:
        ctmahout.dssvd(frame, **{"column": "a", **options})
    assert caught.value.code == code, caught.value
    for word in words:
        assert word.lower() in caught.value.message.lower(), caught.value.message
    assert "{" not in caught.value.message


def test_rows_are_counted_over_partitions_and_the_first_wrong_one_is_named(session):
    rows = [[float(i), 1.0] for i in range(40)]
    rows[23] = [1.0, NAN]
    rows[31] = [1.0]
    frame = session.createDataFrame([(row,) for row in rows], "features array<double>")
    assert frame.rdd.getNumPartitions() == 2
    with pytest.raises(CtmahoutError, match=r"Row 23 .* features\[1\]"):
        ctmahout.dssvd(frame)
    rows[23] = [1.0, 2.0]
    with pytest.raises(CtmahoutError, match=r"Row 31 .* has 1 values in column features, expected 2"):
        ctmahout.dssvd(session.createDataFrame([(row,) for row in rows], "features array<double>"))
    # A partition whose rows are all of another width.
    rows[20:] = [[1.0]] * 20
    with pytest.raises(CtmahoutError, match=r"Row 20 .* has 1 values in column features, expected 2"):
        ctmahout.dssvd(session.createDataFrame([(row,) for row in rows], "features array<double>"))


def test_names_of_columns_are_taken_as_they_are(session):
    frame = session.createDataFrame([(1, [1.0]), (2, [2.0])], '`a.b c` int, `x``,"y` array<double>')
    found = ctmahout.dssvd(frame, column='x`,"y', id="a.b c", u=True)
    assert sorted(row["a.b c"] for row in found.u.collect()) == [1, 2]
    twice = frame.selectExpr("1 AS n", "array(2.0D) AS v", "array(3.0D) AS v")
    with pytest.raises(CtmahoutError, match="2 columns named v"):
        ctmahout.dssvd(twice, column="v")


def test_an_error_of_the_query_is_no_defect(session):
    frame = session.sql("SELECT array(double(raise_error('my own words'))) AS features")
    with pytest.raises(CtmahoutError, match="my own words") as caught:
        ctmahout.dssvd(frame)
    assert caught.value.code == "CTM_ENGINE_FAILED"


def test_options_of_the_other_kind_are_refused(session, frame):
    assert code_of(ctmahout.dssvd, np.eye(3), column="features") == "CTM_CONFIG_VALUE"
    assert code_of(ctmahout.dssvd, frame, session=session) == "CTM_CONFIG_VALUE"


def test_the_data_source_alone_serves_other_languages(session, frame, matrix):
    writer = frame.write.format("ctmahout").option("columns", json.dumps(["features"])).option("k", 3)
    writer.mode("overwrite").save("mine")
    row = session.read.format("ctmahout").load("mine").collect()[0]
    exact = np.linalg.svd(matrix, compute_uv=False)
    np.testing.assert_allclose(row["s"], exact[:3], rtol=1e-6)
    for option, value in (("part", "w"), ("part", "u"), ("action", "x")):
        with pytest.raises(Exception, match="CTM_REQUEST_INVALID"):
            session.read.format("ctmahout").option(option, value).load("mine")
    with pytest.raises(Exception, match="CTM_DATAFRAME_RESULT"):
        session.read.format("ctmahout").load("yours")
    with pytest.raises(Exception, match="there is no option rank"):
        frame.write.format("ctmahout").option("rank", 3).save("mine")
    session.read.format("ctmahout").option("action", "unpersist").load("mine")
    with pytest.raises(Exception, match="CTM_DATAFRAME_RESULT"):
        session.read.format("ctmahout").load("mine")


@pytest.mark.spark35
def test_a_delta_table_as_of_each_of_its_versions(session, matrix, tmp_path):
    """Rows deleted by the second version count in the first; its files still have them."""
    table = str(tmp_path / "table")
    rows = [(i, [float(x) for x in values]) for i, values in enumerate(matrix)]
    session.createDataFrame(rows, "id int, features array<double>").write.format("delta").save(table)
    session.sql(f"DELETE FROM delta.`{table}` WHERE id >= 400")
    for version, expected in enumerate([matrix, matrix[:400]]):
        frame = session.read.format("delta").option("versionAsOf", version).load(table)
        factors = ctmahout.dssvd(frame, id="id", k=12, u=True)
        np.testing.assert_allclose(factors.s, np.linalg.svd(expected, compute_uv=False), rtol=1e-10)
        u = np.array([row.u for row in factors.u.orderBy("id").collect()])
        np.testing.assert_allclose(u * factors.s @ factors.v.T, expected, atol=1e-10)
        factors.unpersist()
