"""Plots of the report: spectra and maps go in, PNG images come out.

The same input gives the same bytes.
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib import ticker
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from numpy.typing import NDArray
from scipy import integrate

from ..denoising.method import GroupSpectrum
from .pictures import Picture

__all__ = ["group_spectra", "noise_power", "removed_maps", "singular_values", "study_results"]

_DPI = 160
_SOURCE, _EDGE = "#444444", "#b00020"
_THIRDS = ("first third of the slices", "second", "last")
_COLOURS = ("#1f77b4", "#d9730d", "#2a8a3e", "#8250c4", "#8c564b")


def singular_values(s: NDArray[np.float64], weights: Mapping[str, NDArray[np.float64]], edge: float) -> Picture:
    """Plot singular values, the part of each that a strength keeps, and the edge of the noise.

    Parameters
    ----------
    s : ndarray of shape (k,), HU
    weights : mapping of str to ndarray of shape (k,)
        For each strength, 0 to 1.
    edge : float, HU
        The largest singular value of noise.
    """
    figure, axis = _figure(1, 3.6)
    if s.size:
        index = np.arange(1, s.size + 1)
        axis.semilogy(index, s, "o-", color=_SOURCE, markersize=3, linewidth=1, label="measured")
        for number, (strength, w) in enumerate(weights.items()):
            kept = w > 0
            axis.semilogy(index[kept], (w * s)[kept], "-", color=_colour(number), label=f"kept, {strength}")
        axis.xaxis.set_major_locator(ticker.MaxNLocator(integer=True))
    if edge > 0:
        axis.axhline(edge, color=_EDGE, linestyle="--", linewidth=1, label="where noise ends")
    _label(axis, "component", "singular value, HU")
    return Picture(_png(figure), "png", f"The {s.size} singular values and what each strength keeps of them")


def group_spectra(spectra: Sequence[GroupSpectrum]) -> Picture:
    """Plot the eigenvalues of all groups with the number of components kept, and that number by size of the group."""
    ordered = sorted(spectra, key=lambda g: (g.kept, g.rows))
    kept = np.array([g.kept for g in ordered])
    figure, (left, right) = _figure(2, 3.9)
    # Components far below all those kept are pure noise.
    values = np.array([g.eigenvalues for g in ordered], np.float64).T[: 2 * int(kept.max()) + 10]
    # Eigenvalues of noise scatter around 1; values below it are drawn as 1.
    largest = max(10.0, float(values.max(initial=1.0)))
    extent = (0.5, len(ordered) + 0.5, len(values) + 0.5, 0.5)
    heatmap = left.imshow(
        np.clip(values, 1.0, largest), aspect="auto", cmap="viridis", norm=LogNorm(1.0, largest), extent=extent
    )
    left.step(np.arange(1, len(ordered) + 1), kept + 0.5, where="mid", color="white", linewidth=1.4)
    left.set_xlabel("group, fewest components kept first", fontsize=9)
    left.set_ylabel("component; kept above the white line", fontsize=9)
    for axis in (left.xaxis, left.yaxis):
        axis.set_major_locator(ticker.MaxNLocator(6, integer=True))
    figure.colorbar(heatmap, ax=left, pad=0.02).set_label("variance / noise variance", fontsize=9)
    dots = right.scatter([g.rows for g in ordered], kept, c=[g.gain for g in ordered], s=14, cmap="viridis", vmin=0.0)
    right.set_xscale("log")
    right.set_ylim(bottom=0)
    right.yaxis.set_major_locator(ticker.MaxNLocator(6, integer=True))
    figure.colorbar(dots, ax=right, pad=0.02).set_label("mean weight of components", fontsize=9)
    _label(right, "patches in the group", "components kept")
    return Picture(
        _png(figure),
        "png",
        f"Eigenvalues of {len(ordered)} groups, how many components each keeps, and the size of groups",
    )


def noise_power(before: Mapping[str, Any], after: Mapping[str, tuple[Mapping[str, Any], Mapping[str, Any]]]) -> Picture:
    """Plot noise power spectra, each as ``nps`` of `report_numbers`.

    Parameters
    ----------
    before : mapping
    after : mapping of str to (mapping, mapping)
        For each strength, the spectra of the result and of the residual.
    """
    figure, (left, right) = _figure(2, 3.6)
    lines = [("before", before, _SOURCE, "-")]
    for number, (strength, (result, residual)) in enumerate(after.items()):
        lines.append((f"after, {strength}", result, _colour(number), "-"))
        lines.append((f"taken away, {strength}", residual, _colour(number), ":"))
    for label, nps, colour, style in lines:
        frequency, values = np.array(nps["frequency_per_mm"]), np.array(nps["power_hu2_mm2"])
        if not values.any():
            continue
        left.semilogy(frequency, np.where(values > 0, values, np.nan), style, color=colour, label=label)
        right.plot(frequency, values / integrate.trapezoid(values, frequency), style, color=colour)
    right.set_ylim(bottom=0)
    _label(left, "cycles/mm", "noise power, HU² mm²")
    _label(right, "cycles/mm", "shape: the same with area 1, mm")
    return Picture(_png(figure), "png", "Noise power spectra of the series before, after, and of what was taken away")


def removed_maps(cells: Mapping[str, Sequence[Sequence[Sequence[float | None]]]], proportion: float) -> Picture:
    """Plot the fraction of the noise removed: a row for each strength, a map for each third of the slices.

    Parameters
    ----------
    cells : mapping of str to nested sequence of shape (3, rows, columns)
        As `NoiseRemoved.cells`, with None for NaN.
    proportion : float
        Width of a slice over its height.
    """
    rows = len(cells)
    figure = Figure(figsize=(10, 0.4 + 3.0 * rows), dpi=_DPI, facecolor="white", layout="constrained")
    axes = figure.subplots(rows, len(_THIRDS), squeeze=False)
    for row_of_axes, (strength, thirds) in zip(axes, cells.items(), strict=True):
        for axis, title, values in zip(row_of_axes, _THIRDS, thirds, strict=True):
            percent = np.array([[np.nan if v is None else 100 * v for v in row] for row in values])
            aspect = percent.shape[1] / percent.shape[0] / proportion
            axis.imshow(percent, cmap="viridis", vmin=0, vmax=100, aspect=aspect)
            axis.set_title(f"{strength}, {title}", fontsize=9)
            axis.set_facecolor("#dddddd")
            axis.set_xticks([])
            axis.set_yticks([])
    figure.colorbar(axes[0, 0].images[0], ax=axes, pad=0.02).set_label("noise taken, %", fontsize=9)
    return Picture(
        _png(figure), "png", "Maps of the share of the noise that was taken, by place and third of the slices"
    )


def study_results(rows: Sequence[Mapping[str, Any]]) -> Picture:
    """Plot noise and edges of the series of a study before and after, and how far means moved.

    Parameters
    ----------
    rows : sequence of mapping
        As of `ctmahout.read_results`.
    """
    figure, (noise, edges, means) = _figure(3, 3.6)
    for number, tissue in enumerate(("lung", "fat", "soft", "bone")):
        before, after, shift = (
            np.array([row[f"{name}_{tissue}_hu"] for row in rows], np.float64)
            for name in ("noise_before", "noise_after", "mean_shift")
        )
        noise.plot(before, after, "o", color=_colour(number), markersize=4, label=tissue)
        means.plot([row["number"] for row in rows], shift, "o", color=_colour(number), markersize=4, label=tissue)
    widths = [np.array([row[f"edge_{when}_mm"] for row in rows], np.float64) for when in ("before", "after")]
    edges.plot(*widths, "o", color=_SOURCE, markersize=4)
    for axis in (noise, edges):
        axis.axline((1.0, 1.0), slope=1.0, color=_EDGE, linestyle="--", linewidth=1)
    _label(noise, "noise SD before, HU", "noise SD after, HU")
    _label(edges, "width of edges before, mm", "width of edges after, mm")
    _label(means, "series", "shift of the mean, HU")
    return Picture(_png(figure), "png", f"Noise, edges and means of {len(rows)} rows of results, before and after")


def _figure(columns: int, height: float) -> tuple[Figure, Any]:
    figure = Figure(
        figsize=(10, height) if columns > 1 else (8, height), dpi=_DPI, facecolor="white", layout="constrained"
    )
    return figure, figure.subplots(1, columns)


def _label(axis: Any, x: str, y: str) -> None:
    axis.set_xlabel(x, fontsize=9)
    axis.set_ylabel(y, fontsize=9)
    axis.tick_params(labelsize=8)
    axis.grid(visible=True, alpha=0.3)
    if axis.get_legend_handles_labels()[0]:
        axis.legend(fontsize=8)


def _colour(number: int) -> str:
    return _COLOURS[number % len(_COLOURS)]


def _png(figure: Figure) -> bytes:
    """Return a plot as a PNG file, without dates and versions in the file."""
    FigureCanvasAgg(figure)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", facecolor=figure.get_facecolor(), metadata={"Software": None})
    return buffer.getvalue()
