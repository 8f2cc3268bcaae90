"""A launcher of ours against the small API in this process, without containers and without Java."""

import json
import sys
import threading
import time
from contextlib import contextmanager
from pathlib import Path

from ctmahout.engines import Request, connect

from .api import Cluster
from .fixtures import roles
from .operator import operator
from .script import Script

TOKEN = "spark.kubernetes.authenticate.submission.oauthToken"
ANSWER = 'CTMAHOUT_RESULT {"groups": []}\n'


class Launcher:
    """A cluster whose pods live as a test says, and requests to it in a thread."""

    def __init__(self, folder, spark_home):
        self.cluster = Cluster(Script, roles("base", "spark-operator"))
        self.node, self.store = self.cluster.node, self.cluster.store
        self.master = f"k8s://http://127.0.0.1:{self.cluster.port}"
        self.folder, self.spark_home = folder, spark_home

    def engine(self, name="submit", conf=None, **options):
        account = {"submit": "ctmahout-launcher", "operator": "ctmahout-applications"}[name]
        conf = {TOKEN: account} | (conf or {})
        options = {"image": "i", "driver_memory": "700m", "spark_home": self.spark_home} | options
        if name == "submit":
            options["deploy_mode"] = "cluster"
        return connect(name, master=self.master, conf=conf, **options)

    @contextmanager
    def run(self, engine=None, *, until="Running"):
        """Start a request, yield it once its driver pod is in this phase (None: at once), and wait for its end."""
        run = Run(engine or self.engine(), str(self.folder / "f"))
        run.start()
        try:
            if until is not None:
                run.driver = self.driver(until)
            yield run
        finally:
            run.join(60)
        assert not run.is_alive()

    def driver(self, phase="Running"):
        """The driver pod, once there is one in this phase."""
        for _ in range(600):
            for pod in self.store.list("pods", "default"):
                labels = pod["metadata"].get("labels") or {}
                if labels.get("spark-role") == "driver" and pod["status"]["phase"] == phase:
                    return pod
            time.sleep(0.05)
        raise AssertionError(f"no driver {phase}: {self.store.names()}")

    def operating(self):
        """The operator, at work."""
        return operator(self.cluster, str(Path(self.spark_home) / "bin" / "spark-submit"), self.master, OPERATOR)


OPERATOR = {TOKEN: "ctmahout-launcher"}


class Run(threading.Thread):
    """A request: its answer or its error."""

    def __init__(self, engine, output):
        super().__init__(daemon=True)
        self.engine, self.request = engine, Request("/data/matrix", output)
        self.answer = self.error = self.driver = None

    def run(self):
        try:
            self.answer = self.engine.run(self.request)
        except BaseException as e:
            self.error = e


def spark_home(folder):
    """A Spark whose spark-submit is `kube.spark_submit`."""
    (folder / "jars").mkdir(parents=True)
    (folder / "jars" / "spark-core_2.13-4.3.0.jar").write_text("")
    (folder / "bin").mkdir()
    program = folder / "bin" / "spark-submit"
    words = json.dumps([sys.executable, str(Path(__file__).with_name("spark_submit.py"))])
    # Beside this module a script would import its `operator` in place of Python's.
    program.write_text(
        f"#!{sys.executable} -I\nimport os, sys\nw = {words}\nos.execv(w[0], [w[0], '-I', w[1], *sys.argv[1:]])\n"
    )
    program.chmod(0o755)
    return str(folder)
