"""A store of models: learnt into, listed, and searched for the model that fits a series."""

import json
import shutil
import subprocess
import sys
import time

import numpy as np
import pydicom
import pytest
from helpers import code_of, refusal, tree

import ctmahout
from ctmahout.denoising.effort import EFFORTS, Effort, PassSpec
from ctmahout.denoising.patches import fit
from ctmahout.dicom import Protocol, read_series
from ctmahout.exchange import add_model, read_arrays, read_manifest
from ctmahout.storage import parse_location
from ctmahout.workflows.models import choose_model
from ctmahout.workflows.phantom import write_phantom

LEARN = {"engine": "numpy", "groups": 60}
DENOISE = {"engine": "numpy", "effort": "fast", "report": False, "timestamp": "2026-01-31T12:00:00+00:00"}


@pytest.fixture(autouse=True)
def little_effort(monkeypatch):
    monkeypatch.setitem(EFFORTS, "fast", Effort((PassSpec(20, 25_000, 3, (2, 2)),), 3))
    monkeypatch.setattr(fit, "_LEARNT", 12_000)
    monkeypatch.setattr(fit, "_HELD_OUT", 4_000)


def labelled(folder, **attributes):
    """Set attributes in every file of a folder."""
    for file in folder.rglob("*.dcm"):
        ds = pydicom.dcmread(file)
        for keyword, value in attributes.items():
            setattr(ds, keyword, value)
        ds.save_as(file)
    return folder


def copied(source, folder, **attributes):
    return labelled(shutil.copytree(source, folder), **attributes)


@pytest.fixture(scope="module")
def scans(tmp_path_factory):
    """Three chests by kernel B30f, and two of the same scanner by the smoother kernel B10f: noisy and clean."""
    folder = tmp_path_factory.mktemp("scans")
    made = {}
    for kernel, scanner, seeds in (("B30f", "standard", (1, 2, 3)), ("B10f", "smooth", (4, 6))):
        for seed in seeds:
            made[seed] = write_phantom(folder / str(seed), size=112, slices=10, dose=0.05, seed=seed, scanner=scanner)
            labelled(
                made[seed]["noisy"], ConvolutionKernel=kernel, Manufacturer="SIEMENS", ManufacturerModelName="Sensation"
            )
    return made


@pytest.fixture(scope="module")
def learnt(scans, tmp_path_factory):
    """A store with a model of each kernel, learnt on two series and on one; their manifests by kernel."""
    store = tmp_path_factory.mktemp("stores") / "new" / "store"
    kernels = {"B30f": (1, 2), "B10f": (4,)}
    return store, {
        kernel: ctmahout.learn([scans[seed]["noisy"] for seed in seeds], store=store, **LEARN)
        for kernel, seeds in kernels.items()
    }


@pytest.fixture
def store(learnt, tmp_path):
    """A copy of it, to be spoilt."""
    return shutil.copytree(learnt[0], tmp_path / "store")


def rms(a, b):
    return float(np.sqrt(np.mean(np.square(a - b, dtype=np.float64))))


# ----------------------------------------------------------------------------------------------- the right model


@pytest.mark.parametrize(("kernel", "seed"), [("B30f", 3), ("B10f", 6)])
def test_each_series_gets_the_model_of_its_protocol_as_by_hand(scans, learnt, tmp_path, kernel, seed):
    store, manifests = learnt
    model = manifests[kernel].sha256
    found = ctmahout.denoise(scans[seed]["noisy"], tmp_path / "out", models=store, **DENOISE)
    by_hand = ctmahout.denoise(scans[seed]["noisy"], tmp_path / "by-hand", model=store / model, **DENOISE)
    about = found.run["models"]
    assert (about["chosen"], found.run["model"]["sha256"]) == (model, model)
    assert about["reason"].startswith(f"Model {model[:12]} was learnt on the same scanner and protocol; ")
    assert [one["name"] for one in about["tried"]] == [model]
    assert about["tried"][0]["log_likelihood"] >= about["own_log_likelihood"]
    assert tree(found.series[0].path) == tree(by_hand.series[0].path)
    after = read_series(found.series[0].path)
    noisy, clean = (read_series(scans[seed][name]).hu for name in ("noisy", "clean"))
    assert 20 * np.log10(rms(noisy, clean) / rms(after.hu, clean)) > 3  # dB


def test_a_series_of_a_third_protocol_is_learnt_from_itself_as_without_a_store(scans, learnt, store, tmp_path):
    """One of the models is damaged: the report names it."""
    source = copied(scans[3]["noisy"], tmp_path / "in", ConvolutionKernel="B31f")
    damaged = learnt[1]["B10f"].sha256
    cut_manifest(store / damaged)
    found = ctmahout.denoise(source, tmp_path / "out", models=store, **DENOISE | {"report": True})
    without = ctmahout.denoise(source, tmp_path / "without", **DENOISE)
    assert "model" not in found.run
    assert found.run["factors"]["algorithm"] == "dssvd"
    reason = "Learnt from the series itself: no model of the store was learnt on its protocol."
    assert (found.run["models"]["chosen"], found.run["models"]["reason"]) == (None, reason)
    assert found.run["models"]["protocol"]["kernel"] == "B31f"
    warning = f"Model {damaged[:12]} of the store was skipped: CTM_EXCHANGE_MANIFEST."
    assert warning in found.run["warnings"]
    text = found.report.read_text()
    assert (reason in text, warning in text) == (True, True)
    assert str(store) not in text + (tmp_path / "out" / "run.json").read_text()
    assert tree(found.series[0].path) == tree(without.series[0].path)
    assert "models" not in without.run


def test_a_model_that_knows_less_than_the_series_itself_is_not_taken(scans, learnt, tmp_path):
    """Its protocol matches, for the kernel that the series names is not the one that it was reconstructed by."""
    volume = read_series(copied(scans[6]["noisy"], tmp_path / "in", ConvolutionKernel="B30f"))
    choice = choose_model(volume, ctmahout.list_models(learnt[0]), learnt[0], ctmahout.Config(effort="fast"))
    about = choice.about
    assert (about["chosen"], choice.run, choice.manifest) == (None, None, None)
    assert [one["name"] for one in about["tried"]] == [learnt[1]["B30f"].sha256]
    assert about["tried"][0]["log_likelihood"] < about["own_log_likelihood"]
    assert "no model of its protocol fits" in about["reason"]


@pytest.fixture(scope="module")
def relatives(learnt, tmp_path_factory):
    """The model of B30f under other protocols: of another scanner, and a duller one of the same."""
    store, manifests = learnt
    model = store / manifests["B30f"].sha256
    manifest = read_manifest(model)
    arrays = read_arrays(model, manifest)
    folder = tmp_path_factory.mktemp("relatives")

    def relative(flattened=False, **facts):
        layout = {name: value for name, value in manifest.layout.items() if name != "arrays"}
        layout["learnt_on"] = [one | facts for one in layout["learnt_on"]]
        duller = {name: array.copy() for name, array in arrays.items()}
        if flattened:
            duller["pass1_telling_mean"] += 5  # HU
        return add_model(folder, duller, layout).sha256

    names = {
        "same": relative(),
        "duller": relative(flattened=True),
        "other scanner": relative(scanner="Emotion"),
        "other maker": relative(manufacturer="Philips"),
        "thin": relative(thickness_mm=2.0),
    }
    return folder, names


def test_the_same_scanner_comes_first_and_then_the_likelihood(scans, relatives):
    store, names = relatives
    volume = read_series(scans[3]["noisy"])
    models = ctmahout.list_models(store)
    assert len(models) == 5

    def choice(*among):
        chosen = [info for info in models if info.name in [names[name] for name in among]]
        listing = type(models)(chosen, ())
        return choose_model(volume, listing, store, ctmahout.Config(effort="fast")).about

    about = choice("duller", "other scanner", "same", "other maker", "thin")
    assert about["chosen"] == names["same"]
    tried = {one["name"]: one["log_likelihood"] for one in about["tried"]}
    assert tried.keys() == {names["same"], names["duller"]}
    assert tried[names["same"]] > tried[names["duller"]]
    about = choice("other scanner", "other maker", "thin")
    assert about["chosen"] == names["other scanner"]
    assert "on another scanner" in about["reason"]
    assert choice("other maker", "thin")["tried"] == []


@pytest.mark.release  # that learning is the same with any threads is tested every time
def test_a_choice_does_not_depend_on_the_threads(scans, learnt):
    volume, models = read_series(scans[3]["noisy"]), ctmahout.list_models(learnt[0])
    choices = [choose_model(volume, models, learnt[0], ctmahout.Config(workers=n, effort="fast")).about for n in (1, 3)]
    assert choices[0] == choices[1]


def test_a_volume_in_memory_without_a_kernel_matches_no_kernel(scans, learnt):
    hu = read_series(scans[3]["noisy"]).hu
    volume = ctmahout.Volume.of_array(hu, (3.0, 3.4, 3.4))
    about = choose_model(volume, ctmahout.list_models(learnt[0]), learnt[0], ctmahout.Config(effort="fast")).about
    assert (about["chosen"], about["tried"], about["protocol"]["kernel"]) == (None, [], "")


# -------------------------------------------------------------------------------------------------- the protocol

BASE = ("SIEMENS", "Sensation 64", "B30f", (3.0, 0.70, 0.70), 3.0)


@pytest.mark.parametrize(
    ("other", "matches"),
    [
        (BASE, True),
        (("Siemens Healthineers", "Force", "B30f", (3.0, 0.7, 0.7), 3.0), True),
        (("", "", "B30f", (3.0, 0.7, 0.7), 3.0), True),
        (("Philips", "Sensation 64", "B30f", (3.0, 0.7, 0.7), 3.0), False),
        (("SIEMENS", "Sensation 64", "B30s", (3.0, 0.7, 0.7), 3.0), False),
        (("SIEMENS", "Sensation 64", "b30f", (3.0, 0.7, 0.7), 3.0), False),
        (("SIEMENS", "Sensation 64", "", (3.0, 0.7, 0.7), 3.0), False),
        (("SIEMENS", "Sensation 64", "B30f", (3.0, 0.76, 0.76), 3.0), True),
        (("SIEMENS", "Sensation 64", "B30f", (3.0, 0.9, 0.9), 3.0), False),
        (("SIEMENS", "Sensation 64", "B30f", (2.5, 0.7, 0.7), 3.0), False),
        (("SIEMENS", "Sensation 64", "B30f", (3.0, 0.7, 0.7), 5.0), False),
        (("SIEMENS", "Sensation 64", "B30f", (3.0, 0.7, 0.7), None), False),
    ],
)
def test_protocols_match_in_both_directions(other, matches):
    one, another = Protocol(*BASE), Protocol(*other)
    assert (one.matches(another), another.matches(one)) == (matches, matches)
    assert bool(one.difference(another)) != matches
    assert Protocol.of_dict(json.loads(json.dumps(another.as_dict()))) == another


# ------------------------------------------------------------------------------------------- learning and listing


def test_a_listing_has_protocols_noise_and_groups_and_names_nobody(scans, learnt):
    store, manifests = learnt
    models = {info.protocols[0].kernel: info for info in ctmahout.list_models(store)}
    assert {kernel: info.name for kernel, info in models.items()} == {k: m.sha256 for k, m in manifests.items()}
    info = models["B30f"]
    assert info.protocols[0] == Protocol.of(read_series(scans[1]["noisy"]))
    assert (info.series, info.groups) == (2, (14, 60))
    assert 20 < info.noise_sd_hu[0] < 30
    ds = pydicom.dcmread(next(scans[1]["noisy"].rglob("*.dcm")))
    private = [ds.PatientName, ds.PatientID, ds.StudyInstanceUID, ds.SeriesInstanceUID, ds.SeriesDescription]
    text = json.dumps([info.as_dict() for info in models.values()]) + "".join(
        (store / name / "_ctmahout.json").read_text() for name in manifests and [m.sha256 for m in manifests.values()]
    )
    assert not [value for value in [*map(str, filter(None, private)), str(scans[1]["noisy"].parent)] if value in text]


def test_learning_the_same_again_adds_nothing_but_replaces_what_is_damaged(scans, tmp_path):
    few = {"engine": "numpy", "groups": 6}
    name = ctmahout.learn(scans[4]["noisy"], store=tmp_path / "store", **few).sha256
    before = tree(tmp_path / "store")
    stamps = [path.stat().st_mtime_ns for path in sorted((tmp_path / "store").rglob("*"))]
    assert ctmahout.learn(scans[4]["noisy"], store=tmp_path / "store", **few).sha256 == name
    assert [path.stat().st_mtime_ns for path in sorted((tmp_path / "store").rglob("*"))] == stamps
    flip(next((tmp_path / "store" / name / "arrays" / "pass1_telling_mean").glob("part-*")))
    ctmahout.learn(scans[4]["noisy"], store=tmp_path / "store", **few)
    assert tree(tmp_path / "store") == before


def test_series_of_two_protocols_are_not_learnt_into_a_store(scans, tmp_path):
    error = refusal(ctmahout.learn, [scans[1]["noisy"], scans[4]["noisy"]], store=tmp_path / "store", **LEARN)
    assert (error.code, error.exit_code) == ("CTM_MODEL_PROTOCOLS", 3)
    assert "kernel B10f instead of B30f" in error.message
    assert list(tmp_path.iterdir()) == []


def test_places_that_are_no_store_are_refused_before_the_work(scans, learnt, tmp_path):
    store, manifests = learnt
    model, source = store / manifests["B30f"].sha256, scans[3]["noisy"]
    (tmp_path / "file").write_text("")
    learn = ctmahout.learn
    for call, code in (
        (lambda: learn(source, store=model, **LEARN), "CTM_MODEL_STORE"),
        (lambda: learn(source, store=tmp_path / "file", **LEARN), "CTM_OUTPUT_UNWRITABLE"),
        (lambda: learn(source, store=source, **LEARN), "CTM_OUTPUT_IS_INPUT"),
        (lambda: learn(source, tmp_path / "m", store=tmp_path / "s", **LEARN), "CTM_CONFIG_VALUE"),
        (lambda: learn(source, **LEARN), "CTM_CONFIG_VALUE"),
        (lambda: ctmahout.denoise(tmp_path / "none", tmp_path / "out", models=model), "CTM_MODEL_STORE"),
        (lambda: ctmahout.denoise(tmp_path / "none", tmp_path / "out", models=tmp_path / "no"), "CTM_INPUT_NOT_FOUND"),
        (lambda: ctmahout.denoise(source, store / "out", models=store), "CTM_OUTPUT_IS_INPUT"),
        (lambda: ctmahout.denoise(source, tmp_path / "out", models=store, model=model), "CTM_CONFIG_VALUE"),
        (lambda: ctmahout.denoise(source, tmp_path / "out", models=store, method="slices"), "CTM_CONFIG_VALUE"),
        (lambda: ctmahout.list_models(tmp_path / "no"), "CTM_INPUT_NOT_FOUND"),
    ):
        assert code_of(call) == code
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_the_command_lists_and_learns(scans, learnt, tmp_path, capsys):
    from ctmahout import cli

    def run(*words):
        with pytest.raises(SystemExit) as end:
            cli.main([*map(str, words)])
        return end.value.code, capsys.readouterr()

    code, printed = run("models", learnt[0])
    assert code == 0
    assert all(text in printed.out for text in ("B30f", "B10f", "SIEMENS Sensation", "14 + 60"))
    code, printed = run("models", learnt[0], "--json")
    assert {one["series"][0]["kernel"] for one in json.loads(printed.out)["models"]} == {"B30f", "B10f"}
    how = ("--engine", "numpy", "--groups", "6")
    code, printed = run("learn", scans[1]["noisy"], "--store", tmp_path / "store", *how)
    (name,) = (path.name for path in (tmp_path / "store").iterdir())
    assert (code, name in printed.out) == (0, True)
    assert run("learn", scans[1]["noisy"], *how)[0] == 2


def test_a_study_that_is_continued_keeps_what_was_chosen_from_a_store(scans, learnt, store, tmp_path):
    copied(scans[3]["noisy"], tmp_path / "study" / "a")

    def outcomes(**options):
        study = ctmahout.denoise_study(tmp_path / "study", tmp_path / "out", **DENOISE, **options)
        return [one.outcome for one in study.series]

    assert outcomes(models=learnt[0]) == ["done"]
    shutil.rmtree(store / learnt[1]["B10f"].sha256)
    assert outcomes(models=store) == ["kept"]
    assert outcomes(models=store, overwrite=True) == ["done"]
    assert outcomes() == ["failed"]  # other options, and no leave to overwrite


# -------------------------------------------------------------------------------------------------------- damage


def flip(file):
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(data)


def cut_manifest(model):
    file = model / "_ctmahout.json"
    file.write_bytes(file.read_bytes()[:-200])


def other_kernel(model):
    """A manifest that is valid, but not the one that was written."""
    file = model / "_ctmahout.json"
    file.write_text(file.read_text().replace("B30f", "B31f"))


LISTED = {
    "cut manifest": (cut_manifest, "CTM_EXCHANGE_MANIFEST"),
    "other manifest": (other_kernel, "CTM_EXCHANGE_MANIFEST"),
    "no manifest": (lambda model: (model / "_ctmahout.json").unlink(), "CTM_EXCHANGE_NOT_COMMITTED"),
}
READ = {
    "flipped bit": (lambda model: flip(next((model / "arrays" / "pass2_shrinking_mean").glob("part-*"))), None),
    "no array": (lambda model: shutil.rmtree(model / "arrays" / "pass1_telling_mean"), "CTM_EXCHANGE_FILE_MISSING"),
}


@pytest.mark.parametrize("damage", [*LISTED, *READ])
def test_a_damaged_model_is_skipped_and_named(scans, learnt, store, damage):
    name = learnt[1]["B30f"].sha256
    spoil, code = (LISTED | READ)[damage]
    spoil(store / name)
    models = ctmahout.list_models(store)
    assert [(one.name, one.error.code) for one in models.skipped] == ([(name, code)] if damage in LISTED else [])
    about = choose_model(read_series(scans[3]["noisy"]), models, store, ctmahout.Config(effort="fast")).about
    ((skipped, given),) = (one.values() for one in about["skipped"])
    assert (about["chosen"], skipped) == (None, name)
    assert given == code or (code is None and given in ("CTM_EXCHANGE_CORRUPT", "CTM_EXCHANGE_CHECKSUM"))


def test_what_is_being_written_or_is_none_of_ours_is_no_model(store, learnt):
    shutil.copytree(store / learnt[1]["B30f"].sha256, store / f"{'0' * 64}.partial-01234567")
    (store / "notes.txt").write_text("models of the north wing")
    models = ctmahout.list_models(store)
    assert (len(models), models.skipped) == (2, ())


# ------------------------------------------------------------------------------------------- many at the same time

WRITER = """
import sys
import numpy as np
from pathlib import Path
from ctmahout.exchange import add_model
for number in range(int(sys.argv[2]), int(sys.argv[3])):
    arrays = {f"a{k}": np.full((20, 20), float(number)) for k in range(25)}
    add_model(Path(sys.argv[1]), arrays, {"number": number})
"""


def whole(path):
    """Read all of a model, and return its number."""
    manifest = read_manifest(path, "model")
    assert manifest.sha256 == path.name
    (number,) = {float(value) for array in read_arrays(path, manifest).values() for value in np.unique(array)}
    return number


def test_writers_and_readers_of_a_store_at_once(tmp_path):
    """Three processes add twelve models each, most of them the same; who looks at once never sees half a model."""
    store = tmp_path / "store"
    store.mkdir()
    ranges = (("0", "12"), ("0", "12"), ("8", "20"))
    writers = [subprocess.Popen([sys.executable, "-c", WRITER, str(store), *numbers]) for numbers in ranges]
    seen = {}
    while any(writer.poll() is None for writer in writers):
        for path in store.iterdir():
            if len(path.name) == 64 and path.name not in seen:
                seen[path.name] = whole(path)
        time.sleep(0.001)
    assert [writer.returncode for writer in writers] == [0, 0, 0]
    assert sorted(map(whole, store.iterdir())) == [float(number) for number in range(20)]
    assert len(seen) > 10


def test_a_killed_writer_leaves_no_half_model(tmp_path):
    store = tmp_path / "store"
    with subprocess.Popen([sys.executable, "-c", WRITER, str(store), "0", "10000"]) as writer:
        while writer.poll() is None and (not store.exists() or len(list(store.iterdir())) < 5):
            time.sleep(0.001)
        writer.kill()
    names = [path for path in store.iterdir() if len(path.name) == 64]
    assert len(names) >= 4
    assert sorted(map(whole, names)) == [float(number) for number in range(len(names))]
    add_model(store, {"a": np.ones((2, 2))}, {})


# ------------------------------------------------------------------------------------------------ in a bucket


def test_a_store_in_a_bucket(scans, learnt, bucket):
    local, manifests = learnt
    uri = bucket.uri("models")
    assert code_of(ctmahout.list_models, uri) == "CTM_INPUT_NOT_FOUND"
    assert code_of(ctmahout.learn, scans[1]["noisy"], store="s3://no-such-bucket/m", **LEARN) == "CTM_STORAGE_WRITE"
    for manifest in manifests.values():
        model = local / manifest.sha256
        layout = {name: value for name, value in manifest.layout.items() if name != "arrays"}
        for _ in range(2):  # the second time it is there already
            assert add_model(parse_location(uri), read_arrays(model, manifest), layout).sha256 == manifest.sha256
    assert {info.name for info in ctmahout.list_models(uri)} == {m.sha256 for m in manifests.values()}
    volume, config = read_series(scans[3]["noisy"]), ctmahout.Config(effort="fast")
    about = choose_model(volume, ctmahout.list_models(uri), parse_location(uri), config).about
    assert about["chosen"] == manifests["B30f"].sha256
    # An upload that was killed has a mark and no manifest: it is named, and learning it again completes it.
    name = manifests["B30f"].sha256
    bucket.delete(f"models/{name}/_ctmahout.json")
    bucket.put(f"models/{name}/_ctmahout.partial", b"somebody")
    assert [(one.name, one.error.code) for one in ctmahout.list_models(uri).skipped] == [(name, "CTM_INPUT_UNFINISHED")]
    manifest = manifests["B30f"]
    layout = {key: value for key, value in manifest.layout.items() if key != "arrays"}
    add_model(parse_location(uri), read_arrays(local / name, manifest), layout)
    assert ctmahout.list_models(uri).skipped == ()
    assert bucket.files(f"models/{name}") == sorted(tree(local / name))


def test_a_bucket_that_does_not_answer_is_an_error_and_not_an_empty_store(scans, bucket, tmp_path, monkeypatch):
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    monkeypatch.setattr("ctmahout.storage.store._ATTEMPTS", 1)
    error = refusal(ctmahout.denoise, scans[3]["noisy"], tmp_path / "out", models=bucket.uri("models"), **DENOISE)
    assert error.code == "CTM_STORAGE_READ"
    assert list(tmp_path.iterdir()) == []
