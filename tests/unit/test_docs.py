"""The examples of public docstrings run, and every function says what it takes, gives and raises."""

import ast
import dataclasses
import doctest
import inspect
import re
from pathlib import Path

import pytest
import repeats

import ctmahout
from ctmahout.phantom.dicom import write_synthetic
from ctmahout.workflows.phantom import write_phantom

FUNCTIONS = [name for name in ctmahout.__all__ if inspect.isfunction(getattr(ctmahout, name))]
CLASSES = [name for name in ctmahout.__all__ if inspect.isclass(getattr(ctmahout, name))]


def examples():
    """The tests of all public docstrings that have an example."""
    finder = doctest.DocTestFinder(exclude_empty=True)
    for name in FUNCTIONS + CLASSES:
        shown = getattr(ctmahout, name)
        for test in finder.find(shown, name, globs={name: shown}):
            if test.examples:
                yield pytest.param(test, id=test.name)


def documented_calls():
    """Every call of a function of ours in the Python blocks of README and docs."""
    root = Path(__file__).parents[2]
    for page in (root / "README.md", *sorted((root / "docs").glob("*.md"))):
        for block in re.findall(r"^```python\n(.*?)^```", page.read_text(encoding="utf-8"), re.M | re.S):
            for node in ast.walk(ast.parse(block)):
                if isinstance(node, ast.Call) and re.fullmatch(r"ctmahout\.\w+", ast.unparse(node.func)):
                    yield pytest.param(node, id=f"{page.name}-{ast.unparse(node)[:60]}")


@pytest.mark.parametrize("call", list(documented_calls()))
def test_a_documented_call_names_a_function_and_its_options(call):
    function = getattr(ctmahout, ast.unparse(call.func).removeprefix("ctmahout."))
    parameters = inspect.signature(function).parameters
    keywords = {keyword.arg: None for keyword in call.keywords}
    if "options" in parameters:
        options = {field.name for field in dataclasses.fields(ctmahout.Config)} - {*parameters}
        keywords = {name: None for name in keywords if name not in options}
        parameters = {name: of for name, of in parameters.items() if name != "options"}
    inspect.Signature(list(parameters.values())).bind(*call.args, **keywords)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """What the examples begin with: a small phantom, two scans of another one, and a result of the first."""
    folder = tmp_path_factory.mktemp("examples")
    write_phantom(folder / "phantom", size=96, slices=8)
    scan1, scan2 = repeats.scans(repeats.phantom(), 1)
    volumes = {"scan1": scan1, "scan2": scan2, "denoised1": repeats.blurred(scan1)}
    for number, (name, hu) in enumerate(volumes.items(), 1):
        write_synthetic(
            repeats.volume(hu), folder / name, description=name, key=name, study_key="repeats", series_number=number
        )
    return folder


@pytest.mark.filterwarnings("ignore::ctmahout.CtmahoutWarning")
@pytest.mark.parametrize("test", list(examples()))
def test_examples_run(test, folder, monkeypatch):
    monkeypatch.chdir(folder)
    assert doctest.DocTestRunner(optionflags=doctest.NORMALIZE_WHITESPACE).run(test).failed == 0


@pytest.mark.parametrize("name", FUNCTIONS)
def test_every_function_has_an_example(name):
    assert ">>> " in inspect.getdoc(getattr(ctmahout, name))


@pytest.mark.parametrize("name", FUNCTIONS)
def test_functions_document_every_parameter(name):
    """Of a function that takes options for another one, that one has them."""
    function = getattr(ctmahout, name)
    text = inspect.getdoc(function)
    documented = [p for p in inspect.signature(function).parameters if p not in ("config", "options")]
    if "parameters as for" in text or "Parameters are those of" in text:
        return
    missing = [p for p in documented if not _has(text, p)]
    assert not missing, f"{name}: {missing}"


def _has(text, parameter):
    entries = (line.split(" : ")[0].replace("*", "") for line in text.splitlines() if " : " in line)
    return any(parameter in entry.split(", ") for entry in entries)
