"""The report in a real browser: what a reader gets to see."""

import re

import numpy as np
import pytest
from browser import Browser

from ctmahout import Geometry, Volume
from ctmahout.denoising.method import GroupSpectrum
from ctmahout.phantom import make_phantom
from ctmahout.report import report_numbers, write_report

pytestmark = pytest.mark.usefixtures("chromium")

PICTURES = "[...document.images].map(i => [i.naturalWidth, i.naturalHeight, i.alt, i.className])"
# Elements that reach out of the page, but for those inside a region that scrolls by itself.
WIDER = """[...document.querySelectorAll('body *')].filter(e => !e.closest('.scroll, pre')
    && e.getBoundingClientRect().right > document.documentElement.clientWidth + 0.5)
    .map(e => e.outerHTML.slice(0, 80))"""
LARGE = """(() => { const i = document.querySelectorAll('.three')[1].querySelectorAll('img');
    return [...i].map(e => { const r = e.getBoundingClientRect();
        return [getComputedStyle(e).position, Math.round(r.width), Math.round(r.height)]; }); })()"""


def run(volume, method):
    return {
        "ctmahout": "1",
        "timestamp": "2026-01-31T12:00:00+00:00",
        "config": {"method": method},
        "source": {"shape": list(volume.shape)},
        "phases_s": {"read": 1.0},
        "factors": {"writer": {"name": "ctmahout"}, "algorithm": "dssvd"},
    }


def chest(method):
    made = make_phantom(size=96, slices=8, extent_mm=24.0, dose=0.1, seed=2)
    after = {"auto": made.clean, "rank:2": made.noisy.with_hu(0.5 * (made.noisy.hu + made.clean.hu))}
    return made.noisy, after, made.clean, method


def black(method):
    """Air only, in oblong pixels: every picture is dark, and there is nothing to measure."""
    z = 5
    geometry = Geometry(
        np.column_stack([np.zeros((z, 2)), 3.0 * np.arange(z)]),
        np.array([1.0, 0, 0]),
        np.array([0, 1.0, 0]),
        (2.0, 0.5),
    )
    volume = Volume(np.full((z, 30, 240), -1024.0, np.float32), geometry)
    return volume, {"auto": volume}, None, method


def groups(count, d=75):
    rng = np.random.default_rng(1)
    kept = rng.integers(0, 30, count)
    return [
        GroupSpectrum(int(rows), np.r_[np.sort(rng.uniform(2, 90, k))[::-1], np.full(d - k, 1.0)], int(k), k / d)
        for rows, k in zip(rng.integers(100, 10_000, count), kept, strict=True)
    ]


def written(path, before, after, reference, method):
    s = np.linspace(9e4, 1e3, len(before.hu))
    found = (
        {"groups": groups(200)}
        if method == "patches"
        else {"s": s, "weights": {name: np.ones_like(s) for name in after}, "noise_sd_hu": 20.0}
    )
    numbers = report_numbers(before, after, reference=reference)
    warnings = ["A warning that goes on and on, " * 9]
    return write_report(
        path, before=before, after=after, run=run(before, method), numbers=numbers, warnings=warnings, **found
    )


def looked_at(path, width, dark):
    with Browser(width, dark=dark) as page:
        page.open(path)
        seen = {
            "pictures": page.value(PICTURES),
            "wider": page.value(WIDER),
            "width": page.value("document.documentElement.scrollWidth"),
            "paper": page.value("getComputedStyle(document.body).backgroundColor"),
        }
        asked = {event["request"]["url"] for event in page.told("Network.requestWillBeSent")}
        complaints = page.told("Runtime.consoleAPICalled", "Runtime.exceptionThrown", "Log.entryAdded")
    return seen | {"asked": {url for url in asked if not url.startswith("data:")}, "complaints": complaints}


@pytest.mark.parametrize(
    ("method", "case", "dark", "width"),
    [
        ("slices", chest, False, 1200),
        ("slices", black, True, 420),
        ("patches", chest, False, 420),
        ("patches", chest, True, 1200),
        ("patches", black, False, 1200),
    ],
)
def test_all_pictures_are_shown_offline_and_nothing_is_wider_than_the_page(tmp_path, method, case, dark, width):
    before, after, reference, method = case(method)
    path = written(tmp_path / "report.html", before, after, reference, method)
    seen = looked_at(path, width, dark)
    slices = [p for p in seen["pictures"] if not p[3]]
    plots = [p for p in seen["pictures"] if p[3]]
    assert len(slices) == (3 * 3 * 3 + 3 * len(before.hu)) * len(after)
    assert {(w, h) for w, h, *_ in slices} == {(before.shape[2], before.shape[1])}
    # Both say what was kept; where there is soft tissue its noise is shown besides.
    assert len(plots) == 1 + (case is chest)
    assert all(w > 800 and h > 300 for w, h, *_ in plots)
    assert all(alt for _, _, alt, _ in seen["pictures"])
    assert seen["wider"] == []
    assert seen["width"] == width
    assert seen["paper"] == ("rgb(22, 22, 22)" if dark else "rgb(255, 255, 255)")
    assert seen["asked"] == {path.as_uri()}
    assert seen["complaints"] == []


def test_what_is_wrong_with_a_page_is_seen(tmp_path):
    """The looking itself: a broken picture, a request, a complaint and a thing too wide."""
    path = tmp_path / "wrong.html"
    path.write_text(
        '<body><img src="data:image/png;base64,AAAA" alt=""><img src="http://example.invalid/a.png" alt="">'
        '<p style="width: 2000px">wide</p><script>console.error("no")</script>'
    )
    seen = looked_at(path, 1200, False)
    assert [p[:2] for p in seen["pictures"]] == [[0, 0], [0, 0]]
    assert len(seen["wider"]) == 1
    assert seen["width"] > 1200
    assert seen["asked"] == {path.as_uri(), "http://example.invalid/a.png"}
    assert len(seen["complaints"]) >= 2


def test_a_picture_is_enlarged_and_changes_with_the_next_at_the_same_place(tmp_path):
    path = written(tmp_path / "report.html", *chest("slices"))
    with Browser(1200, 800) as page:
        page.open(path)
        small = page.value(LARGE)
        states = []
        for picture in (1, 2, 3, 0):
            # The label over an enlarged picture leads to the next one, that in the corner back.
            row = "document.querySelectorAll('.three')[1]"
            labels = {0: ".close", 1: ".shot label"}
            step = f"{row}.querySelectorAll('{labels.get(picture, '.next')}')[{max(picture - 2, 0)}]"
            assert page.value(f"getComputedStyle({step}).display != 'none'")
            page.value(f"{step}.click()")
            states.append(page.value(LARGE))
            if picture:
                # Under a pointer lies what leads on, in the corner what leads back.
                classes = [page.value(f"document.elementFromPoint({at}).className") for at in ("600, 400", "1180, 15")]
                assert classes == ["next", "close"]
    assert [position for position, *_ in small] == ["static"] * 3
    for number, state in enumerate(states[:3]):
        assert [position for position, *_ in state] == ["fixed" if k == number else "static" for k in range(3)]
        assert state[number][1:] == [800, 800]
    assert states[3] == small


STATE = """(() => { const s = document.querySelectorAll('.slider')[1];
    return [s.querySelector('output').value, s.querySelector('input').getAttribute('aria-valuetext'),
        [...s.querySelectorAll('.frame')].filter(f => !f.hidden).map(f => f.dataset.slice),
        [...document.querySelectorAll('.slider')[0].querySelectorAll('.frame')].findIndex(f => !f.hidden)]; })()"""


def shown(page):
    """Return the number of the slice that the second strength's slider shows, of 8, and that nothing contradicts it."""
    text, spoken, frames, other = page.value(STATE)
    assert [text] == [spoken] == frames
    assert other == 3  # the other strength's slider is where it was
    return int(text.removeprefix("slice ").removesuffix(" of 8"))


def press(page, key, code):
    for kind in ("rawKeyDown", "keyUp"):
        page.call("Input.dispatchKeyEvent", type=kind, key=key, code=key, windowsVirtualKeyCode=code)
    return shown(page)


def drag(page, share, touch):
    """Put the slider's thumb at a share of its width, by finger or mouse."""
    x, y, width = page.value(
        "(() => { const r = document.querySelectorAll('input[type=range]')[1]; r.scrollIntoView({block: 'center'});"
        "const b = r.getBoundingClientRect(); return [b.x, b.y + b.height / 2, b.width]; })()"
    )
    at = x + share * width
    if touch:
        point = [{"x": x + width / 2, "y": y}]
        page.call("Input.dispatchTouchEvent", type="touchStart", touchPoints=point)
        page.call("Input.dispatchTouchEvent", type="touchMove", touchPoints=[{"x": at, "y": y}])
        page.call("Input.dispatchTouchEvent", type="touchEnd", touchPoints=[])
    else:
        for kind in ("mousePressed", "mouseReleased"):
            page.call("Input.dispatchMouseEvent", type=kind, x=at, y=y, button="left", clickCount=1)
    return shown(page)


def test_a_slider_goes_through_the_series_by_keyboard_mouse_and_touch(tmp_path):
    path = written(tmp_path / "report.html", *chest("slices"))
    with Browser(420, 800) as page:
        page.open(path)
        assert shown(page) == 4
        page.value("document.querySelectorAll('.slider')[1].querySelector('input').focus()")
        assert press(page, "ArrowRight", 39) == 5
        assert press(page, "ArrowLeft", 37) == press(page, "ArrowLeft", 37) + 1 == 4
        assert (press(page, "End", 35), press(page, "Home", 36)) == (8, 1)
        assert press(page, "ArrowLeft", 37) == 1
        assert (drag(page, 0.999, False), drag(page, 0.001, False)) == (8, 1)
        page.call("Emulation.setTouchEmulationEnabled", enabled=True)
        assert (drag(page, 0.999, True), drag(page, 0.001, True)) == (8, 1)
        # What is shown is the slice that it says: each looks different, and all three pictures change.
        sources = []
        for number in range(1, 9):
            page.value(
                "(() => { const r = document.querySelectorAll('.slider')[1].querySelector('input');"
                f"r.value = {number - 1}; r.dispatchEvent(new Event('input')); }})()"
            )
            assert shown(page) == number
            visible = "[...document.querySelectorAll('.slider')[1].querySelectorAll('.frame:not([hidden]) img')]"
            alts = page.value(f"{visible}.map(i => i.alt)")
            assert [f"slice {number} of 8" in alt for alt in alts] == [True] * 3
            assert page.value(f"{visible}.every(i => i.getBoundingClientRect().width > 100)")
            sources += page.value(f"{visible}.map(i => i.src)")
        assert len(set(sources)) == 24
        assert page.value("document.documentElement.scrollWidth") == 420
        assert page.told("Runtime.consoleAPICalled", "Runtime.exceptionThrown", "Log.entryAdded") == []


def test_without_scripts_a_slice_is_shown_and_no_slider(tmp_path):
    path = written(tmp_path / "report.html", *chest("slices"))
    with Browser(420, 800) as page:
        path.write_text(re.sub("<script>.*</script>", "", path.read_text(), flags=re.DOTALL))
        page.open(path)
        visible = "[...document.querySelectorAll('.slider')].map(s => [...s.querySelectorAll('p, .frame')]"
        hidden = page.value(visible + ".map(e => getComputedStyle(e).display == 'none'))")
        assert hidden == [[True] + [number != 3 for number in range(8)]] * 2
