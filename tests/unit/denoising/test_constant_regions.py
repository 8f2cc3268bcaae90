"""Regions of one value are found, measured nowhere and returned to the bit; the rest is denoised as if without them."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage
from threadpoolctl import threadpool_limits

import ctmahout
from ctmahout.denoising.effort import EFFORTS, Effort, PassSpec
from ctmahout.denoising.noise import MeasuredPart, NoiseModel, Unmeasurable, constant_regions, estimate_noise
from ctmahout.dicom import read_series
from ctmahout.files.arrays import read_array, write_array
from ctmahout.phantom.dicom import write_synthetic
from ctmahout.volume import Volume

# -------------------------------------------------------------------------------------------------------- finding them


def by_definition(image, side=5, equal=0.01):
    """True in squares of one value: every square is looked at."""
    found = np.zeros(image.shape, bool)
    side = min(side, *image.shape)
    for y, x in itertools.product(*(range(n - side + 1) for n in image.shape)):
        square = image[y : y + side, x : x + side]
        if np.ptp(square) <= equal:
            found[y : y + side, x : x + side] = True
    return found


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    shape=st.tuples(st.integers(1, 24), st.integers(1, 24)),
    values=st.integers(1, 3),
    blocks=st.integers(0, 4),
)
def test_squares_of_one_value_are_found_and_nothing_else(seed, shape, values, blocks):
    rng = np.random.default_rng(seed)
    image = rng.integers(0, values, shape).astype(np.float32)
    for _ in range(blocks):
        y, x = (int(rng.integers(0, n)) for n in shape)
        image[y : y + int(rng.integers(3, 12)), x : x + int(rng.integers(3, 12))] = rng.integers(0, 3)
    np.testing.assert_array_equal(constant_regions(image[None])[0], by_definition(image))


def test_noise_holds_none_and_a_gradient_neither(phantom):
    assert not constant_regions(phantom.noisy.hu).any()
    ramp = np.broadcast_to(np.arange(40, dtype=np.float32) * np.float32(0.02), (2, 40, 40))
    assert not constant_regions(np.ascontiguousarray(ramp)).any()


# ------------------------------------------------------------------------------------------------ measuring beside them


def corner(value):
    def fill(hu):
        hu[:, :40, :40] = value

    return fill


def block(hu):
    hu[:, 70:95, 60:90] = 50


def first_slices(hu):
    hu[:3] = 0


def every_fourth(hu):
    hu[::4] = 0


def rows(hu):
    hu[:, :40] = 0


def columns(hu):
    hu[:, :, :45] = 0


def background(hu):
    smooth = ndimage.gaussian_filter(hu, (0, 3, 3))
    for image, body in zip(hu, smooth > -500, strict=True):
        image[~ndimage.binary_fill_holes(body)] = 40


KINDS = {
    "corner 0": corner(0),
    "corner 40.37": corner(40.37),
    "corner -1024": corner(-1024),
    "block": block,
    "first slices": first_slices,
    "every fourth slice": every_fourth,
    "rows": rows,
    "columns": columns,
    "background": background,
}


@pytest.fixture(scope="module")
def without(phantom):
    return estimate_noise(phantom.noisy.hu, phantom.noisy.geometry.pixel_spacing_mm)


def body(phantom):
    return ndimage.binary_erosion(ndimage.gaussian_filter(phantom.clean.hu, (0, 2, 2)) > -400, np.ones((1, 9, 9)))


@pytest.mark.parametrize("kind", KINDS)
def test_the_map_beside_constants_is_that_without_them(phantom, without, kind):
    hu = phantom.noisy.hu.copy()
    KINDS[kind](hu)
    made = estimate_noise(hu, phantom.noisy.geometry.pixel_spacing_mm)
    beside = body(phantom) & ~ndimage.binary_dilation(constant_regions(hu), np.ones((1, 9, 9)))
    ratio = (made.sigma_hu(0, *hu.shape) / without.sigma_hu(0, *hu.shape))[beside]
    assert np.median(ratio) == pytest.approx(1, abs=0.1)


@pytest.mark.parametrize(("order", "value"), [(1, 0), (3, 0), (1, -1000)])
def test_the_map_of_a_rotated_volume_does_not_depend_on_its_fill(phantom, order, value):
    turned, filled = (
        ndimage.rotate(phantom.noisy.hu[:8], 10, (1, 2), reshape=False, order=order, **how).astype(np.float32)
        for how in ({"mode": "nearest"}, {"cval": value})
    )
    maps = [
        estimate_noise(hu, phantom.noisy.geometry.pixel_spacing_mm).sigma_hu(0, *hu.shape) for hu in (turned, filled)
    ]
    assert np.median((maps[1] / maps[0])[body(phantom)[:8]]) == pytest.approx(1, abs=0.1)


def test_slices_that_are_written_twice_are_measured_once(phantom, without):
    made = estimate_noise(phantom.noisy.hu.repeat(2, axis=0), phantom.noisy.geometry.pixel_spacing_mm)
    np.testing.assert_array_equal(made.log_sigma, without.log_sigma.repeat(2, axis=0))


RNG = np.random.default_rng(0)
ODD = {
    "zeros": np.zeros((4, 20, 20)),
    "1e30": np.full((4, 40, 40), 1e30),
    "noise of 1e30": RNG.normal(0, 1e30, (4, 40, 40)),
    "the largest there are": 3e38 * np.sign(RNG.normal(size=(3, 30, 30))),
    "a step": np.where(np.arange(40) < 20, 0, 3000) * np.ones((4, 40, 40)),
    "metal": np.where(RNG.random((6, 64, 64)) < 0.02, 30000, RNG.normal(40, 20, (6, 64, 64))),
    "as small as a patch": RNG.normal(0, 9, (2, 5, 5)),
    "a line": RNG.normal(0, 9, (2, 5, 300)),
    "spikes": np.eye(40) * np.full((5, 1, 1), 1e30),
    "a ramp": np.arange(6400).reshape(4, 40, 40) / 10,
    "one slice of noise": np.concatenate([np.zeros((3, 40, 40)), RNG.normal(0, 9, (1, 40, 40))]),
    "the same noise in each slice": np.tile(RNG.normal(0, 9, (40, 40)), (4, 1, 1)),
}


@pytest.mark.parametrize("name", ODD)
def test_no_finite_volume_is_too_odd(name):
    found = estimate_noise(ODD[name].astype(np.float32), (1.0, 1.0))
    assert found is None or isinstance(found, NoiseModel | Unmeasurable)
    if isinstance(found, NoiseModel):
        for array in (found.log_sigma, found.sector_share, found.autocovariance, np.array(found.z_correlation)):
            assert np.isfinite(array).all()


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    shape=st.tuples(st.integers(2, 5), st.integers(5, 40), st.integers(5, 40)),
    level=st.sampled_from([-1000.0, -850.0, -100.0, 40.0, 900.0, 1e6]),
    sd=st.sampled_from([0.0, 1e-3, 1.0, 30.0, 1e4]),
)
def test_nor_is_any_other(seed, shape, level, sd):
    rng = np.random.default_rng(seed)
    hu = (level + sd * rng.standard_normal(shape)).astype(np.float32)
    hu[:, : rng.integers(0, shape[1]), : rng.integers(0, shape[2])] = rng.choice([0, level])
    found = estimate_noise(hu, (1.0, 1.0))
    assert found is None or isinstance(found, NoiseModel | Unmeasurable)


# ----------------------------------------------------------------------------------------------------- denoising beside


@pytest.fixture(scope="module")
def little_effort():
    with pytest.MonkeyPatch.context() as patch, threadpool_limits(1, "blas"):
        patch.setitem(EFFORTS, "fast", Effort((PassSpec(20, 25_000, 3, (2, 2)),), 3))
        yield


def part_of(phantom, change=None):
    """Ten slices with values that DICOM can store."""
    hu = np.rint(phantom.noisy.hu[7:17]).astype(np.float32)
    if change:
        change(hu)
    geometry = phantom.noisy.geometry
    positions = geometry.positions_mm[7:17]
    return Volume(hu, type(geometry)(positions, *(getattr(geometry, n) for n in GEOMETRY)))


def plain_source(phantom):
    return np.rint(phantom.noisy.hu[7:17])


GEOMETRY = ("row_direction", "column_direction", "pixel_spacing_mm")


def run(volume, folder, suffix):
    """Denoise it as files of a kind; returns what was read, what came out and the run."""
    source = folder / ("in" + suffix)
    if suffix:
        write_array(volume, source)
    else:
        write_synthetic(volume, source, description="test", key="a", study_key="b", series_number=1)
    read = read_array if suffix else read_series
    made = ctmahout.denoise(source, folder / "out", engine="numpy", effort="fast", report=False, workers=2)
    (series,) = made.series
    return read(source), read(series.path / source.name if suffix else series.path), made


def awkward(hu):
    """A block, rows, an empty slice and one that is written twice."""
    hu[:, 70:95, 60:90] = 50
    hu[:, :20] = 0
    hu[2] = 0
    hu[6] = hu[5]


def block_and_rows(hu):
    hu[:, 70:95, 60:90] = 50
    hu[:, :20] = 0


def an_empty_slice(hu):
    hu[2] = 0


def a_slice_twice(hu):
    hu[6] = hu[5]


@pytest.fixture(scope="module")
def plain(little_effort, phantom, tmp_path_factory):
    """What is made of the series without anything constant in it."""
    return run(part_of(phantom), tmp_path_factory.mktemp("plain"), ".npz")[1]


@pytest.mark.parametrize(
    ("suffix", "change", "warning"),
    [
        ("", block_and_rows, ""),
        (".nii.gz", an_empty_slice, "Unchanged, of one value: slice 3."),
        (".npz", a_slice_twice, "The same as before: slice 7."),
    ],
    ids=["DICOM", "NIfTI", "npz"],
)
def test_what_is_constant_comes_back_and_the_rest_is_denoised(phantom, plain, tmp_path, suffix, change, warning):
    if suffix.startswith(".nii"):
        pytest.importorskip("nibabel")
    source, found, made = run(part_of(phantom, change), tmp_path, suffix)
    changed = source.hu != plain_source(phantom)
    same = constant_regions(source.hu)
    assert found.hu[same].tobytes() == source.hu[same].tobytes()
    if change is a_slice_twice:
        assert found.hu[5].tobytes() == found.hu[6].tobytes()
    else:
        assert same[changed].all()
    beside = body(phantom)[7:17] & ~ndimage.binary_dilation(changed, np.ones((1, 11, 11)))
    noisy, left, plainly = (
        np.std((hu - phantom.clean.hu[7:17])[beside]) for hu in (phantom.noisy.hu[7:17], found.hu, plain.hu)
    )
    assert noisy - left == pytest.approx(noisy - plainly, rel=0.1)
    assert warning in " ".join(made.run["warnings"])


def test_what_cannot_be_measured_comes_back_with_a_code(little_effort, tmp_path):
    hu = np.random.default_rng(0).normal(40, 20, (4, 40, 40)).astype(np.float32)
    hu[1:] = hu[0]
    positions = np.column_stack([np.zeros(4), np.zeros(4), 3.0 * np.arange(4)])
    geometry = ctmahout.volume.Geometry(positions, np.array([1.0, 0, 0]), np.array([0, 1.0, 0]), (1.0, 1.0))
    source, found, made = run(Volume(hu, geometry), tmp_path, ".npz")
    assert found.hu.tobytes() == source.hu.tobytes()
    assert any("[CTM_NOISE_UNMEASURABLE]" in warning and "slices" in warning for warning in made.run["warnings"])


def test_the_measured_part_and_back(phantom):
    volume = part_of(phantom, awkward)
    part = MeasuredPart.of(volume)
    assert part.slices.tolist() == [0, 1, 3, 4, 5, 7, 8, 9]
    assert part.expand(part.hu, volume.hu).tobytes() == volume.hu.tobytes()
    assert (part.hu[part.unmeasured_in_part] == -1000).all()
    plain = MeasuredPart.of(phantom.noisy)
    assert plain.hu is phantom.noisy.hu
    assert plain.unmeasured is None
    assert plain.notes() == ()
