"""What an earlier run has finished."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

from ..._version import __version__
from ...exchange import is_manifest, read_manifest
from ...options import Config
from ...storage import local_copy, parse_location
from ..outcome import RUN, is_run
from ..results import result_rows
from .records import StudySeries

__all__ = ["finished", "kept", "model_digest"]

# Options that leave the values as they are: a run with others of these need not be done again.
_METHOD_OPTIONS = frozenset(
    {
        "overwrite",
        "workers",
        "master",
        "deploy_mode",
        "image",
        "partitions",
        "driver_memory",
        "spread",
        "timestamp",
        "unpack_gib",
    }
)


def kept(so_far: StudySeries, known: Path, config: Config, model: str | None) -> StudySeries:
    """Return the series as kept, if there is a run of it, by this version with the same options."""
    folder = known / so_far.folder
    if so_far.outcome or config.overwrite or not is_run(folder):
        return so_far
    run = json.loads((folder / RUN).read_text(encoding="utf-8"))
    before = run.get("config")
    if not isinstance(before, dict) or run.get("ctmahout") != __version__:
        return so_far
    options = config.to_dict()
    same = all(options.get(key) == value for key, value in before.items() if key not in _METHOD_OPTIONS)
    return finished(so_far, "kept", run) if same and _same_model(run, config, model) else so_far


def finished(so_far: StudySeries, outcome: str, run: dict[str, Any]) -> StudySeries:
    slices = so_far.slices or run["source"]["shape"][0]
    return replace(so_far, outcome=outcome, slices=slices, measured=tuple(result_rows(run)))


def _same_model(run: dict[str, Any], config: Config, model: str | None) -> bool:
    """Tell whether a run used the model that is asked for; its path may be another's now.

    A run that chose from a store counts for any state of it: stores grow, and what is done would be done again.
    """
    if config.models or "models" in run:
        return config.models is not None and "models" in run
    about = run.get("model")
    used = about.get("sha256") if isinstance(about, dict) else None
    if config.model is None or used is None:
        return bool(used is None and (config.model is None or config.refit))
    return bool(used == model)


def model_digest(config: Config) -> str | None:
    """Return the digest of the model that is asked for, None if there is none."""
    if config.model is None:
        return None
    with local_copy(parse_location(config.model), is_manifest) as folder:
        return read_manifest(folder, "model").sha256
