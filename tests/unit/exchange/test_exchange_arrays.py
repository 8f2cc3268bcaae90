"""Arrays beside a matrix and in a model: round trips, damage, what is missing."""

import json
from contextlib import suppress

import numpy as np
import pytest
from helpers import code_of
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from ctmahout.errors import ExchangeError
from ctmahout.exchange import is_exchange, read_arrays, read_manifest, read_matrix, write_matrix, write_model

ROWS = np.arange(12, dtype=np.float32).reshape(4, 3)
SHAPES = [(0,), (0, 5), (1,), (17,), (16, 1), (33, 7), (5, 3, 2), (40, 2, 3, 2), (3, 0), (2, 0, 4)]


def back(path):
    return read_arrays(path, read_manifest(path))


def edited(path, change):
    file = path / "_ctmahout.json"
    values = json.loads(file.read_text())
    change(values["layout"]["arrays"])
    file.write_text(json.dumps(values))
    return read_manifest(path)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_what_is_read_is_what_was_written(tmp_path, shape, dtype):
    array = np.random.default_rng(1).standard_normal(shape).astype(dtype)
    write_matrix(tmp_path / "m", [ROWS], units="1", centring="none", layout={"more": 1}, arrays={"a": array})
    write_model(tmp_path / "n", {"a": array, "b": ROWS}, {"more": 2})
    for folder in ("m", "n"):
        found = back(tmp_path / folder)["a"]
        assert (found.shape, found.dtype) == (shape, dtype)
        assert found.tobytes() == array.tobytes()
    assert read_manifest(tmp_path / "m").layout["more"] == 1
    np.testing.assert_array_equal(read_matrix(tmp_path / "m"), ROWS)
    np.testing.assert_array_equal(back(tmp_path / "n")["b"], ROWS)


@settings(max_examples=25, deadline=None)
@given(
    hnp.arrays(
        st.sampled_from([np.float32, np.float64]),
        hnp.array_shapes(max_dims=3, max_side=20, min_side=0),
        elements=st.floats(allow_nan=False, allow_infinity=False, width=32),
    )
)
def test_every_finite_array_survives_bit_by_bit(tmp_path_factory, array):
    path = tmp_path_factory.mktemp("arrays") / "n"
    write_model(path, {"a": array}, {})
    assert back(path)["a"].tobytes() == array.tobytes()
    assert back(path)["a"].shape == array.shape


@pytest.mark.parametrize("dtype", [np.int32, np.int64, np.bool_, np.float16])
def test_other_types_become_float64_with_the_same_values(tmp_path, dtype):
    array = np.array([[0, 1, 1], [1, 0, 1]], dtype)
    write_model(tmp_path / "n", {"a": array}, {})
    found = back(tmp_path / "n")["a"]
    assert found.dtype == np.float64
    np.testing.assert_array_equal(found, array)


def test_a_view_that_is_not_contiguous_is_stored_as_it_looks(tmp_path):
    array = np.arange(24.0).reshape(4, 3, 2).T
    write_model(tmp_path / "n", {"a": array}, {})
    np.testing.assert_array_equal(back(tmp_path / "n")["a"], array)


def test_only_those_named_are_read(tmp_path):
    write_model(tmp_path / "n", {"a": ROWS, "b": ROWS + 1}, {})
    manifest = read_manifest(tmp_path / "n", "model")
    (tmp_path / "n/arrays/b/part-00000.parquet").write_bytes(b"not Parquet")
    np.testing.assert_array_equal(read_arrays(tmp_path / "n", manifest, ("a",))["a"], ROWS)
    assert code_of(read_arrays, tmp_path / "n", manifest) == "CTM_EXCHANGE_CORRUPT"


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_what_is_not_finite_is_refused_and_nothing_is_left(tmp_path, value):
    array = np.zeros((40, 2))
    array[37, 1] = value
    assert code_of(write_model, tmp_path / "n", {"a": ROWS, "b": array}, {}) == "CTM_EXCHANGE_NOT_FINITE"
    assert list(tmp_path.iterdir()) == []


def test_nothing_is_replaced_unless_asked_and_then_only_an_exchange_directory(tmp_path):
    write_model(tmp_path / "n", {"a": ROWS}, {})
    assert is_exchange(tmp_path / "n")
    assert code_of(write_model, tmp_path / "n", {"a": ROWS}, {}) == "CTM_OUTPUT_EXISTS"
    write_model(tmp_path / "n", {"a": ROWS + 5}, {}, overwrite=True)
    np.testing.assert_array_equal(back(tmp_path / "n")["a"], ROWS + 5)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/letter").write_text("dear")
    assert code_of(write_model, tmp_path / "mine", {"a": ROWS}, {}, overwrite=True) == "CTM_OUTPUT_EXISTS"
    assert (tmp_path / "mine/letter").read_text() == "dear"


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_no_flipped_bit_of_the_values_goes_unseen(tmp_path, dtype):
    array = np.random.default_rng(2).standard_normal((20, 3)).astype(dtype)
    write_model(tmp_path / "n", {"a": array}, {})
    manifest = read_manifest(tmp_path / "n")
    (part,) = (tmp_path / "n/arrays/a").glob("part-*")
    sound = part.read_bytes()
    for at in range(0, len(sound), 41):
        for bit in (0, 7):
            damaged = bytearray(sound)
            damaged[at] ^= 1 << bit
            part.write_bytes(damaged)
            found = array
            with suppress(ExchangeError):
                found = read_arrays(tmp_path / "n", manifest)["a"]
            assert found.tobytes() == array.tobytes(), (at, bit)


def test_a_part_that_is_gone_or_of_another_array_is_found(tmp_path):
    write_model(tmp_path / "n", {"a": ROWS, "b": ROWS + 1}, {})
    manifest = read_manifest(tmp_path / "n")
    a, b = (tmp_path / f"n/arrays/{name}/part-00000.parquet" for name in "ab")
    a.write_bytes(b.read_bytes())
    assert code_of(read_arrays, tmp_path / "n", manifest) == "CTM_EXCHANGE_CHECKSUM"
    a.unlink()
    assert code_of(read_arrays, tmp_path / "n", manifest) == "CTM_EXCHANGE_FILE_MISSING"


MALFORMED = {
    "none": lambda arrays: arrays.pop("a"),
    "no object": lambda arrays: arrays.update(a=3),
    "no shape": lambda arrays: arrays["a"].pop("shape"),
    "empty shape": lambda arrays: arrays["a"].update(shape=[]),
    "shape of text": lambda arrays: arrays["a"].update(shape=["four", 3]),
    "negative shape": lambda arrays: arrays["a"].update(shape=[-4, 3]),
    "fractional shape": lambda arrays: arrays["a"].update(shape=[4.5, 3]),
    "integers": lambda arrays: arrays["a"].update(dtype="int32"),
    "dtype that is no text": lambda arrays: arrays["a"].update(dtype=["float32"]),
    "no checksum": lambda arrays: arrays["a"].pop("checksum"),
}


@pytest.mark.parametrize("change", MALFORMED.values(), ids=list(MALFORMED))
def test_an_array_that_is_missing_or_malformed_in_the_manifest(tmp_path, change):
    write_model(tmp_path / "n", {"a": ROWS}, {})
    manifest = edited(tmp_path / "n", change)
    assert code_of(read_arrays, tmp_path / "n", manifest, ("a",)) == "CTM_EXCHANGE_MANIFEST"


def test_another_shape_or_type_than_the_files_have(tmp_path):
    write_model(tmp_path / "n", {"a": ROWS}, {})
    for fields, code in (
        ({"shape": [4, 2]}, "WIDTH"),
        ({"shape": [5, 3]}, "ROW_MISSING"),
        ({"shape": [3, 3]}, "ROW_RANGE"),
        ({"shape": [10**12, 3]}, "ROW_MISSING"),
        ({"shape": [4, 3], "dtype": "float64"}, "SCHEMA"),
    ):
        manifest = edited(tmp_path / "n", lambda arrays, fields=fields: arrays["a"].update(fields))
        assert code_of(read_arrays, tmp_path / "n", manifest) == f"CTM_EXCHANGE_{code}", fields


def test_arrays_that_are_no_object(tmp_path):
    write_model(tmp_path / "n", {"a": ROWS}, {})
    file = tmp_path / "n/_ctmahout.json"
    for arrays in (3, ["a"], None, "a"):
        file.write_text(json.dumps(json.loads(file.read_text()) | {"layout": {"arrays": arrays}}))
        for names in (("a",), None):
            assert code_of(read_arrays, tmp_path / "n", read_manifest(tmp_path / "n"), names) == "CTM_EXCHANGE_MANIFEST"
