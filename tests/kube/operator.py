"""What the Kubeflow Spark Operator does for an application: spark-submit, then the driver's state as its own.

Its validating webhook is `kube.admission.operators_webhook`; what its other one writes into pods is a template here.
"""

import json
import subprocess
import tempfile
import threading
import time
from contextlib import contextmanager
from pathlib import Path

_STATES = {"Pending": "SUBMITTED", "Running": "RUNNING", "Succeeded": "COMPLETED", "Failed": "FAILED"}
_POD_FIELDS = ("tolerations", "nodeSelector", "affinity", "priorityClassName", "schedulerName")
_DYNAMIC = {"initialExecutors", "minExecutors", "maxExecutors"}


def template(application, role):
    """The pod template of a role: as given, else what the webhook makes of the role's fields."""
    spec, fields = application["spec"], application["spec"][role]
    if "template" in fields:
        return fields["template"]
    container = {"name": "spark"} | {key: fields[key] for key in ("securityContext", "volumeMounts") if key in fields}
    pod = {"containers": [container], "volumes": spec.get("volumes", [])}
    pod |= {key: fields[key] for key in _POD_FIELDS if key in fields}
    if "podSecurityContext" in fields:
        pod["securityContext"] = fields["podSecurityContext"]
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {}, "spec": pod}


def settings_of(application, pod, folder):
    """The settings that the operator hands to spark-submit."""
    spec = application["spec"]
    conf = {
        **spec.get("sparkConf", {}),
        "spark.submit.deployMode": spec["mode"],
        "spark.kubernetes.container.image": spec["image"],
        "spark.kubernetes.driver.pod.name": pod,
        "spark.kubernetes.authenticate.driver.serviceAccountName": spec["driver"]["serviceAccount"],
        "spark.kubernetes.submission.waitAppCompletion": "false",
        "spark.kubernetes.driver.label.sparkoperator.k8s.io/launched-by-spark-operator": "true",
    }
    for role in ("driver", "executor"):
        fields = spec[role]
        for kind in ("label", "annotation"):
            for key, value in fields.get(f"{kind}s", {}).items():
                conf[f"spark.kubernetes.{role}.{kind}.{key}"] = value
        for key in ("cores", "memory"):
            if key in fields:
                conf[f"spark.{role}.{key}"] = str(fields[key])
        if "image" in fields:
            conf[f"spark.kubernetes.{role}.container.image"] = fields["image"]
        file = Path(folder) / f"{role}.json"
        file.write_text(json.dumps(template(application, role)))
        conf.setdefault(f"spark.kubernetes.{role}.podTemplateFile", str(file))
    # Kueue's label and others of the application go to the driver as well.
    for key, value in application["metadata"].get("labels", {}).items():
        conf.setdefault(f"spark.kubernetes.driver.label.{key}", value)
    if "deleteOnTermination" in spec["executor"]:
        conf["spark.kubernetes.executor.deleteOnTermination"] = str(spec["executor"]["deleteOnTermination"]).lower()
    dynamic = spec.get("dynamicAllocation") or {}
    if dynamic.get("enabled"):
        conf |= {"spark.dynamicAllocation.enabled": "true", "spark.dynamicAllocation.shuffleTracking.enabled": "true"}
        conf |= {f"spark.dynamicAllocation.{key}": str(dynamic[key]) for key in _DYNAMIC & dynamic.keys()}
    return conf


@contextmanager
def operator(cluster, spark_submit, master, settings):
    """Run the applications of a cluster. `settings` are what the operator adds: where the API is, and who it is."""
    over = threading.Event()

    def work():
        known = {}
        while not over.is_set():
            found = {o["metadata"]["name"]: o for o in cluster.store.list("sparkapplications", "default")}
            for name in found.keys() - known.keys():
                if found[name]["spec"].get("suspend"):
                    told(name, "SUSPENDED", None, "")
                    continue
                known[name] = f"{name}-driver"
                threading.Thread(target=submit, args=(found[name], known[name]), daemon=True).start()
            for name in known.keys() - found.keys():
                cluster.delete("pods", "default", known.pop(name))
            for name in found.keys() & known.keys():
                follow(name, known[name])
            time.sleep(0.3)

    def submit(application, pod):
        spec = application["spec"]
        with tempfile.TemporaryDirectory() as folder:
            conf = settings_of(application, pod, folder) | settings
            chosen = [part for item in conf.items() for part in ("--conf", "=".join(item))]
            words = [spark_submit, "--master", master, *chosen, "--class", spec["mainClass"]]
            done = subprocess.run(
                [*words, spec["mainApplicationFile"], *spec["arguments"]], capture_output=True, text=True, check=False
            )
        if cluster.store.get("sparkapplications", "default", application["metadata"]["name"]) is None:
            # Deleted meanwhile: the webhook named it as the pod's owner, and a pod whose owner is gone is collected.
            cluster.delete("pods", "default", pod)
        elif done.returncode != 0:
            # All of its log, as the operator has it: the reason stands at the end.
            told(application["metadata"]["name"], "FAILED", None, f"failed to run spark-submit: {done.stderr}")

    def follow(name, pod):
        driver = cluster.store.get("pods", "default", pod)
        if driver is not None:
            state = _STATES[driver["status"]["phase"]]
            told(name, state, pod, "driver container failed" if state == "FAILED" else "")
            application = cluster.store.get("sparkapplications", "default", name)
            if application and not driver["metadata"].get("ownerReferences"):
                owner = {"kind": "SparkApplication", "name": name, "uid": application["metadata"]["uid"]}
                owned = {"ownerReferences": [owner | {"apiVersion": "sparkoperator.k8s.io/v1beta2"}]}
                cluster.store.change("pods", "default", pod, lambda o: o["metadata"].update(owned))

    def told(name, state, pod, message):
        status = {"applicationState": {"state": state, "errorMessage": message}, "driverInfo": {"podName": pod}}
        executors = [p for p in cluster.store.list("pods", "default") if "-exec-" in p["metadata"]["name"]]
        states = {
            p["metadata"]["name"]: p["status"]["phase"].upper() for p in executors if name in p["metadata"]["name"]
        }
        status["executorState"] = states
        cluster.store.change("sparkapplications", "default", name, lambda o: o.update(status=status))

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
