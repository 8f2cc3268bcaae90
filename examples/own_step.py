"""A step of your own between `dssvd` and `reconstruct`: drop components that change from slice to slice like noise.

Usage: own_step.py FACTORS NEW_FACTORS. Between the steps there is nothing but directories, so this is all it takes.
"""

import sys

import numpy as np

from ctmahout.exchange import Factors, Svd, is_exchange, read_factors, write_factors
from ctmahout.storage import local_copy, parse_location, upload_on_success


def main(source: str, target: str) -> None:
    # Either may be a path or a URI; and a second try may find what the first one wrote.
    with (
        local_copy(parse_location(source)) as here,
        upload_on_success(parse_location(target), overwrite=True, is_replaceable=is_exchange) as there,
    ):
        factors = read_factors(here)
        write_factors(
            there,
            [smooth(factors)],
            dtype=factors.manifest.dtype,
            request=factors.manifest.request,
            input_sha256=factors.manifest.input_sha256,
            engine="own step",
            timings_s={},
            overwrite=True,
        )


def smooth(factors: Factors) -> Svd:
    # How often a component changes its sign from one slice to the next: noise does so half of the time.
    changes = np.mean(np.diff(np.sign(factors.v), axis=0) != 0, axis=0)
    keep = changes < 0.5
    print(f"{int(keep.sum())} of {factors.rank} components kept")
    return Svd(
        group=factors.group,
        s=factors.s[keep],
        v=factors.v[:, keep],
        u=None,
        rows=factors.rows,
        columns=factors.columns,
        squared_norm=factors.squared_norm,
        warnings=factors.warnings,
    )


if __name__ == "__main__":
    main(*sys.argv[1:])
