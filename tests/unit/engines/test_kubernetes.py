"""Engines submit and operator against a Kubernetes API in this process: what it answers, and what they make of it.

The pods are scripted: no container is run, and no Spark. `tests/cluster` has those that need both.
"""

import json
import time
from contextlib import ExitStack
from pathlib import Path

import pytest
from helpers import code_of, wait
from kube import admission, api
from kube.launcher import ANSWER, TOKEN, Launcher, spark_home
from kubeflow_spark_api.models import SparkV1beta2SparkApplication

from ctmahout.engines import Request, connect, driver_pod
from ctmahout.workflows.dssvd import factorise

QUOTA = "exceeded quota: q, requested: limits.memory=1084Mi, used: limits.memory=0, limited: limits.memory=1Gi"


@pytest.fixture(scope="module")
def spark(tmp_path_factory):
    return spark_home(tmp_path_factory.mktemp("spark") / "home")


@pytest.fixture
def kube(spark, tmp_path, monkeypatch):
    """A launcher at a cluster, which asks often; nothing is left in the end."""
    monkeypatch.setenv("KUBECONFIG", "/nonexistent")
    # A deleted pod is seen by some polls before it is gone, as on a real cluster.
    monkeypatch.setattr(api, "LINGER_S", 0.3)
    for module in ("pods", "spark_applications"):
        monkeypatch.setattr(f"ctmahout.engines.{module}._POLL_S", 0.1)
    launcher = Launcher(tmp_path, spark)
    yield launcher
    launcher.cluster.answers.set()
    for _ in range(100):
        if launcher.store.names() == []:
            break
        time.sleep(0.05)
    left = launcher.store.names()
    launcher.cluster.close()
    assert left == []


@pytest.fixture(params=["submit", "operator"])
def engine(request, kube):
    """Each of the engines that start a driver pod."""
    if request.param == "submit":
        yield kube.engine()
    else:
        with kube.operating():
            yield kube.engine("operator")


def executor(kube, driver, number, code, reason):
    """Add an executor that has failed, which its driver owns."""
    prefix = driver["metadata"]["name"].removesuffix("-driver")
    owner = {key: driver["metadata"][key] for key in ("name", "uid")} | {"kind": "Pod", "apiVersion": "v1"}
    container = {"name": "spark", "image": "i", "resources": {"limits": {"memory": "896Mi"}}}
    pod = {
        "metadata": {"name": f"{prefix}-exec-{number}", "ownerReferences": [owner]},
        "spec": {"containers": [container]},
    }
    pod = kube.store.put("pods", "default", pod | {"status": {"phase": "Pending"}})
    kube.node.report_end(pod, code, reason)


def test_an_answer(kube, engine):
    with kube.run(engine) as run:
        kube.node.end(run.driver, 0, ANSWER)
    assert run.error is None
    assert run.answer == {"groups": []}


def test_a_driver_that_somebody_deletes_is_lost(kube, engine):
    with kube.run(engine) as run:
        kube.cluster.delete("pods", "default", run.driver["metadata"]["name"])
    assert run.error.code == "CTM_KUBERNETES_LOST"
    assert "somebody deleted" in run.error.message


@pytest.mark.parametrize("reason", ["PreemptionByScheduler", "EvictionByEvictionAPI", "DeletionByTaintManager"])
def test_a_driver_that_is_drained_or_preempted_is_lost(kube, reason):
    with kube.run() as run:
        target = {"type": "DisruptionTarget", "status": "True", "reason": reason, "message": "preempting to make room"}
        kube.store.change(
            "pods", "default", run.driver["metadata"]["name"], lambda o: o["status"]["conditions"].append(target)
        )
        kube.cluster.delete("pods", "default", run.driver["metadata"]["name"])
    assert run.error.code == "CTM_KUBERNETES_LOST"
    assert f"{reason}: preempting to make room" in run.error.message


def test_a_driver_that_fails_by_itself_before_it_is_deleted_says_why(kube):
    with kube.run() as run:
        kube.node.end(run.driver, 4, "[CTM_EXCHANGE_WIDE] /in: wide\n")
        kube.cluster.delete("pods", "default", run.driver["metadata"]["name"])
    assert run.error.code == "CTM_EXCHANGE_WIDE"


def test_a_driver_that_is_killed_from_outside(kube, engine):
    with kube.run(engine) as run:
        kube.node.end(run.driver, 137)
    assert run.error.code == "CTM_KUBERNETES_LOST"
    assert "killed from outside (exit code 137)" in run.error.message


def test_the_log_of_a_driver_that_failed_is_shown_before_the_pod_is_deleted(kube, caplog):
    caplog.set_level("INFO", "ctmahout.engines")
    with kube.run() as run:
        kube.node.end(run.driver, 1, "one\ntwo\nException in thread main: three\n")
    assert run.error.code == "CTM_ENGINE_FAILED"
    assert "one\ntwo" in caplog.text


def test_an_api_server_that_has_just_started_knows_no_roles_yet(kube, engine):
    with kube.run(engine) as run:
        kube.cluster.restart()
        time.sleep(0.5)
        kube.node.end(run.driver, 0, ANSWER)
    assert run.error is None


def test_an_api_server_that_restarts_when_the_driver_is_to_be_deleted(kube, engine):
    with kube.run(engine) as run:
        kube.node.end(run.driver, 4, "[CTM_EXCHANGE_WIDE] /in: wide\n")
        kube.cluster.restart()
    assert run.error.code == "CTM_EXCHANGE_WIDE"


@pytest.mark.parametrize("name", ["submit", "operator"])
def test_rights_that_were_never_there_are_missed_at_once(kube, name, monkeypatch):
    monkeypatch.setattr("ctmahout.engines.kubernetes_api._ROLES_S", 1e9)
    kube.cluster.roles = {}
    with kube.run(kube.engine(name), until=None) as run:
        pass
    assert run.error.code == "CTM_KUBERNETES_FORBIDDEN"


def test_rights_that_are_taken_away_in_mid_job(kube, engine, monkeypatch):
    monkeypatch.setattr("ctmahout.engines.kubernetes_api._ROLES_S", 0.5)
    roles = kube.cluster.roles
    with kube.run(engine) as run:
        kube.cluster.roles = {}
    kube.cluster.roles = roles
    assert run.error.code == "CTM_KUBERNETES_FORBIDDEN"
    name = run.driver["metadata"]["name"]
    kind, left = ("pod", name) if engine.name == "submit" else ("sparkapplications", name.removesuffix("-driver"))
    assert f"kubectl delete {kind} {left} -n default" in run.error.hint
    kube.cluster.delete("pods" if kind == "pod" else kind, "default", left)


@pytest.mark.parametrize(
    ("check", "conf", "reason"),
    [
        (admission.quota("1Gi"), {}, QUOTA),
        (admission.quota(cpu_limits=True), {}, "failed quota: q: must specify limits.cpu for: spark-kubernetes-driver"),
        (
            admission.restricted,
            {"spark.kubernetes.driver.podTemplateFile": ""},
            'violates PodSecurity "restricted:latest": allowPrivilegeEscalation != false',
        ),
    ],
    ids=["quota", "cpu limits", "pod security"],
)
def test_what_is_not_admitted_is_no_missing_role(kube, check, conf, reason):
    kube.cluster.admission = [check]
    with kube.run(kube.engine(conf=conf), until=None) as run:
        pass
    assert run.error.code == "CTM_KUBERNETES_ADMISSION"
    assert reason in run.error.message
    assert "Role" not in run.error.hint
    for java in ("io.fabric8", "Status(", "Failure executing"):
        assert java not in run.error.message


def test_a_quota_that_asks_for_limits_and_gets_them(kube):
    kube.cluster.admission = [admission.quota(cpu_limits=True), admission.restricted]
    with kube.run(kube.engine(conf={"spark.kubernetes.driver.limit.cores": "1"})) as run:
        kube.node.end(run.driver, 0, ANSWER)
    assert run.error is None


def test_a_submission_that_fails_within_the_operator_says_why(kube):
    kube.cluster.admission = [admission.quota("1Gi")]
    with kube.operating(), kube.run(kube.engine("operator"), until=None) as run:
        pass
    assert run.error.code == "CTM_KUBERNETES_ADMISSION"
    assert QUOTA in run.error.message


def test_an_operator_that_sees_the_end_of_a_driver_before_its_pod_shows_it(kube):
    def application():
        return kube.store.list("sparkapplications", "default")[0]

    with ExitStack() as stack:
        with kube.operating():
            run = stack.enter_context(kube.run(kube.engine("operator")))
            state = wait(lambda: application().get("status", {}).get("applicationState"))
        name = application()["metadata"]["name"]
        failed = {"applicationState": state | {"state": "FAILED", "errorMessage": "driver container failed"}}
        kube.store.change("sparkapplications", "default", name, lambda o: o["status"].update(failed))
        time.sleep(1.5)
        kube.node.end(run.driver, 4, "[CTM_EXCHANGE_WIDE] /in: wide\n")
    assert run.error.code == "CTM_EXCHANGE_WIDE"


def test_a_webhook_that_is_away_is_no_api_that_is_away(kube, monkeypatch):
    monkeypatch.setattr("ctmahout.engines.kubernetes_api._OUTAGE_S", 0.5)
    kube.cluster.admission = [admission.webhook_that_is_away]
    with kube.run(kube.engine("operator"), until=None) as run:
        pass
    assert run.error.code == "CTM_KUBERNETES_ADMISSION"
    assert "failed calling webhook" in run.error.message


def test_a_driver_that_succeeds_and_whose_log_cannot_be_read(kube, engine, monkeypatch):
    monkeypatch.setattr("ctmahout.engines.kubernetes_api._OUTAGE_S", 0.2)
    with kube.run(engine) as run:
        kube.node.end(run.driver, 0, None)
    assert run.error.code == "CTM_ENGINE_ANSWER"
    assert run.request.output in run.error.message


def test_settings_that_are_fields_of_an_application_pass_the_operators_webhook(kube):
    kube.cluster.admission = [admission.operators_webhook, admission.restricted]
    conf = {
        "spark.kubernetes.authenticate.driver.serviceAccountName": "mine",
        "spark.kubernetes.executor.container.image": "of-executors",
        "spark.kubernetes.container.image": "of-both",
    }
    with kube.operating(), kube.run(kube.engine("operator", conf, image=None)) as run:
        (application,) = kube.store.list("sparkapplications", "default")
        kube.node.end(run.driver, 0, ANSWER)
    assert run.error is None
    spec = run.driver["spec"]
    assert spec["serviceAccountName"] == "mine"
    assert spec["containers"][0]["image"] == "of-both"
    assert spec["securityContext"]["fsGroup"] == 185
    assert application["spec"]["executor"]["image"] == "of-executors"
    assert not [key for key in application["spec"]["sparkConf"] if "image" in key or "serviceAccount" in key]


def test_what_the_operators_webhook_denies_is_told_in_its_words(kube):
    kube.cluster.admission = [admission.operators_webhook]
    engine = kube.engine("operator")
    engine._settings["spark.master"] = "local"
    with kube.run(engine, until=None) as run:
        pass
    assert run.error.code == "CTM_KUBERNETES_ADMISSION"
    assert 'sparkConf key "spark.master" is not allowed: this value is managed by the operator' in run.error.message


def test_executors_out_of_memory_are_told_with_exit_code_and_limit(kube, engine):
    with kube.run(engine) as run:
        for number in (1, 2):
            executor(kube, run.driver, number, 137, "OOMKilled")
        time.sleep(0.5)  # the operator takes them over
        kube.node.end(
            run.driver, 11, "ERROR ExecutorPodsLifecycleManager: Max number of executor failures (2) reached\n"
        )
    assert run.error.code == "CTM_KUBERNETES_EXECUTORS"
    assert "2 ended with exit code 137 (OOMKilled, limit 896Mi)" in run.error.message


def test_an_account_that_may_not_mark_failed_executors_does_not_hide_why_they_failed(kube):
    log = 'ERROR Utils: pods "x-exec-1" is forbidden: User "ctmahout" cannot patch resource "pods" in API group ""\n'
    with kube.run() as run:
        executor(kube, run.driver, 1, 137, "OOMKilled")
        kube.node.end(run.driver, 11, log)
    assert run.error.code == "CTM_KUBERNETES_EXECUTORS"
    assert "OOMKilled" in run.error.message
    with kube.run() as run:
        kube.node.end(run.driver, 11, log)
    assert run.error.code == "CTM_KUBERNETES_FORBIDDEN"


def test_executors_that_a_quota_does_not_admit_are_told_with_the_quota(kube):
    thrown = f'Message: pods "x-exec-5" is forbidden: {QUOTA}. Received status: Status(apiVersion=v1, code=403'
    log = f"ERROR ExecutorPodsAllocator: Failed to create executor pod 5.\nio.fabric8.Exception: Failure: {thrown}\n"
    with kube.run() as run:
        kube.node.end(run.driver, 11, log + "ERROR Max number of executor failures (3) reached\n")
    assert run.error.code == "CTM_KUBERNETES_EXECUTORS"
    assert run.error.message.endswith(f"forbidden: {QUOTA}.")


def test_an_api_that_takes_requests_and_does_not_answer(kube, monkeypatch):
    monkeypatch.setattr("ctmahout.engines.kubernetes_api._REQUEST_S", (0.5, 0.5))
    monkeypatch.setattr("ctmahout.engines.kubernetes_api._OUTAGE_S", 1.0)
    kube.cluster.answers.clear()
    with kube.run(until=None) as run:
        pass
    kube.cluster.answers.set()
    assert run.error.code == "CTM_KUBERNETES_UNREACHABLE"


def test_an_api_that_is_away_for_a_while_in_mid_job_and_comes_back_without_roles(kube, engine, monkeypatch):
    monkeypatch.setattr("ctmahout.engines.kubernetes_api._REQUEST_S", (0.3, 0.3))
    monkeypatch.setattr("ctmahout.engines.kubernetes_api._OUTAGE_S", 0.5)
    monkeypatch.setattr("ctmahout.engines.kubernetes_api._ROLES_S", 1.9)
    with kube.run(engine) as run:
        kube.cluster.answers.clear()
        time.sleep(2.0)
        kube.node.end(run.driver, 0, ANSWER)
        kube.cluster.restart(1.6)
        kube.cluster.answers.set()
    assert run.error is None


def interrupted(engine, monkeypatch, then=lambda: None):
    """Have an engine be interrupted by Ctrl-C while it waits."""
    pods = engine._pods if engine.name == "submit" else engine._applications

    def interrupt(*_, **__):
        then()
        raise KeyboardInterrupt

    monkeypatch.setattr(pods, "report_wait", interrupt)


def test_after_an_interrupt_the_driver_is_gone_and_so_is_what_it_was_writing(kube, engine, monkeypatch, tmp_path):
    partial = tmp_path / "f.partial-0a1b2c3d"
    kube.node.life = lambda pod: kube.node.unscheduled(pod, "Unschedulable", "no room")

    def write():
        kube.driver("Pending")
        partial.mkdir(exist_ok=True)
        (partial / ".claim").touch()

    interrupted(engine, monkeypatch, write)
    with pytest.raises(KeyboardInterrupt):
        engine.run(Request("/data/matrix", str(tmp_path / "f")))
    # At once, and not after a while.
    assert [name for name in kube.store.names() if name.startswith("pods/")] == []
    assert not partial.exists()


def test_what_an_interrupt_cannot_delete_is_named_with_the_command_that_does(kube, engine, monkeypatch, caplog):
    monkeypatch.setattr("ctmahout.engines.kubernetes_api._ROLES_S", 0.2)
    kube.node.life = lambda pod: kube.node.unscheduled(pod, "Unschedulable", "no room")
    roles = dict(kube.cluster.roles)

    def lose_rights():
        kube.driver("Pending")
        kube.cluster.roles = {}

    interrupted(engine, monkeypatch, lose_rights)
    with pytest.raises(KeyboardInterrupt):
        engine.run(Request("/data/matrix", "/data/f"))
    kube.cluster.roles = roles
    assert "kubectl delete " in caplog.text
    for kind in ("pods", "sparkapplications"):
        for found in kube.store.list(kind, "default"):
            kube.cluster.delete(kind, "default", found["metadata"]["name"])


def test_a_matrix_on_a_volume_that_is_not_mounted_here(kube, monkeypatch, tmp_path):
    monkeypatch.setenv("SPARK_HOME", kube.spark_home)
    kube.node.life = lambda pod: kube.node.end(pod, 0, ANSWER)
    options = {"engine": "submit", "master": kube.master, "deploy_mode": "cluster", "image": "i"}
    options["conf"] = (f"{TOKEN}=ctmahout-launcher",)
    assert factorise("/only/in/pods/matrix", "/only/in/pods/factors", **options) == {"groups": []}
    # One that is here is looked at as ever, before there is a pod.
    kube.cluster.roles = {}
    assert code_of(factorise, tmp_path, tmp_path.parent / "f", **options) == "CTM_EXCHANGE_NOT_COMMITTED"
    assert code_of(factorise, "/only/in/pods/matrix", "/f", engine="numpy") == "CTM_INPUT_NOT_FOUND"


TEMPLATE = """
metadata:
  labels: {team: radiology, kueue.x-k8s.io/queue-name: night}
  annotations: {sidecar.istio.io/inject: "true"}
spec:
  priorityClassName: low
  nodeSelector: {disk: fast}
  tolerations: [{key: spot, operator: Exists, effect: NoSchedule}]
  securityContext: {fsGroup: 2000, runAsUser: null}
  containers:
    - securityContext: {readOnlyRootFilesystem: true}
      envFrom: [{secretRef: {name: bucket}}]
"""


@pytest.fixture
def template(tmp_path):
    (tmp_path / "pod.yaml").write_text(TEMPLATE)
    return str(tmp_path / "pod.yaml")


def check_pod(spec):
    assert spec["priorityClassName"] == "low"
    assert spec["nodeSelector"] == {"disk": "fast"}
    assert spec["tolerations"][0]["key"] == "spot"
    # What the file does not mention stays.
    seccomp = {"type": "RuntimeDefault"}
    assert spec["securityContext"] == {"fsGroup": 2000, "runAsNonRoot": True, "seccompProfile": seccomp}
    (container,) = spec["containers"]
    assert container["envFrom"] == [{"secretRef": {"name": "bucket"}}]
    assert container["securityContext"]["readOnlyRootFilesystem"] is True
    assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}


def test_pod_settings_and_a_queue_for_a_driver_pod(kube, template):
    kube.cluster.admission = [admission.kueue, admission.restricted]
    with kube.run(kube.engine(pod_template=template), until="Pending") as run:
        kube.node.admit(run.driver)
        kube.driver("Running")
        kube.node.end(run.driver, 0, ANSWER)
    assert run.error is None
    check_pod(run.driver["spec"])
    assert run.driver["metadata"]["labels"]["team"] == "radiology"


def test_pod_settings_and_a_queue_for_an_application(kube, template, caplog):
    caplog.set_level("INFO", "ctmahout.engines")
    kube.cluster.admission = [admission.kueue, admission.operators_webhook, admission.restricted]
    with kube.operating(), kube.run(kube.engine("operator", pod_template=template), until=None) as run:
        while "the application is suspended" not in caplog.text:
            time.sleep(0.05)
        (application,) = kube.store.list("sparkapplications", "default")
        kube.store.change(
            "sparkapplications", "default", application["metadata"]["name"], lambda o: o["spec"].update(suspend=False)
        )
        driver = kube.driver()
        kube.node.end(driver, 0, ANSWER)
    assert run.error is None
    assert SparkV1beta2SparkApplication.from_dict(application)
    assert application["metadata"]["labels"] == {"kueue.x-k8s.io/queue-name": "night"}
    for role in ("driver", "executor"):
        fields = application["spec"][role]
        assert fields["labels"] == {"sidecar.istio.io/inject": "false", "team": "radiology"}
        assert fields["annotations"] == {"sidecar.istio.io/inject": "true"}
        check_pod(fields["template"]["spec"])
    check_pod(driver["spec"])


def test_an_operator_that_drops_the_template_is_told_and_nothing_runs(kube, template):
    kube.cluster.admission = [admission.before_pod_templates]
    with kube.run(kube.engine("operator", pod_template=template), until=None) as run:
        pass
    assert run.error.code == "CTM_KUBERNETES_OPERATOR"
    assert "pod templates" in run.error.message


def test_a_queue_that_does_not_admit_in_time_is_told_as_a_queue(kube, engine, template):
    kube.cluster.admission = [admission.kueue]
    options = {"pod_template": template, "start_timeout": 1}
    with kube.run(kube.engine(engine.name, **options), until=None) as run:
        pass
    assert run.error.code == "CTM_KUBERNETES_QUEUED"
    assert ("suspended" if engine.name == "operator" else "SchedulingGated") in run.error.message
    assert "--start-timeout" in run.error.hint


def test_a_pod_that_no_node_takes_in_time(kube, engine, caplog):
    caplog.set_level("INFO", "ctmahout.engines")
    claim = 'persistentvolumeclaim "ct" not found'
    kube.node.life = lambda pod: kube.node.unscheduled(pod, "Unschedulable", claim)
    with kube.run(kube.engine(engine.name, start_timeout=2), until=None) as run:
        pass
    assert run.error.code == "CTM_KUBERNETES_PENDING"
    assert claim in run.error.message
    assert "--start-timeout" in run.error.hint
    # It was said while there was time to mend it, and once.
    assert caplog.text.count(claim) == 1


@pytest.mark.parametrize("text", [None, "- a\n- list\n", "a: {b: c", "kind: Deployment\n", "spec: {containers: [a]}\n"])
def test_a_template_that_is_no_pod(kube, text, tmp_path):
    if text is not None:
        (tmp_path / "bad.yaml").write_text(text)
    for name in ("submit", "operator"):
        assert code_of(kube.engine, name, pod_template=str(tmp_path / "bad.yaml")) == "CTM_CONFIG_VALUE"


@pytest.fixture
def in_a_pod(kube, monkeypatch, tmp_path):
    """As if this process ran in a pod of the cluster, with the driver's account."""
    (tmp_path / "namespace").write_text("default\n")
    monkeypatch.setattr(driver_pod, "_NAMESPACE", tmp_path / "namespace")
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "127.0.0.1")
    monkeypatch.setattr("socket.gethostname", lambda: "notebook-0")
    pod = {"metadata": {"name": "notebook-0"}, "spec": {"containers": [{"name": "n", "image": "i"}]}}
    kube.store.put("pods", "default", pod | {"status": {"phase": "Running"}})
    yield TOKEN
    kube.cluster.delete("pods", "default", "notebook-0")


def client(kube, conf, tmp_path, token, **options):
    """The settings of a run in client mode, and the template that its executors are made from."""
    conf = {token: "ctmahout"} | conf
    made = connect("submit", master=kube.master, image="i", conf=conf, spark_home=kube.spark_home, **options)
    settings = made._settings_of_run(tmp_path)
    return settings, json.loads(Path(settings["spark.kubernetes.executor.podTemplateFile"]).read_text())


def test_a_driver_in_a_pod_says_where_it_is_and_what_its_executors_are(kube, in_a_pod, tmp_path):
    settings, template = client(kube, {}, tmp_path, in_a_pod)
    assert settings["spark.driver.bindAddress"] == settings["spark.driver.host"] == "127.0.0.1"
    assert settings["spark.kubernetes.driver.pod.name"] == "notebook-0"
    assert admission.restricted("pods", template) is None


def test_a_session_that_is_started_for_executors_in_pods_says_the_same(kube, in_a_pod, monkeypatch):
    launched = []

    def launch(conf, popen):
        settings = dict(conf.getAll())
        file = Path(settings["spark.kubernetes.executor.podTemplateFile"])
        launched.append((settings, json.loads(file.read_text()), file))
        raise OSError("far enough")

    monkeypatch.setattr("pyspark.java_gateway.launch_gateway", launch)
    assert code_of(connect, master=kube.master, image="i", conf={in_a_pod: "ctmahout"}) == "CTM_ENGINE_FAILED"
    ((settings, template, file),) = launched
    assert settings["spark.kubernetes.container.image"] == "i"
    assert settings["spark.driver.host"] == "127.0.0.1"
    assert settings["spark.kubernetes.driver.pod.name"] == "notebook-0"
    assert admission.restricted("pods", template) is None
    assert not file.exists()
    assert code_of(connect, master=kube.master) == "CTM_CONFIG_VALUE"


def test_a_driver_that_binds_to_all_addresses_is_looked_for_at_its_host(kube, in_a_pod, tmp_path):
    given = {"spark.driver.bindAddress": "0.0.0.0", "spark.driver.host": "10.1.2.3"}
    settings, _ = client(kube, given, tmp_path, in_a_pod)
    assert settings | given == settings
    assert settings["spark.kubernetes.executor.useDriverPodIP"] == "false"


def test_a_driver_in_no_pod_of_that_namespace_owns_no_executors(kube, in_a_pod, tmp_path):
    kube.cluster.delete("pods", "default", "notebook-0")
    while kube.store.get("pods", "default", "notebook-0"):
        time.sleep(0.05)
    settings, _ = client(kube, {}, tmp_path, in_a_pod)
    assert "spark.kubernetes.driver.pod.name" not in settings


def test_pod_settings_for_executors_of_client_mode(kube, in_a_pod, tmp_path, template):
    check_pod(client(kube, {}, tmp_path, in_a_pod, pod_template=template)[1]["spec"])
