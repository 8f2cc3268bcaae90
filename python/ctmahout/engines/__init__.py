"""The engines, which run the decomposition: a request in, a factors directory and its manifest out.

========  ==============================================================  =========================================
engine    where Mahout runs                                               for
========  ==============================================================  =========================================
py4j      the JVM that PySpark starts, or the session of the user         notebooks, laptops, tests
jpype     a JVM inside this Python process                                fast local runs, small containers
submit    spark-submit with the bundled jar                               clusters; on Kubernetes also in cluster mode
operator  an application of the Kubeflow Spark Operator                   Kubernetes with that operator
numpy     nowhere: `numpy_svd`, the same algorithm in numpy               machines without Java; reference for tests
========  ==============================================================  =========================================

Engine py4j, the default, runs on a server instead where its session, or master, is one of Spark Connect.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..errors import ConfigError
from ..options import ENGINES, nearest, option_error
from .base import Engine
from .jars import Jar, find_jar
from .java import Java, find_java
from .request import Request
from .session import is_connect, server_address, spark_builder

__all__ = ["Engine", "Jar", "Java", "Request", "connect", "find_jar", "find_java", "spark_builder"]


def connect(
    engine: str = "py4j",
    *,
    session: object = None,
    master: str | None = None,
    jar: str | None = None,
    conf: Mapping[str, str] | None = None,
    driver_memory: str | None = None,
    spark_home: str | None = None,
    deploy_mode: str | None = None,
    image: str | None = None,
    pod_template: str | None = None,
    start_timeout: int = 900,
) -> Engine:
    """Return an engine that is ready for requests.

    Parameters
    ----------
    engine : str
        "py4j", "jpype", "submit", "operator" or "numpy".
    session : SparkSession, optional
        For "py4j": use this session, classic or of Spark Connect, which is neither reconfigured nor stopped, and must
        have the ctmahout jar.
    master : str, optional
        Spark master; default: ``local[*]``, for "operator" the cluster of the kubeconfig. For "py4j" also a server of
        Spark Connect, ``sc://HOST:PORT``; without a master that of SPARK_REMOTE.
    jar : str, optional
        The ctmahout jar, instead of CTMAHOUT_JAR and the bundled one.
    conf : mapping, optional
        Further Spark settings.
    driver_memory : str, optional
        Heap of the driver, for instance ``4g``; default: half of this machine's memory for local masters, else Spark's
        own default.
    spark_home : str, optional
        A Spark distribution, instead of SPARK_HOME and the installed pyspark; for "jpype" and "submit".
    deploy_mode : str, optional
        For "submit": run the driver here ("client") or in a pod of a Kubernetes cluster ("cluster").
    image : str, optional
        For "operator", and for "submit" and "py4j" on Kubernetes: the container image.
    pod_template : str, optional
        For the same: a file with a Pod as YAML or JSON, which the pods of drivers and executors are made from.
    start_timeout : int
        For "operator" and "submit": how long a driver pod may take to start, in seconds, waiting in a queue included.

    Returns
    -------
    Engine
        A context manager.

    Raises
    ------
    ConfigError
        CTM_ENGINE_UNKNOWN, CTM_CONFIG_VALUE, CTM_EXTRA_MISSING.
    EngineError
        CTM_JAVA_MISSING, CTM_JAVA_OLD, CTM_JAVA_NEW, CTM_SPARK_MISSING, CTM_SPARK_CONNECT, CTM_JAR_MISSING,
        CTM_JAR_MISMATCH, CTM_JAR_INVISIBLE, CTM_JVM_RUNNING, CTM_ENGINE_FAILED.

    Notes
    -----
    A server of Spark Connect reads and writes directories itself, so it and its executors see them where this process
    does: a folder that is mounted at one path, or a store. If they do not, `run` raises CTM_CONNECT_STORAGE.

    Examples
    --------
    >>> with connect("numpy") as engine:
    ...     engine.name
    'numpy'
    """
    if engine not in ENGINES:
        raise ConfigError(
            "CTM_ENGINE_UNKNOWN", given=engine, expected=", ".join(ENGINES), nearest=nearest(engine, ENGINES)
        )
    if session is not None and engine != "py4j":
        raise option_error("engine", engine, "py4j with a session")
    kubernetes = master is not None and master.startswith("k8s://")
    if deploy_mode == "cluster" and not (engine == "submit" and kubernetes):
        raise option_error("deploy_mode", "cluster", "client, but with engine submit and a master k8s://...")
    settings: dict[str, Any] = {"master": master, "jar": jar, "conf": conf, "driver_memory": driver_memory}
    if engine == "numpy":
        from .numpy import NumpyEngine

        return NumpyEngine()
    address = server_address(master)
    if engine == "py4j" and (is_connect(session) or (session is None and address)):
        _check_server_options(**settings)
        from .spark_connect import SparkConnectEngine

        return SparkConnectEngine(session, address=address)
    if master is not None and address:
        raise option_error("engine", engine, "py4j, the default, with a server of Spark Connect")
    if engine == "py4j":
        from .py4j import Py4jEngine

        return Py4jEngine(session, image=image, pod_template=pod_template, **settings)
    if engine == "jpype":
        from .jpype import JpypeEngine

        return JpypeEngine(spark_home=spark_home, **settings)
    on_kubernetes = settings | {"spark_home": spark_home, "image": image, "pod_template": pod_template}
    if engine == "operator":
        from .operator import OperatorEngine

        return OperatorEngine(start_timeout=start_timeout, **on_kubernetes)
    if kubernetes:
        from .kubernetes import KubernetesClientEngine, KubernetesEngine

        if deploy_mode == "cluster":
            return KubernetesEngine(start_timeout=start_timeout, **on_kubernetes)
        return KubernetesClientEngine(**on_kubernetes)
    from .submit import SubmitEngine

    return SubmitEngine(spark_home=spark_home, **settings)


def _check_server_options(master: str | None, **settings: object) -> None:
    for key, value in settings.items():
        if value:
            raise option_error(key, value, "none on Spark Connect: the settings are those of its server")
    if master is not None and "/" in master.removeprefix("sc://").rstrip("/"):
        # Neither shown nor accepted: options end in run manifests.
        raise option_error(
            "master", "sc://...", "sc://HOST:PORT alone; parameters such as a token go into SPARK_REMOTE"
        )
