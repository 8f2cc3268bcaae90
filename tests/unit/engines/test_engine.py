"""Engines, jars, Java and errors, as far as they can be tried without a JVM."""

import json
import os
import re
import signal
import stat
import subprocess
import sys
import threading
import time
import zipfile
from pathlib import Path

import pytest
from helpers import code_of, free_port, refusal
from web import Web, served

from ctmahout.cli.output import driver_log
from ctmahout.engines import Jar, Request, connect, find_jar, find_java
from ctmahout.engines.class_archive import archive_folder, archive_name, find_archive
from ctmahout.engines.executors import Executors
from ctmahout.engines.jars import Spark, find_spark, spark_line
from ctmahout.engines.jvm_calls import interruptible, translate_error
from ctmahout.engines.kubernetes_api import KubernetesApi
from ctmahout.engines.launcher import module_options
from ctmahout.engines.session import default_driver_memory, spark_settings
from ctmahout.engines.spark_applications import Applications
from ctmahout.engines.submit import SubmitEngine
from ctmahout.engines.workers import Threads
from ctmahout.errors import CtmahoutError, EngineError, OutputError
from ctmahout.workflows.doctor import check_environment

ATTRIBUTES = {
    "Ctmahout-Version": "0.1.0",
    "Ctmahout-Exchange-Version": "1.0",
    "Ctmahout-Spark-Line": "4",
    "Ctmahout-Scala-Version": "2.13.16",
    "Ctmahout-Mahout-Version": "14.1",
    "Ctmahout-Git-Commit": "0123456789abcdef",
}


def make_jar(path, **changed):
    lines = ["Manifest-Version: 1.0", *(f"{k}: {v}" for k, v in (ATTRIBUTES | changed).items() if v is not None)]
    # Longer than 72 bytes: java.util.jar breaks such a line, and goes on after a space.
    lines += ["Other: " + "x" * 60, " " + "y" * 60]
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("META-INF/MANIFEST.MF", "\r\n".join(lines) + "\r\n\r\n")
    return path


@pytest.fixture
def no_bundle(tmp_path, monkeypatch):
    """A package without jars, and no CTMAHOUT_JAR."""
    folder = tmp_path / "bundled"
    folder.mkdir()
    monkeypatch.setattr("ctmahout.engines.jars._BUNDLED", folder)
    monkeypatch.delenv("CTMAHOUT_JAR", raising=False)
    return folder


# ----------------------------------------------------------------------------------------------------------------- jars


def test_the_jar_is_looked_for_in_order(no_bundle, tmp_path, monkeypatch):
    bundled = make_jar(no_bundle / "ctmahout-spark4_2.13-0.1.0.jar")
    make_jar(no_bundle / "ctmahout-spark3.5_2.12-0.1.0.jar", **{"Ctmahout-Spark-Line": "3.5"})
    variable = make_jar(tmp_path / "variable.jar", **{"Ctmahout-Version": "0.2.0"})
    argument = make_jar(tmp_path / "argument.jar", **{"Ctmahout-Version": "0.3.0"})
    assert find_jar(spark="4.0.1").path == bundled
    assert find_jar(spark="3.5.9").spark_line == "3.5"
    monkeypatch.setenv("CTMAHOUT_JAR", str(variable))
    assert find_jar(spark="4.0.1").version == "0.2.0"
    found = find_jar(argument, spark="4.0.1")
    assert (found.version, found.scala, found.mahout) == ("0.3.0", "2.13.16", "14.1")
    assert found.as_dict()["path"] == str(argument)


def test_a_missing_jar_names_all_places(no_bundle, tmp_path, monkeypatch):
    with pytest.raises(EngineError) as caught:
        find_jar(spark="4.0.1")
    assert caught.value.code == "CTM_JAR_MISSING"
    assert f"{no_bundle}/ctmahout-spark4_" in caught.value.message
    assert "CTMAHOUT_JAR (not set)" in caught.value.message
    make_jar(no_bundle / "ctmahout-spark4_2.13-0.1.0.jar")
    # A place that was named is not passed over for another one.
    assert code_of(find_jar, tmp_path / "no.jar", spark="4.0.1") == "CTM_JAR_MISSING"
    monkeypatch.setenv("CTMAHOUT_JAR", str(tmp_path / "misspelt.jar"))
    with pytest.raises(EngineError, match=r"misspelt\.jar"):
        find_jar(spark="4.0.1")
    assert code_of(find_jar, spark="3.4.1") == "CTM_JAR_MISSING"


@pytest.mark.parametrize(
    "changed",
    [
        {"Ctmahout-Spark-Line": "3.5", "Ctmahout-Scala-Version": "2.12.18"},
        {"Ctmahout-Scala-Version": "2.12.18"},
        {"Ctmahout-Exchange-Version": "2.0"},
        {"Ctmahout-Version": None},
    ],
)
def test_a_jar_for_something_else_is_refused(no_bundle, tmp_path, changed):
    jar = make_jar(tmp_path / "other.jar", **changed)
    assert code_of(find_jar, jar, spark=Spark(tmp_path, "4.0.1", "2.13")) == "CTM_JAR_MISMATCH"


def test_what_is_no_jar_is_refused(tmp_path):
    (tmp_path / "text.jar").write_text("text")
    assert code_of(find_jar, tmp_path / "text.jar", spark="4.0.1") == "CTM_JAR_MISMATCH"
    with zipfile.ZipFile(tmp_path / "zip.jar", "w") as archive:
        archive.writestr("a.txt", "a")
    assert code_of(find_jar, tmp_path / "zip.jar", spark="4.0.1") == "CTM_JAR_MISMATCH"


@pytest.mark.parametrize("engine", ["py4j", "jpype", "submit"])
def test_every_engine_refuses_the_wrong_jar_before_a_jvm_starts(tmp_path, engine):
    line = "3.5" if spark_line(find_spark().version) == "4" else "4"
    jar = make_jar(tmp_path / "wrong.jar", **{"Ctmahout-Spark-Line": line})
    start = time.monotonic()
    assert code_of(connect, engine, jar=str(jar)) == "CTM_JAR_MISMATCH"
    assert code_of(connect, engine, jar=str(tmp_path / "no.jar")) == "CTM_JAR_MISSING"
    assert time.monotonic() - start < 5


def test_spark_lines():
    assert [spark_line(v) for v in ("3.5.1", "3.5.9", "4.0.1", "4.3.0", "4")] == ["3.5", "3.5", "4", "4", "4"]


def test_spark_is_found_or_not(tmp_path, monkeypatch):
    assert find_spark().scala in ("2.12", "2.13")
    assert code_of(find_spark, tmp_path) == "CTM_SPARK_MISSING"
    (tmp_path / "jars").mkdir()
    (tmp_path / "jars" / "spark-core_2.12-3.5.4.jar").write_text("")
    assert find_spark(tmp_path) == Spark(tmp_path, "3.5.4", "2.12")
    monkeypatch.setenv("SPARK_HOME", str(tmp_path))
    assert find_spark().version == "3.5.4"
    monkeypatch.delenv("SPARK_HOME")
    monkeypatch.setattr("ctmahout.engines.jars.find_spec", lambda name: None)
    assert code_of(find_spark) == "CTM_SPARK_MISSING"


# ----------------------------------------------------------------------------------------------------------------- Java


def fake_java(home, version):
    """A java command that says it is this version; None: it says nothing, like macOS's placeholder."""
    command = home / "bin" / "java"
    command.parent.mkdir(parents=True)
    says = "exit 1" if version is None else f'echo "    java.home = {home}\n    java.version = {version}" >&2'
    command.write_text(f"#!/bin/sh\n{says}\n")
    command.chmod(command.stat().st_mode | stat.S_IXUSR)
    return home


@pytest.mark.parametrize(
    ("version", "spark", "code"),
    [
        ("1.8.0_392", "4.0.1", "CTM_JAVA_OLD"),
        ("11.0.2", "3.5.9", "CTM_JAVA_OLD"),
        ("17.0.15", "3.5.9", None),
        ("21", "3.5.9", None),
        ("25-ea", "3.5.9", "CTM_JAVA_NEW"),
        ("25.0.1", "4.3.0", None),
        (None, "4.3.0", "CTM_JAVA_MISSING"),
    ],
)
def test_versions_of_java(tmp_path, monkeypatch, version, spark, code):
    monkeypatch.setenv("JAVA_HOME", str(fake_java(tmp_path / "jdk", version)))
    if code:
        assert code_of(find_java, spark) == code
    else:
        assert find_java(spark).version == version


@pytest.mark.parametrize("engine", ["py4j", "jpype", "submit"])
@pytest.mark.parametrize("java_home", [None, "/nowhere"])
def test_no_java_at_all(monkeypatch, tmp_path, engine, java_home):
    monkeypatch.setenv("PATH", str(tmp_path))
    if java_home:
        monkeypatch.setenv("JAVA_HOME", java_home)
    else:
        monkeypatch.delenv("JAVA_HOME", raising=False)
    assert code_of(connect, engine) == "CTM_JAVA_MISSING"
    assert connect("numpy").name == "numpy"


def test_a_wrong_java_home_is_what_is_wrong_though_there_is_a_java_on_the_path(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(fake_java(tmp_path / "jdk", "17.0.1") / "bin"))
    monkeypatch.setenv("JAVA_HOME", "/nowhere")
    with pytest.raises(EngineError, match="JAVA_HOME is /nowhere, which has none") as caught:
        find_java()
    assert "jdk/bin/java counts only without JAVA_HOME" in caught.value.message


# ------------------------------------------------------------------------------------------------------------- settings


def settings(version="4.0.1", **given):

    jar = Jar(Path("/a b/ctmahout.jar"), "0.1.0", "1.0", spark_line(version), "2.13", "14.1", "0")
    return spark_settings(Spark(Path("/spark"), version, "2.13"), jar, **given)


COMPILER = "-XX:CompileThresholdScaling=3"


def test_settings_of_a_laptop():
    made = settings()
    assert made["spark.master"] == "local[*]"
    assert made["spark.driver.host"] == made["spark.driver.bindAddress"] == "127.0.0.1"
    assert made["spark.ui.enabled"] == "false"
    assert made["spark.jars"] == made["spark.driver.extraClassPath"] == "/a b/ctmahout.jar"
    assert made["spark.driver.memory"] == default_driver_memory()
    # Spark 4 takes the vector module by itself.
    assert made["spark.driver.extraJavaOptions"] == f"{COMPILER} -XX:+UseParallelGC"


def test_settings_of_spark_3_5_and_of_a_cluster():
    made = settings("3.5.9", master="spark://host:7077", conf={"spark.executor.extraJavaOptions": "-Dx=1"})
    assert made["spark.driver.extraJavaOptions"] == f"--add-modules=jdk.incubator.vector {COMPILER}"
    assert made["spark.executor.extraJavaOptions"] == "--add-modules=jdk.incubator.vector -Dx=1"
    assert "spark.driver.host" not in made
    assert "spark.driver.memory" not in made
    assert settings(driver_memory="3g", conf={"spark.app.name": "x"})["spark.driver.memory"] == "3g"
    assert settings(conf={"spark.app.name": "x"})["spark.app.name"] == "x"


def test_java_is_never_told_twice_how_to_collect_garbage(monkeypatch, tmp_path):
    with_g1 = settings(conf={"spark.driver.extraJavaOptions": "-Dx=1 -XX:+UseG1GC"})
    assert with_g1["spark.driver.extraJavaOptions"] == f"{COMPILER} -Dx=1 -XX:+UseG1GC"
    ours = f"--add-modules=jdk.incubator.vector {COMPILER} -XX:+UseParallelGC"
    assert settings("3.5.9")["spark.driver.extraJavaOptions"] == ours
    monkeypatch.setenv("JAVA_TOOL_OPTIONS", "-XX:+UseZGC")
    assert settings()["spark.driver.extraJavaOptions"] == COMPILER
    monkeypatch.delenv("JAVA_TOOL_OPTIONS")
    monkeypatch.setenv("SPARK_CONF_DIR", str(tmp_path))
    assert "UseParallelGC" in settings()["spark.driver.extraJavaOptions"]
    (tmp_path / "spark-defaults.conf").write_text("spark.driver.extraJavaOptions -XX:+UseG1GC\n")
    assert "spark.driver.extraJavaOptions" not in settings()


def test_a_class_archive_that_another_user_could_have_written_is_not_used(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    spark = Spark(tmp_path, "4.0.1", "2.13")
    archive = archive_folder() / archive_name(spark, 3)
    archive.parent.mkdir()
    archive.write_bytes(b"jsa")
    for mode, found in ((0o444, archive), (0o644, archive), (0o664, None), (0o446, None)):
        archive.chmod(mode)
        assert find_archive(spark) == found
    archive.chmod(0o444)
    owner = os.stat_result((0o100444, 0, 0, 1, os.geteuid() + 1, 0, 3, 0, 0, 0))
    monkeypatch.setattr(Path, "stat", lambda self, **_: owner)
    assert find_archive(spark) is None


def test_default_memory_is_half_of_what_there_is():
    assert 1024 <= int(default_driver_memory().rstrip("m")) <= 32 * 1024


def test_module_options_are_sparks_own():
    options = module_options(find_spark())
    assert "--add-opens=java.base/java.nio=ALL-UNNAMED" in options
    assert all(option.startswith("-") for option in options)


# ---------------------------------------------------------------------------------------------------------- engines


def test_unknown_engines_and_wrong_arguments():
    with pytest.raises(CtmahoutError, match=r"CTM_ENGINE_UNKNOWN.*Did you mean py4j"):
        connect("pyj4")
    assert code_of(connect, "numpy", session=object()) == "CTM_CONFIG_VALUE"
    with pytest.raises(TypeError, match="SparkSession"):
        connect("py4j", session=42)


def test_where_pyspark_is_spark_connect_no_jvm_is_started(monkeypatch):
    monkeypatch.setenv("SPARK_CONNECT_MODE_ENABLED", "1")
    assert code_of(connect, "py4j") == "CTM_SPARK_CONNECT"
    remote = type("SparkSession", (), {"__module__": "pyspark.sql.connect.session"})()
    assert code_of(Executors, remote) == "CTM_SPARK_CONNECT"


def test_a_server_of_spark_connect_that_does_not_answer(monkeypatch):
    address = f"127.0.0.1:{free_port()}"
    error = refusal(connect, master=f"sc://{address}")
    assert error.code == "CTM_ENGINE_FAILED"
    assert f"no server of Spark Connect answers at {address} (" in error.message
    monkeypatch.setenv("SPARK_REMOTE", f"sc://{address}/;token=secret")
    error = refusal(connect)
    assert f"answers at {address} (" in error.message
    assert "secret" not in str(error)


@pytest.mark.parametrize(
    "options",
    [
        {"conf": {"spark.executor.memory": "4g"}},
        {"driver_memory": "4g"},
        {"jar": "my.jar"},
        {"engine": "submit"},
        {"engine": "jpype"},
        {"master": "sc://host:15002/;token=secret"},
    ],
)
def test_what_a_server_of_spark_connect_has_already(options):
    error = refusal(connect, **{"engine": "py4j", "master": "sc://host:15002"} | options)
    assert error.code == "CTM_CONFIG_VALUE"
    assert "secret" not in str(error)


def test_a_call_that_is_interrupted_ends_before_the_interrupt_is_told():
    stop, ended = threading.Event(), threading.Event()

    def run():
        stop.wait(20)
        ended.set()
        raise RuntimeError("cancelled")

    threading.Timer(0.2, lambda: os.kill(os.getpid(), signal.SIGINT)).start()
    with pytest.raises(KeyboardInterrupt):
        interruptible(run, stop.set)
    assert ended.is_set()


def test_a_call_gives_results_and_errors_back():
    assert interruptible(lambda: 42, lambda: None) == 42
    with pytest.raises(ZeroDivisionError):
        interruptible(lambda: 1 // 0, lambda: None)


@pytest.mark.parametrize(
    ("text", "log", "code"),
    [
        ("[CTM_EXCHANGE_WIDE] m: group 0 ...", "", "CTM_EXCHANGE_WIDE"),
        (
            "o.a.s.SparkException: Task failed\nCaused by: X: [CTM_EXCHANGE_WIDTH] m: row 3 ...",
            "",
            "CTM_EXCHANGE_WIDTH",
        ),
        ("exit code 1", "ERROR\n[CTM_OUTPUT_EXISTS] /x exists already.\n", "CTM_OUTPUT_EXISTS"),
        ("java.lang.OutOfMemoryError: Java heap space", "", "CTM_ENGINE_MEMORY"),
        ("gone", "java.lang.OutOfMemoryError: Java heap space", "CTM_ENGINE_MEMORY"),
        ("[CTM_INTERRUPTED] Interrupted.", "java.lang.OutOfMemoryError: Java heap space", "CTM_ENGINE_MEMORY"),
        ("[CTM_INTERRUPTED] Interrupted.", "", "CTM_INTERRUPTED"),
        ("java.lang.NoSuchMethodError: scala.Foo", "", "CTM_ENGINE_FAILED"),
        ("", "", "CTM_ENGINE_FAILED"),
        ("[CTM_NO_SUCH_CODE] text", "", "CTM_ENGINE_FAILED"),
    ],
)
def test_whatever_comes_out_of_a_jvm_is_an_error_of_ours(text, log, code):
    for error in (text, RuntimeError(text)):
        found = translate_error(error, engine="py4j", log=log)
        assert found.code == code
        assert "{" not in found.message
    assert type(translate_error("[CTM_OUTPUT_EXISTS] x", engine="py4j")) is OutputError


def test_a_failure_quotes_the_log():
    log = "INFO fine\nException in thread main: no space\n\tat org.x.Y\nINFO shutdown"
    assert "no space" in translate_error("exit code 1", engine="submit", log=log).message


def test_submit_hands_over_a_file_and_reads_the_answer_or_the_directory(tmp_path, no_bundle):
    spark = tmp_path / "spark"
    (spark / "jars").mkdir(parents=True)
    (spark / "jars" / "spark-core_2.13-4.0.1.jar").write_text("")
    (spark / "bin").mkdir()
    make_jar(no_bundle / "ctmahout-spark4_2.13-0.1.0.jar")

    def submit(script):
        (spark / "bin" / "spark-submit").write_text(f"#!/bin/sh\n{script}\n")
        (spark / "bin" / "spark-submit").chmod(0o755)
        return connect("submit", spark_home=str(spark)).run(Request("/in", str(tmp_path / "f")))

    assert submit('echo "$@" >&2; echo log; echo CTMAHOUT_RESULT "{\\"a\\": 1}"') == {"a": 1}
    assert code_of(submit, 'echo "[CTM_EXCHANGE_WIDE] /in: wide" >&2; exit 4') == "CTM_EXCHANGE_WIDE"
    with pytest.raises(EngineError, match=r"exit code 9.*something happened"):
        submit("echo something happened >&2; exit 9")
    with pytest.raises(EngineError, match="killed by signal 9"):
        submit("kill -9 $$")
    assert code_of(submit, "true") == "CTM_ENGINE_ANSWER"  # no answer and no directory


def test_cluster_mode_needs_the_kubernetes_client(monkeypatch):
    monkeypatch.setitem(sys.modules, "lightkube", None)
    assert code_of(connect, "submit", master="k8s://x", deploy_mode="cluster", image="i") == "CTM_EXTRA_MISSING"


def test_cluster_mode_hands_over_a_request_and_a_jar_in_the_image(monkeypatch):
    monkeypatch.setenv("KUBECONFIG", "/nonexistent")
    conf = {"spark.kubernetes.executor.annotation.sidecar.istio.io/inject": "true"}
    engine = connect("submit", master="k8s://x", deploy_mode="cluster", image="i", conf=conf)
    command = engine._arguments("ctmahout-1", "ctmahout-1-driver", Path("/t"), Request("/in", "/out"))
    assert command[-3] == "local:///opt/ctmahout/ctmahout.jar"
    assert json.loads(command[-1])["output"] == "/out"
    assert "spark.kubernetes.executor.annotation.sidecar.istio.io/inject=true" in command
    assert "spark.kubernetes.driver.annotation.sidecar.istio.io/inject=false" in command
    assert not [part for part in command if part.startswith("spark.jars=")]


def test_cluster_mode_inherits_nothing_that_needs_a_jar_on_this_machine(monkeypatch):
    monkeypatch.setenv("KUBECONFIG", "/nonexistent")
    engine = connect("submit", master="k8s://x", deploy_mode="cluster", image="i")
    assert not isinstance(engine, SubmitEngine)
    assert not hasattr(engine, "command")


def test_the_driver_log_of_an_application_is_logged_and_not_printed(monkeypatch, caplog, capfd):
    monkeypatch.setenv("KUBECONFIG", "/nonexistent")
    status = {"applicationState": {"state": "COMPLETED"}, "driverInfo": {"podName": "driver"}}
    web = Web()
    web.files["/apis/sparkoperator.k8s.io/v1beta2/namespaces/default/sparkapplications/a"] = json.dumps(
        {"status": status}
    ).encode()
    web.files["/api/v1/namespaces/default/pods/driver/log"] = b"reading\nwriting\n"
    caplog.set_level("INFO", "ctmahout.engines")
    with served(web):
        applications = Applications(KubernetesApi("k8s://" + web.url, {}))
        assert applications.wait_for("a", timeout_s=60.0) == (None, "reading\nwriting\n")
        assert caplog.messages == ["reading\nwriting"]
        assert capfd.readouterr().err == ""
        with driver_log():
            applications.wait_for("a", timeout_s=60.0)
        assert capfd.readouterr().err == "reading\nwriting\n"


def test_only_a_session_has_executors():
    with connect("numpy") as engine:
        assert engine.session is None
        assert engine.workers(3) == Threads(3)
        engine.session = object()
        assert engine.workers(3) == Executors(engine.session)


def test_the_options_say_which_requests_are_wrong():
    with pytest.raises(CtmahoutError, match="k is 0, expected a whole number from 1"):
        Request("/in", "/out", k=0)


def test_importing_the_engines_loads_no_spark():
    script = "import sys, ctmahout.engines; print([m for m in ('pyspark', 'py4j', 'jpype') if m in sys.modules])"
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"


@pytest.fixture
def no_aws(monkeypatch):
    """An environment that says nothing of a store."""
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    return monkeypatch


def s3a_settings(version="4.0.1"):
    settings = spark_settings(Spark(Path("/spark"), version, "2.13"), None)
    prefix = "spark.hadoop.fs.s3a."
    return {key.removeprefix(prefix): value for key, value in settings.items() if key.startswith(prefix)}


def test_spark_finds_the_store_that_the_environment_names_and_no_secret_is_in_its_settings(no_aws):
    assert s3a_settings() == {}
    no_aws.setenv("AWS_ENDPOINT_URL", "https://user:hush@store:9000")
    no_aws.setenv("AWS_SECRET_ACCESS_KEY", "hush")
    no_aws.setenv("AWS_DEFAULT_REGION", "eu-west-1")
    expected = {"endpoint": "https://store:9000", "endpoint.region": "eu-west-1", "path.style.access": "true"}
    assert s3a_settings() == expected
    no_aws.setenv("AWS_WEB_IDENTITY_TOKEN_FILE", "/token")
    providers = [s3a_settings(version)["aws.credentials.provider"] for version in ("3.5.9", "4.0.1")]
    assert [provider.partition(".")[0] for provider in providers] == ["com", "software"]
    no_aws.setenv("AWS_NO_SIGN_REQUEST", "yes")
    assert s3a_settings()["aws.credentials.provider"].endswith("AnonymousAWSCredentialsProvider")


def test_class_paths_are_put_together(no_aws):
    spark = find_spark()
    jar = find_jar(spark=spark)
    settings = spark_settings(spark, jar, conf={"spark.driver.extraClassPath": "/more/*"})
    assert settings["spark.driver.extraClassPath"] == f"{jar.path}{os.pathsep}/more/*"


def test_the_doctor_says_what_spark_lacks_for_s3():
    (check,) = [check for check in check_environment() if check.name == "S3 for Spark"]
    assert check.ok
    assert re.search(r"hadoop-aws[-:]\d+\.\d+", check.found)


def test_a_request_says_s3a_to_the_jvm():
    request = Request("s3://b/m", "gs://b/f")
    told = json.loads(request.to_json())
    assert (told["input"], told["output"]) == ("s3a://b/m", "gs://b/f")
