"""The loops over patches, compiled: gather, add up, and tell groups apart.

A patch is a row of a matrix: its voxels in the order z, y, x. None of these loops depends on the number of threads:
each call is one thread's, and what calls give is put together in a fixed order.
"""

from __future__ import annotations

import numba
import numpy as np

__all__ = ["add_up", "best_groups", "gather"]

_jit = numba.njit(cache=True, nogil=True)
_fast = numba.njit(cache=True, nogil=True, fastmath=True)


@_jit
def gather(volume, corners, size, out):  # type: ignore[no-untyped-def]
    """out[n] = the patch of `size` (z, y, x) at corners[n]."""
    for n in range(corners.shape[0]):
        q = 0
        for u in range(size[0]):
            for j in range(size[1]):
                for i in range(size[2]):
                    out[n, q] = volume[corners[n, 0] + u, corners[n, 1] + j, corners[n, 2] + i]
                    q += 1


@_jit
def add_up(total, weight, corners, size, patches, weights):  # type: ignore[no-untyped-def]
    """Add weights[n] * patches[n] to `total` and weights[n] to `weight`, voxel by voxel, at the place of each patch."""
    for n in range(corners.shape[0]):
        q = 0
        for u in range(size[0]):
            for j in range(size[1]):
                for i in range(size[2]):
                    z, y, x = corners[n, 0] + u, corners[n, 1] + j, corners[n, 2] + i
                    w = weights[n, q]
                    total[z, y, x] += w * patches[n, q]
                    weight[z, y, x] += w
                    q += 1


@_fast
def best_groups(projected, offset, first, gain, constant, variance, level, names, groups, scores):  # type: ignore[no-untyped-def]
    """groups[n] = the names[k] of largest likelihood, descending; scores[n] = 2 variance[n] log likelihood of each.

    projected [n, first[-1] + K]: the coordinates of patch n in the basis of each group, one group after the other, then
    for each group its inner product with the mean. gain [levels, first[-1]], constant [levels, K]: see `NoisyMixture`.
    variance[n] and level[n]: of the noise of patch n, and the row of the tables for it. groups, scores [n, most]: where
    there are fewer groups than `most`, the rest scores -3e38.
    """
    count, most = names.size, groups.shape[1]
    components = first[count]
    for n in range(projected.shape[0]):
        for t in range(most):
            groups[n, t] = names[0]
            scores[n, t] = np.float32(-3e38)
        g = gain[level[n]]
        for k in range(count):
            score = 2 * projected[n, components + k] + variance[n] * constant[level[n], k]
            for j in range(first[k], first[k + 1]):
                c = projected[n, j] - offset[j]
                score += g[j] * c * c
            if score > scores[n, most - 1]:
                t = most - 1
                while t > 0 and score > scores[n, t - 1]:
                    scores[n, t] = scores[n, t - 1]
                    groups[n, t] = groups[n, t - 1]
                    t -= 1
                scores[n, t] = score
                groups[n, t] = names[k]
