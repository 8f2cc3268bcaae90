"""ctmahout as a pipeline of Kubeflow: fetch; for each series prepare, factor, refine and factor again, reconstruct.

``python pipeline.py`` writes the two files beside it that one uploads: ``volume.yaml`` mounts a claim into every step,
``s3.yaml`` takes URIs of buckets, and credentials from a secret; and the steps in ``components``. See docs/kubeflow.md.
"""

import argparse
import inspect
from functools import partial
from pathlib import Path

from kfp import compiler, dsl, kubernetes
from kfp.compiler.compiler_utils import KubernetesManifestOptions

STEP = (Path(__file__).parent / "step.py").read_text(encoding="utf-8")
# Each step takes its image from the run's parameter `image`.
IMAGE = "ctmahout"
# For series of some hundred slices. kfp does not hand a parameter for these to steps in a loop.
CPU, MEMORY = "2", "8G"
TIMEOUT_S = 6 * 3600
SIDE_BY_SIDE = 4
MOUNT = "/data"
# Of the secret; none of them need be there, as with workload identity.
CREDENTIALS = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_REGION", "AWS_ENDPOINT_URL")


def verb(*command, report=()):
    """Return the container that runs a verb of ctmahout."""
    arguments = [*report, dsl.PIPELINE_TASK_EXECUTOR_INPUT_PLACEHOLDER, *command]
    return dsl.ContainerSpec(image=IMAGE, command=["python3", "-c", STEP], args=arguments)


@dsl.container_component
def fetch(source: str, scans: str):
    return verb("fetch", source, scans, "--overwrite")


@dsl.container_component
def find(scans: str, series: dsl.OutputPath(list)):
    return verb("inspect", scans)


@dsl.container_component
def prepare(
    scans: str,
    series: str,
    matrix: str,
    digest: dsl.OutputPath(str),
    refines: dsl.OutputPath(bool),
    method: str = "patches",
    effort: str = "normal",
    seed: int = 0,
):
    options = ["--series", series, "--method", method, "--effort", effort, "--seed", seed]
    return verb("prepare", scans, matrix, *options, "--overwrite")


@dsl.container_component
def dssvd(
    matrix: str,
    factors: str,
    matrix_digest: str,
    digest: dsl.OutputPath(str),
    seed: int = 0,
    engine: str = "py4j",
    master: str = "",
    deploy_mode: str = "client",
    image: str = "",
    conf: list = [],  # noqa: B006 - kfp takes lists only
):
    options = ["--engine", engine, "--master", master, "--deploy-mode", deploy_mode, "--image", image, "--seed", seed]
    return verb("dssvd", matrix, factors, *options, "--overwrite")


@dsl.container_component
def refine(
    scans: str,
    series: str,
    matrix: str,
    factors: str,
    factors_digest: str,
    refined: str,
    digest: dsl.OutputPath(str),
):
    return verb("refine", scans, matrix, factors, refined, "--series", series, "--overwrite")


@dsl.container_component
def reconstruct(
    scans: str,
    series: str,
    matrix: str,
    factors: str,
    denoised: str,
    report: dsl.Output[dsl.HTML],
    metrics: dsl.Output[dsl.Metrics],
    strength: list = ["auto"],  # noqa: B006
    timestamp: str = "",
):
    options = ["--series", series, "--timestamp", timestamp, "--overwrite"]
    return verb("reconstruct", scans, matrix, factors, denoised, *options, report=("--report", report.path))


def in_cluster(task, *, image, secret, claim, cpu=CPU, memory=MEMORY):
    """Say of a step what holds for all of them: how it runs, and what it may touch."""
    task.set_container_image(image).set_cpu_request(cpu).set_memory_request(memory).set_memory_limit(memory)
    # Kubeflow does so outside of loops only: for a pod that is taken away. What may pass, a step tries again itself.
    task.set_retry(num_retries=2, backoff_duration="30s", backoff_factor=2.0)
    kubernetes.set_timeout(task, TIMEOUT_S)
    kubernetes.set_security_context(task, run_as_user=185, run_as_non_root=True)
    kubernetes.add_pod_label(task, "sidecar.istio.io/inject", "false")
    kubernetes.add_pod_annotation(task, "sidecar.istio.io/inject", "false")
    kubernetes.use_secret_as_env(task, secret, {key: key for key in CREDENTIALS}, optional=True)
    if claim is not None:
        kubernetes.mount_pvc(task, claim, MOUNT)
    return task


def pipeline(data, *, cpu=CPU, memory=MEMORY, side_by_side=SIDE_BY_SIDE):
    """Return the pipeline; `data` is where the data are, and "/data" a claim that every step mounts."""

    def ctmahout(
        source: str = "",
        scans: str = f"{data}/scans",
        work: str = f"{data}/work",
        denoised: str = f"{data}/denoised",
        method: str = "patches",
        effort: str = "normal",
        strength: list = ["auto"],  # noqa: B006
        seed: int = 0,
        timestamp: str = "",
        engine: str = "py4j",
        master: str = "",
        deploy_mode: str = "client",
        conf: list = [],  # noqa: B006
        image: str = "REGISTRY/ctmahout:0.1.0",
        secret: str = "ctmahout",
        claim: str = "ct",
    ):
        mounted = claim if data == MOUNT else None
        placed = partial(in_cluster, image=image, secret=secret, claim=mounted, cpu=cpu, memory=memory)
        spark = {"engine": engine, "master": master, "deploy_mode": deploy_mode, "image": image, "conf": conf}

        def factor(made, matrix, factors):
            digest = made.outputs["digest"]
            return placed(dssvd(matrix=matrix, factors=factors, matrix_digest=digest, seed=seed, **spark))

        # What lies in a folder or bucket may change under its name and change back: only what takes a digest is cached,
        # and its output has a place that nothing else is written to.
        fetched = placed(fetch(source=source, scans=scans)).set_caching_options(False)
        found = placed(find(scans=scans)).after(fetched).set_caching_options(False)
        with dsl.ParallelFor(found.outputs["series"], parallelism=side_by_side) as series:
            matrix = f"{work}/{series}/{method}-{effort}-{seed}"
            taken = {"scans": scans, "series": series}
            written = {"denoised": f"{denoised}/{series}", "strength": strength, "timestamp": timestamp}

            def rebuild(factored, matrix, factors):
                placed(reconstruct(**taken, matrix=matrix, factors=factors, **written)).after(
                    factored
                ).set_caching_options(False)

            prepared = placed(prepare(**taken, matrix=matrix, method=method, effort=effort, seed=seed))
            prepared.set_caching_options(False)
            place = f"{work}/{series}/{prepared.outputs['digest']}-{engine}"
            factors, refined, refined_factors = f"{place}/factors", f"{place}/refined", f"{place}/refined-factors"
            factored = factor(prepared, matrix, factors)
            with dsl.If(prepared.outputs["refines"] == True):  # noqa: E712 - kfp makes a condition of it
                digest = factored.outputs["digest"]
                again = placed(refine(**taken, matrix=matrix, factors=factors, factors_digest=digest, refined=refined))
                rebuild(factor(again, refined, refined_factors), refined, refined_factors)
            with dsl.Else():
                rebuild(factored, matrix, factors)

    whole = inspect.signature(ctmahout)
    asked = [p for p in whole.parameters.values() if data == MOUNT or p.name != "claim"]
    ctmahout.__signature__ = whole.replace(parameters=asked)
    ctmahout.__doc__ = "CT series in, denoised CT series out. See docs/kubeflow.md for the parameters."
    return dsl.pipeline(ctmahout, name="ctmahout")


def write(folder, namespace, **resources):
    """Write the pipelines and the steps; with a namespace the pipelines as manifests for ``kubectl apply``."""
    compile_ = compiler.Compiler().compile
    for name, data in (("volume", MOUNT), ("s3", "s3://BUCKET")):
        options = {}
        if namespace is not None:
            manifest = KubernetesManifestOptions(
                pipeline_name=f"ctmahout-{name}", namespace=namespace, include_pipeline_manifest=True
            )
            options = {"kubernetes_manifest_format": True, "kubernetes_manifest_options": manifest}
        compile_(pipeline(data, **resources), str(folder / f"{name}.yaml"), **options)
    (folder / "components").mkdir(exist_ok=True)
    for step in (fetch, find, prepare, dssvd, refine, reconstruct):
        compile_(step, str(folder / "components" / f"{step.name}.yaml"))


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path, nargs="?", default=Path(__file__).parent)
    parser.add_argument("--cpu", default=CPU, help="of each step")
    parser.add_argument("--memory", default=MEMORY, help="of each step")
    parser.add_argument("--side-by-side", type=int, default=SIDE_BY_SIDE, help="series at a time")
    parser.add_argument("--namespace", help="write manifests of Kubeflow 2.15 and later, for kubectl")
    given = parser.parse_args()
    write(given.folder, given.namespace, cpu=given.cpu, memory=given.memory, side_by_side=given.side_by_side)
