"""What the Kubeflow Spark Operator does for an application: spark-submit, then the driver's state as its own."""

import subprocess
import threading
import time
from contextlib import contextmanager

_STATES = {"Pending": "SUBMITTED", "Running": "RUNNING", "Succeeded": "COMPLETED", "Failed": "FAILED"}


@contextmanager
def operator(cluster, spark_submit, master, settings):
    """Run the applications of a cluster. `settings` are what the operator adds: where the API is, and who it is."""
    over = threading.Event()

    def work():
        known = {}
        while not over.is_set():
            found = {o["metadata"]["name"]: o for o in cluster.store.list("sparkapplications", "default")}
            for name in found.keys() - known.keys():
                known[name] = f"{name}-driver"
                threading.Thread(target=submit, args=(found[name], known[name]), daemon=True).start()
            for name in known.keys() - found.keys():
                cluster.delete("pods", "default", known.pop(name))
            for name in found:
                follow(name, known[name])
            time.sleep(0.3)

    def submit(application, pod):
        spec = application["spec"]
        conf = {
            **spec["sparkConf"],
            **settings,
            "spark.submit.deployMode": spec["mode"],
            "spark.kubernetes.container.image": spec["image"],
            "spark.kubernetes.driver.pod.name": pod,
            "spark.kubernetes.authenticate.driver.serviceAccountName": spec["driver"]["serviceAccount"],
            "spark.kubernetes.submission.waitAppCompletion": "false",
        }
        for role in ("driver", "executor"):
            for key, value in spec[role]["labels"].items():
                conf[f"spark.kubernetes.{role}.label.{key}"] = value
        chosen = [part for item in conf.items() for part in ("--conf", "=".join(item))]
        words = [spark_submit, "--master", master, *chosen, "--class", spec["mainClass"]]
        done = subprocess.run(
            [*words, spec["mainApplicationFile"], *spec["arguments"]], capture_output=True, text=True, check=False
        )
        if done.returncode != 0:
            told(application["metadata"]["name"], "FAILED", None, f"failed to run spark-submit: {done.stderr[-400:]}")

    def follow(name, pod):
        driver = cluster.store.get("pods", "default", pod)
        if driver is not None:
            state = _STATES[driver["status"]["phase"]]
            told(name, state, pod, "driver container failed" if state == "FAILED" else "")

    def told(name, state, pod, message):
        status = {"applicationState": {"state": state, "errorMessage": message}, "driverInfo": {"podName": pod}}
        cluster.store.change("sparkapplications", "default", name, lambda o: o.update(status=status))

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
