"""What a run gives back and writes down: its result, its manifest, its times."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Any

from .._version import __version__
from ..denoising.method import Progress
from ..options import Config, option_error
from ..storage import Location
from ..volume import Volume

__all__ = ["RUN", "Denoised", "DenoisedSeries", "Progress", "Timer", "is_run", "run_manifest", "timestamp"]

RUN = "run.json"
"""The run manifest, beside the report."""


@dataclass(frozen=True)
class DenoisedSeries:
    """One series written.

    Attributes
    ----------
    strength : str
        As asked for.
    path : Path or Uri
        Folder of the DICOM files.
    kept : str
        What was kept of the source, for people; of a share of the noise, with its spread by region.
    facts : dict
        The same for programs. Method patches: ``noise_removed``, the share of the noise's SD that is gone from flat
        soft tissue, and ``share``, that of the full result in the blend. Method slices: ``rank``, ``energy``,
        ``weights``.
    clipped : int
        Voxels that did not fit the stored range.
    """

    strength: str
    path: Location
    kept: str
    facts: dict[str, Any] = field(repr=False)
    clipped: int


@dataclass(frozen=True)
class Denoised:
    """What `denoise` and `reconstruct` give back.

    Attributes
    ----------
    path : Path or Uri
        The output folder.
    series : tuple of DenoisedSeries
        One for each strength.
    report : Path or Uri or None
        The HTML report.
    run : dict
        The run manifest, as in ``run.json``.
    """

    path: Location
    series: tuple[DenoisedSeries, ...]
    report: Location | None
    run: dict[str, Any] = field(repr=False)

    def moved(self, path: Location) -> Denoised:
        """Return the same result, its folder moved to `path`."""
        series = tuple(replace(s, path=path / s.path.name) for s in self.series)
        return Denoised(path, series, path / self.report.name if self.report else None, self.run)


def run_manifest(
    config: Config,
    volume: Volume,
    origin: Mapping[str, Any],
    series: Sequence[DenoisedSeries],
    *,
    numbers: Mapping[str, Any],
    warnings: Sequence[str],
    phases_s: Mapping[str, float],
    when: datetime,
    sha256: str,
) -> dict[str, Any]:
    """Return the run manifest, with nothing in it that names a patient or a study.

    `origin` is what made the result, factors or a model; `sha256` is the volume's fingerprint; the other parts are what
    the run was given and found.
    """
    hidden = {"series", "work", "jar", "model", "models", "conf"}  # may hold a UID, a path or a credential
    return {
        "kind": "run",
        "ctmahout": __version__,
        "timestamp": when.isoformat(),
        "config": {key: value for key, value in config.to_dict().items() if key not in hidden},
        "source": {
            "sha256": sha256,
            "shape": list(volume.shape),
            "spacing_mm": [volume.geometry.spacing_mm, *volume.geometry.pixel_spacing_mm],
        },
        "series": [
            {
                "strength": s.strength,
                "folder": s.path.name,
                "kept": s.kept,
                **s.facts,
                "clipped_voxels": s.clipped,
            }
            for s in series
        ],
        **origin,
        "numbers": dict(numbers),
        "phases_s": dict(phases_s),
        "python_peak_mib": _peak_mib(),
        "warnings": list(warnings),
    }


def _peak_mib() -> int | None:
    """Return the largest memory this process has had, if known; Linux counts it in KiB, macOS in bytes."""
    try:
        import resource
    except ImportError:  # Windows
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak // (1024 if sys.platform == "linux" else 1024 * 1024)


def timestamp(config: Config) -> datetime:
    """Return the one time of a run: the one given, or now."""
    if config.timestamp is None:
        return datetime.now().astimezone().replace(microsecond=0)
    try:
        when = datetime.fromisoformat(config.timestamp)
    except ValueError:
        raise option_error("timestamp", config.timestamp, "a time such as 2026-01-31T12:00:00") from None
    return when if when.tzinfo else when.astimezone()


def is_run(path: Path) -> bool:
    """Tell whether a folder is the output of an earlier run."""
    try:
        kind = json.loads((path / RUN).read_text(encoding="utf-8"))["kind"]
    except (OSError, ValueError, KeyError, TypeError):
        return False
    return bool(kind == "run")


class Timer:
    """Wall seconds by phase; tells the caller's progress where a phase begins and ends."""

    def __init__(self, progress: Progress | None) -> None:
        self.progress = progress
        self._seconds: dict[str, float] = {}

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        if self.progress:
            self.progress(name, 0, 0)
        start = time.perf_counter()
        yield
        self._seconds[name] = self._seconds.get(name, 0.0) + time.perf_counter() - start
        if self.progress:
            self.progress(name, 1, 1)

    def seconds(self) -> dict[str, float]:
        return {name: round(value, 3) for name, value in self._seconds.items()}
