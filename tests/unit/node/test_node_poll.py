"""A node and an archive that speaks DICOMweb: series by query, results by STOW; each once, whatever is killed."""

import shutil
import subprocess
import threading
import time

import orthanc
import pytest
from dicom_node import OPTIONS, NodeProcess, configuration, store, toml, wait_until
from dicom_slices import Slices
from helpers import refusal

from ctmahout.node import NodeConfig
from ctmahout.node.config import Limits, Query
from ctmahout.node.metrics import Counters
from ctmahout.node.poll import Poller
from ctmahout.node.queue import Queue, series_key
from ctmahout.storage.dicomweb import DicomWeb

pytestmark = pytest.mark.usefixtures("impatient")
STUDY = "1.2.3"


@pytest.fixture(scope="module")
def running(tmp_path_factory, orthanc_installed):
    with orthanc.running(tmp_path_factory.mktemp("orthanc")) as archive:
        yield archive


@pytest.fixture
def archive(running):
    """An empty archive."""
    running.clear()
    return running


@pytest.fixture
def add(archive, ct_slice, tmp_path):
    """Puts a small series into the archive, or some images of it; returns its UID."""

    def put(number, images=slice(None), **attributes):
        def edit(ds, i):
            ds.StudyInstanceUID, ds.SeriesInstanceUID, ds.SeriesNumber = STUDY, f"1.2.3.{number}", number
            ds.SOPInstanceUID = ds.file_meta.MediaStorageSOPInstanceUID = f"1.2.3.{number}.{i + 1}"
            for keyword, value in attributes.items():
                setattr(ds, keyword, value)

        folder = Slices(ct_slice, 32).write(tmp_path / "in" / str(number), edit)
        for file in sorted(folder.iterdir())[images]:
            archive.post(file)
        return f"1.2.3.{number}"

    return put


def settings(folder, archive, **changes):
    """Return the values of a node that polls an archive and stores in it."""
    query = {"name": "research", "archive": archive.uri, "days": 0, "every_s": 0.3, "longest_wait_s": 0.5}
    destination = {"name": "archive", "archive": archive.uri, "tries": 1000, "wait_s": 0.1, "longest_wait_s": 0.5}
    return configuration(folder, 104, destinations=[destination], queries=[query | changes])


@pytest.fixture
def queue(tmp_path):
    queue = Queue(tmp_path / "queue", Limits(free_mib=1))
    yield queue
    queue.close()


@pytest.fixture
def poller(archive, queue):
    """A query that is asked by hand, and takes what it sees at once."""

    def make(**changes):
        values = {"name": "research", "archive": archive.uri, "days": 0, "every_s": 0.1, "longest_wait_s": 0.1}
        return Poller(Query(**values | changes), 0.0, queue, Counters(), threading.Event())

    return make


def ask(poller):
    """Ask now, whatever the time."""
    poller._due = 0.0
    poller.step()


def senders(queue, state="receiving"):
    return {entry.key.partition("-")[0]: entry.record().sender for entry in queue.entries(state)}


# --------------------------------------------------------------------------------------------------------- as a whole


def test_series_of_an_archive_come_back_to_it_denoised_once_over_restarts(archive, add, tmp_path):
    uids = {add(1)}
    add(2, Modality="MR")
    node = NodeProcess(tmp_path, settings(tmp_path, archive))
    with node:  # it sees its own result, and leaves it alone
        wait_until(lambda: archive.derived() == dict.fromkeys(uids, 4))
        wait_until(lambda: node.is_idle() and len(node.records("done")) == 2)
        assert sorted(record["outcome"] for record in node.records("done")) == ["sent", "skipped"]
        assert {record["sender"] for record in node.records("done")} == {"research"}
        node.kill()
    for folder in node.series("done"):  # as if they were forgotten, after keep_days
        shutil.rmtree(folder)
    with node:
        uids.add(add(3))
        wait_until(lambda: archive.derived() == dict.fromkeys(uids, 4))
        wait_until(lambda: node.is_idle() and len(node.records("done")) == 2)
        assert node.stop() == 0
    assert sorted(record["outcome"] for record in node.records("done")) == ["sent", "skipped"]
    assert not list(node.queue.rglob("*.dcm"))
    assert "1.2.3." not in node.log()


def test_a_node_that_is_killed_while_it_fetches_and_stores_does_each_once(archive, add, tmp_path):
    uids = {add(number) for number in (1, 2)}
    node = NodeProcess(tmp_path, settings(tmp_path, archive))
    places = ("incoming/*/*", "receiving/*-*", "fetched/*", "sending/*-*")
    for place in places:
        with node:
            wait_until(lambda at=place: list(node.queue.glob(at)) or (node.is_idle() and archive.derived()), step=0.002)
            node.kill()
    with node:
        wait_until(lambda: archive.derived() == dict.fromkeys(uids, 4))
        wait_until(node.is_idle)
    assert not node.series("quarantine")


# ------------------------------------------------------------------------------------------------------------ asking


def test_a_series_that_grows_is_left_until_it_stays_the_same(add, queue, poller):
    growing = poller()
    growing._silence_s = 1.0
    add(1, slice(0, 2))
    ask(growing)
    time.sleep(0.6)
    add(1, slice(2, 3))
    begin = time.monotonic()
    while time.monotonic() < begin + 1.2:  # seen to grow once in this time
        ask(growing)
        if queue.entries("receiving"):
            break
    assert time.monotonic() - begin >= 1.0
    wait_until(lambda: ask(growing) or queue.entries("receiving"))
    (entry,) = queue.entries("receiving")
    assert len(list(entry.images.iterdir())) == 3


def test_filters_and_days_choose(add, queue, poller):
    today = time.strftime("%Y%m%d")
    lung = series_key(STUDY, add(1, SeriesDescription="LUNG 1.0"))
    add(2, SeriesDescription="HEAD")
    ask(poller(filters={"SeriesDescription": "LUNG*"}))
    assert senders(queue) == {lung: "research"}
    ask(poller(days=2))  # the study is years old
    assert senders(queue).keys() == {lung}
    add(3, StudyInstanceUID="1.2.4", StudyDate=today, PatientID="another")
    ask(poller(days=2))
    assert senders(queue).keys() == {lung, series_key("1.2.4", "1.2.3.3")}


def test_a_series_that_cannot_be_fetched_does_not_keep_others_waiting(add, queue, poller, monkeypatch, caplog):
    bad, good = add(1), add(2)
    images = DicomWeb._images

    def broken(self, series):
        for number, image in enumerate(images(self, series)):
            if series == bad and number == 2:
                image.SeriesInstanceUID = "1.2.9"
            yield image

    monkeypatch.setattr(DicomWeb, "_images", broken)
    asking = poller(every_s=0.5, longest_wait_s=3600.0)
    ask(asking)
    assert senders(queue).keys() == {series_key(STUDY, good)}
    ask(asking)  # not due again yet
    assert asking._counters.items() == {("fetches", "CTM_FETCH_UNAVAILABLE"): 1, ("fetches", "done"): 1}
    assert bad not in caplog.text
    assert not list((queue.root / "incoming").iterdir())
    monkeypatch.undo()
    wait_until(lambda: ask(asking) or len(queue.entries("receiving")) == 2)


def test_what_came_by_c_store_is_not_fetched_again(add, node, archive, tmp_path):
    uid = add(1)
    files = sorted((tmp_path / "in" / "1").iterdir())
    query = {"name": "research", "archive": archive.uri, "days": 0, "every_s": 0.2}
    with node(queries=[query], rules=[{"name": "all", "options": OPTIONS}], silence_s=1.0) as n:
        assert store(n.receiver.port, *files)
        wait_until(lambda: n.queue.is_fetched(series_key(STUDY, uid)))
        wait_until(lambda: n.queue.entries("done"))
        (entry,) = n.queue.entries("done")
        assert (entry.record().sender, entry.record().images) == ("SCANNER", 4)


def test_a_full_queue_asks_for_nothing(add, poller, queue):
    add(1)
    queue._limits = Limits(free_mib=10**8)
    waiting = poller()
    ask(waiting)
    assert not waiting._sightings
    assert not queue.entries("receiving")
    queue._limits = Limits(free_mib=1)
    queue._room = (float("-inf"), "")
    ask(poller())
    assert queue.entries("receiving")


def test_an_archive_that_is_away_is_asked_less_and_less_often(poller, caplog, monkeypatch):
    caplog.set_level("WARNING", logger="ctmahout.node")
    away = poller(archive="dicomweb+http://localhost:9/dicom-web", every_s=1.0, longest_wait_s=3.0)
    waits = []
    for _ in range(4):
        ask(away)
        waits.append(round(away._due - time.monotonic()))
    assert waits == [2, 3, 3, 3]
    assert "CTM_FETCH_UNAVAILABLE" in caplog.text


# -------------------------------------------------------------------------------------------------------- certificates


@pytest.fixture(scope="module")
def certificates(tmp_path_factory):
    """Keys and certificates of an archive and of a node, each its own authority."""
    folder = tmp_path_factory.mktemp("certificates")
    for name in ("archive", "node"):
        make = (
            f"openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN={name} -addext subjectAltName=DNS:localhost"
        )
        words = [*make.split(), "-keyout", folder / f"{name}.key", "-out", folder / f"{name}.pem"]
        subprocess.run(words, check=True, capture_output=True)
    return folder


def test_an_archive_that_wants_a_certificate_gets_ours(archive, add, certificates, tmp_path, node):
    uid = add(1)
    tls = {"authorities": "archive.pem", "certificate": "node.pem", "key": "node.key"}
    tls = {name: str(certificates / file) for name, file in tls.items()}
    (certificates / "both.pem").write_text("".join((certificates / f"archive.{s}").read_text() for s in ("key", "pem")))
    with orthanc.behind_tls(archive, certificates / "both.pem", certificates / "node.pem") as guarded:
        for lacking in ({}, {"tls": {"authorities": tls["authorities"]}}):
            query = {"name": "research", "archive": guarded.uri, "days": 0, "every_s": 0.2}
            with node(folder=tmp_path, queries=[query | lacking]) as n:
                wait_until(lambda n=n: any(label.startswith("CTM_FETCH_") for _, label in n.counters.items()))
                assert not n.queue.entries("receiving")
            shutil.rmtree(tmp_path / "queue")
        values = settings(tmp_path, guarded, tls=tls)
        values["destinations"][0]["tls"] = tls
        with node(**{key: values[key] for key in ("queries", "destinations")}) as n:
            wait_until(lambda: archive.derived() == {uid: 4})
            wait_until(lambda: n.queue.entries("done"))


# ------------------------------------------------------------------------------------------------------- configuration


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"archive": "https://example.org/dicom-web"}, "dicomweb+https://HOST/ROOT"),
        ({"filters": {"StudyDate": 3}}, "queries.filters"),
        ({"filters": {"modality": "c"}}, "queries.filters"),
        ({"tls": {"verify": False}}, "tls.verify"),
        ({"every_s": 0}, "queries.every_s"),
        ({"days": -1}, "queries.days"),
    ],
)
def test_wrong_queries_are_refused(tmp_path, changes, words):
    query = {"name": "a", "archive": "dicomweb+https://example.org/rs"} | changes
    refused(tmp_path, words, queries=[query])


def test_two_queries_of_one_name_are_refused(tmp_path):
    refused(tmp_path, "names that differ", queries=[{"name": "a", "archive": "dicomweb+https://example.org/rs"}] * 2)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"archive": "dicomweb+https://example.org/rs", "port": 104}, "or title, host and port"),
        ({"title": "PACS", "port": 104}, "destinations.host"),
        ({"archive": "s3://bucket"}, "dicomweb+https://HOST/ROOT"),
    ],
)
def test_wrong_destinations_are_refused(tmp_path, values, words):
    refused(tmp_path, words, destinations=[{"name": "archive"} | values])


def refused(folder, words, **changes):
    (folder / "node.toml").write_text(toml(configuration(folder, 104) | changes))
    error = refusal(NodeConfig.load, folder / "node.toml")
    assert error.code == "CTM_CONFIG_VALUE"
    assert words in error.message
