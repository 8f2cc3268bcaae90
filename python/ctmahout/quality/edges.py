"""How sharp edges are: the 10-90 % width of the mean edge of a volume, in slices.

Edges are found once, in the volume that shows them best, and measured at the same places in any other: thousands of
profiles across them are averaged, so noise counts for little. As the edge spread function of AAPM TG-233 (section 3.3),
with whatever edges the anatomy offers in the place of a rod's.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage, optimize, special

from .masks import sample_slices

__all__ = ["Edges"]

# HU from and to of the steps: lung or air beside tissue, and tissues beside each other. Denoising tends to spare the
# first and to soften the second.
_KINDS = {"strong": (300.0, np.inf), "weak": (60.0, 300.0)}
# Profiles reach so many pixels to either side, by quarters; beyond 3 an edge must be level, to this share of its step.
_REACH, _LEVEL_FROM, _LEVEL = 5.0, 3.0, 0.1
_OFFSETS = np.arange(-_REACH, _REACH + 0.01, 0.25)
_MOST = 40_000
_FEWEST = 100
# Of a Gaussian's integral, the distance between 10 % and 90 % in units of its SD.
_WIDTH = 2 * float(special.ndtri(0.9))


@dataclass(frozen=True)
class Edges:
    """Places of a volume with an edge between two level parts.

    Attributes
    ----------
    points : ndarray of shape (n, 3), float64
        Slice, row and column of where the edge passes half its step.
    across : ndarray of shape (n, 2), float64
        Unit normals, from low to high, in mm of rows and columns.
    low, step : ndarray of shape (n,), float64, HU
        Level of the lower side, and how much higher the other is.
    spacing_mm : tuple of float, mm
        Distance between rows and between columns.
    """

    points: NDArray[np.float64]
    across: NDArray[np.float64]
    low: NDArray[np.float64]
    step: NDArray[np.float64]
    spacing_mm: tuple[float, float]

    @classmethod
    def of(cls, hu: NDArray[np.float32], mask: NDArray[np.bool_], spacing_mm: tuple[float, float]) -> Edges:
        """Find the edges of a volume.

        Parameters
        ----------
        hu : ndarray of shape (z, y, x), float32, HU
            As free of noise as there is.
        mask : ndarray of shape (z, y, x), bool
            Where to look.
        spacing_mm : tuple of float, mm
            Distance between rows and between columns.
        """
        levels = sample_slices(len(hu))
        found = [_ridges(hu[z], mask[z], int(z), spacing_mm) for z in levels]
        points, across = (np.concatenate(parts) for parts in zip(*found, strict=True))
        every = -(-len(points) // _MOST) or 1
        edges = cls(points[::every], across[::every], np.zeros(0), np.zeros(0), spacing_mm)
        profiles = edges._profiles(hu)
        sides = [profiles[:, _OFFSETS <= -_LEVEL_FROM], profiles[:, _OFFSETS >= _LEVEL_FROM]]
        low, high = (side.mean(axis=1) for side in sides)
        step = high - low
        level = np.maximum(*(side.std(axis=1) for side in sides)) <= _LEVEL * step
        at = _crossing(profiles, (low + high) / 2)
        good = level & (step >= min(least for least, _ in _KINDS.values())) & np.isfinite(at)
        # The edge lies where it passes its half, between pixels.
        moved = edges._points(at[:, None])[:, 0]
        return cls(moved[good], edges.across[good], low[good], step[good], spacing_mm)

    def widths_mm(self, hu: NDArray[np.float32]) -> dict[str, float | None]:
        """Return the 10-90 % width in mm of the mean edge of a volume, at the places of these edges.

        Returns
        -------
        dict of str to float or None
            strong: edges of 300 HU and more. weak: of 60 to 300 HU. None with fewer than 100 edges, or if what is at
            their places is no edge.
        """
        profiles = self._profiles(hu)
        widths: dict[str, float | None] = {}
        for kind, (least, most) in _KINDS.items():
            of_kind = (self.step >= least) & (self.step < most)
            step = self.step[of_kind, None]
            # In least squares an edge counts by the square of its step.
            rise = (step * (profiles[of_kind] - self.low[of_kind, None])).sum(axis=0) / max(float((step**2).sum()), 1.0)
            widths[kind] = self._width(rise) if len(step) >= _FEWEST else None
        return widths

    def _width(self, rise: NDArray[np.float64]) -> float | None:
        def misfit(edge: NDArray[np.float64]) -> NDArray[np.float64]:
            low, step, at, sd = edge
            error: NDArray[np.float64] = low + step * special.ndtr((_OFFSETS - at) / sd) - rise
            return error

        bounds = ([-np.inf, -np.inf, -_LEVEL_FROM, 0.05], [np.inf, np.inf, _LEVEL_FROM, _REACH])
        fit = optimize.least_squares(misfit, (0.0, 1.0, 0.0, 0.8), bounds=bounds)
        _, step, _, sd = fit.x
        width = _WIDTH * float(sd)
        # A fit whose edge is hardly there, or as wide as the profile, describes something else.
        return width * self._pixel_mm if fit.success and step > 0.1 and width < 2 * _REACH else None

    @property
    def _pixel_mm(self) -> float:
        return float(np.sqrt(self.spacing_mm[0] * self.spacing_mm[1]))

    def _points(self, offsets: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the points at offsets, in pixels across each edge, of shape (n, k, 3)."""
        along = self.across * self._pixel_mm / np.array(self.spacing_mm)
        points = np.repeat(self.points[:, None], offsets.shape[-1], axis=1)
        points[:, :, 1:] += offsets[..., None] * along[:, None]
        return points

    def _profiles(self, hu: NDArray[np.float32]) -> NDArray[np.float64]:
        """Return the values across each edge, by cubic splines, of shape (n, offsets)."""
        profiles = np.empty((len(self.points), len(_OFFSETS)))
        points = self._points(_OFFSETS)
        for z in np.unique(self.points[:, 0]):
            here = self.points[:, 0] == z
            y, x = np.moveaxis(points[here, :, 1:], 2, 0)
            profiles[here] = ndimage.map_coordinates(hu[int(z)].astype(np.float64), (y, x), order=3, mode="nearest")
        return profiles


def _ridges(
    image: NDArray[np.float32], mask: NDArray[np.bool_], z: int, spacing_mm: tuple[float, float]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return where the slope of a slice is steepest, of shape (n, 3), and its direction, of shape (n, 2)."""
    y_slope, x_slope = (
        ndimage.gaussian_filter(image, 1.0, order=order, output=np.float64) / spacing
        for order, spacing in zip(((1, 0), (0, 1)), spacing_mm, strict=True)
    )
    steepness = np.hypot(y_slope, x_slope)
    pixel = np.sqrt(spacing_mm[0] * spacing_mm[1])
    inner = mask.copy()
    margin = int(np.ceil(_REACH * pixel / min(spacing_mm)))
    for border in (inner[:margin], inner[-margin:], inner[:, :margin], inner[:, -margin:]):
        border[...] = False
    # A step that counts, blurred over two pixels, is at least this steep.
    least = min(least for least, _ in _KINDS.values()) / (np.sqrt(2 * np.pi) * 2 * pixel)
    rows, columns = np.nonzero(inner & (steepness > least))
    here = steepness[rows, columns]
    across = np.column_stack([y_slope[rows, columns], x_slope[rows, columns]]) / here[:, None]
    step = across * pixel / np.array(spacing_mm)
    beside = [
        ndimage.map_coordinates(steepness, (rows + sign * step[:, 0], columns + sign * step[:, 1]), order=1)
        for sign in (-1, 1)
    ]
    top = (here >= beside[0]) & (here > beside[1])
    return np.column_stack([np.full(len(rows), z), rows, columns])[top].astype(np.float64), across[top]


def _crossing(profiles: NDArray[np.float64], half: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the offset at which each profile rises through a value, the one nearest to 0; NaN if none is near."""
    above = profiles >= half[:, None]
    rising = ~above[:, :-1] & above[:, 1:]
    before, after = profiles[:, :-1], profiles[:, 1:]
    share = (half[:, None] - before) / np.where(rising, after - before, 1.0)
    at = np.where(rising, _OFFSETS[:-1] + 0.25 * share, np.inf)
    nearest = np.take_along_axis(at, np.argmin(np.abs(at), axis=1)[:, None], axis=1)[:, 0]
    return np.where(np.abs(nearest) <= 1.5, nearest, np.nan)
