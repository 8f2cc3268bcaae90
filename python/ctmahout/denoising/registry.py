"""The methods, by name, and their runs: `start` one on a volume, or `load` one from its matrix directory.

=========  =========================================================================================================
method     what the columns are
=========  =========================================================================================================
patches    voxels of a small patch, one matrix for each group of patches that look alike: removes noise
slices     slices of the series, as in the pipeline of 2020: for repeated acquisitions, and as a reference
=========  =========================================================================================================
"""

from __future__ import annotations

from pathlib import Path

from ..errors import ExchangeError, InputError
from ..exchange import Manifest, read_manifest
from ..options import Config
from ..volume import Volume
from .method import Progress, Run
from .patches.run import PatchesRun
from .slices.run import SlicesRun

__all__ = ["load", "start", "strengths_of", "strengths_of_matrix"]

_RUNS: dict[str, type[PatchesRun] | type[SlicesRun]] = {"patches": PatchesRun, "slices": SlicesRun}


def start(volume: Volume, config: Config, progress: Progress | None) -> Run:
    """Start the method of the options on a volume.

    Raises
    ------
    InputError
        CTM_INPUT_TOO_SMALL.
    """
    return _RUNS[config.method].start(volume, config, progress)


def load(volume: Volume, path: Path, config: Config) -> Run:
    """Return the run that wrote a matrix directory.

    Raises
    ------
    InputError
        CTM_SERIES_MISMATCH: the matrix is that of another volume.
    ExchangeError
        CTM_EXCHANGE_MANIFEST: its layout lacks what the method needs (see docs/own-step.md). Those of `read_manifest`.
    """
    manifest = read_manifest(path, "matrix")
    run = _run_that_wrote(manifest, path)
    if manifest.layout.get("series_sha256") != volume.fingerprint():
        raise InputError("CTM_SERIES_MISMATCH", path="What was given")
    return run.load(volume, path, manifest, config)


def strengths_of(method: str) -> tuple[str, ...]:
    """Return the kinds of strength of a method, one of `ctmahout.options.METHODS`."""
    return _RUNS[method].strengths


def strengths_of_matrix(manifest: Manifest, path: object) -> tuple[str, ...]:
    """Return the kinds of strength of the method that wrote a matrix; `path` is that of errors, which are `load`'s."""
    return _run_that_wrote(manifest, path).strengths


def _run_that_wrote(manifest: Manifest, path: object) -> type[PatchesRun] | type[SlicesRun]:
    """Return the class that wrote a matrix; other writers' matrices are read as those of ``slices``."""
    run = _RUNS.get(str(manifest.layout.get("method")), SlicesRun)
    if missing := [name for name in run.layout_keys(manifest.layout) if name not in manifest.layout]:
        problem = f"layout has no {', '.join(missing)}, which a matrix of method {run.method} has"
        raise ExchangeError("CTM_EXCHANGE_MANIFEST", path=path, problem=problem)
    return run
