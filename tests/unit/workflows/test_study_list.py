"""A list of series, what a task does with one of them, and the table of results; without Spark."""

import json
from dataclasses import replace

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from dicom_slices import PATIENT, put
from helpers import code_of, tree

from ctmahout import Config, Results, denoise_study, read_results
from ctmahout.cli import main
from ctmahout.dicom import cached_headers
from ctmahout.errors import CtmahoutError, EngineError, InputError
from ctmahout.exchange import read_table, write_table
from ctmahout.storage import local_copy, parse_location
from ctmahout.storage.locks import hold
from ctmahout.workflows.inspect import inspect_path
from ctmahout.workflows.results import RESULTS, result_rows
from ctmahout.workflows.study import STUDY, StudySeries, executors
from ctmahout.workflows.study import series as series_module
from ctmahout.workflows.study.executors import _in_task, _Task
from ctmahout.workflows.study.sources import PlannedSeries, series_of_folder

HOW = {"method": "slices", "engine": "numpy", "report": False, "timestamp": "2026-01-31T12:00:00+00:00"}


@pytest.fixture
def scans(slices, tmp_path):
    """Two series and one that lacks a slice, in a folder named after a patient."""
    for number, name in enumerate(("Zebedee", "b", "c"), 1):
        slices.write(tmp_path / "scans" / name, put(SeriesInstanceUID=f"1.2.{number}"), n=5)
    (tmp_path / "scans" / "c" / "slice-02.dcm").unlink()
    return tmp_path / "scans"


def test_a_list_of_series(scans, tmp_path):
    text = "\ufeff# a cohort\nZebedee\n\n  b  \nc\r\nnowhere\n./Zebedee\n".replace("./Zebedee", str(scans / "Zebedee"))
    (scans / "list.txt").write_text(text, encoding="utf-8")
    done = denoise_study(scans / "list.txt", tmp_path / "out", **HOW)
    assert [(s.number, s.slices, s.outcome, s.code) for s in done.series] == [
        (1, 5, "done", ""),
        (2, 5, "done", ""),
        (3, 0, "failed", "CTM_SLICE_MISSING"),
        (4, 0, "failed", "CTM_INPUT_NOT_FOUND"),
    ]
    assert [s.outcome for s in denoise_study(scans / "list.txt", tmp_path / "out", **HOW).series[:2]] == ["kept"] * 2
    assert not any("Zebedee" in str(path.relative_to(tmp_path)) for path in (tmp_path / "out").rglob("*"))
    assert "Zebedee" not in (tmp_path / "out" / STUDY).read_text()
    # The same as a list in Python, and the bytes of the series denoised by themselves.
    paths = [scans / name for name in ("Zebedee", "b", "c", "nowhere")]
    again = denoise_study(paths, tmp_path / "again", **HOW)
    assert [s.folder for s in again.series] == [s.folder for s in done.series]
    folder = denoise_study(scans, tmp_path / "folder", **HOW)
    for one, other in zip(done.series[:2], folder.series[:2], strict=True):
        assert tree(tmp_path / "out" / one.folder / "auto") == tree(tmp_path / "folder" / other.folder / "auto")


def test_a_list_that_is_none(scans, tmp_path):
    (tmp_path / "empty.txt").write_text("# nothing\n\n")
    (tmp_path / "binary.txt").write_bytes(b"\xff\xfe\x00DICM")
    (tmp_path / "here.txt").write_text(str(tmp_path / "out" / "series") + "\n")
    for name, code in (
        ("empty.txt", "CTM_INPUT_EMPTY"),
        ("binary.txt", "CTM_INPUT_UNREADABLE"),
        ("missing.txt", "CTM_INPUT_NOT_FOUND"),
        ("here.txt", "CTM_OUTPUT_IS_INPUT"),
    ):
        assert code_of(denoise_study, tmp_path / name, tmp_path / "out", **HOW) == code
    assert code_of(denoise_study, [], tmp_path / "out", **HOW) == "CTM_INPUT_EMPTY"
    assert not (tmp_path / "out").exists()
    scans.rename(tmp_path / "scans.txt")  # a folder is a folder
    assert denoise_study(tmp_path / "scans.txt", tmp_path / "out", **HOW).failed == 1


def test_spread_is_for_engines_of_one_process(scans, tmp_path):
    for options in ({"engine": "submit"}, {"engine": "jpype"}):
        assert code_of(denoise_study, scans, tmp_path / "out", spread=True, **(HOW | options)) == "CTM_CONFIG_VALUE"
    archive = "dicomweb+https://pacs/rs/studies/1.2"
    assert code_of(denoise_study, archive, tmp_path / "out", spread=True, **HOW) == "CTM_CONFIG_VALUE"
    assert not (tmp_path / "out").exists()


def test_the_table_of_results(scans, tmp_path, capsys):
    done = denoise_study(scans, tmp_path / "out", **(HOW | {"strength": ("rank:4", "rank:2")}))
    rows = read_results(tmp_path / "out" / RESULTS).rows
    assert [(row["number"], row["strength"], row["code"]) for row in rows] == [
        (1, "rank:4", ""),
        (1, "rank:2", ""),
        (2, "rank:4", ""),
        (2, "rank:2", ""),
        (3, None, "CTM_SLICE_MISSING"),
    ]
    run = json.loads((tmp_path / "out" / done.series[0].folder / "run.json").read_text())
    after = run["numbers"]["after"]["rank:2"]
    assert rows[1]["noise_after_soft_hu"] == after["noise_sd_hu"]["soft"]
    assert rows[1]["mean_shift_soft_hu"] == after["mean_shift_hu"]["soft"]
    assert rows[1]["warnings"] == run["warnings"]
    assert len(list((tmp_path / "out" / rows[1]["result"]).glob("*.dcm"))) == 5
    data = (tmp_path / "out" / RESULTS).read_bytes()
    assert not any(value.encode() in data for value in (*PATIENT.values(), "Zebedee", "1.2.1", str(tmp_path)))
    # It is that of the rows that are there, whatever was kept.
    denoise_study(scans, tmp_path / "out", **(HOW | {"strength": ("rank:4", "rank:2")}))
    kept = read_results(tmp_path / "out" / RESULTS).rows
    untimed = {"seconds", "outcome"}
    assert [{k: r[k] for k in r if k not in untimed} for r in kept] == [
        {k: r[k] for k in r if k not in untimed} for r in rows
    ]
    with pytest.raises(SystemExit) as e:
        main(["inspect", str(tmp_path / "out" / RESULTS)])
    assert e.value.code in (0, None)
    shown = capsys.readouterr().out
    assert "CTM_SLICE_MISSING" in shown
    assert "1 failed, 2 kept" in shown
    with pytest.raises(SystemExit):
        main(["inspect", str(tmp_path / "out" / RESULTS), "--json"])
    assert json.loads(capsys.readouterr().out)["results"][1]["strength"] == "rank:2"


def test_what_the_table_has_of_a_run():
    hu = iter(range(100, 200))
    tissues = ("lung", "fat", "soft", "bone")

    def numbers(*names):
        return {name: {tissue: float(next(hu)) for tissue in tissues} for name in names}

    edges = {when: {"strong": float(next(hu)), "weak": None} for when in ("before", "after")}
    after = numbers("noise_sd_hu", "mean_hu", "mean_shift_hu") | {"edge_width_mm": edges, "anatomy_in_residual": 0.1}
    run = {
        "numbers": {"before": numbers("noise_sd_hu", "mean_hu"), "after": {"auto": after | {"noise_taken": 0.5}}},
        "series": [{"strength": "auto", "folder": "auto", "noise_removed": 0.6}],
        "config": {"method": "patches"},
        "model": {"sha256": "0" * 64},
        "warnings": [],
    }
    (row,) = result_rows(run)
    before = run["numbers"]["before"]
    for tissue in tissues:
        assert row[f"noise_before_{tissue}_hu"] == before["noise_sd_hu"][tissue]
        assert row[f"noise_after_{tissue}_hu"] == after["noise_sd_hu"][tissue]
        assert row[f"mean_before_{tissue}_hu"] == before["mean_hu"][tissue]
        assert row[f"mean_after_{tissue}_hu"] == after["mean_hu"][tissue]
        assert row[f"mean_shift_{tissue}_hu"] == after["mean_shift_hu"][tissue]
    assert (row["edge_before_mm"], row["edge_after_mm"]) == (edges["before"]["strong"], edges["after"]["strong"])
    assert (row["noise_removed"], row["model"], row["result"]) == (0.6, "0" * 64, "auto")
    del run["series"][0]["noise_removed"], run["model"]
    (row,) = result_rows(run)
    assert (row["noise_removed"], row["model"]) == (0.5, None)


def test_the_table_after_an_interrupt(scans, tmp_path):
    def stop(series):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        denoise_study(scans, tmp_path / "out", on_series=stop, **HOW)
    assert [row["number"] for row in read_results(tmp_path / "out" / RESULTS).rows] == [1]


def test_results_are_shown_in_a_notebook(scans, tmp_path):
    denoise_study(scans, tmp_path / "out", **HOW)
    for results in (read_results(tmp_path / "out" / RESULTS), Results(())):
        assert results._repr_html_().startswith('<figure><img src="data:image/png;base64,iVBOR')
    assert Results(()).summary() == "no series."


def test_a_table_that_is_no_table_of_results(tmp_path):
    (tmp_path / "damaged.parquet").write_bytes(b"PAR1 and no more")
    pq.write_table(pa.table({"number": [1], "name": ["a"]}), tmp_path / "other.parquet")
    (tmp_path / "folder.parquet").mkdir()
    for name, code in (
        ("damaged.parquet", "CTM_EXCHANGE_CORRUPT"),
        ("other.parquet", "CTM_EXCHANGE_KIND"),
        ("missing.parquet", "CTM_INPUT_NOT_FOUND"),
    ):
        assert code_of(read_results, tmp_path / name) == code_of(inspect_path, tmp_path / name) == code
    assert code_of(inspect_path, tmp_path / "folder.parquet") == "CTM_INPUT_EMPTY"


@pytest.mark.parametrize("damage", range(8))
def test_a_damaged_table_is_corrupt_or_itself(tmp_path, damage):
    columns = {"number": "int", "text": "text", "warnings": "texts", "hu": "float"}
    rows = [{"number": 1, "text": "a", "warnings": ["w"], "hu": 1.5}, {"number": 2}]
    write_table(tmp_path / "t.parquet", columns, rows)
    whole = read_table(tmp_path / "t.parquet", columns, "a test")
    assert whole == [rows[0], {"number": 2, "text": None, "warnings": None, "hu": None}]
    data = bytearray((tmp_path / "t.parquet").read_bytes())
    cut = data[: len(data) * damage // 8]
    (tmp_path / "cut.parquet").write_bytes(cut)
    assert code_of(read_table, tmp_path / "cut.parquet", columns, "a test") == "CTM_EXCHANGE_CORRUPT"


def task(scans, output, **options):
    """A task as an executor gets it, and its series."""
    output.mkdir()
    (output / STUDY).write_text('{"kind": "study"}')
    config = _in_task(Config(**(HOW | {"spread": True, "master": "k8s://x"} | options)), 2)
    series = PlannedSeries(scans / "b", StudySeries(1, "series-b", 0, ""), source_name="b")
    return _Task(output, config, None, {}), series


def test_a_task_denoises_as_the_loop_does(scans, tmp_path):
    run, series = task(scans, tmp_path / "out")
    assert (run.config.master, run.config.spread, run.config.workers) == ("local[2]", False, 2)
    first = run(series)
    assert (first.outcome, first.slices, len(first.measured)) == ("done", 5, 1)
    # An earlier attempt had finished, and its executor was lost before it could say so.
    before = (tmp_path / "out" / "series-b" / "run.json").stat().st_ino
    assert replace(run(series), seconds=0) == replace(first, seconds=0)
    assert (tmp_path / "out" / "series-b" / "run.json").stat().st_ino == before
    # Other options are another run.
    other = replace(run, config=replace(run.config, q=0))
    assert other(series).code == "CTM_OUTPUT_EXISTS"


def test_a_task_waits_for_another_attempt(scans, tmp_path, monkeypatch):
    run, series = task(scans, tmp_path / "out")
    partial = tmp_path / "out" / "series-b.partial-01234567"
    partial.mkdir()
    waits = []
    lock = hold(partial)

    def wait(seconds):
        waits.append(seconds)
        if len(waits) == 2:
            lock.__exit__(None, None, None)
            partial.joinpath(".claim").unlink(missing_ok=True)

    monkeypatch.setattr(executors.time, "sleep", wait)
    lock.__enter__()
    assert run(series).outcome == "done"
    assert len(waits) == 2


def test_a_task_that_does_not_see_the_output(scans, tmp_path):
    run, series = task(scans, tmp_path / "out")
    (tmp_path / "out" / STUDY).unlink()
    with pytest.raises(EngineError) as e:
        run(series)
    assert e.value.code == "CTM_EXECUTORS_STORAGE"


def test_tasks_on_a_store(scans, tmp_path, bucket):
    bucket.upload(scans, "scans")
    (tmp_path / "list.txt").write_text(f"{bucket.uri('scans')}/b\n{bucket.uri('scans')}/c\n{bucket.uri('none')}\n")
    done = denoise_study(tmp_path / "list.txt", bucket.uri("out"), **HOW)
    assert [s.code for s in done.series] == ["", "CTM_SLICE_MISSING", "CTM_INPUT_NOT_FOUND"]
    assert denoise_study(tmp_path / "list.txt", bucket.uri("out"), **HOW).series[0].outcome == "kept"
    assert len(read_results(f"{bucket.uri('out')}/{RESULTS}").rows) == 3
    # A folder of a store is copied by each task, as much of it as its series needs.
    with cached_headers() as headers:
        config = Config(**(HOW | {"spread": True}))
        source = parse_location(bucket.uri("scans"))
        with local_copy(source) as folder:
            series, unreadable = series_of_folder(folder, source, config, headers, None)
        assert unreadable == ()
        (one,) = [s for s in series if s.selector == "1.2.2"]
        assert one.names == {".", "b", *(f"b/slice-{i:02d}.dcm" for i in range(5))}
        run = _Task(parse_location(bucket.uri("out")), _in_task(config, 1), None, headers)
        assert run(one).outcome == "done"
        assert run(one).seconds == 0  # found done
    local = denoise_study(scans, tmp_path / "local", **HOW)
    bucket.download(f"out/{one.so_far.folder}", tmp_path / "from store")
    (same,) = [s for s in local.series if s.folder == one.so_far.folder]
    assert tree(tmp_path / "from store" / "auto") == tree(tmp_path / "local" / same.folder / "auto")


def test_an_interrupted_task_is_no_outcome(scans, tmp_path, monkeypatch):
    def interrupted(*args, **options):
        raise CtmahoutError("CTM_INTERRUPTED")

    monkeypatch.setattr(series_module, "denoise", interrupted)
    run, series = task(scans, tmp_path / "out")
    assert code_of(run, series) == "CTM_INTERRUPTED"
    monkeypatch.setattr(
        series_module, "denoise", lambda *a, **k: (_ for _ in ()).throw(InputError("CTM_INPUT_EMPTY", path=a[0]))
    )
    assert run(series).message == "b contains no files."
