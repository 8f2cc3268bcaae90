"""Steps whose data lies in an S3 store."""

import json

import pytest

import ctmahout
from ctmahout.simulation import write_phantom

FAST = {"effort": "fast", "engine": "numpy", "timestamp": "2026-01-01T12:00:00+00:00"}


@pytest.fixture(scope="module")
def scan(tmp_path_factory):
    """A series, its steps' outputs here, and what `denoise` makes of it: what a store must not change."""
    folder = tmp_path_factory.mktemp("scan")
    series = write_phantom(folder / "phantom", size=48, slices=6)["noisy"]
    ctmahout.prepare(series, folder / "matrix", method="slices")
    ctmahout.factorise(folder / "matrix", folder / "factors", engine="numpy")
    ctmahout.reconstruct(series, folder / "matrix", folder / "factors", folder / "out", timestamp=FAST["timestamp"])
    return folder


def files_of(folder):
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def series_of(bucket, prefix):
    return {name: bucket.get(f"{prefix}/{name}") for name in bucket.files(prefix) if name.endswith(".dcm")}


def test_the_steps_give_the_same_series_through_a_store(bucket, scan):
    bucket.upload(scan / "phantom" / "noisy", "scan")
    uri = bucket.uri
    ctmahout.prepare(uri("scan"), uri("w/matrix"), method="slices")
    manifest = ctmahout.factorise(uri("w/matrix"), uri("w/factors"), engine="numpy")
    found = ctmahout.reconstruct(
        uri("scan"), uri("w/matrix"), uri("w/factors"), uri("out"), timestamp=FAST["timestamp"]
    )
    assert (str(found.path), str(found.report)) == (uri("out"), uri("out/report.html"))
    local = {k: v for k, v in files_of(scan / "out").items() if k.endswith(".dcm")}
    assert series_of(bucket, "out") == local
    assert json.loads(bucket.get("w/factors/_ctmahout.json")) == manifest
    assert bucket.files("out") == sorted(files_of(scan / "out"))
