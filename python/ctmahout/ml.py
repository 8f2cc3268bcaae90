"""Estimators of spark.ml: Mahout's distributed stochastic SVD and PCA of a column of vectors.

The work is done by Scala classes of the same names in the ctmahout jar, so what either language saves the other loads.
"""

from __future__ import annotations

from typing import Any

from .engines.dataframes import jar_invisible, session_error
from .errors import ConfigError

try:
    from pyspark.ml.param import Param, Params, TypeConverters
    from pyspark.ml.param.shared import HasInputCol, HasOutputCol, HasSeed
    from pyspark.ml.util import JavaMLReadable, JavaMLWritable
    from pyspark.ml.wrapper import JavaEstimator, JavaModel
    from pyspark.sql.utils import is_remote
except ImportError as e:
    raise ConfigError("CTM_EXTRA_MISSING", what="ctmahout.ml", package=e.name or "pyspark", extra="spark") from e

__all__ = ["StochasticPCA", "StochasticPCAModel", "TruncatedSVD", "TruncatedSVDModel"]


class _Params(HasInputCol, HasOutputCol, HasSeed):  # type: ignore[misc]
    k = Param(Params._dummy(), "k", "components; all, if not set", TypeConverters.toInt)
    p = Param(Params._dummy(), "p", "oversampling: the random projection has k + p columns", TypeConverters.toInt)
    q = Param(Params._dummy(), "q", "power iterations", TypeConverters.toInt)

    def __init__(self, *java: Any) -> None:
        super().__init__(*java)
        self._setDefault(inputCol="features", p=15, q=1, seed=0)

    def getK(self) -> int:
        """Return the components that are asked for."""
        return int(self.getOrDefault(self.k))

    def getP(self) -> int:
        """Return the columns of the random projection beyond k."""
        return int(self.getOrDefault(self.p))

    def getQ(self) -> int:
        """Return the power iterations."""
        return int(self.getOrDefault(self.q))

    def setInputCol(self, value: str) -> Any:
        """Set the column of vectors, or of arrays of numbers."""
        return self._set(inputCol=value)

    def setOutputCol(self, value: str) -> Any:
        """Set the column of projected vectors that is appended."""
        return self._set(outputCol=value)


class _Estimator(JavaEstimator, _Params, JavaMLReadable, JavaMLWritable):  # type: ignore[misc]
    def __init__(self, **params: Any) -> None:
        super().__init__()
        self._java_obj = self._new_java_obj(_visible(type(self).__name__), self.uid)
        self.setParams(**params)

    def setParams(self, **params: Any) -> Any:
        """Set parameters by their names; None leaves one as it is."""
        return self._set(**{name: value for name, value in params.items() if value is not None})

    def setK(self, value: int) -> Any:
        """Set the components."""
        return self._set(k=value)

    def setP(self, value: int) -> Any:
        """Set the oversampling."""
        return self._set(p=value)

    def setQ(self, value: int) -> Any:
        """Set the power iterations."""
        return self._set(q=value)

    def setSeed(self, value: int) -> Any:
        """Set the seed of the random projection."""
        return self._set(seed=value)

    def _fit(self, dataset: Any) -> Any:
        try:
            return super()._fit(dataset)
        except Exception as e:
            raise session_error(e, dataset.sparkSession.version) from e


class _Model(JavaModel, _Params, JavaMLReadable, JavaMLWritable):  # type: ignore[misc]
    @property
    def s(self) -> Any:
        """Singular values, descending: a DenseVector of k, or fewer if the matrix is of lower rank."""
        return self._call_java("s")

    @property
    def v(self) -> Any:
        """Right singular vectors: a DenseMatrix (n, k); the entry of largest magnitude in a column is positive."""
        return self._call_java("v")

    def _transform(self, dataset: Any) -> Any:
        try:
            return super()._transform(dataset)
        except Exception as e:
            raise session_error(e, dataset.sparkSession.version) from e


class TruncatedSVD(_Estimator):
    """Truncated SVD of a column of vectors by Mahout's dssvd: A is about U diag(s) V'.

    Nothing is centred, and sparse vectors are kept and multiplied as sparse. The model appends x V for each vector x,
    which for the rows of A is U diag(s).

    Parameters
    ----------
    inputCol : str
        Column of vectors of spark.ml, dense or sparse, or of arrays of numbers. Default: "features".
    outputCol : str, optional
        Column of projected vectors. Default: made of the estimator's uid, as everywhere in spark.ml.
    k : int, optional
        Components; all, min(m, n), if not given.
    p : int
        Oversampling. Default: 15.
    q : int
        Power iterations. Default: 1.
    seed : int
        Seed of the random projection. Default: 0.
    algorithm : str
        "dssvd", "exact" (by A'A, for a few hundred columns) or "auto", whichever of them costs less. Default: "dssvd".

    Raises
    ------
    ConfigError
        CTM_ML_CONNECT: the session is one of Spark Connect. CTM_EXTRA_MISSING. CTM_REQUEST_INVALID. From `fit` and
        `transform` CTM_DATAFRAME_COLUMN, CTM_DATAFRAME_TYPE, CTM_DATAFRAME_RANK.
    InputError
        From `fit`: CTM_DATAFRAME_EMPTY, CTM_DATAFRAME_NULL, CTM_DATAFRAME_WIDTH, CTM_DATAFRAME_NOT_FINITE. A row that
        cannot be transformed ends the query that asks for it: with an error of Spark whose message has the code.
    EngineError
        CTM_JAR_INVISIBLE, CTM_JAR_MISMATCH, CTM_ENGINE_MEMORY, CTM_ENGINE_FAILED.

    References
    ----------
    Halko, Martinsson, Tropp 2011, SIAM Review 53(2), 217-288, algorithm 5.1 after 4.4.

    Examples
    --------
    >>> model = TruncatedSVD(inputCol="features", outputCol="projected", k=2).fit(df)  # doctest: +SKIP
    >>> model.transform(df).select("projected").first()  # doctest: +SKIP
    """

    algorithm = Param(Params._dummy(), "algorithm", "dssvd, exact or auto", TypeConverters.toString)

    def __init__(
        self,
        *,
        inputCol: str | None = None,
        outputCol: str | None = None,
        k: int | None = None,
        p: int | None = None,
        q: int | None = None,
        seed: int | None = None,
        algorithm: str | None = None,
    ) -> None:
        super().__init__(inputCol=inputCol, outputCol=outputCol, k=k, p=p, q=q, seed=seed, algorithm=algorithm)
        self._setDefault(algorithm="dssvd")

    def getAlgorithm(self) -> str:
        """Return what decomposes."""
        return str(self.getOrDefault(self.algorithm))

    def setAlgorithm(self, value: str) -> TruncatedSVD:
        """Set what decomposes."""
        self._set(algorithm=value)
        return self

    def _create_model(self, java_model: Any) -> TruncatedSVDModel:
        return TruncatedSVDModel(java_model)


class TruncatedSVDModel(_Model):
    """The model of `TruncatedSVD`."""


class StochasticPCA(_Estimator):
    """Principal components of a column of vectors by Mahout's dssvd of A less the mean of each column.

    The means are taken off while A is used: there is no centred copy, and sparse vectors stay sparse. The model appends
    (x - mean) V for each vector x; that of spark.ml's PCA appends x V.

    Parameters
    ----------
    inputCol, outputCol, k, p, q, seed
        As of `TruncatedSVD`.

    Raises
    ------
    CtmahoutError
        As `TruncatedSVD`.

    References
    ----------
    Halko, Martinsson, Shkolnisky, Tygert 2011, SIAM J. Sci. Comput. 33(5), 2580-2594.

    Examples
    --------
    >>> model = StochasticPCA(k=2).fit(df)  # doctest: +SKIP
    >>> model.explainedVariance  # doctest: +SKIP
    """

    def __init__(
        self,
        *,
        inputCol: str | None = None,
        outputCol: str | None = None,
        k: int | None = None,
        p: int | None = None,
        q: int | None = None,
        seed: int | None = None,
    ) -> None:
        super().__init__(inputCol=inputCol, outputCol=outputCol, k=k, p=p, q=q, seed=seed)

    def _create_model(self, java_model: Any) -> StochasticPCAModel:
        return StochasticPCAModel(java_model)


class StochasticPCAModel(_Model):
    """The model of `StochasticPCA`."""

    @property
    def pc(self) -> Any:
        """Principal components, a column each: `v` by the name that spark.ml has for it."""
        return self.v

    @property
    def mean(self) -> Any:
        """The mean of each column: a DenseVector (n,)."""
        return self._call_java("mean")

    @property
    def explainedVariance(self) -> Any:
        """The share of the variance in the direction of each component: a DenseVector (k,)."""
        return self._call_java("explainedVariance")


def _visible(name: str) -> str:
    """Return the Scala class of this name, which the session can load."""
    if is_remote():
        raise ConfigError("CTM_ML_CONNECT", what=name)
    from pyspark import SparkContext  # which a client of Spark Connect does not have

    context = SparkContext._active_spark_context
    if context is None:
        raise ConfigError("CTM_REQUEST_INVALID", problem=f"{name} needs a Spark session, and none is active")
    java = f"{__name__}.{name}"
    try:
        context._jvm.java.lang.Class.forName(java, False, context._jvm.Thread.currentThread().getContextClassLoader())
    except Exception as e:
        raise jar_invisible(context.version, "driver") from e
    return java
