"""What inspect advises: the algorithm that has less to do."""

import numpy as np
import pytest

from ctmahout import Config
from ctmahout.engine import Request, connect
from ctmahout.exchange import write_matrix
from ctmahout.inspection import inspect_path


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
