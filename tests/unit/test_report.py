import json
import re
from html.parser import HTMLParser
from types import SimpleNamespace

import numpy as np
import pytest

from ctmahout import Geometry, Volume
from ctmahout.report import report_numbers, write_report

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


def report(path, before, strengths=("auto",)):
    after = {name: before.with_hu(before.hu * 0.5) for name in strengths}
    numbers = report_numbers(before, after)
    json.dumps(numbers, allow_nan=False)
    s = np.linspace(9, 1, len(before.hu))
    run = {
        "ctmahout": "1",
        "timestamp": "2026-01-31T12:00:00+00:00",
        "config": {"method": "slices"},
        "source": {"shape": list(before.shape)},
        "phases_s": {"read": 1.0},
        "factors": {"writer": {"name": "ctmahout"}, "algorithm": "dspca"},
    }
    write_report(
        path,
        before=before,
        after=after,
        run=run,
        numbers=numbers,
        s=s,
        weights={name: np.ones_like(s) for name in strengths},
        noise_sd_hu=20.0,
        warnings=["<b>mind</b> this"],
    )
    return path.read_text(encoding="utf-8"), numbers


@pytest.mark.parametrize("strengths", [("auto",), ("auto", "rank:2", "drop:10%")])
def test_it_is_whole_works_offline_and_shows_every_picture(tmp_path, strengths):
    text, _ = report(tmp_path / "r.html", volume(scan()), strengths)
    found = Checker(text)
    assert len(found.images) == 1 + 3 * len(strengths)
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


def test_the_same_run_gives_the_same_bytes(tmp_path):
    assert report(tmp_path / "a.html", volume(scan()))[0] == report(tmp_path / "b.html", volume(scan()))[0]


def test_nothing_of_the_source_gets_into_it(tmp_path):
    source = SimpleNamespace(PatientName="DOE^JANE", slices=["DOE^JANE"])
    text, numbers = report(tmp_path / "r.html", volume(scan(), source=source))
    assert "DOE" not in re.sub(r'src="[^"]*"', "", text) + json.dumps(numbers)


def test_numbers_tell_noise_from_anatomy():
    truth = scan(seed=1) * 0
    truth[:, 16:48, 20:60] = 60.0
    noise = np.random.default_rng(2).normal(0, 15, truth.shape)
    before = volume(truth + noise)
    numbers = report_numbers(before, {"noise": volume(truth), "anatomy": volume(noise), "nothing": before})
    after = numbers["after"]
    assert after["noise"]["noise_taken"]["soft"] == pytest.approx(1, abs=0.05)
    assert after["nothing"]["noise_taken"]["soft"] == 0
    assert after["nothing"]["residual_sd_hu"] == 0
    assert after["noise"]["mean_shift_hu"]["soft"] == pytest.approx(0, abs=1)
    shifted = report_numbers(before, {"x": before.with_hu(before.hu + 5)})["after"]["x"]
    assert shifted["mean_shift_hu"]["soft"] == pytest.approx(5)
