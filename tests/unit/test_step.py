"""The step of the pipeline: what it tries again, against a Kubernetes API in this process, and what it does not."""

import json
import os
import subprocess
import sys

import pytest
from kube import api
from kube.launcher import ANSWER, TOKEN, Launcher, spark_home

from ctmahout.errors import catalogue


@pytest.fixture
def kube(tmp_path, monkeypatch):
    monkeypatch.setattr(api, "LINGER_S", 0.1)
    launcher = Launcher(tmp_path, spark_home(tmp_path / "spark"))
    yield launcher
    launcher.cluster.close()


@pytest.fixture
def step(kube, root, tmp_path):
    """Runs dssvd as the pipeline does; returns the CompletedProcess and the digest that it handed on."""
    text = (root / "deploy" / "kubeflow" / "step.py").read_text(encoding="utf-8")
    assert "PAUSE_S = 3, 30\n" in text
    text = text.replace("PAUSE_S = 3, 30\n", "PAUSE_S = 3, 0.1\n")
    digest = tmp_path / "out" / "digest"
    given = {"outputs": {"parameters": {"digest": {"outputFile": str(digest)}}}}
    given["inputs"] = {"parameterValues": {"conf": [f"{TOKEN}=ctmahout-launcher"]}}
    where = ["--engine", "submit", "--master", kube.master, "--deploy-mode", "cluster", "--image", "i"]
    words = [sys.executable, "-c", text, json.dumps(given), "dssvd", "/data/m", "/data/f", *where]
    environment = {**os.environ, "KUBECONFIG": "/nonexistent", "SPARK_HOME": kube.spark_home}

    def run(**variables):
        done = subprocess.run(words, env=environment | variables, capture_output=True, text=True, check=False)
        return done, digest.read_text() if digest.exists() else None

    return run


def lives(kube, *ends):
    """Have driver pods end one after the other as told, and return the list of those that there were."""
    seen = []

    def life(pod):
        seen.append(pod)
        ends[min(len(seen), len(ends)) - 1](pod)

    kube.node.life = life
    return seen


def evict(kube):
    def end(pod):
        kube.store.change("pods", "default", pod["metadata"]["name"], lambda o: o["status"].update(reason="Evicted"))
        kube.node.end(pod, 137)

    return end


def test_a_lost_driver_is_tried_again_and_the_answer_handed_on(kube, step):
    seen = lives(kube, evict(kube), lambda pod: kube.node.end(pod, 0, ANSWER))
    done, digest = step()
    assert done.returncode == 0, done.stderr
    assert len(seen) == 2
    assert len(digest) == 64
    assert "CTM_KUBERNETES_LOST: tried again in 0.1 s, attempt 2 of 3" in done.stderr


def test_three_attempts_are_all(kube, step):
    seen = lives(kube, evict(kube))
    done, digest = step(STEP_ATTEMPT="3")
    assert (done.returncode, len(seen), digest) == (5, 1, None)


def test_a_bad_matrix_is_not_tried_again(kube, step):
    seen = lives(kube, lambda pod: kube.node.end(pod, 4, "[CTM_EXCHANGE_WIDE] /in: wide\n"))
    done, digest = step()
    assert (done.returncode, len(seen), digest) == (4, 1, None)


def test_what_may_pass_are_errors_of_the_catalogue(root):
    text = (root / "deploy" / "kubeflow" / "step.py").read_text(encoding="utf-8")
    codes = json.loads("[" + text.partition("MAY_PASS = {")[2].partition("}")[0].strip().rstrip(",") + "]")
    assert len(codes) == 8
    assert set(codes) <= catalogue().keys()
