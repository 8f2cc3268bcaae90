"""Pictures of slices for the report: volumes in HU go in, grey-scale images come out."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib import image
from numpy.typing import NDArray

from ..volume import Volume

__all__ = ["WINDOWS", "Picture", "ReportSlice", "Row", "Window", "report_slices", "slider_slices"]


@dataclass(frozen=True)
class Window:
    """A display window, HU."""

    name: str
    width: float
    centre: float

    @property
    def residual(self) -> float:
        """Half the width of the residual's window, HU: four times the contrast of this window."""
        return self.width / 8


# The usual presets, fixed so that pictures of different runs can be compared.
WINDOWS = (Window("lung", 1500.0, -600.0), Window("soft tissue", 400.0, 40.0), Window("bone", 1800.0, 400.0))
_POSITIONS = (0.25, 0.5, 0.75)  # of the slices, as fractions of the series
_SLIDER_WINDOW = WINDOWS[1]
# Larger slices are subsampled, to the first of these sizes at which the pictures fit into the file.
_MAX_PIXELS = (512, 256, 128)
_ENOUGH = 20  # slices of a slider; for more of them it is not subsampled further


@dataclass(frozen=True)
class Picture:
    """An image file, "png" or "jpeg", and its description in words."""

    content: bytes
    kind: str
    alt: str

    @property
    def uri(self) -> str:
        """The image as a data URI."""
        return f"data:image/{self.kind};base64," + base64.b64encode(self.content).decode("ascii")


@dataclass(frozen=True)
class Row:
    """A slice before and after, and the residual, in one window."""

    window: Window
    before: Picture
    after: Picture
    residual: Picture

    @property
    def pictures(self) -> tuple[Picture, ...]:
        """The three pictures in the order in which they are shown."""
        return self.before, self.after, self.residual


@dataclass(frozen=True)
class ReportSlice:
    """A slice in one or more windows.

    Attributes
    ----------
    slice : int
        Its number, from 1.
    slices : int
        Number of slices of the series.
    rows : tuple of Row
    """

    slice: int
    slices: int
    rows: tuple[Row, ...]


def report_slices(before: Volume, after: Volume, limit: int) -> list[ReportSlice]:
    """Return three slices, at a quarter, half and three quarters of the series, before and after in each window.

    `limit` is that of their size, bytes of HTML.
    """
    last = len(before.hu) - 1
    positions = sorted({round(position * last) for position in _POSITIONS})
    for pixels in _MAX_PIXELS:
        slices = [_report_slice(before, after, z, WINDOWS, pixels, quality=90) for z in positions]
        if _size(slices) <= limit:
            break
    return slices


def slider_slices(before: Volume, after: Volume, limit: int) -> list[ReportSlice]:
    """Return every n-th slice of the series in the soft tissue window, with the least n that keeps within `limit`.

    `limit` is that of their size, bytes of HTML.
    """
    count = len(before.hu)

    def pictures(numbers: Sequence[int], pixels: int) -> list[ReportSlice]:
        return [_report_slice(before, after, z, (_SLIDER_WINDOW,), pixels, quality=80) for z in numbers]

    for pixels in _MAX_PIXELS:
        fit = limit // _size(pictures([count // 2], pixels))
        if fit >= min(count, _ENOUGH):
            break
    every = max(1, -(-count // max(1, fit)))
    # Slices differ in size, so that there may be room for fewer than the one in the middle suggests.
    while _size(slices := pictures(range((every - 1) // 2, count, every), pixels)) > limit and len(slices) > 1:
        every += max(1, every // 8)
    return slices


def _size(slices: Sequence[ReportSlice]) -> int:
    return sum(len(picture.uri) for one in slices for row in one.rows for picture in row.pictures)


def _report_slice(
    before: Volume, after: Volume, z: int, windows: Sequence[Window], pixels: int, quality: int
) -> ReportSlice:
    step = -(-max(before.shape[1:]) // pixels)
    hu_before, hu_after = (volume.hu[z, ::step, ::step] for volume in (before, after))
    position = f"slice {z + 1} of {len(before.hu)}"
    rows = tuple(
        Row(
            window,
            *(
                Picture(_grey(hu, centre, width, quality), "jpeg", f"{name}, {position}, {window.name} window")
                for name, hu, centre, width in (
                    ("Before", hu_before, window.centre, window.width),
                    ("After", hu_after, window.centre, window.width),
                    ("Residual", hu_before - hu_after, 0.0, 2 * window.residual),
                )
            ),
        )
        for window in windows
    )
    return ReportSlice(z + 1, len(before.hu), rows)


def _grey(hu: NDArray[np.float32], centre: float, width: float, quality: int) -> bytes:
    """Return an image of shape (y, x), HU, in a display window, as a JPEG."""
    buffer = io.BytesIO()
    # Noise hardly compresses without loss: a JPEG has a quarter of the size, and its error is invisible on a screen.
    image.imsave(
        buffer,
        hu,
        cmap="gray",
        vmin=centre - width / 2,
        vmax=centre + width / 2,
        format="jpeg",
        pil_kwargs={"quality": quality},
    )
    return buffer.getvalue()
