"""From denoised volumes to what the user gets: derived series, a report and the run manifest."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np

from .._version import __version__
from ..denoising.noise import MeasuredPart, NoiseModel
from ..denoising.patches import Fit, Model, noise_of
from ..denoising.registry import Result
from ..dicom import Derivation, Written, check_derivable, write_series
from ..engines.workers import Threads
from ..errors import OutputError
from ..exchange import Factors, Manifest
from ..files.arrays import ArraySource, WrittenArray, write_array
from ..options import Config
from ..quality import Apply, ShareTaken
from ..report import doubts, report_numbers, share_taken, with_spread, write_report
from ..volume import Volume
from .outcome import RUN, Denoised, DenoisedSeries, Progress, Timer, run_manifest, timestamp

__all__ = ["Provenance", "check_source", "check_writing", "deliver"]


@dataclass(frozen=True)
class Provenance:
    """Where a result comes from.

    Attributes
    ----------
    method : str
        "patches normal".
    maths : str
        What did the decomposition, for people.
    key : tuple of str
        What the numbers depend on besides the series and the strength: goes into the identifiers.
    manifest : dict
        What the run manifest says of it.
    sha256 : str
        The volume's fingerprint.
    warnings : tuple of str
    """

    method: str
    maths: str
    key: tuple[str, ...]
    manifest: dict[str, Any]
    sha256: str
    warnings: tuple[str, ...] = ()

    @classmethod
    def of_factors(cls, matrix: Manifest, found: Factors) -> Provenance:
        """Return that of a matrix and its factors."""
        request, writer, layout = found.manifest.request, found.manifest.writer, matrix.layout
        names = ("seed",) if found.algorithm == "exact" else ("p", "q", "seed")
        parameters = " ".join([f"k={request['k'] or found.columns}", *(f"{name}={request[name]}" for name in names)])
        mahout = "mahout" in writer
        maths = (
            f"Apache Mahout {writer['mahout']} {found.algorithm} on Apache Spark"
            if mahout
            else f"numpy reference of {found.algorithm}"
        )
        method = " ".join(str(layout[key]) for key in ("method", "effort") if key in layout)
        # Of the engines only the family counts: every door to Mahout gives the same answer.
        key = (method, str(layout.get("seed", "")), found.algorithm, parameters, "mahout" if mahout else "numpy")
        manifest = found.manifest.to_dict()
        said = ("groups", "centring", "request", "writer", "timings_s", "warnings")
        return cls(
            method,
            f"{maths}, {parameters}",
            key,
            {"factors": {k: manifest[k] for k in said if k in manifest} | {"algorithm": found.algorithm}},
            layout["series_sha256"],
            # That a group of patches has few directions helps nobody; the manifest has it.
            () if layout.get("method") == "patches" else found.warnings,
        )

    @classmethod
    def of_model(cls, manifest: Manifest, model: Model, volume: Volume, fit: Fit | None) -> Provenance:
        """Return that of a model directory."""
        about = {"sha256": manifest.sha256, "learnt_on": model.learnt_on, "writer": manifest.writer}
        if fit is not None:
            about["log_likelihood"] = {"model": round(fit.model, 3), "own": round(fit.own, 3)}
        return cls(
            "patches model",
            f"bases of a model learnt from {len(model.learnt_on)} series",
            ("patches model", manifest.sha256),
            {"model": about},
            volume.fingerprint(),
        )


def check_writing(config: Config) -> None:
    """Refuse options of writing that cannot be, before any work.

    Raises
    ------
    ConfigError
        CTM_CONFIG_VALUE.
    """
    timestamp(config)
    for shown in (_DENOISED, *((_RESIDUAL, _NOISE) if config.maps else ())):
        _derivation(shown, config, "", "")


def check_source(volume: Volume, output: Path, config: Config) -> None:
    """Refuse a series that cannot be written as the options say, or for which there is no room, before the work.

    Raises
    ------
    ConfigError
        CTM_CONFIG_VALUE: slices too small for the compression.
    InputError
        CTM_ATTRIBUTE_INVALID: output de-identified, and a source says that texts are in its pixels.
    OutputError
        CTM_OUTPUT_UNWRITABLE: the disk has less room than the series will take.
    """
    if isinstance(volume.source, ArraySource):
        return
    check_derivable(volume, compression=config.compression, deidentified=config.deidentify)
    if config.compression == "none":
        series = len(config.strength) * (2 if config.maps else 1) + config.maps
        needed, free = series * volume.hu.size * 2, shutil.disk_usage(output).free
        if needed > free:
            problem = f"the series need {needed >> 20} MiB, and {free >> 20} MiB are free"
            raise OutputError("CTM_OUTPUT_UNWRITABLE", path=output.parent, problem=problem)


def deliver(
    volume: Volume,
    rebuilding: Iterator[Result],
    origin: Provenance,
    shown: Callable[[Mapping[str, Mapping[str, Any]]], dict[str, Any]],
    output: Path,
    config: Config,
    timer: Timer,
) -> Denoised:
    """Write a series for each result, the report and the run manifest.

    Parameters
    ----------
    volume : Volume
        The source.
    rebuilding : iterator of Rebuilt
        One for each strength; taken one by one.
    origin : Origin
    shown : callable
        Gets the facts of each strength and returns what the report shows of the decomposition.
    output : Path
        A folder that is being filled.
    config : Config
    timer : Timer
    """
    when = timestamp(config)
    after: dict[str, Volume] = {}
    taken: dict[str, ShareTaken] = {}
    apply: dict[str, Apply] = {}
    series: list[DenoisedSeries] = []
    warnings = [*volume.warnings, *origin.warnings]
    write = _Writer(origin, config, when, timer.progress)
    while True:
        with timer.phase("reconstruct"):
            rebuilt = next(rebuilding, None)
        if rebuilt is None:
            break
        text, folder = rebuilt.strength.text, output / rebuilt.strength.label
        with timer.phase("measure"):
            kept = rebuilt.kept
            if removed := rebuilt.facts.get("noise_removed"):
                taken[text] = share_taken(volume, rebuilt.volume)
                kept = with_spread(kept, removed, taken[text].low, taken[text].high)
        with timer.phase("write"):
            written = write(_DENOISED, rebuilt.volume, folder, text, f"strength {text}: {kept}")
            if config.maps:
                residual = volume.with_hu(volume.hu - rebuilt.volume.hu)
                write(_RESIDUAL, residual, output / f"{folder.name}-residual", text, f"strength {text}")
        after[text] = rebuilt.volume
        if rebuilt.apply is not None:
            apply[text] = rebuilt.apply
        series.append(DenoisedSeries(text, folder, kept, rebuilt.facts, written.clipped))
        warnings += [f"{text}: {w}" for w in (*rebuilt.warnings, *written.warnings)]
    if config.maps:
        with timer.phase("write"):
            write(_NOISE, _noise_map(volume, config), output / "noise", "", "measured in the series itself")
    with timer.phase("measure"):
        numbers = report_numbers(volume, after, apply=apply, taken=taken)
    warnings += doubts(numbers)
    run = run_manifest(
        config,
        volume,
        origin.manifest,
        series,
        numbers=numbers,
        warnings=warnings,
        phases_s=timer.seconds(),
        when=when,
        sha256=origin.sha256,
    )
    report = None
    if config.report:
        with timer.phase("report"):
            report = write_report(
                output / "report.html",
                before=volume,
                after=after,
                run=run,
                numbers=numbers,
                **shown({s.strength: s.facts for s in series}),
                warnings=warnings,
            )
    (output / RUN).write_text(json.dumps(run, indent=1, allow_nan=False) + "\n", encoding="utf-8")
    return Denoised(output, tuple(series), report, run)


@dataclass(frozen=True)
class _Shown:
    """What a series shows.

    Attributes
    ----------
    name : str
        Value 4 of ImageType.
    sentence : str
        How its description begins.
    suffix : str
        Added to the suffix of SeriesDescription.
    window : tuple of float, HU, or None
        To show it with; None: the source's.
    """

    name: str
    sentence: str
    suffix: str = ""
    window: tuple[float, float] | None = None


_DENOISED = _Shown("DENOISED", "Denoised")
_RESIDUAL = _Shown("RESIDUAL", "Residual removed", " RESIDUAL", (0.0, 200.0))
_NOISE = _Shown("NOISE", "Noise SD in HU, estimated", " NOISE SD", (50.0, 100.0))


@dataclass(frozen=True)
class _Writer:
    """Writes series of one run."""

    origin: Provenance
    config: Config
    when: datetime
    progress: Progress | None

    def __call__(self, shown: _Shown, volume: Volume, output: Path, strength: str, said: str) -> Written | WrittenArray:
        """Write a volume; pixels depend on the strength, `said` tells people of it."""
        if isinstance(volume.source, ArraySource):
            return write_array(volume, output / volume.source.path.name)
        origin, config = self.origin, self.config
        description = f"{shown.sentence} by ctmahout {__version__}: method {origin.method}, {said}; {origin.maths}."
        return write_series(
            volume,
            output,
            derivation=_derivation(shown, config, description, json.dumps([__version__, strength, *origin.key])),
            compression=config.compression,
            timestamp=self.when,
            progress=self.progress,
            workers=config.workers,
        )


def _derivation(shown: _Shown, config: Config, description: str, key: str) -> Derivation:
    return Derivation(
        description=description,
        key=key,
        series_suffix=config.series_suffix + shown.suffix,
        image_type_value2=config.image_type,
        series_number_offset=config.series_number_offset,
        software_version=__version__,
        private=config.private,
        deidentified=config.deidentify,
        shows=shown.name,
        window=shown.window,
    )


def _noise_map(volume: Volume, config: Config) -> Volume:
    """Return the SD of the noise of every voxel, as method patches measures it; 0 where there is none."""
    part, nothing = MeasuredPart.of(volume), np.zeros_like(volume.hu)
    noise = noise_of(part.hu, volume.geometry, Threads.of(config.workers))
    return volume.with_hu(
        part.expand(noise.sigma_hu(0, *part.hu.shape), nothing) if isinstance(noise, NoiseModel) else nothing
    )
