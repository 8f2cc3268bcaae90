"""The examples, as their readers would run them."""

import subprocess
import sys
from pathlib import Path

import pytest

CTMAHOUT = Path(sys.executable).with_name("ctmahout")


def run(*command):
    done = subprocess.run([*map(str, command)], capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.spark
def test_own_session(root, ct_data, tmp_path):
    said = run(sys.executable, root / "examples/own_session.py", ct_data / "chest_pair_sharp_B70f", tmp_path / "out")
    assert "rank 4 of a matrix made of 4 components" in said
    assert len(list((tmp_path / "out" / "rank-3").glob("*.dcm"))) == 12


def test_own_step(root, ct_data, tmp_path):
    source = ct_data / "lowdose_pet_ct_STS_003"
    run(CTMAHOUT, "prepare", source, tmp_path / "matrix", "--method", "slices")
    run(CTMAHOUT, "dssvd", tmp_path / "matrix", tmp_path / "factors", "--engine", "numpy")
    for _ in range(2):  # a second try finds what the first one wrote
        said = run(sys.executable, root / "examples/own_step.py", tmp_path / "factors", tmp_path / "chosen")
        assert "components kept" in said
    run(CTMAHOUT, "reconstruct", source, tmp_path / "matrix", tmp_path / "chosen", tmp_path / "out", "--no-report")
    assert len(list((tmp_path / "out" / "auto").glob("*.dcm"))) == 51
