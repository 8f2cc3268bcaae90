"""Directories that both languages must read, and those that both must refuse with the same code."""

import json
from pathlib import Path

import numpy as np
import pytest
from helpers import code_of
from jsonschema import Draft202012Validator

from ctmahout.engines import Request, connect
from ctmahout.engines.choice import choose
from ctmahout.errors import ConfigError, catalogue
from ctmahout.exchange import read_arrays, read_factors, read_manifest, read_matrix

CONTRACT = Path(__file__).resolve().parents[2] / "contract" / "v1"
GOLDEN = sorted(path.parent for path in CONTRACT.glob("golden/*/_ctmahout.json"))
BAD = json.loads((CONTRACT / "bad" / "index.json").read_text())
MATRIX = np.array([[1, -2, 3], [0, 5, -1], [2, 2, 2], [-4, 1, 0], [7, -3, 1], [1, 1, -6]], dtype=np.float32)


def schema(name):
    found = json.loads((CONTRACT / f"{name}.schema.json").read_text())
    Draft202012Validator.check_schema(found)
    return Draft202012Validator(found)


# --------------------------------------------------------------------------------------------------------------- golden


@pytest.mark.parametrize("path", GOLDEN, ids=lambda p: p.name)
def test_golden_directories_are_read(path):
    manifest = read_manifest(path)
    schema("manifest").validate(manifest.to_dict())
    for g in manifest.groups:
        if manifest.kind == "matrix":
            A = read_matrix(path, g.group)
            assert (A.shape, A.dtype) == ((g.rows, g.columns), manifest.dtype)
            continue
        found = read_factors(path, g.group)
        assert (found.s.shape, found.v.shape) == ((g.rank,), (g.columns, g.rank))
        assert (np.diff(found.s) <= 0).all()
        np.testing.assert_allclose(found.v.T @ found.v, np.eye(g.rank), atol=1e-10)
        if g.rank:
            assert (found.v[np.argmax(np.abs(found.v), axis=0), np.arange(g.rank)] > 0).all()
        assert (found.u is None) == ("u" not in manifest.request["want"])
        if found.u is not None:
            assert (found.u.shape, found.u.dtype) == ((g.rows, g.rank), manifest.dtype)


@pytest.mark.parametrize("name", ["python-matrix-arrays", "python-matrix-files", "python-model", "python-model-files"])
def test_golden_arrays(name):
    path = CONTRACT / "golden" / name
    manifest = read_manifest(path)
    found = read_arrays(path, manifest)
    double = MATRIX.astype(np.float64) * np.pi
    expected = {"float32": MATRIX[None], "float64": double, "nothing": np.empty((0, 3)), "line": MATRIX[:, 0]}
    assert found.keys() == expected.keys() == {each.name for each in (path / "arrays").iterdir()} | {"nothing"}
    for key, array in expected.items():
        np.testing.assert_array_equal(found[key], array, strict=True)


def test_a_model_is_neither_a_matrix_nor_factors_and_these_are_no_model(tmp_path):
    model = CONTRACT / "golden" / "python-model"
    assert code_of(read_matrix, model) == code_of(read_factors, model) == "CTM_EXCHANGE_KIND"
    assert code_of(connect("numpy").run, Request(str(model), str(tmp_path / "f"))) == "CTM_EXCHANGE_KIND"
    assert list(tmp_path.iterdir()) == []
    for name in ("python-matrix-arrays", "python-factors"):
        assert code_of(read_manifest, CONTRACT / "golden" / name, "model") == "CTM_EXCHANGE_KIND"


def test_the_schema_knows_what_each_kind_needs():
    def made(name, **fields):
        return json.loads((CONTRACT / "golden" / name / "_ctmahout.json").read_text()) | fields

    for name in ("python-matrix-arrays", "python-factors"):
        values = made(name)
        del values["groups"]
        assert not schema("manifest").is_valid(values), name
    assert not schema("manifest").is_valid(made("python-model", layout={}))
    entry = {"shape": [2, 3], "dtype": "float32", "checksum": "0123456789abcdef"}
    for name in ("python-matrix-arrays", "python-model"):
        assert schema("manifest").is_valid(made(name, layout={"arrays": {"a": entry}}))
        for wrong in ({"shape": []}, {"shape": [-1]}, {"dtype": "int32"}, {"checksum": "0"}):
            assert not schema("manifest").is_valid(made(name, layout={"arrays": {"a": entry | wrong}})), (name, wrong)


def test_golden_values():
    np.testing.assert_array_equal(read_matrix(CONTRACT / "golden" / "python-matrix-float32"), MATRIX[:, :2])
    extremes = read_matrix(CONTRACT / "golden" / "python-matrix-float32", 1)
    assert np.signbit(extremes[0, 1])
    assert extremes[1, 0] == np.float32(1e-45)
    found = read_factors(CONTRACT / "golden" / "python-factors")
    np.testing.assert_allclose((found.u * found.s) @ found.v.T, MATRIX * np.pi, atol=1e-12)
    assert read_factors(CONTRACT / "golden" / "python-factors", 1).rank == 0


# ------------------------------------------------------------------------------------------------------------------ bad


@pytest.mark.parametrize(("name", "code"), BAD.items(), ids=list(BAD))
def test_bad_directories_are_refused(name, code):
    assert code_of(read_matrix, CONTRACT / "bad" / name) == code


@pytest.mark.parametrize(("name", "code"), BAD.items(), ids=list(BAD))
def test_the_numpy_engine_refuses_them_too_and_writes_nothing(name, code, tmp_path):
    request = Request(str(CONTRACT / "bad" / name), str(tmp_path / "factors"))
    assert code_of(connect("numpy").run, request) == code
    assert list(tmp_path.iterdir()) == []


def test_every_exchange_code_has_a_bad_directory():
    known = {code for code in catalogue() if code.startswith("CTM_EXCHANGE_")}
    assert known - set(BAD.values()) == {"CTM_EXCHANGE_GROUP_UNKNOWN"}  # which takes a request, see below
    assert {path.name for path in (CONTRACT / "bad").iterdir() if path.is_dir()} == set(BAD)


def test_manifests_of_bad_directories_are_good_but_where_they_should_not_be():
    for name, code in BAD.items():
        file = CONTRACT / "bad" / name / "_ctmahout.json"
        if code in ("CTM_EXCHANGE_MANIFEST", "CTM_EXCHANGE_NOT_COMMITTED", "CTM_EXCHANGE_KIND", "CTM_EXCHANGE_VERSION"):
            continue
        schema("manifest").validate(json.loads(file.read_text()))
    for name in ("manifest-no-dtype", "manifest-no-groups", "manifest-rows-text", "manifest-no-checksum"):
        text = (CONTRACT / "bad" / name / "_ctmahout.json").read_text()
        assert not schema("manifest").is_valid(json.loads(text)), name


# ------------------------------------------------------------------------------------------- the numpy engine


@pytest.fixture
def golden():
    return CONTRACT / "golden" / "python-matrix-float32"


@pytest.mark.parametrize("want", [("s", "v"), ("s", "v", "u"), ("s",)])
def test_what_the_numpy_engine_writes_is_the_contracts(golden, tmp_path, want):
    request = Request(golden.as_uri(), str(tmp_path / "f"), want=want, k=2, groups=(1, 0))
    schema("request").validate(json.loads(request.to_json()))
    with connect("numpy") as engine:
        assert engine.name == "numpy"
        answer = engine.run(request)
    schema("manifest").validate(answer)
    assert answer == json.loads((tmp_path / "f" / "_ctmahout.json").read_text())
    assert answer["writer"]["engine"] == "numpy"
    assert answer["input_sha256"] == read_manifest(golden).sha256
    assert [g["group"] for g in answer["groups"]] == [0, 1]
    assert (tmp_path / "f" / "v").is_dir()  # "s" alone gives V as well, as the JVM does: it is small
    assert (tmp_path / "f" / "u").exists() == ("u" in want)


@pytest.mark.parametrize("algorithm", ["dssvd", "exact", "dspca"])
def test_the_manifest_says_by_which_algorithm_and_of_what(golden, tmp_path, algorithm):
    answer = connect("numpy").run(Request(str(golden), str(tmp_path / "f"), algorithm=algorithm, groups=(0,)))
    schema("manifest").validate(answer)
    assert answer["request"]["algorithm"] == algorithm
    assert answer["centring"] == ("columns" if algorithm == "dspca" else "none")
    found = read_factors(tmp_path / "f")
    assert (found.algorithm, found.centred) == (algorithm, algorithm == "dspca")
    A = MATRIX[:, :2].astype(np.float64)
    A -= A.mean(axis=0) if algorithm == "dspca" else 0.0
    assert found.squared_norm == pytest.approx(np.linalg.norm(A) ** 2, rel=1e-12)
    np.testing.assert_allclose(found.s, np.linalg.svd(A, compute_uv=False), rtol=1e-12)
    assert answer["groups"][0]["residual"] < 1e-7


@pytest.mark.parametrize(
    ("columns", "k", "p", "q", "algorithm"),
    [
        (301, None, 15, 1, "exact"),
        (301, 245, 15, 0, "exact"),
        (301, 50, 15, 0, "dssvd"),
        (301, 50, 15, 1, "exact"),
        (301, 10, 5, 1, "dssvd"),
        (500, None, 0, 0, "exact"),
        (501, None, 0, 0, "dssvd"),
        (1, 1, 15, 1, "exact"),
    ],
)
def test_auto_takes_what_costs_less(columns, k, p, q, algorithm):
    """The same cases as in the JVM's ChoiceTest: both languages choose alike."""
    assert choose(columns, k, p, q).algorithm == algorithm


def test_the_sentence_of_auto_is_that_of_the_jvm():
    why = "with 260 directions of 301 columns, passes: 2, exact multiplies 45451 times for a row, dssvd 313040 times"
    assert choose(301, 245, 15, 1).why == why


def test_the_manifest_says_what_auto_took_and_why(golden, tmp_path):
    asked = {"groups": (0,), "seed": 3}
    answer = connect("numpy").run(Request(str(golden), str(tmp_path / "auto"), algorithm="auto", **asked))
    schema("manifest").validate(answer)
    assert answer["request"]["algorithm"] == "auto"
    assert answer["chosen"]["algorithm"] == "exact"
    assert "2 columns" in answer["chosen"]["why"]
    found = read_factors(tmp_path / "auto")
    assert (found.algorithm, found.centred) == ("exact", False)
    plain = connect("numpy").run(Request(str(golden), str(tmp_path / "exact"), algorithm="exact", **asked))
    assert "chosen" not in plain
    assert [g["checksums"] for g in plain["groups"]] == [g["checksums"] for g in answer["groups"]]
    # A manifest that is no manifest is refused, whichever key it is.
    file = tmp_path / "auto" / "_ctmahout.json"
    file.write_text(json.dumps(answer | {"chosen": "exact"}))
    assert code_of(read_factors, tmp_path / "auto") == "CTM_EXCHANGE_MANIFEST"


def test_factors_of_before_there_was_a_choice_are_of_dssvd():
    for name in ("python-factors", "jvm-factors-float32"):
        found = read_factors(CONTRACT / "golden" / name)
        if "algorithm" not in found.manifest.request:
            assert (found.algorithm, found.centred) == ("dssvd", False)


def test_what_a_request_can_be_refused_for(golden, tmp_path):
    engine, out = connect("numpy"), str(tmp_path / "f")
    assert code_of(engine.run, Request(str(golden), out, groups=(0, 7))) == "CTM_EXCHANGE_GROUP_UNKNOWN"
    assert code_of(engine.run, Request(str(golden), out, k=3)) == "CTM_RANK_RANGE"
    assert code_of(engine.run, Request("/nowhere", out)) == "CTM_INPUT_NOT_FOUND"
    assert code_of(engine.run, Request("https://host/m", out)) == "CTM_LOCATION_INVALID"
    assert code_of(engine.run, Request(str(golden), str(golden / "f"))) == "CTM_OUTPUT_IS_INPUT"
    assert code_of(engine.run, Request(str(golden), "/proc/ctmahout/f")) == "CTM_OUTPUT_UNWRITABLE"
    engine.run(Request(str(golden), out))
    assert code_of(engine.run, Request(str(golden), out)) == "CTM_OUTPUT_EXISTS"
    engine.run(Request(str(golden), out, k=1, overwrite=True))
    assert read_factors(out).rank == 1


SOUND = {"input": "/in", "output": "/out"}
VALUES = [
    None,
    True,
    "all",
    "dssvd",
    "exact",
    "dspca",
    "auto",
    "svd",
    "text",
    "",
    -1,
    0,
    1,
    20,
    21,
    1 << 60,
    1.5,
    [],
    [0],
    [0, 0],
    ["s"],
    ["v"],
    ["s", "v", "x"],
]


@pytest.mark.parametrize("key", ["groups", "algorithm", "k", "p", "q", "seed", "want", "partitions", "overwrite"])
def test_a_request_is_refused_exactly_where_the_schema_refuses_it(key):
    """One text, two checks: the dataclass and the schema agree on every value that JSON can write both ways."""
    for value in VALUES:
        if key == "groups" and value == "all":
            continue  # None in Python
        if key == "p" and value == 1 << 60:
            continue  # more than the JVM's integers hold, which the schema leaves open
        try:
            made = json.loads(Request("/in", "/out", **{key: value}).to_json())
        except (ConfigError, TypeError):
            if not (key == "groups" and value is None):
                assert not schema("request").is_valid({**SOUND, key: value}), (key, value)
            continue
        schema("request").validate(made)
        if not (key == "groups" and value is None):
            assert schema("request").is_valid({**SOUND, key: value}), (key, value)


@pytest.mark.parametrize("path", ["", "relative/path", "C:\\folder", "x"])
def test_relative_paths_are_refused(path):
    assert code_of(Request, path, "/out") == "CTM_REQUEST_INVALID"
    assert code_of(Request, "/in", path) == "CTM_REQUEST_INVALID"


def test_defaults_are_those_of_the_schema():
    properties = json.loads((CONTRACT / "request.schema.json").read_text())["properties"]
    made = Request("/in", "/out").to_dict()
    assert {key: made[key] for key in properties if "default" in properties[key]} == {
        key: value["default"] for key, value in properties.items() if "default" in value
    }
    assert set(made) == set(properties)
