"""Whether two scans are repeats of each other: whether the object lay still, whether noise is alike and independent.

Motion is found by least squares on gradients (Lucas and Kanade 1981), y1 - y2 = s . grad x. With E[n dn] = 0 for
stationary noise, and gradients of the two scans in each product, independent noise biases neither side of the normal
equations.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from .flat import FlatRegions, NoisePower
from .masks import sample_slices
from .tiles import ratio_and_error, tile_sums

__all__ = ["Motion", "NoiseAgreement"]

Float32 = NDArray[np.float32]
Float64 = NDArray[np.float64]

_SMOOTH = 1.0  # pixels, in slices, before gradients
_TILE = 8  # pixels; within a tile a turn counts as a shift
_AROUND, _EDGE = 3, 3  # pixels: around the body that count, and at rims and padding that do not
_MEASURED_PX = 0.05  # standard error of a mode of motion that is known, and
_PART_PX = 0.1  # of the motion of a part
_CELLS, _THIRDS = 4, 3  # parts, along both sides of a slice and along the slices
_CONFIDENCE = 4.0  # standard errors: of some hundred parts, none is off by more by chance
_FINEST = 1 / 3  # of the noise power
_OVERLAP = 2.0  # regions overlap by half in both directions, so their sums have twice the standard error


@dataclass(frozen=True)
class Motion:
    """How an object moved from the first scan to the second.

    Attributes
    ----------
    shift_px, error_px : float or None
        Root mean square over the object of its rigid displacement, in pixels, and its standard error. None if the
        object has too few edges: it may have moved by any distance in any direction.
    local_px : float
        Largest displacement of a part beyond the rigid one, in pixels, less four standard errors; 0 if there is none.
    """

    shift_px: float | None
    error_px: float | None
    local_px: float

    def as_dict(self) -> dict[str, Any]:
        """Return the figures as JSON has them."""
        return dataclasses.asdict(self)

    @classmethod
    def of(
        cls,
        y1: Float32,
        y2: Float32,
        body: NDArray[np.bool_],
        voxel_mm: tuple[float, float, float],
        padding: NDArray[np.bool_] | None = None,
    ) -> Motion:
        """Measure it in at most 40 slices.

        Parameters
        ----------
        y1, y2 : ndarray of shape (z, y, x), float32, HU
        body : ndarray of shape (z, y, x), bool
            Where the object is.
        voxel_mm : tuple of float, mm
            Distance of slices, rows and columns; 0 for the first of a single slice.
        padding : ndarray of shape (z, y, x), bool, optional
            What was not measured.
        """
        normal, right, places = _normal_equations(y1, y2, body, voxel_mm, padding)
        return _solve(normal, right, places) if len(places) else cls(None, None, 0.0)


def _normal_equations(
    y1: Float32,
    y2: Float32,
    body: NDArray[np.bool_],
    voxel_mm: tuple[float, float, float],
    padding: NDArray[np.bool_] | None,
) -> tuple[Float64, Float64, Float64]:
    """Return A (n, 3, 3) and b (n, 3) of A s = b in tiles, and their middles (n, 3); axes z, y, x, in pixels."""
    pixel = float(np.sqrt(voxel_mm[1] * voxel_mm[2]))
    scale = np.array(voxel_mm) / pixel
    last = len(y1) - 1
    normal, right, places = [], [], []
    for z in sample_slices(len(y1)):
        # At the ends a one-sided difference would share its noise with the slice itself.
        near = [z - 1, z, z + 1] if 0 < z < last else [z]
        counts = _counted(body[z], None if padding is None else np.logical_or.reduce(padding[near]))
        if not counts.any():
            continue
        smooth = [ndimage.gaussian_filter(y[near].astype(np.float64), (0, _SMOOTH, _SMOOTH)) for y in (y1, y2)]
        g1, g2 = (_gradients(s, scale) for s in smooth)
        middle = len(near) // 2
        change = (smooth[0] - smooth[1])[middle] * counts
        products = (g1[:, None] * g2[None] + g2[:, None] * g1[None]) / 2 * counts
        crossed = (g1 + g2) / 2 * change
        weight = tile_sums(counts.astype(np.float64), _TILE) > 0
        rows, columns = np.nonzero(weight)
        normal.append(np.moveaxis(tile_sums(products, _TILE), (0, 1), (-2, -1))[weight])
        right.append(np.moveaxis(tile_sums(crossed, _TILE), 0, -1)[weight])
        places.append(np.column_stack([np.full(len(rows), z), (rows + 0.5) * _TILE, (columns + 0.5) * _TILE]) * scale)
    if not places:
        return np.zeros((0, 3, 3)), np.zeros((0, 3)), np.zeros((0, 3))
    return np.concatenate(normal), np.concatenate(right), np.concatenate(places)


def _counted(body: NDArray[np.bool_], padding: NDArray[np.bool_] | None) -> NDArray[np.bool_]:
    """Return the pixels of a slice in the body and around it, away from rims and padding, which do not move with it."""
    counted: NDArray[np.bool_] = ndimage.binary_dilation(body, iterations=_AROUND)
    if padding is not None:
        counted &= ~ndimage.binary_dilation(padding, iterations=_EDGE)
    for rim in (counted[:_EDGE], counted[-_EDGE:], counted[:, :_EDGE], counted[:, -_EDGE:]):
        rim[...] = False
    return counted


def _gradients(slices: Float64, scale: Float64) -> Float64:
    """Return the gradient in the middle one of one or three slices, of shape (3, y, x), HU per pixel."""
    middle = slices[len(slices) // 2]
    along = (slices[2] - slices[0]) / (2 * scale[0]) if len(slices) == 3 and scale[0] > 0 else np.zeros_like(middle)
    return np.stack([along, np.gradient(middle, axis=0) / scale[1], np.gradient(middle, axis=1) / scale[2]])


def _solve(normal: Float64, right: Float64, places: Float64) -> Motion:
    """Return the rigid motion that fits best, and what parts have beyond it."""
    jacobian = _rigid(places)
    total = np.einsum("nia,nij,njb->ab", jacobian, normal, jacobian)
    values, modes = np.linalg.eigh(total)
    b = np.einsum("nia,ni->na", jacobian, right) @ modes
    a = np.einsum("nia,nij,njb->nab", jacobian, normal, jacobian)
    a = np.einsum("pa,npq,qa->na", modes, a, modes)
    # A mode that hardly changes the image, as a turn of a cylinder, is not measured, and does no harm.
    fits = [ratio_and_error(b[:, k], a[:, k]) if values[k] > 0 else (0.0, np.inf) for k in range(len(values))]
    amplitudes = np.array([ratio if error <= _MEASURED_PX else 0.0 for ratio, error in fits])
    errors = np.array([error if error <= _MEASURED_PX else 0.0 for _, error in fits])
    shift = float(np.linalg.norm(amplitudes))
    residual = right - np.einsum("nij,nj->ni", normal, np.einsum("nia,a->ni", jacobian, modes @ amplitudes))
    if not errors.any():
        return Motion(None, None, 0.0)
    along = amplitudes / shift if shift else np.full(len(amplitudes), len(amplitudes) ** -0.5)
    return Motion(shift, float(np.linalg.norm(errors * along)), _local(residual, normal, places))


def _rigid(places: Float64) -> Float64:
    """Return the displacement at each place by unit motions, of shape (n, 3, 6): along each axis, and about each.

    Turns are scaled so that they move the object by 1 pixel in the root mean square.
    """
    arms = places - places.mean(axis=0)
    turns = np.stack([np.cross(axis, arms) for axis in np.eye(3)], axis=-1)
    size = np.sqrt(np.mean(np.sum(turns**2, axis=1), axis=0))
    shifts = np.broadcast_to(np.eye(3), (len(places), 3, 3))
    return np.concatenate([shifts, turns / np.maximum(size, 1e-9)], axis=2)


def _local(residual: Float64, normal: Float64, places: Float64) -> float:
    """Return the largest displacement of a part along an axis that no rigid motion explains, less its uncertainty."""
    low, high = places.min(axis=0), places.max(axis=0)
    cells = np.array([_THIRDS, _CELLS, _CELLS])
    at = np.minimum((places - low) / np.maximum(high - low, 1e-9) * cells, cells - 1).astype(np.intp)
    part = np.ravel_multi_index(tuple(at.T), tuple(cells))
    largest = 0.0
    for number in np.unique(part):
        inside = part == number
        for axis in range(3):
            moved, error = ratio_and_error(residual[inside, axis], normal[inside, axis, axis])
            if error <= _PART_PX and normal[inside, axis, axis].sum() > 0:
                largest = max(largest, abs(moved) - _CONFIDENCE * error)
    return largest


@dataclass(frozen=True)
class NoiseAgreement:
    """Noise of two scans in flat regions, compared.

    Attributes
    ----------
    correlation, correlation_error : float
        Of the finest third of the noise, and the standard error; 0 if it is independent. Coarser structure is anatomy,
        too, which both scans have.
    imbalance, imbalance_error : float
        (|n1|^2 - |n2|^2) / (|n1|^2 + |n2|^2), and the standard error.
    sd_hu : tuple of float, HU
        SDs in a region.
    spectra_differ_by : float
        Share of the noise, 0 to 1, that lies at other frequencies in the other scan.
    spectra_uncertain_by : float
        The same between halves of the regions of one scan.
    """

    correlation: float
    correlation_error: float
    imbalance: float
    imbalance_error: float
    sd_hu: tuple[float, float]
    spectra_differ_by: float
    spectra_uncertain_by: float

    def as_dict(self) -> dict[str, Any]:
        """Return the figures as JSON has them."""
        return dataclasses.asdict(self)

    @classmethod
    def of(
        cls, y1: Float32, y2: Float32, mask: NDArray[np.bool_], spacing_mm: tuple[float, float]
    ) -> NoiseAgreement | None:
        """Compare it in flat regions of a mask of shape (z, y, x); None without such regions, or without noise."""
        flat = FlatRegions.of((y1 + y2) / np.float32(2), mask)
        if flat is None:
            return None
        first, second = flat.detrended(y1), flat.detrended(y2)
        covariance, variance = _finest(first, second, spacing_mm)
        change = np.sum((first - second) ** 2, axis=(1, 2))
        if not variance.any():
            return None
        correlation, correlation_error = ratio_and_error(covariance, variance)
        # Identical scans differ in nothing.
        uneven = np.sum(first**2 - second**2, axis=(1, 2))
        imbalance, imbalance_error = ratio_and_error(uneven, change) if change.any() else (0.0, 0.0)
        powers = [flat.power(y, spacing_mm) for y in (y1, y2)]
        halves = [FlatRegions(flat.corners[k::2], flat.side) for k in (0, 1)]
        uncertain = max(_distance(*(half.power(y, spacing_mm) for half in halves)) for y in (y1, y2))
        return cls(
            correlation,
            _OVERLAP * correlation_error,
            imbalance,
            _OVERLAP * imbalance_error,
            (flat.sd(y1), flat.sd(y2)),
            _distance(*powers),
            uncertain,
        )


def _finest(first: Float64, second: Float64, spacing_mm: tuple[float, float]) -> tuple[Float64, Float64]:
    """Return of each region (n, side, side) the covariance and the mean variance of the finest third of the noise."""
    side = first.shape[1]
    window = np.outer(np.hanning(side + 2)[1:-1], np.hanning(side + 2)[1:-1])
    a, b = (np.fft.fft2(pieces * window) for pieces in (first, second))
    frequency = np.hypot(np.fft.fftfreq(side, spacing_mm[0])[:, None], np.fft.fftfreq(side, spacing_mm[1])).ravel()
    power = np.mean(np.abs(a) ** 2 + np.abs(b) ** 2, axis=0).ravel()
    order = np.argsort(frequency, kind="stable")
    fine = np.zeros(side * side, np.bool_)
    fine[order[np.cumsum(power[order]) >= (1 - _FINEST) * power.sum()]] = True
    products = (a * np.conj(b)).real, (np.abs(a) ** 2 + np.abs(b) ** 2) / 2
    covariance, variance = (product.reshape(len(product), -1)[:, fine].sum(axis=1) for product in products)
    return covariance, variance


def _distance(a: NoisePower, b: NoisePower) -> float:
    distance = a.distance(b)
    return 0.0 if distance is None else distance
