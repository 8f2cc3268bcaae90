"""NIfTI and NumPy in and out: the same values at the same places, by our reader and by others'."""

import gzip

import numpy as np
import pytest
from dicom_slices import DERIVATION
from helpers import code_of
from hypothesis import given, settings
from hypothesis import strategies as st

from ctmahout import Config, denoise
from ctmahout.dicom import read_series, summarise, write_series
from ctmahout.errors import CtmahoutError
from ctmahout.files.arrays import read_array, write_array
from ctmahout.volume import Geometry, Volume
from ctmahout.workflows.compare import compare_series
from ctmahout.workflows.convert import convert
from ctmahout.workflows.inspect import inspect_path

try:
    import nibabel
except ImportError:
    nibabel = None

pytestmark = pytest.mark.usefixtures("extras")

SUFFIXES = [".nii", ".nii.gz", ".npz"]


def same(a, b):
    assert np.array_equal(a.hu, b.hu)
    for one, other in (
        (a.geometry.positions_mm, b.geometry.positions_mm),
        (a.geometry.row_direction, b.geometry.row_direction),
        (a.geometry.column_direction, b.geometry.column_direction),
        (a.geometry.pixel_spacing_mm, b.geometry.pixel_spacing_mm),
    ):
        assert np.allclose(one, other, atol=1e-3)  # NIfTI's affine is float32


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("name", ["chest_pair_smooth_B40f", "lowdose_pet_ct_STS_003", "geometry_gantrytilting_001"])
def test_real_series_keep_values_and_places(ct_data, tmp_path, name, suffix):
    volume, _ = convert(ct_data / name, tmp_path / f"out{suffix}")
    same(read_array(tmp_path / f"out{suffix}"), volume)
    assert [p.name for p in tmp_path.iterdir()] == [f"out{suffix}"]


def test_nibabel_finds_each_voxel_where_dicom_puts_it(ct_data, tmp_path):
    for name in ("chest_pair_smooth_B40f", "geometry_gantrytilting_001"):
        volume, _ = convert(ct_data / name, tmp_path / f"{name}.nii.gz")
        image = nibabel.load(tmp_path / f"{name}.nii.gz")
        assert image.get_data_dtype() == np.int16
        geometry = volume.geometry
        for z, y, x in ((0, 0, 0), (2, 5, 9), (1, 100, 37)):
            # PS3.3 equation C.7.6.2.1-1; x and y change sign from DICOM to NIfTI.
            at = geometry.positions_mm[z] + x * geometry.pixel_spacing_mm[1] * geometry.row_direction
            at = at + y * geometry.pixel_spacing_mm[0] * geometry.column_direction
            found = nibabel.affines.apply_affine(image.affine, [x, y, z])
            assert np.allclose(found, at * [-1, -1, 1], atol=1e-3)
            assert image.dataobj[x, y, z] == volume.hu[z, y, x]


rotations = st.tuples(*[st.floats(-3, 3)] * 3)


@settings(max_examples=25, deadline=None)
@given(
    angles=rotations,
    spacing=st.tuples(*[st.floats(0.2, 5)] * 3),
    origin=st.tuples(*[st.floats(-500, 500)] * 3),
    flips=st.tuples(*[st.sampled_from([1, -1])] * 3),
    shear=st.floats(-0.5, 0.5),
)
def test_any_grid_comes_back_as_it_was(tmp_path_factory, angles, spacing, origin, flips, shear):
    folder = tmp_path_factory.mktemp("grid")
    a, b, c = angles
    turn = np.array([[np.cos(a), -np.sin(a), 0], [np.sin(a), np.cos(a), 0], [0, 0, 1]])
    turn = turn @ np.array([[1, 0, 0], [0, np.cos(b), -np.sin(b)], [0, np.sin(b), np.cos(b)]])
    turn = turn @ np.array([[np.cos(c), 0, np.sin(c)], [0, 1, 0], [-np.sin(c), 0, np.cos(c)]])
    affine = np.eye(4)
    affine[:3, :3] = turn @ np.diag(np.array(spacing) * flips)
    affine[:3, 2] += shear * affine[:3, 1]
    affine[:3, 3] = origin
    values = np.random.default_rng(0).integers(-1024, 3000, (4, 5, 6)).astype(np.int16)
    image = nibabel.Nifti1Image(values, affine)
    image.set_sform(affine, code=1)
    image.header.set_xyzt_units("mm")
    image.to_filename(folder / "in.nii")
    volume = read_array(folder / "in.nii")
    assert (np.diff(volume.geometry.slice_positions_mm) > 0).all()
    # By the volume's own geometry each value lies where the affine says.
    for i, j, k in ((0, 0, 0), (3, 1, 5), (2, 4, 0)):
        z = k if volume.hu[k, j, i] == values[i, j, k] and not volume.source.reversed else 5 - k
        assert volume.hu[z, j, i] == values[i, j, k]
        g = volume.geometry
        at = (
            g.positions_mm[z]
            + i * g.pixel_spacing_mm[1] * g.row_direction
            + j * g.pixel_spacing_mm[0] * g.column_direction
        )
        assert np.allclose(at * [-1, -1, 1], nibabel.affines.apply_affine(affine, [i, j, k]), atol=1e-2)
    write_array(volume, folder / "out.nii")
    again = nibabel.load(folder / "out.nii")
    assert np.array_equal(np.asarray(again.dataobj), values)
    assert np.allclose(again.affine, affine, atol=1e-2)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_inspect_tells_of_them_what_it_tells_of_series(slices, tmp_path, suffix):
    convert(slices.write(tmp_path / "in"), tmp_path / f"in{suffix}")
    (series,), (array,) = (
        inspect_path(tmp_path / name, Config()).as_dict()["series"] for name in ("in", f"in{suffix}")
    )
    assert array["needs"] == series["needs"]
    assert (array["slices"], array["rows"], array["columns"]) == (4, 16, 16)
    assert array["spacing_mm"] == pytest.approx(series["spacing_mm"], abs=1e-4)


def test_uneven_slices_go_into_npz_only(slices, tmp_path):
    slices.write(tmp_path / "in", n=6)
    (tmp_path / "in" / "slice-02.dcm").unlink()
    config = Config(lenient=True)
    for suffix in (".nii", ".nii.gz"):
        assert code_of(convert, tmp_path / "in", tmp_path / f"out{suffix}", config) == "CTM_GEOMETRY_UNEVEN"
    volume, _ = convert(tmp_path / "in", tmp_path / "out.npz", config)
    same(read_array(tmp_path / "out.npz"), volume)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["in", "out.npz"]


def test_padding_is_kept_in_npz(ct_data, tmp_path):
    file = next((ct_data / "same_image_all_transfer_syntaxes").glob("*RLE*"))
    volume, _ = convert(file, tmp_path / "out.npz")
    assert np.array_equal(read_array(tmp_path / "out.npz").padding, volume.padding)


def test_what_16_bits_do_not_hold_is_written_as_float(tmp_path):
    geometry = Geometry(np.array([[0, 0, 0], [0, 0, 1.0]]), np.array([1.0, 0, 0]), np.array([0, 1.0, 0]), (1.0, 1.0))
    hu = np.array([[[0.4, 60000.0]], [[-5.5, 1]]], np.float32)
    write_array(Volume(hu, geometry), tmp_path / "a.nii.gz")
    assert np.array_equal(read_array(tmp_path / "a.nii.gz").hu, hu)
    # Equal volumes are equal files, whenever they are written.
    write_array(Volume(hu, geometry), tmp_path / "b.nii.gz")
    assert (tmp_path / "a.nii.gz").read_bytes() == (tmp_path / "b.nii.gz").read_bytes()


def nifti(path, values=None, affine=None, *, sform=1, unit="mm", **changes):
    values = np.zeros((4, 4, 4), np.int16) if values is None else values
    image = nibabel.Nifti1Image(values, np.eye(4))
    image.set_sform(np.eye(4) if affine is None else affine, code=sform)
    image.set_qform(None, code=0)
    image.header.set_xyzt_units(unit)
    image.to_filename(path)
    return path


BAD = {
    "no geometry": ({"sform": 0}, "CTM_GEOMETRY_INVALID"),
    "flat": ({"affine": np.diag([1.0, 1.0, 0.0, 1.0])}, "CTM_GEOMETRY_INVALID"),
    "not at a right angle": ({"affine": np.eye(4) + np.eye(4, k=1) * [0, 1, 0, 0]}, "CTM_GEOMETRY_INVALID"),
    "a series of volumes": ({"values": np.zeros((3, 3, 3, 2), np.int16)}, "CTM_ATTRIBUTE_INVALID"),
    "one slice without an axis": ({"values": np.zeros((3, 3), np.int16)}, "CTM_ATTRIBUTE_INVALID"),
    "colours": ({"values": np.zeros((3, 3, 3), [("R", "u1"), ("G", "u1"), ("B", "u1")])}, "CTM_ATTRIBUTE_INVALID"),
    "complex": ({"values": np.zeros((3, 3, 3), np.complex64)}, "CTM_ATTRIBUTE_INVALID"),
    "nan": ({"values": np.full((3, 3, 3), np.nan, np.float32)}, "CTM_ATTRIBUTE_INVALID"),
    "metres": ({"unit": "meter"}, "CTM_ATTRIBUTE_INVALID"),
}


@pytest.mark.parametrize("case", BAD)
def test_nifti_that_is_no_volume_in_mm(tmp_path, case):
    options, code = BAD[case]
    assert code_of(read_array, nifti(tmp_path / "in.nii", **options)) == code


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_damaged_files(slices, tmp_path, suffix):
    file = tmp_path / f"x{suffix}"
    assert code_of(read_array, file) == "CTM_INPUT_NOT_FOUND"
    convert(slices.write(tmp_path / "in"), file)
    data = file.read_bytes()
    for spoilt in (b"", b"no image at all" * 50, data[:100], data[: len(data) // 2], data[:-9]):
        file.write_bytes(spoilt)
        assert code_of(read_array, file) == "CTM_INPUT_UNREADABLE"
    if suffix == ".nii.gz":
        file.write_bytes(gzip.compress(gzip.decompress(data)[:400]))
        assert code_of(read_array, file) == "CTM_INPUT_UNREADABLE"


def test_npz_of_other_shapes(tmp_path):
    geometry = Geometry(np.array([[0, 0, 0], [0, 0, 1.0]]), np.array([1.0, 0, 0]), np.array([0, 1.0, 0]), (1.0, 1.0))
    good = Volume(np.zeros((2, 3, 3), np.float32), geometry)
    write_array(good, tmp_path / "good.npz")
    arrays = dict(np.load(tmp_path / "good.npz"))
    for name, value, code in (
        ("hu", np.zeros((2, 3), np.float32), "CTM_ATTRIBUTE_INVALID"),
        ("hu", np.zeros((3, 3, 3), np.float32), "CTM_ATTRIBUTE_INVALID"),
        ("hu", np.full((2, 3, 3), np.inf, np.float32), "CTM_ATTRIBUTE_INVALID"),
        ("hu", np.full((2, 3, 3), "x"), "CTM_INPUT_UNREADABLE"),
        ("positions_mm", arrays["positions_mm"][::-1], "CTM_GEOMETRY_INVALID"),
        ("row_direction", np.array([2.0, 0, 0]), "CTM_GEOMETRY_INVALID"),
        ("pixel_spacing_mm", np.array([0.0, 1]), "CTM_GEOMETRY_INVALID"),
        ("padding", np.zeros((2, 2, 3), bool), "CTM_ATTRIBUTE_INVALID"),
        ("hu", np.array([object()]), "CTM_INPUT_UNREADABLE"),
        ("positions_mm", None, "CTM_ARRAYS_MISSING"),
        ("hu", np.full((2, 3, 3), 1.1e5, np.float32), "CTM_ATTRIBUTE_INVALID"),
        ("thickness_mm", np.array([1.0, 2.0]), "CTM_ATTRIBUTE_INVALID"),
        ("thickness_mm", np.array(-5.0), "CTM_ATTRIBUTE_INVALID"),
    ):
        spoilt = {k: v for k, v in (arrays | {name: value}).items() if v is not None}
        np.savez(tmp_path / "bad.npz", **spoilt)
        assert code_of(read_array, tmp_path / "bad.npz") == code, name


def test_outputs_are_refused_as_others(slices, tmp_path):
    source = slices.write(tmp_path / "in")
    for there in ("there.npz", "there.nii", "there.nii.gz"):
        (tmp_path / there).write_bytes(b"mine")
    for out, code in (
        ("there.npz", "CTM_OUTPUT_EXISTS"),
        ("in/out.npz", "CTM_OUTPUT_IS_INPUT"),
        ("out.txt", "CTM_CONFIG_VALUE"),
        ("there.npz/out.npz", "CTM_OUTPUT_UNWRITABLE"),
    ):
        assert code_of(convert, source, tmp_path / out) == code
    for there in ("there.npz", "there.nii", "there.nii.gz"):
        assert code_of(convert, source, tmp_path / there, Config(overwrite=True)) == "CTM_OUTPUT_EXISTS"
        assert (tmp_path / there).read_bytes() == b"mine"
        (tmp_path / there).unlink()
    convert(source, tmp_path / "there.npz")
    convert(source, tmp_path / "there.npz", Config(overwrite=True))
    same(read_array(tmp_path / "there.npz"), read_series(source))
    assert (
        code_of(convert, tmp_path / "there.npz", tmp_path / "there.npz", Config(overwrite=True))
        == "CTM_OUTPUT_IS_INPUT"
    )
    assert sorted(p.name for p in tmp_path.iterdir()) == ["in", "there.npz"]


def test_nifti_without_its_package(slices, tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "nibabel", None)
    with pytest.raises(CtmahoutError) as e:
        convert(slices.write(tmp_path / "in"), tmp_path / "out.nii")
    assert (e.value.code, e.value.hint) == ("CTM_EXTRA_MISSING", "pip install 'ctmahout[nifti]'")
    convert(tmp_path / "in", tmp_path / "out.npz")


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_denoising_gives_what_it_was_given(slices, tmp_path, suffix):
    source = slices.write(tmp_path / "in")
    convert(source, tmp_path / f"in{suffix}")
    how = {"method": "slices", "engine": "numpy", "strength": ("rank:2",), "report": False}
    denoise(source, tmp_path / "dicom", **how)
    denoise(tmp_path / f"in{suffix}", tmp_path / "array", **how)
    of_dicom, of_array = (
        read_series(tmp_path / "dicom" / "rank-2"),
        read_array(tmp_path / "array" / "rank-2" / f"in{suffix}"),
    )
    assert np.abs(of_dicom.hu - of_array.hu).max() <= 0.5
    assert np.allclose(of_dicom.geometry.positions_mm, of_array.geometry.positions_mm, atol=1e-3)
    assert compare_series(tmp_path / "dicom" / "rank-2", tmp_path / "array" / "rank-2" / f"in{suffix}", Config())


def overlapping():
    rng = np.random.default_rng(0)
    positions = np.array([[0, 0, 2.0 * z] for z in range(3)])
    geometry = Geometry(positions, np.array([1.0, 0, 0]), np.array([0, 1.0, 0]), (0.7, 0.7), 5.0)
    return Volume(rng.normal(size=(3, 4, 4)).astype(np.float32), geometry)


def test_npz_keeps_the_thickness_of_slices_and_so_their_overlap(tmp_path):
    volume = overlapping()
    write_array(volume, tmp_path / "v.npz")
    found = read_array(tmp_path / "v.npz")
    assert (found.geometry.thickness_mm, found.geometry.overlap) == (5.0, volume.geometry.overlap) == (5.0, 0.6)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_overwrite_replaces_a_volume_of_ours_and_no_file_of_others(tmp_path, suffix):
    path, volume = tmp_path / f"v{suffix}", overlapping()
    write_array(volume, path)
    assert code_of(write_array, volume, path) == "CTM_OUTPUT_EXISTS"
    write_array(volume, path, overwrite=True)
    if suffix == ".npz":
        np.savez(path, other=np.zeros(3))
    else:
        nibabel.Nifti1Image(np.zeros((2, 2, 2), np.int16), np.eye(4)).to_filename(path)
    before = path.read_bytes()
    assert code_of(write_array, volume, path, overwrite=True) == "CTM_OUTPUT_EXISTS"
    assert path.read_bytes() == before


def test_one_array_is_no_volume_and_nothing_is_printed(tmp_path, capfd):
    np.save(tmp_path / "v.npy", np.zeros((2, 3, 3), np.float32))
    np.savez(tmp_path / "v.npz", hu=np.zeros((2, 3, 3), np.float32))
    (tmp_path / "v.nii").write_bytes(bytes(400))
    assert code_of(read_array, tmp_path / "v.npy") == "CTM_INPUT_UNREADABLE"
    assert code_of(read_array, tmp_path / "v.nii") == "CTM_INPUT_UNREADABLE"
    with pytest.raises(CtmahoutError, match="positions_mm") as e:
        read_array(tmp_path / "v.npz")
    assert "write_array" in e.value.hint
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("suffix", [".nii.gz", ".npz"])
def test_a_compressed_volume_unpacks_to_no_more_than_is_allowed(tmp_path, monkeypatch, suffix):
    """The limit of 4 GiB is 1 MiB here, and 8 MiB of zeros are the bomb."""
    path, volume = tmp_path / f"v{suffix}", overlapping()
    write_array(volume, path)
    if suffix == ".npz":
        np.savez_compressed(path, **np.load(path))
    monkeypatch.setattr("ctmahout.files.arrays._VOLUME_LIMIT", 2**-10)
    read_array(path)
    if suffix == ".npz":
        np.savez_compressed(path, **np.load(path), more=np.zeros(1 << 20))
    else:
        path.write_bytes(gzip.compress(gzip.decompress(path.read_bytes()) + bytes(8 << 20)))
    assert code_of(read_array, path) == "CTM_UNPACKED_TOO_LARGE"
    assert code_of(inspect_path, path, Config()) == "CTM_UNPACKED_TOO_LARGE"
    if suffix == ".nii.gz":
        assert np.array_equal(read_array(path, unpack_gib=1 << 20).hu, np.rint(volume.hu))


def test_a_uri_makes_no_local_folder_of_its_name(slices, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    volume = read_series(slices.write(tmp_path / "in"))
    monkeypatch.setenv("AWS_ENDPOINT_URL", "no address")  # so that nobody is asked
    for uri in ("s3:/b/v.npz", "nowhere://b/v.npz"):
        for call, *arguments in ((write_array, volume, uri), (read_array, uri), (summarise, uri)):
            assert code_of(call, *arguments) in ("CTM_LOCATION_INVALID", "CTM_CONFIG_VALUE")
    assert code_of(write_series, volume, "nowhere://b/out", derivation=DERIVATION) == "CTM_LOCATION_INVALID"
    assert [p.name for p in tmp_path.iterdir()] == ["in"]
    file = (tmp_path / "v.npz").as_uri()
    assert write_array(volume, file).path == tmp_path / "v.npz"
    assert np.array_equal(read_array(file).hu, volume.hu)
