"""Drawing: shapes in mm and a grid go in, the grid in HU is changed in place; and random texture.

A grid is float32 of shape (z, y, x), with the coordinates `xs`, `ys`, `zs` in mm. A shape replaces earlier ones; over
`soft` mm at its surface it is blended with them.
"""

from __future__ import annotations

import math

import numba
import numpy as np
from numpy.typing import NDArray
from scipy import fft

__all__ = ["Grid", "blend", "ellipsoid", "repeat_pixels", "texture", "trunk", "tubes"]

Grid = NDArray[np.float32]


@numba.njit(cache=True)
def blend(volume, k, j, i, share, value):  # type: ignore[no-untyped-def]
    """Mix `value` into a voxel, with the weight `share`."""
    volume[k, j, i] += share * (value - volume[k, j, i])


@numba.njit(cache=True)
def ellipsoid(volume, xs, ys, zs, centre, radii, turn, value, soft):  # type: ignore[no-untyped-def]
    """Draw an ellipsoid, rotated in the slice by `turn` radians."""
    cosine, sine = math.cos(turn), math.sin(turn)
    reach = max(radii[0], radii[1]) + soft
    for k in range(zs.size):
        dz = zs[k] - centre[2]
        if abs(dz) > radii[2] + soft:
            continue
        for j in range(ys.size):
            dy = ys[j] - centre[1]
            if abs(dy) > reach:
                continue
            for i in range(xs.size):
                dx = xs[i] - centre[0]
                if abs(dx) > reach:
                    continue
                u = (cosine * dx + sine * dy) / radii[0]
                v = (-sine * dx + cosine * dy) / radii[1]
                w = dz / radii[2]
                # Distance to the surface, to first order: k0 (k0 - 1) / k1.
                k0 = math.sqrt(u * u + v * v + w * w)
                if k0 > 3.0:
                    continue
                k1 = math.sqrt((u / radii[0]) ** 2 + (v / radii[1]) ** 2 + (w / radii[2]) ** 2) + 1e-9
                share = 0.5 - k0 * (k0 - 1.0) / k1 / soft
                if share > 0.0:
                    blend(volume, k, j, i, min(share, 1.0), value)


@numba.njit(cache=True)
def tubes(volume, xs, ys, zs, segments, value, soft):  # type: ignore[no-untyped-def]
    """Draw tapered tubes; a segment is x0 y0 z0 x1 y1 z1 r0 r1."""
    dx, dy = xs[1] - xs[0], ys[1] - ys[0]
    for s in range(segments.shape[0]):
        x0, y0, z0, x1, y1, z1, r0, r1 = segments[s]
        reach = max(r0, r1) + soft
        i0 = max(0, int((min(x0, x1) - reach - xs[0]) / dx))
        i1 = min(xs.size, int((max(x0, x1) + reach - xs[0]) / dx) + 2)
        j0 = max(0, int((min(y0, y1) - reach - ys[0]) / dy))
        j1 = min(ys.size, int((max(y0, y1) + reach - ys[0]) / dy) + 2)
        ex, ey, ez = x1 - x0, y1 - y0, z1 - z0
        square = ex * ex + ey * ey + ez * ez + 1e-9
        for k in range(zs.size):
            if zs[k] < min(z0, z1) - reach or zs[k] > max(z0, z1) + reach:
                continue
            for j in range(j0, j1):
                for i in range(i0, i1):
                    px, py, pz = xs[i] - x0, ys[j] - y0, zs[k] - z0
                    t = min(1.0, max(0.0, (px * ex + py * ey + pz * ez) / square))
                    distance = math.sqrt((px - t * ex) ** 2 + (py - t * ey) ** 2 + (pz - t * ez) ** 2)
                    share = 0.5 - (distance - (r0 + t * (r1 - r0))) / soft
                    if share > 0.0:
                        blend(volume, k, j, i, min(share, 1.0), value)


@numba.njit(cache=True)
def trunk(volume, xs, ys, zs, width, depth, value, soft):  # type: ignore[no-untyped-def]
    """Draw a trunk: a superellipse (exponent 2.5) whose half axes vary with z."""
    for k in range(zs.size):
        z = zs[k]
        a = width * (1.0 + 0.05 * math.sin(z / 90.0) + 0.02 * math.sin(z / 31.0))
        b = depth * (1.0 + 0.06 * math.sin(z / 110.0 + 0.7))
        for j in range(ys.size):
            for i in range(xs.size):
                q = ((abs(xs[i]) / a) ** 2.5 + (abs(ys[j]) / b) ** 2.5) ** 0.4
                share = 0.5 - (q - 1.0) * min(a, b) / soft
                if share > 0.0:
                    blend(volume, k, j, i, min(share, 1.0), value)


def texture(rng: np.random.Generator, shape: tuple[int, ...], spacing_mm: tuple[float, ...], slope: float) -> Grid:
    """Return a Gaussian random field of SD 1 whose power falls like 1 / f^slope above 1 / 60 mm."""
    square = np.zeros((shape[0], shape[1], shape[2] // 2 + 1), np.float32)
    for axis, (n, d) in enumerate(zip(shape, spacing_mm, strict=True)):
        f = (np.fft.rfftfreq(n, d) if axis == 2 else np.fft.fftfreq(n, d)).astype(np.float32)
        square += (f**2).reshape([-1 if a == axis else 1 for a in range(3)])
    amplitude = (square + (1 / 60.0) ** 2) ** (-slope / 4) * np.exp(-square)
    field = fft.irfftn(fft.rfftn(rng.standard_normal(shape, np.float32)) * amplitude, shape)
    unit: Grid = (field / field.std()).astype(np.float32)
    return unit


def repeat_pixels(field: Grid) -> Grid:
    """Return a field of shape (z, y, x) with each pixel as 2 x 2 pixels: shape (z, 2 y, 2 x)."""
    return np.repeat(np.repeat(field, 2, 1), 2, 2)
