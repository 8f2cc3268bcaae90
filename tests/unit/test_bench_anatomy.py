"""What `bench/anatomy.py` measures with, on volumes whose answers are known."""

import numpy as np
import pytest
from helpers import bench_on_path
from scipy import ndimage

from ctmahout import Geometry, Volume


@pytest.fixture(scope="module")
def bench():
    with bench_on_path():
        import anatomy
        import cases
        import details
        import page
        import regions
    return cases, details, regions, anatomy, page


@pytest.fixture(scope="module")
def case(bench):
    """A disc of soft tissue in fat in air, under white noise of 10 HU that is 20 HU in the last third of slices."""
    shape = (12, 96, 96)
    from_centre = np.hypot(*(np.mgrid[:96, :96] - 47.5))
    image = np.select([from_centre < 34, from_centre < 44], [40.0, -100.0], -1000.0)
    clean = np.ascontiguousarray(np.broadcast_to(image, shape), np.float32)
    sigma = np.full(shape, 10, np.float32)
    sigma[8:] = 20
    noisy = clean + sigma * np.random.default_rng(0).standard_normal(shape, np.float32)
    positions = np.column_stack([np.zeros((12, 2)), 3.0 * np.arange(12)])
    geometry = Geometry(positions, np.array([1.0, 0, 0]), np.array([0, 1.0, 0]), (1.0, 1.0))
    return bench[0].Case("disc", Volume(noisy, geometry), clean, sigma)


def few(bench, case, **options):
    details = bench[1]
    return details.Details(case, kinds=[details.KINDS[0], details.KINDS[3]], count=3, **options)


def test_what_is_returned_as_it_is_keeps_its_details(bench, case):
    made = few(bench, case)
    score = bench[1].merged([made.score(case.volume.hu, made.volume)])
    assert len(score["rows"]) == 4
    for row in score["rows"]:
        assert row["kept"] == pytest.approx(1, abs=1e-4)
        assert row["snr"] == pytest.approx(1, abs=1e-4)
    assert score["elsewhere"] == 0
    assert 9 < score["noise"] < 15


def test_a_method_that_erases_details_and_changes_the_rest_is_found_out(bench, case):
    made = few(bench, case)
    score = bench[1].merged([made.score(case.clean, case.clean + 0.25)])
    assert all(abs(row["kept"]) < 0.3 for row in score["rows"])
    assert score["elsewhere"] == pytest.approx(0.25, rel=1e-4)
    assert score["noise"] < 1e-3


def test_a_blur_keeps_of_a_detail_what_the_template_says(bench, case):
    made = few(bench, case, sigmas=(10.0,))
    blurred = [ndimage.gaussian_filter(hu, (0, 1.5, 1.5)) for hu in (case.volume.hu, made.volume)]
    rows = bench[1].merged([made.score(*blurred)])["rows"]
    for row, kind in zip(rows, (bench[1].KINDS[3], bench[1].KINDS[0]), strict=True):
        t = np.pad(kind.template(), ((0, 0), (12, 12), (12, 12)))
        kept = (ndimage.gaussian_filter(t, (0, 1.5, 1.5)) * t).sum() / (t * t).sum()
        assert row["kind"] == kind.name
        assert row["kept"] == pytest.approx(kept, abs=0.02)


def test_significance_is_counted_in_the_noise_of_a_patch(bench, case):
    disc = bench[1].KINDS[0]
    contrast = few(bench, case).contrast[disc.name]
    t = disc.template()[:, disc.half - 2 : disc.half + 3, disc.half - 2 : disc.half + 3]
    # Under white noise the response's SD is the noise's times the template's norm.
    assert 10 < contrast * np.sqrt((t**2).sum()) < 17


def test_details_do_not_touch(bench, case):
    made = few(bench, case)
    covered = np.zeros(case.volume.shape, int)
    for placed in made.placed:
        covered[placed.box] += placed.template > 0.01
    assert covered.max() == 1


def test_a_blur_is_found_that_leaves_as_much_noise(bench, case):
    made = few(bench, case)
    sd = bench[1].blurred_to(made, 4.0)
    assert made.noise(ndimage.gaussian_filter(case.volume.hu, (0, sd, sd))) == pytest.approx(4, rel=0.05)


def test_a_map_that_is_wrong_in_a_region_is_wrong_there(bench, case):
    regions = bench[2]
    where = regions.Regions(case)
    measured = case.sigma.copy()
    measured[8:] *= 0.5
    measured[:, where.band == 1] *= 1.3
    soft = next(row for row in regions.map_ratio(case, where, measured) if row["tissue"] == "soft")
    assert soft["third 0"] == pytest.approx(1)
    assert soft["third 2"] == pytest.approx(0.5)
    assert soft["band 0"] == pytest.approx(1)
    assert soft["band 1"] == pytest.approx(1.3)
    assert (soft["lowest"], soft["highest"]) == pytest.approx((0.5, 1.3))


def test_shares_of_noise_are_told_by_region(bench, case):
    regions = bench[2]
    where = regions.Regions(case)
    left = np.where(where.third == 2, 0.9, 0.2)[:, None, None]
    after = (case.clean + left * (case.volume.hu - case.clean)).astype(np.float32)
    soft = next(row for row in regions.taken(case, where, after) if row["tissue"] == "soft")
    assert soft["third 0"] == pytest.approx(0.8, abs=0.01)
    assert soft["third 2"] == pytest.approx(0.1, abs=0.01)
    assert soft["tenth"] == pytest.approx(0.1, abs=0.02)


def test_means_are_told_apart_at_borders_and_inside(bench, case):
    regions = bench[2]
    where = regions.Regions(case)
    after = case.volume.hu.copy()
    border = np.hypot(*(np.mgrid[:96, :96] - 47.5))
    after[:, (border > 30) & (border < 34)] += 3
    found = regions.means(case, where, after)
    assert found["soft inside"] == pytest.approx(0, abs=1e-3)
    assert found["soft border"] > 1
    assert found["lung inside"] is None


def test_anatomy_in_the_residual_is_told_within_its_tissue(bench, case):
    regions = bench[2]
    folded = case.clean + np.where(case.clean > 0, 8 * np.sin(np.arange(96) / 1.5), 0).astype(np.float32)
    real = bench[0].Case("folded", case.volume.with_hu(folded + case.volume.hu - case.clean), folded)
    where = regions.Regions(real)
    honest = regions.likeness(real, where, folded)
    blurred = regions.likeness(real, where, ndimage.gaussian_filter(folded, (0, 3, 3)))
    assert abs(honest["soft"]) < 0.03
    assert blurred["soft"] > 0.3


def test_the_page_has_a_section_for_each_measure(bench, case, tmp_path):
    _, _, regions, anatomy, page = bench
    tables, where = anatomy._Tables(), regions.Regions(case)
    for row in regions.map_ratio(case, where, case.sigma):
        tables.add("map", row)
    made = few(bench, case)
    score = bench[1].merged([made.score(case.volume.hu, made.volume)])
    row = {"case": "disc", "method": "normal auto", "noise": 10.0, "elsewhere": 0.5, "place": "flat", "snr": 0.5}
    tables.add("details", row | {"sigma": 10.0} | {r["kind"]: r["kept"] for r in score["rows"] if r["sigma"] == 10})
    for section in anatomy.sections(tables, list(anatomy.SECTIONS)):
        text = page.publish(section, tmp_path)
    assert [s["name"] for s in page._published(tmp_path).values()] == [f"anatomy-{n}" for n in anatomy.SECTIONS]
    met = {t["what"]: t["met"] for s in page._published(tmp_path).values() for t in s["targets"]}
    assert met["disc, soft: map over truth, lowest"]
    assert met["disc, details of 10 sigma: least share kept"]
    assert not met["disc, details of 10 sigma: least signal-to-noise"]
    assert not met["disc, details of 10 sigma: change elsewhere"]
    assert text
