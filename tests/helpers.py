"""What tests of every kind say."""

import ast
import json
import os
import socket
import sys
import time
from contextlib import contextmanager
from pathlib import Path

import pytest

from ctmahout.errors import CtmahoutError

BENCH = Path(__file__).parents[1] / "bench"
NOTEBOOKS = sorted((Path(__file__).parents[1] / "docs" / "notebooks").glob("*.ipynb"))


def refusal(call, *args, **options):
    """Call, and return the error of ours that this must end with."""
    with pytest.raises(CtmahoutError) as caught:
        call(*args, **options)
    return caught.value


def code_of(call, *args, **options):
    """Call, and return the code of that error."""
    return refusal(call, *args, **options).code


def tree(folder):
    """Return the content of every file below a folder by its path in it."""
    return {str(file.relative_to(folder)): file.read_bytes() for file in sorted(folder.rglob("*")) if file.is_file()}


def free_port():
    """Return a port of this machine that nobody listens on, just now."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        return unused.getsockname()[1]


def wait(condition, seconds=60, pause=0.1):
    """Wait until a condition is met, and return what it gave last."""
    deadline = time.monotonic() + seconds
    while not (met := condition()) and time.monotonic() < deadline:
        time.sleep(pause)
    return met


@contextmanager
def bench_on_path():
    """Let the programs of `bench` be imported, which import each other by their bare names."""
    sys.path.insert(0, str(BENCH))
    try:
        yield
    finally:
        sys.path.remove(str(BENCH))


def missing(what):
    """Fail in CI, where everything must be there; elsewhere skip and say why."""
    if os.environ.get("CI") == "true":
        pytest.fail(what)
    pytest.skip(what)


def existing(file):
    """Return a file of `ct_data`; not each of the real ones has one in its place."""
    if not file.exists():
        missing("no real CT file of this kind")
    return file


def run_notebook(path, names):
    """Run a notebook, cell by cell, with these names, and yield what each cell shows: an expression at its end.

    Notebooks hold no outputs: these would be somebody's, and would go stale.
    """
    for cell in json.loads(path.read_text())["cells"]:
        if cell["cell_type"] == "code":
            assert cell["outputs"] == []
            tree = ast.parse("".join(cell["source"]))
            last = tree.body.pop() if isinstance(tree.body[-1], ast.Expr) else None
            exec(compile(tree, "cell", "exec"), names)
            yield None if last is None else eval(compile(ast.Expression(last.value), "cell", "eval"), names)
