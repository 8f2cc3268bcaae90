"""Engine ``numpy``: `numpy_svd` on the same requests and directories as Mahout, without Java."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import ConfigError
from ..exchange import Manifest, Svd, is_exchange, read_manifest, read_matrices, write_factors
from ..exchange.manifest import select_groups
from ..storage import local_copy, parse_location, refuse_overlap, upload_on_success
from ..storage.atomic import refuse_existing
from .base import Engine
from .choice import choose
from .numpy_svd import decompose
from .request import Request
from .workers import single_threaded_blas

__all__ = ["NumpyEngine"]


class NumpyEngine(Engine):
    """Runs in this process, with one large matrix in memory at a time; `partitions` has no effect."""

    name = "numpy"

    def run(self, request: Request) -> dict[str, Any]:
        """See `ctmahout.engines.Engine.run`."""
        source, target = parse_location(request.input), parse_location(request.output)
        refuse_overlap(target, source)
        with (
            upload_on_success(target, overwrite=request.overwrite, is_replaceable=is_exchange) as output,
            local_copy(source) as matrix,
        ):
            return self._run(request, matrix, output).to_dict()

    @single_threaded_blas  # once: the limit takes milliseconds, and there may be hundreds of matrices
    def _run(self, request: Request, source: Path, target: Path) -> Manifest:
        manifest = read_manifest(source, "matrix")
        groups = sorted(request.groups or [g.group for g in manifest.groups])
        for g in select_groups(source, manifest, groups):
            if request.k is not None and request.k > g.columns:
                raise ConfigError("CTM_RANK_RANGE", given=request.k, group=g.group, rows=g.rows, columns=g.columns)
        refuse_existing(target, overwrite=request.overwrite, is_replaceable=is_exchange)
        timings = {"read": 0.0, "dssvd": 0.0}
        choice = choose(manifest.groups[0].columns, request.k, request.p, request.q)
        return write_factors(
            target,
            _decompose_all(source, groups, request, timings),
            dtype=manifest.dtype,
            request=request.parameters(),
            input_sha256=manifest.sha256,
            engine=self.name,
            timings_s=timings,
            chosen={"algorithm": choice.algorithm, "why": choice.why} if request.algorithm == "auto" else None,
            overwrite=request.overwrite,
        )


def _decompose_all(source: Path, groups: list[int], request: Request, timings: dict[str, float]) -> Iterator[Svd]:
    start = time.perf_counter()
    for group, A in read_matrices(source, groups):
        read = time.perf_counter()
        parameters = (request.k, request.p, request.q, request.seed)
        result = decompose(request.algorithm, A, *parameters, want_u="u" in request.want, group=group)
        timings["read"] += read - start
        timings["dssvd"] += time.perf_counter() - read
        yield Svd(
            group=group,
            s=result.s,
            v=np.ascontiguousarray(result.v),
            u=result.u,
            rows=A.shape[0],
            columns=A.shape[1],
            squared_norm=result.squared_norm,
            warnings=result.warnings,
        )
        start = time.perf_counter()
