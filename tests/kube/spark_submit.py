"""A spark-submit without Java: makes the driver pod that Spark makes in cluster mode, and fails in its client's words.

Usage: spark_submit.py --conf KEY=VALUE... --class MAIN JAR ARGUMENTS...
"""

import json
import sys
import urllib.error
import urllib.request
from pathlib import Path

_TRACE = "\tat io.fabric8.kubernetes.client.KubernetesClientException.copyAsCause(KubernetesClientException.java:238)\n"


def driver(conf, arguments):
    """The driver pod of these settings: the template, and over it what Spark sets."""
    template = conf.get("spark.kubernetes.driver.podTemplateFile")
    pod = json.loads(Path(template).read_text()) if template else {"metadata": {}, "spec": {}}
    name = conf["spark.kubernetes.driver.pod.name"]
    meta, spec = pod.setdefault("metadata", {}), pod["spec"]
    meta["name"] = name
    for kind in ("label", "annotation"):
        prefix = f"spark.kubernetes.driver.{kind}."
        chosen = {key.removeprefix(prefix): value for key, value in conf.items() if key.startswith(prefix)}
        meta[f"{kind}s"] = meta.get(f"{kind}s", {}) | chosen
    meta["labels"]["spark-role"] = "driver"
    memory = int(conf.get("spark.driver.memory", "1024m").removesuffix("m")) + 384
    limits = {"memory": f"{memory}Mi"}
    if cores := conf.get("spark.kubernetes.driver.limit.cores"):
        limits["cpu"] = cores
    (container,) = spec.setdefault("containers", [{}])
    container |= {
        "name": "spark-kubernetes-driver",
        "image": conf["spark.kubernetes.container.image"],
        "args": ["driver", *arguments],
        "resources": {"requests": {"memory": f"{memory}Mi"}, "limits": limits},
    }
    spec["serviceAccountName"] = conf["spark.kubernetes.authenticate.driver.serviceAccountName"]
    return {"apiVersion": "v1", "kind": "Pod", **pod}


def main(words):
    conf = {}
    while words[0] in ("--conf", "--master"):
        key, value = words[:2]
        key, value = value.split("=", 1) if key == "--conf" else ("spark.master", value)
        conf[key] = value
        words = words[2:]
    address = conf["spark.master"].removeprefix("k8s://") + "/api/v1/namespaces/default/pods"
    sys.stderr.write("WARN Utils: Your hostname resolves to a loopback address\n" * 30)
    headers = {"Content-Type": "application/json"}
    if token := conf.get("spark.kubernetes.authenticate.submission.oauthToken"):
        headers["Authorization"] = f"Bearer {token}"
    request = urllib.request.Request(address, json.dumps(driver(conf, words)).encode(), headers)
    try:
        urllib.request.urlopen(request).close()
    except urllib.error.HTTPError as e:
        status = json.loads(e.read())
        told = f"Failure executing: POST at: {address}. Message: {status['message']}. Received status: Status("
        told += f"apiVersion=v1, code={e.code}, kind=Status, message={status['message']}, status=Failure)."
        thrown = f"io.fabric8.kubernetes.client.KubernetesClientException: {told}\n"
        sys.stderr.write('ERROR Client: Please check "kubectl auth can-i create pod" first. It should be yes.\n')
        sys.stderr.write(f'Exception in thread "main" {thrown}{_TRACE}Caused by: {thrown}{_TRACE}\t... 24 more\n')
        sys.exit(1)


main(sys.argv[1:])
