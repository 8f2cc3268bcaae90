"""The examples of public docstrings run, and every function says what it takes, gives and raises."""

import doctest
import inspect

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
