"""Step two of the main job, and the same for arrays: matrices go through an engine to Mahout, factors come back."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, overload

import numpy as np
from numpy.typing import NDArray

from ..engines import Engine, Request, connect
from ..engines.dataframes import DataFrameFactors, GroupedFactors, decompose, is_dataframe
from ..errors import ConfigError, CtmahoutError
from ..exchange import Factors, is_manifest, read_factors, read_manifest, write_matrix
from ..options import Config, check_keys, option_error
from ..storage import Location, Uri, local_copy, parse_location, refuse_overlap

__all__ = ["dssvd", "factorise", "factorise_with", "open_engine", "options_of"]


def factorise(
    matrix: str | Path | Uri,
    factors: str | Path | Uri,
    config: Config | None = None,
    *,
    session: object = None,
    **options: Any,
) -> dict[str, Any]:
    """Decompose a matrix directory with Mahout's dssvd on Spark: step two. Returns the factors' manifest.

    Parameters
    ----------
    matrix : path or URI
        A matrix directory.
    factors : path or URI
        A new directory.
    config : Config, optional
    session : SparkSession, optional
        A session of yours to work in, classic or of Spark Connect; it is neither reconfigured nor stopped.
    **options
        Fields of `Config`, instead of `config`: engine, algorithm, k, p, q, seed ...

    Raises
    ------
    ExchangeError, EngineError, OutputError

    Examples
    --------
    >>> from ctmahout import prepare
    >>> _ = prepare("phantom/noisy", "slices-matrix", method="slices")
    >>> factorise("slices-matrix", "slices-factors", k=4, engine="numpy")["request"]["k"]
    4
    """
    config = options_of(config, options, "factorise")
    matrix, factors = parse_location(matrix), parse_location(factors)
    refuse_overlap(factors, matrix)
    # Refused here as well as by the engine: before a JVM starts. A volume of pods need not be mounted here.
    in_pods = config.engine == "operator" or config.deploy_mode == "cluster"
    if not (in_pods and isinstance(matrix, Path) and not matrix.exists()):
        with local_copy(matrix, is_manifest) as folder:
            read_manifest(folder, "matrix")
    with open_engine(config, session) as engine:
        return factorise_with(engine, matrix, factors, config)


@overload
def dssvd(
    matrix: Any,
    k: int | None = None,
    p: int = 15,
    q: int = 1,
    *,
    column: str | Sequence[str],
    id: str | None = None,
    group: None = None,
    algorithm: str = "dssvd",
    seed: int = 0,
    u: bool = False,
) -> DataFrameFactors: ...
@overload
def dssvd(
    matrix: Any,
    k: int | None = None,
    p: int = 15,
    q: int = 1,
    *,
    column: str | Sequence[str],
    id: str | None = None,
    group: str,
    algorithm: str = "dssvd",
    seed: int = 0,
    u: bool = False,
) -> GroupedFactors: ...
@overload
def dssvd(
    matrix: Any,
    k: int | None = None,
    p: int = 15,
    q: int = 1,
    *,
    algorithm: str = "dssvd",
    seed: int = 0,
    u: bool = False,
    engine: str = "py4j",
    session: object = None,
    **options: Any,
) -> Factors: ...
def dssvd(
    matrix: Any,
    k: int | None = None,
    p: int = 15,
    q: int = 1,
    *,
    column: str | Sequence[str] | None = None,
    id: str | None = None,
    group: str | None = None,
    algorithm: str = "dssvd",
    seed: int = 0,
    u: bool = False,
    engine: str = "py4j",
    session: object = None,
    **options: Any,
) -> Factors | DataFrameFactors | GroupedFactors:
    """Decompose a tall matrix with Mahout's distributed stochastic SVD: A is about U diag(s) V'.

    Factors of "dspca" are of A - 1 mu': then A is about 1 mu' + U diag(s) V', with mu = A.mean(axis=0).

    Parameters
    ----------
    matrix : ndarray of shape (m, n), m >= n; path or URI of a matrix directory; or DataFrame of PySpark
        Finite real numbers. What float32 holds exactly is decomposed as float32, everything else as float64. A
        DataFrame, of a classic session or of Spark Connect, is decomposed in its session, which must have the ctmahout
        jar; it may have more columns than rows.
    k : int, optional
        Components to compute; all, min(m, n), if not given.
    p : int
        Oversampling: the random projection has k + p columns (at most n).
    q : int
        Power iterations.
    column : str or sequence of str
        For a DataFrame: its column of array<double>, array<float> or vectors, or several columns of numbers.
    id : str, optional
        For a DataFrame: the column that names its rows. No value may occur twice, in one group.
    group : str, optional
        For a DataFrame: the column whose values tell several matrices apart.
    algorithm : str
        "dssvd"; "exact": from A'A in one pass over A, for a few hundred columns at most, p and q count for nothing;
        "dspca": the factors of A - 1 mu', where mu holds the means of the columns; "auto": dssvd or exact, whichever
        costs less, as the manifest says.
    seed : int
        Seed of the random projection.
    u : bool
        Give U as well, an array as tall as A; of a DataFrame, which needs an `id`, as a DataFrame.
    engine : str
        "py4j", "jpype", "submit", "operator" or "numpy". An array goes through a temporary folder of this machine, so
        neither "operator" nor a driver in a cluster takes one.
    session : SparkSession, optional
        A session of yours for "py4j".
    **options
        What `connect` takes besides: master, jar, driver_memory ...

    Returns
    -------
    Factors
        s of shape (r,), v of shape (n, r), u of shape (m, r) or None; r <= k is the rank found. In each column of V the
        entry of largest magnitude is positive.
    DataFrameFactors, or GroupedFactors if there is a group column
        The same of a DataFrame: s and v are arrays, u is a DataFrame. Nothing but s and v leaves Spark.

    Raises
    ------
    ConfigError
        CTM_RANK_RANGE: k above n. CTM_REQUEST_INVALID: no such algorithm, or no real numbers. CTM_CONFIG_VALUE: an
        engine that does not see an array, or an option that does not go with the matrix. Of a DataFrame
        CTM_DATAFRAME_COLUMN, CTM_DATAFRAME_TYPE and CTM_DATAFRAME_RANK.
    InputError
        Of a DataFrame: CTM_DATAFRAME_EMPTY, CTM_DATAFRAME_NULL, CTM_DATAFRAME_WIDTH, CTM_DATAFRAME_NOT_FINITE,
        CTM_DATAFRAME_DUPLICATE.
    ExchangeError, EngineError

    Notes
    -----
    Halko, Martinsson and Tropp 2011, Finding structure with randomness, algorithms 4.4 and 5.1, as Apache Mahout 14.1
    implements them. With k = n the result is exact.

    Examples
    --------
    >>> import numpy as np
    >>> a = np.random.default_rng(0).normal(size=(200, 6))
    >>> factors = dssvd(a, k=6, engine="numpy", u=True)
    >>> factors.s.shape, factors.v.shape, factors.u.shape
    ((6,), (6, 6), (200, 6))
    >>> bool(np.allclose(factors.u * factors.s @ factors.v.T, a))
    True
    """
    if is_dataframe(matrix):
        _refuse(options | {"engine": None if engine == "py4j" else engine, "session": session}, "a DataFrame")
        columns = "features" if column is None else column
        return decompose(matrix, columns, id=id, group=group, algorithm=algorithm, k=k, p=p, q=q, seed=seed, u=u)
    _refuse({"column": column, "id": id, "group": group}, "an array or a directory")
    with tempfile.TemporaryDirectory(prefix="ctmahout-") as folder:
        if isinstance(matrix, (str, Path, Uri)):
            source = parse_location(matrix)
        else:
            a = _real(matrix)
            if engine == "operator" or options.get("deploy_mode") == "cluster":
                expected = "a matrix directory that the cluster sees; `write_matrix` writes one"
                raise option_error("matrix", type(matrix).__name__, expected)
            source = Path(folder) / "matrix"
            with _named(source):
                write_matrix(source, [a], dtype=a.dtype.name, units="1", centring="none", layout={})
        target = Path(folder) / "factors"
        request = Request(
            input=_name(source),
            output=str(target),
            algorithm=algorithm,
            k=k,
            p=p,
            q=q,
            seed=seed,
            want=("s", "v", "u") if u else ("s", "v"),
        )
        with _named(source), connect(engine, session=session, **options) as opened:
            opened.run(request)
        return read_factors(target)


def _refuse(options: Mapping[str, Any], matrix: str) -> None:
    """Refuse options that go with another kind of matrix."""
    for key, value in options.items():
        if value is not None:
            raise option_error(key, value, f"no such option for {matrix}", source="dssvd")


def _real(matrix: Any) -> NDArray[Any]:
    """Return an array as float32, if that holds its values exactly, or else as float64."""
    a = np.asarray(matrix)
    if a.dtype.kind not in "iufb" or a.ndim != 2:
        shape = f"{a.dtype.name} of shape {a.shape}"
        raise ConfigError(
            "CTM_REQUEST_INVALID", problem=f"the matrix is {shape}, expected real numbers in two dimensions"
        )
    exact = a.dtype in (np.float16, np.float32) or (a.dtype.kind in "iub" and a.dtype.itemsize <= 2)
    return a.astype(np.float32 if exact else np.float64, copy=False)


@contextmanager
def _named(source: Location) -> Iterator[None]:
    """Have errors speak of the array that was given, and not of the folder that it was written to."""
    try:
        yield
    except CtmahoutError as e:
        if isinstance(source, Path) and source.name == "matrix" and source.parent.name.startswith("ctmahout-"):
            e.rename(str(source), "the array")
        raise


def open_engine(config: Config, session: object) -> Engine:
    """Open the engine that the options ask for."""
    return connect(
        config.engine,
        session=session,
        master=config.master,
        jar=config.jar,
        driver_memory=config.driver_memory,
        conf=config.spark_conf,
        deploy_mode=config.deploy_mode,
        image=config.image,
        pod_template=config.pod_template,
        start_timeout=config.start_timeout,
    )


def factorise_with(engine: Engine, matrix: Location, factors: Location, config: Config) -> dict[str, Any]:
    """Decompose a matrix directory by an engine that is open, as the options say; return the factors' manifest."""
    return engine.run(
        Request(
            input=_name(matrix),
            output=_name(factors),
            algorithm=config.algorithm,
            k=config.k,
            p=config.p,
            q=config.q,
            seed=config.seed,
            partitions=config.partitions,
            overwrite=config.overwrite,
        )
    )


def options_of(config: Config | None, options: Mapping[str, Any], function: str) -> Config:
    """Return the options of a call: one record, or fields of it that mean something to the function.

    Raises
    ------
    ConfigError
        CTM_CONFIG_UNKNOWN_KEY, CTM_CONFIG_VALUE.
    TypeError
        Both are given, or something else than a record.
    """
    if config is not None:
        if options:
            raise TypeError("give either config or single options, not both")
        if not isinstance(config, Config):
            raise TypeError(f"config is a Config, not {type(config).__name__}")
        return config
    check_keys(options, function, source=function)
    return Config.of(options)


def _name(location: Location) -> str:
    return str(location.absolute() if isinstance(location, Path) else location)
