"""From denoised volumes to what the user gets: derived series, a report and the run manifest."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np

from .._version import __version__
from ..denoising.method import Result, Run
from ..denoising.noise import MeasuredPart, NoiseModel, Unmeasurable
from ..denoising.patches import ModelRun, measure_noise
from ..dicom import Derivation, WrittenSeries, check_derivable, write_series
from ..dicom.documents import check_extra, write_documents
from ..engines.workers import Threads
from ..errors import OutputError
from ..exchange import Factors, Manifest
from ..files.arrays import ArraySource, WrittenArray, write_array
from ..options import Config, option_error
from ..quality import Apply, NoiseRemoved
from ..report import Report, limit_warnings, measurements, noise_removed_by_region, report_numbers, with_range
from ..volume import Volume
from .outcome import RUN, Denoised, DenoisedSeries, Progress, Timer, run_manifest, timestamp

__all__ = ["Finished", "Provenance", "check_source", "check_writing", "write_outputs"]


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
    def of_factors(cls, run: Run, factors: Factors) -> Provenance:
        """Return the provenance of a run and its factors, of any of its matrices."""
        request, writer = factors.manifest.request, factors.manifest.writer
        names = ("seed",) if factors.algorithm == "exact" else ("p", "q", "seed")
        parameters = " ".join([f"k={request['k'] or factors.columns}", *(f"{name}={request[name]}" for name in names)])
        mahout = "mahout" in writer
        maths = (
            f"Apache Mahout {writer['mahout']} {factors.algorithm} on Apache Spark"
            if mahout
            else f"numpy reference of {factors.algorithm}"
        )
        seed = "" if run.seed is None else str(run.seed)
        # Of the engines only the family counts: all that run Mahout give the same answer.
        key = (run.label, seed, factors.algorithm, parameters, "mahout" if mahout else "numpy")
        manifest = factors.manifest.to_dict()
        entries = ("groups", "centring", "request", "writer", "timings_s", "warnings")
        return cls(
            run.label,
            f"{maths}, {parameters}",
            key,
            {"factors": {k: manifest[k] for k in entries if k in manifest} | {"algorithm": factors.algorithm}},
            run.series_sha256,
            # That a group of patches has few directions helps nobody; the manifest has it.
            factors.warnings if run.method == "slices" else (),
        )

    @classmethod
    def of_model(cls, manifest: Manifest, run: ModelRun) -> Provenance:
        """Return the provenance of a model on a series; `manifest` is the model directory's."""
        learnt_on = run.model.learnt_on
        about = {"sha256": manifest.sha256, "learnt_on": learnt_on, "writer": manifest.writer}
        if run.fit is not None:
            about["log_likelihood"] = {"model": round(run.fit.model, 3), "own": round(run.fit.baseline, 3)}
        return cls(
            "patches model",
            f"bases of a model learnt from {len(learnt_on)} series",
            ("patches model", manifest.sha256),
            {"model": about},
            run.volume.fingerprint(),
        )

    def with_choice(self, about: Mapping[str, Any]) -> Provenance:
        """Return it with what is known of the choice among the models of a store, if there was one."""
        if not about:
            return self
        skipped = tuple(
            f"Model {one['name'][:12]} of the store was skipped: {one['code']}." for one in about["skipped"]
        )
        manifest = self.manifest | {"models": dict(about)}
        return replace(self, manifest=manifest, warnings=(*self.warnings, *skipped))


@dataclass(frozen=True, eq=False)
class Finished:
    """A run after its last decomposition.

    Attributes
    ----------
    results : iterator of Result
        One for each strength; made one by one.
    provenance : Provenance
    report_data : callable
        Gets the facts of each strength and returns what the report shows of the decomposition.
    noise : NoiseModel, Unmeasurable or None
        As the method measured it; None where it did not.
    """

    results: Iterator[Result]
    provenance: Provenance
    report_data: Callable[[Mapping[str, Mapping[str, Any]]], dict[str, Any]]
    noise: NoiseModel | Unmeasurable | None


def check_writing(config: Config) -> None:
    """Refuse options of writing that cannot be, before any work.

    Raises
    ------
    ConfigError
        CTM_CONFIG_VALUE. CTM_EXTRA_MISSING: the report as DICOM needs a package that is not installed.
    """
    timestamp(config)
    if config.dicom_report:
        check_extra()
    for kind in (_DENOISED, *((_RESIDUAL, _NOISE) if config.maps else ())):
        _derivation(kind, config, "", "")


def check_source(volume: Volume, output: Path, config: Config) -> None:
    """Refuse a series that cannot be written as the options say, or for which there is no room, before the work.

    Raises
    ------
    ConfigError
        CTM_CONFIG_VALUE: slices too small for the compression; a report as DICOM of an array.
    InputError
        CTM_ATTRIBUTE_INVALID: output de-identified, and a source says that texts are in its pixels.
    OutputError
        CTM_OUTPUT_UNWRITABLE: the disk has less room than the series will take.
    """
    if isinstance(volume.source, ArraySource):
        if config.dicom_report:
            raise option_error("dicom_report", True, "false, since the source is an array and belongs to no study")
        return
    check_derivable(volume, compression=config.compression, deidentified=config.deidentify)
    if config.compression == "none":
        series = len(config.strength) * (2 if config.maps else 1) + config.maps
        needed, free = series * volume.hu.size * 2, shutil.disk_usage(output).free
        if needed > free:
            problem = f"the series need {needed >> 20} MiB, and {free >> 20} MiB are free"
            raise OutputError("CTM_OUTPUT_UNWRITABLE", path=output.parent, problem=problem)


def write_outputs(volume: Volume, finished: Finished, output: Path, config: Config, timer: Timer) -> Denoised:
    """Write a series for each result, the report and the run manifest.

    Parameters
    ----------
    volume : Volume
        The source.
    finished : Finished
    output : Path
        A folder that is being filled.
    config : Config
    timer : Timer
    """
    when = timestamp(config)
    after: dict[str, Volume] = {}
    by_region: dict[str, NoiseRemoved] = {}
    apply: dict[str, Apply] = {}
    series: list[DenoisedSeries] = []
    warnings = [*volume.warnings, *finished.provenance.warnings]
    write = _Writer(finished.provenance, config, when, timer.progress)
    while True:
        with timer.phase("reconstruct"):
            result = next(finished.results, None)
        if result is None:
            break
        text, folder = result.strength.text, output / result.strength.label
        with timer.phase("measure"):
            kept = result.kept
            if removed := result.facts.get("noise_removed"):
                by_region[text] = noise_removed_by_region(volume, result.volume)
                kept = with_range(kept, removed, by_region[text].low, by_region[text].high)
        with timer.phase("write"):
            written = write(_DENOISED, result.volume, folder, text, f"strength {text}: {kept}")
            if config.maps:
                residual = volume.with_hu(volume.hu - result.volume.hu)
                write(_RESIDUAL, residual, output / f"{folder.name}-residual", text, f"strength {text}")
        after[text] = result.volume
        if result.apply is not None:
            apply[text] = result.apply
        series.append(DenoisedSeries(text, folder, kept, result.facts, written.clipped))
        warnings += [f"{text}: {w}" for w in (*result.warnings, *written.warnings)]
    if config.maps:
        with timer.phase("write"):
            write(_NOISE, _noise_map(volume, finished, config), output / "noise", "", "measured in the series itself")
    with timer.phase("measure"):
        numbers = report_numbers(volume, after, apply=apply, by_region=by_region)
    warnings += limit_warnings(numbers)
    run = run_manifest(
        config,
        volume,
        finished.provenance.manifest,
        series,
        numbers=numbers,
        warnings=warnings,
        phases_s=timer.seconds(),
        when=when,
        sha256=finished.provenance.sha256,
    )
    path = output / "report.html" if config.report else None
    if config.report or config.dicom_report:
        with timer.phase("report"):
            report = Report.of(
                before=volume,
                after=after,
                run=run,
                numbers=numbers,
                **finished.report_data({s.strength: s.facts for s in series}),
                warnings=warnings,
            )
            if path:
                path.write_text(report.html(), encoding="utf-8")
            if config.dicom_report:
                write_documents(
                    output / "dicom-report",
                    volume.source,
                    {one.strength: Path(str(one.path)) for one in series},
                    before=measurements(numbers["before"]),
                    after={name: measurements(measured) for name, measured in numbers["after"].items()},
                    pdf=report.pdf(),
                    series_number_offset=config.series_number_offset,
                )
    (output / RUN).write_text(json.dumps(run, indent=1, allow_nan=False) + "\n", encoding="utf-8")
    return Denoised(output, tuple(series), path, run)


@dataclass(frozen=True)
class _SeriesKind:
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


_DENOISED = _SeriesKind("DENOISED", "Denoised")
_RESIDUAL = _SeriesKind("RESIDUAL", "Residual removed", " RESIDUAL", (0.0, 200.0))
_NOISE = _SeriesKind("NOISE", "Noise SD in HU, estimated", " NOISE SD", (50.0, 100.0))


@dataclass(frozen=True)
class _Writer:
    """Writes series of one run."""

    origin: Provenance
    config: Config
    when: datetime
    progress: Progress | None

    def __call__(
        self, kind: _SeriesKind, volume: Volume, output: Path, strength: str, note: str
    ) -> WrittenSeries | WrittenArray:
        """Write a volume; pixels depend on the strength, `note` is for people."""
        if isinstance(volume.source, ArraySource):
            return write_array(volume, output / volume.source.path.name)
        origin, config = self.origin, self.config
        description = f"{kind.sentence} by ctmahout {__version__}: method {origin.method}, {note}; {origin.maths}."
        return write_series(
            volume,
            output,
            derivation=_derivation(kind, config, description, json.dumps([__version__, strength, *origin.key])),
            compression=config.compression,
            timestamp=self.when,
            progress=self.progress,
            workers=config.workers,
        )


def _derivation(kind: _SeriesKind, config: Config, description: str, key: str) -> Derivation:
    return Derivation(
        description=description,
        key=key,
        series_suffix=config.series_suffix + kind.suffix,
        image_type_value2=config.image_type,
        series_number_offset=config.series_number_offset,
        software_version=__version__,
        private=config.private,
        deidentified=config.deidentify,
        shows=kind.name,
        window=kind.window,
    )


def _noise_map(volume: Volume, finished: Finished, config: Config) -> Volume:
    """Return the SD of the noise of every voxel, HU; 0 where there is none."""
    part, zero = MeasuredPart.of(volume), np.zeros_like(volume.hu)
    noise = finished.noise
    if noise is None:  # there is none, or the method has no noise model
        noise = measure_noise(part.hu, volume.geometry, Threads.of(config.workers))
    return volume.with_hu(
        part.expand(noise.sigma_hu(0, *part.hu.shape), zero) if isinstance(noise, NoiseModel) else zero
    )
