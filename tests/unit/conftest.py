"""What several unit tests share."""

import pytest
from dicom_slices import Slices
from stand_in import write_stand_in

from ctmahout.phantom import make_phantom
from ctmahout.storage.download import http


@pytest.fixture(scope="session")
def phantom():
    """A small low-dose chest, 24 x 160 x 160, and its noise-free twin; only to be read."""
    made = make_phantom(size=160, slices=24, dose=0.05)
    for volume in (made.noisy, made.clean):
        volume.hu.setflags(write=False)
    return made


@pytest.fixture(scope="session")
def ct_slice(ct_folder, tmp_path_factory):
    """A slice to make others from: a real one or, where there is none, one written by hand."""
    real = ct_folder / "chest_pair_sharp_B70f" / "1-12.dcm"
    return real if real.exists() else write_stand_in(tmp_path_factory.mktemp("slice") / "1-12.dcm")


@pytest.fixture(scope="session")
def slices(ct_slice):
    """Slices made from it."""
    return Slices(ct_slice)


@pytest.fixture
def source(slices, tmp_path):
    """A folder with a series of them."""
    return slices.write(tmp_path / "in")


@pytest.fixture
def impatient(monkeypatch, extras):
    """No pauses between tries, and none of this machine's credentials."""
    monkeypatch.setattr(http, "_BACKOFF_S", 0.0)
    monkeypatch.setenv("NETRC", "/nowhere")
