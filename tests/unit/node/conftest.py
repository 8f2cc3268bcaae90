"""What tests of the node share."""

import logging

import pytest
from dicom_node import configuration, toml
from dicom_slices import Slices
from helpers import free_port

from ctmahout.node import NodeConfig
from ctmahout.node.node import Node


@pytest.fixture(autouse=True)
def quiet_libraries():
    """What the command does, too: libraries quote what they receive."""
    logger = logging.getLogger("pynetdicom")
    level = logger.level
    logger.setLevel(logging.CRITICAL + 1)
    yield
    logger.setLevel(level)


@pytest.fixture
def series(ct_slice, tmp_path):
    """Makes small series of their own, as lists of files."""

    def write(number, n=4, edit=None):
        def change(ds, i):
            ds.SeriesInstanceUID, ds.SeriesNumber = f"1.2.3.{number}", number
            ds.SOPInstanceUID = ds.file_meta.MediaStorageSOPInstanceUID = f"1.2.3.{number}.{i + 1}"
            if edit:
                edit(ds, i)

        return sorted(Slices(ct_slice, 32).write(tmp_path / "in" / str(number), change, n).iterdir())

    return write


@pytest.fixture
def node(tmp_path):
    """Makes a node in this process, from the values of its file; they are changed in what is given."""

    def make(destination=None, folder=tmp_path, **changes):
        file = folder / "node.toml"
        values = configuration(folder, destination or free_port(), port=0, **changes)
        file.write_text(toml(values))
        return Node(NodeConfig.load(file))

    return make
