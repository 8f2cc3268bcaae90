"""The example notebooks run, cell by cell, and hold no outputs: these would be somebody's, and would go stale."""

import ast
import json
from pathlib import Path

import pytest

NOTEBOOKS = sorted((Path(__file__).parents[2] / "docs" / "notebooks").glob("*.ipynb"))


def run(source, names):
    """Run a cell; returns what a notebook shows, the value of an expression at its end."""
    tree = ast.parse(source)
    last = tree.body.pop() if isinstance(tree.body[-1], ast.Expr) else None
    exec(compile(tree, "cell", "exec"), names)
    return None if last is None else eval(compile(ast.Expression(last.value), "cell", "eval"), names)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_the_notebook_runs(path, tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    names, pictures = {}, 0
    for cell in json.loads(path.read_text())["cells"]:
        if cell["cell_type"] == "code":
            assert cell["outputs"] == []
            shown = run("".join(cell["source"]), names)
            if hasattr(shown, "_repr_html_"):
                pictures += shown._repr_html_().startswith('<figure><img src="data:image/png;base64,iVBOR')
    assert pictures
