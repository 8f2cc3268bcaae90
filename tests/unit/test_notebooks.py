"""The example notebooks without Spark run; tests/bridge/test_ml.py has the other one."""

import pytest
from helpers import NOTEBOOKS, run_notebook


@pytest.mark.parametrize("path", [path for path in NOTEBOOKS if path.stem != "sparse_pca"], ids=lambda path: path.stem)
def test_the_notebook_runs(path, tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    shown = [one._repr_html_() for one in run_notebook(path, {}) if hasattr(one, "_repr_html_")]
    assert any(html.startswith('<figure><img src="data:image/png;base64,iVBOR') for html in shown)
