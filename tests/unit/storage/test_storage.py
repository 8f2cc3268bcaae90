"""Steps whose data lies in an S3 store: results as through paths, and nothing half-written whatever happens."""

import json
import signal
import threading
from pathlib import Path

import numpy as np
import pytest
from helpers import refusal
from object_store import SECRETS, cli, gate

import ctmahout
from ctmahout.errors import CtmahoutError
from ctmahout.options import Config
from ctmahout.storage import parse_location
from ctmahout.workflows.compare import compare_series
from ctmahout.workflows.convert import convert
from ctmahout.workflows.inspect import inspect_path
from ctmahout.workflows.phantom import write_phantom

WHEN = {"timestamp": "2026-01-01T12:00:00+00:00"}
NUMPY = {"engine": "numpy", **WHEN}
MARK = "_ctmahout.partial"


@pytest.fixture(scope="module")
def scan(tmp_path_factory):
    """A series, and what the steps make of it through paths."""
    folder = tmp_path_factory.mktemp("scan")
    series = write_phantom(folder / "phantom", size=64, slices=8)["noisy"]
    ctmahout.prepare(series, folder / "matrix", method="slices")
    ctmahout.factorise(folder / "matrix", folder / "factors", engine="numpy")
    ctmahout.reconstruct(series, folder / "matrix", folder / "factors", folder / "out", **WHEN)
    return folder


@pytest.fixture(scope="module")
def noisy(tmp_path_factory):
    """A series large enough to measure its noise."""
    return write_phantom(tmp_path_factory.mktemp("noisy") / "phantom", size=112, slices=10, dose=0.05)["noisy"]


@pytest.fixture
def filled(bucket, scan):
    """A bucket with the series and its matrix and factors."""
    bucket.upload(scan / "phantom" / "noisy", "scan")
    for name in ("matrix", "factors"):
        bucket.upload(scan / name, name)
    return bucket


def reconstruct(bucket, **options):
    uri = bucket.uri
    return ctmahout.reconstruct(uri("scan"), uri("matrix"), uri("factors"), uri("out"), **WHEN, **options)


def names_below(folder):
    return sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file())


def same_series(bucket, prefix, folder):
    names = [name for name in names_below(folder) if name.endswith(".dcm")]
    return bool(names) and all(bucket.get(f"{prefix}/{name}") == (folder / name).read_bytes() for name in names)


def code_of(call, *args, **options):
    e = refusal(call, *args, **options)
    for secret in SECRETS.values():
        assert secret not in str(e)
    assert "/tmp" not in e.message
    return e.code


# ------------------------------------------------------------------------------------------------------- same results


def test_the_steps_give_the_same_series_through_a_store(bucket, scan):
    bucket.upload(scan / "phantom" / "noisy", "scan")
    uri = bucket.uri
    process = cli("prepare", uri("scan"), uri("matrix"), "--method", "slices", "--json", bucket=bucket)
    told = process.communicate(timeout=120)[0]
    assert process.returncode == 0, told
    manifest = ctmahout.factorise(uri("matrix"), uri("factors"), engine="numpy")
    assert json.loads(bucket.get("factors/_ctmahout.json")) == manifest
    for name in bucket.files("matrix"):
        if name.startswith("part-"):  # rows are for Spark: what is as large as the series is not fetched for nothing
            bucket.delete(f"matrix/{name}")
    found = reconstruct(bucket)
    assert (str(found.path), str(found.report)) == (uri("out"), uri("out/report.html"))
    assert [str(s.path) for s in found.series] == [uri("out/auto")]
    assert same_series(bucket, "out", scan / "out")
    assert bucket.files("out") == names_below(scan / "out")
    written = ["out/run.json", "out/report.html", "matrix/_ctmahout.json", "factors/_ctmahout.json"]
    for text in (told, *(bucket.get(key).decode() for key in written)):
        assert not [secret for secret in (*SECRETS.values(), bucket.endpoint) if secret in text]


def test_denoise_with_its_work_in_a_store_gives_the_same_series(bucket, scan, tmp_path):
    bucket.upload(scan / "phantom" / "noisy", "scan")
    ctmahout.denoise(scan / "phantom" / "noisy", tmp_path / "out", method="slices", **NUMPY)
    ctmahout.denoise(bucket.uri("scan"), bucket.uri("out"), work=bucket.uri("work"), method="slices", **NUMPY)
    assert same_series(bucket, "out", tmp_path / "out")
    assert {name.partition("/")[0] for name in bucket.files("work")} == {"matrix", "factors"}


def test_a_model_is_learnt_from_a_store_and_read_from_it(bucket, noisy, tmp_path):
    bucket.upload(noisy, "scan")
    options = {"groups": 8, "engine": "numpy", "algorithm": "exact"}
    here = ctmahout.learn([noisy], tmp_path / "model", **options)
    there = ctmahout.learn([bucket.uri("scan")], bucket.uri("model"), **options)
    assert here.to_dict() == there.to_dict()
    assert bucket.files("model") == names_below(tmp_path / "model")
    # Of eight groups it is too poor to be used, which only its content tells.
    with pytest.raises(CtmahoutError) as e:
        ctmahout.denoise(bucket.uri("scan"), bucket.uri("out"), model=bucket.uri("model"), **WHEN)
    assert (e.value.code, bucket.uri("model") in e.value.message) == ("CTM_MODEL_UNFIT", True)
    assert bucket.keys("out") == []


def test_a_study_in_a_store_goes_on_where_it_was(bucket, scan):
    bucket.upload(scan / "phantom", "study")
    options = {"method": "slices", **NUMPY}
    study = ctmahout.denoise_study(bucket.uri("study"), bucket.uri("out"), **options)
    assert (str(study.path), [s.outcome for s in study.series]) == (bucket.uri("out"), ["done", "done"])
    assert json.loads(bucket.get("out/study.json"))["kind"] == "study"
    for name in bucket.files(f"out/{study.series[0].folder}"):
        bucket.delete(f"out/{study.series[0].folder}/{name}")
    again = ctmahout.denoise_study(bucket.uri("study"), bucket.uri("out"), **options)
    assert [s.outcome for s in again.series] == ["done", "kept"]
    bucket.put("theirs/notes.txt", b"mine")
    assert code_of(ctmahout.denoise_study, bucket.uri("study"), bucket.uri("theirs")) == "CTM_OUTPUT_EXISTS"
    assert bucket.files("theirs") == ["notes.txt"]


def test_the_other_verbs_take_uris(bucket, scan):
    uri = bucket.uri
    folders = write_phantom(uri("phantom"), size=64, slices=8)
    assert str(folders["noisy"]) == uri("phantom/noisy")
    assert same_series(bucket, "phantom", scan / "phantom")
    assert code_of(write_phantom, uri("phantom"), size=64, slices=8) == "CTM_OUTPUT_EXISTS"
    write_phantom(uri("phantom"), size=64, slices=2, overwrite=True)
    assert len(bucket.files("phantom")) == 4
    bucket.upload(scan / "matrix", "matrix")
    assert len(inspect_path(parse_location(uri("phantom")), Config()).series) == 2
    assert inspect_path(parse_location(uri("matrix")), Config()).manifest.kind == "matrix"
    volume, place = convert(uri("phantom/noisy"), uri("volume.npz"))
    assert (str(place), bucket.keys("volume")) == (uri("volume.npz"), ["volume.npz"])
    assert code_of(convert, uri("phantom/noisy"), uri("volume.npz")) == "CTM_OUTPUT_EXISTS"
    convert(uri("volume.npz"), uri("volume.npz.npz"), Config(overwrite=True))
    assert (
        compare_series(parse_location(uri("volume.npz")), parse_location(uri("phantom/noisy")), Config())["rmse_hu"][
            "soft"
        ]
        == 0
    )
    found = ctmahout.dssvd(uri("matrix"), engine="numpy")
    assert found.s.size == 8
    # The files are read again when a derived series is written, long after they were fetched.
    again = ctmahout.read_series(uri("phantom/noisy"))
    np.testing.assert_array_equal(again.hu, volume.hu)
    paths = [header.path for header in again.source.slices]
    assert all(path.is_file() for path in paths)
    del again
    assert not any(path.exists() for path in paths)


# ----------------------------------------------------------------------------------------------------------- refusals


@pytest.mark.parametrize(
    ("key", "code"),
    [("nowhere", "CTM_INPUT_NOT_FOUND"), ("scan", "CTM_EXCHANGE_NOT_COMMITTED"), ("factors", "CTM_EXCHANGE_KIND")],
)
def test_an_input_that_will_not_do_is_refused_by_its_uri(filled, key, code, tmp_path):
    with pytest.raises(CtmahoutError) as e:
        ctmahout.factorise(filled.uri(key), tmp_path / "f", engine="numpy")
    assert (e.value.code, e.value.message.partition(" ")[0].partition("/_")[0]) == (code, filled.uri(key))


def test_buckets_that_are_not_there(bucket, scan):
    nowhere = "s3://no-such-bucket-anywhere/k"
    assert code_of(ctmahout.prepare, nowhere, bucket.uri("m")) == "CTM_INPUT_NOT_FOUND"
    assert code_of(ctmahout.prepare, scan / "phantom" / "noisy", nowhere) == "CTM_STORAGE_WRITE"
    assert bucket.keys() == []


def test_an_output_that_is_there_is_replaced_only_if_it_is_ours(filled, scan):
    filled.put("out/notes.txt", b"mine")
    assert code_of(reconstruct, filled, overwrite=True) == "CTM_OUTPUT_EXISTS"
    filled.delete("out/notes.txt")
    reconstruct(filled, maps=True)
    assert code_of(reconstruct, filled) == "CTM_OUTPUT_EXISTS"
    assert any(name.startswith("noise/") for name in filled.files("out"))
    reconstruct(filled, overwrite=True)
    assert filled.files("out") == names_below(scan / "out")
    assert code_of(ctmahout.prepare, filled.uri("scan"), filled.uri("scan/matrix")) == "CTM_OUTPUT_IS_INPUT"


def test_no_right_and_no_answer_are_told_without_a_secret(filled, monkeypatch, tmp_path):
    with gate(filled.endpoint, lambda method, path: (403, "AccessDenied")) as endpoint:
        monkeypatch.setenv("AWS_ENDPOINT_URL", endpoint)
        assert code_of(ctmahout.read_series, filled.uri("scan")) == "CTM_STORAGE_READ"
        assert code_of(ctmahout.prepare, tmp_path, filled.uri("m")) == "CTM_STORAGE_WRITE"
    monkeypatch.setenv("AWS_ENDPOINT_URL", "not a URL")
    assert code_of(ctmahout.read_series, filled.uri("scan")) == "CTM_CONFIG_VALUE"


def test_a_flipped_bit_in_an_object_is_found(filled):
    (name,) = [name for name in filled.files("factors") if name.startswith("v/")]
    content = bytearray(filled.get(f"factors/{name}"))
    content[len(content) // 3] ^= 1
    filled.put(f"factors/{name}", bytes(content))
    assert code_of(reconstruct, filled) in ("CTM_EXCHANGE_CHECKSUM", "CTM_EXCHANGE_CORRUPT")
    assert filled.keys("out") == []


def test_a_key_does_not_lead_out_of_the_folder(filled, monkeypatch, tmp_path):
    filled.put("scan/../../../evil", b"1")
    assert code_of(ctmahout.read_series, filled.uri("scan")) == "CTM_STORAGE_READ"
    assert not list(Path(tmp_path).rglob("evil"))


# ------------------------------------------------------------------------------------------------------------- faults


def test_a_store_that_asks_to_slow_down_is_asked_again(filled, scan, monkeypatch):
    seen = {}

    def twice(method, path):
        seen[method, path] = seen.get((method, path), 0) + 1
        return (503, "SlowDown") if seen[method, path] <= 2 and len(seen) % 20 == 5 else None

    with gate(filled.endpoint, twice) as endpoint:
        monkeypatch.setenv("AWS_ENDPOINT_URL", endpoint)
        reconstruct(filled)
    assert max(seen.values()) >= 3
    assert same_series(filled, "out", scan / "out")


@pytest.mark.parametrize("overwrite", [False, True])
def test_a_failure_in_mid_upload_leaves_nothing(filled, monkeypatch, overwrite):
    """Also nothing of what was to be replaced: it ceased to be whole."""
    if overwrite:
        reconstruct(filled)
    there = filled.keys("out") if overwrite else []

    def full(method, path):
        return (400, "QuotaExceeded") if method in ("PUT", "POST") and "0003" in path else None

    with gate(filled.endpoint, full) as endpoint:
        monkeypatch.setenv("AWS_ENDPOINT_URL", endpoint)
        assert code_of(reconstruct, filled, overwrite=overwrite) == "CTM_STORAGE_WRITE"
    assert filled.keys("out") == []
    assert len(there) > 5 or not overwrite


@pytest.fixture
def halted(filled):
    """A run whose upload of a slice does not come back, and the way to let it."""
    reached, open_again = threading.Event(), threading.Event()

    def halt(method, path):
        if method in ("PUT", "POST") and "0003" in path and not open_again.is_set():
            reached.set()
            open_again.wait(60)

    with gate(filled.endpoint, halt) as endpoint:
        bucket = type(filled)(filled.name, endpoint)
        uris = [filled.uri(key) for key in ("scan", "matrix", "factors", "out")]
        process = cli("reconstruct", *uris, "--no-report", bucket=bucket, start_new_session=True)
        assert reached.wait(120), process.communicate()[0]
        yield process, open_again
        open_again.set()
        process.kill()
        process.communicate()


def test_ctrl_c_in_mid_upload_leaves_nothing(filled, halted):
    process, open_again = halted
    assert MARK in filled.files("out")
    process.send_signal(signal.SIGINT)
    open_again.set()
    out, _ = process.communicate(timeout=120)
    assert (process.returncode, "CTM_INTERRUPTED" in out) == (130, True), out
    assert filled.keys("out") == []


def test_what_a_killed_run_has_left_is_not_read_and_is_replaced(filled, halted, scan):
    process, open_again = halted
    process.kill()
    process.wait()
    open_again.set()
    assert MARK in filled.files("out")
    assert "run.json" not in filled.files("out")
    assert code_of(ctmahout.read_series, filled.uri("out")) == "CTM_INPUT_UNFINISHED"
    reconstruct(filled)
    assert filled.files("out") == names_below(scan / "out")
    assert same_series(filled, "out", scan / "out")


def test_of_two_writers_the_first_gives_way(filled, monkeypatch):
    """Another run takes the place while ours is copying: it finds a mark that looks left, and puts its own."""

    def another(method, path):
        if method in ("PUT", "POST") and "0003" in path:
            filled.put(f"out/{MARK}", b"another")

    with gate(filled.endpoint, another) as endpoint:
        monkeypatch.setenv("AWS_ENDPOINT_URL", endpoint)
        assert code_of(reconstruct, filled) == "CTM_OUTPUT_EXISTS"
    assert filled.get(f"out/{MARK}") == b"another"
    assert "run.json" not in filled.files("out")
