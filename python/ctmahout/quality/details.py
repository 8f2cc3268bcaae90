"""Faint details: a volume and a denoiser go in, the fraction of contrast that small low-contrast shapes keep comes out.

How much contrast a denoiser removes depends on its input, so its result alone cannot show it. Some slices are therefore
denoised twice, with details added and without, and the difference is compared with what was added.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from .masks import NOISY_SMOOTHING_PX

__all__ = ["DETAILS", "Apply", "Detail", "DetailRecovery", "detail_recovery", "template"]

Float32 = NDArray[np.float32]
Float64 = NDArray[np.float64]

Apply = Callable[[Float32, int], Float32]
"""Denoises slices with what a method learnt from their volume; nothing is learnt anew. Takes slices of shape (n, y, x),
float32, HU, changed or not, and the index of the first one; returns an array of the same shape."""


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


# The line and the small disc exceed the noise of a patch of 3 x 5 x 5 by about ten SDs, the larger disc by about five.
DETAILS = (Detail("line", (2.5, 24.0), -4.5), Detail("small disc", (2.0,), 4.5), Detail("larger disc", (4.0,), 2.0))

_HALF_PX = 13  # half the side of a template
# A pixel is flat if the range within so many pixels is below so many HU plus so many noise SDs.
_FLAT_PX, _RANGE_HU, _RANGE_SD = 6, 40.0, 0.5
_DISTANCE_PX = 30  # between details
_MAX_DETAILS = 18
_DEPTH_PX = 4.0  # depth of a detail, ...
_MAX_DEPTH = 3  # ... in slices at most
_CONTEXT = 4  # slices on either side: two passes with patches of three slices reach so far
_MAX_SLICES = 12  # searched for the flattest
_SUBSAMPLES, _PSF_PX = 4, 0.5  # samples along a pixel; SD of the blur of a template


@dataclass(frozen=True)
class DetailRecovery:
    """Result for one kind of detail.

    Attributes
    ----------
    contrast_hu : float
        Contrast added.
    slices : int
        Depth.
    count : int
        Number of details.
    kept : float
        Fraction of the contrast in the result, mean over the details.
    detectability : float or None
        Contrast over the spread of the template's amplitude at flat positions, relative to that before denoising: above
        1, the detail is easier to detect than before. None if there is no spread.
    """

    contrast_hu: float
    slices: int
    count: int
    kept: float
    detectability: float | None


def detail_recovery(
    hu: Float32, soft: NDArray[np.bool_], noise_sd_hu: float, apply: Apply, *, pixel_mm: float, spacing_mm: float
) -> dict[str, DetailRecovery] | None:
    """Add details to the flattest slices of a volume and measure what a denoiser keeps of them.

    Parameters
    ----------
    hu : ndarray of shape (z, y, x), float32, HU
    soft : ndarray of shape (z, y, x), bool
        Soft tissue, in the slices to choose from.
    noise_sd_hu : float
        Noise SD in soft tissue.
    apply : Apply
        The denoiser; called twice, with up to 11 slices.
    pixel_mm, spacing_mm : float, mm
        Side of a pixel, and distance of slices.

    Returns
    -------
    dict of str to DetailRecovery, or None
        By the names of `DETAILS`; None if no slice has room for one of each.
    """
    depth = _DEPTH_PX * pixel_mm / spacing_mm if spacing_mm > 0 else 1
    slices = int(np.clip(round(depth), 1, min(_MAX_DEPTH, len(hu))))
    flattest = _flattest(hu, soft, noise_sd_hu, slices)
    if flattest is None:
        return None
    z, flat, centres = flattest
    first, stop = max(0, z - _CONTEXT), min(len(hu), z + slices + _CONTEXT)
    slab, added = hu[first:stop], np.zeros_like(hu[first:stop])
    inside = slice(z - first, z - first + slices)
    placed = [
        (DETAILS[n % len(DETAILS)], template(DETAILS[n % len(DETAILS)], n), _box(*centre))
        for n, centre in enumerate(centres)
    ]
    for detail, shape, box in placed:
        added[inside, box[0], box[1]] += np.float32(detail.contrast * noise_sd_hu) * shape.astype(np.float32)
    without = apply(slab, first)[inside].mean(axis=0, dtype=np.float64)
    recovered = apply(slab + added, first)[inside].mean(axis=0, dtype=np.float64) - without
    source = slab[inside].mean(axis=0, dtype=np.float64)
    recovery = {}
    for detail in DETAILS:
        contrast = detail.contrast * noise_sd_hu
        fractions = [_amplitude(recovered[box], shape) / contrast for kind, shape, box in placed if kind is detail]
        spread, source_spread = (_spread(image, flat, template(detail, 0)) for image in (without, source))
        kept = float(np.mean(fractions))
        detectability = kept * source_spread / spread if spread > 0 else None
        recovery[detail.name] = DetailRecovery(contrast, slices, len(fractions), kept, detectability)
    return recovery


def template(detail: Detail, number: int) -> Float64:
    """Return a detail of contrast 1, of shape (27, 27), float64; the direction of a line depends on the number."""
    side = 2 * _HALF_PX + 1
    axis = (np.arange(side * _SUBSAMPLES) + 0.5) / _SUBSAMPLES - side / 2
    y, x = np.meshgrid(axis, axis, indexing="ij")
    if len(detail.size) == 1:
        inside = y * y + x * x < detail.size[0] ** 2
    else:
        angle = 0.3 + 0.7 * number
        along, across = x * np.cos(angle) + y * np.sin(angle), y * np.cos(angle) - x * np.sin(angle)
        inside = (np.abs(across) < detail.size[0] / 2) & (np.abs(along) < detail.size[1] / 2)
    sampled = inside.reshape(side, _SUBSAMPLES, side, _SUBSAMPLES).mean(axis=(1, 3))
    shape: Float64 = ndimage.gaussian_filter(sampled, _PSF_PX)
    return shape


def _flattest(
    hu: Float32, soft: NDArray[np.bool_], noise_sd_hu: float, depth: int
) -> tuple[int, NDArray[np.bool_], list[tuple[int, int]]] | None:
    """Return the first of `depth` slices with room for most details, its flat pixels, and centres for the details."""
    if min(hu.shape[1:]) <= 2 * _HALF_PX + 1:
        return None
    candidates = [z for z in np.flatnonzero(soft.any(axis=(1, 2))) if z + depth <= len(hu)]
    best: tuple[int, NDArray[np.bool_], list[tuple[int, int]]] | None = None
    for z in candidates[:: -(-len(candidates) // _MAX_SLICES) or 1]:
        near = [k for k in (z - 1, *range(z, z + depth), z + depth) if 0 <= k < len(hu)]
        smooth = ndimage.gaussian_filter(hu[near].mean(axis=0, dtype=np.float32), NOISY_SMOOTHING_PX)
        side = 2 * _FLAT_PX + 1
        value_range = ndimage.maximum_filter(smooth, side) - ndimage.minimum_filter(smooth, side)
        flat = soft[z] & (value_range < _RANGE_HU + _RANGE_SD * noise_sd_hu)
        room = flat.copy()
        for border in (room[:_HALF_PX], room[-_HALF_PX:], room[:, :_HALF_PX], room[:, -_HALF_PX:]):
            border[...] = False
        centres = _separate_pixels(room)
        if len(centres) >= len(DETAILS) and (best is None or len(centres) > len(best[2])):
            best = int(z), flat, centres
    return best


def _separate_pixels(mask: NDArray[np.bool_]) -> list[tuple[int, int]]:
    """Return pixels (y, x) of a mask that keep their distance from one another, from the upper left on."""
    y, x = np.nonzero(mask)
    pixels: list[tuple[int, int]] = []
    while len(y) and len(pixels) < _MAX_DETAILS:
        pixels.append((int(y[0]), int(x[0])))
        far = np.hypot(y - y[0], x - x[0]) >= _DISTANCE_PX
        y, x = y[far], x[far]
    return pixels


def _box(y: int, x: int) -> tuple[slice, slice]:
    return slice(y - _HALF_PX, y + _HALF_PX + 1), slice(x - _HALF_PX, x + _HALF_PX + 1)


def _amplitude(image: Float64, shape: Float64) -> float:
    """Return the least-squares amplitude of a template in an image of its shape."""
    return float(np.sum(image * shape) / np.sum(shape * shape))


def _spread(image: Float64, flat: NDArray[np.bool_], shape: Float64) -> float:
    """Return the robust SD of the template's amplitude over flat positions (1.4826 times the median deviation)."""
    zero_mean = shape - shape.mean()
    centres = np.argwhere(flat[_HALF_PX:-_HALF_PX, _HALF_PX:-_HALF_PX])
    y, x = centres[:: -(-len(centres) // 400) or 1].T
    boxes = np.lib.stride_tricks.sliding_window_view(image, shape.shape)[y, x]
    amplitudes = np.tensordot(boxes, zero_mean, 2) / np.sum(zero_mean * zero_mean)
    return 1.4826 * float(np.median(np.abs(amplitudes - np.median(amplitudes))))
