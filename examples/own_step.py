"""A step of your own between `dssvd` and `reconstruct`: drop components that change from slice to slice like noise.

Usage: own_step.py FACTORS NEW_FACTORS. Between the steps there is nothing but directories, so this is all it takes.
"""

import sys

import numpy as np

from ctmahout.exchange import Svd, read_factors, write_factors


def main(source: str, target: str) -> None:
    factors = read_factors(source)
    # How often a component changes its sign from one slice to the next: noise does so half of the time.
    changes = np.mean(np.diff(np.sign(factors.v), axis=0) != 0, axis=0)
    keep = changes < 0.5
    print(f"{int(keep.sum())} of {factors.rank} components kept")
    kept = Svd(
        group=factors.group,
        s=factors.s[keep],
        v=factors.v[:, keep],
        u=None,
        rows=factors.rows,
        columns=factors.columns,
        squared_norm=factors.squared_norm,
        warnings=factors.warnings,
    )
    write_factors(
        target,
        [kept],
        dtype=factors.manifest.dtype,
        request=factors.manifest.request,
        input_sha256=factors.manifest.input_sha256,
        engine="own step",
        timings_s={},
    )


if __name__ == "__main__":
    main(*sys.argv[1:])
