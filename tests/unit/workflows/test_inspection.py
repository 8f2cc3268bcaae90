"""What inspect advises: the algorithm that has less to do."""

import numpy as np
import pytest
from dicom_slices import put

from ctmahout import Config
from ctmahout.cli.output import print_table
from ctmahout.dicom import SeriesInfo
from ctmahout.engines import Request, connect
from ctmahout.exchange import write_matrix, write_model
from ctmahout.workflows.inspect import _requirements, inspect_path


@pytest.mark.parametrize(
    ("columns", "options", "advice"),
    [
        (301, {}, "exact suits 301 columns"),  # all components: a square projection has nothing to save
        (301, {"k": 50}, "exact suits"),  # 8.3 times 65 is more than 301
        (301, {"k": 5, "p": 5, "q": 0}, "dssvd suits: k + p = 10 is much less"),
        (2, {}, "exact suits"),
        (1000, {"k": 50}, "dssvd suits: 1000 columns are many"),
        (1000, {}, "Give -k"),
    ],
)
def test_a_matrix_is_told_which_algorithm_suits(tmp_path, columns, options, advice):
    write_matrix(tmp_path / "m", [np.eye(columns, dtype=np.float32)], units="1", centring="none", layout={})
    found = inspect_path(tmp_path / "m", Config(**options))
    (note,) = found.notes
    assert advice in note
    assert found.as_dict()["notes"] == [note]


@pytest.mark.parametrize("algorithm", ["dssvd", "exact", "dspca"])
def test_factors_are_told_by_which_algorithm_they_were_made(tmp_path, algorithm):
    write_matrix(tmp_path / "m", [np.eye(3, dtype=np.float32)], units="1", centring="none", layout={})
    connect("numpy").run(Request(str(tmp_path / "m"), str(tmp_path / "f"), algorithm=algorithm))
    (note,) = inspect_path(tmp_path / "f", Config()).notes
    assert note.endswith(f"by {algorithm}.")
    assert ("less the means" in note) == (algorithm == "dspca")


@pytest.mark.parametrize("method", ["patches", "slices"])
def test_a_larger_series_needs_more_of_everything(ct_data, tmp_path, method):
    needs = []
    for n in (4, 12):
        folder = tmp_path / str(n)
        folder.mkdir()
        for file in sorted((ct_data / "chest_pair_sharp_B70f").iterdir(), key=lambda f: int(f.stem[2:]))[:n]:
            (folder / file.name).symlink_to(file)
        (found,) = inspect_path(folder, Config(method=method)).as_dict()["series"]
        needs.append(found["needs"])
    assert [n["matrix_columns"] for n in needs] == ([4, 12] if method == "slices" else [75, 75])
    for key in ("disk_mib", "python_mib", "cpu_s", *(["jvm_mib"] if method == "slices" else [])):
        values = [n[key] for n in needs]
        assert values == sorted(set(values)), key


def test_a_model_is_shown_by_what_it_was_learnt_on(tmp_path):
    arrays = {"mean": np.zeros((3, 4))}
    one = {"shape": [10, 112, 112], "spacing_mm": [3.0, 0.7, 0.7], "kernel": "B30f", "series_sha256": "0" * 64}
    layout = {"method": "patches", "passes": 2, "learnt_on": [one, one | {"kernel": ""}]}
    write_model(tmp_path / "model", arrays, layout)
    found = inspect_path(tmp_path / "model")
    ((title, _, rows),) = found.tables()
    assert "model" in title
    assert rows == [(1, "10 x 112 x 112", "3 x 0.7 x 0.7", "B30f"), (2, "10 x 112 x 112", "3 x 0.7 x 0.7", "-")]
    assert found.notes == ("Learnt from 2 series; for `denoise --model`.",)


def test_a_matrix_of_many_groups_is_shown_in_one_row(tmp_path):
    groups = [np.eye(3, dtype=np.float32).repeat(n + 1, axis=0) for n in range(60)]
    write_matrix(tmp_path / "m", groups, units="1", centring="none", layout={})
    ((_, columns, rows),) = inspect_path(tmp_path / "m").tables()
    assert columns == ("groups", "rows", "columns", "rank")
    assert rows == [(60, "3 to 180", "3", None)]


def test_no_advice_is_given_for_a_series_that_will_be_refused_but_what_to_do_about_it(slices, tmp_path):
    good = inspect_path(slices.write(tmp_path / "good"))
    assert any("Fits one machine" in note for note in good.notes)
    slices.write(tmp_path / "bad", put(PixelSpacing=[0.9, 0.9]), only=[1])
    bad = inspect_path(tmp_path / "bad")
    assert not any("Fits one machine" in note for note in bad.notes)
    assert any("refused" in note and "--split" in note for note in bad.notes)


def test_the_table_is_no_wider_than_a_terminal_of_100_columns(slices, tmp_path, capsys):
    kernel = put(ConvolutionKernel="LUNG PLUS HD 0.6", SeriesNumber="2147483647", PixelSpacing=["0.9765625"] * 2)
    slices.write(tmp_path / "in", kernel)
    for title, columns, rows in inspect_path(tmp_path / "in").tables():
        print_table(title, columns, rows)
    lines = capsys.readouterr().out.splitlines()
    assert lines
    assert max(map(len, lines)) <= 100


# Series of 512 x 512 on one machine of two cores; MiB at the peak, as Linux counts them.
@pytest.mark.parametrize(
    ("effort", "slices", "peak"), [("fast", 7, 898), ("normal", 7, 1809), ("normal", 248, 3322), ("normal", 800, 6460)]
)
def test_memory_is_bounded_from_above_within_a_quarter(effort, slices, peak):
    info = SeriesInfo(
        1, "", "", "", slices, 512, 512, (1.0, 0.7, 0.7), None, "", (), denoised=False, unusable=0, folder="", doubts=()
    )
    assert peak <= _requirements(info, Config(effort=effort)).python_mib <= 1.25 * peak
