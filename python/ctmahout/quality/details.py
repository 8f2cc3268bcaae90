"""What becomes of faint details: some are added to a volume where it is flat, and what comes back is measured.

How much contrast a denoiser takes depends on what it is given, so its result alone cannot show it. Here some slices are
processed twice, with details and without, and the difference is compared with what was added.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from .masks import NOISY_SMOOTHING_PX

__all__ = ["KINDS", "Apply", "Detail", "DetailKept", "details_kept", "template"]

Float32 = NDArray[np.float32]
Float64 = NDArray[np.float64]

Apply = Callable[[Float32, int], Float32]
"""Applies what a method learnt on a volume to some of its slices, whose values may have changed: gets slices of shape
(n, y, x), HU, and the number of the first one, and returns the result, of the same shape. Nothing is learnt anew."""


@dataclass(frozen=True)
class Detail:
    """A kind of detail.

    Attributes
    ----------
    name : str
    size : tuple of float, pixels
        Radius of a disc, or width and length of a line.
    contrast : float
        In SDs of the noise.
    """

    name: str
    size: tuple[float, ...]
    contrast: float


# The line and the small disc stand about ten SDs above the noise of a patch of 3 x 5 x 5, the larger disc about five.
KINDS = (Detail("line", (2.5, 24.0), -4.5), Detail("small disc", (2.0,), 4.5), Detail("larger disc", (4.0,), 2.0))

_HALF = 13  # pixels: a template reaches so far
_FLAT, _SPAN_HU, _SPAN_NOISE = 6, 40.0, 0.5  # flat: within so many pixels all is within so many HU and noise SDs
_APART = 30  # pixels between details
_MOST = 18
_ROUND_PX = 4.0  # details are as deep as this is wide, but
_DEEPEST = 3  # slices at most
_AROUND = 4  # slices beside them: two passes with patches of three slices reach so far
_SLICES = 12  # looked at for a flat one
_FINE, _PSF = 4, 0.5  # samples along a pixel; SD in pixels of the blur of what is added


@dataclass(frozen=True)
class DetailKept:
    """What comes back of a kind of detail.

    Attributes
    ----------
    contrast_hu : float
        What was added.
    slices : int
        How deep.
    count : int
    kept : float
        Share of the contrast that comes back, mean over the details.
    detectability : float or None
        Contrast over the spread of the same template at flat places, as a share of that before; above 1 the detail
        stands out better than before. None without a spread.
    """

    contrast_hu: float
    slices: int
    count: int
    kept: float
    detectability: float | None


def details_kept(
    hu: Float32, soft: NDArray[np.bool_], noise_sd_hu: float, apply: Apply, *, pixel_mm: float, spacing_mm: float
) -> dict[str, DetailKept] | None:
    """Add details to the flattest slices of a volume and measure what comes back.

    Parameters
    ----------
    hu : ndarray of shape (z, y, x), float32, HU
    soft : ndarray of shape (z, y, x), bool
        Soft tissue, in the slices to choose from.
    noise_sd_hu : float
        SD of the noise there.
    apply : Apply
        Called twice, with up to 11 slices.
    pixel_mm, spacing_mm : float, mm
        Side of a pixel, and distance of slices.

    Returns
    -------
    dict of str to DetailKept, or None
        By the names of `KINDS`; None if no slice has room for one of each.
    """
    deep = int(np.clip(round(_ROUND_PX * pixel_mm / spacing_mm) if spacing_mm > 0 else 1, 1, min(_DEEPEST, len(hu))))
    found = _flattest(hu, soft, noise_sd_hu, deep)
    if found is None:
        return None
    z, flat, places = found
    first, stop = max(0, z - _AROUND), min(len(hu), z + deep + _AROUND)
    slab, added = hu[first:stop], np.zeros_like(hu[first:stop])
    inside = slice(z - first, z - first + deep)
    details = [(KINDS[n % len(KINDS)], template(KINDS[n % len(KINDS)], n), _box(*at)) for n, at in enumerate(places)]
    for kind, shape, box in details:
        added[inside, box[0], box[1]] += np.float32(kind.contrast * noise_sd_hu) * shape.astype(np.float32)
    without = apply(slab, first)[inside].mean(axis=0, dtype=np.float64)
    back = apply(slab + added, first)[inside].mean(axis=0, dtype=np.float64) - without
    before = slab[inside].mean(axis=0, dtype=np.float64)
    kept = {}
    for kind in KINDS:
        contrast = kind.contrast * noise_sd_hu
        shares = [_amplitude(back[box], shape) / contrast for of, shape, box in details if of is kind]
        spread, was = (_spread(image, flat, template(kind, 0)) for image in (without, before))
        share = float(np.mean(shares))
        kept[kind.name] = DetailKept(contrast, deep, len(shares), share, share * was / spread if spread > 0 else None)
    return kept


def template(kind: Detail, number: int) -> Float64:
    """Return a detail of contrast 1, of shape (27, 27); lines turn with the number."""
    side = 2 * _HALF + 1
    at = (np.arange(side * _FINE) + 0.5) / _FINE - side / 2
    y, x = np.meshgrid(at, at, indexing="ij")
    if len(kind.size) == 1:
        inside = y * y + x * x < kind.size[0] ** 2
    else:
        angle = 0.3 + 0.7 * number
        along, across = x * np.cos(angle) + y * np.sin(angle), y * np.cos(angle) - x * np.sin(angle)
        inside = (np.abs(across) < kind.size[0] / 2) & (np.abs(along) < kind.size[1] / 2)
    sampled = inside.reshape(side, _FINE, side, _FINE).mean(axis=(1, 3))
    shape: Float64 = ndimage.gaussian_filter(sampled, _PSF)
    return shape


def _flattest(
    hu: Float32, soft: NDArray[np.bool_], noise_sd_hu: float, deep: int
) -> tuple[int, NDArray[np.bool_], list[tuple[int, int]]] | None:
    """Return the first of the slices with most room, where in it is flat, and places for details."""
    if min(hu.shape[1:]) <= 2 * _HALF + 1:
        return None
    levels = [z for z in np.flatnonzero(soft.any(axis=(1, 2))) if z + deep <= len(hu)]
    best: tuple[int, NDArray[np.bool_], list[tuple[int, int]]] | None = None
    for z in levels[:: -(-len(levels) // _SLICES) or 1]:
        near = [k for k in (z - 1, *range(z, z + deep), z + deep) if 0 <= k < len(hu)]
        smooth = ndimage.gaussian_filter(hu[near].mean(axis=0, dtype=np.float32), NOISY_SMOOTHING_PX)
        side = 2 * _FLAT + 1
        span = ndimage.maximum_filter(smooth, side) - ndimage.minimum_filter(smooth, side)
        flat = soft[z] & (span < _SPAN_HU + _SPAN_NOISE * noise_sd_hu)
        room = flat.copy()
        for border in (room[:_HALF], room[-_HALF:], room[:, :_HALF], room[:, -_HALF:]):
            border[...] = False
        places = _apart(room)
        if len(places) >= len(KINDS) and (best is None or len(places) > len(best[2])):
            best = int(z), flat, places
    return best


def _apart(room: NDArray[np.bool_]) -> list[tuple[int, int]]:
    """Return places in a mask that are far enough from one another, from the upper left on."""
    y, x = np.nonzero(room)
    places: list[tuple[int, int]] = []
    while len(y) and len(places) < _MOST:
        places.append((int(y[0]), int(x[0])))
        far = np.hypot(y - y[0], x - x[0]) >= _APART
        y, x = y[far], x[far]
    return places


def _box(y: int, x: int) -> tuple[slice, slice]:
    return slice(y - _HALF, y + _HALF + 1), slice(x - _HALF, x + _HALF + 1)


def _amplitude(image: Float64, shape: Float64) -> float:
    """Return the least-squares amplitude of a template in an image of its shape."""
    return float(np.sum(image * shape) / np.sum(shape * shape))


def _spread(image: Float64, flat: NDArray[np.bool_], shape: Float64) -> float:
    """Return the robust SD of the template's amplitude over flat places."""
    zero_mean = shape - shape.mean()
    places = np.argwhere(flat[_HALF:-_HALF, _HALF:-_HALF])
    y, x = places[:: -(-len(places) // 400) or 1].T
    boxes = np.lib.stride_tricks.sliding_window_view(image, shape.shape)[y, x]
    amplitudes = np.tensordot(boxes, zero_mean, 2) / np.sum(zero_mean * zero_mean)
    return 1.4826 * float(np.median(np.abs(amplitudes - np.median(amplitudes))))
