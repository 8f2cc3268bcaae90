"""From denoised volumes to what the user gets: derived series, a report and the run manifest."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from . import __version__
from .arrays import ArraySource, WrittenArray, write_array
from .config import Config
from .dicom import Derivation, Written, write_series
from .exchange import Factors, Manifest
from .methods import Rebuilt
from .outcome import RUN, Denoised, DenoisedSeries, Progress, Timer, run_manifest, timestamp
from .patches import Fit, Model
from .report import doubts, report_numbers, write_report
from .volume import Volume

__all__ = ["Origin", "deliver"]


@dataclass(frozen=True)
class Origin:
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
    def of_factors(cls, matrix: Manifest, found: Factors) -> Origin:
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
            found.warnings,
        )

    @classmethod
    def of_model(cls, manifest: Manifest, model: Model, volume: Volume, fit: Fit | None) -> Origin:
        """Return that of a model directory."""
        about = {"sha256": manifest.sha256, "learnt_on": model.learnt_on, "writer": manifest.writer}
        if fit is not None:
            about["log_likelihood"] = {"model": round(fit.model, 3), "own": round(fit.own, 3)}
        return cls(
            "patches model",
            f"bases of a model learnt on {len(model.learnt_on)} series",
            ("patches model", manifest.sha256),
            {"model": about},
            volume.fingerprint(),
        )


def deliver(
    volume: Volume,
    rebuilding: Iterator[Rebuilt],
    origin: Origin,
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
    series: list[DenoisedSeries] = []
    warnings = [*volume.warnings, *origin.warnings]
    while True:
        with timer.phase("reconstruct"):
            rebuilt = next(rebuilding, None)
        if rebuilt is None:
            break
        text, folder = rebuilt.strength.text, output / rebuilt.strength.label
        with timer.phase("write"):
            written = _write(rebuilt, folder, origin, config, when, timer.progress)
        after[text] = rebuilt.volume
        series.append(DenoisedSeries(text, folder, rebuilt.kept, rebuilt.facts, written.clipped))
        warnings += [f"{text}: {w}" for w in (*rebuilt.warnings, *written.warnings)]
    with timer.phase("report"):
        numbers = report_numbers(volume, after)
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


def _write(
    rebuilt: Rebuilt, output: Path, origin: Origin, config: Config, when: datetime, progress: Progress | None
) -> Written | WrittenArray:
    if isinstance(rebuilt.volume.source, ArraySource):
        return write_array(rebuilt.volume, output / rebuilt.volume.source.path.name)
    strength = rebuilt.strength.text
    derivation = Derivation(
        description=f"Denoised by ctmahout {__version__}: method {origin.method}, strength {strength} "
        f"({rebuilt.kept}); {origin.maths}.",
        key=json.dumps([__version__, strength, *origin.key]),
        series_suffix=config.series_suffix,
        image_type_value2=config.image_type,
        series_number_offset=config.series_number_offset,
        software_version=__version__,
        private=config.private,
        deidentified=config.deidentify,
    )
    return write_series(
        rebuilt.volume,
        output,
        derivation=derivation,
        compression=config.compression,
        timestamp=when,
        progress=progress,
        workers=config.workers,
    )
