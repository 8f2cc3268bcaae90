"""A tick of the report means that it would have noticed: a method is broken in one way, and the tick goes."""

import numpy as np
import pytest
from broken import SIZE, head, noise, sound, trunk, volume
from scipy import ndimage

from ctmahout.quality import Apply
from ctmahout.report import limit_warnings, report_numbers


@pytest.fixture(scope="module")
def heads():
    return head()


@pytest.fixture(scope="module")
def trunks():
    return trunk()


def said(noisy, after, apply=None):
    """What the report warns of."""
    return limit_warnings(report_numbers(noisy, {"auto": after}, apply=None if apply is None else {"auto": apply}))


def blurred(hu, sd):
    return ndimage.gaussian_filter(hu, (0, sd, sd))


@pytest.mark.parametrize("left", [0.15, 0.3, 0.5])
def test_a_sound_result_is_not_doubted(heads, trunks, left):
    for noisy, clean in (heads, trunks):
        result = sound(noisy, clean, left)
        anatomy, map = clean.hu, np.float32(left)

        def apply(slab, first, anatomy=anatomy, noisy=noisy, map=map):
            # What is added to the source is anatomy.
            here = slice(first, first + len(slab))
            added = slab - noisy.hu[here]
            return anatomy[here] + added + map * (noisy.hu - anatomy)[here]

        assert said(noisy, result, apply) == []


@pytest.mark.parametrize("sd", [0.8, 1.0, 1.4])
def test_a_blurred_brain_is_noticed_behind_a_sharp_skull(heads, sd):
    noisy, clean = heads
    y, x = np.mgrid[:SIZE, :SIZE] - SIZE / 2.0
    brain = np.hypot(y / 0.42, x / 0.34) / SIZE < 0.9
    after = sound(noisy, clean)
    after = after.with_hu(np.where(brain, blurred(after.hu, sd), after.hu))
    found = report_numbers(noisy, {"auto": after})["after"]["auto"]
    assert found["anatomy_in_residual"] < 0.03  # the skull hides it from this one
    warned = [sentence for sentence in said(noisy, after) if "residual in soft correlates with anatomy" in sentence]
    assert len(warned) == 1


def test_noise_left_in_the_result_is_no_anatomy(heads):
    """However it is left: as a share of all of it, its coarse part, or unevenly by place."""
    noisy, clean = heads
    own = noisy.hu - clean.hu
    uneven = np.linspace(0.1, 0.6, SIZE, dtype=np.float32)
    for kept in (0.5 * own, blurred(own, 1.0), uneven * own, uneven * blurred(own, 0.7)):
        after = noisy.with_hu(clean.hu + kept)
        assert not [sentence for sentence in said(noisy, after) if "anatomy" in sentence]


def test_noise_that_is_taken_in_the_middle_and_left_around_is_noticed(trunks):
    noisy, clean = trunks
    y, x = np.mgrid[:SIZE, :SIZE] - SIZE / 2.0
    left = np.clip(0.14 + 1.6 * np.hypot(y, x) / SIZE - 0.2, 0.14, 0.85).astype(np.float32)
    after = noisy.with_hu(clean.hu + left * (noisy.hu - clean.hu))
    found = report_numbers(noisy, {"auto": after})["after"]["auto"]
    by = found["noise_taken_by"]
    rings = [share for share in by["rings"] if share is not None]
    assert rings == sorted(rings, reverse=True)
    assert by["low"] < 0.45
    assert by["high"] > 0.8
    (sentence,) = said(noisy, after)
    assert sentence.startswith("auto: between ")
    assert "of the noise was removed, depending on the region" in sentence


@pytest.mark.parametrize("where", ["corner", "slices"])
def test_a_region_that_comes_back_as_it_was_is_noticed(trunks, where):
    noisy, clean = trunks
    after = sound(noisy, clean).hu.copy()
    box = (slice(None), slice(60, 100), slice(60, 100)) if where == "corner" else (slice(6, None),)
    after[box] = noisy.hu[box]
    (sentence,) = said(noisy, noisy.with_hu(after))
    # A region may be too small for the spread, which leaves out 5 % at either end.
    noticed = {"corner": "of the regions less than half as much noise", "slices": "removed, depending on the region"}
    assert noticed[where] in sentence


def test_anatomy_that_thick_slices_hide_is_not_taken_for_noise_that_was_left(trunks):
    """The slices next to one say nothing of it where they are thick; fat with vessels is not fat with its noise."""
    noisy, clean = trunks
    texture = ndimage.gaussian_filter(np.random.default_rng(3).standard_normal(clean.shape), (0, 3, 3))
    texture *= np.abs(clean.hu + 100) < 30
    texture[::2] = 0  # every other slice is even, between two that are not
    anatomy = clean.with_hu(clean.hu + np.float32(30 / texture.std()) * texture.astype(np.float32))
    series = noisy.with_hu(noisy.hu + anatomy.hu - clean.hu)
    by = report_numbers(series, {"auto": sound(series, anatomy)})["after"]["auto"]["noise_taken_by"]
    assert min(share for share in (by["low"], *by["thirds"], *by["rings"]) if share is not None) > 0.75


@pytest.mark.parametrize("value", [0.0, 40.0, -100.0])
def test_nothing_done_is_noticed_whatever_is_constant_around(trunks, value):
    """Air at the level of tissue, as a mask leaves it: it has no noise, and is no reason to say that there is none."""
    noisy, _ = trunks
    filled = noisy.with_hu(np.where(noisy.hu < -500, np.float32(value), noisy.hu))
    found = report_numbers(filled, {"auto": filled})
    assert found["before"]["noise_sd_hu"]["soft"] == pytest.approx(16, rel=0.1)
    assert "auto: only 0 % of the noise was removed." in limit_warnings(found)


def test_what_is_constant_may_stay_as_it_is(trunks):
    noisy, clean = trunks
    with_block = [volume.hu.copy() for volume in (noisy, clean)]
    for hu in with_block:
        hu[:, 70:110, 70:110] = 30.0
    noisy, clean = noisy.with_hu(with_block[0]), clean.with_hu(with_block[1])
    assert said(noisy, sound(noisy, clean)) == []


@pytest.mark.parametrize(("tissue", "shift"), [("soft", 1.0), ("soft", -1.0), ("fat", 1.5), ("fat", -1.5)])
def test_a_mean_that_moved_is_noticed(trunks, tissue, shift):
    noisy, clean = trunks
    there = clean.hu > 0 if tissue == "soft" else (clean.hu < -60) & (clean.hu > -140)
    after = noisy.with_hu(sound(noisy, clean).hu + np.float32(shift) * there)
    (sentence,) = [s for s in said(noisy, after) if s.startswith(f"auto: the mean of {tissue} shifted by ")]
    assert float(sentence.split("by ")[1].split(" HU")[0]) == pytest.approx(shift, abs=0.3)


def test_a_mean_that_moved_near_a_border_is_noticed(trunks):
    """As a sharp kernel's undershoot, smoothed away: soft tissue rises beside fat, fat falls beside it."""
    noisy, clean = trunks
    soft = clean.hu > -25
    near = ndimage.binary_dilation(soft, np.ones((1, 15, 15))) & ~ndimage.binary_erosion(soft, np.ones((1, 15, 15)))
    after = noisy.with_hu(sound(noisy, clean).hu + np.where(near, np.where(soft, 4.0, -4.0), 0).astype(np.float32))
    warned = [sentence for sentence in said(noisy, after) if "near its borders shifted" in sentence]
    assert len(warned) == 2


def erasing(clean, sd) -> Apply:
    """A method that knows the anatomy, and takes what is added for noise: all but what survives a blur."""

    def apply(slab, first):
        here = clean.hu[first : first + len(slab)]
        return here + blurred(slab - here, sd)

    return apply


def test_details_that_are_lost_are_noticed(trunks):
    noisy, clean = trunks
    found = report_numbers(noisy, {"auto": sound(noisy, clean)}, apply={"auto": erasing(clean, 2.0)})
    kept = {kind: detail["kept"] for kind, detail in found["after"]["auto"]["details"].items()}
    assert kept["small disc"] < 0.5
    assert kept["line"] < 0.7
    assert kept["larger disc"] > kept["small disc"]
    warned = [sentence for sentence in limit_warnings(found) if "of its contrast" in sentence]
    assert any(sentence.startswith("auto: a small disc of 7") and "less than 70 %" in sentence for sentence in warned)


def test_only_small_details_are_lost(trunks):
    noisy, clean = trunks

    def apply(slab, first):
        added = slab - noisy.hu[first : first + len(slab)]
        opened = ndimage.grey_opening(added.clip(0), (1, 5, 5)) + ndimage.grey_closing(added.clip(None, 0), (1, 5, 5))
        return clean.hu[first : first + len(slab)] + opened

    warned = [s for s in said(noisy, sound(noisy, clean), apply) if "contrast" in s]
    assert [name for name in ("line", "small disc", "larger disc") if any(name in s for s in warned)] == [
        "line",
        "small disc",
    ]


def test_details_stand_out_better_where_noise_goes_and_they_stay(trunks):
    noisy, clean = trunks

    def apply(slab, first):
        here = slice(first, first + len(slab))
        return slab - np.float32(0.75) * (noisy.hu - clean.hu)[here]

    found = report_numbers(noisy, {"auto": sound(noisy, clean)}, apply={"auto": apply})["after"]["auto"]["details"]
    for detail in found.values():
        assert detail["kept"] == pytest.approx(1, abs=1e-3)
        assert 3 < detail["detectability"] < 4.1


@pytest.mark.parametrize("hu", [-1000.0, 600.0])
def test_details_are_not_tried_where_there_is_no_soft_tissue(hu):
    noisy = volume(np.float32(hu) + noise((5, 96, 96), 5.0, 1))
    assert report_numbers(noisy, {"auto": noisy}, apply={"auto": lambda s, _: s})["after"]["auto"]["details"] is None
