"""Images from elsewhere: real servers that break, lie and attack; what arrives is all of it or a coded error."""

import gzip
import hashlib
import io
import json
import random
import shutil
import socket
import subprocess
import tarfile
import zipfile
from collections import Counter
from collections.abc import Callable

import numpy as np
import pydicom
import pytest
from web import Tcia, Web, served

from ctmahout import denoise, fetch
from ctmahout.dicom import read_series
from ctmahout.errors import CtmahoutError
from ctmahout.storage.download import http, unpack
from ctmahout.workflows.phantom import write_phantom

FILES = {"a/one.dcm": bytes(range(256)) * 900, "a/two.dcm": b"", "readme.txt": b"words"}


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(http, "_BACKOFF_S", 0.001)
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(scope="module")
def running():
    with served(Web()) as web:
        yield web


@pytest.fixture
def web(running):
    running.files, running.faults, running.ranges = {}, [], True
    running.seen.clear()
    return running


@pytest.fixture(scope="module")
def scan(tmp_path_factory):
    """A tiny phantom series as TCIA would hold it."""
    folder = write_phantom(tmp_path_factory.mktemp("scan") / "phantom", size=32, slices=4)["noisy"]
    return pydicom.dcmread(next(folder.iterdir())).SeriesInstanceUID, folder


@pytest.fixture
def tcia(scan):
    with served(Tcia(*scan)) as archive:
        archive.base = archive.url + "/v4/"
        yield archive


def zipped(files):
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return made.getvalue()


def tarred(files, mode="w"):
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode=mode) as archive:
        for name, data in files.items():
            member = data if isinstance(data, tarfile.TarInfo) else tarfile.TarInfo(name)
            if member is not data:
                member.size = len(data)
            archive.addfile(member, None if member is data else io.BytesIO(data))
    return made.getvalue()


def below(folder):
    return {str(f.relative_to(folder)): f.read_bytes() for f in folder.rglob("*") if f.is_file()}


def fails(tmp_path, what, *said, **options):
    """Return the code of a fetch that is refused, and see that it left nothing and gave nothing away."""
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(CtmahoutError) as e:
        fetch(what, tmp_path / "deep" / "out", **options)
    assert sorted(tmp_path.rglob("*")) == before
    for secret in ("s3cret", "t0ken"):
        assert secret not in str(e.value)
    for text in said:
        assert text in e.value.message
    return e.value.code


def stops(at: int, times: int = 1) -> list[Callable]:
    """Return faults that break off a body there."""

    def fault(handler):
        handler.stop = at
        return False

    return [fault] * times


def says(status: int, times: int = 1) -> list[Callable]:
    return [lambda handler: handler.send_error(status) or True] * times


def hang_up(handler):
    handler.close_connection = True
    return True


ARCHIVES = {
    "zip": zipped,
    "tar": tarred,
    "tar.gz": lambda files: tarred(files, "w:gz"),
    "tar.bz2": lambda files: tarred(files, "w:bz2"),
    "tar.xz": lambda files: tarred(files, "w:xz"),
}


@pytest.mark.parametrize("kind", ARCHIVES)
def test_an_archive_is_told_by_its_content(web, tmp_path, kind):
    body = web.files["/some/name"] = ARCHIVES[kind](FILES)
    steps = []
    url = web.url.replace("//", "//user:s3cret@") + "/some/name?sig=t0ken#t0ken"
    fetched = fetch(url, tmp_path / "out", progress=lambda *step: steps.append(step))
    note = json.loads((tmp_path / "out" / "fetch.json").read_text())
    assert below(tmp_path / "out") == FILES | {"fetch.json": (tmp_path / "out" / "fetch.json").read_bytes()}
    assert note["source"] == fetched.source == web.url + "/some/name"
    assert note["sha256"] == fetched.sha256 == hashlib.sha256(body).hexdigest()
    assert (fetched.files, fetched.size_bytes) == (3, len(body))
    assert steps[-1] == ("fetch", len(body), len(body))
    assert "s3cret" not in json.dumps(note)
    assert "t0ken" not in json.dumps(note)


@pytest.mark.parametrize("last", ["zip", "tar.gz"])
def test_a_tar_that_ends_in_an_archive_is_unpacked_as_the_tar_it_is(web, tmp_path, last):
    files = {"a/1.dcm": b"one", "a/2.dcm": b"two", "a/other": ARCHIVES[last]({"inner.dcm": b"inner"})}
    body = tarred(files)
    web.files["/study.tar"] = body.rstrip(b"\0") + bytes(1024) if last == "zip" else body
    assert fetch(web.url + "/study.tar", tmp_path / "out").files == 3
    assert {name: data for name, data in below(tmp_path / "out").items() if name != "fetch.json"} == files


def test_a_file_of_numpy_is_no_archive_of_images(web, tmp_path):
    made = io.BytesIO()
    np.savez(made, hu=np.zeros((2, 3, 3), np.float32))
    web.files["/volume.npz"] = made.getvalue()
    assert fails(tmp_path, web.url + "/volume.npz", "NumPy") == "CTM_FETCH_ARCHIVE"


@pytest.mark.parametrize("counts_in_series", [True, False])
def test_a_public_series(tcia, scan, tmp_path, counts_in_series):
    uid, folder = scan
    tcia.counts_in_series = counts_in_series
    fetched = fetch(f"tcia:{uid}", tmp_path / "out", tcia=tcia.base)
    assert fetched.source == f"tcia:{uid}"
    assert set(below(tmp_path / "out")) == {*tcia.images, "LICENSE", "fetch.json"}
    assert np.array_equal(read_series(tmp_path / "out").hu, read_series(folder).hu)
    done = denoise(tmp_path / "out", tmp_path / "denoised", method="slices", engine="numpy", report=False)
    assert read_series(done.series[0].path).shape == (4, 32, 32)


def test_a_series_that_is_not_whole(tcia, scan, tmp_path):
    what = f"tcia:{scan[0]}"
    images, hashes = dict(tcia.images), dict(tcia.hashes)
    first, second = list(images)[:2]

    def given(said, **changes):
        for name, value in changes.items():
            setattr(tcia, name, value)
        assert fails(tmp_path, what, said, tcia=tcia.base) == "CTM_FETCH_INCOMPLETE"
        tcia.images, tcia.hashes, tcia.count, tcia.list_hashes = dict(images), dict(hashes), len(images), True

    given("4 images, expected 5", count=5)
    # As when the archive's own file is lost: images and list agree with each other, not with the count.
    fewer = {name: data for name, data in images.items() if name != first}
    given("3 images", images=fewer, hashes={name: hashes[name] for name in fewer})
    given("fewer images", images=fewer)
    given("checksum", images=images | {first: images[second]})
    given("no list", list_hashes=False)
    assert fails(tmp_path, "tcia:1.2.3", "no public series", tcia=tcia.base) == "CTM_FETCH_NOT_FOUND"
    tcia.count = "many"
    assert fails(tmp_path, what, tcia=tcia.base) == "CTM_FETCH_UNAVAILABLE"


def test_a_series_begins_anew_when_the_connection_breaks(tcia, scan, tmp_path):
    tcia.faults = [lambda handler: False, *stops(1000), hang_up, *says(503, 2), *stops(5000)]
    fetch(f"tcia:{scan[0]}", tmp_path / "out", tcia=tcia.base)
    assert set(tcia.images.items()) <= set(below(tmp_path / "out").items())
    assert len(tcia.seen) == 7
    assert not any("Range" in headers for _, headers in tcia.seen)


def test_a_broken_connection_is_resumed(web, tmp_path):
    noise = {"noise": random.Random(0).randbytes(700_000)}
    body = web.files["/x"] = tarred(noise)
    # More breaks than tries: each gets a piece further.
    web.faults = [fault for n in range(1, 10) for fault in stops(n * 65536 + 10)]
    assert fetch(web.url + "/x", tmp_path / "out").sha256 == hashlib.sha256(body).hexdigest()
    starts = [headers.get("Range") for _, headers in web.seen]
    assert starts == [None, *(f"bytes={n * 65536}-" for n in range(1, 10))]
    # Another file by then: no mixture of two.
    web.files["/x"], web.faults = tarred({"old": bytes(900_000)}), stops(400_000)
    web.faults.append(lambda handler: web.files.update({"/x": body}))
    assert fetch(web.url + "/x", tmp_path / "new").sha256 == hashlib.sha256(body).hexdigest()
    # No parts to be had: from the beginning.
    web.ranges, web.faults = False, stops(400_000, 3)
    assert fetch(web.url + "/x", tmp_path / "again").sha256 == hashlib.sha256(body).hexdigest()
    assert "Range" not in web.seen[-1][1]


def test_a_server_that_never_sends_all_of_it(web, tmp_path):
    web.files["/x"], web.ranges, web.faults = tarred(FILES), False, stops(70_000, 99)
    assert fails(tmp_path, web.url + "/x", "65536 bytes") == "CTM_FETCH_UNAVAILABLE"
    assert len(web.seen) == 6


@pytest.mark.parametrize(
    ("status", "code", "asked"),
    [
        (503, "CTM_FETCH_UNAVAILABLE", 6),
        (500, "CTM_FETCH_UNAVAILABLE", 6),
        (400, "CTM_FETCH_UNAVAILABLE", 1),
        (416, "CTM_FETCH_UNAVAILABLE", 6),
        (404, "CTM_FETCH_NOT_FOUND", 1),
        (410, "CTM_FETCH_NOT_FOUND", 1),
        (401, "CTM_FETCH_FORBIDDEN", 1),
        (403, "CTM_FETCH_FORBIDDEN", 1),
    ],
)
def test_servers_that_say_no(web, tmp_path, status, code, asked):
    web.faults = says(status, 99)
    url = web.url.replace("//", "//user:s3cret@") + "/x?sig=t0ken"
    assert fails(tmp_path, url, "" if status == 416 else str(status), web.url + "/x") == code
    assert len(web.seen) == asked


def test_no_server(web, tmp_path):
    web.faults = [hang_up] * 99
    assert fails(tmp_path, web.url + "/x?sig=t0ken", web.url) == "CTM_FETCH_UNAVAILABLE"
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"http://user:s3cret@127.0.0.1:{unused.getsockname()[1]}/x?sig=t0ken"
        assert fails(tmp_path, url, "Connection refused") == "CTM_FETCH_UNAVAILABLE"
    assert fails(tmp_path, "http://no-such-host.invalid/x?sig=t0ken") == "CTM_FETCH_UNAVAILABLE"


def test_an_address_that_has_moved(web, tmp_path):
    def moved(to):
        def fault(handler):
            handler.send_response(302)
            handler.send_header("Location", to)
            handler.send_header("Content-Length", "0")
            handler.end_headers()
            return True

        return fault

    web.files["/y"] = zipped(FILES)
    web.faults = [moved("/y?sig=t0ken")]
    assert fetch(web.url + "/x", tmp_path / "out").source == web.url + "/x"
    for to, said in (("ftp://t0ken/y", "InvalidSchema"), ("/x?sig=t0ken", "TooManyRedirects")):
        web.faults = [moved(to)] * 99
        assert fails(tmp_path, web.url + "/x", said) == "CTM_FETCH_UNAVAILABLE"


def test_a_certificate_that_nobody_vouches_for(tmp_path, monkeypatch):
    pem, out = tmp_path / "pem", tmp_path / "out"
    make = "openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=localhost -addext subjectAltName=DNS:localhost"
    subprocess.run([*make.split(), "-keyout", pem, "-out", tmp_path / "ca"], check=True, capture_output=True)
    pem.write_text(pem.read_text() + (tmp_path / "ca").read_text())
    with served(Web(), pem) as web:
        web.files["/x"] = zipped(FILES)
        assert fails(tmp_path, web.url + "/x?sig=t0ken", "self-signed certificate") == "CTM_FETCH_CERTIFICATE"
        assert fails(tmp_path, web.url.replace("https", "http") + "/x") == "CTM_FETCH_UNAVAILABLE"
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(tmp_path / "ca"))
        assert fetch(web.url + "/x", out).files == 3


@pytest.mark.parametrize(
    "what",
    [
        "",
        "tcia:",
        "tcia:1.2.x",
        "idc:",
        "idc:1.2.x",
        "tcia:../1.2",
        "tcia:" + "1." * 40 + "1",
        "ftp://user:s3cret@h/x",
        "/data",
        "http://",
        "http://[",
    ],
)
def test_what_nobody_can_fetch(tmp_path, what):
    assert fails(tmp_path, what) == "CTM_FETCH_SOURCE"


def link(kind, name, target):
    member = tarfile.TarInfo(name)
    member.type, member.linkname = kind, target
    return member


def device(name):
    member = tarfile.TarInfo(name)
    member.type = tarfile.CHRTYPE
    return member


def zip_link():
    info = zipfile.ZipInfo("link")
    info.external_attr = 0o120777 << 16
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as archive:
        archive.writestr(info, "/etc/passwd")
    return made.getvalue()


def twice():
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as archive:
        archive.writestr("one", "1")
        with pytest.warns(UserWarning, match="Duplicate"):
            archive.writestr("one", "2")
    return made.getvalue()


def encrypted():
    body = bytearray(zipped({"one": b"1"}))
    body[6] |= 1
    body[body.index(b"PK\1\2") + 8] |= 1
    return bytes(body)


ATTACKS = {
    "zip above": lambda: zipped({"../../evil": b"x"}),
    "zip absolute": lambda: zipped({"/tmp/evil": b"x"}),
    "zip above in the middle": lambda: zipped({"a/../../evil": b"x"}),
    "zip link": zip_link,
    "zip twice": twice,
    "zip file as folder": lambda: zipped({"a": b"x", "a/b": b"x"}),
    "zip encrypted": encrypted,
    "zip that takes our name": lambda: zipped({"fetch.json": b"{}"}),
    "tar above": lambda: tarred({"../evil": b"x"}),
    "tar absolute": lambda: tarred({"/tmp/evil": b"x"}),
    "tar link": lambda: tarred({"l": link(tarfile.SYMTYPE, "l", "/etc"), "l/evil": b"x"}),
    "tar hard link": lambda: tarred({"l": link(tarfile.LNKTYPE, "l", "/etc/passwd")}),
    "tar link to itself": lambda: tarred({"l": link(tarfile.SYMTYPE, "l", "l")}),
    "tar device": lambda: tarred({"null": device("null")}),
    "tar cut between members": lambda: tarred({"a": b"x" * 512, "b": b"x" * 512})[:1024],
    "page": lambda: b"<html>" + b"sign in please " * 1000,
    "nothing": lambda: b"",
}


@pytest.mark.parametrize("attack", ATTACKS)
def test_archives_that_are_not_unpacked(web, tmp_path, attack):
    web.files["/x"] = ATTACKS[attack]()
    assert fails(tmp_path, web.url + "/x?sig=t0ken", web.url) == "CTM_FETCH_ARCHIVE"


def test_a_bomb_does_not_go_off(web, tmp_path):
    limit = 1 / (1 << 10)  # a MiB
    zeros = bytes(8 << 20)
    late = tarred({"a": b"x"}) + zeros
    for body in (
        zipped({"a": zeros}),
        tarred({"a": zeros}, "w:gz"),
        gzip.compress(late),
        zipped({str(n): bytes(9 << 16) for n in (1, 2)}),
    ):
        assert len(body) < 1 << 20
        web.files["/x"] = body
        assert fails(tmp_path, web.url + "/x", limit_gib=limit) == "CTM_FETCH_TOO_LARGE"
    web.files["/x"] = zipped({"a": random.Random(0).randbytes(2 << 20)})
    assert fails(tmp_path, web.url + "/x", limit_gib=limit) == "CTM_FETCH_TOO_LARGE"
    assert fetch(web.url + "/x", tmp_path / "out", limit_gib=0.01).files == 1


@pytest.mark.parametrize("kind", ARCHIVES)
def test_damaged_archives_end_in_an_error_or_whole(tmp_path, kind):
    chance = random.Random(kind)
    good = ARCHIVES[kind](FILES)
    refused = Counter()
    for number in range(120):
        body = bytearray(good)
        if number % 3:
            body[chance.randrange(len(body))] ^= 1 << chance.randrange(8)
        else:
            del body[chance.randrange(len(body)) :]
        folder = tmp_path / "in" / str(number)
        folder.mkdir(parents=True)
        try:
            unpack(io.BytesIO(body), folder, source="here", limit=1 << 24)
        except CtmahoutError as e:
            refused[e.code] += 1
        else:
            assert number % 3, "an archive that was cut off"
            # A tar has no checksum of its own, and a zip none of its names.
            assert kind in ("tar", "zip") or below(folder) == FILES
        shutil.rmtree(folder)
    assert list(refused) == ["CTM_FETCH_ARCHIVE"]
    assert refused.total() >= 40
    assert [p.name for p in tmp_path.iterdir()] == ["in"]


def test_the_output_is_ours_or_left_alone(web, tmp_path):
    web.files["/x"] = zipped(FILES)
    out = tmp_path / "out"
    fetch(web.url + "/x", out)
    web.seen.clear()
    for other in (out, tmp_path / "letters"):
        other.mkdir(exist_ok=True)
        (other / "letter").write_text("mine")
    for given, overwrite in ((out, False), (tmp_path / "letters", False), (tmp_path / "letters", True)):
        before = below(tmp_path)
        with pytest.raises(CtmahoutError) as e:
            fetch(web.url + "/x", given, overwrite=overwrite)
        assert e.value.code == "CTM_OUTPUT_EXISTS"
        assert below(tmp_path) == before
    assert not web.seen  # nothing is fetched for nothing
    assert fetch(web.url + "/x", out, overwrite=True).files == 3
    assert set(below(out)) == {*FILES, "fetch.json"}


def test_an_interrupted_fetch_leaves_nothing(web, tmp_path):
    web.files["/x"] = zipped(FILES)

    def stop(*step):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fetch(web.url + "/x", tmp_path / "deep" / "out", progress=stop)
    assert not list(tmp_path.iterdir())
    assert fetch(web.url + "/x", tmp_path / "deep" / "out").files == 3
