import json
import re
from html.parser import HTMLParser
from types import SimpleNamespace

import numpy as np
import pytest
from scipy import ndimage

from ctmahout import Geometry, Volume
from ctmahout.denoising.method import GroupSpectrum
from ctmahout.phantom import make_phantom
from ctmahout.quality import TISSUES_AND_FAT, interior, tissues
from ctmahout.report import report_numbers, write_report

RUN = {
    "ctmahout": "1",
    "timestamp": "2026-01-31T12:00:00+00:00",
    "config": {"method": "slices"},
    "phases_s": {"read": 1.0},
    "factors": {"writer": {"name": "ctmahout"}, "algorithm": "dspca"},
}
VOID = {"meta", "img", "br", "link", "hr", "input"}


class Checker(HTMLParser):
    """Counts what matters and fails on tags that do not match."""

    def __init__(self, text):
        super().__init__()
        self.open, self.images, self.links = [], [], []
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag, attributes):
        values = dict(attributes)
        self.links += [v for k, v in values.items() if k in ("href", "src")]
        if tag == "img":
            self.images.append(values)
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def volume(hu, spacing=(1.0, 1.0), padding=None, source=None):
    z = len(hu)
    geometry = Geometry(
        np.column_stack([np.zeros(z), np.zeros(z), 3.0 * np.arange(z)]),
        np.array([1.0, 0, 0]),
        np.array([0, 1.0, 0]),
        spacing,
    )
    return Volume(np.asarray(hu, np.float32), geometry, padding, source)


def scan(z=4, rows=64, columns=80, seed=0):
    y, x = np.mgrid[:rows, :columns]
    image = np.where(np.hypot(y - rows / 2, x - columns / 2) < 0.4 * rows, 40.0, -1000.0)
    return np.repeat(image[None], z, axis=0) + np.random.default_rng(seed).normal(0, 20, (z, rows, columns))


def report(path, before, strengths=("auto",), change=lambda hu: hu * np.float32(0.5), groups=()):
    after = {name: before.with_hu(change(before.hu)) for name in strengths}
    numbers = report_numbers(before, after)
    json.dumps(numbers, allow_nan=False)
    s = np.linspace(9, 1, len(before.hu))
    run = RUN | {"source": {"shape": list(before.shape)}}
    slices = {"s": s, "weights": {name: np.ones_like(s) for name in strengths}, "noise_sd_hu": 20.0}
    write_report(
        path,
        before=before,
        after=after,
        run=run,
        numbers=numbers,
        **({"groups": groups} if groups else slices),
        warnings=["<b>mind</b> this"],
    )
    return path.read_text(encoding="utf-8"), numbers


@pytest.mark.parametrize("strengths", [("auto",), ("auto", "rank:2", "drop:10%")])
def test_it_is_whole_works_offline_and_shows_every_picture(tmp_path, strengths):
    text, _ = report(tmp_path / "r.html", volume(scan(z=8)), strengths)
    found = Checker(text)
    # Three levels in three windows, and all eight in the slider's: before, after and residual; and three plots.
    assert len(found.images) == (27 + 24) * len(strengths) + 3
    assert all(image["alt"] for image in found.images)
    assert all(link.startswith("data:image/") for link in found.links)
    assert not re.search(r"https?://", text)
    assert "not for diagnosis" in text
    assert "<td>dspca</td>" in text
    assert "&lt;b&gt;mind" in text
    for window in ("W1500 L-600", "W400 L40", "W1800 L400"):
        assert window in text


@pytest.mark.parametrize(
    "before",
    [
        volume(scan(z=2)),
        volume(scan(rows=40, columns=96), spacing=(2.0, 0.5)),
        volume(scan(), padding=np.broadcast_to(np.arange(80) < 10, (4, 64, 80)).copy()),
        volume(np.full((3, 32, 32), -1024.0)),
        volume(np.zeros((5, 16, 16))),
        volume(np.where(np.arange(3)[:, None, None] == 1, 40.0, scan(z=3))),
    ],
    ids=["two slices", "oblong pixels", "padding", "constant", "zero", "constant slice"],
)
def test_unusual_volumes_give_a_report_without_a_nan(tmp_path, before):
    text, _ = report(tmp_path / "r.html", before)
    Checker(text)
    assert not re.search(r"\bnan\b|\binf\b", re.sub(r'src="[^"]*"', "", text), re.IGNORECASE)


@pytest.mark.parametrize("strengths", [("auto",), ("a", "b", "c", "d", "e")])
def test_it_stays_within_6_mb_whatever_the_size_of_the_series(tmp_path, strengths):
    """Noise is what compresses least; here it has the SD of 300 HU, and every slice is different."""
    small = volume(scan())
    rng = np.random.default_rng(3)
    noise = rng.normal(40, 300, (530, 530)).astype(np.float32)
    # A thousand slices that share their memory.
    hu = np.lib.stride_tricks.as_strided(noise, (1000, 512, 512), (4, noise.strides[0], 4))
    before = volume(np.zeros((1000, 1, 1)))
    object.__setattr__(before, "hu", hu)
    halved = volume(np.zeros((1000, 1, 1)))
    object.__setattr__(halved, "hu", np.lib.stride_tricks.as_strided(noise / 2, hu.shape, hu.strides))
    numbers = report_numbers(small, dict.fromkeys(strengths, small))
    run = RUN | {"source": {"shape": [1000, 512, 512]}}
    path = write_report(
        tmp_path / "r.html",
        before=before,
        after=dict.fromkeys(strengths, halved),
        run=run,
        numbers=numbers,
        groups=[GroupSpectrum(100, np.linspace(90, 1, 75), 20, 0.3)] * 1000,
    )
    assert 3e6 < path.stat().st_size < 6e6
    text = path.read_text()
    frames = len(re.findall('class="frame"', text)) / len(strengths)
    assert frames >= 5
    assert f"{frames:.0f} of 1000 slices" in text


def test_the_same_run_gives_the_same_bytes(tmp_path):
    assert report(tmp_path / "a.html", volume(scan()))[0] == report(tmp_path / "b.html", volume(scan()))[0]


def test_nothing_of_the_source_gets_into_it(tmp_path):
    source = SimpleNamespace(PatientName="DOE^JANE", slices=["DOE^JANE"])
    text, numbers = report(tmp_path / "r.html", volume(scan(), source=source))
    assert "DOE" not in re.sub(r'src="[^"]*"', "", text) + json.dumps(numbers)


def test_noise_that_is_gone_is_told_as_gone():
    truth = scan(seed=1) * 0
    truth[:, 16:48, 20:60] = 60.0
    noise = np.random.default_rng(2).normal(0, 15, truth.shape)
    before = volume(truth + noise)
    numbers = report_numbers(before, {"noise": volume(truth), "nothing": before})
    after = numbers["after"]
    assert numbers["before"]["noise_sd_hu"]["soft"] == pytest.approx(15, rel=0.05)
    assert after["noise"]["noise_taken"] == pytest.approx(1, abs=0.05)
    assert after["noise"]["residual_sd_hu"]["soft"] == pytest.approx(15, rel=0.05)
    assert after["nothing"]["noise_taken"] == 0
    assert after["nothing"]["residual_sd_hu"]["soft"] == 0
    assert after["noise"]["mean_shift_hu"]["soft"] == pytest.approx(0, abs=1)
    shifted = report_numbers(before, {"x": before.with_hu(before.hu + 5)})["after"]["x"]
    assert shifted["mean_shift_hu"]["soft"] == pytest.approx(5)


def chest(dose=0.1):
    return make_phantom(size=160, slices=8, extent_mm=24.0, dose=dose, seed=5)


def test_the_mean_of_a_tissue_holds_no_other_tissue_where_slices_are_far_apart():
    hu = scan(z=3, rows=160, columns=160)
    lung = np.zeros(hu.shape, bool)
    lung[1, 60:100] = hu[1, 60:100] > -500
    hu[lung] -= 900  # only in the middle slice
    means = report_numbers(volume(hu), {})["before"]["mean_hu"]
    assert means["soft"] == pytest.approx(40, abs=1)
    assert means["lung"] is None


@pytest.fixture(scope="module")
def made():
    return chest()


def blurred(volume, sd):
    return volume.with_hu(ndimage.gaussian_filter(volume.hu, (0, sd, sd)))


def test_a_residual_of_pure_noise_has_no_likeness_to_edges_and_that_of_a_blur_has(made):
    part = made.noisy.with_hu(made.clean.hu + 0.3 * (made.noisy.hu - made.clean.hu))
    after = {
        "perfect": made.clean,
        "part": part,
        "slight blur": blurred(made.clean, 0.45),
        "blur": blurred(made.noisy, 1.0),
    }
    likeness = {n: a["anatomy_in_residual"] for n, a in report_numbers(made.noisy, after)["after"].items()}
    assert abs(likeness["perfect"]) < 0.01
    assert abs(likeness["part"]) < 0.01
    assert 0.03 < likeness["slight blur"] < likeness["blur"]


@pytest.mark.parametrize("left", [0.0, 0.1])
def test_the_means_told_are_those_of_the_true_tissues(left):
    """Whatever their noise, which at this dose has a mean of its own; also where some of it is left."""
    made = chest(dose=0.05)
    after = made.clean.hu + left * (made.noisy.hu - made.clean.hu)
    found = report_numbers(made.noisy, {"x": made.clean.with_hu(after)})["after"]["x"]
    shift = after - made.noisy.hu
    known = 0
    for name, mask in tissues(made.clean.hu, ranges=TISSUES_AND_FAT).items():
        inner, pure = interior(mask, 4), interior(mask, 2)
        for key, place in (("mean", inner), ("border", pure & ~inner)):
            told = found[f"{key}_shift_hu"].get(name)
            if told is not None:
                error = found[f"{key}_shift_error_hu"][name]
                assert told == pytest.approx(shift[place].mean(dtype=np.float64), abs=0.3 + 3 * error), (key, name)
                known += 1
    assert known >= 4


@pytest.mark.parametrize("known", [False, True])
def test_edges_are_as_sharp_after_noise_is_gone_and_softer_after_a_blur(made, known):
    after = {"perfect": made.clean, "blur": blurred(made.noisy, 1.0)}
    reference = made.clean if known else None
    numbers = report_numbers(made.noisy, after, reference=reference)
    found = numbers["after"]
    assert found["perfect"]["edge_sharpness"]["strong"] == pytest.approx(1, abs=0.03)
    assert found["blur"]["edge_sharpness"]["strong"] < 0.75
    widths = found["perfect"]["edge_width_mm"]
    assert widths["before"]["strong"] == pytest.approx(widths["after"]["strong"], rel=0.03)
    assert ("reference" in widths) == known
    assert ("reference" in numbers) == known
    assert not known or numbers["reference"] == {key: numbers["after"]["perfect"][key] for key in numbers["reference"]}
    assert (widths["after"]["weak"] is not None) == known


def test_a_mean_beyond_the_limit_is_marked_and_one_within_is_not(tmp_path, made):
    for shift, marked in ((0.3, False), (0.7, True), (-0.7, True)):
        path = tmp_path / f"{shift}.html"
        text, numbers = report(path, made.noisy, change=lambda hu, shift=shift: hu + np.float32(shift))
        table = text.split('aria-label="Mean values by tissue"')[1].split("</table>")[0]
        told = [value for value in numbers["after"]["auto"]["mean_shift_hu"].values() if value is not None]
        assert len(told) >= 2
        assert table.count("outside</span>") == (len(told) if marked else 0), shift
        assert f"{shift:+.2f}" in table


def test_numbers_are_those_of_the_whole_volume_on_a_long_series():
    """More slices than are looked at: noise and edges of a sample are those of all."""
    long = volume(np.tile(scan(z=8), (16, 1, 1)))
    short = volume(scan(z=8))
    before = [report_numbers(v, {"x": v})["before"]["noise_sd_hu"]["soft"] for v in (long, short)]
    assert before[0] == pytest.approx(before[1], rel=0.02)


def groups(count, d=75):
    return [GroupSpectrum(100 + n, np.linspace(50, 0.9, d), n % d, 0.2) for n in range(count)]


@pytest.mark.parametrize("count", [1, 60, 1000])
def test_groups_take_the_place_of_singular_values(tmp_path, count):
    before = volume(scan(z=8))
    text, _ = report(tmp_path / "r.html", before, groups=groups(count))
    found = Checker(text)
    assert len(found.images) == 27 + 24 + 3
    assert f"patches in {count:,} groups of 100 to {99 + count:,}" in text
    assert "Of 75 components a group keeps" in text
    assert "dashed line" not in text


def test_groups_that_keep_nothing_and_one_without_patches(tmp_path):
    nothing = [GroupSpectrum(n, np.ones(75), 0, 0.0) for n in (0, 500)]
    text, _ = report(tmp_path / "r.html", volume(scan(z=8)), groups=nothing)
    Checker(text)
    assert "500 patches in 2 groups of 0 to 500" in text
    assert not re.search(r"\bnan\b", re.sub(r'src="[^"]*"', "", text), re.IGNORECASE)
