"""What Kubernetes asks of an image: how it is started, as whom, how it hands over, and what scanners read in it."""

import json
import os
import time

import pytest

pytestmark = pytest.mark.cluster

LOCKED = ("--read-only", "--tmpfs", "/tmp", "--network", "none", "--cap-drop", "all")
# Neither Docker nor containerd gives a name to a number; podman does if not told otherwise.
NAMELESS = ("--user", "123456:0", "--passwd=false")
EXECUTOR = {
    "SPARK_DRIVER_URL": "spark://CoarseGrainedScheduler@driver:7078",
    "SPARK_EXECUTOR_ID": "7",
    "SPARK_EXECUTOR_CORES": "3",
    "SPARK_EXECUTOR_MEMORY": "512m",
    "SPARK_APPLICATION_ID": "app-1",
    "SPARK_EXECUTOR_POD_IP": "10.1.2.3",
    "SPARK_RESOURCE_PROFILE_ID": "0",
    "SPARK_EXECUTOR_POD_NAME": "pod-7",
    "SPARK_CONF_DIR": "/conf",
    "SPARK_CLASSPATH": "/mine.jar",
    # More than ten, which text would put in another order; one with a space, one that a shell would expand.
    **{f"SPARK_JAVA_OPT_{n}": f"-Dnumber{n}={n}" for n in range(12)},
    "SPARK_JAVA_OPT_3": "-Dspaced=a b",
    "SPARK_JAVA_OPT_4": "-Dstar=*",
}
# In the place of java: says with which arguments it was started, one on each line.
LISTING = '#!/bin/sh\nprintf "%s\\n" "$$" "$@"\n'
WAITING = "import signal; signal.signal(signal.SIGPWR, lambda *_: exit(7)); print('up', flush=True); signal.pause()"


@pytest.fixture
def run(podman, image):
    """Runs the image with arguments and returns the CompletedProcess."""

    def run(*command, options=(), environment=None):
        variables = [word for pair in (environment or {}).items() for word in ("--env", "=".join(pair))]
        return podman("run", "--rm", *LOCKED, *options, *variables, image, *command)

    return run


@pytest.fixture
def in_place_of_java(tmp_path):
    """Options that put a program that lists its arguments where JAVA_HOME has java."""
    tmp_path.chmod(0o755)
    (tmp_path / "bin").mkdir(mode=0o755)
    java = tmp_path / "bin" / "java"
    java.write_text(LISTING)
    java.chmod(0o755)
    return ("--volume", f"{tmp_path}:/listing:ro", "--env", "JAVA_HOME=/listing")


def test_an_executor_is_started_with_all_that_spark_handed_over(run, in_place_of_java):
    done = run("executor", options=in_place_of_java, environment=EXECUTOR)
    assert done.returncode == 0, done.stderr
    number, *arguments = done.stdout.splitlines()
    assert number == "1", "java has to be process 1, for signals to arrive"
    options = [f"-Dnumber{n}={n}" for n in range(12)]
    options[3:5] = ["-Dspaced=a b", "-Dstar=*"]
    assert arguments[:14] == [*options, "-Xms512m", "-Xmx512m"]
    assert arguments[14:16] == ["-cp", "/conf:/mine.jar:/opt/ctmahout/spark/jars/*:/work"]
    assert arguments[16] == "org.apache.spark.scheduler.cluster.k8s.KubernetesExecutorBackend"
    assert dict(zip(arguments[17::2], arguments[18::2], strict=True)) == {
        "--driver-url": EXECUTOR["SPARK_DRIVER_URL"],
        "--executor-id": "7",
        "--cores": "3",
        "--app-id": "app-1",
        "--hostname": "10.1.2.3",
        "--resourceProfileId": "0",
        "--podName": "pod-7",
    }


def test_sparks_own_executor_takes_these_arguments(run):
    done = run("executor", environment={**EXECUTOR, "SPARK_CONF_DIR": "/tmp", "SPARK_EXECUTOR_POD_IP": "127.0.0.1"})
    assert done.returncode == 1, done.stderr
    assert "Failed to connect to driver/<unresolved>:7078" in done.stderr, "it looks for a driver that is not there"


def test_a_driver_is_spark_submit_in_this_container(run):
    jar = "local:///opt/ctmahout/ctmahout.jar"
    done = run(
        *("driver", "--master", "local[1]", "--class", "org.ctmahout.bridge.Main", jar),
        *("--request", json.dumps({"input": "/nowhere", "output": "/tmp/factors"})),
        environment={"SPARK_DRIVER_BIND_ADDRESS": "127.0.0.1"},
    )
    assert done.returncode == 3, done.stderr[-2000:]
    assert "[CTM_INPUT_NOT_FOUND] /nowhere does not exist." in done.stderr


def test_a_user_without_a_name_runs_spark_on_a_read_only_root(run):
    names = run("bash", "-c", "id -un; grep -c 123456 /etc/passwd", options=NAMELESS)
    assert names.stdout.split() == ["spark", "0"], names.stderr
    demo = "ctmahout phantom /tmp/p --size 32 --slices 4 && ctmahout denoise /tmp/p/noisy /tmp/o --method slices"
    done = run("bash", "-c", demo, options=NAMELESS)
    assert done.returncode == 0, done.stderr


def test_the_images_own_user_has_a_name_without_help_and_changes_nothing(run):
    done = run("bash", "-c", "id -u; id -un; echo ${LD_PRELOAD:-none}", options=("--passwd=false",))
    assert done.stdout.split() == ["185", "spark", "none"], done.stderr
    writable = "find / -xdev \\( -path /proc -o -path /tmp -o -path /var/tmp \\) -prune -o -type f -writable -print"
    assert run("bash", "-c", f"{writable} 2>/dev/null", options=("--read-only=false",)).stdout == ""


def test_an_executor_that_has_to_go_hands_over_and_is_waited_for(podman, image, request):
    name = f"ctmahout-decommissioned-{os.getpid()}"
    request.addfinalizer(lambda: podman("rm", "--force", "--ignore", name))
    started = podman("run", "--detach", "--name", name, *LOCKED, image, "python", "-c", WAITING)
    assert started.returncode == 0, started.stderr
    while "up" not in podman("logs", name).stdout:
        assert podman("inspect", "--format", "{{.State.Status}}", name).stdout.strip() == "running"
        time.sleep(0.1)
    # Spark's default for spark.kubernetes.decommission.script.
    assert podman("exec", name, "test", "-x", "/opt/decom.sh").returncode == 0
    podman("exec", name, "/opt/decom.sh")
    assert podman("wait", name).stdout.strip() == "7"


def test_scanners_find_the_jars_with_versions_and_checksums(run):
    listed = json.loads(run("cat", "/opt/ctmahout/sbom.cdx.json").stdout)["components"]
    there = run("bash", "-c", "cd /opt/ctmahout && find lib -name '*.jar' -exec sha256sum {} +").stdout.split("\n")
    checksums = {line.split()[0] for line in there if line}
    assert len(checksums) > 200
    assert checksums == {c["hashes"][0]["content"] for c in listed if c["bom-ref"].endswith(".jar")}
    (hadoop,) = (c for c in listed if c["name"] == "hadoop-client-api")
    assert hadoop["purl"] == f"pkg:maven/org.apache.hadoop/hadoop-client-api@{hadoop['version']}"
