"""Results that are kept: computed once, and found again only by work of the same kind."""

import os

import numpy as np
import pytest
from helpers import code_of

from ctmahout.storage import kept
from ctmahout.storage.kept import Kept, resumable_folder


def test_a_result_is_computed_once_and_has_the_bytes_that_it_has_later(tmp_path):
    calls = []

    def compute(item):
        calls.append(item)
        return np.arange(12.0).reshape(3, 4).T[::2]  # neither C nor Fortran order

    first, again = (Kept(compute, tmp_path, "step")((3, "x")) for _ in range(2))
    assert calls == [(3, "x")]
    assert first.tobytes() == again.tobytes()
    assert first.strides == again.strides
    assert [file.name for file in tmp_path.iterdir()] == ["step-3.pickle"]


def test_what_fails_keeps_nothing(tmp_path):
    with pytest.raises(ZeroDivisionError):
        Kept(lambda _: 1 // 0, tmp_path, "step")((0,))
    assert not list(tmp_path.iterdir())


def test_a_folder_stays_for_the_same_work_until_it_is_done(tmp_path):
    def stopped(about):
        with pytest.raises(KeyboardInterrupt), resumable_folder(tmp_path, about) as folder:
            raise KeyboardInterrupt
        return folder

    one, other = stopped({"seed": 1}), stopped({"seed": 2})
    assert one != other
    assert oct(one.stat().st_mode & 0o777) == "0o700"
    with resumable_folder(tmp_path, {"seed": 1}) as folder:
        assert folder == one
    assert list(tmp_path.iterdir()) == [other]


def test_without_a_place_nothing_stays(tmp_path):
    with pytest.raises(KeyboardInterrupt), resumable_folder(None, {}) as folder:
        raise KeyboardInterrupt
    assert not folder.exists()


def test_files_of_another_user_are_not_trusted(tmp_path, monkeypatch):
    with pytest.raises(KeyboardInterrupt), resumable_folder(tmp_path, {}):
        raise KeyboardInterrupt
    monkeypatch.setattr(kept.os, "getuid", lambda: os.geteuid() + 1)

    def use():
        with resumable_folder(tmp_path, {}):
            pass

    assert code_of(use) == "CTM_OUTPUT_UNWRITABLE"
