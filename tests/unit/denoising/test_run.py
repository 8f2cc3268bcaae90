"""A run in memory, through its directories, and as `denoise_volume`: one answer, and refusals before any work."""

import numpy as np
import pytest

from ctmahout import Volume, denoise_volume, prepare, read_array, reconstruct, write_array
from ctmahout import factorise as decompose
from ctmahout.denoising.effort import EFFORTS, Effort, PassSpec
from ctmahout.denoising.registry import load, start
from ctmahout.denoising.strength import Strength
from ctmahout.engines import Request, connect
from ctmahout.engines.workers import Threads
from ctmahout.errors import ConfigError, InputError
from ctmahout.exchange import read_all_factors, read_manifest, read_matrix, write_matrix
from ctmahout.options import Config

SPACING = (3.0, 2.4, 2.4)
NUMPY = {"engine": "numpy", "workers": 2}


@pytest.fixture(scope="module", autouse=True)
def little_effort():
    first, second = PassSpec(12, 12_000, 2, (2, 2)), PassSpec(20, 12_000, 2, (2, 2))
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(EFFORTS, "fast", Effort((first,), 3))
        patch.setitem(EFFORTS, "normal", Effort((first, second), 3))
        yield


@pytest.fixture(scope="module")
def scan(phantom):
    """Six slices of a noisy chest, as an array."""
    return np.ascontiguousarray(phantom.noisy.hu[6:12, 30:126, 20:130])


def factorise(matrix):
    factors = matrix.with_name(f"{matrix.name}-factors")
    with connect("numpy") as engine:
        engine.run(Request(str(matrix), str(factors)))
    return read_all_factors(factors)


def result_of(run, svds):
    (result,) = run.results(svds, [Strength.parse("auto")], Threads(2), None)
    return result.volume.hu.tobytes()


@pytest.mark.parametrize(("method", "passes"), [("patches", 2), ("slices", 1)])
def test_a_run_that_was_loaded_goes_on_as_the_one_that_was_saved(scan, tmp_path, method, passes):
    volume, config = Volume.of_array(scan, SPACING), Config.of({"method": method, "effort": "normal", "workers": 2})
    run, matrix, expected = start(volume, config, None), tmp_path / "first", None
    for number in range(passes):
        manifest = run.save(matrix)
        assert expected in (None, manifest.sha256)
        svds, loaded = factorise(matrix), load(volume, matrix, config)
        assert (loaded.label, loaded.seed, loaded.passes_left) == (run.label, run.seed, passes - number - 1)
        assert result_of(loaded, svds) == result_of(run, svds)
        if run.passes_left:
            expected = loaded.next(svds, Threads(2), None).save(tmp_path / "again").sha256
            run, matrix = run.next(svds, Threads(1), None), tmp_path / "second"


def test_matrices_are_saved_once_by_the_process_that_made_them(scan, tmp_path):
    volume, config = Volume.of_array(scan, SPACING), Config.of({"effort": "fast", "workers": 2})
    run = start(volume, config, None)
    run.save(tmp_path / "matrix")
    for other in (run, load(volume, tmp_path / "matrix", config)):
        with pytest.raises(ValueError, match="once"):
            other.save(tmp_path / "again")
    assert not (tmp_path / "again").exists()


def test_an_array_is_denoised_as_its_volume_is(scan):
    asked = ["auto", "remove:30%"]
    results = denoise_volume(scan, asked, spacing_mm=SPACING, effort="fast", **NUMPY)
    assert [r.strength.text for r in results] == asked
    one = denoise_volume(Volume.of_array(scan, SPACING), effort="fast", **NUMPY)
    assert one.volume.hu.tobytes() == results[0].volume.hu.tobytes()
    assert 0.25 < results[1].facts["noise_removed"] < 0.35 < one.facts["noise_removed"]
    # Another dtype and another order in memory are the same scan.
    fortran = np.asfortranarray(scan.astype(np.float64))
    again = denoise_volume(fortran, spacing_mm=SPACING, effort="fast", **NUMPY)
    assert again.volume.hu.tobytes() == one.volume.hu.tobytes()


def test_nothing_is_left_behind_and_the_array_is_not_changed(scan, tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    before = scan.copy()
    denoise_volume(scan, "rank:2", spacing_mm=SPACING, method="slices", **NUMPY)
    np.testing.assert_array_equal(scan, before)
    assert list(tmp_path.iterdir()) == []


def test_matrices_and_factors_stay_where_one_asks_for_them(scan, tmp_path):
    denoise_volume(scan, spacing_mm=SPACING, effort="normal", work=tmp_path, **NUMPY)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["factors", "matrix", "refined", "refined-factors"]


@pytest.mark.parametrize(
    ("values", "options", "error"),
    [
        (np.zeros((4, 20)), {}, TypeError),
        (np.zeros((4, 20, 20), complex), {}, TypeError),
        (np.full((4, 20, 20), np.nan), {}, ConfigError),
        (np.full((4, 20, 20), 1e9), {}, ConfigError),
        (np.zeros((4, 20, 20)), {"spacing_mm": None}, TypeError),
        (np.zeros((4, 20, 20)), {"spacing_mm": (1, 0, 1)}, ConfigError),
        (np.zeros((4, 20, 20)), {"spacing_mm": (1, 1)}, ConfigError),
        (np.zeros((4, 20, 20)), {"strength": "remove:200%"}, ConfigError),
        (np.zeros((4, 20, 20)), {"strength": ["auto", "auto"]}, ConfigError),
        (np.zeros((4, 20, 20)), {"strength": "rank:2"}, ConfigError),
        (np.zeros((4, 20, 20)), {"report": True}, ConfigError),
        (np.zeros((1, 20, 20)), {}, InputError),
    ],
)
def test_what_cannot_be_denoised_is_refused(values, options, error):
    with pytest.raises(error):
        denoise_volume(values, **({"spacing_mm": SPACING, **NUMPY} | options))


def test_the_public_name_is_the_function_whatever_is_imported():
    """A folder of the function's name would take its place as soon as it is imported."""
    import ctmahout.denoising.registry
    import ctmahout.workflows.denoise

    assert callable(ctmahout.denoise)
    assert callable(ctmahout.dssvd)
    assert callable(ctmahout.learn)


def test_the_noise_map_is_measured_whoever_wrote_the_matrix(scan, tmp_path):
    """A method of somebody's own has no noise model: its map is that of ``slices``, and not one of zeros."""
    source = tmp_path / "scan.npz"
    write_array(Volume.of_array(scan, SPACING), source)
    prepare(source, tmp_path / "slices", method="slices")
    manifest = read_manifest(tmp_path / "slices", "matrix")
    layout = {**manifest.layout, "method": "own"}
    rows = read_matrix(tmp_path / "slices")
    write_matrix(tmp_path / "own", [rows], dtype="float32", units="HU", centring="columns", layout=layout)
    maps = []
    for name in ("slices", "own"):
        factors, out = tmp_path / f"{name}-factors", tmp_path / f"{name}-out"
        decompose(tmp_path / name, factors, engine="numpy")
        reconstruct(source, tmp_path / name, factors, out, strength="rank:2", maps=True, report=False)
        maps.append(read_array(out / "noise" / "scan.npz").hu)
    assert maps[0].min() > 0
    assert maps[1].tobytes() == maps[0].tobytes()
