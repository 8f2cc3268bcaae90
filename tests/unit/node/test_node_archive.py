"""As in a hospital: series in a burst, the node, Orthanc; and back by C-MOVE."""

import shutil
import subprocess
import threading

import pydicom
import pytest
from dicom_node import LOOPBACK, OPTIONS, NodeProcess, Orthanc, configuration, storage, store, wait_until
from dicom_slices import Slices

KERNELS = {"B70f": "rank:1", "B40f": "rank:2", "H30s": "rank:3"}
# A rule for each protocol, and one for a series whose report is wanted as DICOM.
RULES = [
    {"name": "reported", "description": "*REPORT*", "options": OPTIONS | {"strength": "rank:2", "dicom_report": True}},
    *({"name": k, "kernel": f"{k[:2]}*", "options": OPTIONS | {"strength": s}} for k, s in KERNELS.items()),
]
SYNTHETIC = 18


def write_sources(ct_data, ct_slice, folder):
    """Return the files of two real and eighteen synthetic series by name, and of one with a gap."""
    sources = {
        "real B70f": sorted((ct_data / "chest_pair_sharp_B70f").iterdir()),
        "real B40f": sorted((ct_data / "chest_pair_smooth_B40f").iterdir()),
    }
    for number in range(SYNTHETIC + 1):
        kernel = list(KERNELS)[number % 3]

        def edit(ds, i, number=number, kernel=kernel):
            ds.SeriesInstanceUID, ds.SeriesNumber = f"1.2.3.{number + 1}", number + 1
            ds.SOPInstanceUID = ds.file_meta.MediaStorageSOPInstanceUID = f"1.2.3.{number + 1}.{i + 1}"
            ds.ConvolutionKernel = kernel
            ds.SeriesDescription = "WITH REPORT" if number == 0 else "Thorax"

        sources[f"{number} {kernel}"] = sorted(Slices(ct_slice, 48).write(folder / str(number), edit, 6).iterdir())
    sources["gap"] = sources.pop(f"{SYNTHETIC} {list(KERNELS)[SYNTHETIC % 3]}")
    del sources["gap"][2:4]
    return sources


@pytest.fixture(scope="module")
def hospital(archives, dicom_tools, extras, ct_data, ct_slice, tmp_path_factory):
    """What came of twenty series in a burst, of one that cannot be denoised, and of one denoised before."""
    folder = tmp_path_factory.mktemp("hospital")
    sources = write_sources(ct_data, ct_slice, folder / "in")
    with Orthanc(folder / "orthanc") as orthanc:
        rules = [rule | {"send_to": ["archive"]} for rule in RULES]
        values = configuration(folder, orthanc.dicom, silence_s=1.0, rules=rules)
        with NodeProcess(folder, values) as node:
            # All at once, more than the node takes at a time: who is rejected tries again, as scanners do.
            senders = [
                threading.Thread(target=wait_until, args=(lambda f=files: store(values["port"], *f), 300, 0.3))
                for files in sources.values()
            ]
            for sender in senders:
                sender.start()
            for sender in senders:
                sender.join()
            wait_until(lambda: node.is_idle() and len(node.records("done")) == len(sources) - 1, 300)
            (folder / "archived").mkdir()
            archived = orthanc.images(folder / "archived")
            looped = [str(file) for file in next(f for f in archived.values() if modality(f) == "CT")]
            assert store(values["port"], *looped)
            wait_until(lambda: node.is_idle() and len(node.records("done")) == len(sources), 60)
            result = {"done": node.records("done"), "quarantine": node.records("quarantine"), "log": node.log()}
            with storage(folder / "moved", "-aet", "MOVER", port=orthanc.mover):
                for uid, files in archived.items():
                    study = pydicom.dcmread(files[0]).StudyInstanceUID
                    keys = ["QueryRetrieveLevel=SERIES", f"StudyInstanceUID={study}", f"SeriesInstanceUID={uid}"]
                    words = ["movescu", "-S", "-aet", "MOVER", "-aec", "ARCHIVE", "-aem", "MOVER"]
                    words += [word for key in keys for word in ("-k", key)]
                    words += [LOOPBACK, str(orthanc.dicom)]
                    subprocess.run(words, check=True, capture_output=True, timeout=60)
        yield {**result, "sources": sources, "archived": archived, "folder": folder, "series": orthanc.series()}
    shutil.rmtree(folder)


def modality(files):
    return str(pydicom.dcmread(files[0]).Modality)


def derived_series(hospital):
    """Return the files in the archive by the name of the series that they are derived from."""
    names = {pydicom.dcmread(files[0]).SeriesInstanceUID: name for name, files in hospital["sources"].items()}
    derived = {}
    for files in hospital["archived"].values():
        if modality(files) == "CT":
            name = names[pydicom.dcmread(files[0]).ReferencedSeriesSequence[0].SeriesInstanceUID]
            assert name not in derived, "twice"
            derived[name] = files
    return derived


def test_every_derived_series_is_in_the_archive_once_and_whole_by_the_rule_of_its_protocol(hospital):
    derived = derived_series(hospital)
    assert set(derived) == set(hospital["sources"]) - {"gap"}
    assert len(derived) == 20
    for name, files in derived.items():
        assert len(files) == len(hospital["sources"][name])
        ds = pydicom.dcmread(files[0])
        assert list(ds.ImageType[:2]) == ["DERIVED", "SECONDARY"]
        strength = "rank:2" if "REPORT" in ds.SeriesDescription else KERNELS[name.split()[1]]
        assert f"strength {strength}:" in ds.DerivationDescription
    images = {uid: len(files) for uid, files in hospital["archived"].items()}
    assert hospital["series"] == images


def test_the_report_is_in_the_archive_where_a_rule_asks_for_it(hospital):
    documents = {modality(f): f for f in hospital["archived"].values() if modality(f) != "CT"}
    assert {kind: len(files) for kind, files in documents.items()} == {"SR": 1, "DOC": 1}
    (derived,) = (f for n, f in derived_series(hospital).items() if n.startswith("0 "))
    for (file,) in documents.values():
        assert pydicom.dcmread(file).StudyInstanceUID == pydicom.dcmread(derived[0]).StudyInstanceUID


def test_derived_and_source_series_are_valid_beside_each_other(hospital):
    documents = [f for files in hospital["archived"].values() if modality(files) != "CT" for f in files]
    for name, files in derived_series(hospital).items():
        sources = hospital["sources"][name]
        beside = [*sources, *files, *(documents if name.startswith("0 ") else ())]
        # What it says of the source alone is no matter of ours.
        before, after = (complaints(part) for part in (sources, beside))
        assert after - before == set(), name


def complaints(files):
    run = subprocess.run(["dcentvfy", *map(str, files)], capture_output=True, text=True)
    return {line for line in (run.stdout + run.stderr).splitlines() if "Error" in line}


def test_c_move_gives_back_what_was_sent(hospital):
    moved = {ds.SOPInstanceUID: ds for ds in map(pydicom.dcmread, (hospital["folder"] / "moved").iterdir())}
    files = [file for part in hospital["archived"].values() for file in part]
    assert len(moved) == len(files)
    for file in files:
        ds = pydicom.dcmread(file)
        for keyword in ("PixelData", "EncapsulatedDocument", "ContentSequence"):
            assert moved[ds.SOPInstanceUID].get(keyword) == ds.get(keyword)


def test_a_series_with_a_gap_is_in_quarantine_with_its_reason(hospital):
    (record,) = hospital["quarantine"]
    assert (record["code"], record["images"], record["tries"]) == ("CTM_SLICE_MISSING", 4, 1)


def test_what_comes_back_denoised_is_not_denoised_again(hospital):
    assert sorted(record["outcome"] for record in hospital["done"]) == ["sent"] * 20 + ["skipped"]


def test_the_log_names_no_patient(hospital):
    patients = {str(pydicom.dcmread(files[0]).PatientName) for files in hospital["sources"].values()}
    assert not [name for name in patients if name in hospital["log"]]
    assert "CTM_SLICE_MISSING" in hospital["log"]
