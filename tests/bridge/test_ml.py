"""Estimators of spark.ml: an array's factors, pipelines and cross-validation, saved by one language for the other."""

import numpy as np
import pytest
from helpers import NOTEBOOKS, code_of, refusal, run_notebook

import ctmahout
from ctmahout.errors import ConfigError

pytestmark = [
    pytest.mark.spark,
    pytest.mark.xdist_group("ml"),
    pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning"),
    pytest.mark.filterwarnings("ignore:Exception ignored in. <socket:pytest.PytestUnraisableExceptionWarning"),
]

ROWS, COLUMNS = 300, 40
NAN = float("nan")
ARRAYS = "i int, features array<double>"


@pytest.fixture(scope="module")
def session():
    with ctmahout.connect("py4j", master="local[2]", conf={"spark.sql.shuffle.partitions": "2"}) as engine:
        yield engine.session


@pytest.fixture(scope="module")
def matrix():
    """A with a value in 4 of 40 columns of a row, columns of graded sizes, and means that are not zero."""
    random = np.random.default_rng(6)
    filled = np.argsort(random.random((ROWS, COLUMNS)), axis=1) < 4
    return np.where(filled, random.standard_normal((ROWS, COLUMNS)) + 0.5, 0.0) * np.geomspace(30, 1, COLUMNS)


@pytest.fixture(scope="module")
def frames(session, matrix):
    """The matrix as dense vectors, as sparse ones among some dense ones, and as arrays."""
    from pyspark.ml.linalg import Vectors

    def sparse(i, row):
        return (
            Vectors.dense(row)
            if i % 9 == 0
            else Vectors.sparse(COLUMNS, [(int(j), row[j]) for j in np.flatnonzero(row)])
        )

    dense = session.createDataFrame([(i, Vectors.dense(row)) for i, row in enumerate(matrix)], ["i", "features"])
    mixed = session.createDataFrame([(i, sparse(i, row)) for i, row in enumerate(matrix)], ["i", "features"])
    arrays = session.createDataFrame(
        [(i, row.tolist()) for i, row in enumerate(matrix)], "i int, features array<double>"
    )
    return {"dense": dense, "sparse": mixed, "array": arrays}


def projected(frame, column="out"):
    return np.array([row[0].toArray() for row in frame.orderBy("i").select(column).collect()])


@pytest.mark.parametrize("form", ["dense", "sparse", "array"])
@pytest.mark.parametrize("where", ["in a task", "on the cluster"])
def test_the_factors_are_those_of_an_array_and_of_a_dataframe(session, matrix, frames, form, where):
    from pyspark.ml import Pipeline

    from ctmahout.ml import StochasticPCA, TruncatedSVD

    session.conf.set("spark.ctmahout.groupInTask", "64m" if where == "in a task" else "0")
    try:
        expected = ctmahout.dssvd(matrix, k=5, p=4, q=2, seed=3, session=session, u=True)
        of_frame = ctmahout.dssvd(frames[form], column="features", k=5, p=4, q=2, seed=3, id="i", u=True)
        svd = TruncatedSVD(k=5, p=4, q=2, seed=3, outputCol="out")
        stages = Pipeline(stages=[svd, StochasticPCA(k=5, p=4, q=2, seed=3, outputCol="pc")]).fit(frames[form])
        centred = ctmahout.dssvd(matrix, k=5, p=4, q=2, seed=3, algorithm="dspca", session=session)
    finally:
        session.conf.unset("spark.ctmahout.groupInTask")
    u = np.array([row["u"] for row in of_frame.u.orderBy("i").collect()])
    np.testing.assert_allclose(u, expected.u, atol=1e-10)
    of_frame.unpersist()
    model, pca = stages.stages
    np.testing.assert_allclose(of_frame.s, expected.s, rtol=1e-10)
    np.testing.assert_allclose(model.s, expected.s, rtol=1e-10)
    np.testing.assert_allclose(of_frame.v, expected.v, atol=1e-10)
    np.testing.assert_allclose(model.v.toArray(), expected.v, atol=1e-10)
    np.testing.assert_allclose(pca.s, centred.s, rtol=1e-10)
    np.testing.assert_allclose(pca.pc.toArray(), centred.v, atol=1e-10)
    np.testing.assert_allclose(pca.mean, matrix.mean(axis=0), atol=1e-12)
    variance = np.sum((matrix - matrix.mean(axis=0)) ** 2)
    np.testing.assert_allclose(pca.explainedVariance, centred.s**2 / variance, rtol=1e-10)
    out = stages.transform(frames[form])
    np.testing.assert_allclose(projected(out), matrix @ expected.v, atol=1e-9)
    np.testing.assert_allclose(projected(out, "pc"), (matrix - matrix.mean(axis=0)) @ centred.v, atol=1e-9)


def test_what_one_language_saves_the_other_loads(session, matrix, frames, tmp_path):
    from pyspark.ml import Pipeline, PipelineModel

    from ctmahout.ml import StochasticPCA, StochasticPCAModel, TruncatedSVD, TruncatedSVDModel

    scala = session._jvm.ctmahout.ml
    fitted = TruncatedSVD(k=3, q=2, seed=9, algorithm="exact", outputCol="out").fit(frames["sparse"])
    # Python saves, Scala loads.
    fitted.save(str(tmp_path / "svd"))
    of_scala = scala.TruncatedSVDModel.load(str(tmp_path / "svd"))
    assert (list(of_scala.s().values()), of_scala.uid()) == (list(fitted.s), fitted.uid)
    assert (of_scala.getOutputCol(), of_scala.getK(), of_scala.getSeed()) == ("out", 3, 9)
    assert list(of_scala.v().toArray()) == fitted.v.toArray().ravel(order="F").tolist()
    TruncatedSVD(k=3, algorithm="exact").save(str(tmp_path / "estimator"))
    assert scala.TruncatedSVD.load(str(tmp_path / "estimator")).getAlgorithm() == "exact"
    # Scala saves, Python loads.
    pca = scala.StochasticPCA("mine").setK(2).setOutputCol("out").fit(frames["sparse"]._jdf)
    pca.save(str(tmp_path / "pca"))
    loaded = StochasticPCAModel.load(str(tmp_path / "pca"))
    assert (loaded.uid, loaded.getK(), loaded.getP(), loaded.getQ()) == ("mine", 2, 15, 1)
    np.testing.assert_array_equal(loaded.mean, list(pca.mean().values()))
    np.testing.assert_array_equal(loaded.explainedVariance, list(pca.explainedVariance().values()))
    assert projected(loaded.transform(frames["sparse"])).shape == (ROWS, 2)
    scala.StochasticPCA("yours").setK(7).setQ(0).save(str(tmp_path / "yours"))
    yours = StochasticPCA.load(str(tmp_path / "yours"))
    assert (yours.uid, yours.getK(), yours.getQ(), yours.getSeed()) == ("yours", 7, 0, 0)
    # A whole pipeline; one that is there is replaced only where that is asked for.
    whole = Pipeline(stages=[TruncatedSVD(k=3, outputCol="out")]).fit(frames["dense"])
    whole.save(str(tmp_path / "whole"))
    with pytest.raises(Exception, match="already exists"):
        fitted.save(str(tmp_path / "svd"))
    whole.write().overwrite().save(str(tmp_path / "whole"))
    again = PipelineModel.load(str(tmp_path / "whole"))
    assert isinstance(again.stages[0], TruncatedSVDModel)
    np.testing.assert_array_equal(
        projected(again.transform(frames["dense"])), projected(whole.transform(frames["dense"]))
    )


def test_between_an_assembler_a_scaler_and_a_regression_in_cross_validation(session):
    """The response is in the third direction of three, which two components do not have."""
    from pyspark.ml import Pipeline
    from pyspark.ml.evaluation import RegressionEvaluator
    from pyspark.ml.feature import StandardScaler, VectorAssembler
    from pyspark.ml.regression import LinearRegression
    from pyspark.ml.tuning import CrossValidator, ParamGridBuilder

    from ctmahout.ml import TruncatedSVD

    random = np.random.default_rng(0)
    Z = random.standard_normal((ROWS, 3)) * [8, 4, 2]
    A = Z @ np.linalg.qr(random.standard_normal((6, 3)))[0].T + 0.01 * random.standard_normal((ROWS, 6))
    scaled = A / A.std(axis=0, ddof=1)
    U, s, _ = np.linalg.svd(scaled, full_matrices=False)
    rows = [(i, *map(float, row), float(y)) for i, (row, y) in enumerate(zip(A, Z[:, 2], strict=True))]
    names = [f"x{j}" for j in range(6)]
    frame = session.createDataFrame(rows, ["i", *names, "label"]).cache()
    assembler = VectorAssembler(inputCols=names, outputCol="raw")
    scaler = StandardScaler(inputCol="raw", outputCol="scaled")
    svd = TruncatedSVD(inputCol="scaled", outputCol="features", k=4)
    fitted = Pipeline(stages=[assembler, scaler, svd]).fit(frame)
    np.testing.assert_allclose(fitted.stages[2].s, s[:4], rtol=1e-10)
    np.testing.assert_allclose(
        np.abs(projected(fitted.transform(frame), "features")), np.abs(U[:, :4] * s[:4]), atol=1e-9
    )
    grid = ParamGridBuilder().addGrid(svd.k, [2, 3]).build()
    cross = CrossValidator(
        estimator=Pipeline(stages=[assembler, scaler, svd, LinearRegression()]),
        estimatorParamMaps=grid,
        evaluator=RegressionEvaluator(metricName="r2"),
        numFolds=2,
        seed=1,
    )
    best = cross.fit(frame)
    assert best.avgMetrics[1] > 0.99 > 0.8 > best.avgMetrics[0]
    assert best.bestModel.stages[2].getK() == 3
    assert svd.getK() == 4  # the grid's values go to copies
    moved = fitted.stages[2].copy({fitted.stages[2].outputCol: "elsewhere"})
    assert moved.transform(fitted.transform(frame).drop("features")).columns[-1] == "elsewhere"
    frame.unpersist()


@pytest.mark.parametrize(
    ("rows", "schema", "options", "code", "words"),
    [
        ([], ARRAYS, {}, "CTM_DATAFRAME_EMPTY", "no rows"),
        ([(1, [1.0]), (2, None)], ARRAYS, {}, "CTM_DATAFRAME_NULL", "Row 1"),
        ([(1, [1.0, 2.0]), (2, [1.0])], ARRAYS, {}, "CTM_DATAFRAME_WIDTH", "Row 1"),
        ([(1, [1.0, NAN])], ARRAYS, {}, "CTM_DATAFRAME_NOT_FINITE", "features[1]"),
        ([(1, [1.0])], "i int, a array<double>", {}, "CTM_DATAFRAME_COLUMN", "no column named features"),
        ([(1, [1.0])], ARRAYS, {"outputCol": "i"}, "CTM_DATAFRAME_COLUMN", "already a column named i"),
        ([(1, "x")], "i int, features string", {}, "CTM_DATAFRAME_TYPE", "type string"),
        ([(1, [1.0])], ARRAYS, {"k": 2}, "CTM_DATAFRAME_RANK", "2 components"),
        ([(1, [1.0])], ARRAYS, {"k": 0}, "CTM_REQUEST_INVALID", "k is 0"),
        ([(1, [1.0])], ARRAYS, {"q": -1}, "CTM_REQUEST_INVALID", "q is -1"),
        ([(1, [1.0])], ARRAYS, {"algorithm": "dspca"}, "CTM_REQUEST_INVALID", "StochasticPCA"),
    ],
)  # fmt: skip
def test_what_cannot_be_fitted_is_named(session, rows, schema, options, code, words):
    from ctmahout.ml import TruncatedSVD

    frame = session.createDataFrame(rows, schema).coalesce(1)
    error = refusal(TruncatedSVD(**options).fit, frame)
    assert (error.code, words in error.message) == (code, True), error
    assert "{" not in error.message


def test_a_sparse_vector_that_cannot_be_fitted_is_named(session):
    from pyspark.ml.linalg import Vectors

    from ctmahout.ml import StochasticPCA

    rows = [(i, Vectors.sparse(20, [i % 20], [1.0])) for i in range(30)]
    for place, bad, words in [
        (7, Vectors.sparse(20, [3], [NAN]), r"features[3]"),
        (9, Vectors.sparse(21, [3], [1.0]), "21 "),
    ]:
        wrong = [(i, bad if i == place else row) for i, row in rows]
        error = refusal(StochasticPCA(k=2).fit, session.createDataFrame(wrong, ["i", "features"]))
        assert f"Row {place} " in error.message
        assert words in error.message


def test_a_row_that_cannot_be_transformed_ends_the_query_with_a_code(session, frames):
    from ctmahout.ml import StochasticPCA

    model = StochasticPCA(k=2, outputCol="out").fit(frames["array"])
    good = [1.0] * COLUMNS
    for bad, code in [
        (None, "NULL"),
        ([None, *good[1:]], "NULL"),
        (good[1:], "WIDTH"),
        ([NAN, *good[1:]], "NOT_FINITE"),
    ]:
        frame = session.createDataFrame([(1, good), (2, bad)], ARRAYS)
        with pytest.raises(Exception, match=f"CTM_DATAFRAME_{code}"):
            model.transform(frame).collect()
    assert code_of(model.transform, frames["array"].drop("features")) == "CTM_DATAFRAME_COLUMN"
    assert code_of(model.setOutputCol("i").transform, frames["array"]) == "CTM_DATAFRAME_COLUMN"


def test_a_rank_below_k_gives_fewer_components(session):
    from ctmahout.ml import TruncatedSVD

    frame = session.createDataFrame([(i, [float(i), 2.0 * i, 1.0]) for i in range(9)], ARRAYS)
    model = TruncatedSVD(outputCol="out").fit(frame)
    assert (len(model.s), model.v.numCols, len(model.transform(frame).first()["out"])) == (2, 2, 2)
    constant = session.createDataFrame([(i, [5.0, 5.0]) for i in range(4)], ARRAYS)
    from ctmahout.ml import StochasticPCA

    pca = StochasticPCA(outputCol="out").fit(constant)
    assert (len(pca.s), pca.mean.toArray().tolist()) == (0, [5.0, 5.0])
    assert pca.transform(constant).first()["out"].toArray().tolist() == []


def test_parquet_whose_schema_has_grown(session, tmp_path):
    """Older files lack a column: its nulls are named, and filled they are zeros."""
    session.createDataFrame([(i, float(i)) for i in range(5)], "i int, a double").write.parquet(f"{tmp_path}/t/day=1")
    later = [(i, float(i % 3), i + 1.5) for i in range(5, 9)]
    session.createDataFrame(later, "i int, a double, b double").write.parquet(f"{tmp_path}/t/day=2")
    table = session.read.option("mergeSchema", "true").parquet(f"{tmp_path}/t")
    error = refusal(ctmahout.dssvd, table, column=["a", "b"], id="i")
    assert (error.code, "column b" in error.message) == ("CTM_DATAFRAME_NULL", True)
    A = np.array([[i, 0.0] for i in range(5)] + [[a, b] for _, a, b in later])
    exact = np.linalg.svd(A, compute_uv=False)
    np.testing.assert_allclose(ctmahout.dssvd(table.fillna(0.0), column=["a", "b"]).s, exact, rtol=1e-10)


def test_without_a_session_an_estimator_says_so(monkeypatch):
    from pyspark import SparkContext

    from ctmahout.ml import TruncatedSVD

    monkeypatch.setattr(SparkContext, "_active_spark_context", None)
    assert code_of(TruncatedSVD) == "CTM_REQUEST_INVALID"
    with pytest.raises(ConfigError, match="none is active"):
        TruncatedSVD(k=2)


def test_the_notebook_runs_on_a_smaller_table(session, monkeypatch):
    """The components that stand out are the same; of the others a projection sees no more than there is."""
    monkeypatch.setenv("ROWS", "3000")
    monkeypatch.setenv("COLUMNS", "120")
    names = {}
    (path,) = (path for path in NOTEBOOKS if path.stem == "sparse_pca")
    *_, last = run_notebook(path, names)
    ours, theirs = names["shares"]
    np.testing.assert_allclose(ours[:5], theirs[:5], rtol=0.01)
    assert (0.9 * theirs < ours).all()
    assert (ours < theirs * (1 + 1e-9)).all()
    assert names["angles"][2] > 0.9999
    assert len(last["projected"]) == 10
    names["table"].unpersist()
