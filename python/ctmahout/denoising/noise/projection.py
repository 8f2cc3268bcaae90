"""Variance of filtered back-projection: a volume in HU goes in, its relative variance by ray direction comes out.

At each point the variance is proportional to the mean, over all views, of the variance of the ray through it, and the
variance of a ray to the exponential of its line integral (Kak and Slaney 1988, Principles of Computerized Tomographic
Imaging, section 5.2). The image itself is projected again to get the line integrals. The variance is kept by direction
of the rays, since noise from rays of one direction is a streak along it.
"""

from __future__ import annotations

import math
from concurrent.futures import ThreadPoolExecutor

import numba
import numpy as np
from numpy.typing import NDArray

__all__ = ["SECTORS", "variance_by_direction"]

MU_WATER = 0.0192  # 1/mm, near 70 keV
VIEWS = 48
SECTORS = 12
_SLICES = 16  # projected together; sums are in single precision, so another number gives other bits


def variance_by_direction(hu: NDArray[np.float32], pixel_mm: tuple[float, float], threads: int) -> NDArray[np.float32]:
    """Return the relative variance of filtered back-projection, by sector of the rays' direction.

    Parameters
    ----------
    hu : ndarray of shape (z, y, x), float32, HU
        A coarse grid suffices: the variance is smooth.
    pixel_mm : tuple of float, mm
        Row and column spacing of that grid.
    threads : int
        The result does not depend on it.

    Returns
    -------
    ndarray of shape (SECTORS, z, y, x), float32
    """
    attenuation = np.moveaxis(MU_WATER * np.maximum(0, 1 + hu / 1000), 0, 2)

    def project_slab(start: int) -> NDArray[np.float32]:
        slab = np.ascontiguousarray(attenuation[:, :, start : start + _SLICES], np.float32)
        out = np.zeros((SECTORS, *slab.shape), np.float32)
        _project_back(slab, VIEWS, SECTORS, np.float32(pixel_mm[0]), np.float32(pixel_mm[1]), out)
        return out

    with ThreadPoolExecutor(threads) as pool:
        variance = np.concatenate(list(pool.map(project_slab, range(0, len(hu), _SLICES))), axis=3)
    return np.ascontiguousarray(np.moveaxis(variance, 3, 1))


@numba.njit(cache=True, nogil=True, fastmath=True)
def _project_back(mu, views, sectors, dy, dx, out):  # type: ignore[no-untyped-def]
    """mu [y, x, slice], 1/mm -> out [sector, y, x, slice]: mean over views of exp(line integral), parallel beam."""
    ny, nx, slices = mu.shape
    aspect = dy / dx  # distances are in units of the column spacing, so that pixels need not be square
    detectors = int(math.hypot(ny * aspect, nx)) + 4
    for view in range(views):
        angle = math.pi * (view + 0.5) / views
        cosine, sine = math.cos(angle), math.sin(angle)
        centre = (detectors - 1) / 2 - (nx - 1) / 2 * cosine - (ny - 1) / 2 * sine * aspect
        rays = np.zeros((detectors, slices), np.float32)
        for j in range(ny):
            for i in range(nx):
                t = i * cosine + j * aspect * sine + centre
                k = int(t)
                after = np.float32((t - k) * dy)
                before = dy - after
                for s in range(slices):
                    rays[k, s] += before * mu[j, i, s]
                    rays[k + 1, s] += after * mu[j, i, s]
        rays = np.exp(rays) / np.float32(views)
        sector = out[view * sectors // views]
        for j in range(ny):
            for i in range(nx):
                t = i * cosine + j * aspect * sine + centre
                k = int(t)
                after = np.float32(t - k)
                for s in range(slices):
                    sector[j, i, s] += (np.float32(1) - after) * rays[k, s] + after * rays[k + 1, s]
