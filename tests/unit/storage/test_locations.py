"""Names of places: what is a path, what is a URI, and what is refused."""

from pathlib import Path

import pytest
from helpers import code_of

from ctmahout.errors import CtmahoutError
from ctmahout.storage import Uri, hadoop_name, parse_location, refuse_overlap
from ctmahout.storage.environment import endpoint


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("scan", Path("scan")),
        ("/data/scan", Path("/data/scan")),
        ("2026-11-26T12:00", Path("2026-11-26T12:00")),
        ("a:b/c", Path("a:b/c")),
        ("file:///data/a%20scan", Path("/data/a scan")),
        ("file:/data/scan", Path("/data/scan")),
        ("file://localhost/data/scan", Path("/data/scan")),
        ("s3://b/k/scan", Uri("s3", "b", "k/scan")),
        ("s3://b/k/scan/", Uri("s3", "b", "k/scan")),
        ("s3a://b/k", Uri("s3", "b", "k")),
        ("S3://b/k", Uri("s3", "b", "k")),
        ("s3://b", Uri("s3", "b")),
        ("s3://b/100%25 real#1", Uri("s3", "b", "100%25 real#1")),
        ("gs://b/k", Uri("gs", "b", "k")),
        ("abfss://c@account.dfs.core.windows.net/k", Uri("abfss", "c@account.dfs.core.windows.net", "k")),
        (Path("s3://b/k"), Uri("s3", "b", "k")),
        (Path("file:///data/scan"), Path("/data/scan")),
    ],
)
def test_what_is_a_path_and_what_is_a_uri(given, expected):
    assert parse_location(given) == expected
    assert parse_location(parse_location(given)) == expected


@pytest.mark.parametrize("given", [None, 3, b"a", [], object()])
def test_what_is_no_place_is_told_what_puts_a_volume_into_one(given):
    with pytest.raises(TypeError, match=f"not {type(given).__name__}; write_array"):
        parse_location(given)


@pytest.mark.parametrize(
    "given",
    [
        "s3:///k",
        "s3://b/a//k",
        "s3://b/../k",
        "s3://b/./k",
        "s3://AKIA:HUSH@b/k",
        "s3://HUSH@b/k",
        "gs://HUSH@b/k",
        "s3://b/k?secret_key=HUSH",
        "s3://b?secret_key=HUSH",
        "https://user:HUSH@host/k",
        "file://otherhost/data",
    ],
)
def test_a_place_that_cannot_be_used_is_refused_without_telling_a_secret(given):
    with pytest.raises(CtmahoutError) as e:
        parse_location(given)
    assert e.value.code == "CTM_LOCATION_INVALID"
    assert "HUSH" not in str(e.value)


def test_a_uri_has_the_parts_of_a_path():
    uri = parse_location("s3://b/k") / "matrix"
    assert (str(uri), uri.name, uri.path) == ("s3://b/k/matrix", "matrix", "b/k/matrix")
    assert str(parse_location("s3://b") / "matrix") == "s3://b/matrix"
    assert parse_location("s3://b").name == "b"


def test_hadoop_calls_its_connector_s3a():
    names = ["s3://b/k", "s3a://b/k", "gs://b/k", "/data/s3://x", "file:///data"]
    assert [hadoop_name(n) for n in names] == ["s3a://b/k", "s3a://b/k", "gs://b/k", "/data/s3://x", "file:///data"]


@pytest.mark.parametrize(
    ("output", "source"),
    [("s3://b/a", "s3://b/a"), ("s3://b/a/out", "s3://b/a"), ("s3://b/a", "s3a://b/a/in"), ("s3://b/a", "s3://b")],
)
def test_an_output_in_the_input_is_refused(output, source):
    assert code_of(refuse_overlap, parse_location(output), parse_location(source)) == "CTM_OUTPUT_IS_INPUT"


@pytest.mark.parametrize(("output", "source"), [("s3://b/ab", "s3://b/a"), ("s3://c/a", "s3://b/a"), ("a", "s3://b/a")])
def test_other_places_do_not_overlap(output, source):
    refuse_overlap(parse_location(output), parse_location(source))


def test_an_endpoint_is_told_without_the_secrets_in_it(monkeypatch):
    monkeypatch.setenv("AWS_ENDPOINT_URL", "https://user:HUSH@host:9000/?token=HUSH")
    assert endpoint() == "https://host:9000"
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", "user:HUSH@host")
    with pytest.raises(CtmahoutError) as e:
        endpoint()
    assert e.value.code == "CTM_CONFIG_VALUE"
    assert "HUSH" not in str(e.value)
