"""The estimators of `bench/evidence`, on cases whose answers are known."""

import argparse

import numpy as np
import pytest
import repeats as cylinder
from helpers import bench_on_path
from scipy import ndimage, special

PIXEL = 0.8


@pytest.fixture(scope="module")
def bench():
    with bench_on_path():
        import evidence.denoisers
        import evidence.detectability
        import evidence.insertion
        import evidence.noise_and_transfer
        import evidence.observers
        import evidence.repeats
        import evidence.report
        import evidence.scans
        import evidence.spectra
        import evidence.store
    return evidence


# ------------------------------------------------------------------------------------------------------------ observers

SIDE = 23


def signal(radius=3.0, hu=8.0):
    y, x = np.mgrid[:SIDE, :SIDE] - SIDE // 2
    return hu * ndimage.gaussian_filter((np.hypot(y, x) < radius).astype(float), 0.7)


def outputs(channels, s, sd, seed, shape=(20, 5, 7), surroundings=0.0, blur=0.0):
    """Channel outputs of images with and without a signal, in surroundings that differ from place to place."""
    rng = np.random.default_rng(seed)
    behind = surroundings * rng.standard_normal((shape[1], shape[2], SIDE, SIDE))
    images = [rng.normal(0, sd, (*shape, SIDE, SIDE)) + mean + behind for mean in (s, 0.0)]
    return [
        ndimage.gaussian_filter(image, (0, 0, 0, blur, blur)).reshape(*shape, SIDE**2) @ channels for image in images
    ]


@pytest.mark.parametrize("internal", [0.0, 1.0])
@pytest.mark.parametrize("hu", [2.0, 6.0])
def test_the_hotelling_observer_reaches_the_closed_form(bench, internal, hu):
    """In white noise of SD s channels U have the covariance s² U'U, and d'² is Δ'K⁻¹Δ with Δ = U' signal."""
    sd, s = 10.0, signal(hu=hu)
    U = bench.observers.laguerre_gauss(SIDE, PIXEL, 7.0)
    S = sd**2 * U.T @ U
    delta = U.T @ s.ravel()
    d = np.sqrt(delta @ np.linalg.solve(S + internal * np.diag(np.diag(S)), delta))
    judged = bench.observers.judge(*outputs(U, s, sd, 1), internal=internal)
    assert judged.d == pytest.approx(d, rel=0.08)
    assert judged.auc == pytest.approx(special.ndtr(d / np.sqrt(2)), abs=0.03)
    assert judged.d_interval[0] < d < judged.d_interval[1]
    assert judged.auc_interval[0] < judged.auc < judged.auc_interval[1]


def test_the_template_observer_has_the_d_of_white_noise(bench):
    """Without an eye the template is the signal, and d' is its norm over the SD of the noise; with one, that of it."""
    sd, s = 10.0, signal(hu=6.0)
    seen = bench.observers.eye_filtered(s, PIXEL).ravel()
    for template in (s.ravel(), seen):
        d = template @ s.ravel() / np.linalg.norm(template) / sd
        judged = bench.observers.judge(*outputs(template[:, None], s, sd, 2, (80, 5, 7)), internal=0.0)
        assert judged.d == pytest.approx(d, rel=0.08)
    # Of a filter on white noise the template observer is not ideal.
    assert seen @ s.ravel() / np.linalg.norm(seen) < np.linalg.norm(s)


def test_the_eye_is_best_at_four_cycles_per_degree(bench):
    f = np.fft.fftfreq(64, PIXEL)
    impulse = np.zeros((64, 64))
    impulse[0, 0] = 1
    response = np.fft.fft2(bench.observers.eye_filtered(impulse, PIXEL)).real[0, :32]
    assert f[np.argmax(response)] == pytest.approx(4 / (500 * np.pi / 180), abs=0.02)
    assert response[0] == pytest.approx(0, abs=1e-12)


def test_surroundings_that_both_images_have_do_not_matter(bench):
    U = bench.observers.laguerre_gauss(SIDE, PIXEL, 7.0)
    s = signal()
    plain, busy = (bench.observers.judge(*outputs(U, s, 10.0, 3, surroundings=b)) for b in (0.0, 30.0))
    assert busy.d == pytest.approx(plain.d, rel=0.15)


def test_without_a_signal_an_observer_guesses_although_it_was_trained(bench):
    U = bench.observers.laguerre_gauss(SIDE, PIXEL, 7.0)
    judged = [bench.observers.judge(*outputs(U, 0 * signal(), 10.0, seed, (3, 5, 7))) for seed in range(12)]
    assert np.mean([j.auc for j in judged]) == pytest.approx(0.5, abs=0.05)
    assert np.mean([j.d for j in judged]) == pytest.approx(0, abs=0.2)


def test_intervals_hold_what_other_data_give(bench):
    U = bench.observers.laguerre_gauss(SIDE, PIXEL, 7.0)
    judged = [bench.observers.judge(*outputs(U, signal(), 10.0, seed, (4, 5, 7))) for seed in range(20)]
    d = np.array([j.d for j in judged])
    widths = np.array([np.diff(j.d_interval)[0] for j in judged])
    assert 0.6 < widths.mean() / (2 * 1.96 * d.std(ddof=1)) < 1.8


def test_a_plain_blur_gains_a_hotelling_observer_without_internal_noise_nothing(bench):
    """A blur can be undone: this is why contrast-to-noise, which a blur wins, is not what is measured."""
    s = signal(hu=4.0)
    U = bench.observers.laguerre_gauss(SIDE, PIXEL, 7.0, 8)
    before, after = (
        bench.observers.judge(*outputs(U, s, 10.0, 4, (40, 5, 7), blur=sd), internal=0.0).d for sd in (0.0, 1.0)
    )
    assert after < 1.08 * before


def test_fewer_than_three_pairs_are_refused(bench):
    with pytest.raises(ValueError, match="3 pairs"):
        bench.observers.judge(*outputs(np.ones((SIDE**2, 1)), signal(), 1.0, 0, (2, 1, 1)))


def test_the_equal_dose_is_found_between_doses_and_never_beyond_them(bench):
    doses = np.array([10.0, 25.0, 50.0, 100.0])
    d = 2 * np.sqrt(doses / 100)[:, None] * np.ones(4)  # as noise that is white has it
    target = np.array([2 * np.sqrt(0.4), 2.0, 5.0, 0.1])
    assert bench.observers.equal_dose(doses, d, target) == pytest.approx([40, 100, 100, 10])


# -------------------------------------------------------------------------------------------------------------- spectra


def test_the_noise_power_of_filtered_noise_is_the_known_one(bench):
    rng = np.random.default_rng(5)
    sd, size = 1.1, (40, 96, 96)
    anatomy = 200 * rng.standard_normal(size)
    scans = [(anatomy + ndimage.gaussian_filter(rng.normal(0, 50, size), (0, sd, sd), mode="wrap")) for _ in range(2)]
    power = bench.spectra.noise_power(
        *(hu.astype(np.float32) for hu in scans), [(0, 0), (32, 32), (64, 0)], 32, (PIXEL, PIXEL)
    )
    f = power.frequency_per_mm
    known = 50**2 * PIXEL**2 * np.exp(-((2 * np.pi * sd * PIXEL * f) ** 2))
    clear = (f > 0.08) & (f < 0.35)
    assert power.power_hu2_mm2[clear] == pytest.approx(known[clear], rel=0.15)


@pytest.mark.parametrize("contrast", [300.0, -100.0])
@pytest.mark.parametrize("sd", [0.8, 1.5])
def test_the_transfer_of_a_known_blur_is_measured(bench, contrast, sd):
    fine, n = 8, 64
    centre = (n - 1) / 2 + 0.2, (n - 1) / 2 - 0.3
    at = ((np.arange(n * fine) + 0.5) / fine - 0.5)[:, None] - centre[0], (np.arange(n * fine) + 0.5) / fine - 0.5
    inside = np.hypot(at[0], at[1] - centre[1]) * PIXEL < 10
    image = ndimage.gaussian_filter(contrast * inside, sd * fine)[fine // 2 :: fine, fine // 2 :: fine]
    image = ndimage.shift(image, 0.5 / fine, order=3)  # from the middle of a sample to that of a pixel
    edge = bench.spectra.Edge.of(*bench.spectra.edge_profile(image, centre, 10.0, PIXEL), 0.5)
    known = np.exp(-2 * (np.pi * sd * PIXEL * edge.frequency_per_mm) ** 2)
    assert np.abs(edge.transfer - known).max() < 0.03
    assert edge.contrast_hu == pytest.approx(contrast, rel=0.02)
    assert edge.falls_to(0.5) == pytest.approx(np.sqrt(np.log(2) / 2) / np.pi / sd / PIXEL, rel=0.04)
    assert edge.falls_to(-1.0) is None


# ------------------------------------------------------------------------------------------------------------ insertion


@pytest.fixture(scope="module")
def lesions():
    """Two lesions in 8 slices of 64 x 64, and their boxes."""
    z, y, x = np.mgrid[:8, :64, :64].astype(float)
    small = 40 * np.exp(-((z - 4) ** 2 + (y - 20) ** 2 + (x - 20) ** 2) / 4)
    large = 20 * np.exp(-((z - 4) ** 2 + (y - 44) ** 2 + (x - 44) ** 2) / 18)
    boxes = [(slice(None), slice(c - 9, c + 10), slice(c - 9, c + 10)) for c in (20, 44)]
    return (small + large).astype(np.float32), boxes


def test_what_is_kept_is_kept_and_a_share_is_a_share(bench, lesions):
    added, boxes = lesions
    for share in (1.0, 0.6):
        score = bench.insertion.score(np.float32(share) * added, added, boxes)
        assert score["kept"] == pytest.approx([share, share], rel=1e-5)
        assert score["shape"] == pytest.approx([1, 1], rel=1e-5)


def test_a_planted_blur_costs_the_small_lesion_contrast_and_shape(bench, lesions):
    added, boxes = lesions
    score = bench.insertion.score(ndimage.gaussian_filter(added, (0, 1.5, 1.5)), added, boxes)
    assert score["kept"][0] < 0.7 < score["kept"][1]
    assert score["shape"][0] < 0.96
    assert score["shape"][1] > 0.97


def test_a_planted_invention_is_found_away_from_the_lesions_and_does_not_count_as_contrast(bench, lesions):
    added, boxes = lesions
    invented = added.copy()
    invented[4, 56, 8] += 5
    score = bench.insertion.score(invented, added, boxes)
    assert score["elsewhere_most"] == pytest.approx(5)
    assert score["kept"] == pytest.approx([1, 1], rel=1e-5)
    assert bench.insertion.score(added, added, boxes)["elsewhere_most"] == 0


def test_lesions_stand_apart_and_inside_the_image(bench):
    for body in bench.insertion.BODIES:
        plan = bench.insertion.Plan(body)
        covered = np.zeros((plan.field.size, plan.field.size), int)
        for _, rows, columns in plan.boxes():
            assert rows.start >= 0
            assert columns.stop <= plan.field.size
            covered[rows, columns] += 1
        assert covered.max() == 1
        assert len(plan.boxes()) == 25


# -------------------------------------------------------------------------------------------------------------- repeats


def test_the_error_of_two_scans_is_the_known_one_within_2_percent(bench):
    truth = cylinder.phantom()
    everywhere = {"body": truth > -500}
    ratios = []
    for seed in range(8):
        scans = cylinder.scans(truth, seed)
        row = bench.repeats.compared(scans, [cylinder.blurred(hu) for hu in scans], truth, everywhere)["body"]
        ratios.append(row["mse_hu2"] / row["true_hu"] ** 2)
    assert np.mean(ratios) == pytest.approx(1, abs=0.02)


# ---------------------------------------------------------------------------------------------------- scans and layout


@pytest.fixture(scope="module")
def small(bench):
    """A cylinder of water in a small, coarse image, with a rod."""
    field = bench.scans.Field((0.0, 0.0, 0.0), size=48, slices=3, pixel_mm=4.0)
    body = bench.scans.Object(field, uniform=True)
    return body, body.insert(bench.scans.rod(20.0, -30.0, 24.0, 50.0))


def test_what_is_inserted_adds_to_the_image_where_and_as_high_as_it_is(bench, small):
    body, added = small
    row, column = body.field.index(20.0, -30.0)
    assert added.hu[1, row, column] == pytest.approx(50, rel=0.05)
    assert np.abs(added.hu[1, :12, :12]).max() < 2
    y, x = (np.array(ndimage.center_of_mass(np.clip(added.hu[1], 5, None) - 5))).round()
    assert (abs(y - row), abs(x - column)) <= (1, 1)


def test_a_tube_has_the_integral_of_the_disc(bench, small):
    body, disc = small
    tube = body.insert(bench.scans.rod(20.0, -30.0, 24.0, 50.0, 14.0))
    row, column = body.field.index(20.0, -30.0)
    box = np.s_[1, row - 7 : row + 8, column - 7 : column + 8]
    assert tube.hu[box].sum() == pytest.approx(disc.hu[box].sum(), rel=0.04)
    assert tube.hu[1, row, column] < 0.5 * disc.hu[1, row, column]


def test_noise_follows_the_dose_and_the_seed_and_is_independent(small):
    body, _ = small
    noise = {(dose, seed): body.scan(dose, [seed]) - body.clean for dose in (1.0, 0.25) for seed in (1, 2)}
    inside = np.s_[:, 16:32, 16:32]
    assert noise[0.25, 1][inside].std() == pytest.approx(2 * noise[1.0, 1][inside].std(), rel=0.15)
    assert np.array_equal(body.scan(1.0, [1]) - body.clean, noise[1.0, 1])
    assert abs(np.corrcoef(noise[1.0, 1][inside].ravel(), noise[1.0, 2][inside].ravel())[0, 1]) < 0.15


# ------------------------------------------------------------------------------------------------- results and the page


def test_what_is_kept_is_whole_and_in_the_order_of_numbers(bench, tmp_path):
    store = bench.store.Store(tmp_path) / "part"
    assert not store.has("10/normal/2")
    with pytest.raises(KeyError, match="not measured"):
        store.kept("10/normal/2")
    for number in (10, 2, 0):
        store.keep(f"10/normal/{number}", number)
    (tmp_path / "part" / "10" / "normal" / "3.partial").write_text("[1,")  # of a killed run
    assert store.all("10/normal") == [0, 2, 10]
    with pytest.raises(ValueError, match="JSON compliant"):
        store.keep("bad", float("nan"))
    assert not store.has("bad")


@pytest.fixture(scope="module")
def layout(bench):
    """The rods in a coarse image of few slices."""
    field = bench.scans.Field(bench.scans.LIVER.centre_mm, size=80, slices=5, pixel_mm=2.0)
    return bench.detectability.Layout(bench.scans.Object(field))


def test_each_place_is_seen_with_its_rod_and_without_in_one_pair(bench, layout):
    clean = tuple(layout.body.clean + inserted.hu for inserted in layout.scans)
    outputs = layout.outputs(clean)
    assert outputs["noise_hu"] == pytest.approx(0, abs=1e-3)
    for kind in bench.detectability.KINDS:
        present, absent = (np.array(outputs["kinds"][kind][which])[..., -1] for which in ("present", "absent"))
        assert present.shape == (5, 2)  # places and slices
        assert np.all(present > absent)
    swapped = layout.outputs(clean[::-1])["kinds"]
    for kind in bench.detectability.KINDS:
        assert swapped[kind]["present"] == outputs["kinds"][kind]["absent"]


def test_an_observer_sees_rods_in_scans_of_the_layout_and_better_at_a_higher_dose(bench, layout):
    d = {}
    for dose in (10, 400):
        pairs = [layout.outputs(layout.pair(dose, number)) for number in range(4)]
        d[dose] = bench.detectability._judged(pairs, bench.detectability.KINDS[3], "CHO").d
    assert d[400] > d[10] + 0.5


def test_the_blur_comes_after_the_method_whose_noise_it_is_to_have(bench):
    parser = argparse.ArgumentParser()
    bench.detectability.options(parser)
    names = bench.denoisers.chosen(parser.parse_args([]))
    assert names[-1] == bench.denoisers.BLUR
    assert "BM4D" not in names
    assert "BM4D" in bench.denoisers.chosen(parser.parse_args(["--bm4d", "python"]))


def test_a_blur_is_found_that_leaves_as_much_noise(bench):
    noise = np.random.default_rng(0).normal(0, 10, (4, 64, 64)).astype(np.float32)
    everywhere = np.ones(noise.shape, np.bool_)
    sd = bench.denoisers.blur_to(noise, everywhere, 4.0)
    assert bench.denoisers.blur(noise, sd).std() == pytest.approx(4.0, rel=0.01)


@pytest.fixture
def store(bench, tmp_path):
    """Kept results of a method that detects worse than the scan, and keeps 80 % of a lesion."""
    store = bench.store.Store(tmp_path / "kept")
    rng = np.random.default_rng(6)

    def pair(contrast):
        kinds = {}
        for kind in bench.detectability.KINDS:
            absent = rng.standard_normal((5, 7, 7))
            kinds[kind] = {"present": (rng.standard_normal((5, 7, 7)) + contrast).tolist(), "absent": absent.tolist()}
        return {"kinds": kinds, "noise_hu": 10.0}

    for dose, contrast in ((100, 1.0), (25, 0.5)):
        for number in range(4):
            for name, share in (("untouched", 1.0), ("normal", 0.5)):
                store.keep(f"detectability/{dose}/{name}/{number}", pair(share * contrast))
    kept = np.where(np.arange(25) % 5 == 0, 0.8, 0.95).tolist()
    score = {"noise": 5.0, "kept": kept, "shape": [0.9] * 25, "elsewhere_rms": 0.5, "elsewhere_most": 3.0}
    store.keep("insertion/liver/25/normal/0", score)
    store.keep("insertion/liver/25/Gaussian blur/0", score | {"kept": [0.9] * 25})
    edge = {"contrast": 100.0, "f50": 0.3, "f10": None, "transfer": [1.0, 0.5, 0.2]}
    for name, f50 in (("untouched", 0.3), ("normal", 0.2)):
        edges = {f"{hu:g}": edge | {"f50": f50} for hu in bench.noise_and_transfer.CONTRASTS}
        spectrum = {"sd": 5.0, "mean_frequency": 0.2, "frequency": [0.1, 0.2], "power": [3.0, 2.0], "edges": edges}
        if name == "untouched":
            spectrum["pylinac"] = {"version": "3", "sd": 5.1, "mean_frequency": 0.21, "f50": 0.31}
        store.keep(f"noise_and_transfer/25/{name}", spectrum)
    truth = cylinder.phantom((4, 64, 64))
    scans = cylinder.scans(truth, 1)
    row = bench.repeats.compared(scans, list(scans), truth, {"soft": truth > -500})
    store.keep("repeats/25/untouched", row)
    return store


def test_the_page_says_in_bold_what_is_worse_than_the_untouched_scan(bench, store, tmp_path):
    text = bench.report.written(store, tmp_path).read_text()
    assert "{{" not in text
    assert "CHO, 25 % dose: of 5 tasks, d' is above that of the untouched scans in 0 (0 surely" in text
    assert "contrast of `normal` is higher than that of a Gaussian blur with its noise SD in 20 of 25 cases" in text
    lines = text.splitlines()
    row = next(line for line in lines if line.startswith("| 10 mm, 3 HU | normal"))
    assert row.count("**") == 4  # at both doses
    assert "**" not in next(line for line in lines if line.startswith("| 10 mm, 3 HU | untouched"))
    failures = text[text.index("## Where it fails") : text.index("## What was not tested")]
    assert "5 of 25 lesions keep less than 90 %" in failures
    assert "**10 mm, 3 HU, CHO, 100 % dose, `normal`: d' is" in failures
    assert "| 25 | normal | 5.00 | 0.20 | **0.20** |" in text
    assert "pylinac 3 has" in text
    assert "untouched: 8 at 100 %, 8 at 25 %" in text
    for name in ("detectability", "lesions", "spectra"):
        assert (tmp_path / "pictures" / f"evidence-{name}.png").stat().st_size > 5000
    assert (tmp_path / "evidence.json").stat().st_size > 1000


def test_the_equal_dose_of_a_worse_method_is_beyond_the_full_one(bench, store):
    equal = bench.detectability.summary(store)["equal"]
    doses = {row["method"]: row["dose"] for row in equal if row["task"] == "10 mm, 3 HU" and row["observer"] == "CHO"}
    assert doses["untouched"] == pytest.approx(100)
    assert doses["normal"] == pytest.approx(100)
    section = bench.report._equal(equal)
    cell = next(row for row in section.rows if row["task"] == "10 mm, 3 HU" and row["observer"] == "CHO")
    assert cell["normal"].startswith("**above 100")


def test_an_empty_page_is_a_page(bench, tmp_path):
    text = bench.report.written(bench.store.Store(tmp_path / "nothing"), tmp_path).read_text()
    assert "Nothing that was measured" in text


def test_the_smallest_lesion_kept_has_none_lost_above_it(bench):
    def kept(*shares):
        return bench.report.smallest_kept([{"size": n, "kept": share} for n, share in enumerate(shares, 1)])

    assert kept(0.5, 0.95, 0.99) == 2
    assert kept(0.95, 0.5, 0.99) == 3
    assert kept(0.99, 0.99, 0.5) is None
