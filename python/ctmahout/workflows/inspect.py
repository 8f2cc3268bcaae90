"""Contents of a folder, and the resources a run on it would need: ``ctmahout inspect``."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from ..denoising.effort import EFFORTS, PATCH
from ..dicom import SeriesInfo, summarise
from ..engines.choice import MAX_EXACT_COLUMNS, choose
from ..errors import InputError, catalogue
from ..exchange import Manifest, is_exchange, is_sidecar, read_manifest
from ..files.arrays import is_array, read_array
from ..options import Config
from ..storage import Uri, local_copy, parse_location
from .results import Results, read_results

__all__ = ["Inspection", "inspect_path"]

_KERNEL_LETTERS = 12  # of the column
_MAX_GROUPS = 12  # rows of the table; with more groups it has one row of ranges

# Method slices with 12 and 100 slices of 512 x 512 and the report: Python peaked at 474 and 1,101 MiB, CPU 20 and 31 s.
_PYTHON_MIB = 420
_PYTHON_BYTES = 32
_START_CPU_S = 15
_VOXEL_CPU_S = 0.5e-6
_FLOPS = 1e10  # of block products on one core (docs/numbers.md)

# Method patches, by effort: CPU seconds for any series, and for each voxel.
_PATCHES_CPU_S = {"fast": (25, 1.5e-6), "normal": (50, 4e-6), "best": (180, 9e-6)}
# Python peaked at 1,809, 3,322 and 6,460 MiB with 7, 248 and 800 slices of 512 x 512, and at 898 MiB with effort fast
# and 7 slices; the bound is up to a sixth higher.
_PATCHES_MIB, _PATCHES_BYTES = {"fast": 1000, "normal": 1950, "best": 2600}, 25
_PATCHES_JVM_MIB = 1500

Table = tuple[str, Sequence[str], Sequence[Sequence[object]]]


@dataclass(frozen=True)
class Requirements:
    """Resources that `denoise` needs for a series: bounds, not measurements.

    Attributes
    ----------
    method : str
    matrix_rows, matrix_columns : int
        For method ``patches``, of all groups together.
    disk_mib : int
        For matrices during the run, besides the output.
    python_mib, jvm_mib : int
        Upper bounds of the memory of the two processes; the peak is at least about 80 % of them.
    cpu_s : int
        Approximate CPU seconds of both processes on the machine of docs/numbers.md.
    """

    method: str
    matrix_rows: int
    matrix_columns: int
    disk_mib: int
    python_mib: int
    jvm_mib: int
    cpu_s: int


@dataclass(frozen=True)
class Inspection:
    """Result of `inspect_path`: series with their requirements, the manifest of an exchange directory, or a table.

    Attributes
    ----------
    series : tuple of SeriesInfo
    requirements : tuple of Requirements
        For each series.
    manifest : Manifest or None
    results : Results or None
        The table of a study.
    notes : tuple of str
        Sentences for users.
    """

    series: tuple[SeriesInfo, ...] = ()
    requirements: tuple[Requirements, ...] = ()
    manifest: Manifest | None = None
    results: Results | None = None
    notes: tuple[str, ...] = field(default=())

    def as_dict(self) -> dict[str, Any]:
        """Return the result as JSON values."""
        if self.results is not None:
            return {"results": list(self.results.rows), "notes": list(self.notes)}
        if self.manifest is not None:
            return {"manifest": self.manifest.to_dict(), "notes": list(self.notes)}
        pairs = zip(self.series, self.requirements, strict=True)
        return {"series": [asdict(s) | {"needs": asdict(n)} for s, n in pairs], "notes": list(self.notes)}

    def tables(self) -> list[Table]:
        """Return the result as tables: title, column names, rows."""
        if self.results is not None:
            return [_results_table(self.results)]
        if self.manifest is not None:
            return [_exchange_table(self.manifest)]
        rows = [
            (
                s.number,
                ", ".join(filter(None, (s.series_number or "-", s.part))),
                f"{s.slices} x {s.rows} x {s.columns}",
                " x ".join(f"{mm:.3g}" for mm in s.spacing_mm),
                s.kernel[:_KERNEL_LETTERS] or "-",
                f"{n.python_mib} + {n.jvm_mib}",
                n.disk_mib,
                n.cpu_s,
            )
            for s, n in zip(self.series, self.requirements, strict=True)
        ]
        columns = ("", "number", "voxels", "spacing mm", "kernel", "memory MiB", "disk MiB", "CPU s")
        methods = " and ".join(sorted({n.method for n in self.requirements})) or "denoise"
        return [(f"CT series, and what method {methods} needs (memory: Python + JVM)", columns, rows)]


def inspect_path(location: str | Path | Uri, config: Config | None = None) -> Inspection:
    """Inspect DICOM files, a NIfTI or npz file, a matrix, factors or model directory, or the results of a study.

    DICOM files are those of a folder or archive, results a file ``results.parquet``. Of DICOM files only headers are
    read, of directories only manifests.

    Raises
    ------
    InputError
        CTM_INPUT_NOT_FOUND, CTM_INPUT_EMPTY, CTM_INPUT_NO_CT.
    ExchangeError
        The directory's manifest is not valid.
    """
    with local_copy(parse_location(location), is_sidecar) as path:
        return _inspect(path, config or Config())


def _inspect(path: Path, config: Config) -> Inspection:
    if is_exchange(path):
        manifest = read_manifest(path)
        return Inspection(manifest=manifest, notes=_exchange_notes(manifest, config))
    if path.suffix == ".parquet" and path.is_file():
        results = read_results(path)
        return Inspection(results=results, notes=(results.summary(),))
    if is_array(path):
        return _inspection([_array_info(path, config)], [], config)
    series = summarise(path, split=config.split, lenient=config.lenient, unpack_gib=config.unpack_gib)
    skipped = ", ".join(f"{count} {kind}" for kind, count in series.skipped.items())
    if not series and not series.unreadable:
        raise InputError("CTM_INPUT_NO_CT", path=path, found=skipped)
    return _inspection(series, [*series.unreadable, *([f"No CT slices: {skipped}."] if skipped else [])], config)


def _array_info(path: Path, config: Config) -> SeriesInfo:
    volume = read_array(path, unpack_gib=config.unpack_gib)
    slices, rows, columns = volume.shape
    return SeriesInfo(
        number=1,
        series_uid="",
        series_number="",
        part="",
        slices=slices,
        rows=rows,
        columns=columns,
        spacing_mm=(volume.geometry.spacing_mm, *volume.geometry.pixel_spacing_mm),
        thickness_mm=None,
        kernel="",
        transfer_syntaxes=(),
        denoised=False,
        unusable=0,
        folder="",
        doubts=volume.warnings,
    )


def _inspection(series: Sequence[SeriesInfo], notes: list[str], config: Config) -> Inspection:
    requirements = tuple(_requirements(s, config) for s in series)
    notes += [f"[{s.number}] {issue}" for s in series for issue in s.doubts]
    for s, n in zip(series, requirements, strict=True):
        if hint := _refusal_hint(s):
            notes += [f"[{s.number}] It will be refused as it is. {hint}"]
        elif s.slices > 1:
            notes += [f"[{s.number}] {_advice(n)}"]
            notes += [f"[{s.number}] {_algorithm(n.matrix_columns, config)}"] if n.method == "slices" else []
    return Inspection(series=tuple(series), requirements=requirements, notes=tuple(notes))


def _refusal_hint(series: SeriesInfo) -> str:
    """Return a hint on a series that cannot be read as it is; empty for others."""
    for issue in series.doubts:
        if match := re.match(r"\[(CTM_[A-Z_]+)\]", issue):
            hint = catalogue()[match[1]]["hint"]
            return "Its files are damaged." if "{" in hint else hint
    return ""


def _requirements(series: SeriesInfo, config: Config) -> Requirements:
    m, n = series.rows * series.columns, series.slices
    k = config.k or n
    voxels = m * n
    mib = 1 << 20
    if config.method == "patches":
        base, per_voxel = _PATCHES_CPU_S[config.effort]
        rows, columns = min(voxels, EFFORTS[config.effort].passes[-1].patches), int(np.prod(PATCH))
        return Requirements(
            method="patches",
            matrix_rows=rows,
            matrix_columns=columns,
            # The matrices of both passes, and the result of the first.
            disk_mib=(2 * rows * columns + voxels) * 4 // mib + 1,
            python_mib=_PATCHES_MIB[config.effort] + voxels * _PATCHES_BYTES // mib,
            jvm_mib=_PATCHES_JVM_MIB,
            cpu_s=round(base + voxels * per_voxel),
        )
    return Requirements(
        method="slices",
        matrix_rows=m,
        matrix_columns=n,
        disk_mib=voxels * 4 // mib + 1,
        # Modules; the volume, its result, and arrays of the report.
        python_mib=_PYTHON_MIB + voxels * _PYTHON_BYTES // mib,
        # Spark; A as floats; Y and Q as doubles.
        jvm_mib=600 + (voxels * 4 + 2 * m * min(n, k + config.p) * 8) // mib,
        # Up to a few hundred columns, products take a small part of the time.
        cpu_s=round(_START_CPU_S + voxels * _VOXEL_CPU_S + 2 * voxels * min(n, k + config.p) / _FLOPS),
    )


def _advice(requirements: Requirements) -> str:
    cores = os.cpu_count() or 1
    if requirements.jvm_mib < 16_000:
        return f"Fits one machine: Spark in one process ({cores} cores here) is the quickest way, no cluster is needed."
    return "Large for one machine: give --driver-memory, or use --engine submit with a cluster."


def _algorithm(columns: int, config: Config) -> str:
    """Return which algorithm suits a matrix of `columns` columns, by the number of products for each row of A."""
    choice = choose(columns, config.k, config.p, config.q)
    r, passes = choice.directions, choice.passes
    if columns > MAX_EXACT_COLUMNS:
        text = f"--algorithm dssvd suits: {columns} columns are many for exact, whose A'A is decomposed on the driver."
        return text if config.k else text + " Give -k: computing all components of so many columns is slow."
    if choice.algorithm == "dssvd":
        return (
            f"--algorithm dssvd suits: k + p = {r} is much less than the {columns} columns, "
            f"which makes it about {choice.of_exact / choice.of_dssvd:.1f} times less work than exact."
        )
    return (
        f"--algorithm exact suits {columns} columns: one pass, and about {choice.of_dssvd / choice.of_exact:.1f} times "
        f"less work than dssvd, the default, with k + p = {r} and {passes} pass{'es' if passes > 1 else ''}."
    )


def _results_table(results: Results) -> Table:
    columns = ("", "folder", "outcome", "strength", "noise HU", "removed", "edges mm", "mean shift HU", "s", "warnings")
    rows = []
    for row in results.rows:
        shifts = [row[name] for name in row if name.startswith("mean_shift_") and row[name] is not None]
        removed = row["noise_removed"]
        rows.append(
            (
                row["number"],
                row["folder"],
                row["code"] or row["outcome"],
                row["strength"],
                _before_after(row["noise_before_soft_hu"], row["noise_after_soft_hu"]),
                None if removed is None else f"{removed:.0%}",
                _before_after(row["edge_before_mm"], row["edge_after_mm"]),
                f"{max(shifts, key=abs):+.2f}" if shifts else None,
                f"{row['seconds']:.1f}",
                len(row["warnings"] or ()) or None,
            )
        )
    return (
        "Results by series: noise of soft tissue, strong edges, the largest shift of a tissue's mean",
        columns,
        rows,
    )


def _before_after(before: float | None, after: float | None) -> str | None:
    return None if before is None or after is None else f"{before:.3g} -> {after:.3g}"


def _exchange_notes(manifest: Manifest, config: Config) -> tuple[str, ...]:
    if manifest.kind == "model":
        count = len(manifest.layout.get("learnt_on", ()))
        return (f"Learnt from {count} series; for `denoise --model`.",)
    if manifest.kind == "matrix":
        return (_algorithm(manifest.groups[0].columns, config),)
    matrix = "the matrix less the means of its columns" if manifest.centring == "columns" else "the matrix"
    return (f"Factors of {matrix}, by {manifest.request.get('algorithm', 'dssvd')}.",)


def _exchange_table(manifest: Manifest) -> Table:
    title = f"{manifest.kind}, {manifest.dtype}"
    if manifest.kind == "model":
        series = manifest.layout.get("learnt_on", ())
        rows = [
            (
                number,
                " x ".join(str(n) for n in info.get("shape", ())),
                " x ".join(f"{mm:.3g}" for mm in info.get("spacing_mm", ())),
                info.get("kernel") or "-",
            )
            for number, info in enumerate(series, 1)
        ]
        return (
            f"{title}, method {manifest.layout.get('method', '-')}",
            ("series", "voxels", "spacing mm", "kernel"),
            rows,
        )
    names, groups = ("group", "rows", "columns", "rank"), manifest.groups
    ranks = [None if manifest.kind == "matrix" else g.rank for g in groups]
    if len(groups) > _MAX_GROUPS:
        ranges = (_range([g.rows for g in groups]), _range([g.columns for g in groups]), _range(ranks))
        return (f"{title}, in sizes of groups", ("groups", *names[1:]), [(len(groups), *ranges)])
    return (title, names, [(g.group, g.rows, g.columns, r) for g, r in zip(groups, ranks, strict=True)])


def _range(values: Sequence[int | None]) -> str | None:
    """Return the range of values as text, None if all are unknown."""
    known = [value for value in values if value is not None]
    if not known:
        return None
    return str(known[0]) if min(known) == max(known) else f"{min(known)} to {max(known)}"
