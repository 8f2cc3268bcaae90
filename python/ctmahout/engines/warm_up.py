"""Write the archive of the classes that Spark loads for ctmahout: ``ctmahout warm-up``."""

from __future__ import annotations

import os
import shlex
import tempfile
from pathlib import Path

import numpy as np

from ..errors import EngineError
from ..exchange import write_matrix
from .class_archive import archive_folder, archive_name
from .jars import find_spark
from .request import Request
from .session import conf_folder
from .submit import SubmitEngine

__all__ = ["warm_up"]


def warm_up(spark_home: str | None = None) -> Path:
    """Decompose two small matrices and return the archive of the classes that Java loaded.

    An earlier archive is replaced. All engines use it, with the same Spark, Java and ctmahout jar.

    Parameters
    ----------
    spark_home : str, optional
        A Spark distribution, instead of SPARK_HOME and the installed pyspark.

    Raises
    ------
    EngineError
        CTM_WARM_UP_FAILED, and what `connect` raises.
    """
    spark = find_spark(spark_home)
    folder = archive_folder()
    if (conf := conf_folder(spark)).is_dir() and any(conf.iterdir()):
        problem = f"folders on the class path must be empty, and {conf} is not"
        raise EngineError("CTM_WARM_UP_FAILED", path=folder, problem=problem)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix="warm-up-", dir=folder) as scratch:
            archive = Path(scratch, "classes.jsa")
            _decompose(Path(scratch), archive, spark_home)
            path = archive.replace(folder / archive_name(spark, archive.stat().st_size))
        for other in set(folder.glob(archive_name(spark, "*"))) - {path}:
            other.unlink(missing_ok=True)
    except OSError as e:
        raise EngineError("CTM_WARM_UP_FAILED", path=folder, problem=e.strerror) from e
    return path


def _decompose(folder: Path, archive: Path, spark_home: str | None) -> None:
    random = np.random.default_rng(0)
    groups = [random.standard_normal((rows, 8)).astype(np.float32) for rows in (100, 5000)]
    write_matrix(folder / "matrix", groups, dtype="float32", units="1", centring="none", layout={})
    options = [f"-XX:ArchiveClassesAtExit={archive}", "-Xlog:disable", "-Xlog:cds*=warning:stderr"]
    conf = {
        "spark.driver.extraJavaOptions": shlex.join(options),
        # The small group is decomposed in a task, the large one distributed: both need their classes.
        "spark.ctmahout.groupInTask": "100k",
    }
    engine = SubmitEngine(spark_home=spark_home, master=f"local[{os.cpu_count() or 1}]", conf=conf)
    engine.run(Request(str(folder / "matrix"), str(folder / "factors"), want=("s", "v", "u")))
