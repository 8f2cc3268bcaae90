import errno
import os
import subprocess
import sys
import tempfile

import pytest

from ctmahout.errors import OutputError
from ctmahout.storage.atomic import atomic_dir, refuse_overlap


def ours(path):
    return (path / "mark").exists()


def entries(folder):
    return sorted(p.name for p in folder.iterdir())


def test_the_output_appears_whole(tmp_path):
    with atomic_dir(tmp_path / "deep" / "out", overwrite=False, is_replaceable=ours) as partial:
        (partial / "mark").write_text("1")
        assert not (tmp_path / "deep" / "out").exists()
    assert entries(tmp_path / "deep") == ["out"]


@pytest.mark.parametrize("stop", [RuntimeError("bug"), KeyboardInterrupt(), SystemExit(1)])
def test_nothing_is_left_when_the_work_stops(tmp_path, stop):
    with (
        pytest.raises(type(stop)),
        atomic_dir(tmp_path / "deep" / "er" / "out", overwrite=False, is_replaceable=ours) as partial,
    ):
        (partial / "half").write_text("1")
        raise stop
    assert entries(tmp_path) == []


def test_a_failed_overwrite_keeps_the_old_output(tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    (out / "mark").write_text("old")
    with pytest.raises(RuntimeError), atomic_dir(out, overwrite=True, is_replaceable=ours) as partial:
        (partial / "mark").write_text("new")
        raise RuntimeError
    assert (out / "mark").read_text() == "old"
    with atomic_dir(out, overwrite=True, is_replaceable=ours) as partial:
        (partial / "mark").write_text("new")
    assert (out / "mark").read_text() == "new"
    assert entries(tmp_path) == ["out"]


def test_what_others_wrote_is_never_replaced(tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    (out / "thesis.txt").write_text("mine")
    for overwrite in (False, True):
        with pytest.raises(OutputError) as e, atomic_dir(out, overwrite=overwrite, is_replaceable=ours):
            raise AssertionError("the work must not begin")
        assert e.value.code == "CTM_OUTPUT_EXISTS"
    assert (out / "thesis.txt").read_text() == "mine"


def test_a_file_in_the_way_is_never_replaced(tmp_path):
    (tmp_path / "out").write_text("mine")
    with pytest.raises(OutputError), atomic_dir(tmp_path / "out", overwrite=True, is_replaceable=lambda _: True):
        pass
    assert (tmp_path / "out").read_text() == "mine"


def test_an_empty_folder_may_be_filled(tmp_path):
    (tmp_path / "out").mkdir()
    with atomic_dir(tmp_path / "out", overwrite=False, is_replaceable=ours) as partial:
        (partial / "mark").write_text("1")
    assert entries(tmp_path / "out") == ["mark"]


def test_a_full_disk_is_told_as_such(tmp_path):
    with (
        pytest.raises(OutputError, match="No space left") as e,
        atomic_dir(tmp_path / "out", overwrite=False, is_replaceable=ours),
    ):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    assert e.value.code == "CTM_OUTPUT_UNWRITABLE"
    assert entries(tmp_path) == []


def test_a_place_that_cannot_be_written_is_told_as_such(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError) as e, atomic_dir(tmp_path / "file" / "out", overwrite=False, is_replaceable=ours):
        pass
    assert e.value.code == "CTM_OUTPUT_UNWRITABLE"


@pytest.mark.parametrize(("output", "source"), [("a", "a"), ("a/b", "a"), ("a", "a/b"), ("a/../a", "a")])
def test_output_and_input_do_not_lie_in_each_other(tmp_path, output, source):
    with pytest.raises(OutputError) as e:
        refuse_overlap(tmp_path / output, tmp_path / source)
    assert e.value.code == "CTM_OUTPUT_IS_INPUT"
    refuse_overlap(tmp_path / "ab", tmp_path / "a")


WRITER = """
import sys
from pathlib import Path
from ctmahout.storage.atomic import atomic_dir
with atomic_dir(Path(sys.argv[1]), overwrite=False, is_replaceable=lambda _: False) as partial:
    (partial / "half").write_text("1")
    sys.stdout.write(partial.name)
    sys.stdout.flush()
    sys.stdin.read()
"""


def writer(out):
    """Start a process that writes to `out` until its stdin ends; return it and the name of its folder."""
    process = subprocess.Popen(
        [sys.executable, "-c", WRITER, out], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    return process, process.stdout.read(len(out.name) + len(".partial-12345678")).decode()


def test_what_a_killed_process_left_is_cleared_and_what_another_one_writes_is_not(tmp_path):
    out = tmp_path / "out [1]*"
    killed, left = writer(out)
    alive, worked_on = writer(out)
    killed.kill()
    killed.communicate()
    others = [f"{out.name}.partial-00000000", f"{out.name}.partial-123", "out 1x.partial-12345678"]
    for name in others:
        (tmp_path / name).mkdir()
    (tmp_path / others[2] / ".claim").touch()
    assert entries(tmp_path) == sorted([left, worked_on, *others])
    with atomic_dir(out, overwrite=False, is_replaceable=ours) as partial:
        with pytest.raises(RuntimeError), atomic_dir(out, overwrite=False, is_replaceable=ours) as second:
            assert entries(tmp_path) == sorted([worked_on, partial.name, second.name, *others])
            raise RuntimeError
        third, name = writer(out)
        assert entries(tmp_path) == sorted([worked_on, partial.name, name, *others])
        third.communicate()  # the output is its own
        assert entries(out) == ["half"]
        (partial / "mark").write_text("1")
        (out / "half").unlink()
    assert entries(out) == ["mark"]
    _, error = alive.communicate()
    assert b"CTM_OUTPUT_EXISTS" in error
    assert entries(tmp_path) == sorted([out.name, *others])


@pytest.mark.parametrize(
    "error",
    [
        FileNotFoundError(errno.ENOENT, "No such file", "spark-submit"),
        ConnectionRefusedError(errno.ECONNREFUSED, "Connection refused"),
        FileExistsError(errno.EEXIST, "File exists", "/elsewhere"),
        OSError("a library's own"),
    ],
)
def test_an_error_of_something_else_is_not_one_of_the_output(tmp_path, error):
    with pytest.raises(type(error)) as e, atomic_dir(tmp_path / "out", overwrite=False, is_replaceable=ours):
        raise error
    assert e.value is error
    assert entries(tmp_path) == []


def test_a_full_temporary_folder_is_not_a_full_output(tmp_path, monkeypatch):
    full = tmp_path / "tmp"
    full.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(full))
    with pytest.raises(OutputError) as e, atomic_dir(tmp_path / "out", overwrite=False, is_replaceable=ours):
        raise OSError(errno.ENOSPC, "No space left on device", str(full / "file"))
    assert (e.value.code, e.value.fields["path"]) == ("CTM_OUTPUT_UNWRITABLE", full)


KILLED = """
import os, signal, sys
from pathlib import Path
from ctmahout.storage.atomic import atomic_dir
rename = Path.rename
def killed(self, target):
    if int(sys.argv[2]) == 1 and ".partial-" in self.name:
        os.kill(os.getpid(), signal.SIGKILL)
    return rename(self, target)
Path.rename = killed
if int(sys.argv[2]) == 2:
    import shutil
    shutil.rmtree = lambda *a, **k: os.kill(os.getpid(), signal.SIGKILL)
with atomic_dir(Path(sys.argv[1]), overwrite=True, is_replaceable=lambda _: True) as partial:
    (partial / "mark").write_text("new")
"""


@pytest.mark.parametrize(("moment", "kept"), [(1, "old"), (2, "new")])
@pytest.mark.parametrize("overwrite", [False, True])
def test_an_output_that_was_being_replaced_is_there_again_after_a_kill(tmp_path, moment, kept, overwrite):
    out = tmp_path / "out [1]*"
    out.mkdir()
    (out / "mark").write_text("old")
    killed = subprocess.run([sys.executable, "-c", KILLED, out, str(moment)], check=False)
    assert killed.returncode == -9
    assert any(".replaced-" in name for name in entries(tmp_path))
    (tmp_path / f"{out.name}.replaced-by me").mkdir()
    if overwrite:
        with pytest.raises(RuntimeError), atomic_dir(out, overwrite=True, is_replaceable=ours):
            assert (out / "mark").read_text() == kept
            raise RuntimeError
    else:
        with pytest.raises(OutputError) as e, atomic_dir(out, overwrite=False, is_replaceable=ours):
            pass
        assert e.value.code == "CTM_OUTPUT_EXISTS"
    assert (out / "mark").read_text() == kept
    assert entries(tmp_path) == [out.name, f"{out.name}.replaced-by me"]
