"""Series from a DICOMweb archive and back into it: Debian's Orthanc, and a server of our own that misbehaves."""

import json
import re
import subprocess
import sys
import time
from email.message import Message
from http.server import BaseHTTPRequestHandler
from urllib.parse import urlsplit

import numpy as np
import orthanc
import pydicom
import pytest
from dicom_slices import PATIENT, put
from helpers import code_of, free_port, refusal
from web import Web, served

import ctmahout
from ctmahout import cli
from ctmahout.dicom import read_series, send
from ctmahout.phantom.dicom import write_synthetic
from ctmahout.storage import dicomweb, parse_location
from ctmahout.storage.download import http

pytestmark = pytest.mark.usefixtures("impatient")
HOW = {"engine": "numpy", "method": "slices", "strength": "rank:2", "report": False}
STUDY, CT, SECOND, MR = "1.2.826.1", "1.2.826.1.1", "1.2.826.1.2", "1.2.826.1.3"


@pytest.fixture(scope="module")
def archive(tmp_path_factory, orthanc_installed):
    """An archive without a password."""
    with orthanc.running(tmp_path_factory.mktemp("orthanc")) as running:
        yield running


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    """Key and certificate of localhost, in one file."""
    pem, ca = (tmp_path_factory.mktemp("certificate") / name for name in ("pem", "ca"))
    make = "openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=localhost -addext subjectAltName=DNS:localhost"
    subprocess.run([*make.split(), "-keyout", pem, "-out", ca], check=True, capture_output=True)
    pem.write_text(pem.read_text() + ca.read_text())
    return pem


@pytest.fixture(scope="module")
def guarded(tmp_path_factory, certificate, orthanc_installed):
    """An archive with a certificate that nobody vouches for, and a password."""
    with (
        orthanc.running(tmp_path_factory.mktemp("guarded"), password=True) as running,
        orthanc.behind_tls(running, certificate) as guarded,
    ):
        yield running, guarded


def series(slices, folder, uid=CT, study=STUDY, first=1, **attributes):
    """Write a series of small slices with identifiers of its own."""

    def edit(ds, i):
        ds.StudyInstanceUID, ds.SeriesInstanceUID = study, uid
        ds.SOPInstanceUID = ds.file_meta.MediaStorageSOPInstanceUID = f"{uid}.{first + i}"
        put(**attributes)(ds, i)

    return slices.write(folder, edit)


@pytest.fixture
def stored(archive, slices, tmp_path):
    """The archive with one study: two CT series, and one of MR."""
    archive.clear()
    archive.add(
        series(slices, tmp_path / "source" / "a"),
        series(slices, tmp_path / "source" / "b", SECOND),
        series(slices, tmp_path / "source" / "mr", MR, Modality="MR"),
    )
    return archive


def judged(tool, *words):
    """Return what a validator of dicom3tools finds wrong."""
    done = subprocess.run([tool, *words], capture_output=True, text=True, check=False)
    return [line for line in (done.stdout + done.stderr).splitlines() if line.startswith("Error") or tool == "dcentvfy"]


# ------------------------------------------------------------------------------------------------- from and to Orthanc


def test_a_series_is_fetched_denoised_and_stored_beside_its_source(archive, tmp_path, dicom_tools):
    archive.clear()
    phantom = ctmahout.Volume.of_array(np.random.default_rng(0).normal(40, 20, (6, 48, 48)), (3.0, 1.0, 1.0))
    write_synthetic(phantom, tmp_path / "in", description="A scan", key="a", study_key="s", series_number=1)
    archive.add(tmp_path / "in")
    source = read_series(tmp_path / "in")
    uids = source.source.slices[0].study_uid, source.source.slices[0].series_uid
    uri = f"{archive.uri}/studies/{uids[0]}/series/{uids[1]}"
    done = ctmahout.denoise(uri, archive.uri, timestamp="2026-01-31T12:00:00+00:00", maps=True, **HOW)
    by_hand = ctmahout.denoise(
        tmp_path / "in", tmp_path / "by-hand", timestamp="2026-01-31T12:00:00+00:00", maps=True, **HOW
    )
    (written,) = done.series
    assert re.fullmatch(rf"{re.escape(archive.uri)}/studies/{re.escape(uids[0])}/series/[0-9.]+", str(written.path))
    assert (done.path, done.report) == (parse_location(archive.uri), None)
    assert uids[0] not in json.dumps(done.run)
    assert archive.count() == 6 * 4  # the source, the result, the residual and the noise
    stored = archive.files(str(written.path).rpartition("/")[2])
    assert sorted(stored) == sorted(file.read_bytes() for file in by_hand.series[0].path.iterdir())
    again = read_series(written.path)
    assert np.array_equal(again.hu, read_series(by_hand.series[0].path).hu)
    assert again.source.slices[0].denoised
    assert again.source.slices[0].frame_of_reference_uid == source.source.slices[0].frame_of_reference_uid
    files = []
    for number, content in enumerate([*archive.files(uids[1]), *stored]):
        files.append(tmp_path / f"{number}.dcm")
        files[-1].write_bytes(content)
    assert judged("dciodvfy", "-new", files[-1]) == []
    assert judged("dcentvfy", *files) == []
    ctmahout.denoise(uri, archive.uri, timestamp="2026-01-31T12:00:00+00:00", maps=True, **HOW)  # again is safe
    assert archive.count() == 6 * 4


def test_what_is_fetched_is_what_was_stored_to_the_byte(stored, tmp_path):
    fetched = ctmahout.fetch(f"{stored.uri}/studies/{STUDY}/series/{CT}", tmp_path / "out")
    assert fetched.files == 4
    files = sorted((tmp_path / "out").rglob("*.dcm"))
    assert sorted(f.read_bytes() for f in files) == sorted(f.read_bytes() for f in (tmp_path / "source/a").iterdir())
    assert files[0].relative_to(tmp_path / "out").as_posix() == "001/00001.dcm"
    assert json.loads((tmp_path / "out" / "fetch.json").read_text())["files"] == 4
    assert code_of(ctmahout.fetch, f"{stored.uri}/studies/{STUDY}", tmp_path / "out") == "CTM_OUTPUT_EXISTS"
    few = {"limit_gib": 1e-6}
    assert code_of(ctmahout.fetch, f"{stored.uri}/studies/{STUDY}", tmp_path / "few", **few) == "CTM_FETCH_TOO_LARGE"
    assert not (tmp_path / "few").exists()


def test_compressed_images_come_as_they_are(archive, slices, tmp_path):
    archive.clear()
    series(slices, tmp_path / "in")
    for file in (tmp_path / "in").iterdir():
        ds = pydicom.dcmread(file)
        ds.compress("1.2.840.10008.1.2.5")  # RLE
        ds.SOPInstanceUID = ds.file_meta.MediaStorageSOPInstanceUID
        ds.save_as(file)
    archive.add(tmp_path / "in")
    ctmahout.fetch(f"{archive.uri}/studies/{STUDY}", tmp_path / "out")
    files = (tmp_path / "out").rglob("*.dcm")
    assert {str(pydicom.dcmread(file).file_meta.TransferSyntaxUID) for file in files} == {"1.2.840.10008.1.2.5"}


def test_of_a_study_the_ct_series_are_read(stored, tmp_path):
    uri = f"{stored.uri}/studies/{STUDY}"
    error = refusal(ctmahout.denoise, uri, tmp_path / "out", **HOW)
    assert (error.code, error.fields["count"]) == ("CTM_SERIES_AMBIGUOUS", 2)
    assert not (tmp_path / "out").exists()
    assert read_series(uri, series=SECOND).source.slices[0].series_uid == SECOND
    study = ctmahout.denoise_study(uri, tmp_path / "all", **HOW)
    assert [one.outcome for one in study.series] == ["done", "done"]
    assert code_of(ctmahout.denoise_study, uri, stored.uri, **HOW) == "CTM_CONFIG_VALUE"


def test_an_image_that_is_not_ct_is_skipped_and_a_series_of_them_refused(archive, slices, tmp_path):
    archive.clear()
    archive.add(series(slices, tmp_path / "ct"), series(slices, tmp_path / "mr", MR, "1.2.826.2", Modality="MR"))

    def note(ds, i):
        ds.SOPClassUID = ds.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.7"
        ds.StudyInstanceUID, ds.SeriesInstanceUID = STUDY, CT
        ds.SOPInstanceUID = ds.file_meta.MediaStorageSOPInstanceUID = f"{CT}.100"

    archive.add(slices.write(tmp_path / "note", note, 1))
    volume = read_series(f"{archive.uri}/studies/{STUDY}")
    assert volume.shape[0] == 4
    assert any("no CT slices" in warning for warning in volume.warnings)
    error = refusal(read_series, f"{archive.uri}/studies/1.2.826.2")
    assert (error.code, error.fields["found"]) == ("CTM_INPUT_NO_CT", "series of MR")
    assert code_of(read_series, f"{archive.uri}/studies/1.2.826.9") == "CTM_FETCH_NOT_FOUND"
    assert code_of(read_series, f"{archive.uri}/studies/{STUDY}/series/1.2.826.9") == "CTM_FETCH_NOT_FOUND"
    assert code_of(ctmahout.fetch, archive.uri, tmp_path / "out") == "CTM_LOCATION_INVALID"


def test_the_command_sends_to_an_archive_and_says_how_many(archive, slices, tmp_path, capsys):
    archive.clear()
    folder = series(slices, tmp_path / "in")
    for _ in range(2):
        with pytest.raises(SystemExit) as end:
            cli.main(["send", str(folder), archive.uri])
        assert (end.value.code, capsys.readouterr().out) == (0, f"{archive.uri} accepted 4 images\n")
    assert archive.count() == 4
    assert sorted(archive.files(CT)) == sorted(file.read_bytes() for file in folder.iterdir())
    with pytest.raises(SystemExit) as end:
        cli.main(["send", str(folder), "localhost"])
    assert (end.value.code, "CTM_CONFIG_VALUE" in capsys.readouterr().err) == (2, True)
    assert code_of(send, folder, f"{archive.uri}/studies/{STUDY}/series/{CT}") == "CTM_LOCATION_INVALID"
    error = refusal(send, folder, f"{archive.uri}/studies/1.2.3")  # of another study
    assert (error.code, error.fields["taken"]) == ("CTM_SEND_FAILED", 0)


def test_certificate_and_password(guarded, slices, certificate, tmp_path, monkeypatch):
    folder = series(slices, tmp_path / "in")
    inside, guarded = guarded
    inside.add(folder)
    uri = f"{guarded.uri}/studies/{STUDY}"

    def codes():
        fetching = code_of(ctmahout.fetch, uri, tmp_path / "out")
        sending = code_of(send, folder, guarded.uri)
        denoising = code_of(ctmahout.denoise, folder, guarded.uri, **HOW | {"engine": "py4j", "jar": "/nowhere"})
        return fetching, sending, denoising  # refused before Spark would start

    assert codes() == ("CTM_FETCH_CERTIFICATE", "CTM_SEND_CERTIFICATE", "CTM_SEND_CERTIFICATE")
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(certificate))
    assert codes() == ("CTM_FETCH_FORBIDDEN", "CTM_SEND_FORBIDDEN", "CTM_SEND_FORBIDDEN")
    assert "401" in refusal(send, folder, guarded.uri).message
    netrc = tmp_path / "netrc"
    monkeypatch.setenv("NETRC", str(netrc))
    netrc.write_text(f"machine localhost login {orthanc.USER} password wrong\n")
    assert codes()[0] == "CTM_FETCH_FORBIDDEN"
    netrc.write_text(f"machine localhost login {orthanc.USER} password {orthanc.PASSWORD}\n")
    assert ctmahout.fetch(uri, tmp_path / "out").files == 4
    assert send(folder, guarded.uri).images == 4
    assert orthanc.PASSWORD not in (tmp_path / "out" / "fetch.json").read_text()


# --------------------------------------------------------------------------------------------------- faults


class Archive(Web):
    """A DICOMweb archive with one series, of whose answers each can be spoilt.

    Attributes
    ----------
    images : dict of str to bytes
    spoil : callable
        Gets the path that is asked for and the body of the answer, and returns another body.
    refuse : callable
        Gets the path, and returns a status or None.
    """

    def __init__(self, folder):
        super().__init__()
        self.images = {
            str(pydicom.dcmread(file).SOPInstanceUID): file.read_bytes() for file in sorted(folder.iterdir())
        }
        self.spoil = lambda path, body: body
        self.refuse = lambda path: None

    @property
    def uri(self):
        return f"dicomweb+{self.url}/studies/{STUDY}"

    def answer(self, handler: BaseHTTPRequestHandler):
        asked = urlsplit(handler.path)
        if status := self.refuse(asked.path):
            handler.send_error(status)
            return
        kind, body = "application/dicom+json", b"[]"
        row = {"0020000E": {"vr": "UI", "Value": [CT]}, "00080060": {"vr": "CS", "Value": ["CT"]}}
        if asked.path.endswith(f"{STUDY}/series"):
            body = json.dumps([row]).encode()
        elif asked.path.endswith("/instances") and "offset=0" in asked.query:
            body = json.dumps([{"00080018": {"vr": "UI", "Value": [uid]}} for uid in self.images]).encode()
        elif asked.path.endswith(f"/series/{CT}"):
            kind, body = self.multipart(self.images.values())
        elif "/instances/" in asked.path:
            kind, body = self.multipart([self.images[asked.path.rpartition("/")[2]]])
        body = self.spoil(asked.path, body)
        handler.send_response(200)
        handler.send_header("Content-Type", kind)
        handler.send_header("Content-Length", str(len(body)))
        handler.end_headers()
        handler.wfile.write(body[: getattr(handler, "stop", None)])
        if getattr(handler, "stop", None) is not None:
            handler.close_connection = True

    def multipart(self, parts):
        message = Message()
        message["Content-Type"] = 'multipart/related; type="application/dicom"; boundary="xyz"'
        body = b"".join(b"\r\n--xyz\r\nContent-Type: application/dicom\r\n\r\n" + part for part in parts)
        return message["Content-Type"], body + b"\r\n--xyz--"


@pytest.fixture
def web(slices, tmp_path):
    with served(Archive(series(slices, tmp_path / "source"))) as running:
        yield running


def fetched(web, tmp_path):
    ctmahout.fetch(web.uri, tmp_path / "out")
    return sorted(file.read_bytes() for file in (tmp_path / "out").rglob("*.dcm"))


def not_fetched(web, tmp_path):
    error = refusal(ctmahout.fetch, web.uri, tmp_path / "out")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["source"]
    assert not [value for value in PATIENT.values() if value in str(error)]
    return error


def in_the_stream(path):
    return path.endswith(f"/series/{CT}")


@pytest.mark.parametrize("cut", [10, 300, 1000, 5000])
def test_a_stream_that_is_cut_off_is_made_whole_image_by_image(web, tmp_path, cut):
    web.spoil = lambda path, body: body[:-cut] if in_the_stream(path) else body
    assert fetched(web, tmp_path) == sorted(web.images.values())


@pytest.mark.parametrize("cut", [9, 300, 3000])
def test_an_image_that_is_always_cut_off_is_incomplete(web, tmp_path, cut):
    web.spoil = lambda path, body: body if path.endswith(("/series", "/instances")) else body[:-cut]
    assert not_fetched(web, tmp_path).code == "CTM_FETCH_INCOMPLETE"


def test_a_connection_that_breaks_in_the_stream_is_resumed(web, tmp_path):
    def breaks(handler):
        if in_the_stream(urlsplit(handler.path).path):
            handler.stop = 2500
        else:
            web.faults.append(breaks)
        return False

    web.faults = [breaks]
    assert fetched(web, tmp_path) == sorted(web.images.values())
    assert web.faults == []


def test_images_that_an_archive_leaves_out_or_sends_twice(web, tmp_path):
    first, second, *others = web.images.values()
    web.spoil = lambda path, body: web.multipart([first, first, second])[1] if in_the_stream(path) else body
    assert fetched(web, tmp_path) == sorted([first, second, *others])


def test_an_image_that_is_another_one_is_incomplete(web, tmp_path):
    first = next(iter(web.images.values()))
    web.spoil = lambda path, body: body if path.endswith(("/series", "/instances")) else web.multipart([first])[1]
    error = not_fetched(web, tmp_path)
    assert (error.code, error.fields["given"], error.fields["expected"]) == ("CTM_FETCH_INCOMPLETE", "1 images", "4")


@pytest.mark.parametrize(
    ("status", "code"),
    [
        (401, "CTM_FETCH_FORBIDDEN"),
        (403, "CTM_FETCH_FORBIDDEN"),
        (404, "CTM_FETCH_NOT_FOUND"),
        (400, "CTM_FETCH_UNAVAILABLE"),
        (503, "CTM_FETCH_UNAVAILABLE"),
    ],
)
@pytest.mark.parametrize("where", ["/series", "/instances", f"/series/{CT}"])
def test_refusals_of_reading(web, tmp_path, status, code, where):
    web.refuse = lambda path: status if path.endswith(where) else None
    error = not_fetched(web, tmp_path)
    assert (error.code, error.exit_code) == (code, 3)
    assert str(status) in error.message
    assert (dicomweb.TOKEN in error.hint) == (code == "CTM_FETCH_FORBIDDEN")


@pytest.mark.parametrize(
    "body", [b"", b"{", b"<html>", b"[[1]]", b"[{}]", b"\r\n--xyz\r\nno header", b'[{"00080018":0}]']
)
def test_answers_that_are_no_dicomweb(web, tmp_path, body):
    web.spoil = lambda path, _: body
    assert not_fetched(web, tmp_path).code in ("CTM_FETCH_UNAVAILABLE", "CTM_FETCH_NOT_FOUND", "CTM_INPUT_NO_CT")
    web.spoil = lambda path, whole: whole if path.endswith(("/series", "/instances")) else body
    assert not_fetched(web, tmp_path).code in ("CTM_FETCH_UNAVAILABLE", "CTM_FETCH_INCOMPLETE")


def test_an_archive_that_is_slow_or_away(web, slices, tmp_path, monkeypatch):
    monkeypatch.setattr(dicomweb, "_TIMEOUTS_S", (0.2, 0.2))
    monkeypatch.setattr(http, "_retry_policy", lambda **_: 0)
    web.faults = [lambda handler: not time.sleep(1)]
    assert "in time" in not_fetched(web, tmp_path).message
    away = f"dicomweb+http://localhost:{free_port()}/dicom-web"
    assert code_of(ctmahout.fetch, f"{away}/studies/{STUDY}", tmp_path / "out") == "CTM_FETCH_UNAVAILABLE"
    error = refusal(send, tmp_path / "source", away)
    assert (error.code, error.exit_code, error.fields["taken"]) == ("CTM_SEND_FAILED", 6, 0)
    assert code_of(ctmahout.denoise, tmp_path / "source", away, **HOW) == "CTM_SEND_FAILED"


def test_a_token_goes_to_the_archive_and_nowhere_else(web, tmp_path, monkeypatch):
    monkeypatch.setenv(dicomweb.TOKEN, "a-token")
    fetched(web, tmp_path)
    assert {headers["Authorization"] for _, headers in web.seen} == {"Bearer a-token"}
    assert "a-token" not in (tmp_path / "out" / "fetch.json").read_text()


class Receiver(Archive):
    """An archive that answers posts as it is told to.

    Attributes
    ----------
    answers : list of (int, str, str)
        Status, media type and body, one for each post; the last stays.
    posts : list of bytes
    """

    def __init__(self, folder):
        super().__init__(folder)
        self.answers, self.posts = [(200, "application/dicom+json", "{}")], []

    def receive(self, handler, body):
        self.posts.append(body)
        status, kind, text = self.answers[0] if len(self.answers) == 1 else self.answers.pop(0)
        handler.send_response(status)
        handler.send_header("Content-Type", kind)
        handler.send_header("Content-Length", str(len(text)))
        handler.end_headers()
        handler.wfile.write(text.encode())


FAILED = json.dumps(
    {
        "00081198": {
            "vr": "SQ",
            "Value": [{"00081155": {"vr": "UI", "Value": ["1.2"]}, "00081197": {"vr": "US", "Value": [0xA700]}}],
        }
    }
)
WARNED = FAILED.replace("00081198", "00081199").replace("00081197", "00081196")
OK, JSON = "{}", "application/dicom+json"


@pytest.mark.parametrize(
    ("answers", "code", "taken", "says"),
    [
        ([(200, JSON, OK), (401, JSON, OK)], "CTM_SEND_FORBIDDEN", None, "401"),
        ([(403, JSON, OK)], "CTM_SEND_FORBIDDEN", None, "403"),
        ([(200, JSON, OK), (409, JSON, FAILED)], "CTM_SEND_FAILED", 1, "409"),
        ([(202, JSON, FAILED)], "CTM_SEND_FAILED", 0, "0xA700"),
        ([(200, JSON, OK), (200, JSON, OK), (415, "text/html", "no")], "CTM_SEND_FAILED", 2, "415"),
        ([(200, JSON, OK), (503, JSON, OK)], "CTM_SEND_FAILED", 1, "503"),
        ([(200, JSON, "{")], "CTM_SEND_FAILED", 0, "DICOMweb"),
    ],
)
def test_refusals_of_storing(slices, tmp_path, answers, code, taken, says):
    folder = series(slices, tmp_path / "in")
    with served(Receiver(folder)) as web:
        web.answers = answers
        error = refusal(send, folder, f"dicomweb+{web.url}")
    assert (error.code, error.exit_code, error.fields.get("taken")) == (code, 6, taken)
    assert says in error.message
    assert not [value for value in PATIENT.values() if value in str(error)]


def test_a_busy_receiver_is_asked_again_and_a_warning_counted(slices, tmp_path):
    folder = series(slices, tmp_path / "in")
    with served(Receiver(folder)) as web:
        web.answers = [(503, JSON, OK), (202, JSON, WARNED), (429, JSON, OK), (200, JSON, OK)]
        sent = send(folder, f"dicomweb+{web.url}")
        assert (sent.images, sent.warnings, len(web.posts)) == (4, 1, 6)
        assert web.posts[0] == web.posts[1]


# ----------------------------------------------------------------------------------------------------- places


@pytest.mark.parametrize(
    "uri",
    [
        "dicomweb+https://user@host/dicom-web/studies/1.2",
        "dicomweb+https://user:secret@host/dicom-web/studies/1.2",
        "dicomweb+https://host/dicom-web/studies/1.2?token=secret",
        "dicomweb+https://host/dicom-web/studies/abc",
        "dicomweb+https://host/dicom-web/studies/1.2/series/1.3/instances/1.4",
        "dicomweb+https://host/dicom-web/series/1.3",
        "dicomweb+ftp://host/dicom-web/studies/1.2",
        "dicomweb+https:///studies/1.2",
    ],
)
def test_places_that_are_none(uri, source, tmp_path):
    for call in (lambda: read_series(uri), lambda: ctmahout.fetch(uri, tmp_path / "out")):
        error = refusal(call)
        assert error.code in ("CTM_LOCATION_INVALID", "CTM_FETCH_SOURCE")
        assert "secret" not in str(error)


def test_an_archive_takes_nothing_but_images(source, tmp_path):
    np.savez(tmp_path / "scan.npz", hu=np.zeros((3, 8, 8), np.float32))
    archive = "dicomweb+http://localhost:9/dicom-web"
    assert code_of(ctmahout.denoise, tmp_path / "scan.npz", archive, **HOW) == "CTM_INPUT_NO_CT"
    for call in (
        lambda: ctmahout.prepare(source, archive),
        lambda: ctmahout.learn(source, store=archive, engine="numpy"),
        lambda: ctmahout.list_models(archive),
    ):
        assert code_of(call) == "CTM_LOCATION_INVALID"


def test_without_the_client_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "dicomweb_client", None)
    error = refusal(read_series, "dicomweb+https://host/studies/1.2")
    assert (error.code, "ctmahout[dicomweb]" in error.hint) == ("CTM_EXTRA_MISSING", True)
