"""What every volume is, whoever made it."""

import numpy as np
import pytest

from ctmahout import Geometry, Volume
from ctmahout.denoising.slices.layout import SlicesLayout


def geometry(slices):
    positions = np.column_stack([np.zeros(slices), np.zeros(slices), np.arange(slices)])
    return Geometry(positions, np.array([1.0, 0, 0]), np.array([0, 1.0, 0]), (0.5, 0.7))


def views(hu):
    """The same values, laid out in memory in other ways."""
    spread = np.zeros((*hu.shape[:2], 2 * hu.shape[2]), np.float32)
    spread[:, :, ::2] = hu
    return {
        "transposed": np.ascontiguousarray(hu.transpose(2, 1, 0)).transpose(2, 1, 0),
        "Fortran's order": np.asfortranarray(hu),
        "backwards": np.ascontiguousarray(hu[::-1])[::-1],
        "every other one": spread[:, :, ::2],
    }


@pytest.mark.parametrize("layout", views(np.zeros((2, 3, 4), np.float32)))
def test_a_volume_that_is_not_contiguous_is_reconstructed_as_one_that_is(layout):
    hu = np.random.default_rng(0).normal(size=(3, 5, 7)).astype(np.float32)
    view = views(hu)[layout]
    assert not view.flags.c_contiguous
    whole, other = Volume(hu, geometry(3)), Volume(view, geometry(3))
    done = [SlicesLayout.of(v).reconstruct(v, np.eye(3), np.zeros(3)).hu for v in (whole, other)]
    assert np.array_equal(*done)
    assert np.abs(done[1] - hu).max() > 0.1
    assert whole.fingerprint() == other.fingerprint()


def test_volumes_and_geometries_are_compared_by_identity_and_go_into_sets():
    one, other = (Volume(np.zeros((2, 3, 3), np.float32), geometry(2)) for _ in range(2))
    assert one == one
    assert one != other
    assert len({one, other, one.geometry, other.geometry}) == 4


def test_a_volume_shows_its_size_and_not_its_values():
    padding = np.zeros((2, 3, 4), bool)
    assert repr(Volume(np.zeros((2, 3, 4), np.float32), geometry(2), padding)) == (
        "<Volume: 2 x 3 x 4 voxels of 1 x 0.5 x 0.7 mm, with padding>"
    )


@pytest.mark.parametrize("hu", [[[[0.0]]], np.zeros((1, 2, 2)), np.zeros((2, 2), np.float32), None])
def test_a_volume_of_something_else_is_a_type_error(hu):
    with pytest.raises(TypeError, match="hu must be a float32 array"):
        Volume(hu, geometry(1))
