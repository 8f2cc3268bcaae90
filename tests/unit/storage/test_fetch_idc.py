"""Series of the Imaging Data Commons from a store with its layout: whole and undamaged, or a coded error."""

import hashlib
import json
import uuid

import numpy as np
import pyarrow as pa
import pydicom
import pytest
from object_store import gate
from pyarrow import parquet

from ctmahout import fetch
from ctmahout.dicom import read_series
from ctmahout.errors import CtmahoutError
from ctmahout.storage.download import http, idc
from ctmahout.workflows.phantom import write_phantom


@pytest.fixture(scope="module")
def scan(tmp_path_factory):
    folder = write_phantom(tmp_path_factory.mktemp("scan") / "phantom", size=32, slices=5)["noisy"]
    return pydicom.dcmread(next(folder.iterdir())).SeriesInstanceUID, folder


class Archive:
    """A bucket with one series in it, and an index in which it is one of three."""

    def __init__(self, bucket, scan, folder):
        self.uid, self.scan = scan
        self.bucket, self.place = bucket, str(uuid.uuid4())
        self.index = folder / "idc_index.parquet"
        self.keys = []
        for file in sorted(self.scan.iterdir()):
            self.keys.append(f"{self.place}/{uuid.uuid4()}.dcm")
            self.put(self.keys[-1], file.read_bytes())
        bucket.put(f"{uuid.uuid4()}/{uuid.uuid4()}.dcm", b"of another series")
        self.write_index()

    def put(self, key, content):
        """Write an object that is read without credentials; the store refuses to give others away."""
        self.bucket.put(key, content, acl="public-read")

    def write_index(self, **changes):
        """Write the columns that are read, and one that is not, as idc-index-data has them."""
        url = f"s3://{self.bucket.name}/{self.place}/*"
        row = {"SeriesInstanceUID": self.uid, "series_aws_url": url, "instanceCount": len(self.keys)} | changes
        others = [
            row | {"SeriesInstanceUID": uid, "series_aws_url": "s3://idc-open-data-two/x/*"} for uid in ("1.2", "1.3")
        ]
        rows = [{"collection_id": "phantom", **r} for r in (others[0], row, others[1])]
        parquet.write_table(pa.Table.from_pylist(rows), self.index)

    def fetch(self, output, *, endpoint=None, **options):
        options = {
            "idc_index": str(self.index),
            "idc_store": f"{endpoint or self.bucket.endpoint}/{{bucket}}",
        } | options
        return fetch(f"idc:{self.uid}", output, **options)


@pytest.fixture
def archive(bucket, scan, tmp_path, monkeypatch):
    monkeypatch.setattr(http, "_BACKOFF_S", 0.001)
    (tmp_path / "archive").mkdir()
    return Archive(bucket, scan, tmp_path / "archive")


def fails(archive, output, *said, **options):
    """Return the code of a fetch that is refused, and see that it left nothing."""
    with pytest.raises(CtmahoutError) as e:
        archive.fetch(output, **options)
    assert not any(output.parent.glob(f"{output.name}*"))
    for text in said:
        assert text in e.value.message
    return e.value.code


def test_a_series_by_its_uid(archive, tmp_path, monkeypatch):
    monkeypatch.setattr(idc, "_PAGE", 2)  # three answers list the five images
    seen = []
    fetched = archive.fetch(tmp_path / "out", progress=lambda *step: seen.append(step))
    files = {f.name: f.read_bytes() for f in (tmp_path / "out").glob("*.dcm")}
    assert set(files) == {key.rpartition("/")[2] for key in archive.keys}
    assert np.array_equal(read_series(tmp_path / "out").hu, read_series(archive.scan).hu)
    size = sum(map(len, files.values()))
    assert (fetched.files, fetched.size_bytes, seen[-1]) == (5, size, ("fetch", size, size))
    listing = "".join(f"{hashlib.sha256(files[name]).hexdigest()}  {name}\n" for name in sorted(files))
    assert fetched.sha256 == hashlib.sha256(listing.encode()).hexdigest()
    note = json.loads((tmp_path / "out" / "fetch.json").read_text())
    assert (note["source"], note["sha256"]) == (f"idc:{archive.uid}", fetched.sha256)


def test_the_index_may_lie_behind_an_address(archive, tmp_path):
    archive.put("release_artifacts/idc_index.parquet", archive.index.read_bytes())
    address = f"{archive.bucket.endpoint}/{archive.bucket.name}/release_artifacts/idc_index.parquet"
    assert archive.fetch(tmp_path / "out", idc_index=address).files == 5
    missing = address.replace("idc_index", "no_index")
    assert fails(archive, tmp_path / "none", idc_index=missing) == "CTM_FETCH_NOT_FOUND"


def test_what_the_index_does_not_have(archive, tmp_path):
    def refused(*said, **options):
        return fails(archive, tmp_path / "out", *said, **options)

    assert refused(idc_index=str(tmp_path / "nowhere")) == "CTM_INPUT_NOT_FOUND"
    assert refused("{bucket}", idc_store="http://localhost") == "CTM_CONFIG_VALUE"
    archive.write_index(SeriesInstanceUID="1.4")
    assert refused("no series of this UID") == "CTM_FETCH_NOT_FOUND"
    archive.write_index(series_aws_url="gs://somewhere")
    assert refused("gs://somewhere") == "CTM_FETCH_UNAVAILABLE"
    archive.index.write_bytes(b"PAR1 and nothing more")
    assert refused("no Parquet file") == "CTM_FETCH_UNAVAILABLE"


def test_images_that_are_not_there(archive, tmp_path):
    archive.write_index(instanceCount=6)
    assert fails(archive, tmp_path / "out", "5 images, expected 6") == "CTM_FETCH_INCOMPLETE"
    archive.write_index()
    assert fails(archive, tmp_path / "out", limit_gib=1e-6) == "CTM_FETCH_TOO_LARGE"
    archive.put(f"{archive.place}/below/x.dcm", b"IDC's folders have none")
    assert fails(archive, tmp_path / "out", "no list of objects") == "CTM_FETCH_UNAVAILABLE"
    for key in (*archive.keys, f"{archive.place}/below/x.dcm"):
        archive.bucket.delete(key)
    assert fails(archive, tmp_path / "out", archive.place) == "CTM_FETCH_MOVED"
    archive.write_index(series_aws_url="s3://no-such-bucket-anywhere/x/*")
    assert fails(archive, tmp_path / "out") == "CTM_FETCH_NOT_FOUND"


@pytest.mark.parametrize(
    ("happens", "code"),
    [
        ("flipped", "CTM_FETCH_INCOMPLETE"),
        ("cut", "CTM_FETCH_INCOMPLETE"),
        ("gone", "CTM_FETCH_NOT_FOUND"),
        ("denied", "CTM_FETCH_FORBIDDEN"),
    ],
)
def test_what_happens_to_an_image_after_it_was_listed(archive, tmp_path, happens, code):
    key = archive.keys[3]
    content = archive.bucket.get(key)

    def rule(method, path):
        if key not in path:
            return None
        if happens == "flipped":
            archive.put(key, content[:-1] + bytes([content[-1] ^ 1]))
        elif happens == "cut":
            archive.put(key, content[:-2])
        elif happens == "gone":
            archive.bucket.delete(key)
        return (403, "AccessDenied") if happens == "denied" else None

    with gate(archive.bucket.endpoint, rule) as endpoint:
        assert fails(archive, tmp_path / "out", endpoint=endpoint) == code


def test_a_store_that_is_busy_is_asked_again(archive, tmp_path):
    seen = {}

    def rule(method, path):
        seen[path] = seen.get(path, 0) + 1
        return (503, "SlowDown") if seen[path] == 1 else None

    with gate(archive.bucket.endpoint, rule) as endpoint:
        assert archive.fetch(tmp_path / "out", endpoint=endpoint).files == 5
    assert set(seen.values()) == {2}


def test_a_prefix_of_a_bucket(archive, tmp_path):
    fetched = fetch(archive.bucket.uri(archive.place), tmp_path / "out")
    assert (fetched.files, fetched.source) == (5, archive.bucket.uri(archive.place))
    assert np.array_equal(read_series(tmp_path / "out").hu, read_series(archive.scan).hu)
    # From one store to another, and once more: the first note is not taken for an image.
    fetch(archive.bucket.uri(archive.place), archive.bucket.uri("copy"))
    assert fetch(archive.bucket.uri("copy"), tmp_path / "again").sha256 == fetched.sha256
    with pytest.raises(CtmahoutError, match="CTM_INPUT_NOT_FOUND"):
        fetch(archive.bucket.uri("nothing"), tmp_path / "none")
    with pytest.raises(CtmahoutError, match="CTM_FETCH_TOO_LARGE"):
        fetch(archive.bucket.uri(archive.place), tmp_path / "none", limit_gib=1e-6)
    with pytest.raises(CtmahoutError, match="CTM_OUTPUT_IS_INPUT"):
        fetch(archive.bucket.uri(archive.place), archive.bucket.uri(archive.place) + "/below")
