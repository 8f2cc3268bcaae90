"""Method patches on small volumes of every awkward kind, through the steps and the numpy engine."""

import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from helpers import code_of
from threadpoolctl import threadpool_limits

from ctmahout.denoising.effort import EFFORTS, Effort, PassSpec
from ctmahout.denoising.noise import noise_sd
from ctmahout.denoising.registry import start
from ctmahout.denoising.strength import Strength
from ctmahout.engines import Request, connect
from ctmahout.engines.workers import Threads
from ctmahout.exchange import read_all_factors, read_manifest
from ctmahout.options import Config
from ctmahout.quality import FlatRegions, tissues
from ctmahout.volume import Geometry, Volume

PICTURES = os.environ.get("CTMAHOUT_TEST_PICTURES")


@pytest.fixture(scope="module", autouse=True)
def little_effort():
    """Small volumes do not feed more groups than these, and learning would take most of the time."""
    first, second = PassSpec(20, 25_000, 3, (2, 2)), PassSpec(40, 30_000, 2, (2, 2))
    with pytest.MonkeyPatch.context() as patch, threadpool_limits(1, "blas"):
        patch.setitem(EFFORTS, "fast", Effort((first,), 3))
        patch.setitem(EFFORTS, "normal", Effort((first, second), 3))
        yield


def volume(hu, pixel_mm=(2.4, 2.4), padding=None):
    """A volume of axial slices 3 mm apart."""
    hu = np.ascontiguousarray(hu, np.float32)
    positions = np.column_stack([np.zeros(len(hu)), np.zeros(len(hu)), 3.0 * np.arange(len(hu))])
    return Volume(hu, Geometry(positions, np.array([1.0, 0, 0]), np.array([0, 1.0, 0]), pixel_mm), padding)


def crop(whole, *slices):
    """A part of a volume; `slices` are of z, y and x."""
    return volume(whole.hu[slices], whole.geometry.pixel_spacing_mm)


def denoised(source, folder, strengths=("auto",), name=None, **options):
    """Prepare, decompose, refine, decompose and rebuild, as `denoise` does; a result for each strength."""
    config = Config.of({"effort": "fast", "engine": "numpy", "workers": 2} | options)
    before, wanted = source.hu.tobytes(), [Strength.parse(text) for text in strengths]
    run, names = start(source, config, None), ("matrix", "factors")
    with connect("numpy") as engine:
        while True:
            matrix, factors = (folder / part for part in names)
            run.save(matrix)
            engine.run(Request(str(matrix), str(factors), algorithm=config.algorithm))
            svds = read_all_factors(factors)
            if not run.passes_left:
                break
            run, names = run.next(svds, Threads(2), None), ("refined", "refined-factors")
    found = list(run.results(svds, wanted, Threads(2), None))
    assert source.hu.tobytes() == before
    for each in found:
        out = each.volume
        assert (out.shape, out.hu.dtype) == (source.shape, np.float32)
        assert np.isfinite(out.hu).all()
        inside = slice(None) if source.padding is None else ~source.padding
        assert out.hu[inside].min() >= source.hu[inside].min()
        assert out.hu[inside].max() <= source.hu[inside].max()
        if source.padding is not None:
            assert out.hu[source.padding].tobytes() == source.hu[source.padding].tobytes()
    if PICTURES and name:
        picture(source.hu, found[0].volume.hu, Path(PICTURES) / f"patches-{name}.png")
    return found


def picture(before, after, path):
    """Keep the middle slice before and after in a soft-tissue window, and the residual."""
    from matplotlib.figure import Figure

    z = len(before) // 2
    figure = Figure(figsize=(12, 4.4), layout="constrained")
    shown = ((before[z], 40, 200), (after[z], 40, 200), (before[z] - after[z], 0, 100))
    for axes, (image, level, half), title in zip(
        figure.subplots(1, 3), shown, ("before", "after", "residual"), strict=True
    ):
        axes.imshow(image, cmap="gray", vmin=level - half, vmax=level + half)
        axes.set_title(f"{title}, {level - half} to {level + half} HU")
        axes.axis("off")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=80)


def rms(a):
    return float(np.sqrt(np.mean(np.square(a, dtype=np.float64))))


# -------------------------------------------------------------------------------------------- with a truth beside it


@pytest.fixture(scope="module")
def ran(little_effort, phantom, tmp_path_factory):
    """The phantom by two passes, at three strengths in one run."""
    strengths = ("auto", "remove:50%", "remove:25%")
    return denoised(phantom.noisy, tmp_path_factory.mktemp("ran"), strengths, "phantom", effort="normal")


def test_noise_goes_and_the_truth_comes_nearer(phantom, ran):
    before, after = (rms(hu - phantom.clean.hu) for hu in (phantom.noisy.hu, ran[0].volume.hu))
    assert 20 * np.log10(before / after) > 4  # dB
    assert noise_sd(ran[0].volume.hu) < 0.3 * noise_sd(phantom.noisy.hu)


def test_the_means_of_tissues_stay(phantom, ran):
    """By masks of the truth: those of a noisy volume would choose voxels by their noise."""
    for name, mask in tissues(phantom.clean.hu).items():
        if mask.sum() > 2000:
            shift = (ran[0].volume.hu - phantom.noisy.hu)[mask].mean(dtype=np.float64)
            # Ribs are two pixels wide here, half a pixel of which is edge.
            assert abs(shift) < (2.5 if name == "bone" else 1), (name, shift)


def test_what_was_taken_away_is_not_the_anatomy(phantom, ran):
    """The error left is not larger anywhere than noise was: no region has lost what it showed."""
    from scipy import ndimage

    left, noise = (
        np.sqrt(ndimage.uniform_filter(np.square(hu - phantom.clean.hu), (3, 9, 9)))
        for hu in (ran[0].volume.hu, phantom.noisy.hu)
    )
    assert np.quantile(left / noise, 0.99) < 1


def test_a_strength_is_the_share_of_the_noise_that_goes(phantom, ran):
    flat = FlatRegions.of(phantom.noisy.hu, tissues(ran[0].volume.hu)["soft"])
    shares = [1 - flat.sd(each.volume.hu) / flat.sd(phantom.noisy.hu) for each in ran]
    assert shares[1] == pytest.approx(0.5, abs=0.01)
    assert shares[2] == pytest.approx(0.25, abs=0.01)
    for each, share in zip(ran, shares, strict=True):
        assert each.facts["noise_removed"] == pytest.approx(share, abs=0.01)
        assert each.warnings == ()
    assert ran[0].facts["share"] == 1 > ran[1].facts["share"] > ran[2].facts["share"] > 0


def test_what_was_learnt_is_applied_to_slices_again(phantom, ran):
    """As the report does it: slices as they were come back as in the result, and a dot changes them only around it."""
    first, stop = 8, 17
    slab = phantom.noisy.hu[first:stop]
    dot = np.zeros_like(slab)
    dot[4, 80:84, 80:84] = 300
    for each in ran:
        again, with_dot = each.apply(slab, first), each.apply(slab + dot, first)
        result = each.volume.hu[first:stop]
        assert rms((again - result)[4]) < 0.3 * rms((slab - result)[4])
        change = np.abs(with_dot - again)
        assert change[4, 80:84, 80:84].mean() > 50
        assert rms(np.delete(change, np.s_[72:92], axis=1)) < 0.3
        change[:, 40:124, 40:124] = 0  # as far as the coarsest wavelet reaches
        assert change.max() < 0.05
    # What is blended with the source keeps as much more of the dot.
    kept = [(each.apply(slab + dot, first) - each.apply(slab, first))[4, 81:83, 81:83].mean() / 300 for each in ran]
    for each, share in zip(ran, kept, strict=True):
        assert share == pytest.approx(1 - each.facts["share"] * (1 - kept[0]), abs=1e-3)


def test_what_cannot_be_removed_is_told(phantom, tmp_path):
    source = crop(phantom.noisy, np.s_[6:10], np.s_[30:130], np.s_[20:140])
    (most,) = denoised(source, tmp_path, ("remove:99%",))
    assert most.facts["share"] == 1
    assert "99 % of the noise was to be removed" in most.warnings[0]


def test_a_seed_and_any_number_of_threads_give_the_same_bits(phantom, tmp_path):
    source = crop(phantom.noisy, np.s_[6:11], np.s_[30:130], np.s_[20:140])
    found = {}
    for name, options in {"one": {"workers": 1}, "three": {"workers": 3}, "seed": {"seed": 7}}.items():
        (tmp_path / name).mkdir()
        found[name] = denoised(source, tmp_path / name, **options)[0].volume.hu
    assert found["one"].tobytes() == found["three"].tobytes()
    assert found["one"].tobytes() != found["seed"].tobytes()
    assert rms(found["one"] - found["seed"]) < 0.5 * rms(found["one"] - source.hu)


# ----------------------------------------------------------------------------------------------- nothing to take away


@pytest.mark.parametrize("value", [-1000.0, 0.0, 40.3, 3071.0])
def test_a_constant_volume_is_identical(tmp_path, value):
    source = volume(np.full((5, 40, 40), value))
    (found,) = denoised(source, tmp_path)
    assert found.volume.hu.tobytes() == source.hu.tobytes()
    assert found.facts["noise_removed"] == 0
    assert "No noise" in found.warnings[0]
    assert read_manifest(tmp_path / "matrix").layout["pass"] == 0


def test_nothing_to_refine_where_there_is_no_noise():
    source, config = volume(np.zeros((4, 20, 20))), Config.of({"effort": "normal"})
    run = start(source, config, None)
    assert not run.passes_left
    assert code_of(run.next, (), Threads(2), None) == "CTM_NOTHING_TO_REFINE"


def test_a_clean_phantom_is_not_changed(phantom, tmp_path):
    (found,) = denoised(phantom.clean, tmp_path, name="clean")
    assert rms(found.volume.hu - phantom.clean.hu) < 1


def test_a_clean_texture_is_not_changed(tmp_path):
    from scipy import ndimage

    texture = ndimage.gaussian_filter(np.random.default_rng(5).standard_normal((16, 96, 96)), 2.0)
    source = volume(40 + 15 * texture / texture.std())
    (found,) = denoised(source, tmp_path, name="texture")
    assert rms(found.volume.hu - source.hu) < 1


# ------------------------------------------------------------------------------------------------------- awkward sizes


SIZES = {
    "two slices": np.s_[6:8, 30:130, 20:140],
    "twelve slices": np.s_[3:15, 30:130, 20:140],
    "three slices": np.s_[6:9, 30:130, 20:140],
    "odd": np.s_[5:10, 31:132, 21:138],
    "tall": np.s_[5:10, 25:135, 60:101],
    "flat": np.s_[5:10, 70:103, 10:150],
}


@pytest.mark.parametrize("name", SIZES)
def test_sizes(phantom, tmp_path, name):
    source, clean = crop(phantom.noisy, *SIZES[name]), phantom.clean.hu[SIZES[name]]
    (found,) = denoised(source, tmp_path, name=name.replace(" ", "-"))
    assert rms(found.volume.hu - clean) < 0.9 * rms(source.hu - clean)


@pytest.mark.parametrize("shape", [(1, 64, 64), (8, 4, 4), (8, 4, 64), (8, 64, 4)])
def test_what_is_smaller_than_a_patch_is_refused(shape):
    source = volume(np.random.default_rng(0).normal(40, 20, shape))
    assert code_of(start, source, Config.of({}), None) == "CTM_INPUT_TOO_SMALL"


@pytest.mark.parametrize("shape", [(2, 5, 5), (2, 7, 60), (4, 8, 9)])
def test_what_is_too_small_to_measure_noise_in_comes_back_with_a_warning(tmp_path, shape):
    source = volume(np.random.default_rng(0).normal(40, 20, shape))
    (found,) = denoised(source, tmp_path)
    assert found.volume.hu.tobytes() == source.hu.tobytes()
    (warning,) = found.warnings
    assert warning.startswith("[CTM_NOISE_UNMEASURABLE]")


def test_a_few_patches_are_enough_to_go_on_and_fewer_are_refused(tmp_path):
    rng = np.random.default_rng(0)
    denoised(volume(rng.normal(40, 20, (3, 18, 18))), tmp_path, effort="normal")
    source = volume(rng.normal(40, 20, (2, 16, 16)))
    assert code_of(start, source, Config.of({}), None) == "CTM_INPUT_TOO_SMALL"


# ----------------------------------------------------------------------------------------------------- awkward content


def test_noisy_air_alone(tmp_path):
    source = volume(np.random.default_rng(0).normal(-1000, 15, (6, 64, 64)))
    (found,) = denoised(source, tmp_path, name="air")
    assert noise_sd(found.volume.hu) < 0.5 * noise_sd(source.hu)
    assert abs(float((found.volume.hu - source.hu).mean(dtype=np.float64))) < 0.5


@pytest.mark.parametrize("value", [-2000.0, -3024.0, 0.0])
def test_padding_stays_bit_by_bit_whatever_it_holds(phantom, tmp_path, value):
    part = crop(phantom.noisy, np.s_[6:11], np.s_[20:140], np.s_[10:150])
    y, x = np.mgrid[:120, :140]
    outside = np.broadcast_to(np.hypot((y - 59.5) / 60, (x - 69.5) / 70) > 0.97, part.shape).copy()
    source = replace(part, hu=np.where(outside, np.float32(value), part.hu), padding=outside)
    (found,) = denoised(source, tmp_path, name=f"padding{value:g}")
    clean = phantom.clean.hu[6:11, 20:140, 10:150]
    assert rms((found.volume.hu - clean)[~outside]) < 0.8 * rms((source.hu - clean)[~outside])
    # The noise is found to be the same, for what padding holds is nothing that was measured.
    other = replace(source, hu=np.where(outside, np.float32(17), part.hu))
    (tmp_path / "other").mkdir()
    (same,) = denoised(other, tmp_path / "other")
    assert same.volume.hu[~outside].tobytes() == found.volume.hu[~outside].tobytes()


def test_metal_stays_and_does_not_spread(phantom, tmp_path):
    part, clean = crop(phantom.noisy, *SIZES["odd"]), phantom.clean.hu[SIZES["odd"]].copy()
    hu = part.hu.copy()
    hu[2, 50:53, 60:64] = 14_000
    (found,) = denoised(replace(part, hu=hu), tmp_path, name="metal")
    metal = hu == 14_000
    assert np.abs(found.volume.hu[metal] - 14_000).max() < 50
    far = np.ones(hu.shape, bool)
    far[:, 40:63, 50:74] = False
    assert rms((found.volume.hu - clean)[far]) < 0.8 * rms((hu - clean)[far])
    assert np.abs(found.volume.hu - hu)[~metal].max() < 1000


def test_a_strong_tilt_of_values_is_followed(tmp_path):
    """2 HU a pixel across and 20 a slice, under white noise: nothing may drift."""
    z, y, x = np.mgrid[:8, :96, :96]
    clean = (20.0 * z + 2.0 * x - 60 + 0 * y).astype(np.float32)
    source = volume(clean + np.random.default_rng(2).normal(0, 20, clean.shape))
    (found,) = denoised(source, tmp_path, name="tilt")
    error = found.volume.hu - clean
    assert rms(error) < 0.6 * rms(source.hu - clean)
    assert np.abs(error.mean(axis=(0, 1), dtype=np.float64)).max() < 5
    assert np.abs(error.mean(axis=(1, 2), dtype=np.float64)).max() < 2


def test_a_step_stays_a_step(tmp_path):
    x = np.arange(96)
    clean = np.broadcast_to(np.where(x < 48, -50, 150).astype(np.float32), (8, 96, 96))
    source = volume(clean + np.random.default_rng(2).normal(0, 20, clean.shape))
    (found,) = denoised(source, tmp_path, name="step")
    profile = found.volume.hu.mean(axis=(0, 1), dtype=np.float64)
    assert profile[47] < -40
    assert profile[48] > 140
    assert rms(found.volume.hu - clean) < 0.5 * rms(source.hu - clean)


def test_oblong_pixels(phantom, tmp_path):
    source = volume(phantom.noisy.hu[6:11, ::2], (4.75, 2.375))
    clean = phantom.clean.hu[6:11, ::2]
    (found,) = denoised(source, tmp_path, name="oblong")
    assert rms(found.volume.hu - clean) < 0.8 * rms(source.hu - clean)
