"""What others think of the further ways to write: compressed, widened, with private attributes, without identity."""

import json
import re
import subprocess
import sys
import warnings
from datetime import datetime, timezone
from pathlib import Path

import numpy as np
import pydicom
import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "unit"))

from dicom_slices import Slices, enhanced
from test_dicom_validators import entities, errors, storage

from ctmahout.dicom import Derivation, read_series, send, write_series
from ctmahout.errors import CtmahoutError

pytestmark = pytest.mark.usefixtures("dicom_tools")

WHEN = datetime(2026, 1, 31, 12, 0, tzinfo=timezone.utc)
CTMAHOUT = Path(sys.executable).with_name("ctmahout")
CHEST = "chest_pair_sharp_B70f"


def written(volume, out, *, compression="none", **options):
    derivation = Derivation("Values lowered, by a test.", "variants", software_version="0.0", **options)
    # Values below the lowest that the source's 12 bits unsigned hold: 16 bits signed are written.
    result = write_series(
        volume.with_hu(volume.hu * 0.9 - 120), out, derivation=derivation, timestamp=WHEN, compression=compression
    )
    return result, sorted(out.iterdir())


@pytest.mark.parametrize(
    "how",
    [
        {"compression": "rle"},
        {"compression": "jpeg-ls"},
        {"compression": "jpeg2000"},
        {"private": "keep"},
        {"deidentified": True},
        {"deidentified": True, "compression": "jpeg-ls"},
    ],
    ids=str,
)
@pytest.mark.parametrize("name", [CHEST, "lowdose_pet_ct_STS_003", "study_folder_localizer_sc"])
def test_validators_find_nothing_that_the_source_does_not_have(ct_data, tmp_path, name, how):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        volume = read_series(ct_data / name)
        _, files = written(volume, tmp_path / "out", **how)
    sources = [header.path for header in volume.source.slices]
    for source, file in list(zip(sources, files, strict=True))[:6]:
        assert errors(file) <= errors(source)
    assert entities(files) == []
    if not how.get("deidentified"):
        before = entities(sources)
        assert {line for line in entities([*sources, *files]) if line not in before and "Element" not in line} == set()


@pytest.mark.parametrize("legacy", [False, True])
def test_single_frames_of_enhanced_ct_are_valid(ct_data, tmp_path, legacy):
    slices = Slices(ct_data / CHEST / "1-12.dcm", 64)
    model = slices.write(tmp_path / "model", n=1) / "slice-00.dcm"
    volume = read_series(enhanced(slices, tmp_path / "in.dcm", legacy=legacy))
    _, files = written(volume, tmp_path / "out")
    assert [errors(file) - errors(model) for file in files] == [set()] * 4
    assert entities(files) == []


@pytest.mark.parametrize("name", [CHEST, "fodicom_zoo/GH1308.dcm"])
@pytest.mark.parametrize("compression", ["none", "rle", "jpeg-ls", "jpeg2000"])
def test_decoders_agree_on_what_is_written(ct_data, tmp_path, name, compression):
    _, files = written(read_series(ct_data / name), tmp_path / "out", compression=compression)
    file = files[-1]
    ds = pydicom.dcmread(file)
    stored = ds.pixel_array
    assert ds.PixelRepresentation == 1
    assert (ds.BitsStored, stored.dtype) == (16, np.int16)
    subprocess.run(["gdcmconv", "--raw", file, tmp_path / "gdcm.dcm"], check=True, capture_output=True)
    subprocess.run(["gdcmraw", "-i", tmp_path / "gdcm.dcm", "-o", tmp_path / "gdcm.raw"], check=True)
    raws = [tmp_path / "gdcm.raw"]
    # dcmtk decodes no JPEG 2000.
    tool = {"none": "dcmconv", "rle": "dcmdrle", "jpeg-ls": "dcmdjpls"}.get(compression)
    if tool:
        subprocess.run([tool, file, tmp_path / "dcmtk.dcm"], check=True, capture_output=True)
        (tmp_path / "dcmtk").mkdir()
        subprocess.run(["dcmdump", "+W", tmp_path / "dcmtk", tmp_path / "dcmtk.dcm"], check=True, capture_output=True)
        raws += list((tmp_path / "dcmtk").glob("*.raw"))
    assert len(raws) == (2 if tool else 1)
    for raw in raws:
        assert np.array_equal(np.fromfile(raw, "<i2").reshape(stored.shape), stored), raw


# Of the attribute table: what a derived image has anew, added, or no more.
CHANGED = """
ImageType SOPInstanceUID SeriesInstanceUID SeriesDescription SeriesNumber SeriesDate SeriesTime ContentDate ContentTime
InstanceCreationDate InstanceCreationTime DerivationDescription DerivationCodeSequence SourceImageSequence
ReferencedSeriesSequence ContributingEquipmentSequence SmallestImagePixelValue LargestImagePixelValue
SmallestPixelValueInSeries LargestPixelValueInSeries IconImageSequence InstanceCreatorUID DataSetTrailingPadding
PlanarConfiguration PixelData
""".split()  # noqa: SIM905
# Type 2, so that they must be there, if empty; and a frame of reference where there is none.
ADDED = """
StudyID AccessionNumber PositionReferenceIndicator PatientBirthDate KVP Manufacturer AcquisitionNumber PatientSex
StudyTime ReferringPhysicianName FrameOfReferenceUID SliceThickness
""".split()  # noqa: SIM905


def dumped(file):
    """Return the top-level lines of dcmdump by attribute: what another reader finds."""
    text = subprocess.run(["dcmdump", "-q", "+L", file], check=True, capture_output=True, text=True, errors="replace")
    lines = [line for line in text.stdout.splitlines() if re.match(r"\([0-9a-f]{4},[0-9a-f]{4}\)", line)]
    found = {}
    for line in lines:
        tag = int(line[1:5] + line[6:10], 16)
        if 2 < tag >> 16 < 0xFFFE and not (tag >> 16) % 2 and tag & 0xFFFF:
            found[pydicom.datadict.keyword_for_tag(tag) or hex(tag)] = line[15:].split("#")[0].strip()
    return found


@pytest.mark.parametrize(
    "name", [CHEST, "lowdose_pet_ct_STS_002", "study_folder_localizer_sc", "fodicom_zoo/GH1308.dcm"]
)
def test_dcmdump_sees_no_change_but_that_of_the_table(ct_data, tmp_path, name):
    volume = read_series(ct_data / name)
    derivation = Derivation("Nothing done, by a test.", "variants")
    write_series(volume, tmp_path / "out", derivation=derivation, timestamp=WHEN)
    for header, file in list(zip(volume.source.slices, sorted((tmp_path / "out").iterdir()), strict=True))[:3]:
        before, after = dumped(header.path), dumped(file)
        assert before.keys() - after.keys() - {*CHANGED} == set()
        assert after.keys() - before.keys() - {*CHANGED, *ADDED} == set()
        padding = {"PixelPaddingValue"}  # in one source it has the wrong VR
        differ = {k for k in before.keys() & after.keys() if _value(before[k]) != _value(after[k])}
        assert differ - {*CHANGED} - padding == set()


def _value(line):
    return re.sub(r"\s+", " ", line)


@pytest.mark.usefixtures("extras")
@pytest.mark.parametrize("compression", ["none", "jpeg-ls"])
def test_a_storage_server_takes_what_is_sent(ct_data, tmp_path, compression):
    _, files = written(read_series(ct_data / CHEST), tmp_path / "out", compression=compression)
    with storage(tmp_path / "pacs", *(["+xt"] if compression == "jpeg-ls" else [])) as port:
        done = subprocess.run(
            [CTMAHOUT, "send", tmp_path / "out", "127.0.0.1", str(port), "--called", "PACS", "--json"],
            capture_output=True, text=True, check=False, timeout=60,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout) == {"images": 12, "warnings": 0}
        # Sent again, as after a failure: the archive has each image once.
        assert send(tmp_path / "out", "127.0.0.1", port).images == 12
    by_uid = {pydicom.dcmread(f).SOPInstanceUID: f for f in (tmp_path / "pacs").iterdir()}
    assert len(by_uid) == len(list((tmp_path / "pacs").iterdir())) == 12
    for file in files:
        ds = pydicom.dcmread(file)
        got = pydicom.dcmread(by_uid[ds.SOPInstanceUID])
        assert got.PixelData == ds.PixelData
        assert got.file_meta.TransferSyntaxUID == ds.file_meta.TransferSyntaxUID


@pytest.mark.usefixtures("extras")
def test_a_server_that_does_not_take_it(ct_data, tmp_path):
    _, files = written(read_series(ct_data / CHEST), tmp_path / "out", compression="jpeg2000")

    def failed(folder, port, **options):
        with pytest.raises(CtmahoutError) as e:
            send(folder, "127.0.0.1", port, **options)
        return e.value.code, e.value.message

    with storage(tmp_path / "pacs") as port:  # which takes no JPEG 2000
        assert send(tmp_path / "out", "127.0.0.1", port).images == len(files)
        assert failed(tmp_path / "gone", port)[0] == "CTM_INPUT_NOT_FOUND"
        (tmp_path / "empty").mkdir()
        assert failed(tmp_path / "empty", port)[0] == "CTM_INPUT_NO_CT"
        assert failed(files[0], port, called="x" * 17)[0] == "CTM_CONFIG_VALUE"
    sent = {ds.SOPInstanceUID: ds for ds in map(pydicom.dcmread, files)}
    for path in (tmp_path / "pacs").iterdir():
        got = pydicom.dcmread(path)
        assert not got.file_meta.TransferSyntaxUID.is_compressed
        assert (got.pixel_array == sent.pop(got.SOPInstanceUID).pixel_array).all()
    assert not sent
    assert failed(files[0], port) == (
        "CTM_SEND_FAILED",
        f"127.0.0.1:{port} accepted 0 of 1 images: it cannot be reached (connection refused).",
    )
