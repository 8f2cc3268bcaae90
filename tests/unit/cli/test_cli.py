"""What the command says, and how it ends, when something goes wrong that is not in its hands."""

import json
import re
import signal
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from ctmahout import cli
from ctmahout.cli.output import printable
from ctmahout.workflows import inspect as inspection

NASTY = "bad\x1b]52;c;bWluZQ==\x07\x1b[2J\n\u202egnp.dcm"


def run(capsys, *arguments):
    with pytest.raises(SystemExit) as e:
        cli.main([str(argument) for argument in arguments])
    return (e.value.code, *capsys.readouterr())


@pytest.mark.parametrize("kind", [KeyError, ValueError, ZeroDivisionError, OSError, RuntimeError, AssertionError])
def test_an_unknown_exception_is_one_code_with_its_traceback_in_a_log(tmp_path, capsys, monkeypatch, kind):
    def fails(*_):
        raise kind("Zebedee^Quentin")

    monkeypatch.setattr(inspection, "inspect_path", fails)
    monkeypatch.setattr(cli.tempfile, "tempdir", str(tmp_path))
    code, out, err = run(capsys, "inspect", tmp_path, "--json")
    assert code == 1
    assert json.loads(out)["error"]["code"] == "CTM_INTERNAL"
    assert "Traceback" not in out + err
    assert "Zebedee" not in out + err
    (log,) = tmp_path.glob("ctmahout-*.log")
    assert str(log) in err
    assert "Zebedee^Quentin" in log.read_text()
    assert "Traceback" in log.read_text()
    assert stat.S_IMODE(log.stat().st_mode) == 0o600


def test_too_little_memory_is_no_defect(tmp_path, capsys, monkeypatch):
    def fails(*_):
        raise MemoryError("Unable to allocate 9.00 TiB")

    monkeypatch.setattr(inspection, "inspect_path", fails)
    code, _, err = run(capsys, "inspect", tmp_path)
    assert (code, "[CTM_MEMORY]" in err, "9.00 TiB" in err) == (3, True, True)


def test_names_of_files_do_not_reach_the_terminal_raw(slices, tmp_path, capsys):
    folder = slices.write(tmp_path / "in")
    (folder / NASTY).write_bytes(b"no image")
    for arguments in (("inspect", folder), ("denoise", folder, tmp_path / "out"), ("inspect", folder / NASTY)):
        _, out, err = run(capsys, *arguments)
        assert r"bad\x1b]52" in out + err
        for text in (out, err):
            assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u202a-\u202e]", text)
            assert not any(line.startswith("gnp.dcm") for line in text.splitlines())


@pytest.mark.parametrize("text", ["plain", "Ünïcode 胸部", "a path/with spaces"])
def test_what_is_printable_is_printed_as_it_is(text):
    assert printable(text) == text
    assert printable("\udce4") == r"\xe4"


HANGING = """
import sys, time
from pathlib import Path
from ctmahout.cli.output import terminable
from ctmahout.storage.atomic import atomic_dir
with terminable(), atomic_dir(Path(sys.argv[1]), overwrite=False, is_replaceable=lambda _: False) as partial:
    (partial / "slice-0001.dcm").write_text("of a patient")
    print(flush=True)
    sys.stdin.read(1)
"""


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGTERM])
@pytest.mark.parametrize("ignored", [False, True])
def test_a_lost_connection_leaves_nothing_and_nohup_is_heeded(tmp_path, number, ignored):
    before = (lambda: signal.signal(number, signal.SIG_IGN)) if ignored else None
    command = [sys.executable, "-c", HANGING, tmp_path / "out"]
    pipes = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
    process = subprocess.Popen(command, **pipes, preexec_fn=before)
    process.stdout.readline()
    process.send_signal(number)
    _, err = process.communicate(b"x" if ignored else None, timeout=60)
    assert [p.name for p in Path(tmp_path).iterdir()] == (["out"] if ignored else [])
    assert (process.returncode == 0) == ignored, err
