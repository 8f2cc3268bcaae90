"""The verbs of the command line. Each imports what it needs when it runs, so that ``--help`` is fast."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import click

from .._version import __version__
from ..options import ACCEPTED, Config
from ..storage import Location, local_copy
from .options import LOCATION, json_option, location, with_config
from .output import print_json, print_line, print_table, progress_bar

__all__ = ["ctmahout"]


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(__version__, prog_name="ctmahout")
def ctmahout() -> None:
    """Denoise CT series with Apache Mahout's distributed stochastic SVD on Apache Spark.

    For research, not for diagnosis. `ctmahout VERB --help` describes a verb.
    """


@ctmahout.command()
@location("IN")
@location("OUT")
@with_config(*ACCEPTED["denoise"], "all_series")
@json_option
def denoise(config: Config, as_json: bool, **paths: Location) -> None:
    """Denoise the CT series in IN; write the derived series, a report and the run manifest to OUT.

    IN is a folder, a zip or tar archive, or a NIfTI or npz file. With --all-series, OUT gets a folder for each series;
    IN may also be a text file, LIST.txt, with the path or URI of a series in each line. With --spread, too, each series
    is a task of Spark's executors.
    """
    if config.all_series:
        _denoise_study(config, as_json, paths["in"], paths["out"])
        return
    from ..workflows.denoise import denoise as run

    with progress_bar() as progress:
        result = run(paths["in"], paths["out"], config, progress=progress)
    _print_result(result, as_json)


@ctmahout.command()
@location("IN")
@location("MATRIX")
@with_config(*ACCEPTED["prepare"])
@json_option
def prepare(config: Config, as_json: bool, **paths: Location) -> None:
    """First step: write the matrix of the CT series in IN to the directory MATRIX."""
    from ..workflows.steps import prepare as run

    with progress_bar() as progress:
        manifest = run(paths["in"], paths["matrix"], config, progress=progress)
    if as_json:
        print_json(manifest)
        return
    _print_matrix(paths["matrix"], manifest)


@ctmahout.command()
@location("IN")
@location("MATRIX")
@location("FACTORS")
@location("REFINED")
@with_config(*ACCEPTED["refine"])
@json_option
def refine(config: Config, as_json: bool, **paths: Location) -> None:
    """Between dssvd and reconstruct, for method patches: write the matrix of the second pass to REFINED."""
    from ..workflows.steps import refine as run

    with progress_bar() as progress:
        manifest = run(paths["in"], paths["matrix"], paths["factors"], paths["refined"], config, progress=progress)
    if as_json:
        print_json(manifest)
        return
    _print_matrix(paths["refined"], manifest)


@ctmahout.command()
@click.argument("series", nargs=-1, required=True, type=LOCATION, metavar="SERIES... [MODEL]")
@click.option("--store", type=LOCATION, metavar="STORE", help="Add the model to this store, instead of writing MODEL.")
@click.option("--add", is_flag=True, help="Improve MODEL by these series; those before need not be there.")
@with_config(*ACCEPTED["learn"])
@json_option
def learn(config: Config, as_json: bool, series: tuple[Location, ...], store: Location | None, add: bool) -> None:
    """Learn a model from many series of one protocol: MODEL for `denoise --model`, or one of STORE for `--models`.

    With --master, Spark's executors read the series and assign their patches.
    """
    from ..workflows.learn import learn as run

    *sources, last = series
    if store is None and not sources:
        raise click.UsageError("Missing argument 'MODEL'.")
    with progress_bar() as progress:
        if store is None:
            manifest, place = run(sources, last, config, add=add, progress=progress), last
        else:
            manifest = run(list(series), None, config, store=store, add=add, progress=progress)
            place = store / manifest.sha256
    if as_json:
        print_json(manifest.to_dict() | {"path": place})
        return
    print_line(f"model  {place}  (learnt from {len(manifest.layout['learnt_on'])} series)")


@ctmahout.command()
@click.argument("STORE", type=LOCATION)
@json_option
def models(store: Location, as_json: bool) -> None:
    """List the models in STORE, each with the protocol that it was learnt on."""
    from ..workflows.models import list_models

    listing = list_models(store)
    if as_json:
        skipped = [{"name": one.name, "error": one.error.as_dict()} for one in listing.skipped]
        print_json({"models": [info.as_dict() for info in listing], "skipped": skipped})
        return
    columns = ("name", "series", "groups", "kernel", "scanner", "thickness mm", "spacing mm", "pixel mm", "noise HU")
    print_table(f"Models in {store}", columns, [info.row() for info in listing])
    for one in listing.skipped:
        print_line(f"warning: {one.name[:12]} was skipped: [{one.error.code}] {one.error.message}", err=True)


def _print_matrix(path: Location, manifest: dict[str, Any]) -> None:
    groups = manifest["groups"]
    if len(groups) == 1:
        print_line(f"{path}: {groups[0]['rows']} x {groups[0]['columns']} {manifest['dtype']}")
        return
    rows = sum(group["rows"] for group in groups)
    print_line(f"{path}: {len(groups)} matrices, {rows} x {groups[0]['columns']} in all, {manifest['dtype']}")


@ctmahout.command()
@location("MATRIX")
@location("FACTORS")
@with_config(*ACCEPTED["factorise"])
@json_option
def dssvd(config: Config, as_json: bool, matrix: Location, factors: Location) -> None:
    """Second step: decompose the matrix in MATRIX with Mahout; write s and V to FACTORS."""
    from ..workflows.dssvd import factorise

    manifest = factorise(matrix, factors, config)
    if as_json:
        print_json(manifest)
        return
    algorithm = manifest["request"].get("algorithm", "dssvd")
    centred = " less the column means" if manifest.get("centring") == "columns" else ""
    groups = manifest["groups"]
    if len(groups) == 1:
        (group,) = groups
        print_line(
            f"{factors}: {group['rank']} components of {group['rows']} x {group['columns']}{centred} by {algorithm}, "
            f"relative residual {group['residual']:.3g}, |V'V - I| {group['orthogonality_v']:.1g}"
        )
    else:
        worst = max(group["orthogonality_v"] for group in groups)
        print_line(f"{factors}: {len(groups)} matrices{centred} by {algorithm}, |V'V - I| {worst:.1g} at most")
    for warning in manifest.get("warnings", ()):
        print_line(f"warning: {warning}", err=True)


@ctmahout.command()
@location("IN")
@location("MATRIX")
@location("FACTORS")
@location("OUT")
@with_config(*ACCEPTED["reconstruct"])
@json_option
def reconstruct(config: Config, as_json: bool, **paths: Location) -> None:
    """Last step: write the denoised series to OUT, from the series IN, its MATRIX and FACTORS."""
    from ..workflows.steps import reconstruct as run

    with progress_bar() as progress:
        result = run(paths["in"], paths["matrix"], paths["factors"], paths["out"], config, progress=progress)
    _print_result(result, as_json)


def _print_series(series: Any) -> None:
    outcome = f"{series.outcome} [{series.code}]" if series.code else series.outcome
    print_line(f"series {series.number}  {series.folder}  {outcome}  {series.seconds:.1f} s", err=True)


def _denoise_study(config: Config, as_json: bool, source: Location, output: Location) -> None:
    from ..workflows.study import denoise_study

    with progress_bar() as progress:
        # Where no bar is drawn, as in the log of a pod, a line for each series.
        line = None if progress else _print_series
        study = denoise_study(source, output, config, progress=progress, on_series=line)
    _print_study(study, as_json, source, lenient=config.lenient)


def _print_study(study: Any, as_json: bool, source: Location, *, lenient: bool) -> None:
    from ..errors import InputError

    for text in study.unreadable:
        print_line(f"warning: {text}", err=True)
    lost = bool(study.unreadable) and not lenient
    if as_json:
        result = study.as_dict()
        for row, series in zip(result["series"], study.series, strict=True):
            row["message"] = series.message
        print_json(result)
        if study.failed or lost:
            raise SystemExit(3)
        return
    rows = [
        (s.number, s.slices, s.outcome, s.folder, f"[{s.code}] {s.message}" if s.code else s.message)
        for s in study.series
    ]
    print_table(f"CT series in {study.path}", ("", "slices", "outcome", "folder", ""), rows)
    if study.failed:
        raise InputError("CTM_STUDY_INCOMPLETE", failed=study.failed, count=len(study.series), path=study.path)
    if lost:
        first, count = study.unreadable[0].rstrip("."), len(study.unreadable)
        raise InputError("CTM_STUDY_UNREADABLE", count=count, path=source, first=first)


@ctmahout.command()
def module() -> None:
    """Denoise as a module of mercure or a MONAI Application Package, which name the folders in the environment.

    They are MERCURE_IN_DIR and MERCURE_OUT_DIR, with options in task.json; or HOLOSCAN_INPUT_PATH and
    HOLOSCAN_OUTPUT_PATH, with options in HOLOSCAN_CONFIG_PATH. The image does this by default.
    """
    from ..workflows.module import denoise_task, read_task

    task = read_task(os.environ)
    with progress_bar() as progress:
        study = denoise_task(task, progress=progress)
    _print_study(study, False, task.source, lenient=task.config.lenient)


def _print_result(result: Any, as_json: bool) -> None:
    if as_json:
        print_json({"path": result.path, "report": result.report, "run": result.run})
        return
    for series in result.series:
        print_line(f"series  {series.path}  ({series.strength}: {series.kept})")
    if result.report:
        print_line(f"report  {result.report}")
    for warning in result.run["warnings"]:
        print_line(f"warning: {warning}", err=True)


@ctmahout.command()
@click.argument("PATH", type=LOCATION)
@with_config("method", "effort", "k", "p", "q", "split", "lenient", "unpack_gib")
@json_option
def inspect(config: Config, as_json: bool, path: Location) -> None:
    """List what PATH contains, and estimate what a run on it would need.

    PATH holds series, a matrix, factors or a model, or is the table of results of a study, results.parquet.
    """
    from ..workflows.inspect import inspect_path

    content = inspect_path(path, config)
    if as_json:
        print_json(content.as_dict())
        return
    for title, columns, rows in content.tables():
        print_table(title, columns, rows)
    for line in content.notes:
        print_line(line)


@ctmahout.command()
@json_option
def doctor(as_json: bool) -> None:
    """Check Java, Spark, the jars and the decoders, and suggest remedies."""
    from ..workflows.doctor import check_environment

    checks = check_environment()
    if as_json:
        print_json([check.as_dict() for check in checks])
    else:
        print_table("Environment", ("", "check", "found"), [("ok" if c.ok else "NO", c.name, c.found) for c in checks])
        for check in checks:
            if check.advice:
                print_line(f"{check.name}: {check.advice}")
    if not all(check.ok for check in checks):
        raise SystemExit(5)


@ctmahout.command("warm-up")
@json_option
def warm_up(as_json: bool) -> None:
    """Archive Java's classes, so that Spark starts in two thirds of the time from now on."""
    from ..engines.warm_up import warm_up as run

    path = run()
    size = path.stat().st_size
    if as_json:
        print_json({"path": path, "bytes": size})
        return
    print_line(f"{path}  {size / 2**20:.0f} MiB")


@ctmahout.command()
@click.argument("A", type=LOCATION)
@click.argument("B", type=LOCATION)
@with_config("lenient", "unpack_gib", "workers")
@json_option
def compare(config: Config, as_json: bool, a: Location, b: Location) -> None:
    """Score the series in A against the reference series in B."""
    from ..workflows.compare import compare_series

    scores = compare_series(a, b, config)
    if as_json:
        print_json(scores)
        return
    print_table(f"{a} against {b}", ("measure", "value"), list(_flatten(scores)))


@ctmahout.command()
@click.argument("SCAN1", type=LOCATION)
@click.argument("SCAN2", type=LOCATION)
@click.argument("denoised", nargs=-1, required=True, type=LOCATION, metavar="DENOISED1 [DENOISED2]")
@click.option("--match-kernel", is_flag=True, help="Filter the results to the scans' transfer function.")
@with_config(*ACCEPTED["repeat"])
@json_option
def repeat(
    config: Config,
    as_json: bool,
    scan1: Location,
    scan2: Location,
    denoised: tuple[Location, ...],
    match_kernel: bool,
) -> None:
    """Measure the true error of a denoiser from two scans of one object at rest, without knowing the object.

    DENOISED1 is the result of SCAN1 alone, DENOISED2 that of SCAN2 alone. For phantoms: see docs/repeat.md.
    """
    from ..workflows.repeat import repeat as run
    from .repeat_tables import tables

    if len(denoised) > 2:
        raise click.UsageError("one or two denoised series are expected")
    second = denoised[1] if len(denoised) == 2 else None
    measured = run(scan1, scan2, denoised[0], second, config, match_kernel=match_kernel)
    if as_json:
        print_json(measured)
        return
    for title, columns, rows in tables(measured):
        print_table(title, columns, rows)
    for warning in measured["warnings"]:
        print_line(f"warning: {warning}", err=True)


def _flatten(scores: dict[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    rows: list[tuple[str, str]] = []
    for name, value in scores.items():
        if isinstance(value, dict):
            rows += _flatten(value, f"{prefix}{name} ")
        else:
            rows.append(((prefix + name).replace("_", " "), "" if value is None else f"{value:.4f}"))
    return rows


@ctmahout.command()
@location("RUN")
@location("EXPECTED", optional=True)
@click.option("--write", type=click.Path(path_type=Path), metavar="FILE", help="Write RUN's own expectation to FILE.")
@click.option("--about", default="", metavar="TEXT", help="With --write: which data, from where, their licence.")
@with_config("workers", "overwrite")
@json_option
def verify(
    config: Config, as_json: bool, run: Location, expected: Location | None, write: Path | None, about: str
) -> None:
    """Compare the output RUN of `denoise` with what is expected: reproduced, or what differs.

    EXPECTED is a file that --write wrote, or the output of another run. By default it is the expectation that ctmahout
    has for RUN's source: of the default phantom, and of the series in docs/reproduce.md.
    """
    from ..errors import InputError
    from ..workflows.verify import verify as compare_run
    from ..workflows.verify import write_expectation

    if write is not None:
        if expected is not None:
            raise click.UsageError("EXPECTED and --write exclude each other.")
        expectation = write_expectation(run, write, about=about, overwrite=config.overwrite, workers=config.workers)
        if as_json:
            print_json(expectation)
            return
        print_line(f"{write}: expectation of {', '.join(expectation['series'])}")
        return
    verification = compare_run(run, expected, workers=config.workers)
    if as_json:
        print_json(verification.as_dict())
        if verification.failures:
            raise SystemExit(3)
        return
    rows = [
        ("ok" if check.ok else "NO", check.measure, *map(_cell, (check.actual, check.expected, check.tolerance)))
        for check in verification.checks
    ]
    print_table(f"{run} against {verification.expectation}", ("", "measure", "run", "expected", "tolerance"), rows)
    for note in verification.notes:
        print_line(f"note: {note}")
    if verification.failures:
        failed, count = len(verification.failures), len(verification.checks)
        raise InputError(
            "CTM_NOT_REPRODUCED", path=run, expectation=verification.expectation, failed=failed, count=count
        )
    print_line(verification.summary)


def _cell(value: float | str | None) -> str:
    return "" if value is None else value if isinstance(value, str) else f"{value:.3f}"


@ctmahout.command()
@location("IN")
@location("OUT")
@with_config("series", "split", "lenient", "unpack_gib", "workers", "overwrite")
@json_option
def convert(config: Config, as_json: bool, **paths: Location) -> None:
    """Convert the volume in IN (DICOM, NIfTI or npz) to the file OUT: .nii.gz, .nii or .npz."""
    from ..workflows.convert import convert as run

    with progress_bar() as progress:
        volume, path = run(paths["in"], paths["out"], config, progress=progress)
    if as_json:
        print_json({"path": path, "shape": volume.shape, "warnings": volume.warnings})
        return
    print_line(f"{path}: {' x '.join(map(str, volume.shape))}")
    for warning in volume.warnings:
        print_line(f"warning: {warning}", err=True)


@ctmahout.command()
@click.argument("FOLDER", type=LOCATION)
@click.argument("HOST")
@click.argument("PORT", type=click.IntRange(1, 65535), required=False)
@click.option("--called", default="ANY-SCP", show_default=True, metavar="TITLE", help="The archive's AE title.")
@click.option("--calling", default="CTMAHOUT", show_default=True, metavar="TITLE", help="The AE title of this sender.")
@json_option
def send(folder: Location, host: str, port: int | None, called: str, calling: str, as_json: bool) -> None:
    """Send the DICOM files in FOLDER to an archive by C-STORE, or by STOW to HOST dicomweb+https://HOST/ROOT."""
    from ..dicom import send as run

    with progress_bar() as progress, local_copy(folder) as images:
        sent = run(images, host, port, called=called, calling=calling, progress=progress)
    if as_json:
        print_json({"images": sent.images, "warnings": sent.warnings})
        return
    print_line(f"{host if port is None else f'{host}:{port}'} accepted {sent.images} images")
    if sent.warnings:
        print_line(f"warning: {sent.warnings} of them with a warning", err=True)


@ctmahout.command()
@click.argument("CONFIG", type=click.Path(path_type=Path))
@click.option("--check", is_flag=True, help="Check CONFIG and stop.")
@json_option
def serve(config: Path, check: bool, as_json: bool) -> None:
    """Run a DICOM node: receive CT series, denoise them and send the derived series on, as the file CONFIG says.

    CONFIG is a TOML file; see docs/serve.md. The node runs until it is interrupted, and continues when it is started
    again.
    """
    from ..node import NodeConfig
    from ..node import serve as run

    node = NodeConfig.load(config)
    if not check:
        run(node)
    elif as_json:
        print_json({"title": node.title, "address": node.address, "port": node.port})
    else:
        print_line(f"{config}: {node.title} at {node.address}:{node.port}, {len(node.rules)} rules")


@ctmahout.command()
@click.argument("WHAT")
@click.argument("OUT", type=LOCATION)
@click.option(
    "--tcia",
    envvar="CTMAHOUT_TCIA",
    show_envvar=True,
    default=None,
    metavar="URL",
    help="Another archive with the interface of TCIA.",
)
@click.option(
    "--idc-index",
    envvar="CTMAHOUT_IDC_INDEX",
    show_envvar=True,
    default=None,
    metavar="PLACE",
    help="Another index of the Imaging Data Commons: URL or path of an idc_index.parquet.",
)
@click.option(
    "--idc-store",
    envvar="CTMAHOUT_IDC_STORE",
    show_envvar=True,
    default=None,
    metavar="URL",
    help="Another address of its buckets, with {bucket} for a bucket's name.",
)
@click.option(
    "--limit-gib",
    type=click.FloatRange(min=0, min_open=True),
    default=32,
    show_default=True,
    help="Limit of what is downloaded, and of what it unpacks to.",
)
@with_config("overwrite")
@json_option
def fetch(
    config: Config,
    as_json: bool,
    what: str,
    out: Location,
    tcia: str | None,
    idc_index: str | None,
    idc_store: str | None,
    limit_gib: float,
) -> None:
    """Download images into the folder OUT, all of them or none.

    WHAT is idc:UID, the SeriesInstanceUID of a series in the NCI Imaging Data Commons; tcia:UID, that of a public
    series in The Cancer Imaging Archive; s3://BUCKET/PREFIX; dicomweb+https://HOST/ROOT/studies/UID, or a series below
    it, of a DICOMweb archive; or the http or https address of a zip or tar archive.
    """
    from ..workflows.fetch import IDC_INDEX, IDC_STORE, TCIA
    from ..workflows.fetch import fetch as run

    with progress_bar() as progress:
        result = run(
            what,
            out,
            tcia=tcia or TCIA,
            idc_index=idc_index or IDC_INDEX,
            idc_store=idc_store or IDC_STORE,
            limit_gib=limit_gib,
            overwrite=config.overwrite,
            progress=progress,
        )
    if as_json:
        print_json(result.as_dict())
        return
    print_line(f"{result.path}: {result.files} files from {result.source}")


@ctmahout.command()
@click.argument("OUT", type=LOCATION)
@click.option(
    "--size",
    type=click.IntRange(32, 1024),
    default=256,
    show_default=True,
    help="Rows and columns of a slice.",
)
@click.option("--slices", type=click.IntRange(2, 2000), default=64, show_default=True, help="Slices.")
@click.option(
    "--dose",
    type=click.FloatRange(0.001, 10.0),
    default=0.1,
    show_default=True,
    help="Fraction of the full dose.",
)
@click.option(
    "--extent-mm",
    type=click.FloatRange(1.0, 2000.0),
    default=None,
    help="Length of the scan; by default slices are 3 mm apart in a chest, 5 mm in a head.",
)
@click.option("--anatomy", metavar="NAME", default="chest", show_default=True, help="chest or head.")
@click.option(
    "--scanner",
    metavar="NAME",
    default="standard",
    show_default=True,
    help="standard, bowtie, modulated, constant, off-centre, elliptical, cut, thick, overlapping, smooth, sharp.",
)
@with_config("seed", "overwrite")
@json_option
def phantom(
    config: Config,
    as_json: bool,
    out: Location,
    size: int,
    slices: int,
    dose: float,
    extent_mm: float | None,
    anatomy: str,
    scanner: str,
) -> None:
    """Simulate a low-dose CT scan in OUT/noisy, and the same scan without noise in OUT/clean."""
    from ..workflows.phantom import write_phantom

    with progress_bar() as progress:
        folders = write_phantom(
            out,
            size=size,
            slices=slices,
            dose=dose,
            extent_mm=extent_mm,
            anatomy=anatomy,
            scanner=scanner,
            seed=config.seed,
            overwrite=config.overwrite,
            progress=progress,
        )
    if as_json:
        print_json({name: str(folder) for name, folder in folders.items()})
        return
    for name, folder in folders.items():
        print_line(f"{name:6}  {folder}")


@ctmahout.command()
@click.option("--spark", metavar="VERSION", help="For this version of Spark instead of the installed one.")
@with_config("jar")
@json_option
def jar(config: Config, as_json: bool, spark: str | None) -> None:
    """Print the path of the jar for spark-submit."""
    from ..engines import find_jar

    result = find_jar(config.jar, spark=spark)
    if as_json:
        print_json(result.as_dict())
        return
    print_line(result.path)
