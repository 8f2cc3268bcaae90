"""`own_step.py` in a pipeline of Kubeflow, between `dssvd` and `reconstruct`.

Usage: PYTHONPATH=deploy/kubeflow python examples/own_step_kubeflow.py OWN.yaml; then upload OWN.yaml.
"""

import sys
from pathlib import Path

from kfp import compiler, dsl
from pipeline import dssvd, in_cluster, prepare, reconstruct

PROGRAM = Path(__file__).with_name("own_step.py").read_text(encoding="utf-8")


# What is no path, the digest, is there for Kubeflow's cache: other factors are another input.
@dsl.container_component
def own_step(factors: str, factors_digest: str, chosen: str):
    return dsl.ContainerSpec(image="ctmahout", command=["python3", "-c", PROGRAM], args=[factors, chosen])


@dsl.pipeline(name="ctmahout-own-step")
def pipeline(
    scans: str,
    work: str,
    denoised: str,
    image: str,
    engine: str = "py4j",
    claim: str = "ct",
    secret: str = "ctmahout",
):
    def placed(task):
        return in_cluster(task, image=image, claim=claim, secret=secret)

    matrix, factors, chosen = f"{work}/matrix", f"{work}/factors", f"{work}/chosen"
    taken = {"scans": scans, "series": "rule:most-slices", "matrix": matrix}
    made = placed(prepare(**taken, method="slices")).set_caching_options(False)
    found = placed(dssvd(matrix=matrix, factors=factors, matrix_digest=made.outputs["digest"], engine=engine))
    digest = found.outputs["digest"]
    own = placed(own_step(factors=factors, factors_digest=digest, chosen=chosen))
    last = placed(reconstruct(**taken, factors=chosen, denoised=denoised))
    last.after(own).set_caching_options(False)


if __name__ == "__main__":
    compiler.Compiler().compile(pipeline, sys.argv[1])
