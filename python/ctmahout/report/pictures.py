"""Pictures of slices for the report: volumes in HU go in, grey-scale images as data URIs come out."""

from __future__ import annotations

import base64
import io
from dataclasses import dataclass

import numpy as np
from matplotlib import image
from numpy.typing import NDArray

from ..volume import Volume

__all__ = ["WINDOWS", "Picture", "ReportSlice", "Row", "Window", "data_uri", "report_slices"]


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
# Larger slices are subsampled, so that the file stays small enough for a mail.
_MAX_PIXELS = 512


@dataclass(frozen=True)
class Picture:
    """An image as a data URI, and its description in words."""

    uri: str
    alt: str


@dataclass(frozen=True)
class Row:
    """A slice before and after, and the residual, in one window."""

    window: Window
    before: Picture
    after: Picture
    residual: Picture


@dataclass(frozen=True)
class ReportSlice:
    """A slice in all windows.

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


def report_slices(before: Volume, after: Volume) -> list[ReportSlice]:
    """Return three slices, at a quarter, half and three quarters of the series, before and after in each window."""
    last = len(before.hu) - 1
    return [_report_slice(before, after, z) for z in sorted({round(position * last) for position in _POSITIONS})]


def _report_slice(before: Volume, after: Volume, z: int) -> ReportSlice:
    step = -(-max(before.shape[1:]) // _MAX_PIXELS)
    hu_before, hu_after = (volume.hu[z, ::step, ::step] for volume in (before, after))
    position = f"slice {z + 1} of {len(before.hu)}"
    rows = tuple(
        Row(
            window,
            *(
                Picture(_grey(hu, centre, width), f"{name}, {position}, {window.name} window")
                for name, hu, centre, width in (
                    ("Before", hu_before, window.centre, window.width),
                    ("After", hu_after, window.centre, window.width),
                    ("Taken away", hu_before - hu_after, 0.0, 2 * window.residual),
                )
            ),
        )
        for window in WINDOWS
    )
    return ReportSlice(z + 1, len(before.hu), rows)


def _grey(hu: NDArray[np.float32], centre: float, width: float) -> str:
    """Return an image of shape (y, x), HU, in a display window, as a data URI."""
    buffer = io.BytesIO()
    # Noise hardly compresses without loss: a JPEG has a quarter of the size, and its error is invisible on a screen.
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
    """Return an image file as a data URI; `kind` is "png" or "jpeg"."""
    return f"data:image/{kind};base64," + base64.b64encode(content).decode("ascii")
