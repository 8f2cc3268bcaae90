"""Edge sharpness: volumes in HU go in, the 10-90 % width in mm of their mean edge comes out.

Edges are located once, in the volume with least noise, and measured at the same positions in any other. Thousands of
profiles across them are averaged, so noise has little influence: the edge spread function of AAPM TG-233 (section 3.3),
with edges of the anatomy in place of those of a rod.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage, optimize, special

from .masks import sample_slices

__all__ = ["Edges"]

# Steps in HU, from and to: lung or air beside tissue, and tissues beside each other. Denoising tends to preserve the
# first and to soften the second.
_STEPS_HU = {"strong": (300.0, np.inf), "weak": (60.0, 300.0)}
_MIN_STEP_HU = min(low for low, _ in _STEPS_HU.values())
_REACH_PX = 5.0  # of profiles, on either side
_PLATEAU_PX, _PLATEAU_SD = 3.0, 0.1  # beyond so many pixels the SD must be below this fraction of the step
_SAMPLING_PX = 0.25
_OFFSETS = np.arange(-_REACH_PX, _REACH_PX + 0.01, _SAMPLING_PX)
_MAX_CROSSING_PX = 1.5
_MAX_EDGES, _MIN_EDGES = 40_000, 100
# Distance between 10 % and 90 % of the Gaussian integral, in units of its SD.
_WIDTH_PER_SD = 2 * float(special.ndtri(0.9))


@dataclass(frozen=True)
class Edges:
    """Positions in a volume with an edge between two plateaus.

    Attributes
    ----------
    points : ndarray of shape (n, 3), float64
        Slice, row and column at which the edge passes half its step.
    normals : ndarray of shape (n, 2), float64
        Unit vectors from low to high, in mm of rows and columns.
    low, step : ndarray of shape (n,), float64, HU
        Lower plateau, and height of the other above it.
    spacing_mm : tuple of float, mm
        Row and column spacing.
    """

    points: NDArray[np.float64]
    normals: NDArray[np.float64]
    low: NDArray[np.float64]
    step: NDArray[np.float64]
    spacing_mm: tuple[float, float]

    @classmethod
    def of(cls, hu: NDArray[np.float32], mask: NDArray[np.bool_], spacing_mm: tuple[float, float]) -> Edges:
        """Locate the edges of a volume.

        Parameters
        ----------
        hu : ndarray of shape (z, y, x), float32, HU
            The volume with least noise.
        mask : ndarray of shape (z, y, x), bool
            Region to search.
        spacing_mm : tuple of float, mm
            Row and column spacing.
        """
        ridges = [_ridges(hu[z], mask[z], int(z), spacing_mm) for z in sample_slices(len(hu))]
        points, normals = (np.concatenate(parts) for parts in zip(*ridges, strict=True))
        stride = -(-len(points) // _MAX_EDGES) or 1
        edges = cls(points[::stride], normals[::stride], np.zeros(0), np.zeros(0), spacing_mm)
        profiles = edges._profiles(hu)
        sides = [profiles[:, _OFFSETS <= -_PLATEAU_PX], profiles[:, _OFFSETS >= _PLATEAU_PX]]
        low, high = (side.mean(axis=1) for side in sides)
        step = high - low
        has_plateaus = np.maximum(*(side.std(axis=1) for side in sides)) <= _PLATEAU_SD * step
        crossing = _crossing(profiles, (low + high) / 2)
        valid = has_plateaus & (step >= _MIN_STEP_HU) & np.isfinite(crossing)
        # Move the points, which are whole pixels, to half the step.
        moved = edges._points(crossing[:, None])[:, 0]
        return cls(moved[valid], edges.normals[valid], low[valid], step[valid], spacing_mm)

    def widths_mm(self, hu: NDArray[np.float32]) -> dict[str, float | None]:
        """Return the 10-90 % width in mm of the mean edge of a volume at these positions.

        Parameters
        ----------
        hu : ndarray of shape (z, y, x), float32, HU

        Returns
        -------
        dict of str to float or None
            strong: edges of 300 HU and more. weak: of 60 to 300 HU. None if there are fewer than 100, or if the volume
            has no edge there.
        """
        profiles = self._profiles(hu)
        widths: dict[str, float | None] = {}
        for kind, (lowest, highest) in _STEPS_HU.items():
            selected = (self.step >= lowest) & (self.step < highest)
            step = self.step[selected, None]
            # The least-squares mean of normalised profiles weights an edge by the square of its step.
            rise = (step * (profiles[selected] - self.low[selected, None])).sum(axis=0)
            rise = rise / max(float((step**2).sum()), 1.0)
            widths[kind] = self._width(rise) if len(step) >= _MIN_EDGES else None
        return widths

    def _width(self, rise: NDArray[np.float64]) -> float | None:
        """Return the 10-90 % width in mm of a Gaussian integral fitted to a profile of shape (offsets,)."""

        def misfit(parameters: NDArray[np.float64]) -> NDArray[np.float64]:
            low, step, centre, sd = parameters
            error: NDArray[np.float64] = low + step * special.ndtr((_OFFSETS - centre) / sd) - rise
            return error

        bounds = ([-np.inf, -np.inf, -_PLATEAU_PX, 0.05], [np.inf, np.inf, _PLATEAU_PX, _REACH_PX])
        fit = optimize.least_squares(misfit, (0.0, 1.0, 0.0, 0.8), bounds=bounds)
        _, step, _, sd = fit.x
        width = _WIDTH_PER_SD * float(sd)
        # A fit with hardly any step, or as wide as the profile, describes something other than an edge.
        return width * self._pixel_mm if fit.success and step > 0.1 and width < 2 * _REACH_PX else None

    @property
    def _pixel_mm(self) -> float:
        return float(np.sqrt(self.spacing_mm[0] * self.spacing_mm[1]))

    def _points(self, offsets: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the points at offsets, in pixels across each edge, of shape (n, k, 3)."""
        direction = self.normals * self._pixel_mm / np.array(self.spacing_mm)
        points = np.repeat(self.points[:, None], offsets.shape[-1], axis=1)
        points[:, :, 1:] += offsets[..., None] * direction[:, None]
        return points

    def _profiles(self, hu: NDArray[np.float32]) -> NDArray[np.float64]:
        """Return the values across each edge, by cubic splines, of shape (n, offsets), HU."""
        profiles = np.empty((len(self.points), len(_OFFSETS)))
        points = self._points(_OFFSETS)
        for z in np.unique(self.points[:, 0]):
            in_slice = self.points[:, 0] == z
            y, x = np.moveaxis(points[in_slice, :, 1:], 2, 0)
            image = hu[int(z)].astype(np.float64)
            profiles[in_slice] = ndimage.map_coordinates(image, (y, x), order=3, mode="nearest")
        return profiles


def _ridges(
    image: NDArray[np.float32], mask: NDArray[np.bool_], z: int, spacing_mm: tuple[float, float]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return points where the gradient of a slice is largest across an edge, (n, 3), and its direction, (n, 2)."""
    dy, dx = (
        ndimage.gaussian_filter(image, 1.0, order=order, output=np.float64) / spacing
        for order, spacing in zip(((1, 0), (0, 1)), spacing_mm, strict=True)
    )
    gradient = np.hypot(dy, dx)
    pixel = np.sqrt(spacing_mm[0] * spacing_mm[1])
    inner = mask.copy()
    margin = int(np.ceil(_REACH_PX * pixel / min(spacing_mm)))
    for border in (inner[:margin], inner[-margin:], inner[:, :margin], inner[:, -margin:]):
        border[...] = False
    # A step of interest, blurred over two pixels, has at least this gradient.
    threshold = _MIN_STEP_HU / (np.sqrt(2 * np.pi) * 2 * pixel)
    rows, columns = np.nonzero(inner & (gradient > threshold))
    candidates = gradient[rows, columns]
    normals = np.column_stack([dy[rows, columns], dx[rows, columns]]) / candidates[:, None]
    step = normals * pixel / np.array(spacing_mm)
    before, after = (
        ndimage.map_coordinates(gradient, (rows + sign * step[:, 0], columns + sign * step[:, 1]), order=1)
        for sign in (-1, 1)
    )
    largest = (candidates >= before) & (candidates > after)
    points = np.column_stack([np.full(len(rows), z), rows, columns])
    return points[largest].astype(np.float64), normals[largest]


def _crossing(profiles: NDArray[np.float64], half: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the offset nearest to 0 at which each profile rises through a value; NaN beyond 1.5 pixels."""
    above = profiles >= half[:, None]
    rising = ~above[:, :-1] & above[:, 1:]
    before, after = profiles[:, :-1], profiles[:, 1:]
    fraction = (half[:, None] - before) / np.where(rising, after - before, 1.0)
    crossings = np.where(rising, _OFFSETS[:-1] + _SAMPLING_PX * fraction, np.inf)
    nearest = np.take_along_axis(crossings, np.argmin(np.abs(crossings), axis=1)[:, None], axis=1)[:, 0]
    return np.where(np.abs(nearest) <= _MAX_CROSSING_PX, nearest, np.nan)
