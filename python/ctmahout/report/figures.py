"""The pictures of the report, as data URIs."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import NDArray

from ..volume import Volume

__all__ = ["LEVELS", "RESIDUAL_HU", "WINDOWS", "Picture", "slices_of", "spectrum"]

# Window width and level, HU: the usual presets, fixed so that pictures of different runs can be compared.
WINDOWS = {"lung": (1500.0, -600.0), "soft tissue": (400.0, 40.0), "bone": (1800.0, 400.0)}
RESIDUAL_HU = 100.0
LEVELS = (0.25, 0.5, 0.75)
# Larger slices are shown with every other pixel, so the file stays small enough to mail.
_MOST_PIXELS = 512
_DPI = 100


@dataclass(frozen=True)
class Picture:
    """A picture and what it shows in words."""

    uri: str
    alt: str


def slices_of(before: Volume, after: Volume, level: float, strength: str) -> Picture:
    """Show one slice before and after in each window, and what was taken away."""
    z = round(level * (len(before.hu) - 1))
    step = -(-max(before.shape[1:]) // _MOST_PIXELS)
    images = [v.hu[z, ::step, ::step] for v in (before, after)]
    rows, columns = before.geometry.pixel_spacing_mm
    height = images[0].shape[0] * rows / (images[0].shape[1] * columns)
    side = 3.4
    figure = Figure(
        figsize=(3 * side, len(WINDOWS) * (side * height + 0.35)), dpi=_DPI, facecolor="black", layout="tight"
    )
    axes = figure.subplots(len(WINDOWS), 3, squeeze=False)
    for line, (name, (width, centre)) in zip(axes, WINDOWS.items(), strict=True):
        low, high = centre - width / 2, centre + width / 2
        shown = [
            (images[0], low, high, f"before, {name} {low:.0f} to {high:.0f} HU"),
            (images[1], low, high, f"after, {name} {low:.0f} to {high:.0f} HU"),
            (
                images[0] - images[1],
                -RESIDUAL_HU,
                RESIDUAL_HU,
                f"taken away, {-RESIDUAL_HU:.0f} to {RESIDUAL_HU:.0f} HU",
            ),
        ]
        for axis, (image, least, most, title) in zip(line, shown, strict=True):
            axis.imshow(image, cmap="gray", vmin=least, vmax=most, aspect=rows / columns, interpolation="nearest")
            axis.set_title(title, fontsize=8, color="white")
            axis.set_axis_off()
    alt = (
        f"Slice {z + 1} of {len(before.hu)}, strength {strength}: before, after and the difference, "
        "in the lung, soft-tissue and bone windows"
    )
    return Picture(_uri(figure, "jpeg"), alt)


def spectrum(s: NDArray[np.float64], weights: Mapping[str, NDArray[np.float64]], edge: float) -> Picture:
    """Show the singular values, what each strength keeps of them, and where those of the noise end."""
    figure = Figure(figsize=(8, 3.6), dpi=_DPI, facecolor="white", layout="tight")
    axis = figure.subplots()
    if s.size:
        index = np.arange(1, s.size + 1)
        axis.semilogy(index, s, "o-", color="#444444", markersize=3, linewidth=1, label="measured")
        for strength, w in weights.items():
            kept = w > 0
            axis.semilogy(index[kept], (w * s)[kept], "-", linewidth=1.6, label=f"kept, {strength}")
    if edge > 0:
        axis.axhline(edge, color="#b00020", linestyle="--", linewidth=1, label="where noise ends")
    axis.set_xlabel("component")
    axis.set_ylabel("singular value, HU")
    axis.grid(visible=True, alpha=0.3)
    if axis.get_legend_handles_labels()[0]:
        axis.legend(fontsize=8)
    return Picture(_uri(figure), f"The {s.size} singular values and what each strength keeps of them")


def _uri(figure: Figure, kind: str = "png") -> str:
    """Return a picture as a data URI, without dates and versions in it: the same picture has the same bytes."""
    FigureCanvasAgg(figure)
    buffer = io.BytesIO()
    # Noise does not compress: a JPEG of slices has a quarter of the size, its loss below what a screen shows.
    options = {"pil_kwargs": {"quality": 90}} if kind == "jpeg" else {"metadata": {"Software": None}}
    figure.savefig(buffer, format=kind, facecolor=figure.get_facecolor(), **options)
    return f"data:image/{kind};base64," + base64.b64encode(buffer.getvalue()).decode("ascii")
