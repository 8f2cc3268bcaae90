"""What others think of what we write: dicom3tools' validators, three decoders, a storage server."""

import re
import shutil
import socket
import subprocess
import time
import warnings
from contextlib import contextmanager
from datetime import datetime, timezone

import numpy as np
import pydicom
import pytest
from helpers import existing, free_port

from ctmahout.dicom import Derivation, read_series, write_series
from ctmahout.phantom.dicom import write_synthetic
from ctmahout.volume import Geometry, Volume

pytestmark = pytest.mark.usefixtures("dicom_tools")

WHEN = datetime(2026, 1, 31, 12, 0, tzinfo=timezone.utc)
SERIES = [
    "chest_pair_sharp_B70f",
    "chest_pair_smooth_B40f",
    "lowdose_pet_ct_STS_003",
    "lowdose_pet_ct_STS_002",
    "j2k_series_no_sopclass",
    "study_folder_localizer_sc",
    "geometry_gantrytilting_001",
    "geometry_sliceincrement_001",
    "geometry_sliceincrement_002",
]
FILES = [
    "reformatted_coronal_sagittal/19001231-076.dcm",
    "pydicom_zoo/CT_small.dcm",
    "pydicom_zoo/693_J2KI.dcm",
    "pydicom_zoo/J2K_pixelrep_mismatch.dcm",
    "pydicom_zoo/bad_sequence.dcm",
    "pydicom_zoo/explicit_VR-UN.dcm",
    "fodicom_zoo/GH1308.dcm",
    "wg04/CT2_J2KR",
    "same_image_all_transfer_syntaxes/CTImage.dcm_BigEndianExplicitTransferSyntax_1.2.840.10008.1.2.2.dcm",
    "same_image_all_transfer_syntaxes/CTImage.dcm_JPEGProcess1TransferSyntax_1.2.840.10008.1.2.4.50.dcm",
]


def errors(file):
    """Return dciodvfy's errors about a file without the values in them."""
    done = subprocess.run(["dciodvfy", "-new", file], capture_output=True, text=True, check=False, errors="replace")
    lines = [line for line in done.stderr.splitlines() if line.startswith("Error")]
    assert done.stderr, f"dciodvfy says nothing of {file}"
    return {re.sub(r"= <[^>]*>|\[\d+\]|\d+ ", "", line) for line in lines}


def entities(files):
    """Return what dcentvfy finds inconsistent between files."""
    done = subprocess.run(["dcentvfy", *files], capture_output=True, text=True, check=False, errors="replace")
    return (done.stdout + done.stderr).splitlines()


def with_identity(source, out):
    """Return a copy of a slice without SOP class with the identifiers lent to it: dciodvfy looks at nothing else."""
    ds = pydicom.dcmread(source)
    if ds.get("SOPClassUID"):
        return source
    ds.SOPClassUID, ds.SOPInstanceUID = "1.2.840.10008.5.1.4.1.1.2", "1.2.3"
    ds.StudyInstanceUID = ds.get("StudyInstanceUID") or "1.2.4"
    ds.SeriesInstanceUID = ds.get("SeriesInstanceUID") or "1.2.5"
    ds.save_as(out, enforce_file_format=True)
    return out


def denoised(source, out):
    """Write a series that was changed as a denoiser would."""
    volume = read_series(source, lenient=True)
    hu = volume.hu * 0.9 + volume.hu.mean() * 0.1
    derivation = Derivation("Values drawn to their mean, by a test.", "validators", software_version="0.0")
    write_series(volume.with_hu(hu), out, derivation=derivation, timestamp=WHEN)
    return volume, sorted(out.iterdir())


@pytest.mark.parametrize("name", [*SERIES, *FILES])
def test_validators_find_nothing_that_the_source_does_not_have(ct_data, tmp_path, name):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        volume, files = denoised(existing(ct_data / name), tmp_path / "out")
        sources = [header.path for header in volume.source.slices]
        before = tmp_path / "lent.dcm"
        absent = {e.keyword for e in pydicom.dcmread(files[0])} - {e.keyword for e in pydicom.dcmread(sources[0])}
        for source, file in zip(sources, files, strict=True):
            assert errors(file) <= errors(with_identity(source, before))
    assert entities(files) == []
    if not all(header.has_sop_uid for header in volume.source.slices):
        return  # dcentvfy cannot tell what such sources are
    # Type 2 attributes of patient and study that the source lacks are added empty, which is all it may find.
    found = [line for line in entities([*sources, *files]) if line not in entities(sources)]
    present = re.compile(r"Attribute present in one instance but not the other - Element=<(\w+)>")
    assert {m[1] if (m := present.search(line)) else line for line in found} <= absent


@pytest.mark.parametrize("name", ["chest_pair_sharp_B70f", "lowdose_pet_ct_STS_003", "fodicom_zoo/GH1308.dcm"])
def test_three_decoders_agree(ct_data, tmp_path, name):
    volume, files = denoised(ct_data / name, tmp_path / "out")
    for z, file in list(enumerate(files))[:3]:
        ds = pydicom.dcmread(file)
        stored = ds.pixel_array
        subprocess.run(["gdcmraw", "-i", file, "-o", tmp_path / "gdcm.raw"], check=True, capture_output=True)
        (tmp_path / "dcmtk").mkdir(exist_ok=True)
        subprocess.run(["dcmdump", "+W", tmp_path / "dcmtk", file], check=True, capture_output=True)
        (dump,) = (tmp_path / "dcmtk").glob("*.raw")
        for raw in (tmp_path / "gdcm.raw", dump):
            assert np.array_equal(np.fromfile(raw, stored.dtype).reshape(stored.shape), stored), raw
            raw.unlink()
        info = subprocess.run(["gdcminfo", file], check=True, capture_output=True, text=True).stdout
        assert f"({float(ds.RescaleIntercept):g},{float(ds.RescaleSlope):g})" in info.replace(" ", "")
        assert abs(stored[0, 0] * ds.RescaleSlope + ds.RescaleIntercept - volume.hu[z, 0, 0]) < 2000


def test_a_simulated_series_is_valid(tmp_path):
    z = 4
    positions = np.column_stack([np.zeros(z), np.zeros(z), np.arange(z) * 1.25])
    geometry = Geometry(positions, np.array([1.0, 0, 0]), np.array([0, 1.0, 0]), (0.7, 0.7))
    hu = np.random.default_rng(0).normal(0, 50, (z, 16, 16)).astype(np.float32)
    files = []
    for number, name in enumerate(("noisy", "clean"), 1):
        write_synthetic(
            Volume(hu, geometry), tmp_path / name, description=name, key=name, study_key="s", series_number=number
        )
        files += sorted((tmp_path / name).iterdir())
    assert [errors(file) for file in files] == [set()] * 8
    # Written one after the other, in one second or two: StudyTime would tell if it were not of the study.
    assert entities(files) == []
    _, derived = denoised(tmp_path / "noisy", tmp_path / "out")
    assert [errors(file) for file in derived] == [set()] * 4
    assert entities([*files, *derived]) == []


@contextmanager
def storage(folder, *options):
    """Run dcmtk's storage server; give its port."""
    for tool in ("storescp", "storescu"):
        assert shutil.which(tool)
    port = free_port()
    folder.mkdir()
    server = subprocess.Popen(["storescp", "-od", folder, "-fe", ".dcm", "+B", *options, str(port)])
    try:
        for attempt in range(100):
            with socket.socket() as s:
                if s.connect_ex(("127.0.0.1", port)) == 0:
                    break
            assert attempt < 99
            time.sleep(0.1)
        yield port
    finally:
        server.terminate()
        server.wait()


def test_a_storage_server_takes_every_slice(ct_data, tmp_path):
    _, files = denoised(ct_data / "chest_pair_sharp_B70f", tmp_path / "out")
    with storage(tmp_path / "pacs") as port:
        subprocess.run(["storescu", "127.0.0.1", str(port), *files], check=True, capture_output=True, timeout=60)
    received = {pydicom.dcmread(f).SOPInstanceUID: f for f in (tmp_path / "pacs").iterdir()}
    for file in files:
        ds = pydicom.dcmread(file)
        assert np.array_equal(pydicom.dcmread(received.pop(ds.SOPInstanceUID)).pixel_array, ds.pixel_array)
    assert not received


@pytest.mark.parametrize(
    "encode",
    [
        ["dcmcjpeg", "+e1"],
        ["dcmcjpeg", "+el"],
        ["dcmcjpls"],
        ["dcmcrle"],
        ["dcmconv", "+tb"],
        ["dcmconv", "+ti"],
        ["gdcmconv", "--jpeg"],
        ["gdcmconv", "--jpegls"],
        ["gdcmconv", "--j2k"],
        ["gdcmconv", "--rle"],
    ],
    ids=" ".join,
)
@pytest.mark.parametrize("name", ["chest_pair_sharp_B70f/1-12.dcm", "fodicom_zoo/GH1308.dcm"])
def test_what_others_encode_is_read_as_what_it_was(ct_data, tmp_path, name, encode):
    # 12 bits unsigned and 16 bits signed; dcmtk codes 12 bits as 16.
    subprocess.run([*encode, ct_data / name, tmp_path / "in.dcm"], check=True, capture_output=True)
    assert pydicom.dcmread(tmp_path / "in.dcm").file_meta.TransferSyntaxUID != "1.2.840.10008.1.2.1"
    truth = read_series(ct_data / name)
    volume = read_series(tmp_path / "in.dcm")
    assert np.array_equal(volume.hu, truth.hu)
    assert (volume.padding is None) == (truth.padding is None)
    assert volume.padding is None or np.array_equal(volume.padding, truth.padding)
