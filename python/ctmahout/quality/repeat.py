"""The error of a denoiser against the mean scan, from two scans of one object at rest.

Two scans y1 = x + n1 and y2 = x + n2 of one object x; x is the mean of such scans, artefacts and blur of the scanner
included. Assumptions:

1. E[n1] = E[n2] = 0: x is the mean of either;
2. n1 and n2 are independent;
3. D is computed from y1 alone, so D(y1) and n2 are independent;
4. E|n1|^2 = E|n2|^2 = sigma^2, in the mean over the voxels of a mask, and the mask is chosen without regard to n1, n2.

Then, with |.|^2 the mean over a mask,

    E|D(y1) - y2|^2 = E|D(y1) - x|^2 - 2 E[(D(y1) - x) n2] + E|n2|^2 = E|D(y1) - x|^2 + sigma^2    (2, 3 and 1)
    E|y1 - y2|^2    = E|n1|^2 - 2 E[n1 n2] + E|n2|^2                 = 2 sigma^2                  (2, 1 and 4)

and the mean square error is

    E|D(y1) - x|^2 = E|D(y1) - y2|^2 - E|y1 - y2|^2 / 2.                                                       (*)

If E|n1|^2 and E|n2|^2 differ, (*) is off by (E|n2|^2 - E|n1|^2) / 2. Its mean with the same for D(y2) against y1 is
not, whatever the two are, and neither is it if the object moved a little: assumption 4 is only needed for one result.

The share of the noise that is kept, k = E[(D(y1) - x) n1] / sigma^2, is 1 for D(y) = y and 0 for D(y) = x:

    E[(D(y1) - y2)(y1 - y2)] = (k + 1) sigma^2,   k = E[(D(y1) - y2)(y1 - y2)] / (E|y1 - y2|^2 / 2) - 1.

If noise is correlated, n2 = r n1 + e with e independent of n1, then E|y1 - y2|^2 = 2 (1 - r) sigma^2 and
E[(D(y1) - x) n2] = r k sigma^2, so (*) gives E|D(y1) - x|^2 + r (1 - 2 k) sigma^2. For r > 0 it is an upper bound of
a method that keeps less than half of the noise, and exceeds the error by r sigma^2 at most.

How far an estimate lies from |D(y1) - x|^2 itself: by e = n1 n2 + (|n2|^2 - |n1|^2) / 2 - 2 d n2, d = D(y1) - x. Its
variance is not that of the terms of (*) between places, for d^2 is large at some and small at others. With u = y1 - y2
and K = (D(y1) - y2) u - u^2 / 2 = (d - (n1 + n2) / 2)(n1 - n2), sums over a tile of Gaussian noise of covariance C have

    Var K = 2 d'Cd + tr C^2,   Var e = 4 d'Cd + 2 tr C^2 = 2 Var K

for a d that does not depend on n1; if it does, Var e is smaller. K has no term in d^2. Of two results it is half of it.

With two results, D(y) = x + b + noise of mean 0, what does not change from scan to scan is

    E[(D(y1) - y1)(D(y2) - y2)] = |b|^2,   the mean square error less the variance E|D(y1) - D(y2)|^2 / 2,

and (|D(y1) - y1|^2 - |D(y2) - y2|^2) / 2, of mean 0 but for unequal noise, has the variance of this estimate.

The first step is proposition 1 of Batson and Royer 2019, Noise2Self.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from .masks import interior
from .tiles import ratio_and_error, tile_sums

__all__ = ["Deviation", "RepeatError", "repeat_errors"]

Float32 = NDArray[np.float32]
Float64 = NDArray[np.float64]

_DEPTH = 4  # slices of a tile
_SMOOTH = 2.0  # pixels, SD of the Gaussian before results are compared locally
_LOCAL = 65  # pixels, side of the squares in which the noise of that is measured
_BORDER = 3  # pixels next to other tissue that are left out of local deviations
_CONFIDENCE = 2.0  # standard errors


@dataclass(frozen=True)
class Deviation:
    """The place inside a tissue where a result deviates most from the mean scan, smoothed by a Gaussian of 2 pixels.

    Attributes
    ----------
    hu : float
        How much higher the result is.
    sds : float
        The same, in the SDs that it has by noise alone, or less. Of a million pixels the largest is about 5.
    place : tuple of int
        Slice, row and column, from 0.
    """

    hu: float
    sds: float
    place: tuple[int, int, int]


@dataclass(frozen=True)
class RepeatError:
    """The error of results in one tissue. Errors, SDs and shifts are in HU; None where it cannot be measured.

    Attributes
    ----------
    voxels : int
    noise_sd_hu : float
        Of the scans: sqrt(E|y1 - y2|^2 / 2).
    mse_hu2, mse_error_hu2 : float, HU^2
        Mean square error of the result against the mean scan, and the standard error of this estimate.
    rmse_hu : float or None
        Its root; None if the estimate is below 0, which it is by chance where the error is small.
    rmse_range_hu : tuple of float
        The root of two standard errors below and above it, and of the bounds if noise is correlated.
    noise_kept : float
        Share of the noise, k.
    noise_kept_error : float
    repeat_sd_hu : float or None
        Of the results: sqrt(E|D(y1) - D(y2)|^2 / 2). None with one result.
    systematic_hu : float or None
        What the error has beyond that: blur, invention and shifts, which do not change from scan to scan. None with
        one result, or if the estimate of its square is below 0.
    systematic_range_hu : tuple of float, or None
        The root of two standard errors below and above it.
    mean_shift_hu, mean_shift_error_hu : float
        Mean of the result less that of its scan, and its standard error.
    scan_shift_hu, scan_shift_error_hu : float
        Mean of the second scan less that of the first, and its standard error.
    deviation : Deviation or None
    """

    voxels: int
    noise_sd_hu: float
    mse_hu2: float
    mse_error_hu2: float
    rmse_hu: float | None
    rmse_range_hu: tuple[float, float]
    noise_kept: float
    noise_kept_error: float
    repeat_sd_hu: float | None
    systematic_hu: float | None
    systematic_range_hu: tuple[float, float] | None
    mean_shift_hu: float
    mean_shift_error_hu: float
    scan_shift_hu: float
    scan_shift_error_hu: float
    deviation: Deviation | None

    def as_dict(self) -> dict[str, Any]:
        """Return the figures as JSON has them."""
        return dataclasses.asdict(self)


def repeat_errors(
    scans: tuple[Float32, Float32],
    denoised: Sequence[Float32],
    masks: Mapping[str, NDArray[np.bool_]],
    *,
    noise_correlation: float = 0.0,
    noise_imbalance: float = 0.0,
) -> dict[str, RepeatError | None]:
    """Estimate the error of D(y1), or the mean of those of D(y1) and D(y2), against the mean scan x.

    Parameters
    ----------
    scans : two ndarrays of shape (z, y, x), float32, HU
        y1 and y2.
    denoised : one or two ndarrays of the same shape
        D(y1), and D(y2): the same method, applied to each alone.
    masks : mapping of str to ndarray of shape (z, y, x), bool
        Tissues, chosen without regard to the noise of the voxels in them.
    noise_correlation, noise_imbalance : float
        Correlation r of n1 and n2, and (|n1|^2 - |n2|^2) / (|n1|^2 + |n2|^2), as far as they are significant: they
        widen `RepeatError.rmse_range_hu`. The second has no effect with two results.

    Returns
    -------
    dict of str to RepeatError or None
        By the names of the masks; None where a mask has less than two tiles of 16 x 16 x 4 voxels or no noise.
    """
    if not 1 <= len(denoised) <= 2:
        raise ValueError(f"one or two results are expected, not {len(denoised)}")
    sums: dict[str, list[dict[str, Float64]]] = {name: [] for name in masks}
    for start in range(0, len(scans[0]), _DEPTH):
        batch = slice(start, start + _DEPTH)
        terms = _terms([scan[batch] for scan in scans], [result[batch] for result in denoised])
        for name, mask in masks.items():
            inside = mask[batch]
            if inside.any():
                sums[name].append({key: tile_sums((value * inside).sum(axis=0)) for key, value in terms.items()})
    deviations = _deviations(scans, denoised, {name: interior(mask, _BORDER) for name, mask in masks.items()})
    return {
        name: _error(
            {key: np.stack([tiles[key] for tiles in parts]) for key in parts[0]},
            deviations[name],
            noise_correlation,
            0.0 if len(denoised) == 2 else noise_imbalance,
        )
        if parts
        else None
        for name, parts in sums.items()
    }


def _terms(scans: Sequence[Float32], denoised: Sequence[Float32]) -> dict[str, Float64]:
    """Return at each voxel what the figures are means of; of two results the mean, by symmetry."""
    y1, y2 = (scan.astype(np.float64) for scan in scans)
    difference = y1 - y2
    noise = difference**2 / 2
    # (D(y1) - y2, y1 - y2) and (D(y2) - y1, y2 - y1)
    crossed = [
        (result - other, sign * difference) for result, other, sign in zip(denoised, (y2, y1), (1, -1), strict=False)
    ]
    paired = [result - scan for result, scan in zip(denoised, (y1, y2), strict=False)]
    kept = [error * change - noise for error, change in crossed]
    terms = {
        "voxels": np.ones_like(noise),
        "noise": noise,
        "error": np.mean([error**2 for error, _ in crossed], axis=0) - noise,
        "kept": np.mean(kept, axis=0),
        "shift": np.mean(paired, axis=0),
        "scan shift": -difference,
    } | {f"kept {number}": value for number, value in enumerate(kept)}
    if len(denoised) == 2:
        terms["repeat"] = (denoised[0].astype(np.float64) - denoised[1]) ** 2 / 2
        terms["systematic"] = paired[0] * paired[1]
        terms["systematic spread"] = (paired[0] ** 2 - paired[1] ** 2) / 2
    return terms


def _error(
    sums: Mapping[str, Float64], deviation: Deviation | None, correlation: float, imbalance: float
) -> RepeatError | None:
    voxels = sums["voxels"]

    def mean(name: str) -> tuple[float, float]:
        return ratio_and_error(sums[name], voxels)

    noise, mse = mean("noise")[0], mean("error")[0]
    results = [name for name in ("kept 0", "kept 1") if name in sums]
    error = float(np.sqrt(2 * np.mean([mean(name)[1] ** 2 for name in results]) / len(results)))
    if not np.isfinite(error) or noise <= 0:
        return None
    kept, kept_error = ratio_and_error(sums["kept"], sums["noise"])
    scan_shift, scan_shift_error = mean("scan shift")
    repeat, systematic, systematic_range = None, None, None
    if "repeat" in sums:
        repeat, systematic = mean("repeat")[0], mean("systematic")[0]
        systematic_range = _range(systematic, systematic, mean("systematic spread")[1])
    excess = correlation * noise / (1 - correlation)  # r sigma^2
    bounds = sorted((mse, mse - excess if kept < 0.5 else mse + excess))
    uneven = abs(imbalance) * noise
    return RepeatError(
        voxels=int(voxels.sum()),
        noise_sd_hu=float(np.sqrt(noise)),
        mse_hu2=mse,
        mse_error_hu2=error,
        rmse_hu=_root(mse),
        rmse_range_hu=_range(bounds[0] - uneven, bounds[1] + uneven, error),
        noise_kept=kept,
        noise_kept_error=kept_error,
        repeat_sd_hu=None if repeat is None else float(np.sqrt(repeat)),
        systematic_hu=None if systematic is None else _root(systematic),
        systematic_range_hu=systematic_range,
        mean_shift_hu=mean("shift")[0],
        # A result less its own scan has the noise that was removed: of either scan at most, as methods keep 0 to all.
        mean_shift_error_hu=scan_shift_error / float(np.sqrt(2 * len(results))),
        scan_shift_hu=scan_shift,
        scan_shift_error_hu=scan_shift_error,
        deviation=deviation,
    )


def _range(low: float, high: float, error: float) -> tuple[float, float]:
    """Return the roots of two standard errors below and above two mean squares, 0 for what is below 0."""
    return _root(low - _CONFIDENCE * error) or 0.0, _root(high + _CONFIDENCE * error) or 0.0


def _root(square: float) -> float | None:
    return float(np.sqrt(square)) if square >= 0 else None


def _deviations(
    scans: tuple[Float32, Float32], denoised: Sequence[Float32], masks: Mapping[str, NDArray[np.bool_]]
) -> dict[str, Deviation | None]:
    """Return the largest local deviation in each mask.

    What results less the other scan have of noise is at most what the scans differ by, and half of it in the mean of
    two: the noise that a result keeps cancels noise of its scan there. That holds for methods that keep 0 to all of it.
    """
    largest: dict[str, Deviation | None] = dict.fromkeys(masks)
    for z in range(len(scans[0])):
        inside = {name: mask[z] for name, mask in masks.items() if mask[z].any()}
        if not inside:
            continue
        y1, y2 = (scan[z].astype(np.float64) for scan in scans)
        crossed = [result[z] - other for result, other in zip(denoised, (y2, y1), strict=False)]
        deviation = ndimage.gaussian_filter(np.mean(crossed, axis=0), _SMOOTH)
        change = ndimage.gaussian_filter(y1 - y2, _SMOOTH)
        for name, mask in inside.items():
            weight = ndimage.uniform_filter(mask.astype(np.float64), _LOCAL, mode="constant")
            variance = np.maximum(ndimage.uniform_filter(mask * change**2, _LOCAL, mode="constant"), 0)
            sd = np.sqrt(variance / np.maximum(weight, 1e-9)) / len(denoised)
            sds = np.where(mask & (sd > 0), deviation / np.maximum(sd, 1e-9), 0.0)
            row, column = np.unravel_index(int(np.argmax(np.abs(sds))), sds.shape)
            before = largest[name]
            if before is None or abs(sds[row, column]) > abs(before.sds):
                place = int(z), int(row), int(column)
                largest[name] = Deviation(float(deviation[row, column]), float(sds[row, column]), place)
    return largest
