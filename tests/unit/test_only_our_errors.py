"""Whatever odd thing a function or a verb is given, it answers with a coded error; a wrong call with TypeError."""

import json
import re

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import ctmahout
from ctmahout import cli
from ctmahout.dicom import send, summarise
from ctmahout.errors import CtmahoutError, catalogue
from ctmahout.workflows.compare import compare_series
from ctmahout.workflows.convert import convert
from ctmahout.workflows.inspect import inspect_path

ODD_PATHS = [
    "",
    "no/such",
    "s3://",
    "s3:",
    "x://y/z",
    "file://host/x",
    "a\0b",
    "~",
    "http://[",
    "x" * 5000,
    "-",
    "\udce4",
]
ODD_THINGS = [None, 3, 1.5, b"bytes", [], {}, object(), np.zeros(3), float("nan")]


@pytest.fixture(scope="module")
def odd_files(tmp_path_factory, slices):
    """Files of every kind that a path can lead to, none of them what it should be."""
    folder = tmp_path_factory.mktemp("odd")
    slices.write(folder / "series", n=2)
    for name, data in {
        "empty": b"",
        "empty.zip": b"",
        "text.dcm": b"no image",
        "cut.tar.gz": b"\x1f\x8b\x08",
        "v.npz": b"PK\3\4",
        "v.nii": bytes(348),
        "v.npy": b"\x93NUMPY\1\0",
        "zeros.tar": bytes(1024),
    }.items():
        (folder / name).write_bytes(data)
    (folder / "matrix").mkdir()
    (folder / "matrix" / "_ctmahout.json").write_text(json.dumps({"kind": "matrix"}))
    (folder / "run").mkdir()
    (folder / "run" / "run.json").write_text("[]")
    (folder / "nothing").mkdir()
    return folder


def calls(path, folder):
    """Every public function that takes a place of data, given this one; outputs lie in `folder`."""
    numpy = {"engine": "numpy", "report": False, "method": "slices"}
    return {
        "denoise": lambda: ctmahout.denoise(path, folder / "out", **numpy),
        "denoise_study": lambda: ctmahout.denoise_study(path, folder / "out", **numpy),
        "prepare": lambda: ctmahout.prepare(path, folder / "out", method="slices"),
        "factorise": lambda: ctmahout.factorise(path, folder / "out", engine="numpy"),
        "refine": lambda: ctmahout.refine(path, path, path, folder / "out"),
        "reconstruct": lambda: ctmahout.reconstruct(path, path, path, folder / "out"),
        "learn": lambda: ctmahout.learn([path], folder / "out", engine="numpy"),
        "model": lambda: ctmahout.denoise(folder, folder.parent / "out", model=path),
        "dssvd": lambda: ctmahout.dssvd(path, engine="numpy"),
        "read_series": lambda: ctmahout.read_series(path),
        "read_array": lambda: ctmahout.read_array(path),
        "summarise": lambda: summarise(path),
        "inspect_path": lambda: inspect_path(path),
        "compare_series": lambda: compare_series(path, path),
        "convert": lambda: convert(path, folder / "out.npz"),
        "send": lambda: send(path, "127.0.0.1", 1),
        "fetch": lambda: ctmahout.fetch(path, folder / "out"),
    }


NAMES = list(calls(None, None))


def answers(name, path, folder):
    """Call a function; anything but a result, a coded error or a TypeError fails the test."""
    error = None
    try:
        calls(path, folder)[name]()
    except (CtmahoutError, TypeError) as e:
        error = e
    if isinstance(error, CtmahoutError):
        assert error.code in catalogue()
        assert not re.search(r"\{[a-z_]+\}", error.message)
    elif error is not None:
        assert not isinstance(path, str), error


@pytest.mark.parametrize("name", NAMES)
def test_functions_answer_odd_paths_and_things_with_errors_of_ours(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("AWS_ENDPOINT_URL", "no address")  # so that no store is asked
    for path in (*ODD_PATHS, *ODD_THINGS):
        answers(name, path, tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == []


@pytest.mark.parametrize("name", NAMES)
def test_functions_answer_odd_files_with_errors_of_ours(name, odd_files, tmp_path):
    for path in sorted(odd_files.iterdir()):
        if path.name == "series" and name in ("denoise", "denoise_study", "prepare", "convert"):
            continue  # it is one
        answers(name, path, tmp_path)
    assert [p.name for p in tmp_path.iterdir()] in ([], ["out"])


values = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**70), 2**70),
    st.floats(allow_nan=True),
    st.text(max_size=20),
    st.binary(max_size=5),
    st.lists(st.text(max_size=5), max_size=3),
)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(name=st.sampled_from(sorted(ctmahout.options.ACCEPTED["denoise"])), value=values)
def test_odd_options_are_refused_by_name_before_a_file_is_read(name, value, tmp_path):
    with pytest.raises(CtmahoutError) as e:
        ctmahout.denoise(tmp_path / "no such series", tmp_path / "out", **{name: value})
    assert e.value.code in ("CTM_CONFIG_VALUE", "CTM_INPUT_NOT_FOUND", "CTM_LOCATION_INVALID", "CTM_OUTPUT_IS_INPUT")
    assert list(tmp_path.iterdir()) == []


VERBS = {
    "denoise": 2,
    "prepare": 2,
    "dssvd": 2,
    "refine": 4,
    "reconstruct": 4,
    "learn": 2,
    "inspect": 1,
    "compare": 2,
    "convert": 2,
    "send": 1,
}


@pytest.mark.parametrize("verb", VERBS)
def test_verbs_end_with_a_code_of_the_catalogue_and_never_with_a_traceback(verb, odd_files, tmp_path, capsys):
    for path in [*sorted(odd_files.iterdir()), tmp_path / "nowhere", "s3://", "a\nb"]:
        count = VERBS[verb]
        places = [path] if count == 1 else [path] * (count - 1) + [tmp_path / "out.npz"]
        ends = ["127.0.0.1", "1"] if verb == "send" else []
        engine = ["--engine", "numpy"] if verb in ("denoise", "dssvd", "learn") else []
        with pytest.raises(SystemExit) as e:
            cli.main([verb, *map(str, places), *ends, *engine])
        out, err = capsys.readouterr()
        assert e.value.code in (0, 2, 3, 4, 6), (path, err)
        assert "Traceback" not in out + err
        assert e.value.code == 0 or "CTM_" in err or "Usage" in err
