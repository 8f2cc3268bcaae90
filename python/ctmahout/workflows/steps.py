"""The steps of the main job, one at a time: `prepare`, `refine`, `reconstruct`; step ``dssvd`` is in `dssvd`.

Each reads and writes directories, so each may run on another machine. Together they give the bytes of `denoise`.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ..denoising.registry import load, start, strengths_of_matrix
from ..errors import ExchangeError, InputError
from ..exchange import Factors, Manifest, is_manifest, is_sidecar, read_all_factors, read_manifest
from ..files import read_volume
from ..options import Config
from ..storage import Location, Uri, local_copy, parse_location, refuse_overlap, upload_on_success
from ..storage.atomic import atomic_dir
from .denoise import open_workers, parse_strengths, upload_matrix
from .dssvd import options_of
from .outcome import Denoised, Progress, Timer, is_run
from .outputs import Finished, Provenance, check_source, check_writing, write_outputs

__all__ = ["prepare", "reconstruct", "refine"]


def prepare(
    source: str | Path | Uri,
    matrix: str | Path | Uri,
    config: Config | None = None,
    *,
    progress: Progress | None = None,
    **options: Any,
) -> dict[str, Any]:
    """Read a series and write its matrix: step one. Returns the matrix's manifest; parameters as for `denoise`.

    Examples
    --------
    >>> manifest = prepare("phantom/noisy", "matrix", method="slices")
    >>> manifest["kind"], manifest["units"]
    ('matrix', 'HU')
    """
    config = options_of(config, options, "prepare")
    source, matrix = parse_location(source), parse_location(matrix)
    refuse_overlap(matrix, source)
    with upload_matrix(matrix, config) as target, local_copy(source) as series:
        run = start(read_volume(series, config, progress), config, progress)
        return run.save(target, overwrite=config.overwrite).to_dict()


def refine(
    source: str | Path | Uri,
    matrix: str | Path | Uri,
    factors: str | Path | Uri,
    refined: str | Path | Uri,
    config: Config | None = None,
    *,
    session: object = None,
    progress: Progress | None = None,
    **options: Any,
) -> dict[str, Any]:
    """Write the matrix of the second pass, from the series, the matrix of the first and its factors.

    Then `factorise` and `reconstruct` go on with that one. Method, effort and seed are the matrix's own. Returns the
    manifest; parameters as for `reconstruct`.

    Raises
    ------
    InputError
        CTM_NOTHING_TO_REFINE: the matrix is that of the last pass. CTM_SERIES_MISMATCH.
    ExchangeError
        CTM_FACTORS_MISMATCH: the factors are those of another matrix.

    Examples
    --------
    >>> from ctmahout import factorise, prepare
    >>> _ = prepare("phantom/noisy", "first")
    >>> _ = factorise("first", "first-factors", engine="numpy")
    >>> refine("phantom/noisy", "first", "first-factors", "second")["kind"]
    'matrix'
    """
    config = options_of(config, options, "refine")
    source, matrix, factors, refined = (parse_location(place) for place in (source, matrix, factors, refined))
    for place in (source, matrix, factors):
        refuse_overlap(refined, place)
    with upload_matrix(refined, config) as target, local_copy(source) as series, _local(matrix, factors) as here:
        run = load(read_volume(series, config, progress), here[0], config)
        svds = _factors_of(*here)
        if not run.passes_left:
            raise InputError("CTM_NOTHING_TO_REFINE", path=matrix)
        with open_workers(config, session) as workers:
            return run.next(svds, workers, progress).save(target, overwrite=config.overwrite).to_dict()


def reconstruct(
    source: str | Path | Uri,
    matrix: str | Path | Uri,
    factors: str | Path | Uri,
    output: str | Path | Uri,
    config: Config | None = None,
    *,
    session: object = None,
    progress: Progress | None = None,
    **options: Any,
) -> Denoised:
    """Write the denoised series from the series, its matrix directory and the factors: the last step.

    Parameters are those of `denoise`; method, effort, algorithm, k, p, q and the seed are the matrix's and the
    factors' own.

    Raises
    ------
    InputError
        CTM_SERIES_MISMATCH: the series is not the one the matrix was prepared from.
    ExchangeError
        CTM_FACTORS_MISMATCH: the factors are those of another matrix.

    Examples
    --------
    >>> from ctmahout import factorise, prepare
    >>> _ = prepare("phantom/noisy", "its-matrix", method="slices")
    >>> _ = factorise("its-matrix", "its-factors", engine="numpy")
    >>> done = reconstruct("phantom/noisy", "its-matrix", "its-factors", "rebuilt", strength=("rank:4",), report=False)
    >>> done.series[0].kept
    '4 of 8 components kept'
    """
    config = options_of(config, options, "reconstruct")
    source, matrix, factors, output = (parse_location(place) for place in (source, matrix, factors, output))
    with local_copy(matrix, is_manifest) as folder:
        strengths = parse_strengths(config, strengths_of_matrix(read_manifest(folder, "matrix"), matrix))
    check_writing(config)
    for place in (source, matrix, factors):
        refuse_overlap(output, place)
    timer = Timer(progress)
    with (
        upload_on_success(output, overwrite=config.overwrite, is_replaceable=is_run) as target,
        atomic_dir(target, overwrite=config.overwrite, is_replaceable=is_run) as folder,
        local_copy(source) as series,
        _local(matrix, factors) as here,
    ):
        with timer.phase("read"):
            volume = read_volume(series, config, progress)
            check_source(volume, folder, config)
        run, svds = load(volume, here[0], config), _factors_of(*here)
        with open_workers(config, session) as workers:
            finished = Finished(
                run.results(svds, strengths, workers, progress),
                Provenance.of_factors(run, svds[0]),
                lambda facts: run.report_data(svds, facts),
                run.noise,
            )
            result = write_outputs(volume, finished, folder, config, timer)
    return result.moved(output)


@contextmanager
def _local(matrix: Location, factors: Location) -> Iterator[tuple[Path, Path]]:
    """Yield local paths of a matrix, without its rows if it is in a store, and of its factors."""
    with local_copy(matrix, is_sidecar) as matrix_here, local_copy(factors) as factors_here:
        yield matrix_here, factors_here


def _factors_of(matrix: Path, factors: Path) -> list[Factors]:
    """Read the factors of a matrix. Those of another matrix would produce a plausible but wrong image."""
    expected: Manifest = read_manifest(matrix, "matrix")
    actual = read_manifest(factors, "factors")
    if actual.input_sha256 != expected.sha256:
        raise ExchangeError("CTM_FACTORS_MISMATCH", path=factors, matrix=matrix)
    present = {group.group for group in actual.groups}
    for group in expected.groups:
        if group.group not in present:
            groups = ", ".join(map(str, sorted(present)))
            raise ExchangeError("CTM_EXCHANGE_GROUP_UNKNOWN", path=factors, group=group.group, groups=groups)
    return read_all_factors(factors)
