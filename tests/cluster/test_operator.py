"""`ctmahout dssvd --engine operator` on the small Kubernetes, with an operator in it: answers, failures, leftovers."""

import json
import re
import time
from pathlib import Path

import numpy as np
import pyspark
import pytest
import yaml
from kube import api
from kube.fixtures import DEPLOY, site
from kube.operator import operator

from ctmahout.engines import Request, connect
from ctmahout.errors import ConfigError, CtmahoutError
from ctmahout.exchange import read_factors, write_matrix

pytestmark = pytest.mark.cluster

TOKEN = "spark.kubernetes.authenticate.submission.oauthToken"


@pytest.fixture(scope="module")
def kube(podman, image, tmp_path_factory):
    folder = tmp_path_factory.mktemp("operator")
    for parent in (folder, *folder.parents[:2]):
        parent.chmod(0o755)
    submit = Path(pyspark.__file__).parent / "bin" / "spark-submit"
    with site(podman, image, folder, "spark-operator") as made:
        settings = made.settings()
        whose = {key: settings.pop(key) for key in (TOKEN, "spark.kubernetes.driver.master")}
        made.conf = settings | {TOKEN: "ctmahout-applications"}
        values = np.random.default_rng(3).standard_normal((2000, 12))
        write_matrix(made.data / "m", [values], dtype="float64", units="1", centring="none", layout={})
        made.s = np.linalg.svd(values)[1]
        with operator(made.cluster, str(submit), made.master, whose):
            yield made


@pytest.fixture
def engine(kube, monkeypatch):
    """An engine to the operator; nothing is left when it is closed."""
    monkeypatch.setenv("KUBECONFIG", "/nonexistent")
    options = {"master": kube.master, "image": kube.image, "conf": kube.conf, "start_timeout": 200}
    with connect("operator", driver_memory="700m", **options) as opened:
        yield opened
    deadline = time.monotonic() + 60
    while kube.cluster.store.names() and time.monotonic() < deadline:
        time.sleep(0.1)
    assert kube.cluster.store.names() == []


def refused(engine, kube, matrix="m"):
    with pytest.raises(CtmahoutError) as caught:
        engine.run(Request(str(kube.data / matrix), str(kube.data / "none")))
    assert not (kube.data / "none").exists()
    return caught.value


def test_the_answer_and_the_drivers_log(engine, kube, caplog):
    caplog.set_level("INFO", "ctmahout.engines")
    told = engine.run(Request(str(kube.data / "m"), str(kube.data / "f")))
    assert told["groups"][0]["rank"] == 12
    np.testing.assert_allclose(read_factors(kube.data / "f").s, kube.s, rtol=1e-10)
    assert "CTMAHOUT_RESULT" in caplog.text
    # What the account may do was enough, and all of it was needed.
    account = "ctmahout-applications"
    assert {right for right in kube.granted() if right[0] == account} <= kube.cluster.used


def test_the_application_that_we_ship_runs(kube):
    """As it is, but for the image, the paths, and smaller pods: on a root that is read-only, as it says."""
    file = DEPLOY / "spark-operator" / "dssvd.yaml"
    shipped = yaml.safe_load(re.sub(r"REGISTRY/ctmahout:\S+", kube.image, file.read_text()))
    spec = shipped["spec"]
    spec["driver"]["memory"], spec["executor"]["memory"], spec["executor"]["cores"] = "700m", "512m", 1
    spec["dynamicAllocation"] |= {"initialExecutors": 1, "maxExecutors": 1}
    spec["arguments"][1] = json.dumps({"input": "/data/m", "output": "/data/shipped"})
    kube.cluster.add("sparkapplications", "default", shipped)
    name = shipped["metadata"]["name"]
    state, deadline = {}, time.monotonic() + 280
    while state.get("state") not in ("COMPLETED", "FAILED") and time.monotonic() < deadline:
        time.sleep(0.5)
        application = kube.cluster.store.get("sparkapplications", "default", name)
        state = application.get("status", {}).get("applicationState", {})
    driver = kube.cluster.store.get("pods", "default", f"{name}-driver")
    log = kube.cluster.node.log(driver).decode() if driver else ""
    kube.cluster.delete("sparkapplications", "default", name)
    assert state["state"] == "COMPLETED", (state, log[-4000:])
    np.testing.assert_allclose(read_factors(kube.data / "shipped").s, kube.s, rtol=1e-10)


def test_a_driver_that_fails_says_why(engine, kube):
    bad = kube.data / "bad"
    write_matrix(bad, [np.ones((50, 4), np.float32)], units="1", centring="none", layout={})
    next(bad.glob("part-*")).write_bytes(b"PAR1 and no more")
    assert refused(engine, kube, "bad").code == "CTM_EXCHANGE_CORRUPT"


def test_what_the_operator_says_is_told(engine, kube, monkeypatch):
    monkeypatch.setitem(engine._settings, "spark.kubernetes.driver.podTemplateFile", "/nonexistent")
    error = refused(engine, kube)
    assert error.code == "CTM_ENGINE_FAILED"
    # Its reason, which stands at the end of spark-submit's log, and not the beginning of that.
    assert "nonexistent" in error.message


def test_an_interrupt_deletes_the_application(engine, kube, monkeypatch):
    def interrupt(name, **_):
        assert kube.cluster.store.get("sparkapplications", "default", name)
        raise KeyboardInterrupt

    monkeypatch.setattr(engine._applications, "wait_for", interrupt)
    with pytest.raises(KeyboardInterrupt):
        # A driver that is only starting may still finish in the time that a deleted pod is given.
        engine.run(Request(str(kube.data / "m"), str(kube.data / "interrupted")))


def test_an_image_that_is_not_there(engine, kube, monkeypatch):
    monkeypatch.setattr(engine, "_image", "localhost/nobody:none")
    assert refused(engine, kube).code == "CTM_KUBERNETES_IMAGE"


def test_a_cluster_without_the_operator(engine, kube, monkeypatch):
    monkeypatch.delitem(api.KINDS, "sparkapplications")
    assert refused(engine, kube).code == "CTM_KUBERNETES_OPERATOR"
    monkeypatch.undo()


def test_an_account_without_the_role(engine, kube, monkeypatch):
    monkeypatch.delitem(kube.cluster.roles, "ctmahout-applications")
    assert refused(engine, kube).code == "CTM_KUBERNETES_FORBIDDEN"


def test_it_needs_an_image():
    with pytest.raises(ConfigError) as caught:
        connect("operator")
    assert caught.value.code == "CTM_CONFIG_VALUE"
