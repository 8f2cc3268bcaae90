"""The commands of README and docs: all are understood; what needs no cluster, store or network runs as it stands."""

import re
import shlex
import shutil
from pathlib import Path

import pytest
import repeats

from ctmahout import denoise
from ctmahout.cli import main
from ctmahout.cli.verbs import ctmahout
from ctmahout.phantom.dicom import write_synthetic
from ctmahout.workflows.phantom import write_phantom

ROOT = Path(__file__).parents[3]
PAGES = [ROOT / "README.md", ROOT / "docker" / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
# What runs here, one page after the other in the same folder; the names in capitals are folders.
RUN = ("README.md", "docs/models.md", "docs/repeat.md", "docs/reproduce.md")
ELSEWHERE = re.compile(r"s3://|https://|idc:|tcia:|docker |--master|--engine|HOST|BUCKET|serve |module|--dicom-report")


def commands(page):
    """Every command line of ours in the blocks of a page, without its comment."""
    for block in re.findall(r"^```(?:console|sh|bash)\n(.*?)^```", page.read_text(encoding="utf-8"), re.M | re.S):
        for line in re.sub(r"\$\(.*?\)", "SHELL", block.replace("\\\n", " ")).splitlines():
            words = shlex.split(line.removeprefix("$ "), comments=True)
            if "ctmahout" in words[:-1] and not {"pip", "kubectl"} & {*words}:
                words = [word.removesuffix("...") for word in words[words.index("ctmahout") :]]
                yield [word for word in words if word]


ALL = [(page, words) for page in PAGES for words in commands(page)]


def identity(value):
    return value.name if isinstance(value, Path) else " ".join(value[1:6])


@pytest.mark.parametrize(("page", "words"), ALL, ids=identity)
def test_a_command_is_understood(page, words):
    """Its verb, options and arguments are there, and their values are of the right kind."""
    _, verb, *arguments = ["104" if word == "PORT" else word for word in words]
    if verb.islower():  # `ctmahout denoise` as the image's command
        ctmahout.commands[verb].make_context(verb, arguments)


def test_there_are_commands():
    assert len(ALL) > 50
    assert {words[1] for _, words in ALL} > {"denoise", "inspect", "learn", "models", "dssvd", "verify", "repeat"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """What the commands begin with: a phantom by all names of a source, two scans of another one, and runs."""
    folder = tmp_path_factory.mktemp("commands")
    for name, seed in (("phantom", 1), ("other", 2)):
        write_phantom(folder / name, size=96, slices=8, seed=seed)
    for name in ("FOLDER", "SERIES1", "SERIES2", "STUDY/one", "scan"):
        shutil.copytree(folder / "phantom" / "noisy", folder / name)
    shutil.copytree(folder / "other" / "noisy", folder / "SERIES")
    for number, hu in enumerate(repeats.scans(repeats.phantom(), 1), 1):
        name = f"SCAN{number}"
        volume = repeats.volume(hu)
        write_synthetic(volume, folder / name, description=name, key=name, study_key="repeats", series_number=number)
    denoise(folder / "FOLDER", folder / "RUN", effort="fast", engine="numpy", report=False)
    for name in ("OTHER-RUN", "LATER-RUN"):
        shutil.copytree(folder / "RUN", folder / name)
    return folder


def here(words):
    """A command with a folder for its bucket, and with options that make it fast and let it be run again."""
    words = [word.replace("s3://BUCKET/", "") for word in words]
    verb = words[1]
    if verb == "denoise":
        words += [*([] if {"--models", "--model"} & {*words} else ["--effort", "fast"]), "--no-report"]
    if verb == "verify" and len(words) == 3:  # what is expected of public series is not expected of the phantom
        words.append("RUN")
    options = {"--engine": "numpy", "--groups": "200", "--overwrite": None}
    has = {name for parameter in ctmahout.commands[verb].params for name in parameter.opts}
    return words[1:] + [word for item in options.items() if item[0] in has for word in item if word]


@pytest.mark.filterwarnings("ignore::ctmahout.CtmahoutWarning")
@pytest.mark.parametrize("page", RUN)
def test_the_commands_of_a_page_run_one_after_the_other(page, folder, monkeypatch, capsys):
    monkeypatch.chdir(folder)
    ran = 0
    for _, words in (one for one in ALL if one[0] == ROOT / page):
        arguments = here(words)
        if ELSEWHERE.search(" ".join(arguments[: len(words) - 1])):
            continue
        if arguments[0] == "denoise":  # what stands one after the other there is one or the other
            shutil.rmtree(arguments[2], ignore_errors=True)
        with pytest.raises(SystemExit) as end:
            main(arguments)
        assert end.value.code == 0, (arguments, capsys.readouterr())
        ran += 1
    assert ran > 2
