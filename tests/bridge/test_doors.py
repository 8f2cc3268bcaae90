"""One request, every engine, the same answer."""

import json
from pathlib import Path

import numpy as np
import pytest
from jsonschema import Draft202012Validator

from ctmahout.engines import Request, connect
from ctmahout.exchange import read_factors

pytestmark = pytest.mark.spark

CONTRACT = Path(__file__).resolve().parents[2] / "contract" / "v1"
BAD = json.loads((CONTRACT / "bad" / "index.json").read_text())
ENGINES = ["py4j", "user", "jpype", "submit", "numpy"]
KINDS = ["double", "deficient", "zero", "column", "square"]
# As in through_an_engine.py.
ALGORITHMS = ["exact-shifted", "dspca-shifted", "auto-shifted"]
MORE = ["dssvd-shifted"] + [
    f"{a}-{kind}" for a in ("exact", "dspca") for kind in ("double", "deficient", "zero", "column")
]


@pytest.fixture(scope="module")
def through(python, matrices, tmp_path_factory):
    """Gives what went through an engine: its manifests and codes, and the folder of its factors."""
    done = {}

    def get(engine):
        if engine not in done:
            folder = tmp_path_factory.mktemp(engine)
            done[engine] = python("through_an_engine.py", engine, matrices[0], folder), folder
        return done[engine]

    return get


def check(found, A):
    """Check what holds for every decomposition; A less its column means for dspca."""
    r = found.rank
    assert (found.s.shape, found.v.shape, found.u.shape) == ((r,), (A.shape[1], r), (A.shape[0], r))
    assert found.u.dtype == found.manifest.dtype
    np.testing.assert_allclose(found.v.T @ found.v, np.eye(r), atol=1e-10)
    np.testing.assert_allclose(found.u.T @ found.u, np.eye(r), atol=1e-10 if found.u.dtype == np.float64 else 1e-5)
    if r:
        assert (found.v[np.argmax(np.abs(found.v), axis=0), np.arange(r)] > 0).all()
    assert found.squared_norm == pytest.approx(np.linalg.norm(A.astype(np.float64)) ** 2, rel=1e-12)
    assert found.centred == (found.algorithm == "dspca")


@pytest.mark.parametrize("engine", ENGINES)
def test_every_engine_gives_the_same_answer_on_any_partitions(through, matrices, engine):
    A = matrices[1]["plain"]
    U, s, Vt = np.linalg.svd(A.astype(np.float64), full_matrices=False)
    told, folder = through(engine)
    reference = read_factors(through("numpy" if engine == "numpy" else "py4j")[1] / "plain-2")
    for partitions in (2,) if engine == "submit" else (1, 2, 7):
        found = read_factors(folder / f"plain-{partitions}")
        check(found, A)
        np.testing.assert_allclose(found.s, reference.s, rtol=1e-10)
        np.testing.assert_allclose(found.v, reference.v, atol=1e-6)
        # numpy's Omega is another one, and LAPACK has none: q = 2 brings all of them together.
        np.testing.assert_allclose(found.s, s[:8], rtol=1e-6)
        np.testing.assert_allclose(np.abs(np.sum(found.v * Vt[:8].T, axis=0)), 1, atol=1e-6)
        np.testing.assert_allclose(np.abs(np.sum(found.u * U[:, :8], axis=0)), 1, atol=1e-5)
        assert told[f"plain-{partitions}"] == found.manifest.to_dict()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("engine", [engine for engine in ENGINES if engine != "submit"])
def test_hard_matrices(through, matrices, engine, kind):
    A = matrices[1][kind]
    _, folder = through(engine)
    found = read_factors(folder / kind)
    check(found, A)
    exact = np.linalg.svd(A.astype(np.float64), compute_uv=False)
    rank = int(np.count_nonzero(exact > 1e-12 * max(exact[0], 1e-300)))
    assert found.rank == rank
    assert bool(found.warnings) == (rank < A.shape[1])
    np.testing.assert_allclose(found.s, exact[:rank], rtol=1e-10, atol=1e-13 * exact[0])
    np.testing.assert_allclose((found.u * found.s) @ found.v.T, A, atol=1e-6 * max(exact[0], 1))


@pytest.mark.parametrize("name", [*ALGORITHMS, *MORE])
@pytest.mark.parametrize("engine", ENGINES)
def test_every_algorithm_is_numpys_svd_through_every_engine(through, matrices, engine, name):
    if engine == "submit" and name != "auto-shifted":
        return  # each of its requests is an application of its own
    algorithm, kind = name.split("-")
    A = matrices[1][kind].astype(np.float64)
    A -= A.mean(axis=0) if algorithm == "dspca" else 0.0
    told, folder = through(engine)
    found = read_factors(folder / name)
    check(found, A)
    chosen = told[name].get("chosen", {})
    assert ("why" in chosen) == (algorithm == "auto")
    assert (found.algorithm, told[name]["request"]["algorithm"]) == (chosen.get("algorithm", algorithm), algorithm)
    assert told[name] == found.manifest.to_dict()
    U, s, Vt = np.linalg.svd(A, full_matrices=False)
    rank = int(np.count_nonzero(s > 1e-12 * max(s[0], 1e-300)))
    assert (found.rank, bool(found.warnings)) == (rank, rank < len(s))
    strong = s[:rank] > 1e-8 * s[0]
    np.testing.assert_allclose(found.s[strong], s[:rank][strong], rtol=1e-9 if kind != "double" else 1e-6)
    if kind == "shifted":
        np.testing.assert_allclose(np.abs(np.sum(found.v * Vt.T, axis=0)), 1, atol=1e-9)
        np.testing.assert_allclose(np.abs(np.sum(found.u * U, axis=0)), 1, atol=1e-5)
    np.testing.assert_allclose((found.u * found.s) @ found.v.T, A, atol=1e-6 * max(s[0], 1))
    entry = told[name]["groups"][0]
    assert entry["residual"] < 1e-6
    assert entry["orthogonality_v"] < 1e-10


@pytest.mark.parametrize("engine", ENGINES)
def test_manifests_are_the_contracts(through, engine):
    validator = Draft202012Validator(json.loads((CONTRACT / "manifest.schema.json").read_text()))
    told, _ = through(engine)
    for name, manifest in told.items():
        if name in ("bad", "refused", "left"):
            continue
        validator.validate(manifest)
        assert manifest["request"]["want"] == ["s", "v", "u"]
        assert ("mahout" in manifest["writer"]) == (engine != "numpy")


@pytest.mark.parametrize("engine", ENGINES)
def test_the_same_fault_has_the_same_code_through_every_engine(through, engine):
    told, _ = through(engine)
    assert told["bad"] == {name: BAD[name] for name in told["bad"]}
    assert told["refused"] == {code: code for code in told["refused"]}
    wanted = [*KINDS, *ALGORITHMS, *MORE, "plain-1", "plain-2", "plain-7"]
    if engine == "submit":
        wanted = ["auto-shifted", "plain-2"]
    assert told["left"] == sorted(wanted)  # nothing partial, nothing of refused requests


def test_a_request_of_many_groups_takes_those_asked_for(tmp_path, python):
    request = Request(str(CONTRACT / "golden" / "python-matrix-float32"), str(tmp_path / "numpy"), groups=(1,))
    with connect("numpy") as engine:
        engine.run(request)
    code = python("groups.py", CONTRACT / "golden" / "python-matrix-float32", tmp_path / "spark")
    assert code == "CTM_JVM_RUNNING"  # what a second session beside the first is told
    for group in (0, 1):
        assert read_factors(tmp_path / "spark", group).columns == 2
    np.testing.assert_allclose(read_factors(tmp_path / "spark", 1).s, read_factors(tmp_path / "numpy", 1).s, rtol=1e-10)
