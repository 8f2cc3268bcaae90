"""The slices that the report shows, pixel for pixel, as data URIs."""

from __future__ import annotations

import base64
import io
from dataclasses import dataclass

import numpy as np
from matplotlib import image
from numpy.typing import NDArray

from ..volume import Volume

__all__ = ["WINDOWS", "Level", "Picture", "Row", "Window", "data_uri", "levels_of"]


@dataclass(frozen=True)
class Window:
    """What of the grey scale is shown, in HU."""

    name: str
    width: float
    centre: float

    @property
    def residual(self) -> float:
        """The residual is shown from minus to plus this, HU: four times the contrast of the window itself."""
        return self.width / 8


# The usual presets, fixed so that pictures of different runs can be compared.
WINDOWS = (Window("lung", 1500.0, -600.0), Window("soft tissue", 400.0, 40.0), Window("bone", 1800.0, 400.0))
_SHARES = (0.25, 0.5, 0.75)
# Larger slices are shown with every other pixel, so the file stays small enough to mail.
_MOST_PIXELS = 512


@dataclass(frozen=True)
class Picture:
    """A picture, and what it shows in words."""

    uri: str
    alt: str


@dataclass(frozen=True)
class Row:
    """A slice before and after, and what was taken away, in one window."""

    window: Window
    before: Picture
    after: Picture
    residual: Picture


@dataclass(frozen=True)
class Level:
    """A slice, counted from 1, in all windows."""

    slice: int
    slices: int
    rows: tuple[Row, ...]


def levels_of(before: Volume, after: Volume) -> list[Level]:
    """Show three slices, a quarter, half and three quarters up, before and after in each window."""
    last = len(before.hu) - 1
    return [_level(before, after, z) for z in sorted({round(share * last) for share in _SHARES})]


def _level(before: Volume, after: Volume, z: int) -> Level:
    step = -(-max(before.shape[1:]) // _MOST_PIXELS)
    was, became = (volume.hu[z, ::step, ::step] for volume in (before, after))
    place = f"slice {z + 1} of {len(before.hu)}"
    rows = tuple(
        Row(
            window,
            *(
                Picture(_grey(hu, centre, width), f"{what}, {place}, {window.name} window")
                for what, hu, centre, width in (
                    ("Before", was, window.centre, window.width),
                    ("After", became, window.centre, window.width),
                    ("Taken away", was - became, 0.0, 2 * window.residual),
                )
            ),
        )
        for window in WINDOWS
    )
    return Level(z + 1, len(before.hu), rows)


def _grey(hu: NDArray[np.float32], centre: float, width: float) -> str:
    buffer = io.BytesIO()
    # Noise does not compress: a JPEG has a quarter of the size, its loss below what a screen shows.
    image.imsave(
        buffer,
        hu,
        cmap="gray",
        vmin=centre - width / 2,
        vmax=centre + width / 2,
        format="jpeg",
        pil_kwargs={"quality": 90},
    )
    return data_uri(buffer.getvalue(), "jpeg")


def data_uri(content: bytes, kind: str) -> str:
    """Return a picture as a page holds it within itself."""
    return f"data:image/{kind};base64," + base64.b64encode(content).decode("ascii")
